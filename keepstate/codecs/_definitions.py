"""What counts as a definition of the notebook, and under which key it is stored.

A definition is a function or class of the notebook that a name of its namespace is bound to; or one that
was, until its cell ran again. Each is stored once per snapshot, and everything else refers to it by key.
This module decides; it neither pickles nor rebuilds.
"""

from __future__ import annotations

import re
import sys
import typing
from functools import _lru_cache_wrapper
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPING_FORMS = tuple(
    getattr(typing, name)
    for name in ("TypeVar", "ParamSpec", "TypeVarTuple", "NewType", "TypeAliasType")
    if hasattr(typing, name)
)
_DEFINABLE = (FunctionType, type, _lru_cache_wrapper, *_TYPING_FORMS)
_OUTPUT_NAME = re.compile(r"_+\d*|_i+\d*|_[iod]h")
"""Names that IPython binds to outputs and inputs; they are not where a function is defined."""


def is_definable(kind: type) -> bool:
    """Say whether objects of type *kind* may be definitions; asks the type alone, never a proxy's object."""
    return issubclass(kind, _DEFINABLE)


def is_importable(thing: object) -> bool:
    """Say whether importing its module gives this very function or class under its qualified name."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    found: object = module
    path = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if module is None or not isinstance(path, str):
        return False
    for name in path.split("."):
        found = getattr(found, name, None)
    return found is thing


class Definitions:
    """The definitions of one picture.

    Args:
        namespace: The user's globals.
        bindings: The names to be encoded; they win over *namespace* where they differ.
    """

    def __init__(self, namespace: Mapping[str, object], bindings: Mapping[str, object]) -> None:
        self.namespace = namespace
        self.module = str(namespace.get("__name__", "__main__"))
        self._bound: dict[object, object] = {}  # a user may bind any key
        self._bound.update(namespace)
        self._bound.update(bindings)
        self._keys: dict[int, str] = {}
        self._objects: dict[str, object] = {}
        self._wrapped: set[int] = set()
        """Ids of functions inside a decorated one: they are part of it, though they bear its name."""
        for name in sorted(name for name in self._bound if isinstance(name, str)):
            thing = self._bound[name]
            if is_definable(type(thing)) and not self.is_foreign(thing) and not self._is_of_library(thing):
                self._offer(name, thing)
                self._unwrap(thing)

    def _offer(self, name: str, thing: object) -> None:
        own = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
        if name != own and (id(thing) in self._keys or _OUTPUT_NAME.fullmatch(name)):
            return
        old = self._keys.get(id(thing))
        if old is not None:
            del self._objects[old]
        self._keys[id(thing)] = name
        self._objects[name] = thing

    def _is_of_library(self, thing: object) -> bool:
        """Tell functions that a library made for itself, such as the ``open`` of IPython."""
        if type(thing) is not FunctionType or thing.__module__ == self.module:
            return False
        library = sys.modules.get(str(thing.__globals__.get("__name__")))
        return library is not None and vars(library) is thing.__globals__ is not self.namespace

    def _unwrap(self, thing: object) -> None:
        attributes = getattr(thing, "__dict__", None)  # a TypeVar of 3.12 has none
        inner = attributes.get("__wrapped__") if isinstance(attributes, dict) else None
        while type(inner) is FunctionType and id(inner) not in self._wrapped:
            self._wrapped.add(id(inner))
            inner = vars(inner).get("__wrapped__")

    def is_foreign(self, thing: object) -> bool:
        """Say whether *thing* is kept as a reference into an imported module."""
        return getattr(thing, "__module__", None) != self.module and is_importable(thing)

    def key_of(self, thing: object) -> str | None:
        """Return the key of a definition; ``None`` for anything else."""
        key = self._keys.get(id(thing))
        if key is None and self._is_superseded(thing):
            key = self._new_key(str(getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")))
            self._keys[id(thing)] = key
            self._objects[key] = thing
        return key

    def _is_superseded(self, thing: object) -> bool:
        # Only what a cell's top level defined has a plain name; lambdas and inner functions do not.
        return (
            is_definable(type(thing))
            and id(thing) not in self._wrapped
            and getattr(thing, "__module__", None) == self.module
            and str(getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")).isidentifier()
        )

    def _new_key(self, name: str) -> str:
        number = 2
        while f"{name}#{number}" in self._objects:
            number += 1
        return f"{name}#{number}"

    def object_of(self, key: str) -> object:
        """Return what is stored under *key*: a definition, or what the notebook means by that name."""
        return self._objects[key] if key in self._objects else self._bound[key]

    def is_bound(self, key: str) -> bool:
        """Say whether *key* is a name of the notebook (and not a superseded definition)."""
        return "#" not in key

    def owner_of(self, thing: object) -> tuple[str, str] | None:
        """For a function or class inside a definition: its owner's key, and the path from there."""
        path = getattr(thing, "__qualname__", None)
        if not isinstance(path, str) or "." not in path or getattr(thing, "__module__", None) != self.module:
            return None
        top, _, rest = path.partition(".")
        owner = self._objects.get(top)
        found = owner
        for name in rest.split("."):
            attributes = getattr(found, "__dict__", None)
            if not isinstance(attributes, dict | MappingProxyType):
                return None
            found = attributes.get(name)
            if isinstance(found, staticmethod | classmethod):
                found = found.__func__
        return (top, rest) if found is thing else None

    def used(self, name: str) -> object | None:
        """Return what a function means by a global, if that is a definition or comes from a library."""
        thing = self._bound.get(name)
        if type(thing) is ModuleType:
            return thing if thing.__name__ != self.module else None
        known = is_definable(type(thing)) and (id(thing) in self._keys or self.is_foreign(thing))
        return thing if known or isinstance(thing, BuiltinFunctionType | np.ufunc) else None
