"""What a child finds when it looks at the memory of groups: that it is what it was, or what it is now."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from keepstate._capture.imprint import layouts
from keepstate._capture.imprint.footprint import Footprint
from keepstate._capture.imprint.hashes import hashes
from keepstate._capture.imprint.imprints import Worth
from keepstate._capture.imprint.memory import Memory
from keepstate._capture.imprint.region import HASH_BYTES, MASK_BYTES, Head, Region
from keepstate._capture.imprint.shapes import Shape, shape_of
from keepstate._capture.imprint.trial import tried_layout
from keepstate._capture.imprint.walk import UnknownMemoryError, trace
from keepstate._capture.memory import read_room, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from keepstate._capture.imprint.layouts import Layout
    from keepstate._capture.imprint.memory import Mask, Words

_MARKS_SHARE = 8
"""The marks of a walk take an eighth of what is walked over."""
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset)


class Imprint:
    """The memory of one group, as it is in this picture; satisfies what the codecs ask for."""

    def __init__(
        self, head: Head, kinds: list[type], region: Region, footprint: Footprint, memory: Memory
    ) -> None:
        self.head = head
        self.names = tuple(head.names)
        self.references = (complex, *kinds) if head.complex_numbers else tuple(kinds)
        self.facts = head.facts or None
        self._region = region
        self._footprint = footprint
        self._memory = memory

    def holds(self, ids: Words) -> Mask:
        """Say which ids are those of objects of this group; all objects must live."""
        return self._footprint.holds(ids + np.uint64(layouts.TYPE))

    def shares(self, ids: Words) -> bool:
        """Say whether one of these objects, all of which live, is of this group and can be changed."""
        kinds = self._memory.read(ids[self.holds(ids)], layouts.TYPE)
        return not np.isin(kinds, [id(kind) for kind in _IMMUTABLE]).all()

    def keep(self, facts: bytes, pieces: Iterable[tuple[bytes, int]], encode_seconds: float) -> bool:
        """Leave it to later children, now that this memory was encoded; ``False``: there is not room enough.

        Args:
            facts: What the stream depended on besides memory.
            pieces: Fingerprint and length of each piece of the stream.
            encode_seconds: How long encoding took.
        """
        self.head = msgspec.structs.replace(
            self.head, facts=facts, pieces=list(pieces), encode_seconds=encode_seconds
        )
        return self._region.put_head(self.head)

    @property
    def worth(self) -> Worth:
        """What the parent must know."""
        return Worth(self.head.names, self.head.encode_seconds, Region.used_bytes(self.head.pages))


class Look:
    """One child's look.

    Args:
        bindings: name → object.
        seed: Of the hashes; one for a session, not known outside.
        on_block: Called now and then.
    """

    def __init__(
        self,
        bindings: Mapping[str, object],
        *,
        seed: int,
        on_block: Callable[[], None],
    ) -> None:
        self._bindings = bindings
        self._seed = seed
        self._on_block = on_block
        self._memory = Memory()

    def at(self, names: tuple[str, ...], region: Region) -> Imprint | None:
        """Look at the group of *names*, whose imprint is in *region* or may go there."""
        head = region.head()
        roots = [id(self._bindings[name]) for name in names]
        if head is None:
            return self._traced(names, roots, region)
        found = self._unchanged(head, region) if head.roots == roots else None
        if found is None:
            region.clear()
        return found

    def _unchanged(self, head: Head, region: Region) -> Imprint | None:
        footprint = _footprint(region, head.pages)
        kept = bytes(region.tables(head.pages)[2])
        if not self._memory.are_readable(footprint.pages):
            return None
        for index, found in enumerate(self._hashes(footprint)):
            if found != kept[index * HASH_BYTES : (index + 1) * HASH_BYTES]:
                return None
        kinds = []
        for address, size, attributes, inline, slots in head.kinds:
            # The first object of this type is held by objects of those before it, so both live.
            kind = ctypes.cast(address, ctypes.py_object).value
            if shape_of(kind, self._memory) != Shape(size, attributes, inline, tuple(slots)):
                return None
            kinds.append(kind)
        return Imprint(head, kinds, region, footprint, self._memory)

    def _traced(self, names: tuple[str, ...], roots: list[int], region: Region) -> Imprint | None:
        room = read_room()
        marks = read_status().get("VmRSS", 0) * 1024 // _MARKS_SHARE
        if room is not None and room.available < 4 * marks:
            return None
        layout = self._layout
        if layout is None:
            return None
        try:
            found = trace(roots, self._memory, layout, on_block=self._on_block)
        except (UnknownMemoryError, MemoryError, OSError):
            return None  # it is encoded as ever
        footprint = found.footprint
        pages, masks = footprint.pages.tobytes(), footprint.masks.tobytes()
        if not region.put_tables(len(footprint.pages), (pages, masks, b"".join(self._hashes(footprint)))):
            return None
        head = Head(
            names=list(names),
            roots=roots,
            kinds=[
                (id(kind), shape.size, shape.attributes, shape.inline, list(shape.slots))
                for kind, shape in found.kinds
            ],
            complex_numbers=found.complex_numbers,
            pages=len(footprint.pages),
        )
        kinds = [kind for kind, _ in found.kinds]
        return Imprint(head, kinds, region, _footprint(region, head.pages), self._memory)

    @cached_property
    def _layout(self) -> Layout | None:
        return tried_layout()

    def _hashes(self, footprint: Footprint) -> Iterator[bytes]:
        return hashes(footprint, self._memory, seed=self._seed, on_block=self._on_block)


def _footprint(region: Region, pages: int) -> Footprint:
    addresses, masks, _ = region.tables(pages)
    return Footprint(
        np.frombuffer(addresses, np.uint64), np.frombuffer(masks, np.uint8).reshape(-1, MASK_BYTES)
    )
