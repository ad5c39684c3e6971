"""The process that transfers: when it sends, when it tries again, what it reports, and when it ends.

It runs beside the kernels of this machine and outlives them: what a killed kernel has committed here is still
sent. Between two looks it sleeps; a look costs some files' times. Whatever fails becomes a sentence in the
report, and is tried again for as long as a session lives, or for a while after the last one has died.

Knows nothing of chunks and packs: that is its :class:`~keepstate._transfer.work.Work`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import SYSTEM_DISK
from keepstate._base.retry import Backoff
from keepstate._repository.layout import MemberFolder
from keepstate._repository.lease import LIMIT_SECONDS, leases
from keepstate._transfer.folder import replace
from keepstate._transfer.lookout import Lookout
from keepstate._transfer.report import Pending, Progress, Report, measured
from keepstate._transfer.succession import must_step_down, wait_for_turn
from keepstate._transfer.trouble import said_of, trouble_of
from keepstate._transfer.work import Worker
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keepstate._base.clock import Clock, Flag
    from keepstate._base.word import Word
    from keepstate._transfer.commission import Options
    from keepstate._transfer.folder import Claim, Folder, Wish
    from keepstate._transfer.lock import Lock
    from keepstate._transfer.report import State
    from keepstate._transfer.trouble import Trouble
    from keepstate._transfer.work import Outcome, Task, Work

_log = logging.getLogger("keepstate.transfer")


@dataclass
class _News:
    """Snapshots that came and that no round has begun to send."""

    first_at: float
    newest_at: float


class Agent:
    """Runs until nobody needs it any more, or *stop* is said.

    Args:
        make: Makes the work; called once it is our turn, on the thread that does it.
        near: The repository on this machine.
        folder: Where sessions and this process speak to each other.
        mine: Who we are.
        stop: Said by a signal.
        options: The times.
        redact: Takes secrets out of a text.
        clock: The time.
    """

    def __init__(
        self,
        make: Callable[[Flag], Work],
        *,
        near: Path,
        folder: Folder,
        lock: Lock,
        mine: Claim,
        stop: Word,
        options: Options,
        redact: Callable[[object], str] = str,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._make = make
        self._near = near
        self._folder = folder
        self._lock = lock
        self._mine = mine
        self._stop = stop
        self._options = options
        self._redact = redact
        self._clock = clock
        self._patience = Backoff(
            first_seconds=options.first_backoff_seconds, longest_seconds=options.longest_backoff_seconds
        )
        self._lookout = Lookout(near, clock)
        self._uncounted = True
        self._news: _News | None = None
        self._pending = Pending()
        self._is_known = False
        self._trouble: Trouble | None = None
        self._wishes: dict[str, Wish] = {}
        self._heard: frozenset[str] = frozenset()
        """Wishes that stood when the task in hand began."""
        self._tried: frozenset[str] = frozenset()
        """Wishes for which an attempt was begun."""
        self._answered: frozenset[str] = frozenset()
        self._refused: frozenset[str] = frozenset()
        self._is_ending = False
        self._orphaned_at: float | None = None
        self._tidy_after = self._clock.monotonic() + options.first_upkeep_seconds
        self._untidy: str | None = None
        """Why the last upkeep failed."""
        self._report = Report()
        self._written: Report | None = None
        self._written_at = 0.0
        self._sent_bytes = 0
        self._requests = 0

    def run(self) -> None:
        """Wait for our turn, and do what is to be done until the end.

        Raises:
            OSError: The folder of the transfer cannot be used.
        """
        self._folder.make()
        if not wait_for_turn(
            self._folder,
            self._lock,
            self._mine,
            stop=self._stop,
            look_seconds=self._options.look_seconds,
            clock=self._clock,
        ):
            return
        self._folder.sweep(self._clock.utc_now().timestamp())
        self._begin()
        worker = Worker(self._make)
        try:
            while not self._is_over():
                self._step(worker)
                self._clock.wait(worker.done if worker.task else self._stop, self._options.look_seconds)
            self._finish(worker)
        finally:
            if self._lock.is_ours():
                self._tell("ended", worker, force=True)
            self._lock.give_back()

    def _begin(self) -> None:
        """Go on from what the process before us has reported, if it was about the same place."""
        before = self._folder.read_report()
        self._report = Report(
            place=self._mine.address, pid=self._mine.process.pid, process_started=self._mine.process.started
        )
        if before is not None and before.place == self._mine.address:
            self._report = msgspec.structs.replace(
                self._report,
                levels=before.levels,
                bytes_per_second=before.bytes_per_second,
                last_success=before.last_success,
                last_upkeep=before.last_upkeep,
            )
            self._pending = Pending(before.pending_ids, before.pending_bytes)

    # -- one step ------------------------------------------------------------------------------------

    def _step(self, worker: Worker) -> None:
        self._hear()
        outcome = worker.take()
        if outcome is not None:
            self._learn(outcome, worker)
        elif worker.task is not None and worker.counted is not None:
            self._pending = worker.counted
        self._look()
        if worker.task is None and (task := self._next()) is not None:
            self._start(task, worker)
        self._tell(self._state(worker), worker)

    def _is_over(self) -> bool:
        if self._stop.is_set() or not self._lock.is_ours() or must_step_down(self._folder, self._mine):
            return True
        if self._orphaned_at is None or self._wishes:
            return False
        if self._trouble is not None:
            alone = self._clock.monotonic() - max(self._orphaned_at, self._trouble.since)
            return alone >= self._options.orphan_patience_seconds
        if self._clock.monotonic() - self._orphaned_at < self._options.linger_seconds:
            return False
        if not self._has_all_sent() or self._somebody_writes():
            return False
        self._look()  # writers commit first and then are gone, so what they left is to be seen now
        return self._has_all_sent()

    def _has_all_sent(self) -> bool:
        known = self._is_known and not self._uncounted and self._lookout.is_sure
        return known and not self._pending.ids

    def _somebody_writes(self) -> bool:
        """Whether a process is about to commit here; that of a killed kernel may outlive it."""
        try:
            for member in SYSTEM_DISK.entries(self._near / "members"):
                held = leases(
                    SYSTEM_DISK,
                    MemberFolder(self._near / "members" / member.name),
                    clock=self._clock,
                    limit_seconds=LIMIT_SECONDS,
                )
                if any(one.is_alive and one.purpose == "write" for one in held):
                    return True
        except OSError as error:
            _log.warning("transfer.leases.failed", exc_info=error)
        return False

    def _finish(self, worker: Worker) -> None:
        """Let the request in hand end, and take in what came of it."""
        self._is_ending = True
        worker.stop()
        if worker.task is not None and self._clock.wait(worker.done, self._options.finish_seconds):
            outcome = worker.take()
            if outcome is not None:
                self._learn(outcome, worker)

    # -- what is heard -------------------------------------------------------------------------------

    def _hear(self) -> None:
        living = []
        for session in self._folder.sessions():
            if session.process.lives():
                living.append(session)
            else:
                self._folder.take_back(session)
        ours = {session.id for session in living if session.address == self._mine.address}
        others = {session.id for session in living} - ours
        wishes = {}
        for wish in self._folder.wishes():
            if wish.session in ours:
                wishes[wish.name] = wish
            elif wish.session not in others:
                self._folder.take_back(wish)
        self._wishes = wishes
        self._answered &= wishes.keys()
        self._refused &= wishes.keys()
        if ours:
            self._orphaned_at = None
        elif self._orphaned_at is None:
            self._orphaned_at = self._clock.monotonic()

    def _look(self) -> None:
        news = self._lookout.look()
        if news == "nothing" or (news == "perhaps" and self._uncounted):
            return
        self._uncounted = True
        now = self._clock.monotonic()
        if news == "perhaps":
            return  # counting tells whether there is more; if so, it is sent with what waits, or soon
        self._news = _News(now if self._news is None else self._news.first_at, now)

    # -- what to do ----------------------------------------------------------------------------------

    @property
    def _open(self) -> frozenset[str]:
        return frozenset(self._wishes) - self._answered

    def _next(self) -> Task | None:
        now = self._clock.monotonic()
        if self._trouble is not None:
            due = self._trouble.due(hurry=bool(self._open), afresh=bool(self._open - self._tried))
            return "send" if now >= due else None
        if self._open:
            return "send"
        if self._uncounted:
            return "count"
        if self._pending.ids:
            return "send" if self._has_settled(now) else None
        return "tidy" if self._upkeep_is_due(now) else None

    def _has_settled(self, now: float) -> bool:
        if self._news is None or self._orphaned_at is not None:
            return True
        options = self._options
        return (
            now >= self._news.newest_at + options.settle_seconds
            or now >= self._news.first_at + options.longest_settle_seconds
        )

    def _upkeep_is_due(self, now: float) -> bool:
        if self._orphaned_at is not None or now < self._tidy_after:
            return False
        return self._report.last_upkeep is None or (
            _seconds_since(self._report.last_upkeep, self._clock.utc_now()) >= self._options.upkeep_seconds
        )

    def _start(self, task: Task, worker: Worker) -> None:
        self._heard = self._open
        self._uncounted = False
        if task == "tidy":
            self._tidy_after = self._clock.monotonic() + self._options.slow_seconds
        if task == "send":
            self._tried = self._tried & self._wishes.keys() | self._heard
            self._news = None
        worker.begin(task, urgent=bool(self._heard) or self._orphaned_at is not None)

    def _learn(self, outcome: Outcome, worker: Worker) -> None:
        now = self._clock.monotonic()
        changes: dict[str, object] = {}
        if outcome.levels is not None:
            changes["levels"] = dict(outcome.levels)
        if outcome.task == "send":
            self._sent_bytes += sum(done.sent_bytes for done in outcome.rounds) or outcome.progress.done_bytes
            self._requests += sum(done.requests for done in outcome.rounds) or outcome.progress.requests
            for done in outcome.rounds:
                changes["bytes_per_second"] = measured(self._report.bytes_per_second, done)
        if outcome.task == "tidy":
            self._untidy = None if outcome.error is None else said_of(outcome.error, self._redact)
        error = outcome.error or self._standstill(outcome)
        if error is not None and outcome.task == "tidy":
            _log.warning("transfer.upkeep.failed: %s", self._untidy, exc_info=error)
        elif error is not None:
            self._fail(error, outcome, worker, now)
        else:
            self._trouble = None
            said = self._clock.utc_now().isoformat()
            if outcome.task == "tidy":
                changes["last_upkeep"] = said
            if outcome.pending is not None:
                self._count(outcome.pending, outcome.task, now)
                if not outcome.pending.ids:
                    changes["last_success"] = said
        self._report = msgspec.structs.replace(self._report, **changes)

    def _standstill(self, outcome: Outcome) -> StoreError | None:
        """A round without an error that has moved nothing would be repeated at each look."""
        moved = any(done.ids or done.sent_bytes for done in outcome.rounds)
        missing = 0 if outcome.pending is None else len(outcome.pending.ids)
        if moved or not outcome.rounds or not missing or self._is_ending:
            return None
        return StoreError(
            f"{self._mine.address} has not taken {missing} snapshots, and nothing says why: "
            f"look at {self._folder.log}"
        )

    def _count(self, pending: Pending, task: Task, now: float) -> None:
        self._pending = pending
        self._is_known = True
        missing = set(pending.ids)
        self._answered |= {
            name
            for name in self._heard & self._wishes.keys()
            if not (missing if (ids := self._wishes[name].ids) is None else missing.intersection(ids))
        }
        self._refused -= self._heard
        if missing and task == "send" and self._news is None:
            # What came in mid-round, or what the round has left: it waits as if it had come just now.
            self._news = _News(now, now)

    def _fail(self, error: BaseException, outcome: Outcome, worker: Worker, now: float) -> None:
        self._trouble = trouble_of(
            error,
            self._trouble,
            now=now,
            slow_seconds=self._options.slow_seconds,
            patience=self._patience,
            redact=self._redact,
        )
        _log.warning("transfer.failed: %s", self._trouble.sentence, exc_info=error)
        self._uncounted = True
        if self._trouble.needs_the_user:
            self._refused |= self._heard
        if self._trouble.state == "trouble":
            worker.forget()
        if outcome.pending is not None:
            self._pending = outcome.pending

    # -- what is told --------------------------------------------------------------------------------

    def _state(self, worker: Worker) -> State:
        moving = worker.task == "send" and worker.progress != Progress()
        if self._trouble is not None and not moving:
            return self._trouble.state
        if worker.task == "send" and self._pending.ids:
            return "sending"
        known = self._is_known and not self._uncounted
        return "idle" if known and not self._pending.ids else "waiting"

    def _tell(self, state: State, worker: Worker, *, force: bool = False) -> None:
        """Write the report if it says anything new, or is old while something is done."""
        progress = worker.progress if worker.task == "send" else Progress()
        self._report = msgspec.structs.replace(
            self._report,
            state=state,
            error=self._untidy if self._trouble is None else self._trouble.sentence,
            pending_ids=self._pending.ids,
            pending_bytes=max(0, self._pending.nbytes - progress.done_bytes),
            sent_bytes=self._sent_bytes + progress.done_bytes,
            requests=self._requests + progress.requests,
            answered=tuple(sorted(self._answered)),
            refused=tuple(sorted(self._refused)),
        )
        now = self._clock.monotonic()
        if not force and self._is_old_news(now, worker):
            return
        try:
            stamped = msgspec.structs.replace(self._report, updated_at=self._clock.utc_now().isoformat())
            replace(self._folder.report, msgspec.json.encode(stamped))
        except OSError:
            return  # a full disk; it is tried again at the next look
        self._written, self._written_at = self._report, now

    def _is_old_news(self, now: float, worker: Worker) -> bool:
        if self._written is None or _without_progress(self._report) != _without_progress(self._written):
            return False
        if self._report != self._written:
            return now < self._written_at + self._options.progress_seconds
        return worker.task is None or now < self._written_at + self._options.heartbeat_seconds


def _without_progress(report: Report) -> Report:
    return msgspec.structs.replace(report, pending_bytes=0, sent_bytes=0, requests=0)


def _seconds_since(said: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(said)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
