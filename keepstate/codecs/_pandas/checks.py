"""What is looked at in things of pandas that a stream of anyone's has made.

pandas believes what it has made itself: that codes are within the categories, that each column is in one
block and as long as the index. Where that is not so it reads memory that is not its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

_MANAGERS = "pandas.core.internals.managers"
_MOST = 1 << 62
"""Of a bound of a range: the lengths and sums of all fit into 64 bits."""
_INDEXED = frozenset(
    f"{kind}{bits}" for kind, sizes in {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (32, 64),
    "complex": (64, 128)}.items() for bits in sizes
) | {"bool", "object"}  # fmt: skip
"""Names of the dtypes of numpy's that an index of pandas has."""
_TIMES = ("[s]", "[ms]", "[us]", "[ns]")


def _require(holds: object, what: str) -> None:
    if not holds:
        raise CodecError(f"{what}: the stream is damaged, or was made to look so")


def _pandas() -> Any:
    return importlib.import_module("pandas")


def _is_extension(values: object) -> bool:
    return isinstance(values, _pandas().api.extensions.ExtensionArray)


def _is_plain(values: object, kinds: str, ndim: int = 1) -> bool:
    """Say whether these are numbers of numpy's of such a kind, in the order of bytes of this machine."""
    return (
        type(values) is np.ndarray
        and values.ndim == ndim
        and values.dtype.kind in kinds
        and values.dtype.isnative
        and values.dtype.names is None
    )


def _hashable(*names: object) -> None:
    for name in names:
        hash(name)


# --- frames


def check_block(block: Any) -> None:
    """Check that the values have the shape that the place has."""
    values, ndim, places = block.values, block.ndim, len(block.mgr_locs)
    dtype, plain = values.dtype, type(values) is np.ndarray
    pandas = _pandas()
    _require(plain or _is_extension(values), "a block holds no array")
    _require(type(values) is not pandas.arrays.NumpyExtensionArray, "a block holds a wrapped array")
    _require(ndim in (1, 2), "a block has other dimensions than a frame or series")
    has_rows = plain or isinstance(dtype, np.dtype | pandas.DatetimeTZDtype | pandas.PeriodDtype)
    if ndim == 1 or not has_rows:
        _require(values.ndim == 1 and (ndim == 1 or places == 1), "a block has not the shape of its place")
    else:
        _require(values.ndim == 2 and len(values) == places, "a block has not the shape of its place")


def check_block_manager(manager: Any) -> None:
    """Check that each column is in one block, and that all are as long as the index."""
    pandas = _pandas()
    _require(
        len(manager.axes) == 2 and all(isinstance(axis, pandas.Index) for axis in manager.axes), "no axes"
    )
    _are_blocks(manager, ndim=2)
    columns, rows = map(len, manager.axes)
    _require(sum(len(block.mgr_locs) for block in manager.blocks) == columns, "columns are in no block")
    found = [block.mgr_locs.as_array for block in manager.blocks]
    places = np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
    _require(np.array_equal(places, np.arange(columns)), "columns are in no block, or in two")
    _require(all(block.shape[-1] == rows for block in manager.blocks), "a block has not as many rows")
    manager._verify_integrity()


def check_series_manager(manager: Any) -> None:
    """Check that the block is as long as the index."""
    _require(isinstance(manager.axes[0], _pandas().Index), "a series without an index")
    _are_blocks(manager, ndim=1)
    block, rows = manager.blocks[0], len(manager.axes[0])
    _require(len(block.values) == rows == len(block.mgr_locs), "a series is not as long as its index")
    _require(rows == 0 or block.mgr_locs.as_slice == slice(0, rows, 1), "a series is not at its place")


def _are_blocks(manager: Any, ndim: int) -> None:
    kind = importlib.import_module("pandas._libs.internals").Block
    _require(type(manager.blocks) is tuple, "blocks are in no tuple")
    _require(all(isinstance(block, kind) and block.ndim == ndim for block in manager.blocks), "no block")


def check_frame(frame: Any) -> None:
    """Check what a frame or series has besides its values."""
    managers = importlib.import_module(_MANAGERS)
    kind = managers.BlockManager if frame.ndim == 2 else managers.SingleBlockManager
    _require(type(frame._mgr) is kind, "a frame without a manager")
    _require(type(frame._attrs) is dict, "attributes that are no dictionary")
    _require(type(frame.flags.allows_duplicate_labels) is bool, "a flag that is none")
    if frame.ndim == 1:
        _hashable(frame._name)


# --- indexes


def check_index(index: Any) -> None:
    """Check the array of an index."""
    values = index._data
    plain = type(values) is np.ndarray and values.dtype.name in _INDEXED
    _require((plain and values.dtype.isnative) or _is_extension(values), "an index of no array")
    _require(values.ndim == 1, "an index of more than one dimension")
    _hashable(index._name)
    freq = getattr(index, "_freq", None) or getattr(values, "_freq", None)
    _require(freq is None or isinstance(freq, _base_offset()), "a frequency that is none")


def _base_offset() -> Any:
    return importlib.import_module("pandas._libs.tslibs.offsets").BaseOffset


def check_range_index(index: Any) -> None:
    """Check the bounds of an index."""
    span = index._range
    _require(
        all(abs(each) < _MOST for each in (span.start, span.stop, span.step)), "a range out of all bounds"
    )
    _hashable(index._name)


def check_multi_index(index: Any) -> None:
    """Check that codes are within the levels."""
    for level, codes in zip(index._levels, index._codes, strict=True):
        _require(isinstance(level, _pandas().Index), "a level that is no index")
        _are_codes(codes, len(level))
        _require(len(codes) == len(index._codes[0]), "levels are not of one length")
    _hashable(*index._names)
    index._verify_integrity()


def _are_codes(codes: Any, count: int) -> None:
    _require(_is_plain(codes, "i"), "codes that are no numbers")
    _require(codes.size == 0 or (codes.min() >= -1 and codes.max() < count), "codes of no category")


# --- arrays


def check_categorical_array(values: Any) -> None:
    """Check that codes are within the categories."""
    dtype = values._dtype
    _require(type(dtype) is _pandas().CategoricalDtype and dtype.categories is not None, "no categories")
    _are_codes(values._ndarray, len(dtype.categories))


def check_datetime_array(values: Any) -> None:
    """Check that the dtype is that of the values."""
    dtype = values._dtype
    zoned = type(dtype) is _pandas().DatetimeTZDtype
    _are_times(values, "M", np.dtype(f"M8[{dtype.unit}]") if zoned else dtype)


def check_timedelta_array(values: Any) -> None:
    """Check that the dtype is that of the values."""
    _are_times(values, "m", values._dtype)


def _are_times(values: Any, kind: str, dtype: Any) -> None:
    array = values._ndarray
    _require(_is_plain(array, kind, array.ndim) and array.ndim in (1, 2), "times that are none")
    _require(isinstance(dtype, np.dtype) and array.dtype == dtype, "times of another dtype")
    _require(dtype.str.endswith(_TIMES), "times in a unit that pandas has not")
    freq = getattr(values, "_freq", None)
    _require(freq is None or isinstance(freq, _base_offset()), "a frequency that is none")


def check_period_array(values: Any) -> None:
    """Check that periods are numbers."""
    array = values._ndarray
    _require(type(values._dtype) is _pandas().PeriodDtype, "periods of another dtype")
    _require(_is_plain(array, "i", array.ndim) and array.dtype == np.int64, "periods that are no numbers")
    _require(array.ndim in (1, 2), "periods of more than two dimensions")


def check_object_text_array(values: Any) -> None:
    """Check that texts are texts, or missing."""
    pandas = _pandas()
    dtype, array = values._dtype, values._ndarray
    _require(type(dtype) is pandas.StringDtype and dtype.storage == "python", "texts of another dtype")
    _require(isinstance(values, pandas.arrays.StringArray), "texts in an array of another kind")
    _require(type(array) is np.ndarray and array.dtype == object and array.ndim == 1, "texts that are none")
    is_texts = importlib.import_module("pandas._libs.lib").is_string_array
    _require(not len(array) or is_texts(array, skipna=True), "texts that are none")


def check_numpy_extension_array(values: Any) -> None:
    """Check that it wraps an array of numpy's."""
    _require(type(values._ndarray) is np.ndarray and values._ndarray.ndim == 1, "a wrapper of no array")


def check_nullable_array(values: Any) -> None:
    """Check that there is a mark for each number."""
    data, mask = values._data, values._mask
    _require(_is_plain(data, "biuf") and data.dtype != np.float16, "numbers that are none")
    _require(_is_plain(mask, "b") and mask.shape == data.shape, "not as many marks as numbers")
    _require(data.dtype.itemsize <= 8, "numbers that pandas has no dtype for")


def check_interval_array(values: Any) -> None:
    """Check that both sides are alike."""
    pandas = _pandas()
    left, right, dtype = values._left, values._right, values._dtype
    kinds = (pandas.arrays.DatetimeArray, pandas.arrays.TimedeltaArray)
    _require(_is_plain(left, "iuf") or type(left) in kinds, "intervals between no numbers")
    _require(type(left) is type(right) and left.dtype == right.dtype, "intervals between unlike sides")
    _require(left.ndim == right.ndim == 1 and len(left) == len(right), "sides of unlike lengths")
    _require(
        type(dtype) is pandas.IntervalDtype and dtype.subtype == left.dtype, "intervals of another dtype"
    )
    type(values)._validate(left, right, dtype=dtype)


def check_sparse_array(values: Any) -> None:
    """Check that there is a place for each value."""
    array, index, dtype = values._sparse_values, values._sparse_index, values._dtype
    kind = importlib.import_module("pandas._libs.sparse").SparseIndex
    _require(isinstance(index, kind), "values without places")
    _require(_is_plain(array, "biufcmMO") and len(array) == index.npoints, "not as many places as values")
    _require(type(dtype) is _pandas().SparseDtype and dtype.subtype == array.dtype, "values of another dtype")


def check_arrow_array(values: Any) -> None:
    """Check that it wraps an array of Arrow's, and holds nothing else."""
    pyarrow, pandas = importlib.import_module("pyarrow"), _pandas()
    data, dtype = values._pa_array, values._dtype
    _require(type(data) is pyarrow.ChunkedArray, "a column of no array")
    if type(values) is pandas.arrays.ArrowExtensionArray:
        _require(type(dtype) is pandas.ArrowDtype and dtype.pyarrow_dtype == data.type, "another dtype")
    else:
        _require(isinstance(values, pandas.arrays.ArrowStringArray), "texts in an array of another kind")
        texts = data.type in (pyarrow.string(), pyarrow.large_string())
        _require(type(dtype) is pandas.StringDtype and texts, "texts of another dtype")
    _require(vars(values).keys() <= {"_pa_array", "_dtype", "_cache", "_readonly"}, "more than a column")


# --- dtypes


def check_categorical_dtype(dtype: Any) -> None:
    """Check that each category is there once."""
    categories = dtype.categories
    _require(dtype.ordered is None or type(dtype.ordered) is bool, "an order that is none")
    if categories is not None:
        _require(isinstance(categories, _pandas().Index), "categories in no index")
        _require(categories.is_unique and not categories.hasnans, "categories that are not one each")


def check_sparse_dtype(dtype: Any) -> None:
    """Check that all other values are one."""
    _require(_pandas().api.types.is_scalar(dtype.fill_value), "a value that is none")
    _require(dtype.subtype.kind in "biufcmMO", "a dtype that pandas has not")


PANDAS_CHECKS: dict[str, Callable[[Any], None]] = {
    "block": check_block,
    "block_manager": check_block_manager,
    "series_manager": check_series_manager,
    "pandas_frame": check_frame,
    "pandas_series": check_frame,
    "pandas_index": check_index,
    "range_index": check_range_index,
    "multi_index": check_multi_index,
    "categorical_array": check_categorical_array,
    "datetime_array": check_datetime_array,
    "timedelta_array": check_timedelta_array,
    "period_array": check_period_array,
    "object_text_array": check_object_text_array,
    "numpy_extension_array": check_numpy_extension_array,
    "nullable_array": check_nullable_array,
    "interval_array": check_interval_array,
    "sparse_array": check_sparse_array,
    "pandas_arrow_array": check_arrow_array,
    "text_array": check_arrow_array,
    "categorical_dtype": check_categorical_dtype,
    "sparse_dtype": check_sparse_dtype,
}
"""By the name of the call whose result is looked at."""
