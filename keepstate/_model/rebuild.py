"""What came of running cells again. A frozen value with its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base import table

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """Which names are there now, and which are not."""

    made: tuple[str, ...]
    """Names that are bound now and were not, sorted."""
    failed: Mapping[str, str]
    """name → why it is still missing."""
    seconds: float
    not_bound: tuple[str, ...] = ()
    """Names that were made on the way only: later cells had made something else of them."""

    changed: tuple[str, ...] = ()
    """Names that were there and whose objects a cell has changed in place, which its code does not show."""
    unchecked: tuple[str, ...] = ()
    """Names that cells have used of which it is not known whether they changed them."""

    def _rows(self) -> list[list[str]]:
        rows = [
            [
                name,
                "CHANGED",
                f"a cell changed it in place: keepstate.restore({name!r}) brings the kept one back",
            ]
            for name in self.changed
        ]
        rows += [[name, "made", ""] for name in self.made]
        rows += [[name, "used", "it was not checked whether a cell changed it"] for name in self.unchecked]
        rows += [[name, "not made", why] for name, why in self.failed.items()]
        return rows + [
            [name, "not bound", "later cells made something else of it"] for name in self.not_bound
        ]

    def _title(self) -> str:
        return f"keepstate: {len(self.made)} made, {len(self.failed)} not, in {table.duration(self.seconds)}"

    def __str__(self) -> str:
        rows = self._rows()
        return self._title() + ("\n" + table.as_text(["name", "state", "why"], rows) if rows else "")

    def _repr_html_(self) -> str:
        return table.as_html(self._title(), ["name", "state", "why"], self._rows())
