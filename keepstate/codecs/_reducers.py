"""Which reducer a type has. Asked once per type and stream."""

from __future__ import annotations

import copyreg
import enum
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._across import ACROSS_REDUCERS, reduce_random_state
from keepstate.codecs._array_reducers import reduce_array, reduce_dtype, reduce_row, reduce_subclass_array
from keepstate.codecs._arrow.objects import ARROW_REDUCERS
from keepstate.codecs._classes import reduce_class, reduce_enum_member
from keepstate.codecs._containers import container_reducer, reduce_ordered_dictionary
from keepstate.codecs._errors import reduce_error
from keepstate.codecs._forgotten import OPTIMIZER_REDUCERS
from keepstate.codecs._functions import FUNCTION_REDUCERS
from keepstate.codecs._images import IMAGE_REDUCERS
from keepstate.codecs._in_process import LOCK_REDUCERS, PROCESS_REDUCERS
from keepstate.codecs._loggers import LOGGER_REDUCERS
from keepstate.codecs._oddities import NAMED_ODDITY_REDUCERS, ODDITY_REDUCERS
from keepstate.codecs._open_files import FILE_REDUCERS, NAMED_FILE_REDUCERS
from keepstate.codecs._pandas.frames import PANDAS_REDUCERS
from keepstate.codecs._registered import registered_reducer
from keepstate.codecs._small_reducers import NAMED_SMALL_REDUCERS, SMALL_REDUCERS
from keepstate.codecs._sparse import SPARSE_REDUCERS
from keepstate.codecs._tensors import TENSOR_REDUCERS
from keepstate.codecs._weak import WEAK_REDUCERS

if TYPE_CHECKING:
    from collections.abc import Callable

Reducer = "Callable[[Any, Any], Any]"

_BY_TYPE: dict[type, Any] = {
    OrderedDict: reduce_ordered_dictionary,
    np.ndarray: reduce_array,
    np.memmap: reduce_array,
    np.recarray: reduce_subclass_array,
    np.matrix: reduce_subclass_array,
    np.ma.MaskedArray: reduce_subclass_array,
    **dict.fromkeys((np.void, np.record), reduce_row),
    **FUNCTION_REDUCERS,
    **ODDITY_REDUCERS,
    **FILE_REDUCERS,
    **LOCK_REDUCERS,
    **SMALL_REDUCERS,
    **WEAK_REDUCERS,
}
_BY_NAME: dict[str, Any] = {
    **PANDAS_REDUCERS,
    **TENSOR_REDUCERS,
    **OPTIMIZER_REDUCERS,
    **ACROSS_REDUCERS,
    **ARROW_REDUCERS,
    **SPARSE_REDUCERS,
    **NAMED_ODDITY_REDUCERS,
    **NAMED_FILE_REDUCERS,
    **NAMED_SMALL_REDUCERS,
    **LOGGER_REDUCERS,
    **IMAGE_REDUCERS,
    **PROCESS_REDUCERS,
}
_ARRAY_HOOKS = ("__reduce__", "__reduce_ex__", "__setstate__")
"""What a kind of array defines that keeps itself; one that does not would lose its attributes, also where it
inherits what masked arrays do, which forgets them and how the mask is held."""
_singleton = NAMED_ODDITY_REDUCERS["numpy.random.mtrand.RandomState"]


def _reduce_random_state(pickler: Any, state: Any) -> Any:
    """Reduce the generator behind ``numpy.random`` to a reference, any other to what it is."""
    reference = _singleton(pickler, state)
    return reduce_random_state(pickler, state) if reference is NotImplemented else reference


_reduce_random_state.gives_reference = True  # type: ignore[attr-defined]
_BY_NAME["numpy.random.mtrand.RandomState"] = _reduce_random_state
_MODULES = frozenset(name.partition(".")[0] for name in _BY_NAME)


def reducer_for(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return the reducer for objects of exactly this type; ``None`` leaves them to pickle."""
    given = registered_reducer(kind)
    if given is not None:
        return given
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]  # type: ignore[no-any-return]
    if issubclass(kind, type):
        return reduce_class
    if issubclass(kind, np.dtype):
        return reduce_dtype
    if issubclass(kind, enum.Enum):
        return reduce_enum_member
    if kind in copyreg.dispatch_table and kind.__module__.partition(".")[0] not in _MODULES:
        return None  # the user has said how
    if issubclass(kind, np.ndarray) and all(
        getattr(kind, name) in (getattr(np.ndarray, name), getattr(np.ma.MaskedArray, name))
        for name in _ARRAY_HOOKS
    ):
        return reduce_subclass_array
    if issubclass(kind, BaseException):
        return reduce_error
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in _MODULES:
            found = _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
            if found is not None:
                return found  # type: ignore[no-any-return]
    return container_reducer(kind)
