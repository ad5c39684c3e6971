"""Which reducer a type has. Asked once per type and stream."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._array_reducers import reduce_array, reduce_dtype, reduce_subclass_array
from keepstate.codecs._classes import reduce_class, reduce_enum_member
from keepstate.codecs._functions import FUNCTION_REDUCERS
from keepstate.codecs._oddities import NAMED_ODDITY_REDUCERS, ODDITY_REDUCERS
from keepstate.codecs._pandas import PANDAS_REDUCERS
from keepstate.codecs._tensors import TENSOR_REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable

Reducer = "Callable[[Any, Any], Any]"

_BY_TYPE: dict[type, Any] = {
    np.ndarray: reduce_array,
    np.memmap: reduce_array,
    np.recarray: reduce_subclass_array,
    np.matrix: reduce_subclass_array,
    np.ma.MaskedArray: reduce_subclass_array,
    **FUNCTION_REDUCERS,
    **ODDITY_REDUCERS,
}
_BY_NAME: dict[str, Any] = {**PANDAS_REDUCERS, **TENSOR_REDUCERS, **NAMED_ODDITY_REDUCERS}
_MODULES = frozenset(name.partition(".")[0] for name in _BY_NAME)


def reducer_for(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return the reducer for objects of exactly this type; ``None`` leaves them to pickle."""
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]  # type: ignore[no-any-return]
    if issubclass(kind, type):
        return reduce_class
    if issubclass(kind, np.dtype):
        return reduce_dtype
    if issubclass(kind, enum.Enum):
        return reduce_enum_member
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in _MODULES:
            found = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
            if found is not None:
                return found  # type: ignore[no-any-return]
    return None
