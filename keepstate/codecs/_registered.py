"""Codecs that somebody else has given: how objects of one type are kept by those who know them better.

Registered by the name of a type, so that its library need not be imported; subclasses are meant too, unless
one has a codec of its own. A codec proves itself at each write: what it does not give back equal is left to
pickle, and so is what it fails on.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any, Protocol

from keepstate.codecs import _calls
from keepstate.errors import CodecError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_TYPE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class Codec(Protocol):
    """What keeps objects of one type.

    It runs in a forked child or between two cells: it starts no thread, prints nothing, and leaves the object
    as it is. *State* is anything that can be kept: numbers, texts, lists, dictionaries, arrays, whose memory
    is cut into chunks and written again only where it has changed.
    """

    @property
    def version(self) -> int:
        """Of its states, 0 or more; :meth:`decode` must read every one that it has ever written."""
        ...

    def encode(self, thing: Any) -> object:
        """Return the state of *thing*, which may share memory with it."""
        ...

    def decode(self, state: Any, version: int) -> object:
        """Make a new object from a state of that version."""
        ...

    def same(self, one: Any, other: Any) -> bool:
        """Whether two objects are equal in all that a user could see."""
        ...


_codecs: dict[str, Codec] = {}
_by_type: dict[type, str | None] = {}


def register(type_name: str, codec: Codec) -> None:
    """Have objects of a type, and of its subclasses, kept by *codec* from now on.

    Args:
        type_name: ``module.Class``, as ``type(x).__module__`` and ``__qualname__`` tell it.
        codec: What keeps them. The module of its class is imported where it is needed to read them again, and
            must register it.

    Raises:
        InvalidInputError: That is no such name, or the codec lacks something, or another one is registered.
    """
    if not _TYPE_NAME.fullmatch(type_name):
        raise InvalidInputError(f"{type_name!r} is no name of a type: give 'module.Class'")
    missing = [name for name in ("version", "encode", "decode", "same") if not hasattr(codec, name)]
    if missing:
        raise InvalidInputError(f"the codec of {type_name} has no {' and no '.join(missing)}")
    if type(_codecs.get(type_name, codec)) is not type(codec):
        raise InvalidInputError(f"{type_name} has a codec already: unregister() it first")
    _codecs[type_name] = codec
    _by_type.clear()


def unregister(type_name: str) -> None:
    """Leave objects of that type to what keeps others.

    Raises:
        InvalidInputError: It has no codec.
    """
    if type_name not in _codecs:
        raise InvalidInputError(f"{type_name} has no codec")
    del _codecs[type_name]
    _by_type.clear()


def registered_reducer(kind: type) -> Callable[[StreamPickler, Any], Any] | None:
    """Return the reducer of a type that has a codec, or a base that has one."""
    if not _codecs:
        return None
    if kind not in _by_type:
        names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
        _by_type[kind] = next((name for name in names if name in _codecs), None)
    type_name = _by_type[kind]
    return None if type_name is None else _reducer(type_name, _codecs[type_name])


def _reducer(type_name: str, codec: Codec) -> Callable[[StreamPickler, Any], Any]:
    def reduce(_pickler: StreamPickler, thing: Any) -> Any:
        try:
            state, version = codec.encode(thing), int(codec.version)
            made = codec.decode(state, version)
            proven = type(made) is type(thing) and codec.same(thing, made) is True
        except Exception:  # noqa: BLE001 - then it is not proven, and pickle keeps it or says why not
            proven = False
        if not proven:
            return NotImplemented
        return _calls.named("registered"), (type_name, type(codec).__module__, version, state)

    return reduce


# --- decoding


def decode_registered(type_name: str, module: str, version: int, state: object) -> object:
    """Make an object from a state by the codec that wrote it.

    Raises:
        ModuleNotFoundError: The module of the codec is not installed.
        CodecError: It is, but registers no such codec.
    """
    if type_name not in _codecs and module not in sys.modules:
        importlib.import_module(module)
    if type_name not in _codecs:
        raise CodecError(
            f"the codec of {type_name} is not registered: call keepstate.codecs.register() first"
        )
    return _codecs[type_name].decode(state, version)
