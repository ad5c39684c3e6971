"""What differs between two kept states, as the user sees it: frozen values with their tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from keepstate._base import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keepstate._model.facts import Facts

What = Literal["added", "removed", "rebound", "changed"]

MOST_COLUMNS = 5
"""How many columns of one kind of change a table names; :attr:`Change.before` and ``after`` have all."""


@dataclass(frozen=True, slots=True)
class Change:
    """One name that is not as it was."""

    name: str
    what: What
    """``added``, ``removed``, ``rebound`` to another kind of object, or ``changed`` in value."""
    type_before: str = ""
    """Qualified type name; empty if it was not there."""
    type_after: str = ""
    before: Facts | None = None
    """Shape, dtype, length and columns, as far as the kind of object has them."""
    after: Facts | None = None
    bytes_before: int = 0
    """Of the value with all that it shares objects with."""
    bytes_after: int = 0
    bytes_differing: int = 0
    """How many of the bytes after were not there before; of a removed name, all that it had."""
    shares: tuple[str, ...] = ()
    """Names with which it shares objects: the bytes are those of all of them."""
    notes: tuple[str, ...] = ()
    """What else is known of the change."""

    @property
    def facts(self) -> str:
        """What is known of the change, in words."""
        return "; ".join(self._facts())

    def _facts(self) -> Iterator[str]:
        if self.what == "rebound":
            yield f"{self.type_before} → {self.type_after}"
        elif self.what == "added":
            yield self.type_after
        elif self.what == "removed":
            yield self.type_before
        yield from _facts(self.before, self.after)
        yield from self.notes
        yield self._bytes()
        if self.shares:
            yield f"shares objects with {', '.join(self.shares)}"

    def _bytes(self) -> str:
        if self.what in ("added", "removed"):
            return table.size(max(self.bytes_before, self.bytes_after))
        if self.bytes_before == self.bytes_after:
            return f"{table.size(self.bytes_differing)} of {table.size(self.bytes_after)} differ"
        sizes = f"{table.size(self.bytes_before)} → {table.size(self.bytes_after)}"
        return f"{sizes}, {table.size(self.bytes_differing)} new"


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two states of one notebook, name by name."""

    a: str
    """Id of the snapshot, or ``now``."""
    b: str
    changes: tuple[Change, ...]
    """Sorted by name; what is unchanged is not among them."""
    unchanged: int
    """How many names are as they were."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """name → why it cannot be told whether it has changed, e.g. because it was not kept."""
    remarks: tuple[str, ...] = ()
    """Sentences that the user should read."""

    def __bool__(self) -> bool:
        """Whether anything is known to differ, or may."""
        return bool(self.changes or self.unknown)

    def __getitem__(self, name: str) -> Change:
        """Give the change of one name; raises KeyError if it has not changed."""
        for change in self.changes:
            if change.name == name:
                return change
        raise KeyError(name)

    def _rows(self) -> list[list[str]]:
        rows = [[change.name, change.what, change.facts] for change in self.changes]
        return rows + [[name, "not known", why] for name, why in self.unknown.items()]

    @property
    def title(self) -> str:
        """The counts, in a line."""
        counts = [
            f"{count} {what}"
            for what in ("added", "removed", "rebound", "changed")
            if (count := sum(change.what == what for change in self.changes))
        ]
        said = ", ".join([*counts, f"{self.unchanged} unchanged"])
        if self.unknown:
            said += f", {len(self.unknown)} not known"
        return f"keepstate: {self.a[:10]} → {self.b[:10]}: {said}"

    def __str__(self) -> str:
        lines = [self.title, *self.remarks]
        if rows := self._rows():
            lines.append(table.as_text(["name", "what", "facts"], rows))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        title = " ".join([self.title, *self.remarks])
        return table.as_html(title, ["name", "what", "facts"], self._rows())


def _facts(before: Facts | None, after: Facts | None) -> Iterator[str]:
    if before is None or after is None:
        there = before or after
        if there is not None:
            yield from _alone(there)
        return
    if before.shape is None or after.shape is None:
        yield from _two(_alone(before), _alone(after))
        return
    if before.shape != after.shape:
        yield f"shape {_shape(before.shape)} → {_shape(after.shape)}"
    if before.dtype != after.dtype:
        yield f"{before.dtype or 'no dtype'} → {after.dtype or 'no dtype'}"
    if before.columns and after.columns:
        yield from _columns(dict(before.columns), dict(after.columns))


def _two(before: Iterator[str], after: Iterator[str]) -> Iterator[str]:
    old, new = " ".join(before), " ".join(after)
    if old != new:
        yield f"{old or '?'} → {new or '?'}"


def _alone(facts: Facts) -> Iterator[str]:
    if facts.shape is not None:
        yield f"shape {_shape(facts.shape)}"
    if facts.dtype:
        yield facts.dtype
    if facts.length is not None:
        yield f"length {facts.length}"


def _shape(shape: list[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _columns(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    added = [f"{name} ({dtype})" for name, dtype in after.items() if name not in before]
    removed = [name for name in before if name not in after]
    changed = [
        f"{name} {before[name]} → {dtype}"
        for name, dtype in after.items()
        if name in before and before[name] != dtype
    ]
    for label, names in (("columns added", added), ("columns removed", removed), ("dtypes", changed)):
        if names:
            more = f" and {len(names) - MOST_COLUMNS} more" if len(names) > MOST_COLUMNS else ""
            yield f"{label}: {', '.join(names[:MOST_COLUMNS])}{more}"
