"""What the user sees: snapshots, reports and the status. Frozen values with their tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from keepstate._base import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

Reason = Literal["manual", "cell", "timer", "idle", "lifetime", "memory", "signal", "exit", "loop"]
Consistency = Literal["cell", "statement", "operation"]
Durability = Literal["pending", "local", "queued", "verified"]

MOST_ROWS = 20
"""How many names that fared alike a report lists: about a screen's height. Failures are all listed."""

CONSISTENCY_RANK: Mapping[Consistency, int] = {"operation": 0, "statement": 1, "cell": 2}


@dataclass(frozen=True, slots=True)
class Where:
    """The place inside an unfinished cell at which a picture was taken."""

    cell: int | None
    """Execution count of the cell, ``None`` in a script."""
    line: int | None
    """Line within the cell or script, counted from 1; ``None`` at the operation level."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One kept state."""

    id: str
    """20 hexadecimal digits; any unique prefix names it."""
    created_at: datetime
    """When the picture was taken, aware, in UTC, by the clock of the machine that took it."""
    reason: Reason
    consistency: Consistency
    """Between cells, between two statements of the notebook, or at any moment."""
    names: tuple[str, ...]
    """The names kept, sorted."""
    skipped: Mapping[str, str]
    """name → why it was not kept."""
    logical_bytes: int
    """Bytes of all values before deduplication and compression."""
    written_bytes: int
    """Bytes that this snapshot added to its repository."""
    stall_seconds: float
    """How long the main thread was held."""
    seconds: float
    """From the picture to the commit."""
    durability: Durability
    note: str = ""
    lineage: str = ""
    """The session that took it."""
    sequence: int = 0
    """Its place within that session, from 1."""
    where: Where | None = None
    """For a state inside an unfinished cell: which one, and where."""
    strategy: str = ""
    """How the picture was taken, and why so."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came back, from which snapshot, and what did not, with the reason."""

    snapshot: Snapshot | None
    restored: tuple[str, ...]
    failed: Mapping[str, str]
    """name → why; includes names that wait for a library."""
    seconds: float
    kept_live: tuple[str, ...] = ()
    """Names that the notebook had already and that were left alone."""
    remarks: tuple[str, ...] = ()
    """Sentences that the user should read, e.g. that a newer but weaker snapshot exists."""
    cells: tuple[str, ...] = field(default=(), repr=False)
    """First lines of the cells that had run when the picture was taken."""
    coming: tuple[str, ...] = ()
    """Names that come in the background; a cell that uses one of them waits for it."""
    coming_bytes: int = 0
    """What they take."""

    def _rows(self) -> list[list[str]]:
        rows = _some(self.restored, "restored", "")
        rows += _some(self.coming, "coming", "in the background; a cell that uses it waits for it")
        rows += _some(self.kept_live, "left alone", "the notebook has it already")
        rows += [[name, "not restored", why] for name, why in self.failed.items()]  # each has its own reason
        return rows

    def _title(self) -> str:
        if self.snapshot is None:
            return "keepstate: nothing was there to restore"
        taken = self.snapshot
        place = "between cells"
        if taken.consistency != "cell":
            place = "in the middle of a cell" if taken.where is None else _place(taken.where)
        coming = f"{len(self.coming)} coming ({table.size(self.coming_bytes)}), " if self.coming else ""
        return (
            f"keepstate: snapshot {taken.id[:10]} of {taken.created_at:%Y-%m-%d %H:%M:%S} UTC "
            f"({taken.consistency}: {place}), {len(self.restored)} restored, {coming}"
            f"{len(self.failed)} not, in {table.duration(self.seconds)}"
        )

    def __str__(self) -> str:
        lines = [self._title(), *self.remarks]
        if rows := self._rows():
            lines.append(table.as_text(["name", "state", "why"], rows))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title = " ".join([self._title(), *self.remarks])
        return table.as_html(title, ["name", "state", "why"], self._rows())


def _some(names: Sequence[str], state: str, why: str) -> list[list[str]]:
    return [[name, state, why] for name in _first(names)]


def _first(names: Sequence[str]) -> Sequence[str]:
    if len(names) <= MOST_ROWS:
        return names
    return [*names[: MOST_ROWS - 1], f"and {len(names) - MOST_ROWS + 1} more"]


def _place(where: Where) -> str:
    parts = [] if where.cell is None else [f"cell [{where.cell}]"]
    parts += [] if where.line is None else [f"line {where.line}"]
    return "inside " + ", ".join(parts) if parts else "in the middle of a cell"


@dataclass(frozen=True, slots=True)
class Status:
    """How the session stands right now."""

    host: str
    idle_limit_seconds: float | None
    lifetime_limit_seconds: float | None
    deadline: datetime | None
    """Nearest foreseen end, aware, in UTC."""
    tracked: tuple[str, ...]
    last_snapshot: Snapshot | None
    durability: Durability | None
    """Of the last snapshot; ``None`` before the first."""
    pending_bytes: int
    """Not yet proven at the durable store."""
    error: str | None
    """The newest trouble in one sentence; ``None`` once a save has succeeded again."""
    state: Literal["guarding", "stopped"] = "guarding"
    cadence_seconds: float = 0.0
    """How far apart saves inside a long cell are at least: the interval, or more where saves are dear."""
    remarks: tuple[str, ...] = ()
    """Sentences that the user should read, e.g. that a limit is a guess."""
    seconds_left: float | None = None
    """Until the deadline, when this was asked."""
    store: str = ""
    """Where the state must end up: a folder, or an address without credentials."""
    transfer: str = ""
    """How the sending to a far store stands: ``idle``, ``waiting``, ``sending``, ``unreachable``,
    ``credentials``, ``full``, ``trouble``; empty where the store is a folder of this machine."""
    newest: Mapping[Durability, datetime] = field(default_factory=dict)
    """Durability → when the newest snapshot of that level was taken, aware, in UTC."""

    def _rows(self) -> list[list[str]]:
        last = self.last_snapshot
        limits = [
            f"{label} {table.duration(seconds)}"
            for label, seconds in (("idle", self.idle_limit_seconds), ("life", self.lifetime_limit_seconds))
            if seconds is not None
        ]
        return [
            ["state", self.state],
            ["host", self.host],
            ["limits", ", ".join(limits) or "none known"],
            ["deadline", self._countdown()],
            ["tracked", ", ".join(_first(self.tracked)) or "nothing"],
            [
                "last snapshot",
                "none yet"
                if last is None
                else f"{last.id[:10]} of {last.created_at:%Y-%m-%d %H:%M:%S} UTC, {last.consistency}, "
                f"{len(last.names)} names, {table.size(last.logical_bytes)}",
            ],
            ["store", self.store],
            ["durability", self._durability()],
            ["not yet proven", table.size(self.pending_bytes)],
            ["cadence", f"a save every {table.duration(self.cadence_seconds)} inside a long cell"],
            ["trouble", self.error or "none"],
            *(["remark", remark] for remark in self.remarks),
        ]

    def _durability(self) -> str:
        if self.durability is None:
            return "nothing kept yet"
        ages = [f"{level} of {when:%H:%M:%S} UTC" for level, when in self.newest.items()]
        sending = f"; {self.transfer}" if self.transfer else ""
        return f"{self.durability} (newest: {', '.join(ages)}{sending})" if ages else self.durability

    def _countdown(self) -> str:
        if self.deadline is None or self.seconds_left is None:
            return "none foreseen"
        return f"{self.deadline:%H:%M:%S} UTC, in {table.duration(self.seconds_left)}"

    def __str__(self) -> str:
        return table.as_text(["keepstate", ""], self._rows())

    def _repr_html_(self) -> str:
        return table.as_html("keepstate", ["", ""], self._rows())
