"""Kinds of object: how a notebook makes one, changes it, and tells whether two of them are equal.

They are written down in the text files of this folder, one for each library::

    library: collections
    import collections

    === Counter
    x = collections.Counter("banana")
    --- change
    x["z"] += 1
    --- same
    x == y
    --- use
    assert x.most_common(1)

``x`` is the object throughout; it is made the same way each time. *change* changes it or binds it anew; it is
left out where nothing can change. *same* says whether the restored ``x`` equals ``y``, which was made and
changed anew; it may use both up, and is ``x == y`` if it is left out. *use* is what else a restored one must
do. ``--- reported: why`` is there for what cannot be kept, with a part of the reason that the user reads;
``--- rebuilt: why`` likewise, where ``keepstate.rebuild()`` makes it again from the cells.
``main`` holds the variables of the notebook.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(slots=True)
class Kind:
    """One kind of object."""

    name: str
    build: str = ""
    change: str = ""
    same: str = ""
    use: str = ""
    expected: str = "kept"
    """What must come of it: ``kept``, ``rebuilt`` or ``reported``."""
    why: str = ""
    """A part of the reason why it is not kept."""

    @property
    def comparison(self):
        """The expression that compares."""
        return self.same or ("x == y" if self.expected == "kept" else "type(x).__name__ == type(y).__name__")


@dataclass(slots=True)
class Library:
    """Kinds that share a kernel."""

    name: str
    needs: tuple[str, ...] = ()
    """Modules without which it is skipped."""
    imports: str = ""
    """First cell of the notebook."""
    kinds: list[Kind] = field(default_factory=list)

    def missing(self):
        """Name a module that is needed and not installed, if there is one."""
        return next((module for module in self.needs if find_spec(module) is None), None)


def read(path):
    """Read the kinds of one file."""
    head, *sections = path.read_text(encoding="utf-8").split("\n=== ")
    lines = head.splitlines()
    facts = {}
    while lines and lines[0].partition(":")[0] in ("library", "needs"):
        what, _, value = lines.pop(0).partition(":")
        facts[what] = value.strip()
    library = Library(facts["library"], tuple(facts.get("needs", "").split()), "\n".join(lines).strip())
    library.kinds = [_kind(section) for section in sections]
    return library


def _kind(section):
    name, _, body = section.partition("\n")
    build, *parts = ("\n" + body).split("\n--- ")
    kind = Kind(name.strip(), build.strip())
    for part in parts:
        what, _, code = part.partition("\n")
        if what.startswith(("reported:", "rebuilt:")):
            kind.expected, _, why = what.partition(":")
            kind.why = why.strip()
        elif what in ("change", "same", "use"):
            setattr(kind, what, code.strip())
        else:
            raise ValueError(f"{name}: there is no section {what!r}")
    return kind


def every():
    """Return all libraries by the names of their files."""
    return {path.stem: read(path) for path in sorted(HERE.glob("*.txt"))}
