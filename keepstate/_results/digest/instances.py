"""Any other object, by what it says is needed to make it again."""

from __future__ import annotations

import copyreg
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstate._results.digest.definitions import take_named
from keepstate._results.digest.no_key import NoKeyError
from keepstate._results.digest.patches import attributes_of, origin
from keepstate.codecs import is_value_type, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._results.digest.digester import Digester


def take_instance(digester: Digester, value: Any) -> None:
    """Take in what is called to make it again, with what, and what is put into it then."""
    kind = type(value)
    if kind is object:
        raise NoKeyError("it holds a bare object(), which is only known by its identity")
    if kind in _PROXIES:
        raise NoKeyError("it holds a weakref.proxy, which says that it is what it stands for")
    if isinstance(value, BaseException) and (value.__traceback__ or value.__cause__ or value.__context__):
        raise NoKeyError(f"it holds a {kind.__name__} that was raised, with its traceback")
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
    if not (is_index or kind in _VALUES or (digester.frames and str(kind.__module__).startswith("pandas"))):
        digester.number(value, shared=not (digester.frames or is_value_type(kind)))
    digester.kept.append(reduced)
    function, arguments, state, entries, pairs = (*reduced, None, None, None)[:5]
    digester.frames += is_frame or is_index
    digester.indexes += is_index
    try:
        facts = _facts_of(digester, kind)
        digester.write(b"object", *facts.name)
        if facts.is_own:
            digester.take(kind)  # of which what it says need not tell anything
        digester.take(function)
        digester.take(arguments)
        digester.take(_without_cache(kind, state))
        for iterator in (entries, pairs):
            digester.take_all([] if iterator is None else list(iterator))
        if (facts.is_own or facts.is_of_pandas) and (left_out := _left_out(digester, facts, value, state)):
            frames, digester.frames = digester.frames, 0
            digester.take(left_out)
            digester.frames = frames
    finally:
        digester.frames -= is_frame or is_index
        digester.indexes -= is_index


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What is to be known of a class whose instances are taken in."""

    name: tuple[bytes, bytes]
    """Of its module, and its own."""
    is_own: bool
    """Whether it is the user's."""
    is_of_pandas: bool
    """Whether it is of pandas, or made of what is."""
    says_itself: bool
    """Whether the user's own code says what its instances are made of."""


def _facts_of(digester: Digester, kind: type) -> KindFacts:
    known = digester.seen.kinds.get(kind)
    if known is None:
        known = digester.seen.kinds[kind] = KindFacts(
            name=(str(kind.__module__).encode(), kind.__qualname__.encode()),
            is_own=origin(digester, kind.__module__) != "library",
            is_of_pandas=any(str(base.__module__).startswith("pandas.") for base in kind.__mro__),
            says_itself=_says_itself(digester, kind),
        )
    return known


def _left_out(digester: Digester, facts: KindFacts, value: Any, state: object) -> dict[str, object]:
    """Give the attributes of which what it says is silent, because whoever says it does not know of them.

    Those are what is hung on a frame, attributes of own subclasses of a library's class, as of dates and
    members of an enumeration, and what a class of the user's leaves out on purpose. Of what comes out of a
    function it may leave that out.
    """
    if facts.says_itself and not digester.exact:
        return {}
    inside = attributes_of(value)  # to ask makes one, which some then tell of themselves
    state = state[0] if type(state) is tuple and state else state
    told: dict[object, object] = state if type(state) is dict else {}
    return {
        name: each
        for name, each in inside.items()
        if not (name in told and told[name] is each)
        and not (facts.is_of_pandas and (name in _PARTS_OF_FRAMES if facts.is_own else name[:1] == "_"))
    }


def _says_itself(digester: Digester, kind: type) -> bool:
    own = [vars(base) for base in kind.__mro__ if origin(digester, base.__module__) != "library"]
    said = [inside[name] for inside in own for name in _SAYING & inside.keys()]
    return any(origin(digester, getattr(each, "__module__", None)) != "library" for each in said)


def copies_on_write(kind: type) -> bool:
    """Say whether it is a frame or index, which shares its memory with others and nobody can tell."""
    return any(_pandas_kind(kind))


def _pandas_kind(kind: type) -> tuple[bool, bool]:
    """Say whether it is a frame whose arrays nobody can change through another one, and whether an index."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not str(kind.__module__).startswith("pandas"):
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
    if str(kind.__module__).startswith("pandas") and type(state) is dict and "_cache" in state:
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


_PARTS_OF_FRAMES = frozenset(
    {"_mgr", "_item_cache", "_attrs", "_flags", "_cacher", "_cache", "_name", "_is_copy", "_data", "_id"}
)
"""What pandas has in an instance for itself."""
_SAYING = frozenset({"__reduce__", "__reduce_ex__", "__getstate__"})
_PROXIES = frozenset({weakref.ProxyType, weakref.CallableProxyType})
_VALUES = frozenset(_value_types())
"""Equal is as good as the same: which of them are one object is chance."""
