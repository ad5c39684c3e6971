"""From a request to a committed snapshot: gather what belongs to it, choose how, take, write, remember.

Knows what a picture is; when it is taken is the guard's business.
"""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from keepstate._capture import (
    ChildStuck,
    DirtyPages,
    Imprints,
    Misread,
    NeedsCopy,
    choose,
    random_states,
    read_conditions,
    read_memory,
)
from keepstate._model.snapshot import Where
from keepstate._session import space
from keepstate._session.guard import RETAKES, TakeAgain
from keepstate._snapshot import Described, Knowledge, Occasion, Save, Saved, snapshot_of
from keepstate.codecs import Positions, find_open_files, positions_of
from keepstate.errors import StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._base.clock import Clock
    from keepstate._capture import Choice, Memory, Taken
    from keepstate._model.kernel import Cell, Kernel
    from keepstate._model.manifest import Manifest
    from keepstate._model.snapshot import Consistency, Snapshot
    from keepstate._repository import Repository
    from keepstate._session.far_side import FarSide
    from keepstate._session.folders import Folders
    from keepstate._session.guard import Request
    from keepstate._session.identity import Identity
    from keepstate._session.options import Options
    from keepstate._session.pruning import Pruning
    from keepstate._session.recovery import Recovery
    from keepstate._tracking import Selection

STRIKES = 2
"""An object that stops a child is tried once more, and then skipped by name."""

REFUTED = (
    "the kernel's record of what memory was written to has proved wrong here and is used no more; older "
    "snapshots of this session may hold older values of large arrays"
)

READY_SECONDS = 0.1
"""How long what was read beforehand is taken as it is: a moment is mostly found within 50 ms, and a cell can
allocate half a GB in this time (4 to 6 GB/s, measured here)."""

MOST_CELLS = 10_000
"""How many cells of earlier sessions are taken over: 5 MB of code, the work of months."""

ID_BYTES = 10
"""80 random bits: two of a million snapshots share an id with probability 4e-13."""


def new_id() -> str:
    """Make an id for a snapshot."""
    return secrets.token_hex(ID_BYTES)


def new_lineage() -> str:
    """Make a name for the history of one session."""
    return secrets.token_hex(8)


class Observer(Protocol):
    """What is told of saves: the session. None of it may raise."""

    def save_began(self) -> None:
        """A picture is taken, on the calling thread."""
        ...

    def save_ended(self, *, stall_seconds: float, seconds: float, processor_seconds: float) -> None:
        """All that was in the picture is kept.

        Args:
            stall_seconds: How long the main thread was held.
            seconds: How long it took.
            processor_seconds: How long another process computed for it.
        """
        ...

    def save_failed(self, why: str) -> None:
        """Nothing was kept."""
        ...


class Ready(NamedTuple):
    """What was read before the main thread was held."""

    read_at: float
    """By the monotonic clock."""
    memory: Memory

    def is_fresh(self, now: float) -> bool:
        """Whether it can still be taken as it is; else it is to be read anew."""
        return now - self.read_at <= READY_SECONDS


@dataclass(slots=True)
class Saving:
    """What one session knows of its saves. Only one runs at a time, which the guard sees to."""

    identity: Identity
    options: Options
    host: str
    kernel: Kernel
    repository: Repository
    lineage: str
    selection: Selection
    recovery: Recovery
    folders: Folders
    parents: dict[str, int]
    observer: Observer
    pruning: Pruning
    clock: Clock
    far: FarSide | None = None
    """What sends snapshots to a far store; ``None``: the store is on this machine."""
    last: Manifest | None = None
    """The state to which an unchanged one is equal."""
    cells: list[Cell] = field(default_factory=list)
    """Cells that have run, in order."""
    record: Callable[[Cell], Cell] = lambda cell: cell
    """Gives a cell as it is recorded."""
    view: Mapping[str, object] | None = None
    """What counts as the notebook's variables; ``None``: what is bound."""
    error: str | None = None
    """The newest trouble in one sentence; gone when a save has succeeded."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What the newest save could not keep → why."""
    _sequence: int = 0
    _covered: int = 0
    _known: dict[bytes, bytes] = field(default_factory=dict)
    _seed: int = field(default_factory=lambda: secrets.randbits(64))
    _grouped: frozenset[frozenset[str]] = frozenset()
    _strikes: Counter[str] = field(default_factory=Counter)
    _copy_ranges: tuple[tuple[int, int], ...] = ()
    _imprints: Imprints = field(default_factory=Imprints)
    _encode_seconds: float | None = None
    _logical_bytes: int = 0
    _pages: DirtyPages | None = None
    _unwritten: Knowledge | None = field(default_factory=Knowledge)
    _ready: Ready | None = None
    _met_files: bool = False
    """Whether an open file was among what was kept."""
    _versions: dict[str, str] = field(default_factory=dict)
    """Of packages, as a save of this session has found them."""
    _described: dict[str, Described] = field(default_factory=dict)
    _recorded: int = 0
    """How many cells are in the record of the last snapshot."""
    _running: tuple[Cell, Cell] | None = None
    """The cell that runs, and how it is recorded."""

    def __post_init__(self) -> None:
        if not self.options.dirty_pages:
            self._unwritten = None

    @property
    def known(self) -> Mapping[bytes, bytes]:
        """Fingerprints of the last snapshot → chunk id."""
        return self._known

    @property
    def seed(self) -> int:
        """Of the fingerprints."""
        return self._seed

    @property
    def grouped(self) -> frozenset[frozenset[str]]:
        """Names that shared objects the last time."""
        return self._grouped

    def refused(self) -> list[str]:
        """Names that are not tried any more."""
        return [name for name, strikes in self._strikes.items() if strikes >= STRIKES]

    def make_ready(self) -> None:
        """Do on the guard's thread what the main one need not wait for; what is read then goes stale soon."""
        self._ready = None
        with suppress(Exception):  # it is done when the picture is taken, and an error told there
            self._unfinished("statement")  # a long cell takes milliseconds to look through
            self._ready = self._read()

    def _read(self) -> Ready:
        return Ready(self.clock.monotonic(), read_memory())

    def _read_positions(self) -> Positions:
        """Read where the user's files stand, once one has been met: 0.4 ms, and most notebooks have none."""
        if not self._met_files:
            return Positions({}, {}, read=False)
        files = find_open_files()
        return Positions(files, positions_of(files))

    def _take_ready(self) -> Ready:
        """Return what was read beforehand, or read it now if that was too long ago."""
        ready, self._ready = self._ready, None
        return ready if ready is not None and ready.is_fresh(self.clock.monotonic()) else self._read()

    def take(self, request: Request, level: Consistency, where: Where | None) -> Picture:
        """Take a picture on the calling thread; nothing in here grows with what is tracked.

        Raises:
            CaptureError: No way of taking it is open at this moment.
        """
        started = self.clock.monotonic()
        self.observer.save_began()
        created_at = self.clock.utc_now()
        carried = self.recovery.carried()  # before what is bound: see there
        namespace = self.kernel.namespace if self.view is None else self.view
        bindings, left_out = self.selection.bindings(namespace, self.kernel.hidden)
        ready = self._take_ready()
        positions = self._read_positions()
        choice = self._choose(level, ready.memory, by_user=request.reason == "manual")
        occasion = Occasion(
            id=request.id,
            project=self.identity.project,
            member=self.identity.member,
            notebook=self.identity.notebook,
            lineage=self.lineage,
            sequence=self._sequence + 1,
            parents=self.parents,
            restored_from="" if self.recovery.manifest is None else self.recovery.manifest.id,
            created_at=created_at,
            reason=request.reason,
            consistency=level,
            started=started,
            where=self._place(level, where),
            note=request.note,
            tracked=tuple(sorted(self.selection.names | carried.entries.keys() | set(self.folders.names))),
            track_all=self.selection.everything,
            left_out=left_out,
            carried={name: entry for name, entry in carried.entries.items() if name not in bindings},
            pending={name: why for name, why in carried.why.items() if name not in bindings},
            definitions=carried.definitions,
            versions=self._versions,
            random=random_states.read(),
            cells=(*self.cells, *self._unfinished(level)),
            lost={name: lost for name, lost in carried.lost.items() if name not in bindings},
            recipes={name: each for name, each in self.selection.recipes.items() if self._is_tracked(name)},
            described=self._described,
            unrecorded=tuple(self.cells[self._recorded :]),
            host=self.host,
            threads=self.kernel.background(),
            strategy=f"{choice.strategy}: {choice.reason}",
        )
        save = Save(
            occasion,
            bindings,
            namespace=self.kernel.namespace,
            repository=self.repository,
            known=self._known,
            seed=self._seed,
            grouped=self._grouped,
            refuse=self.refused(),
            previous=self.last,
            beside=self.folders.groups(request.reason),
            imprints=self._imprints,
            leave_unfrozen=request.retaken >= RETAKES,
            pages=self._pages,
            unwritten=self._unwritten,
            positions=positions,
            clock=self.clock,
        )
        if self._unwritten is not None:
            self._unwritten = Knowledge()  # what is known comes back with the answer
        taken = choice.take(
            save, copy_ranges=self._copy_ranges, descriptors=positions.descriptors, since=started
        )
        return Picture(self, taken, started, len(self.cells))

    def _is_tracked(self, name: str) -> bool:
        return name in self.selection.names or (
            self.selection.everything and name not in self.selection.excluded
        )

    def _unfinished(self, level: Consistency) -> tuple[Cell, ...]:
        """Give the cell that runs as it is recorded."""
        cell = self.kernel.running
        if level == "cell" or cell is None or not cell.source:
            return ()
        if self._running is None or self._running[0] is not cell:
            self._running = cell, self.record(msgspec.structs.replace(cell, ended="running"))
        return (self._running[1],)

    def continue_from(self, manifest: Manifest, cells: Iterable[Cell]) -> None:
        """Go on from what an earlier session has left."""
        self.last = manifest
        self.cells = [*cells][-MOST_CELLS:]
        self._covered = self._recorded = len(self.cells)

    def _place(self, level: Consistency, where: Where | None) -> Where | None:
        cell = self.kernel.running
        if level == "cell" or cell is None:
            return None
        return Where(cell.number, None if where is None else where.line)

    def _choose(self, level: Consistency, memory: Memory, *, by_user: bool) -> Choice:
        conditions = read_conditions(
            level=level,
            mode=self.options.capture,
            encode_seconds=self._encode_seconds,
            logical_bytes=self._logical_bytes,
            memory=memory,
        )
        if conditions.mode == "auto" and not conditions.gpu and self._owes_description():
            conditions = replace(conditions, mode="fork")
        choice = choose(conditions)
        if choice.strategy == "none" and by_user and level == "statement":
            # The user's own statement waits for us, so nothing else of theirs is under way: where forking is
            # out, copying here is what they asked for.
            choice = choose(replace(conditions, level="cell"))
        return choice

    def _owes_description(self) -> bool:
        """Say whether something that could not be kept was not asked what it is, which takes a copy."""
        return any(not each.whole for each in self._described.values())

    def absorb(self, saved: Saved) -> Snapshot | None:
        """Remember what came of a save.

        Raises:
            StoreError: The store refused.
            TakeAgain: What the picture relied on is no longer there; the next one relies on nothing.
        """
        self._watch_memory(saved.unwritten)
        if saved.met_files:
            self._met_files = True
            raise TakeAgain("the positions of open files are read for the next one")
        if saved.trouble:
            self._known = {}
            self.folders.not_saved(reread=True)
            if saved.again:
                raise TakeAgain(saved.trouble)
            if saved.full:
                self.pruning.make_room()
                raise StoreFullError(saved.trouble)
            raise StoreError(saved.trouble)
        self._described = saved.described
        refuted = self.options.dirty_pages and self._unwritten is None
        self.error, self.skipped = REFUTED if refuted else None, saved.skipped  # said until the end
        self.folders.saved(saved.memories, saved.unfinished)
        self._encode_seconds, self._logical_bytes = saved.encode_seconds, saved.logical_bytes
        self._grouped = frozenset(frozenset(group) for group in saved.groups)
        self._imprints.absorb(saved.imprints)
        if saved.commit is None:
            return snapshot_of(self.last) if saved.unchanged and self.last is not None else None
        self.repository.absorb(saved.commit)
        self.last, self._known = saved.commit.manifest, saved.commit.known
        self._sequence = self.last.sequence
        self._versions = self.last.versions
        if self.far is not None:
            self.far.hurry() if self.last.reason in space.URGENT else self.far.saved()
        self.pruning.after_save(self.last.reason)
        self.error = self.pruning.trouble or self.error
        return snapshot_of(self.last)

    def _watch_memory(self, unwritten: Knowledge) -> None:
        if unwritten.refuted:
            self.close()
            self._unwritten = None
        elif self._unwritten is not None:
            self._unwritten = unwritten
            if unwritten.offered and self._pages is None:
                with suppress(OSError):  # it was to be had in the child; perhaps it is after the next save
                    self._pages = DirtyPages.open()

    def close(self) -> None:
        """Watch no memory any more."""
        if self._pages is not None:
            self._pages.close()
            self._pages = None

    def trouble(self, error: BaseException) -> None:
        """Remember the newest trouble; it is shown by ``status()`` and raised nowhere."""
        self.error = str(error) or type(error).__name__

    def failed(self, error: BaseException) -> None:
        """Nothing was kept."""
        self.folders.not_saved(reread=False)
        self.trouble(error)
        self.observer.save_failed(self.error or "")

    @property
    def owed(self) -> bool:
        """Whether a cell has ended since the newest kept picture was taken."""
        return len(self.cells) > self._covered

    def record_has(self, cells: int) -> None:
        """Remember that so many cells are in the record of the last snapshot."""
        self._recorded = cells

    def settle(self, cells: int) -> None:
        """Remember that what so many cells did is kept."""
        self._covered = max(cells, self._covered)

    def strike(self, name: str) -> None:
        """Remember that *name* stopped a child."""
        self._strikes[name] += 1

    def misread(self) -> None:
        """Look at no memory any more: a child has died over it."""
        self._imprints.stop()

    def copy_next_time(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Copy this memory at the safe point of the next picture: a fork does not freeze it."""
        self._copy_ranges = ranges


@dataclass(slots=True)
class Picture:
    """A picture that waits to be written."""

    saving: Saving
    taken: Taken
    started: float
    """By the monotonic clock."""
    cells: int
    """How many had ended when it was taken."""

    def finish(self) -> Snapshot | None:
        """Write it, on the calling thread or by waiting for the child; ``None`` if there was nothing to keep.

        Raises:
            TakeAgain: Shared memory must be copied at the next safe point first; or imprints cost a child.
            CaptureError: The child failed.
            StoreError: The store refused.
        """
        try:
            message = self.taken.finish()
        except NeedsCopy as error:
            self.saving.copy_next_time(error.ranges)
            raise TakeAgain from error
        except Misread as error:
            self.saving.misread()
            raise TakeAgain from error
        except ChildStuck as error:
            self.saving.strike(error.name)
            raise
        seconds = self.saving.clock.monotonic() - self.started
        saved = msgspec.msgpack.decode(message, type=Saved)
        snapshot = self.saving.absorb(saved)
        if saved.commit is not None and not saved.unchanged:
            self.saving.record_has(self.cells)
        self.saving.settle(self.cells)
        self.saving.observer.save_ended(
            stall_seconds=self.taken.stall_seconds,
            seconds=seconds,
            processor_seconds=self.taken.processor_seconds,
        )
        return snapshot
