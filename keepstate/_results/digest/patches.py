"""What the notebook has put into libraries in the place of what was there."""

from __future__ import annotations

import abc
import functools
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._results import modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keepstate._results.digest.digester import Digester

_NAMED = frozenset(
    {types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType}
    | {np.ufunc, type(np.sum)}
)
"""Types of functions of libraries, besides Python's own."""
_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: of others nobody can change an attribute."""


def take_patches(digester: Digester, owner: str, inside: Mapping[str, object], names: Iterable[str]) -> None:
    """Take in what the notebook has put into a library in the place of what was there.

    Of the library's own nothing is written but what stands under another name than its own: what a module has
    loaded so far is no part of any value.
    """
    if not digester.exact:
        return
    for name in sorted(inside.keys() & names):
        value: Any = inside[name]
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        label = f"{owner}.{name}"
        if type(value) is types.ModuleType:
            if value.__name__.startswith(f"{owner}.") and value.__name__ not in digester.seen.looked_into:
                digester.seen.looked_into.add(value.__name__)
                take_patches(digester, value.__name__, vars(value), names)
        elif isinstance(value, types.FunctionType | type):
            where = value.__module__ if isinstance(value, type) else value.__globals__.get("__name__")
            if origin(digester, where) != "library":
                _take_patch(digester, label, value)
            else:
                _take_name(digester, label, value, value.__module__)
            if isinstance(value, type):
                take_patches_of_class(digester, value)
        elif type(value) in _NAMED:
            _take_name(digester, label, value, _module_of(value))
        elif _is_own(digester, value):
            _take_patch(digester, label, value)


def _take_patch(digester: Digester, label: str, value: object) -> None:
    if id(value) in digester.numbers:
        digester.write(label.encode())
        digester.take(value)
    else:
        digester.apart(label, lambda: digester.take(value))


def _take_name(digester: Digester, label: str, value: Any, module: object) -> None:
    """Say what stands there if it is from elsewhere: ``json.dumps = orjson.dumps``, ``np.sum = np.mean``."""
    name = str(value.__name__)
    here = label.partition(".")[0] == str(module).partition(".")[0] or module is None
    if name != label.rpartition(".")[2] or not here:
        digester.write(b"other", label.encode(), str(module).encode(), name.encode())


def _module_of(value: Any) -> object:
    owner = getattr(value, "__objclass__", value)
    return getattr(owner, "__module__", None)


def _is_own(digester: Digester, value: object) -> bool:
    """Say whether an object in a library is the notebook's, or was made of what is the notebook's."""
    if type(value) is functools.partial or origin(digester, type(value).__module__) != "library":
        return True
    parts = [value.__self__, value.__func__] if type(value) is types.MethodType else []
    parts += list(attributes_of(value).values())
    return any(_is_definition_of_own(digester, part) for part in parts)


def attributes_of(value: object) -> dict[str, object]:
    """Give the attributes of an instance without asking it: what stands in for others may raise anything."""
    try:
        inside = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return dict(inside) if type(inside) is dict else {}


def _is_definition_of_own(digester: Digester, part: object) -> bool:
    if type(part) is types.FunctionType:
        return origin(digester, part.__globals__.get("__name__")) != "library"
    return isinstance(part, type) and origin(digester, part.__module__) != "library"


def take_patches_of_class(digester: Digester, cls: type) -> None:
    """Take in what the notebook has put into a class of a library, or into one that it inherits from."""
    for base in cls.__mro__:
        known = base in digester.seen.unpatched or not base.__flags__ & _HEAP_TYPE
        if not known and origin(digester, base.__module__) == "library":
            digester.seen.unpatched.add(base)
            inside = type.__dict__["__dict__"].__get__(base)
            methods = [name for name, value in inside.items() if not isinstance(value, type)]
            take_patches(digester, f"{base.__module__}.{base.__qualname__}", inside, methods)
            take_registered(digester, base)


def take_patches_by_name(digester: Digester, cls: type, names: Iterable[str]) -> None:
    """Take in what the notebook has put under one of these names into a class, which need not be named."""
    if cls.__flags__ & _HEAP_TYPE and cls not in digester.seen.unpatched:
        inside = type.__dict__["__dict__"].__get__(cls)
        for name in sorted(inside.keys() & names):
            if _is_definition_of_own(digester, inside[name]) or _is_own(digester, inside[name]):
                _take_patch(digester, f"{cls.__module__}.{cls.__qualname__}.{name}", inside[name])


def take_registered(digester: Digester, cls: type) -> None:
    """Take in the classes of the notebook's that were registered with an abstract one."""
    if "_abc_impl" not in vars(cls) or not digester.exact:
        return
    registered = [each() for each in abc._get_dump(cls)[0]]  # type: ignore[attr-defined]
    own = [each for each in registered if each and origin(digester, each.__module__) != "library"]
    for each in sorted(own, key=lambda each: (each.__module__, each.__qualname__)):
        digester.write(b"registered")
        digester.take(each)


def origin(digester: Digester, module: object) -> modules.Origin:
    """Say where a module comes from; of most classes hundreds of functions are asked for."""
    key = str(module)
    if key not in digester.seen.origins:
        digester.seen.origins[key] = modules.origin_of(module)
    return digester.seen.origins[key]
