"""Objects that pickle wrongly, or not at all where a small reduce does: modules, views, singletons, types.

What only lives in this process is refused in words that a user understands.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import gc
import pickle
import random
import sys
import types
import typing
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.codecs._functions import reduce_cached_function, reduce_cached_property, reference_to
from keepstate.codecs._in_process import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reduce_module(pickler: StreamPickler, module: types.ModuleType) -> Any:
    """Keep a module as the import that it is."""
    name = module.__name__
    if vars(module) is pickler.definitions.namespace or name == pickler.definitions.module:
        raise pickle.PicklingError("it holds the notebook itself as a module")
    if sys.modules.get(name) is module:
        return _calls.named("module"), (name,)
    raise pickle.PicklingError(f"it holds the module {name!r}, which was not imported but made")


def reduce_memoryview(_pickler: StreamPickler, view: memoryview) -> Any:
    """Keep a view of the whole of a plain buffer; refuse others, which pickle would turn into bytes."""
    exporter = view.obj
    if type(exporter) in (bytes, bytearray, array.array) and _facts(view) == _facts(memoryview(exporter)):
        return memoryview, (exporter,)
    raise pickle.PicklingError("it holds a memoryview of part of a buffer")


def _facts(view: memoryview) -> tuple[object, ...]:
    return view.format, view.shape, view.strides, view.readonly


def reduce_dictionary_view(_pickler: StreamPickler, view: Any) -> Any:
    """Keep ``d.keys()`` and the like as views of that very dictionary."""
    owner = gc.get_referents(view)[0]
    return _calls.named("dictionary_view"), (owner, type(view).__name__.rpartition("_")[2])


def reduce_mapping_proxy(_pickler: StreamPickler, proxy: types.MappingProxyType[Any, Any]) -> Any:
    """Keep a read-only view as a view of that very dictionary; not that of a class, which is copied."""
    owner = gc.get_referents(proxy)[0]
    if type(owner) is not dict or {"__module__", "__doc__"} <= owner.keys():
        return NotImplemented
    return types.MappingProxyType, (owner,)


def reduce_type_variable(pickler: StreamPickler, variable: Any) -> Any:
    """Reduce a type variable, which pickle would look up in the notebook by name."""
    reference = reference_to(pickler, variable)
    if reference is not None:
        return reference
    facts = {
        name: getattr(variable, f"__{name}__")
        for name in ("bound", "covariant", "contravariant", "constraints")
        if hasattr(variable, f"__{name}__")
    }
    return _calls.named("type_variable"), (type(variable), variable.__name__, variable.__module__, facts)


def reduce_dataclass_params(_pickler: StreamPickler, params: Any) -> tuple[object, ...]:
    """Reduce the parameters of a dataclass, whose class differs between versions of Python."""
    return _calls.named("dataclass_params"), ({name: getattr(params, name) for name in params.__slots__},)


def reduce_new_type(pickler: StreamPickler, new_type: Any) -> Any:
    """Reduce a ``typing.NewType``."""
    reference = reference_to(pickler, new_type)
    if reference is not None:
        return reference
    facts = new_type.__name__, new_type.__supertype__, new_type.__module__
    return _calls.named("new_type"), facts


def reduce_type_alias(pickler: StreamPickler, alias: Any) -> Any:
    """Reduce a ``type X = …`` statement's alias."""
    reference = reference_to(pickler, alias)
    if reference is not None:
        return reference
    return _calls.named("type_alias"), (alias.__name__, alias.__value__, alias.__type_params__)


def _singleton(module: str, name: str) -> Callable[[StreamPickler, object], Any]:
    def reduce(_pickler: StreamPickler, thing: object) -> Any:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        return (_calls.named("attribute"), (module, name)) if found is thing else NotImplemented

    reduce.gives_reference = True  # type: ignore[attr-defined]
    return reduce


ODDITY_REDUCERS: dict[type, Callable[[Any, Any], Any]] = {
    types.ModuleType: reduce_module,
    dataclasses._DataclassParams: reduce_dataclass_params,  # type: ignore[attr-defined]
    memoryview: reduce_memoryview,
    types.MappingProxyType: reduce_mapping_proxy,
    **dict.fromkeys(
        (
            type({}.keys()),
            type({}.values()),
            type({}.items()),
            type(OrderedDict().keys()),
            type(OrderedDict().values()),
            type(OrderedDict().items()),
        ),
        reduce_dictionary_view,
    ),
    functools._lru_cache_wrapper: reduce_cached_function,
    functools.cached_property: reduce_cached_property,
    typing.TypeVar: reduce_type_variable,
    typing.ParamSpec: reduce_type_variable,
    typing.TypeVarTuple: reduce_type_variable,
    typing.NewType: reduce_new_type,
    random.Random: _singleton("random", "_inst"),
    type(dataclasses.MISSING): _singleton("dataclasses", "MISSING"),
    type(dataclasses.KW_ONLY): _singleton("dataclasses", "KW_ONLY"),
    type(dataclasses._HAS_DEFAULT_FACTORY): _singleton("dataclasses", "_HAS_DEFAULT_FACTORY"),  # type: ignore[attr-defined]
}
if hasattr(typing, "TypeAliasType"):
    ODDITY_REDUCERS[typing.TypeAliasType] = reduce_type_alias

NAMED_ODDITY_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "numpy.random.mtrand.RandomState": _singleton("numpy.random.mtrand", "_rand"),
    "IPython.core.interactiveshell.InteractiveShell": refuse("it holds the notebook's own shell"),
}
"""By the name of a type or of one of its bases."""


# --- decoding


def dictionary_view(owner: Any, what: str) -> Any:
    """Make a view of a dictionary: its ``keys``, ``values`` or ``items``."""
    return getattr(owner, what)()


def type_variable(kind: Any, name: str, module: str, facts: dict[str, Any]) -> Any:
    """Make a type variable."""
    constraints = facts.pop("constraints", ())
    made = kind(name, *constraints, **facts)
    made.__module__ = module
    return made


def new_type(name: str, supertype: Any, module: str) -> Any:
    """Make a ``typing.NewType``."""
    make: Any = typing.NewType  # a checker wants a literal name
    made = make(name, supertype)
    made.__module__ = module
    return made


def type_alias(name: str, value: Any, parameters: Any) -> Any:
    """Make the alias of a ``type X = …`` statement."""
    return typing.TypeAliasType(name, value, type_params=parameters)  # type: ignore[attr-defined, unused-ignore]
