"""One running notebook under guard: the state machine behind the public calls."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from keepstate._base import table
from keepstate._base.clock import SYSTEM_CLOCK, Clock, Instant, instant
from keepstate._capture import SafePoints, place_of_caller
from keepstate._hosts import push_drive, release_machine
from keepstate._model.snapshot import RestoreReport, Snapshot, Status
from keepstate._repository import Repository
from keepstate._results.store import Results
from keepstate._session.advice import looks_mounted_drive
from keepstate._session.comparing import NOW, Comparing
from keepstate._session.decoding import Decoding
from keepstate._session.folders import Folders
from keepstate._session.guard import Guard
from keepstate._session.kept import Kept
from keepstate._session.levels import last_sequences, newest_by_level, pending_bytes, written_beside
from keepstate._session.limits import age_of_machine, settle_limits
from keepstate._session.lookout import Lookout
from keepstate._session.names import Names
from keepstate._session.notify import Notifier
from keepstate._session.notify_messages import SessionEnded
from keepstate._session.options import read_limits
from keepstate._session.prefetch import Prefetch, comes_later
from keepstate._session.pruning import Pruning
from keepstate._session.rebuilding import Rebuilding
from keepstate._session.recovery import Recovery
from keepstate._session.saving import Saving, new_id, new_lineage
from keepstate._session.slicing import explain_untracked
from keepstate._snapshot import best_of, snapshot_of
from keepstate._tracking import Selection, check_name, redact_source, runs_alike
from keepstate.errors import CaptureError, KeepstateError, NotFoundError, SessionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._hosts import Host
    from keepstate._model.diff import Diff
    from keepstate._model.kernel import Cell, Kernel
    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Consistency, Reason, Where
    from keepstate._session.far_side import FarSide
    from keepstate._session.guard import Request
    from keepstate._session.identity import Identity
    from keepstate._session.options import Options
    from keepstate._session.rebuilding import RebuildPlan

EXIT_SECONDS = 600.0
"""How long the end of the interpreter waits for the last save: a store that hangs must not keep a script for
ever. A forked child goes on by itself."""
FINISH_SECONDS = 1800.0
"""How long ``finish()`` waits: 15 GB at 8 MB/s. It shows what is left, and Ctrl-C ends the wait."""
DEAD_WRITER_SECONDS = 10.0
"""How long ``start()`` waits for the child of a dead kernel that is about to commit."""


class Session:
    """A guarded notebook. Made by ``keepstate.start()``; its methods are the functions of the package."""

    identity: Identity
    """Under which names this session's snapshots are found again."""
    names: Names
    """What it guards."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        host: Host,
        identity: Identity,
        options: Options,
        repository: Repository,
        far: FarSide | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.identity = identity
        self.options = options
        self._kernel = kernel
        self._host = host
        self._repository = repository
        self._far = far
        self._clock = clock
        selection = Selection()
        decoding = Decoding(repository, kernel.namespace)
        self._recovery = Recovery(decoding, progress=kernel.progress, used_by=kernel.used_by)
        self._folders = Folders(repository, lambda: self._lookout.poke(), clock=clock)
        self.names = Names(kernel, selection, self._recovery, self._folders)
        self._kept = Kept(repository, identity, kernel, selection, self._recovery, self._folders, clock, far)
        decoding.mend = self._kept.mend
        self._main_thread = threading.main_thread().ident
        limits = settle_limits(host.profile, options.limits)
        self._notifier = None if options.notify is None else Notifier(options.notify, clock=clock)
        self._lookout = Lookout(
            kernel=kernel,
            identity=str(identity),
            limits=limits,
            age_seconds=age_of_machine(clock, limits.lifetime),
            interval_seconds=options.interval,
            tracked=self.names.bound,
            owed=lambda: self._saving.owed,
            files_changed=lambda: self._folders.changed,
            far=far,
            trouble=self.trouble,
            notifier=self._notifier,
            clock=clock,
        )
        self._wait_for_dead_writer()
        newest = self._newest()
        lineage = new_lineage()
        self._saving = Saving(
            identity=identity,
            options=options,
            host=host.name,
            kernel=kernel,
            repository=repository,
            lineage=lineage,
            selection=selection,
            recovery=self._recovery,
            folders=self._folders,
            parents=last_sequences(newest),
            observer=self._lookout,
            pruning=Pruning(repository, identity, options, lineage, clock),
            clock=clock,
            far=far,
            record=self._recorded,
        )
        self._rebuilding = Rebuilding(kernel, selection, self._recovery, self._saving, clock)
        self._began: list[Instant] = []
        """When each cell began that runs."""
        self._guard = Guard(
            self._saving,
            kernel,
            SafePoints(kernel.namespace, clock=clock),
            new_id=new_id,
            patience_seconds=options.safe_point_seconds,
            clock=clock,
        )
        self._prefetch: Prefetch | None = None
        self._at_stop: list[Callable[[], object]] = []
        self._results: Results | None = None
        self._process = os.getpid()
        self._stopped = False
        if options.restore != "off":
            self._restore_at_start(newest)

    def _wait_for_dead_writer(self) -> None:
        """Wait until no child of a dead kernel is about to add to the history."""
        until = self._clock.monotonic() + DEAD_WRITER_SECONDS
        never = threading.Event()
        while self._repository.saving(
            project=self.identity.project, member=self.identity.member, notebook=self.identity.notebook
        ):
            if self._clock.monotonic() >= until:
                break
            self._clock.wait(never, 0.05)

    def _newest(self) -> list[Head]:
        """Read the history, here and at the far store; have what will be restored here.

        Where the far store does not give it, what it holds counts as written beside this session, which goes
        on from what is here, so that neither hides the other.
        """
        if self._far is None:
            return self._kept.manifests()
        self._far.look()
        if self._far.trouble is not None:
            self._kernel.say(
                f"keepstate: the store cannot be reached, so only what is on this machine can be restored: "
                f"{self._far.trouble}"
            )
            self._kernel.say(
                "keepstate: what happens from now on is kept on this machine, and sent once the store can be "
                "reached. Then keepstate.snapshots() lists what is there, and keepstate.restore(at=…) brings "
                "it back."
            )
            return self._kept.here()
        newest = self._kept.manifests()
        chosen = best_of(newest)
        if chosen is None or self.options.restore == "off":
            return newest
        try:
            with self._recovery.decoding.decoding_ahead(chosen, clock=self._clock) as decode:
                self._kept.bring(chosen, meanwhile=decode)
        except KeepstateError as error:
            self._kernel.say(
                f"keepstate: snapshot {chosen.id[:10]} could not be brought from the store: {error}. "
                "keepstate.restore() tries again."
            )
            return self._kept.here()
        return newest

    def _restore_at_start(self, newest: list[Head]) -> None:
        later = partial(comes_later, self.options.restore, self._kernel)
        self._recovery.restore(newest, self._folders, clock=self._clock, later=later)
        report, chosen = self._recovery.report(), self._recovery.manifest
        if report is None or chosen is None:
            return
        self.names.restored(chosen, [*report.restored, *report.coming])
        self._saving.continue_from(chosen, self._recovery.cells)
        self._recovery.wait_for(self._kernel.reaches)  # the rest of the cell that called start()
        self._recovery.make_what_is_ready()

    @property
    def restored(self) -> RestoreReport | None:
        """What has come back since this start, and what is still coming; ``None`` if nothing was there."""
        return self._recovery.report()

    def begin(self) -> None:
        """Start to guard; called once everything else stands."""
        self._guard.start()
        if self._recovery.coming is not None:
            self._prefetch = Prefetch(
                self._recovery.coming, self._kernel, trouble=self.trouble, clock=self._clock
            )
            self._prefetch.start()
        if self._far is not None:
            self._far.begin()
        self._lookout.start(self._guard)
        self._folders.start()

    @property
    def active(self) -> bool:
        """Whether it guards; in a process that the user forked off it does not."""
        return not self._stopped and os.getpid() == self._process

    @property
    def forked_off(self) -> bool:
        """Whether this is a process that the user forked off the session's."""
        return os.getpid() != self._process

    @property
    def results(self) -> Results:
        """The results of functions that are kept for this project."""
        if self._results is None:
            self._results = Results(
                repository=Repository.open(self._repository.path, create=False, clock=self._clock),
                project=self.identity.project,
                member=self.identity.member,
                notebook=self.identity.notebook,
                namespace=self._kernel.namespace,
                host=self._host.name,
                clock=self._clock,
                say=self._kernel.say,
                budget_bytes=self.options.budget_bytes,
                far=self._far,
            )
        return self._results

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Have *callback* called when the session ends."""
        self._at_stop.append(callback)

    # -- the public calls ----------------------------------------------------------------------------

    def track(self, *things: object, recipe: object = None, **named: object) -> tuple[str, ...]:
        """Guard these from now on; see :func:`keepstate.track`."""
        self._must_be_active()
        if recipe is not None and not things and not named:
            named, recipe = {"recipe": recipe}, None  # a variable of that name
        return self.names.track(things, named, recipe)

    def untrack(self, *names: str) -> None:
        """Guard these no longer; see :func:`keepstate.untrack`."""
        self._must_be_active()
        self.names.untrack(names)

    def change_limits(self, limits: Mapping[str, float | None]) -> None:
        """Count by other limits from now on, as when the plan was upgraded or an administrator says so.

        Args:
            limits: ``idle_seconds`` and ``lifetime_seconds``, as for :func:`keepstate.start`; what is left
                out is the host's again.

        Raises:
            InvalidInputError: One of them is out of its range.
        """
        self._must_be_active()
        self._lookout.change(settle_limits(self._host.profile, read_limits(limits)))

    def watch(
        self, path: str | os.PathLike[str], *, ignore: Iterable[str] = (), max_bytes: int | None = None
    ) -> str:
        """Keep the files of a folder from now on; see :func:`keepstate.watch`."""
        self._must_be_active()
        return self.names.watch(path, ignore=ignore, max_bytes=max_bytes)

    def unwatch(self, path: str | os.PathLike[str]) -> None:
        """Keep them no longer; see :func:`keepstate.unwatch`."""
        self._must_be_active()
        self.names.unwatch(path)

    def snapshot(self, note: str = "", *, wait: bool = True) -> Snapshot:
        """Keep the state as it is now; see :func:`keepstate.snapshot`."""
        self._must_be_active()
        if not self.names.bound():
            raise NotFoundError(
                "there is nothing to keep: no tracked name is bound; keepstate.track(…) tracks one"
            )
        request = self._take_explicitly(note, wait=wait)
        if not wait:
            return self._pending(request)
        return self._with_level(_result(request, self._saving.skipped))

    def _with_level(self, snapshot: Snapshot) -> Snapshot:
        if self._far is None:
            return snapshot
        return replace(snapshot, durability=self._far.levels().get(snapshot.id, "local"))

    def _take_explicitly(self, note: str, *, wait: bool) -> Request:
        """Take the picture where the call stands, if that is a place for it; with *wait*, see it through."""
        level, where = self._place_of_caller()
        if level is not None:
            request = self._guard.take_here("manual", level, where=where, note=note, wait_for_turn=wait)
        elif threading.get_ident() == self._main_thread and wait:
            # Library code called us: no picture is taken on this thread, and while it waits none will be.
            request = self._guard.request("manual", note, patience_seconds=0.0)
        else:
            request = self._guard.request("manual", note)
        if wait:
            self._guard.wait(request, level, where)
        return request

    def _place_of_caller(self) -> tuple[Consistency | None, Where | None]:
        """Say at what level a picture can be taken where the call stands; ``None``: at none."""
        if threading.get_ident() != self._main_thread:
            return None, None
        if self._kernel.running is None:
            return "cell", None
        where = place_of_caller(self._kernel.namespace, self._kernel.running.number)
        return (None if where is None else "statement"), where

    def _pending(self, request: Request) -> Snapshot:
        return Snapshot(
            id=request.id,
            created_at=self._clock.utc_now(),
            reason="manual",
            consistency="cell" if self._kernel.running is None else "statement",
            names=tuple(
                name
                for name in self.names.guarded()
                if name in self._kernel.namespace or name in self._recovery.coming_names()
            ),
            skipped={},
            logical_bytes=0,
            written_bytes=0,
            stall_seconds=0.0,
            seconds=0.0,
            durability="pending",
            note=request.note,
        )

    def snapshots(self) -> list[Snapshot]:
        """List what is kept of this notebook; see :func:`keepstate.snapshots`."""
        return self._kept.snapshots()

    def restore(self, *names: str, at: object = None, overwrite: bool = True) -> RestoreReport:
        """Bind kept values; see :func:`keepstate.restore`."""
        self._must_be_active()
        return self._kept.restore(names, at=at, overwrite=overwrite)

    def diff(self, a: object, b: object = "now", *names: str) -> Diff:
        """Say what differs between two states; see :func:`keepstate.diff`."""
        if NOW in (a if isinstance(a, str) else "", b if isinstance(b, str) else ""):
            self._must_be_active()
        level, _ = self._place_of_caller()
        return Comparing(self._kept, self._saving).diff(a, b, names, level=level)

    def load(
        self, name: str, *, at: object = None, member: str | None = None, data_only: bool = False
    ) -> object:
        """Return a kept value and bind nothing; see :func:`keepstate.load`."""
        return self._kept.load(name, at=at, member=member, data_only=data_only)

    def get(self, name: str, make: Callable[[], object]) -> object:
        """Return the kept value of *name*, or make it; see :func:`keepstate.get`."""
        self._must_be_active()
        return self._kept.get(check_name(name), make, tracked=name in self.names.guarded())

    def rebuild(self, *names: str, run: bool = False) -> RebuildPlan:
        """Show what makes missing names again; see :func:`keepstate.rebuild`."""
        self._must_be_active()
        plan = self._rebuilding.plan([check_name(name) for name in names])
        if run:
            plan.run()
        return plan

    def status(self) -> Status:
        """Say how things stand; see :func:`keepstate.status`."""
        last = None if self._saving.last is None else self._with_level(snapshot_of(self._saving.last))
        report = None if self._far is None else self._far.report()
        agenda = self._lookout.agenda
        deadline = self._lookout.deadline()
        return Status(
            host=self._host.name,
            idle_limit_seconds=None if agenda.limits.idle is None else agenda.limits.idle.seconds,
            lifetime_limit_seconds=None if agenda.limits.lifetime is None else agenda.limits.lifetime.seconds,
            deadline=deadline,
            tracked=self.names.guarded(),
            last_snapshot=last,
            durability=None if last is None else last.durability,
            # Without a far store what is committed is where it must be.
            pending_bytes=0 if report is None else pending_bytes(report, last),
            error=self._saving.error
            or (None if self._far is None or report is None else self._far.error(report))
            or (None if self._notifier is None else self._notifier.trouble),
            state="guarding" if self.active else "stopped",
            cadence_seconds=agenda.cadence_seconds,
            remarks=(
                *self._lookout.remarks(),
                *self._recovery.remarks(),
                *written_beside(self._far, {**self._saving.parents, self._saving.lineage: math.inf}),
            ),
            store=str(self.options.store),
            transfer="" if report is None else report.state,
            newest=newest_by_level(self._kept),
            seconds_left=None if deadline is None else (deadline - self._clock.utc_now()).total_seconds(),
        )

    def finish(self, *, release: bool = True, seconds: float = FINISH_SECONDS) -> Status:
        """Take a last snapshot, have it proven, end; see :func:`keepstate.finish`."""
        self._must_be_active()
        if self.names.bound():
            self.snapshot()
        if self._far is not None and not (self._far.flush(deadline_seconds=seconds) and self._is_sent()):
            report = self._far.report()
            raise StoreError(
                f"not everything has reached {self.options.store} yet"
                f" ({table.size(report.pending_bytes)} are left): {report.error or 'it takes longer'}; "
                "the session goes on, and so does the sending. keepstate.status() says how far it is"
            )
        self.stop(snapshot=False)
        status = self.status()
        if release:
            self._give_back(status)
        return status

    def _is_sent(self) -> bool:
        """Say whether the newest state is where it outlives the machine."""
        last = self._saving.last
        return last is None or self._with_level(snapshot_of(last)).durability != "local"

    def _give_back(self, status: Status) -> None:
        """Give the machine back, if what is kept outlives it for certain."""
        if status.durability == "queued" and looks_mounted_drive(self.options.store.path):
            trouble = push_drive()
            if trouble is not None:
                self._kernel.say(f"keepstate: {trouble}; the machine is not given back")
                return
        elif status.durability != "verified":
            return
        release_machine(self._host)

    def stop(self, *, snapshot: bool = True, reason: Reason = "manual") -> None:
        """End the guard, after one last snapshot; see :func:`keepstate.stop`."""
        if not self.active:
            return
        if reason != "exit":
            self._recovery.bring()  # later cells are told of nothing that is not there
        if self._prefetch is not None:
            self._prefetch.stop()
        self._lookout.stop()
        request = None
        hurried = False
        try:
            if snapshot and self.names.bound():
                if reason == "exit":
                    request = self._guard.take_here("exit", "cell", wait_for_turn=True)
                    self._guard.wait(request, "cell", seconds=EXIT_SECONDS)
                    hurried = not request.done.is_set()
                else:
                    request = self._take_explicitly("", wait=True)
        except KeyboardInterrupt:
            if reason != "exit":
                raise
            hurried = True  # whoever presses Ctrl-C now wants the end; a child finishes by itself
        finally:
            self._stopped = True
            self._folders.stop()
            self._guard.close(wait=not hurried)
            self._saving.close()
            if self._far is not None:
                self._far.hurry()
                self._far.close()
            self._say_that_it_ended(reason)
            for callback in self._at_stop:
                callback()
        if request is not None and request.error is not None and reason != "exit":
            raise request.error

    # -- what the kernel tells -----------------------------------------------------------------------

    def before_cell(
        self, reads: Callable[[], frozenset[str] | None], reaches: Callable[[], frozenset[str] | None]
    ) -> None:
        """A cell is about to run.

        Args:
            reads: Gives the names in its code and in that of functions, ``None`` for all.
            reaches: Gives those and all that it can reach by whatever it calls, as things are then.
        """
        if not self.active:
            return
        self._lookout.cell_began()
        self._began.append(instant(self._clock))
        if self._prefetch is not None:
            self._prefetch.seen()
        if bound := self._recovery.before_cell(reads, reaches):
            self._kernel.say(f"keepstate: {', '.join(bound)} restored, now that the library is there")

    def after_cell(self, cell: Cell, missing: str | None) -> None:
        """A cell has run.

        Args:
            cell: Which.
            missing: The name of which it complained with a ``NameError``.
        """
        if not self.active:
            return
        self._saving.cells.append(self._recorded(cell))
        for sentence in self._recovery.after_cell():
            self._kernel.say(sentence)
        explanation = None if missing is None else self._explain_missing(missing)
        if explanation is not None:
            self._kernel.say(explanation)
        if self._prefetch is not None:
            self._prefetch.seen()
        at_once = self._lookout.cell_ended()
        if not self._lookout.guards_something():
            return
        if self._kernel.running is not None or threading.get_ident() != self._main_thread:
            self._guard.request("cell")  # another cell still runs, in another subshell
        elif at_once:
            self._guard.take_here("cell", "cell")

    def trouble(self, error: BaseException) -> None:
        """Remember what went wrong in a hook; ``status()`` shows it."""
        self._saving.trouble(error)

    def _recorded(self, cell: Cell) -> Cell:
        """Give a cell with the names that it used, without keys, the store's own among them: the record of
        cells goes where others read."""
        began = self._began[-1] if self._began else None
        has_ended = cell.ended != "running"
        if has_ended and self._began:
            self._began.pop()
            if self._kernel.running is None:
                self._began.clear()  # of cells whose end an interrupt kept from us
        named = self._kernel.with_names(cell)
        far = self._far
        source = redact_source(cell.source if far is None else far.credentials.redact(cell.source))
        seconds = None
        if began is not None and has_ended:
            seconds = round(self._clock.monotonic() - began.monotonic, 3)
        return msgspec.structs.replace(
            named,
            source=source,
            is_redacted=source != cell.source and not runs_alike(source, cell.source),
            began_at="" if began is None else f"{began.wall:%Y-%m-%dT%H:%M:%SZ}",
            seconds=seconds,
            session=self._saving.lineage,
        )

    def _explain_missing(self, name: str) -> str | None:
        return self._recovery.explain_missing(name) or explain_untracked(
            name, self._saving.cells, lineage=self._saving.lineage
        )

    # -- small things --------------------------------------------------------------------------------

    def _must_be_active(self) -> None:
        if not self.active:
            raise SessionError(
                "this session has been stopped, or belongs to the process that forked this one: "
                "keepstate.start() begins a new one"
            )

    def _say_that_it_ended(self, reason: Reason) -> None:
        if self._notifier is None:
            return
        last = self._saving.last
        self._notifier.tell(
            SessionEnded(
                identity=str(self.identity),
                reason=reason,
                snapshot=None if last is None else last.id,
                kept=() if last is None else tuple(last.names),
                logical_bytes=0 if last is None else last.logical_bytes,
            )
        )
        self._notifier.close()

    def __repr__(self) -> str:
        return f"<keepstate session: {self.identity}, {'guarding' if self.active else 'stopped'}>"


def _result(request: Request, skipped: Mapping[str, str]) -> Snapshot:
    if request.snapshot is not None:
        return request.snapshot
    if isinstance(request.error, KeepstateError):
        raise request.error
    why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items()) or "the session ended"
    raise CaptureError(f"no snapshot was taken: {request.error or why}") from request.error
