"""Whose identity matters: objects that, shared by two names, must come back as one.

A shared string, class or index is no reason to store two names together; a shared list, array or cell is.
Linking by everything that is shared would tie the whole notebook into one group.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import logging
import pathlib
import re
import types
import uuid
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls
from keepstate.codecs._code import CodeSpec
from keepstate.codecs._definitions import is_definable
from keepstate.codecs._reducers import reducer_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate.codecs._definitions import Definitions
    from keepstate.codecs._pickler import StreamPickler

_VALUES = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    tuple,
    frozenset,
    range,
    slice,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    types.CodeType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.GenericAlias,
    types.UnionType,
    types.EllipsisType,
    types.NotImplementedType,
    weakref.ReferenceType,
    CodeSpec,
    enum.Enum,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.tzinfo,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    pathlib.PurePath,
    re.Pattern,
    logging.Logger,
    np.dtype,
    np.generic,
    np.ufunc,
)
"""Values that never change: equal is as good as the same. The user's own subclasses may change."""
_VALUES_BY_NAME = frozenset(
    {
        "pandas.core.dtypes.base.ExtensionDtype",
        "pandas.api.extensions.ExtensionDtype",
        "pandas.core.indexes.base.Index",
        "pandas.Index",
        "pandas._libs.tslibs.offsets.BaseOffset",
        "pandas._libs.tslibs.period._Period",
        "pandas._libs.interval.Interval",
        "pandas.Interval",
        "dateutil.relativedelta.relativedelta",
        "pandas._libs.internals.BlockValuesRefs",
        "pandas._libs.missing.NAType",
        "pandas.api.typing.NAType",
        "torch.dtype",
        "torch.device",
        "torch.layout",
        "torch.memory_format",
        "torch.Size",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "pyarrow.lib.DataType",
        "pyarrow.lib.Schema",
        "pyarrow.lib.Buffer",
        "polars.datatypes.classes.DataType",
    }
)
"""By the name of a type or of one of its bases."""
_PLAIN_MUTABLE = (list, dict, set, bytearray, np.ndarray, types.CellType)


def is_value_type(kind: type) -> bool:
    """Say whether objects of this type never change, so that it is no matter whether two are one."""
    if kind.__module__ == "typing":
        return True
    for base in kind.__mro__:
        if f"{base.__module__}.{base.__qualname__}" in _VALUES_BY_NAME:
            return True
    if issubclass(kind, np.void):
        return False  # rows of records are written to
    own = kind.__module__ == "__main__" and kind.__dictoffset__ != 0 and not issubclass(kind, enum.Enum)
    return issubclass(kind, _VALUES) and not own


def _ids_within(state: object, *, levels: int = 3) -> Iterator[int]:
    """Yield the ids of a state and of the plain containers in it, so many levels down."""
    if levels and (type(state) is dict or type(state) is list):
        yield id(state)
        for item in state.values() if isinstance(state, dict) else state:
            yield from _ids_within(item, levels=levels - 1)


class Identity:
    """Answers for the objects of one picture.

    Args:
        definitions: Tells what is stored on its own anyway.
        pickler: Any pickler of the picture; its reducers tell what is kept by reference.
    """

    def __init__(self, definitions: Definitions, pickler: StreamPickler) -> None:
        self._definitions = definitions
        self._pickler = pickler
        self._types: dict[type, bool] = {}

    def material(self, ids: list[int], things: list[object], held: list[object]) -> list[int]:
        """Return those of *ids* whose identity matters.

        Args:
            ids: Of objects that more than one stream holds.
            things: The objects, as far as pickle has remembered them.
            held: All objects that one of the streams holds.
        """
        # Globals of a function's own are remembered by no pickler: they are dictionaries, and matter.
        found = set(ids).difference(map(id, things))
        kinds = {kind for kind in set(map(type, things)) if self._may_matter(kind)}
        asked = [thing for thing in things if type(thing) in kinds] if kinds else []
        owned = self._owned_ids(things, held) if kinds & set(_PLAIN_MUTABLE) else frozenset()
        return [*found, *(id(t) for t in asked if id(t) not in owned and self.matters(t))]

    def _owned_ids(self, things: list[object], held: list[object]) -> frozenset[int]:
        """Return ids of containers that belong to a value or to a library's class; they link nothing."""
        values = (thing for thing in things if not self._may_matter(type(thing)))
        owned = {key for value in values for key in _ids_within(getattr(value, "__dict__", None))}
        return self._attributes_of_libraries(held) | owned

    def _attributes_of_libraries(self, held: list[object]) -> frozenset[int]:
        """Return ids of what libraries' classes hold: objects whose state repeats it are not linked."""
        kinds = {base for kind in set(map(type, held)) for base in kind.__mro__}
        foreign = filter(self._definitions.is_foreign, kinds)
        return frozenset(id(value) for kind in foreign for value in vars(kind).values())

    def _may_matter(self, kind: type) -> bool:
        known = self._types.get(kind)
        if known is None:
            known = kind in _PLAIN_MUTABLE or is_definable(kind) or not is_value_type(kind)
            self._types[kind] = known
        return known

    def matters(self, thing: object) -> bool:
        """Say whether names that share *thing* must share it when they come back."""
        kind = type(thing)
        if kind in _PLAIN_MUTABLE:
            return True
        if is_definable(kind):
            return not self._is_referred_to(thing)
        return self._may_matter(kind) and not self._is_global(thing)

    def _is_referred_to(self, thing: object) -> bool:
        found = self._definitions
        return found.is_foreign(thing) or found.key_of(thing) is not None or found.owner_of(thing) is not None

    def _is_global(self, thing: Any) -> bool:
        """Tell objects that are kept as a name in a module: their reduce gives that name."""
        kind: Any = type(thing)
        reducer = reducer_for(kind)
        try:
            if reducer is not None and getattr(reducer, "gives_reference", False):
                reduced = reducer(self._pickler, thing)
                return reduced is not NotImplemented and reduced[0] is _calls.named("attribute")
            if kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__:
                return False
            return reducer is None and isinstance(thing.__reduce_ex__(5), str)
        except Exception:  # noqa: BLE001
            return False  # it was pickled once already; linking one more is the safe side
