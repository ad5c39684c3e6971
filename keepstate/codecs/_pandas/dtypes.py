"""Dtypes of pandas, and what they are made of: time zones by name, and offsets of so many months and days.

Dtypes of texts and of what Arrow holds are in ``_across.py``; those of periods are pickled to their names.
"""

from __future__ import annotations

import datetime as dt
import importlib
import zoneinfo
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls
from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_NULLABLE = frozenset({
    "boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64",
})  # fmt: skip
_MOST = 1 << 31
"""Of any unit in an offset: as many years are beyond all calendars."""


def reduce_dtype(_pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce a dtype without what it has cached, which grows as it is used."""
    reduced = dtype.__reduce_ex__(5)
    if isinstance(reduced, str) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    state = {name: value for name, value in reduced[2].items() if name != "_cache"}
    return (*reduced[:2], state, *reduced[3:])


def _reducer(call: str, make: Callable[..., Any], held: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """Give the reducer of a kind of dtype that is made of two or more attributes."""
    parts = attrgetter(*held)

    def reduce(pickler: StreamPickler, dtype: Any) -> Any:
        return typed(
            call,
            make,
            state=lambda: parts(dtype),
            same=lambda made: type(made) is type(dtype) and all(map(is_, parts(made), parts(dtype))),
            otherwise=lambda: reduce_dtype(pickler, dtype),
        )

    return reduce


def reduce_nullable_dtype(pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce the dtype of numbers of which some are missing to its name."""
    return typed(
        "nullable_dtype",
        nullable_dtype,
        state=lambda: (dtype.name,),
        same=lambda made: type(made) is type(dtype),
        otherwise=lambda: reduce_dtype(pickler, dtype),
    )


def reduce_time_zone(_pickler: StreamPickler, zone: zoneinfo.ZoneInfo) -> Any:
    """Reduce the time zone that all have who ask for it by name; any other is pickled, or refused."""
    if type(zone) is not zoneinfo.ZoneInfo or zone.key is None:
        return NotImplemented
    reduced: Any = zone.__reduce__()
    key, is_cached = reduced[1]
    return (_calls.named("time_zone"), (key,)) if is_cached else NotImplemented


def reduce_date_offset(_pickler: StreamPickler, offset: Any) -> Any:
    """Reduce an offset of so many months, days and hours."""
    return typed(
        "date_offset",
        date_offset,
        state=lambda: (offset.n, offset.normalize, dict(sorted(offset.kwds.items()))),
        same=lambda made: type(made) is type(offset) and made.__getstate__() == offset.__getstate__(),
    )


# --- decoding


def _dtypes() -> Any:
    return importlib.import_module("pandas")


def _is_dtype(thing: object) -> bool:
    return isinstance(thing, np.dtype | _dtypes().api.extensions.ExtensionDtype)


def categorical_dtype(categories: Any, ordered: bool | None) -> Any:
    """Make the dtype of categories; that each is there once is not looked at."""
    return _dtypes().CategoricalDtype._from_fastpath(categories, ordered)


def datetime_dtype(unit: str, zone: Any) -> Any:
    """Make the dtype of times in a zone."""
    if not isinstance(zone, dt.tzinfo):  # a text may be the path of a file
        raise CodecError(f"{zone!r} is no time zone")
    return _dtypes().DatetimeTZDtype(unit, zone)


def interval_dtype(subtype: Any, closed: str | None) -> Any:
    """Make the dtype of intervals."""
    if subtype is not None and not _is_dtype(subtype):
        raise CodecError(f"{subtype!r} is no dtype")
    return _dtypes().IntervalDtype(subtype, closed)


def sparse_dtype(subtype: Any, fill: Any) -> Any:
    """Make the dtype of few values in many places, all others being *fill*."""
    if not isinstance(subtype, np.dtype):
        raise CodecError(f"{subtype!r} is no dtype of numpy's")
    kind = _dtypes().SparseDtype
    made = kind.__new__(kind)  # its constructor warns of some that it has made before
    made._dtype, made._fill_value = subtype, fill
    return made


def nullable_dtype(name: str) -> Any:
    """Make the dtype of numbers of which some are missing."""
    if name not in _NULLABLE:
        raise CodecError(f"there is no dtype {name!r} of numbers with missing ones")
    return getattr(_dtypes(), f"{name[0].upper()}{name[1:]}Dtype")()


def time_zone(key: str) -> dt.tzinfo:
    """Find a time zone by its name.

    Raises:
        CodecError: This machine does not know it.
    """
    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise CodecError(f"the time zone {key!r} is not known here; `pip install tzdata` has all") from error


def date_offset(n: int, normalize: bool, units: dict[str, Any]) -> Any:
    """Make an offset of so many months, days and hours."""
    if any(type(each) is not int or abs(each) > _MOST for each in (n, *units.values())):
        raise CodecError("an offset is told in whole numbers")
    return importlib.import_module("pandas").DateOffset(n, normalize, **units)


_KINDS = {
    "CategoricalDtype": _reducer("categorical_dtype", categorical_dtype, ("_categories", "_ordered")),
    "DatetimeTZDtype": _reducer("datetime_dtype", datetime_dtype, ("_unit", "_tz")),
    "IntervalDtype": _reducer("interval_dtype", interval_dtype, ("_subtype", "_closed")),
}
DTYPE_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "pandas.api.extensions.ExtensionDtype": reduce_dtype,
    "pandas.core.dtypes.base.ExtensionDtype": reduce_dtype,
    "pandas.core.dtypes.dtypes.BaseMaskedDtype": reduce_nullable_dtype,
    "pandas.SparseDtype": _reducer("sparse_dtype", sparse_dtype, ("_dtype", "_fill_value")),
    "pandas.DateOffset": reduce_date_offset,
    "pandas._libs.tslibs.offsets.DateOffset": reduce_date_offset,
    "zoneinfo.ZoneInfo": reduce_time_zone,
    **{
        f"pandas.{where}{name}": reduce
        for where in ("", "core.dtypes.dtypes.")
        for name, reduce in _KINDS.items()
    },
}
DTYPE_REDUCERS["pandas.core.dtypes.dtypes.SparseDtype"] = DTYPE_REDUCERS["pandas.SparseDtype"]
