"""Which names a cell read, bound and changed: from its code, and from what is bound when it has ended.

Values are looked at by their types alone, so that no code of theirs runs. What is only known by running, as
that a library's function changes its argument, is not seen.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types
from typing import TYPE_CHECKING

import msgspec

from keepstate import codecs
from keepstate._notebook.naming import HARMLESS_METHODS, Names, names_of_code, names_of_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keepstate._model.cells import Cell

LONGEST = 1 << 16
"""Characters of a cell that is looked at; more would hold the main thread for more than 50 ms."""
MOST_KNOWN = 4096
"""Functions of the notebook of which it is remembered what they do."""
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
_UNCHANGED = (
    *(int, float, complex, bool, str, bytes, tuple, frozenset, range, slice, type(None), type(...)),
    *(types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type),
)
"""Types of which no method changes anything that belongs to the name."""
_TABLES = frozenset({"numpy", "pandas", "polars", "pyarrow"})
"""Libraries whose types are changed by these methods alone, and by ``inplace=True``."""
_CHANGE_TABLES = frozenset(
    {"insert", "pop", "update", "sort", "fill", "resize", "put", "partition", "itemset", "setfield"}
    | {"setflags", "byteswap", "append", "extend", "shift_in_place", "drop_in_place", "replace_column"}
)
_CHANGE_CONTAINERS = frozenset(
    {"append", "extend", "insert", "pop", "popitem", "popleft", "remove", "clear", "update", "setdefault"}
    | {"sort", "reverse", "add", "discard", "appendleft", "extendleft", "rotate", "subtract"}
    | {"intersection_update", "difference_update", "symmetric_difference_update", "move_to_end"}
)
_CONTAINERS = (list, dict, set, bytearray)

_WRAPPERS = {
    functools.partial: "func",
    types.MethodType: "__func__",
    functools._lru_cache_wrapper: "__wrapped__",
}
"""Types of what calls a function → where they have it."""

_known: dict[types.CodeType, Names] = {}


def with_names(cell: Cell, namespace: Mapping[str, object], transform: Callable[[str], str] = str) -> Cell:
    """Give *cell* with the names that it read, bound, changed and unbound.

    Args:
        cell: One that has ended, or that runs.
        namespace: The user's globals as it has left them.
        transform: Turns magics into calls; may raise SyntaxError.
    """
    if cell.ended == "refused":
        return cell
    if len(cell.source) > LONGEST:
        return msgspec.structs.replace(cell, is_open=True)
    live = _Live(namespace)
    try:
        found = names_of_code(transform(cell.source), behind=live.behind, transform=transform)
    except _NOT_PYTHON:
        return msgspec.structs.replace(cell, is_open=True)
    binds = {name for name in found.binds if cell.ended == "well" or name in namespace}
    changed = found.changes | {
        name for name, methods in found.methods.items() if live.is_changed_by(name, methods)
    }
    changed |= {name for name in found.used if live.is_iterator(name)}
    changed |= live.other_names(changed)
    return msgspec.structs.replace(
        cell,
        reads=sorted(name for name in found.reads if name in namespace or not hasattr(builtins, name)),
        binds=sorted(binds),
        changes=sorted(changed - binds),
        deletes=sorted(found.deletes),
        is_open=found.is_open,
    )


class _Live:
    """What is bound now."""

    def __init__(self, namespace: Mapping[str, object]) -> None:
        self._namespace = namespace
        self._open: set[int] = set()

    def behind(self, name: str) -> Names | None:
        """Say what using *name* does, if functions of the notebook are behind it."""
        functions = list(_functions_of(self._namespace.get(name), self._namespace))
        if not functions:
            return None
        found = Names()
        for code in functions:
            own = _names_of(code)
            found.join(own)
            found.parameters |= own.parameters
            found.order = found.order or own.order
            if id(code) in self._open:
                continue
            self._open.add(id(code))
            for other in own.reads:
                deeper = self.behind(other)
                if deeper is not None:
                    found.join(deeper)
            self._open.discard(id(code))
        return found

    def is_changed_by(self, name: str, methods: set[str]) -> bool:
        """Say whether calling *methods* of it may change what is bound to *name*."""
        kind = type(self._namespace.get(name, self))
        if kind is _Live:
            return not methods <= HARMLESS_METHODS  # it is gone; so its type is not known
        if issubclass(kind, _UNCHANGED):
            return False
        root = str(_module_of(kind)).partition(".")[0]
        if root in _TABLES:
            return bool(methods & _CHANGE_TABLES)
        if kind in _CONTAINERS:
            return bool(methods & _CHANGE_CONTAINERS)
        return not methods <= HARMLESS_METHODS

    def is_iterator(self, name: str) -> bool:
        """Say whether *name* is bound to what using it uses up."""
        kind = type(self._namespace.get(name))
        return any("__next__" in _dict_of(each) for each in _mro_of(kind))

    def other_names(self, names: set[str]) -> set[str]:
        """Give the other names of the same objects."""
        objects = {id(self._namespace[name]) for name in names if name in self._namespace}
        if not objects:
            return set()
        return {
            name
            for name, value in list(self._namespace.items())
            if id(value) in objects and not name.startswith("_") and not issubclass(type(value), _UNCHANGED)
        }


def _dict_of(kind: object) -> Mapping[str, object]:
    """Give the attributes of a class without asking its metaclass."""
    found: Mapping[str, object] = type.__dict__["__dict__"].__get__(kind)
    return found


def _mro_of(kind: object) -> tuple[type, ...]:
    found: tuple[type, ...] = type.__dict__["__mro__"].__get__(kind)
    return found


def _module_of(kind: object) -> object:
    return _dict_of(kind).get("__module__")


def _functions_of(value: object, namespace: Mapping[str, object]) -> Iterator[types.CodeType]:
    """Give the code of the notebook that using *value* may run."""
    while (inner := _WRAPPERS.get(type(value))) is not None:
        value = getattr(value, inner)
    kind = type(value)
    if kind is types.FunctionType:
        function: types.FunctionType = value  # type: ignore[assignment]
        if function.__globals__ is namespace:
            yield function.__code__
            wrapped = function.__dict__.get("__wrapped__")
            if wrapped is not None and wrapped is not function:
                yield from _functions_of(wrapped, namespace)
    elif kind is types.GeneratorType:
        generator: types.GeneratorType[object, object, object] = value  # type: ignore[assignment]
        if generator.gi_frame is not None and generator.gi_frame.f_globals is namespace:
            yield generator.gi_code
    else:
        yield from _methods_of(value if issubclass(kind, type) else kind, namespace)


def _methods_of(kind: object, namespace: Mapping[str, object]) -> Iterator[types.CodeType]:
    for each in _mro_of(kind):
        if _module_of(each) != "__main__":
            continue
        for member in list(_dict_of(each).values()):
            if isinstance(member, staticmethod | classmethod):
                member = member.__func__
            if isinstance(member, property):
                member = member.fget
            if type(member) is types.FunctionType and member.__globals__ is namespace:
                yield member.__code__


def _names_of(code: types.CodeType) -> Names:
    found = _known.get(code)
    if found is None:
        try:
            found = names_of_function(codecs.source_of_code(code))
        except _NOT_PYTHON:
            found = _names_in(code)
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[code] = found
    return found


def _names_in(code: types.CodeType) -> Names:
    """Do without the source: what is changed is not known then."""
    found = Names()
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.reads.add(str(each.argval))
        elif each.opname in ("STORE_GLOBAL", "STORE_NAME"):
            found.binds.add(str(each.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.join(_names_in(constant))
    found.used = set(found.reads)
    return found
