"""Arrays of pandas' own: each a wrapper around one or two arrays of numpy's, or around one of Arrow's.

Their own pickles hold what they have cached, and are read by setting whatever they name; these hold the
arrays that are wrapped and the dtype. Texts that Arrow holds are in ``_across.py``.
"""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from keepstate.codecs._across import reduce_backed_array
from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._arrays import Array
    from keepstate.codecs._pickler import StreamPickler

    Parts = tuple[Any, ...]

_ATTRIBUTES = frozenset({
    "_ndarray", "_dtype", "_freq", "_readonly", "_cache", "_data", "_mask", "_left", "_right",
    "_sparse_index", "_sparse_values", "_pa_array",
})  # fmt: skip
"""All that arrays of pandas have in their dictionaries; with anything else in it, one is pickled."""
_BACKING = "_ndarray", "_dtype"
_MASKED = "_data", "_mask"
_SIDES = "_left", "_right", "_dtype"
_SPARSE = "_sparse_values", "_sparse_index", "_dtype"


def _as_pickle_does(_pickler: StreamPickler, _values: Any) -> Any:
    return NotImplemented


def _reducer(
    call: str,
    make: Callable[..., Any],
    parts: Callable[[Any], Parts],
    held: tuple[str, ...],
    otherwise: Callable[[Any, Any], Any] = _as_pickle_does,
) -> Callable[[Any, Any], Any]:
    """Give the reducer of a kind of array.

    Args:
        call: Its typed call.
        make: What that calls.
        parts: Takes an array apart.
        held: The attributes that an array and what is made of its parts must have in common, two or more.
        otherwise: How one is reduced that is not made again.
    """

    attributes = attrgetter(*held)

    def reduce(pickler: StreamPickler, values: Any) -> Any:
        # Only pandas 3 knows arrays that may not be written to, and only pandas 2 has their frequency.
        readonly = getattr(values, "_readonly", False)

        def same(made: Any) -> bool:
            return (
                type(made) is type(values)
                and vars(values).keys() <= _ATTRIBUTES
                and all(map(_is_same, attributes(made), attributes(values)))
                and getattr(made, "_freq", None) is _own_frequency(values)
                and getattr(made, "_readonly", False) is readonly
            )

        def state() -> Parts:
            return (*parts(values), True) if readonly else parts(values)

        return typed(call, make, state, same, lambda: otherwise(pickler, values))

    return reduce


def _own_frequency(values: Any) -> Any:
    """Return the frequency of an array itself; beside cut periods pandas 2 notes their dtype's."""
    freq = getattr(values, "_freq", None)
    return None if freq is None or freq == getattr(getattr(values, "_dtype", None), "freq", None) else freq


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (hasattr(one, "kind") and type(one) is type(other) and bool(one == other))


def _time_parts(values: Any) -> Parts:
    dtype = values._dtype
    # A dtype of numpy's is that of the values.
    own = None if type(dtype).__module__.partition(".")[0] == "numpy" else dtype
    return values._ndarray, own, getattr(values, "_freq", None)


# --- decoding


def _arrays() -> Any:
    return importlib.import_module("pandas").arrays


def _backed(kind: Any, values: Array, dtype: Any, readonly: bool) -> Any:
    """Wrap an array of numpy's as it is; what the constructors of the kinds look at would take long."""
    made = kind.__new__(kind)
    importlib.import_module("pandas._libs.arrays").NDArrayBacked.__init__(made, values, dtype)
    return _marked(made, readonly)


def _marked(made: Any, readonly: bool) -> Any:
    if readonly and hasattr(type(made), "_readonly"):
        made._readonly = True
    return made


def categorical_array(codes: Array, dtype: Any, readonly: bool = False) -> Any:
    """Make an array of categories: for each element, the place of its category in those of *dtype*, or -1."""
    return _backed(importlib.import_module("pandas").Categorical, codes, dtype, readonly)


def datetime_array(values: Array, dtype: Any, freq: Any, readonly: bool = False) -> Any:
    """Make an array of times.

    Args:
        values: Of numpy's ``datetime64``.
        dtype: If they have a time zone; ``None``: that of the values.
        freq: How far they are apart: only pandas 2 keeps it here.
        readonly: Whether it may not be written to: only pandas 3 knows that.
    """
    kind = _arrays().DatetimeArray
    return _with_frequency(_backed(kind, values, values.dtype if dtype is None else dtype, readonly), freq)


def timedelta_array(values: Array, dtype: Any, freq: Any, readonly: bool = False) -> Any:
    """Make an array of durations, like :func:`datetime_array`."""
    kind = _arrays().TimedeltaArray
    return _with_frequency(_backed(kind, values, values.dtype if dtype is None else dtype, readonly), freq)


def _with_frequency(made: Any, freq: Any) -> Any:
    if freq is not None and hasattr(type(made), "_freq"):
        made._freq = freq
    return made


def period_array(ordinals: Array, dtype: Any, readonly: bool = False) -> Any:
    """Make an array of periods."""
    return _backed(_arrays().PeriodArray, ordinals, dtype, readonly)


def object_text_array(values: Array, dtype: Any, readonly: bool = False) -> Any:
    """Make an array of texts that Python holds."""
    return _backed(dtype.construct_array_type(), values, dtype, readonly)


def numpy_extension_array(values: Array, readonly: bool = False) -> Any:
    """Make an array of pandas' around any of numpy's."""
    return _marked(_arrays().NumpyExtensionArray(values), readonly)


_NULLABLE = {"b": "BooleanArray", "i": "IntegerArray", "u": "IntegerArray", "f": "FloatingArray"}


def nullable_array(data: Array, mask: Array, readonly: bool = False) -> Any:
    """Make an array of numbers of which some are missing: those where *mask* is true."""
    kind = _NULLABLE.get(data.dtype.kind)
    if kind is None:
        raise CodecError(f"pandas has no array of {data.dtype} with missing values")
    return _marked(getattr(_arrays(), kind)._simple_new(data, mask), readonly)


def interval_array(left: Any, right: Any, dtype: Any, readonly: bool = False) -> Any:
    """Make an array of intervals."""
    return _marked(_arrays().IntervalArray._simple_new(left, right, dtype), readonly)


def sparse_array(values: Array, index: Any, dtype: Any, readonly: bool = False) -> Any:
    """Make an array of few values in many places."""
    return _marked(_arrays().SparseArray._simple_new(values, index, dtype), readonly)


def pandas_arrow_array(data: Any, readonly: bool = False) -> Any:
    """Make an array of pandas' around one of Arrow's, which it does not copy."""
    return _marked(_arrays().ArrowExtensionArray(data), readonly)


# --- the table

_KINDS = {
    "Categorical": _reducer(
        "categorical_array", categorical_array, lambda v: (v._ndarray, v._dtype), _BACKING,
        reduce_backed_array,
    ),
    "arrays.DatetimeArray": _reducer(
        "datetime_array", datetime_array, _time_parts, _BACKING, reduce_backed_array
    ),
    "arrays.TimedeltaArray": _reducer(
        "timedelta_array", timedelta_array, _time_parts, _BACKING, reduce_backed_array
    ),
    "arrays.PeriodArray": _reducer(
        "period_array", period_array, lambda v: (v._ndarray, v._dtype), _BACKING, reduce_backed_array
    ),
    "arrays.StringArray": _reducer(
        "object_text_array", object_text_array, lambda v: (v._ndarray, v._dtype), _BACKING,
        reduce_backed_array,
    ),
    "arrays.NumpyExtensionArray": _reducer(
        "numpy_extension_array", numpy_extension_array, lambda v: (v._ndarray,), _BACKING,
        reduce_backed_array,
    ),
    "core.arrays.masked.BaseMaskedArray": _reducer(
        "nullable_array", nullable_array, lambda v: (v._data, v._mask), _MASKED
    ),
    "arrays.IntervalArray": _reducer(
        "interval_array", interval_array, lambda v: (v._left, v._right, v._dtype), _SIDES
    ),
    "arrays.SparseArray": _reducer(
        "sparse_array", sparse_array, lambda v: (v._sparse_values, v._sparse_index, v._dtype), _SPARSE
    ),
    "arrays.ArrowExtensionArray": _reducer(
        "pandas_arrow_array", pandas_arrow_array, lambda v: (v._pa_array,), ("_pa_array", "_dtype")
    ),
}  # fmt: skip
_IN_PANDAS_2 = {
    "Categorical": "core.arrays.categorical.Categorical",
    "arrays.DatetimeArray": "core.arrays.datetimes.DatetimeArray",
    "arrays.TimedeltaArray": "core.arrays.timedeltas.TimedeltaArray",
    "arrays.PeriodArray": "core.arrays.period.PeriodArray",
    "arrays.StringArray": "core.arrays.string_.StringArray",
    "arrays.NumpyExtensionArray": "core.arrays.numpy_.NumpyExtensionArray",
    "arrays.IntervalArray": "core.arrays.interval.IntervalArray",
    "arrays.SparseArray": "core.arrays.sparse.array.SparseArray",
    "arrays.ArrowExtensionArray": "core.arrays.arrow.array.ArrowExtensionArray",
}
ARRAY_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    f"pandas.{name}": reduce
    for kind, reduce in _KINDS.items()
    for name in (kind, _IN_PANDAS_2.get(kind, kind))
}
