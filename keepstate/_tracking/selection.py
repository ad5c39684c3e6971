"""The set of names under guard, and how it is told by objects, by names and by ``"all"``."""

from __future__ import annotations

import keyword
from types import ModuleType
from typing import TYPE_CHECKING

from keepstate._tracking.secrets import looks_secret
from keepstate.errors import InvalidInputError, UntrackableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Values that anything could be: small numbers and short texts are one object for many names.
_ANYTHING = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented))


def names_of(thing: object, namespace: Mapping[str, object]) -> list[str]:
    """Find the public names bound to that very object.

    Raises:
        UntrackableError: No name is bound to it, or it is a value that many names may hold by chance.
    """
    if isinstance(thing, _ANYTHING) or (type(thing) is tuple and not thing):
        raise UntrackableError(
            f"track() was given a {type(thing).__name__}, a value that many names may hold: "
            "give the name as a text, track('name'), or name=object, track(name=value)"
        )
    names = [name for name, value in list(namespace.items()) if value is thing and not name.startswith("_")]
    if not names:
        raise UntrackableError(
            f"no name of the notebook is bound to this {type(thing).__name__}: "
            "assign it first, or give the name yourself, track(name=object)"
        )
    return sorted(names)


def check_name(name: str) -> str:
    """Return *name* if a notebook could bind it.

    Raises:
        InvalidInputError: It is not an identifier, is a keyword, or begins with two underscores.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        raise InvalidInputError(f"{name!r} is not a name that a notebook can bind: use a plain identifier")
    return name


class Selection:
    """The names under guard. Not thread-safe by itself; the session holds its lock around changes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.excluded: set[str] = set()
        self.everything = False
        self.recipes: dict[str, Callable[[], object]] = {}
        """Name → what makes its object anew where it cannot be kept."""

    def add(self, names: Iterable[str]) -> None:
        """Guard these from now on, whether or not they are bound yet."""
        for name in names:
            self.names.add(check_name(name))
            self.excluded.discard(name)

    def remove(self, names: Iterable[str]) -> None:
        """Guard these no longer, also under ``"all"``."""
        for name in names:
            self.names.discard(name)
            self.recipes.pop(name, None)
            if self.everything:
                self.excluded.add(name)

    def bindings(
        self, namespace: Mapping[str, object], hidden: Mapping[str, object]
    ) -> tuple[dict[str, object], dict[str, str]]:
        """Look up every guarded name that is bound now.

        Args:
            namespace: The user's globals; read in one step, so that other threads may write meanwhile.
            hidden: What the shell itself put there; a name that is still the shell's is not the user's.

        Returns:
            name → object, sorted by name, and for ``"all"`` name → why it was left out.
        """
        bound = dict(namespace)  # one C call under the GIL
        wanted = {name for name in self.names if name in bound}
        left_out = {}
        if self.everything:
            for name, value in bound.items():
                if name.startswith("_") or name in self.names or name in self.excluded:
                    continue
                if name in hidden and hidden[name] is value:
                    continue
                if _is_own(value):
                    continue
                if why := looks_secret(name, value):
                    left_out[name] = f"{why}; keepstate.track({name!r}) keeps it all the same"
                    continue
                wanted.add(name)
        return {name: bound[name] for name in sorted(wanted)}, left_out


def _is_own(value: object) -> bool:
    """Whether it is this package, which the first cell imports, or its session, which is of this process."""
    kind = type(value)
    if kind is ModuleType:
        return vars(value).get("__name__") == "keepstate"
    return kind.__module__.startswith("keepstate.") and kind.__name__ == "Session"
