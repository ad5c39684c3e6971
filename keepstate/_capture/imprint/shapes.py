"""How instances of an ordinary class lie in memory.

Ordinary: made by a ``class`` statement from ordinary bases, with nothing but attributes and slots that hold
objects. What a stream makes of such instances is for :mod:`keepstate.codecs` to say.
"""

from __future__ import annotations

import abc
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._capture.imprint import layouts

if TYPE_CHECKING:
    from keepstate._capture.imprint.memory import Memory

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE`` (``object.h``)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of instances of one class."""

    size: int
    """``tp_basicsize``."""
    attributes: bool
    """Whether they have attributes besides slots."""
    inline: bool
    """Whether the values of those may follow the instance."""
    slots: tuple[tuple[str, int], ...]
    """Name → offset."""


class _Sample:
    pass


def shape_of(kind: type, memory: Memory) -> Shape | None:
    """Return the shape; ``None`` if the class is not ordinary.

    Args:
        kind: A class that lives.
        memory: Where it lives.
    """
    if kind.__mro__[-1] is not object or kind.__itemsize__ or not all(map(_is_ours, kind.__mro__[:-1])):
        return None
    for field in (layouts.TYPE_DEALLOC, layouts.TYPE_GETATTR, layouts.TYPE_GETATTRO):
        if memory.read_one(id(kind) + field) != memory.read_one(id(_Sample) + field):
            return None
    managed = bool(kind.__flags__ & layouts.MANAGED_DICT)
    if kind.__dictoffset__ and not managed:
        return None
    slots = _slots(kind, memory)
    words = set(range(object.__basicsize__, kind.__basicsize__, 8)) - {kind.__weakrefoffset__}
    if slots is None or words != set(slots.values()):
        return None
    inline = bool(kind.__flags__ & layouts.INLINE_VALUES)
    return Shape(kind.__basicsize__, managed, inline, tuple(sorted(slots.items())))


def _is_ours(base: type) -> bool:
    return type(base) in (type, abc.ABCMeta) and bool(base.__flags__ & _HEAP_TYPE)


def _slots(kind: type, memory: Memory) -> dict[str, int] | None:
    found: dict[str, int] = {}
    others: set[str] = set()
    for base in kind.__mro__:
        for name, value in vars(base).items():
            if type(value) is not types.MemberDescriptorType:
                others.add(name)
            elif name in others:
                return None  # something else is found under the name of the slot
            elif name not in found:
                member = memory.read_one(id(value) + layouts.MEMBER)
                if memory.read_one(member + layouts.MEMBER_TYPE) & 0xFFFFFFFF != layouts.MEMBER_OBJECT:
                    return None
                found[name] = memory.read_one(member + layouts.MEMBER_OFFSET)
    return found
