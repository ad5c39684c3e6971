"""Groups whose memory is what it was when they were encoded: what else does their stream depend on?

Pickle writes numbers, texts, bytes, lists, tuples, dictionaries, sets and instances of ordinary classes from
their memory, and from the classes: how an instance is reduced, and what refers to its class. A text is
written once for each object, so it matters too whether the name of a variable, of a class or of a slot is one
of the very objects of the group. All of that is written down here as *facts*: equal memory and equal facts
give an equal stream. Who looks at memory is told by a Protocol; this layer knows none.
"""

from __future__ import annotations

import _pickle
import abc
import copyreg
import sys
import types
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from keepstate.codecs._functions import reference_to
from keepstate.codecs._pickler import StreamPickler
from keepstate.codecs._reducers import reducer_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keepstate.codecs._definitions import Definitions

Ids = np.ndarray[Any, np.dtype[np.uint64]]

_HOOKS = frozenset(
    {
        "__class__",
        "__getattr__",
        "__getattribute__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__getstate__",
        "__reduce__",
        "__reduce_ex__",
    }
)
"""What a class may define to be pickled otherwise. Source: CPython's ``typeobject.c`` and ``_pickle.c``."""
_NEWOBJ, _SLOT_NAMES = copyreg.__newobj__, copyreg._slotnames  # type: ignore[attr-defined]
_REDUCE_COMPLEX = copyreg.dispatch_table.get(complex)


class Imprint(Protocol):
    """What is known of the memory of a group."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its names, sorted."""
        ...

    @property
    def references(self) -> tuple[type, ...]:
        """Classes that its stream refers to, in an order that is the same each time."""
        ...

    @property
    def facts(self) -> bytes | None:
        """What :class:`Probe` found when this memory was encoded; ``None``: it is to be encoded now."""
        ...

    def holds(self, ids: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Say which of these objects are among its own."""
        ...

    def shares(self, ids: Ids) -> bool:
        """Say whether one of these objects is among its own and can be changed."""
        ...


class Probe:
    """What the stream of a group depends on besides its memory.

    Args:
        imprint: Of the group.
        names: Its names, as its stream has them.
        definitions: Of the picture.

    Raises:
        ValueError: More than can be written down.
    """

    def __init__(self, imprint: Imprint, names: Sequence[str], definitions: Definitions) -> None:
        self.pickler = StreamPickler(definitions, inline=frozenset(names))
        """Refers to the classes as the stream of the group does; it holds nothing else."""
        namespace = np.array([id(definitions.namespace)], np.uint64)
        if not _pickle_is_itself(self.pickler) or imprint.holds(namespace).any():
            raise ValueError("not everything is as usual")
        slots = [_slots_of(kind, self.pickler) for kind in imprint.references]
        self.pickler.write(dict.fromkeys(names, (imprint.references, slots)))
        written = self.pickler.remembered()
        ids = np.fromiter(written, np.uint64, len(written))
        same = sorted((written[own][0], own) for own in ids[imprint.holds(ids)].tolist())
        stream, _ = self.pickler.finish()
        self.facts = msgspec.msgpack.encode((stream, same, definitions.module))


def _pickle_is_itself(pickler: StreamPickler) -> bool:
    return (
        isinstance(pickler, _pickle.Pickler)
        and sys.modules.get("copyreg") is copyreg
        and copyreg.__newobj__ is _NEWOBJ  # type: ignore[attr-defined]
        and copyreg._slotnames is _SLOT_NAMES  # type: ignore[attr-defined]
    )


def _slots_of(kind: type, pickler: StreamPickler) -> list[str]:
    """Return the names of the slots of an ordinary class, as pickle will find them."""
    table = pickler.dispatch_table
    if reducer_for(kind) is not None or reference_to(pickler, kind) is None:
        raise ValueError(f"{kind!r} is kept in another way")
    if kind is complex:
        if _REDUCE_COMPLEX is None or table.get(kind) is not _REDUCE_COMPLEX:
            raise ValueError("complex numbers are kept in another way")
        return []
    if kind in table or not all(map(_is_ordinary, kind.__mro__[:-1])):
        raise ValueError(f"{kind!r} is reduced in another way")
    known = vars(kind)
    names: Any = known["__slotnames__"] if "__slotnames__" in known else _SLOT_NAMES(kind)
    if type(names) is not list:
        raise ValueError(f"the slots of {kind!r} are told in another way")
    for name in names:
        found = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if type(name) is not str or type(found) is not types.MemberDescriptorType:
            raise ValueError(f"{name!r} of {kind!r} is not a slot")
    return list(names)


def _is_ordinary(base: type) -> bool:
    return type(base) in (type, abc.ABCMeta) and _HOOKS.isdisjoint(vars(base))


def all_ids(picklers: Iterable[StreamPickler]) -> Ids:
    """Return the ids of all objects that streams hold."""
    return np.concatenate([np.zeros(0, np.uint64), *(pickler.shared_ids() for pickler in picklers)])
