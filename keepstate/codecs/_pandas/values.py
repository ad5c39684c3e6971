"""Single values of pandas, which pickle as a call of plain values: how data-only streams make them.

Nothing changes in how they are written: a call in Python for each of a million times would be slow. Here each
call is looked at before the library's own function gets it.
"""

from __future__ import annotations

import datetime as dt
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _moved
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

_TSLIBS = "pandas._libs.tslibs"
_UNITS = range(7, 11)
"""Numbers of seconds to nanoseconds among numpy's units."""
_PLAIN_OFFSETS = (
    "Nano", "Micro", "Milli", "Second", "Minute", "Hour", "Day", "BusinessDay", "BusinessHour",
    "CustomBusinessDay", "CustomBusinessHour", "MonthBegin", "MonthEnd", "BusinessMonthBegin",
    "BusinessMonthEnd", "CustomBusinessMonthBegin", "CustomBusinessMonthEnd", "SemiMonthBegin",
    "SemiMonthEnd", "Week", "WeekOfMonth", "LastWeekOfMonth", "QuarterBegin", "QuarterEnd",
    "BQuarterBegin", "BQuarterEnd", "HalfYearBegin", "HalfYearEnd", "BHalfYearBegin", "BHalfYearEnd",
    "YearBegin", "YearEnd", "BYearBegin", "BYearEnd", "FY5253", "FY5253Quarter", "Easter",
)  # fmt: skip
_FACTS = (bool, int, str, type(None), dt.timedelta, dt.time, np.datetime64)


def _refuse(what: str) -> CodecError:
    return CodecError(f"the stream makes {what} of something else than plain values")


def _of(module: str, name: str) -> Any:
    importlib.import_module("pandas")  # a part of it cannot be imported first
    return getattr(importlib.import_module(module), name)


def _whole(*numbers: object) -> bool:
    return all(type(number) is int and -(2**63) <= number < 2**63 for number in numbers)


def _timestamp(value: Any, freq: Any, zone: Any, unit: Any = _UNITS[-1]) -> Any:
    is_zone = zone is None or isinstance(zone, dt.tzinfo)
    if not _whole(value, unit) or freq is not None or not is_zone or unit not in _UNITS:
        raise _refuse("a time")
    return _of(f"{_TSLIBS}.timestamps", "_unpickle_timestamp")(value, freq, zone, unit)


def _timedelta(value: Any, unit: Any = _UNITS[-1]) -> Any:
    if not _whole(value, unit) or unit not in _UNITS:
        raise _refuse("a duration")
    return _of(f"{_TSLIBS}.timedeltas", "_timedelta_unpickle")(value, unit)


def _not_a_time(_nothing: Any = None) -> Any:
    return importlib.import_module("pandas").NaT


def not_available() -> Any:
    """Return what pandas has for missing values."""
    return importlib.import_module("pandas").NA


def _period(value: Any, freq: Any, ordinal: Any) -> Any:
    if value is not None or not _is_offset(freq) or not _whole(ordinal):
        raise _refuse("a period")
    return importlib.import_module("pandas").Period(None, freq, ordinal)


def _period_dtype(name: Any) -> Any:
    if type(name) is not str:
        raise _refuse("a dtype of periods")
    return importlib.import_module("pandas").PeriodDtype(name)


def _interval(left: Any, right: Any, closed: Any) -> Any:
    if type(closed) is not str:
        raise _refuse("an interval")
    return importlib.import_module("pandas").Interval(left, right, closed)


def _is_offset(thing: object) -> bool:
    return isinstance(thing, _of(f"{_TSLIBS}.offsets", "BaseOffset"))


def _offset(name: str) -> Callable[..., Any]:
    def make(n: Any, normalize: Any, *facts: Any) -> Any:
        flat = [each for fact in facts for each in (fact if type(fact) is tuple else (fact,))]
        if not _whole(n) or type(normalize) is not bool or any(type(each) not in _FACTS for each in flat):
            raise _refuse("an offset")
        return _of(f"{_TSLIBS}.offsets", name)(n, normalize, *facts)

    return make


def _places(length: Any, indices: Any) -> Any:
    if not _whole(length) or not _is_places(indices):
        raise _refuse("the places of an array of few values")
    return _of("pandas._libs.sparse", "IntIndex")(length, indices)


def _runs(length: Any, starts: Any, lengths: Any) -> Any:
    if not _whole(length) or not _is_places(starts) or not _is_places(lengths):
        raise _refuse("the places of an array of few values")
    first, count = starts.astype(np.int64), lengths.astype(np.int64)
    ends = np.append(first[1:], length)
    if first.shape != count.shape or np.any(first < 0) or np.any(count < 1) or np.any(first + count > ends):
        raise _refuse("the places of an array of few values")
    return _of("pandas._libs.sparse", "BlockIndex")(length, starts, lengths)


def _is_places(values: object) -> bool:
    return type(values) is np.ndarray and values.ndim == 1 and values.dtype == np.int32


def _pytz_zone(key: Any, *details: Any) -> dt.tzinfo:
    if type(key) is not str or any(type(each) not in (int, str) for each in details):
        raise _refuse("a time zone")
    substitute = _moved.zone_without_pytz("_p")
    if substitute is not None:
        return substitute(key)  # type: ignore[no-any-return]
    zone: Any = importlib.import_module("pytz").timezone(key)
    if not details:
        return zone  # type: ignore[no-any-return]
    # pytz would take in a new kind of time under the name of a zone that all share.
    offset, saving, name = details
    known = dt.timedelta(seconds=offset), dt.timedelta(seconds=saving), name
    return zone._tzinfos[known]  # type: ignore[no-any-return]


def _pytz_utc() -> dt.tzinfo:
    substitute = _moved.zone_without_pytz("_UTC")
    return substitute() if substitute is not None else importlib.import_module("pytz").UTC  # type: ignore[no-any-return]


def _pytz_offset(minutes: Any) -> dt.tzinfo:
    if not _whole(minutes):
        raise _refuse("a time zone")
    substitute = _moved.zone_without_pytz("_FixedOffset")
    return (substitute or importlib.import_module("pytz").FixedOffset)(minutes)  # type: ignore[no-any-return]


PANDAS_MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    (f"{_TSLIBS}.timestamps", "_unpickle_timestamp"): _timestamp,
    (f"{_TSLIBS}.timedeltas", "_timedelta_unpickle"): _timedelta,
    (f"{_TSLIBS}.nattype", "_nat_unpickle"): _not_a_time,
    (f"{_TSLIBS}.nattype", "__nat_unpickle"): _not_a_time,
    (f"{_TSLIBS}.period", "Period"): _period,
    ("pandas", "Period"): _period,
    ("pandas._libs.interval", "Interval"): _interval,
    ("pandas", "Interval"): _interval,
    ("pandas.core.dtypes.dtypes", "PeriodDtype"): _period_dtype,
    ("pandas", "PeriodDtype"): _period_dtype,
    ("pandas._libs.sparse", "IntIndex"): _places,
    ("pandas._libs.sparse", "BlockIndex"): _runs,
    ("pytz", "_p"): _pytz_zone,
    ("pytz", "_UTC"): _pytz_utc,
    ("pytz", "FixedOffset"): _pytz_offset,
    **{(f"{_TSLIBS}.offsets", name): _offset(name) for name in _PLAIN_OFFSETS},
}
"""What pandas 2 and 3 name in the pickles of their values, and what is called for it."""
PANDAS_VALUES: dict[tuple[str, str], Callable[[], Any]] = {
    ("pandas", "NA"): not_available,
    ("pandas._libs.missing", "NA"): not_available,
}
"""What they name that is a value itself."""
