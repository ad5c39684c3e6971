"""Cells as they are recorded, and what is recorded of an object that could not be kept.

Both travel with snapshots, so they are msgspec structs: a field may be added with a default at the end, and a
reader ignores what it does not know. Layout: ``_repository/FORMAT.md``, section 6.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Ending = Literal["", "well", "error", "refused", "running"]
"""How a cell ended; ``refused``: it never began, as its syntax is wrong; empty: nobody noted it."""

RECIPE = "recipe "
"""Keys of recipes begin so: no identifier has a space, so none of them is a name of the notebook."""


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """A cell that has run or is running."""

    number: int | None
    """Execution count; ``None`` in a script. Each kernel counts from 1 again."""
    source: str
    """As the user wrote it, magics and all; secrets are taken out before it is recorded."""
    reads: list[str] = []
    """Names that were needed to be there before, sorted; also those that functions of the notebook use."""
    binds: list[str] = []
    """Names that it binds, sorted."""
    changes: list[str] = []
    """Names whose objects it changed, or may have: by methods, items or attributes, or by advancing them."""
    deletes: list[str] = []
    """Names that it unbinds, sorted."""
    ended: Ending = ""
    began_at: str = ""
    """ISO 8601, UTC, to the second; empty: not known."""
    seconds: float | None = None
    """How long it took."""
    session: str = ""
    """The session in which it ran, by its lineage."""
    is_open: bool = False
    """Whether it may read, bind or change more than its code says, as ``exec`` and ``%run`` do."""
    is_redacted: bool = False
    """Whether a secret was taken out, so that it cannot be run again as it is."""


class Lost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an object was that could not be kept."""

    type: str
    why: str
    """Why it was not kept, in a sentence."""
    repr: str = ""
    """At most 300 characters; empty: it could not be made, or looks secret."""
    shape: str = ""
    """As ``(3, 4)``, or ``5 items``; empty: it has none that is cheap to ask for."""
    cell: int | None = None
    """Number of the cell that bound it last; ``None``: not known."""
    line: str = ""
    """First line of that cell."""

    @property
    def told(self) -> str:
        """Say what it was and which cell made it, to follow on "it was".

        >>> Lost("generator", "", "<generator object f>", cell=3, line="g = f()").told
        'a generator, <generator object f>, made by cell [3] (g = f())'
        """
        parts = [f"a {self.type}", *([self.shape] if self.shape else []), *([self.repr] if self.repr else [])]
        if self.line:
            cell = "a cell" if self.cell is None else f"cell [{self.cell}]"
            parts.append(f"made by {cell} ({self.line})")
        return ", ".join(parts)


def recipe_key(name: str) -> str:
    """Give the key under which the recipe of a name is kept."""
    return RECIPE + name


def name_of_recipe(key: str) -> str | None:
    """Give the name whose recipe is kept under *key*; ``None``: it is none.

    >>> name_of_recipe(recipe_key("conn")), name_of_recipe("connect")
    ('conn', None)
    """
    return key.removeprefix(RECIPE) if key.startswith(RECIPE) else None
