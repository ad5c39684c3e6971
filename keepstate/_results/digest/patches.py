"""What the notebook has put into libraries in the place of what was there."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from keepstate._results import modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keepstate._results.digest.digester import Digester

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: of others nobody can change an attribute."""


def take_patches(digester: Digester, owner: str, inside: Mapping[str, object], names: Iterable[str]) -> None:
    """Take in what the notebook has put into a library in the place of what was there.

    Nothing else is written: what a module has loaded so far is no part of any value.
    """
    if not digester.exact:
        return
    for name in sorted(inside.keys() & names):
        value: Any = inside[name]
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        if type(value) is types.ModuleType:
            if value.__name__.startswith(f"{owner}.") and value.__name__ not in digester.seen.looked_into:
                digester.seen.looked_into.add(value.__name__)
                take_patches(digester, value.__name__, vars(value), names)
        elif type(value) is types.FunctionType:
            _take_patch(digester, f"{owner}.{name}", value, value.__globals__.get("__name__"))
        elif isinstance(value, type):
            _take_patch(digester, f"{owner}.{name}", value, value.__module__)
            take_patches_of_class(digester, value)


def _take_patch(digester: Digester, label: str, value: object, module: object) -> None:
    if _origin(digester, module) != "library" and id(value) not in digester.numbers:
        digester.apart(label, lambda: digester.take(value))


def take_patches_of_class(digester: Digester, cls: type) -> None:
    """Take in what the notebook has put into a class of a library, or into one that it inherits from."""
    for base in cls.__mro__:
        known = base in digester.seen.unpatched or not base.__flags__ & _HEAP_TYPE
        if not known and _origin(digester, base.__module__) == "library":
            digester.seen.unpatched.add(base)
            inside = type.__dict__["__dict__"].__get__(base)
            methods = [name for name, value in inside.items() if not isinstance(value, type)]
            take_patches(digester, base.__qualname__, inside, methods)


def _origin(digester: Digester, module: object) -> modules.Origin:
    """Say where a module comes from; of most classes hundreds of functions are asked for."""
    key = str(module)
    if key not in digester.seen.origins:
        digester.seen.origins[key] = modules.origin_of(module)
    return digester.seen.origins[key]
