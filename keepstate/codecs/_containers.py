"""Lists and dictionaries of a class of their own that does something when an element comes in.

Pickle fills them through ``append`` and ``__setitem__`` of that class, before its state is there: what the
class does to an element is done twice, or fails. Here the elements go in as they were.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_FILLERS: dict[type, tuple[str, ...]] = {list: ("append", "extend"), dict: ("__setitem__",)}
_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")


def container_reducer(kind: type) -> Callable[[StreamPickler, Any], Any] | None:
    """Return the reducer of a class whose elements pickle would put in by its own methods."""
    fillers: tuple[str, ...] = next((names for base, names in _FILLERS.items() if issubclass(kind, base)), ())
    if any(getattr(kind, way, None) != getattr(object, way, None) for way in _OWN_WAYS):
        return None
    fills = (getattr(kind, name) for name in fillers)
    return reduce_container if any(isinstance(method, types.FunctionType) for method in fills) else None


def reduce_container(_pickler: StreamPickler, thing: Any) -> Any:
    """Reduce it to its state and its elements, which are put in by the built-in class."""
    make, arguments, state, elements, items = (*thing.__reduce_ex__(5), None, None)[:5]
    held = list(elements) if items is None else dict(items)
    return make, arguments, (state, held), None, None, _calls.named("fill_container")


def reduce_ordered_dictionary(_pickler: StreamPickler, thing: OrderedDict[Any, Any]) -> Any:
    """Reduce one that has attributes, as the weights of a torch model do, so that it stays data."""
    if not vars(thing):
        return NotImplemented
    reduced: Any = thing.__reduce__()
    return (*reduced, _calls.named("set_attributes"))


# --- decoding


def set_attributes(thing: OrderedDict[Any, Any], attributes: dict[str, Any]) -> None:
    """Give a dictionary its attributes."""
    if type(thing) is not OrderedDict or any(type(name) is not str for name in attributes):
        raise CodecError("attributes were kept for something that is no ordered dictionary")
    vars(thing).update(attributes)


def fill_container(thing: Any, content: tuple[Any, Any]) -> None:
    """Give it its state, then its elements."""
    state, held = content
    if state is not None:
        if hasattr(thing, "__setstate__"):
            thing.__setstate__(state)
        else:
            plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            if plain:
                vars(thing).update(plain)
            for name, value in (slots or {}).items():
                setattr(thing, name, value)
    (list.extend if isinstance(thing, list) else dict.update)(thing, held)
