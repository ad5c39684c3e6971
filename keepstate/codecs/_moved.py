"""Names that libraries have given their classes and functions in turn: where another version has them.

A stream names a class as the version that wrote it did. If that name is not here, the others are tried.
"""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import sys
import zoneinfo
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MODULES = {
    "numpy.rec": "numpy.core.records",  # 2 and 1.26
    "numpy.core.records": "numpy.rec",
    "pathlib._local": "pathlib",  # 3.13 and all others
}
_NAMES = {
    ("pandas._libs.tslibs.nattype", "_nat_unpickle"): "__nat_unpickle",  # 3 and 2
    ("pandas._libs.tslibs.nattype", "__nat_unpickle"): "_nat_unpickle",
}
_CORE, _NEW_CORE = "numpy.core.", "numpy._core."


def elsewhere(module: str, name: str) -> Iterator[tuple[str, str]]:
    """Give the other places in which a name of *module* may be."""
    if module in _MODULES:
        yield _MODULES[module], name
    if (module, name) in _NAMES:
        yield module, _NAMES[module, name]
    if module.startswith(_NEW_CORE):
        yield _CORE + module.removeprefix(_NEW_CORE), name


def preferred(module: str) -> str:
    """Give the module to look into first: numpy 2 warns where ``numpy.core`` is named."""
    if module.startswith(_CORE) and "numpy._core" in sys.modules:
        newer = _NEW_CORE + module.removeprefix(_CORE)
        try:
            return newer if importlib.util.find_spec(newer) is not None else module
        except (ImportError, ValueError):
            return module
    return module


INDEXES = (
    ("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
    ("pandas.core.indexes.timedeltas", "_new_TimedeltaIndex"),
)
"""What makes indexes whose frequency pandas 3 keeps beside their array, and pandas 2 within."""


def index_of_pandas_2(name: str) -> Callable[..., Any] | None:
    """Give what makes such an index under pandas 2; ``None``: this is another."""
    pandas = importlib.import_module("pandas")
    if pandas.__version__.partition(".")[0] != "2":
        return None
    if name == "_new_TimedeltaIndex":
        return _timedelta_index
    return _datetime_index


def _datetime_index(kind: Any, facts: dict[str, Any]) -> Any:
    _put_frequency(facts)
    return importlib.import_module("pandas.core.indexes.datetimes")._new_DatetimeIndex(kind, facts)


def _timedelta_index(kind: Any, facts: dict[str, Any]) -> Any:
    _put_frequency(facts)
    facts.pop("freq", None)
    return importlib.import_module("pandas.core.indexes.base")._new_Index(kind, facts)


def _put_frequency(facts: dict[str, Any]) -> None:
    data: Any = facts.get("data")
    if facts.get("freq") is not None and getattr(data, "_freq", facts) is None:
        data._freq = facts["freq"]


def zone_without_pytz(name: str) -> Callable[..., Any] | None:
    """Give what makes the time zone that pytz would: pandas 3 does without it.

    Args:
        name: Of the function that the stream asks pytz for.
    """
    if importlib.util.find_spec("pytz") is not None:
        return None
    return _ZONES.get(name)


def _utc() -> dt.tzinfo:
    return dt.UTC


def _zone(key: str, *_details: object) -> dt.tzinfo:
    return zoneinfo.ZoneInfo(key)


def _offset(minutes: int) -> dt.tzinfo:
    return dt.timezone(dt.timedelta(minutes=minutes))


_ZONES: dict[str, Callable[..., Any]] = {"_p": _zone, "_UTC": _utc, "_FixedOffset": _offset}
