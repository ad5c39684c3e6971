"""Small things of the standard library that do not pickle, or come back as something else."""

from __future__ import annotations

import copyreg
import functools
import gc
import itertools
import json
import json.scanner
import pickle
import random
import re
import struct
import sys
import uuid
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reduce_struct(_pickler: StreamPickler, layout: struct.Struct) -> Any:
    """Reduce a compiled format to its text."""
    return struct.Struct, (layout.format,)


def reduce_system_random(_pickler: StreamPickler, _source: random.SystemRandom) -> Any:
    """Reduce a source without a state."""
    return random.SystemRandom, ()


def reduce_key_wrapper(_pickler: StreamPickler, key: Any) -> Any:
    """Reduce what ``functools.cmp_to_key`` returns, or a key that it made."""
    compare, *wrapped = [thing for thing in gc.get_referents(key) if thing is not type(key)]
    return _calls.named("key_wrapper"), (compare, *wrapped)


def reduce_pairwise(_pickler: StreamPickler, pairs: Any) -> Any:
    """Reduce pairs to their source, and the element that the next pair begins with."""
    source, *held = [thing for thing in gc.get_referents(pairs) if thing is not type(pairs)]
    if sys.version_info >= (3, 12):
        held = held[:-1]  # the last pair, kept to be used again
    return _calls.named("pairwise"), (source, tuple(held))


def reduce_json_decoder(_pickler: StreamPickler, decoder: json.JSONDecoder) -> Any:
    """Reduce a decoder without its scanner, which is made from the rest."""
    scanner: Any = json.scanner
    if type(vars(decoder).get("scan_once")) is not scanner.c_make_scanner:
        return NotImplemented
    state = {name: value for name, value in vars(decoder).items() if name != "scan_once"}
    make: Any = copyreg.__newobj__  # type: ignore[attr-defined]
    return make, (type(decoder),), state, None, None, _calls.named("set_json_decoder_state")


def reduce_uuid(_pickler: StreamPickler, value: uuid.UUID) -> Any:
    """Reduce an id to its text, which is data; pickle makes an instance and fills it."""
    if type(value) is not uuid.UUID or value.is_safe is not uuid.SafeUUID.unknown:
        return NotImplemented
    return uuid.UUID, (value.hex,)


class _Suppress:
    """Stands for ``argparse.SUPPRESS``, a text that argparse tells from an equal one."""

    def __reduce__(self) -> Any:
        return _calls.named("attribute"), ("argparse", "SUPPRESS")


def reduce_argument(_pickler: StreamPickler, thing: Any) -> Any:
    """Reduce a parser or one of its arguments."""
    make, arguments, state, *rest = thing.__reduce_ex__(5)
    if type(state) is dict:
        state = {key: _Suppress() if is_suppress(value) else value for key, value in state.items()}
    return make, arguments, state, *rest


def is_suppress(value: object) -> bool:
    """Whether it is that very text."""
    return value is sys.modules["argparse"].SUPPRESS


_WAYS = ("match", "search", "fullmatch")


def reduce_match(_pickler: StreamPickler, match: re.Match[Any]) -> Any:
    """Reduce a match to the call that finds it again; one that none finds is refused."""
    for way in _WAYS:
        if _is_same(match, find_match(match.re, way, match.string, match.pos, match.endpos)):
            return _calls.named("match"), (match.re, way, match.string, match.pos, match.endpos)
    raise pickle.PicklingError("it holds a re.Match of a search that went on")


def _is_same(one: re.Match[Any], other: re.Match[Any] | None) -> bool:
    return other is not None and one.regs == other.regs and one.lastindex == other.lastindex


SMALL_REDUCERS: dict[type, Callable[[Any, Any], Any]] = {
    struct.Struct: reduce_struct,
    random.SystemRandom: reduce_system_random,
    type(functools.cmp_to_key(max)): reduce_key_wrapper,
    itertools.pairwise: reduce_pairwise,
    re.Match: reduce_match,
    uuid.UUID: reduce_uuid,
}
NAMED_SMALL_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "json.decoder.JSONDecoder": reduce_json_decoder,
    "argparse._ActionsContainer": reduce_argument,
    "argparse.Action": reduce_argument,
}


# --- decoding


def key_wrapper(compare: Any, *wrapped: Any) -> Any:
    """Make what ``functools.cmp_to_key`` returns, or a key that it makes."""
    make: Any = functools.cmp_to_key(compare)
    return make(*wrapped) if wrapped else make


def pairwise(source: Any, held: tuple[Any, ...]) -> Any:
    """Make pairs that begin with what was held."""
    return itertools.pairwise(itertools.chain(held, source) if held else source)


def set_json_decoder_state(decoder: json.JSONDecoder, state: dict[str, Any]) -> None:
    """Give a decoder its state and a scanner."""
    vars(decoder).update(state)
    scanner: Any = json.scanner
    vars(decoder)["scan_once"] = scanner.make_scanner(decoder)


def find_match(pattern: re.Pattern[Any], way: str, text: Any, start: int, end: int) -> re.Match[Any] | None:
    """Find a match again."""
    found: re.Match[Any] | None = getattr(pattern, way)(text, start, end)
    return found
