"""Indexes of pandas. They never change, so their memory is kept with each of them and linked with nothing."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._typed import typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._arrays import Array
    from keepstate.codecs._pickler import StreamPickler


def reduce_index(pickler: StreamPickler, index: Any) -> Any:
    """Reduce an index of one array to that array, detached, its name and its frequency."""
    data: Any = getattr(index, "_data", None)
    values = _detached(pickler, data)
    freq = _frequency(index)
    return typed(
        "pandas_index",
        pandas_index,
        state=lambda: (values, index._name) if freq is None else (values, index._name, freq),
        same=lambda made: (
            type(made) is type(index)
            and made._data is values
            and type(values) is type(data)
            and made._name is index._name
            and _frequency(made) is freq
        ),
        otherwise=lambda: _as_before(pickler, index),
    )


def reduce_range_index(pickler: StreamPickler, index: Any) -> Any:
    """Reduce an index of a range to its bounds; nothing of it is in memory."""
    span = index._range
    return typed(
        "range_index",
        range_index,
        state=lambda: (span.start, span.stop, span.step, index._name),
        same=lambda made: (
            type(made) is type(index)
            and type(span) is range
            and _bounds(made._range) == _bounds(span)
            and made._name is index._name
        ),
        otherwise=lambda: _as_before(pickler, index),
    )


def reduce_multi_index(pickler: StreamPickler, index: Any) -> Any:
    """Reduce an index of several levels to them, and to detached codes that tell which value is where."""
    levels, codes, names = tuple(index._levels), tuple(index._codes), tuple(index._names)
    return typed(
        "multi_index",
        multi_index,
        state=lambda: (levels, tuple(map(pickler.memory.detach, codes)), names, index.sortorder),
        same=lambda made: (
            type(made) is type(index)
            and len(made._levels) == len(levels)
            and all(_same_level(ours, level) for ours, level in zip(made._levels, levels, strict=True))
            and all(_same_codes(ours, code) for ours, code in zip(made._codes, codes, strict=True))
            and all(ours is name for ours, name in zip(made._names, names, strict=True))
            and made.sortorder == index.sortorder
        ),
        otherwise=lambda: _as_before(pickler, index),
    )


def _bounds(span: range) -> tuple[int, int, int]:
    return span.start, span.stop, span.step


def _same_level(made: Any, level: Any) -> bool:
    if type(made) is not type(level):
        return False
    span = getattr(level, "_range", None)  # it has no array until it is asked for one
    return made._data is level._data if span is None else made._range is span


def _same_codes(made: Array, codes: Array) -> bool:
    """Say whether *made* is a view of the same memory by what owns it: to ask for addresses takes longer."""
    return (
        made.dtype == codes.dtype
        and made.shape == codes.shape
        and made.strides == codes.strides
        and made.base is not None
        and (made.base is codes or made.base is codes.base)
    )


def _frequency(index: Any) -> Any:
    """Return the frequency of an index of times: pandas 3 has it beside the array, pandas 2 within."""
    own = getattr(index, "_freq", None)
    return getattr(getattr(index, "_data", None), "_freq", None) if own is None else own


def _as_before(pickler: StreamPickler, index: Any) -> Any:
    """Reduce an index as pandas does, its memory detached."""
    make, arguments, *rest = index.__reduce__()
    if len(arguments) == 2 and isinstance(arguments[1], dict):
        facts = {name: _detached(pickler, value) for name, value in arguments[1].items()}
        arguments = arguments[0], facts
    return (make, arguments, *rest)


def _detached(pickler: StreamPickler, value: Any) -> Any:
    if type(value) is list and any(type(item) is np.ndarray for item in value):
        return [_detached(pickler, item) for item in value]
    if type(value) is np.ndarray:
        return pickler.memory.detach(value)
    if type(value).__module__.partition(".")[0] == "pandas":
        return _detached_extension(pickler, value)
    return value


def _detached_extension(pickler: StreamPickler, values: Any) -> Any:
    """Give an extension array a wrapper of its own around detached arrays."""
    if isinstance(getattr(values, "_ndarray", None), np.ndarray):
        made = values._from_backing_data(pickler.memory.detach(values._ndarray))
        if getattr(values, "_freq", None) is not None:
            made._freq = values._freq  # pandas 2 keeps an index's frequency here
        return made
    if hasattr(values, "_pa_array"):  # texts of pandas 3: frames that come from each other share their labels
        kind: Any = type(values)
        made = kind.__new__(kind)
        made.__setstate__(values.__getstate__())
        return made
    data, mask = getattr(values, "_data", None), getattr(values, "_mask", None)
    if isinstance(data, np.ndarray) and isinstance(mask, np.ndarray):
        return type(values)._simple_new(pickler.memory.detach(data), pickler.memory.detach(mask))
    if type(values) is sys.modules["pandas"].arrays.IntervalArray:
        left, right = (_detached(pickler, side) for side in (values._left, values._right))
        return type(values)._simple_new(left, right, values.dtype)
    return values


# --- decoding

_KINDS = {
    "DatetimeArray": "DatetimeIndex",
    "TimedeltaArray": "TimedeltaIndex",
    "PeriodArray": "PeriodIndex",
    "Categorical": "CategoricalIndex",
    "IntervalArray": "IntervalIndex",
}
"""Kind of array → kind of index around it; around any other it is a plain one."""


def pandas_index(values: Any, name: Any, freq: Any = None) -> Any:
    """Make an index around an array.

    Args:
        values: An array of numpy's or of pandas'.
        name: Of the index.
        freq: How far its times are apart, if that is known.
    """
    kind = getattr(importlib.import_module("pandas"), _KINDS.get(type(values).__name__, "Index"))
    made = kind._simple_new(values, name)
    if freq is not None:
        holder = made if hasattr(kind, "_freq") else values
        if getattr(holder, "_freq", None) is not freq:
            holder._freq = freq
    return made


def range_index(start: int, stop: int, step: int, name: Any) -> Any:
    """Make an index of a range."""
    return importlib.import_module("pandas").RangeIndex._simple_new(range(start, stop, step), name)


def multi_index(levels: Any, codes: Any, names: Any, sortorder: int | None) -> Any:
    """Make an index of several levels."""
    kind = importlib.import_module("pandas").MultiIndex
    return kind(levels=levels, codes=codes, names=names, sortorder=sortorder, verify_integrity=False)


INDEX_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "pandas.Index": reduce_index,
    "pandas.core.indexes.base.Index": reduce_index,
    "pandas.RangeIndex": reduce_range_index,
    "pandas.core.indexes.range.RangeIndex": reduce_range_index,
    "pandas.MultiIndex": reduce_multi_index,
    "pandas.core.indexes.multi.MultiIndex": reduce_multi_index,
}
