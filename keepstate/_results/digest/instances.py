"""Any other object, by what it says is needed to make it again."""

from __future__ import annotations

import copyreg
import sys
from typing import TYPE_CHECKING, Any

from keepstate._results.digest.definitions import take_named
from keepstate._results.digest.no_key import NoKeyError
from keepstate.codecs import is_value_type, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._results.digest.digester import Digester


def take_instance(digester: Digester, value: Any) -> None:
    """Take in what is called to make it again, with what, and what is put into it then."""
    kind = type(value)
    if kind is object:
        raise NoKeyError("it holds a bare object(), which is only known by its identity")
    is_frame, is_index = _pandas_kind(kind)
    try:
        reducer = copyreg.dispatch_table.get(kind)
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except (NoKeyError, RecursionError):
        raise
    except Exception as error:
        raise NoKeyError(refusal(value, error)) from error
    if isinstance(reduced, str):
        take_named(digester, value, reduced)
        return
    if not (is_index or kind in _VALUES or (digester.frames and kind.__module__.startswith("pandas"))):
        digester.number(value, shared=not (digester.frames or is_value_type(kind)))
    digester.kept.append(reduced)
    function, arguments, state, entries, pairs = (*reduced, None, None, None)[:5]
    digester.frames += is_frame or is_index
    try:
        digester.write(b"object")
        digester.take(function)
        digester.take(arguments)
        digester.take(_without_cache(kind, state))
        for iterator in (entries, pairs):
            digester.take_all([] if iterator is None else list(iterator))
    finally:
        digester.frames -= is_frame or is_index


def _pandas_kind(kind: type) -> tuple[bool, bool]:
    """Say whether it is a frame whose arrays nobody can change through another one, and whether an index."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not kind.__module__.startswith("pandas"):
        return False, False
    try:
        if issubclass(kind, pandas.Index):
            return False, True
        if not issubclass(kind, pandas.DataFrame | pandas.Series):
            return False, False
        copies = int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True
    except AttributeError:  # it is just being imported
        return False, False
    return copies, False


def _without_cache(kind: type, state: object) -> object:
    """Leave out what pandas has computed for itself, which grows as it is used."""
    if kind.__module__.startswith("pandas") and type(state) is dict and "_cache" in state:
        return {name: value for name, value in state.items() if name != "_cache"}
    return state


def _value_types() -> Iterable[type]:
    import datetime as dt
    import decimal
    import fractions
    import pathlib
    import re
    import uuid

    yield from (dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone)
    yield from (decimal.Decimal, fractions.Fraction, uuid.UUID, re.Pattern, range)
    yield from (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)


_VALUES = frozenset(_value_types())
"""Equal is as good as the same: which of them are one object is chance."""
