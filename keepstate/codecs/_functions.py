"""Functions: by reference where an import or a definition gives them, else by code, state and cells.

The globals of a function of the notebook are the notebook, those of a library's function are the library:
neither is copied. Cells are objects of their own, so closures that shared one share it again, and a function
may stand in its own cell.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.codecs._code import CodeSpec, names_used
from keepstate.codecs._source import source_of_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reference_to(pickler: StreamPickler, thing: object) -> Any:
    """Reduce *thing* to a reference; ``None`` if it must be stored here and now."""
    definitions = pickler.definitions
    if definitions.is_foreign(thing):
        return NotImplemented
    if (moved := _moved_by_enum(thing)) is not None:
        return _calls.named("attribute"), moved
    key = definitions.key_of(thing)
    if key is not None:
        if key in pickler.inline:
            return None
        pickler.needs[key] = None
        return _calls.named("definition"), (key,)
    owner = definitions.owner_of(thing)
    if owner is not None and owner[0] not in pickler.inline:
        return _calls.named("member"), (definitions.object_of(owner[0]), owner[1])
    return None


def _moved_by_enum(thing: object) -> tuple[str, str] | None:
    """Find the ``__new__`` of a library's enumeration, which ``enum`` moves to another name."""
    owner, _, name = getattr(thing, "__qualname__", "").rpartition(".")
    module = getattr(thing, "__module__", "")
    cls = getattr(sys.modules.get(module), owner, None) if name == "__new__" else None
    if (
        getattr(cls, "_new_member_", None) is thing
        and getattr(cls, "__module__", None) == module != "__main__"
    ):
        return module, f"{owner}._new_member_"
    return None


def reduce_function(pickler: StreamPickler, function: types.FunctionType) -> Any:
    """Reduce a function."""
    reference = reference_to(pickler, function)
    return _by_value(pickler, function) if reference is None else reference


class _Globals:
    """Stands for the globals of functions that neither the notebook nor a library has."""

    __slots__ = ("name",)

    def __init__(self, name: object) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return _calls.named("own_globals"), (self.name,)


class _ModuleGlobals(_Globals):
    """Stands for the globals of an imported module."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        return _calls.named("module_globals"), (self.name,)


def _by_value(pickler: StreamPickler, function: types.FunctionType) -> tuple[object, ...]:
    cells = function.__closure__ or ()
    # A cell's contents may lead back to this function, so they are part of its state, not of its arguments.
    fresh = [cell for cell in cells if id(cell) not in pickler.filled_cells]
    pickler.filled_cells.update(map(id, fresh))
    pickler.deferred_cells.update(map(id, fresh))
    scope, copied = _scope(pickler, function)
    state = _state(function)
    state["cells"] = tuple((cell, cell.cell_contents) for cell in fresh if _is_filled(cell))
    if copied:
        state["globals"] = copied
    arguments = (_spec(pickler, function), scope, function.__name__, tuple(cells))
    return _calls.named("function"), arguments, state, None, None, _calls.named("set_function_state")


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _spec(pickler: StreamPickler, function: types.FunctionType) -> object:
    code = function.__code__
    if id(code) not in pickler.code_specs:
        own = function.__globals__ is pickler.definitions.namespace
        source = source_of_code(code) if own else ""
        spec = CodeSpec(code, source, code.co_firstlineno if source else 1)
        pickler.code_specs[id(code)] = spec
    return pickler.code_specs[id(code)]


def _scope(pickler: StreamPickler, function: types.FunctionType) -> tuple[object, dict[str, object]]:
    """Return what stands for the function's globals, and those of them that must be copied."""
    scope = function.__globals__
    used = names_used(function.__code__)
    if scope is pickler.definitions.namespace:
        pickler.calls.update(dict.fromkeys(sorted(used)))
        return scope, {}
    name = scope.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and vars(module) is scope:
        return pickler.code_specs.setdefault(id(scope), _ModuleGlobals(name)), {}
    pickler.links.add(id(scope))
    pickler.memory.keep(scope)
    token = pickler.code_specs.setdefault(id(scope), _Globals(name))
    return token, {key: scope[key] for key in sorted(used) if key in scope}


def _state(function: types.FunctionType) -> dict[str, object]:
    state: dict[str, object] = {
        "module": function.__module__,
        "qualname": function.__qualname__,
        "doc": function.__doc__,
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "annotations": function.__annotations__,
        "dict": dict(function.__dict__),
        "type_params": getattr(function, "__type_params__", ()),
    }
    return {key: value for key, value in state.items() if value}


def reduce_cell(pickler: StreamPickler, cell: types.CellType) -> tuple[object, ...]:
    """Reduce a cell; if a function is about to fill it, to an empty one."""
    make: tuple[object, ...] = (_calls.named("cell"), ())
    if id(cell) in pickler.deferred_cells or not _is_filled(cell):
        pickler.filled_cells.add(id(cell))
        return make
    pickler.filled_cells.add(id(cell))
    return (*make, (cell.cell_contents,), None, None, _calls.named("set_cell"))


def reduce_code(_pickler: StreamPickler, code: types.CodeType) -> tuple[object, ...]:
    """Reduce a bare code object."""
    return CodeSpec(code, "", 1).__reduce__()


def reduce_cached_function(pickler: StreamPickler, function: Any) -> Any:
    """Reduce a function under ``functools.lru_cache``; the cache itself is not kept."""
    reference = reference_to(pickler, function)
    if reference is not None:
        return reference
    parameters = function.cache_parameters()
    return (
        _calls.named("cached_function"),
        (function.__wrapped__, parameters["maxsize"], parameters["typed"]),
        # That one is a function of functools itself, and is made again with the cache.
        {name: value for name, value in function.__dict__.items() if name != "cache_parameters"},
    )


def reduce_cached_property(_pickler: StreamPickler, prop: Any) -> tuple[object, ...]:
    """Reduce ``functools.cached_property``, whose lock (before Python 3.12) is its own matter."""
    state = {key: value for key, value in vars(prop).items() if key not in ("func", "lock")}
    return type(prop), (prop.func,), state


# --- decoding


def make_function(
    code: types.CodeType, scope: dict[str, object], name: str, cells: tuple[types.CellType, ...]
) -> types.FunctionType:
    """Rebuild a function; its state follows."""
    by_name = code.co_freevars
    if len(by_name) != len(cells):
        raise TypeError(f"{name} has {len(cells)} cells, its code wants {len(by_name)}")
    return types.FunctionType(code, scope, name, None, cells)


_ATTRIBUTES = ("module", "qualname", "doc", "defaults", "kwdefaults", "annotations", "type_params")


def set_function_state(function: types.FunctionType, state: dict[str, Any]) -> None:
    """Give a rebuilt function its state."""
    function.__module__ = state.get("module")  # type: ignore[assignment]
    for name in _ATTRIBUTES:
        if name in state and not (name == "type_params" and sys.version_info < (3, 12)):
            setattr(function, f"__{name}__", state[name])
    function.__dict__.update(state.get("dict", {}))
    for cell, contents in state.get("cells", ()):
        cell.cell_contents = contents
    for name, value in state.get("globals", {}).items():
        function.__globals__.setdefault(name, value)


def own_globals(name: object) -> dict[str, object]:
    """Make fresh globals for functions that had some of their own."""
    scope: dict[str, object] = {"__builtins__": vars(builtins)}
    if name is not None:
        scope["__name__"] = name
    return scope


FUNCTION_REDUCERS: dict[type, Callable[[Any, Any], Any]] = {
    types.FunctionType: reduce_function,
    types.CellType: reduce_cell,
    types.CodeType: reduce_code,
}
