"""Which recorded cells make a name again: the last that bound it, those that changed it, and what they read.

Knows records of cells, no objects. A name that is live is taken as it is; where it has changed since a cell
read it, that is said. What no record tells of is said as well, and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from keepstate._model.cells import Cell

LINE_CHARACTERS = 60


class CannotMake(Exception):  # noqa: N818 - not an error: an answer
    """The record does not say how a name was made, or it cannot be done again."""


@dataclass(slots=True)
class Step:
    """One cell that is run again."""

    at: int
    """Place in the list of cells."""
    makes: set[str] = field(default_factory=set)
    """Missing names for which it is there: it binds or changes them."""
    needs: set[str] = field(default_factory=set)
    """Missing names that it reads; earlier steps make them."""
    live: set[str] = field(default_factory=set)
    """Names that it reads and that are there."""
    copies: set[str] = field(default_factory=set)
    """Those of them that it may change: it is given copies."""


@dataclass(slots=True)
class Slice:
    """What makes some names again."""

    steps: dict[int, Step] = field(default_factory=dict)
    by_recipe: set[str] = field(default_factory=set)
    """Missing names that a recipe makes."""
    impossible: dict[str, str] = field(default_factory=dict)
    """name → why it cannot be made."""
    newer: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Live name → the cell that reads it, and the last one that has changed it since."""


class Slicer:
    """Cuts slices out of one list of cells.

    Args:
        cells: In the order in which they ran.
        live: Names that are there.
        recipes: Names that a recipe makes.
        is_constant: Says of a live name whether the same code always makes the same of it, as of a function.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        live: Collection[str],
        recipes: Collection[str] = (),
        is_constant: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self._cells = cells
        self._live = live
        self._recipes = recipes
        self._is_constant = is_constant
        self._events: dict[str, list[int]] = {}
        for at, cell in enumerate(cells):
            for name in {*cell.binds, *cell.changes, *cell.deletes}:
                self._events.setdefault(name, []).append(at)
        self._open = [at for at, cell in enumerate(cells) if cell.is_open]

    def make(self, names: Iterable[str]) -> Slice:
        """Say which cells make *names*; each that cannot be made costs itself alone."""
        found = Slice()
        for name in names:
            own = Slice()
            try:
                self._make(name, len(self._cells), own, set())
            except CannotMake as why:
                found.impossible[name] = str(why)
                continue
            except RecursionError:
                found.impossible[name] = "too many cells hang on each other"
                continue
            _join(found, own)
        return found

    @property
    def live(self) -> frozenset[str]:
        """Names that were there when the plan was made."""
        return frozenset(self._live)

    def last_change(self, name: str) -> int | None:
        """Give the place of the last cell that bound, changed or unbound *name*."""
        events = self._events.get(name)
        return events[-1] if events else None

    def _make(self, name: str, before: int, found: Slice, done: set[tuple[str, int]]) -> None:
        """Have *name* as it was before the cell at *before*."""
        if name in self._recipes:
            found.by_recipe.add(name)
            return
        events = [at for at in self._events.get(name, ()) if at < before]
        binders = [at for at in events if name in self._cells[at].binds]
        if not binders:
            raise CannotMake(self._no_binder(name, before))
        begin = binders[-1]
        for at in [at for at in events if at >= begin]:
            cell = self._cells[at]
            if name in cell.deletes and name not in cell.binds:
                raise CannotMake(f"{title(cell)} deleted {name!r}")
            self._must_run_alike(cell, name)
            if (name, at) in done:
                continue
            done.add((name, at))
            step = found.steps.setdefault(at, Step(at))
            step.makes.add(name)
            self._take_inputs(step, found, done)

    def _take_inputs(self, step: Step, found: Slice, done: set[tuple[str, int]]) -> None:
        cell = self._cells[step.at]
        for name in cell.reads:
            if name in self._live:
                step.live.add(name)
                if name in cell.changes:
                    step.copies.add(name)
                later = self.last_change(name)
                if later is not None and later >= step.at and not self._is_same(name, step.at):
                    found.newer.setdefault(name, (step.at, later))
            else:
                step.needs.add(name)
                try:
                    self._make(name, step.at, found, done)
                except CannotMake as why:
                    raise CannotMake(f"{title(cell)} needs {name!r}, and {why}") from None

    def _is_same(self, name: str, before: int) -> bool:
        """Say whether a live name is what it was before that cell, though a cell has bound it since."""
        if not self._is_constant(name):
            return False
        sources = [self._cells[at].source for at in self._events[name] if name in self._cells[at].binds]
        earlier = [at for at in self._events[name] if at < before and name in self._cells[at].binds]
        return bool(earlier) and sources[-1] == self._cells[earlier[-1]].source

    def _must_run_alike(self, cell: Cell, name: str) -> None:
        did = "bound" if name in cell.binds else "changed"
        if cell.is_redacted:
            raise CannotMake(
                f"{title(cell)}, which {did} {name!r}, held a secret, which is not recorded: run it yourself"
            )
        if cell.ended == "running":
            raise CannotMake(
                f"{title(cell)}, which {did} {name!r}, had not ended when the state was kept: "
                "run the lines that make it yourself"
            )
        if cell.ended == "error":
            raise CannotMake(
                f"{title(cell)}, which may have {did} {name!r}, ended with an error: "
                "run the lines that make it yourself"
            )

    def _no_binder(self, name: str, before: int) -> str:
        opened = [title(self._cells[at]) for at in self._open if at < before]
        perhaps = f"; {', '.join(opened[-3:])} may have, by more than its code says" if opened else ""
        return f"no recorded cell binds {name!r}{perhaps}"


def _join(found: Slice, own: Slice) -> None:
    for at, step in own.steps.items():
        known = found.steps.setdefault(at, Step(at))
        known.makes |= step.makes
        known.needs |= step.needs
        known.live |= step.live
        known.copies |= step.copies
    found.by_recipe |= own.by_recipe
    for name, places in own.newer.items():
        found.newer.setdefault(name, places)


def title(cell: Cell) -> str:
    """Name a cell for people.

    >>> from keepstate._model.cells import Cell
    >>> title(Cell(3, "x = 1\\ny = 2"))
    'cell [3] (x = 1)'
    """
    line = cell.source.strip().partition("\n")[0]
    cut = line if len(line) <= LINE_CHARACTERS else line[: LINE_CHARACTERS - 1] + "…"
    return f"a cell ({cut})" if cell.number is None else f"cell [{cell.number}] ({cut})"


def explain_untracked(name: str, cells: Sequence[Cell], *, lineage: str) -> str | None:
    """Say of a missing name that was never under guard which cell of an earlier session made it."""
    for cell in reversed(cells):
        if name in cell.binds and cell.session and cell.session != lineage:
            return (
                f"keepstate: {name!r} was made by {title(cell)} of an earlier session and was not tracked: "
                f"keepstate.rebuild({name!r}) shows what makes it again"
            )
        if name in cell.binds or name in cell.deletes:
            break
    return None
