"""Memory of arrays, outside the stream: each array is a place in a segment, each segment a part.

Arrays that show the same memory are told by its address, whoever exports it; they come back sharing it.
Only the bytes that some array shows are kept: a small slice of a huge array does not keep the huge one.
This module knows numpy arrays and addresses, not pickles of anything else and not files.
"""

from __future__ import annotations

import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._model.parts import Part
from keepstate.codecs._stream import MemoryMap, Piece, Segment, Whole
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INLINE_BYTES = 4096
"""Below this, memory is kept inside the stream: a part of its own costs a record of 45 bytes and a chunk."""

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]


class _Exposed:
    """Shows ``[address, address + nbytes)`` to numpy, and keeps what owns it alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, address: int, nbytes: int, owner: object, *, writable: bool) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "data": (address, not writable),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


def live_memory(address: int, nbytes: int, owner: object, *, writable: bool = False) -> memoryview:
    """Show live memory as bytes, without copying it.

    Args:
        address: Of the first byte.
        nbytes: 1 or more.
        owner: What must stay alive for as long as the result does.
        writable: Whether the result may be written to.
    """
    exposed: Any = np.asarray(_Exposed(address, nbytes, owner, writable=writable))
    return memoryview(exposed)


def is_plain(dtype: np.dtype[Any]) -> bool:
    """Say whether the memory of such an array is the values themselves (no pointers)."""
    if dtype.hasobject:
        return False
    if dtype.subdtype is not None:
        return is_plain(dtype.subdtype[0])
    if dtype.fields is not None:
        return all(is_plain(entry[0]) for entry in dtype.fields.values())
    return dtype.kind in "biufcmMSUV"  # not T, whose strings live in an arena of their own


def refuse_pointers(dtype: np.dtype[Any]) -> None:
    """Refuse to show kept bytes as anything but values.

    Raises:
        CodecError: They would be taken for addresses.
    """
    if not is_plain(dtype):
        raise CodecError(
            f"memory was kept as {dtype}, which is no type of plain values: the stream is damaged"
        )


def address_of(values: Array) -> int:
    """Return the address of the first element."""
    return int(values.__array_interface__["data"][0])


def extent(values: Array) -> tuple[int, int]:
    """Return ``[low, high)``, the addresses that the elements of a non-empty array lie in."""
    low = high = address_of(values)
    for length, stride in zip(values.shape, values.strides, strict=True):
        reach = (length - 1) * stride
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high + values.dtype.itemsize


def refuse_outside(
    nbytes: int, offset: int, dtype: Dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """Refuse an array that reaches beyond its memory; numpy's own check can be made to overflow by strides.

    Args:
        nbytes: Of the memory.
        offset: Of the first element in it.
        dtype: Of the array.
        shape: Of the array.
        strides: Of the array.

    Raises:
        CodecError: It does.
    """
    reaches = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    low = offset + sum(reach for reach in reaches if reach < 0)
    high = offset + sum(reach for reach in reaches if reach > 0) + dtype.itemsize
    if low < 0 or high > nbytes:
        raise CodecError("an array lies outside the memory that was kept for it")


def row_bytes_of(values: Array) -> int:
    """Return how far the rows are apart: what lies in one may move as a whole, as columns of frames do.

    >>> row_bytes_of(np.zeros((3, 100))), row_bytes_of(np.zeros((1, 100))), row_bytes_of(np.zeros((100, 3)).T)
    (800, 8, 24)
    """
    return max(
        (abs(stride) for length, stride in zip(values.shape, values.strides, strict=True) if length > 1),
        default=0,
    )


def root_of(values: Array) -> Array:
    """Follow views down to the last array of the chain: it owns the memory, or shows that of an exporter."""
    while True:
        base = values.base
        # as_strided puts a DummyArray between the view and its array.
        if type(base).__name__ == "DummyArray" and isinstance(getattr(base, "base", None), np.ndarray):
            base = base.base  # type: ignore[union-attr]
        if isinstance(base, np.void):  # a row of an array of records
            base = base.base
        if not isinstance(base, np.ndarray):
            return values
        values = base


def exporter_of(root: Array) -> object | None:
    """Return the bytearray or array.array whose memory *root* shows, if that is what it does."""
    base: object = root.base
    if isinstance(base, memoryview):
        base = base.obj
    if type(base) is bytearray or type(base) is array.array:
        return base
    return None


@dataclass(slots=True)
class _Root:
    """What is known so far of one segment."""

    base: int
    owner: object
    runs: list[tuple[int, int]] = field(default_factory=list)
    itemsize: int = 1
    row_bytes: int = 0
    alignment: int = 1
    writable: bool = False
    whole: Array | None = None
    detached: bool = False


class Memory:
    """Collects the segments of one stream."""

    def __init__(self) -> None:
        self._roots: list[_Root] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        self._detached: set[int] = set()
        self.object_extents: list[tuple[int, int, int, int]] = []
        """(low, high, id of the root, id of the array) of arrays of Python objects, kept in the stream."""

        self.device_extents: list[tuple[int, int]] = []
        """(low, high) of memory of devices, of which the stream has copies; apart from all addresses here."""

    def keep(self, thing: object) -> None:
        """Keep *thing* alive, so that its id and address stay its own."""
        self._kept.append(thing)

    def detach(self, values: Array) -> Array:
        """Return a view of *values* that is kept on its own and linked with nothing: it never changes."""
        view = values.view()
        self._detached.add(id(view))
        self._kept.append(view)
        return view

    def is_detached(self, values: Array) -> bool:
        """Say whether *values* came from :meth:`detach`."""
        return id(values) in self._detached

    def whole(self, values: Array) -> int:
        """Take in an array that is the root of its memory and contiguous; return its segment."""
        low, high = extent(values)
        number, root = self._root(id(values), low, values)
        root.whole = values
        self._add(root, values, low, high)
        return number

    def view(self, values: Array, root_array: Array) -> tuple[int, int]:
        """Take in a view; return its segment and the offset of its first element."""
        low, high = extent(values)
        if self.is_detached(values):
            number, root = self._root(id(values), low, values)
            root.detached = True
        else:
            number, root = self._root(
                id(root_array), extent(root_array)[0] if root_array.size else low, values
            )
        self._add(root, values, low, high)
        return number, address_of(values) - root.base

    def storage(self, owner: object, address: int, nbytes: int) -> int:
        """Take in memory that no array shows (a tensor's); return its segment."""
        number, root = self._root(id(owner), address, owner)
        root.runs.append((address, address + nbytes))
        root.writable = True
        root.alignment = 64
        return number

    def _root(self, key: int, base: int, owner: object) -> tuple[int, _Root]:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._roots)
            self._roots.append(_Root(base, owner))
        return number, self._roots[number]

    def _add(self, root: _Root, values: Array, low: int, high: int) -> None:
        if not root.runs:
            root.itemsize = max(1, values.dtype.itemsize)
        root.runs.append((low, high))
        root.row_bytes = max(root.row_bytes, row_bytes_of(values))
        root.alignment = max(root.alignment, values.dtype.alignment)
        root.writable = root.writable or bool(values.flags.writeable)
        self._kept.append(values)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield the addresses ``[low, high)`` that link this stream with others that show them."""
        for root in self._roots:
            if not root.detached:
                yield from merged(root.runs)
        for low, high, *_ in self.object_extents:
            yield low, high
        yield from self.device_extents

    def finish(self, buffers: Sequence[Part]) -> tuple[MemoryMap, tuple[Part, ...]]:
        """Lay the memory out in pieces, each a part or a few bytes in the stream itself."""
        layout = _Layout(self._roots)
        parts = list(buffers)
        pieces = []
        for run in layout.pieces:
            memory = live_memory(run.low, run.high - run.low, run.owners)
            if memory.nbytes < INLINE_BYTES:
                pieces.append(Piece(memory.nbytes, bytes(memory)))
            else:
                pieces.append(Piece(memory.nbytes, len(parts)))
                parts.append(Part(memory, run.itemsize, run.writable, run.row_bytes))
        segments = tuple(layout.segment(root) for root in self._roots)
        return MemoryMap(len(buffers), tuple(pieces), segments), tuple(parts)


def merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join runs that overlap; runs that only touch stay apart.

    >>> merged([(8, 10), (0, 4), (2, 6), (6, 8)])
    [(0, 6), (6, 8), (8, 10)]
    """
    joined: list[tuple[int, int]] = []
    for low, high in sorted(runs):
        if joined and low < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], high)
        else:
            joined.append((low, high))
    return joined


@dataclass(slots=True)
class _Run:
    low: int
    high: int
    itemsize: int
    row_bytes: int
    writable: bool
    owners: list[object]
    number: int = -1


class _Layout:
    """Pieces of memory over all roots: what overlaps by address lies in one piece."""

    def __init__(self, roots: Sequence[_Root]) -> None:
        self.pieces: list[_Run] = []
        self._runs: dict[int, list[_Run]] = {}
        joined = self._join(
            [
                (low - (low - root.base) % root.alignment, high, root)
                for root in roots
                if not root.detached
                for low, high in merged(root.runs)
            ]
        )
        for root in roots:
            own = joined.get(id(root)) if not root.detached else None
            runs = own or self._join([(low, high, root) for low, high in root.runs])[id(root)]
            self._runs[id(root)] = runs
            # Pieces are numbered as the stream comes upon them, not by address: that is the same each time.
            for run in runs:
                if run.number < 0:
                    run.number = len(self.pieces)
                    self.pieces.append(run)

    @staticmethod
    def _join(spans: list[tuple[int, int, _Root]]) -> dict[int, list[_Run]]:
        runs: dict[int, list[_Run]] = {}
        last: _Run | None = None
        for low, high, root in sorted(spans, key=lambda span: span[:2]):
            if last is not None and low < last.high:
                last.high = max(last.high, high)
                last.row_bytes = max(last.row_bytes, root.row_bytes)
                last.writable = last.writable or root.writable
                last.owners.append(root.owner)
            else:
                last = _Run(low, high, root.itemsize, root.row_bytes, root.writable, [root.owner])
            mine = runs.setdefault(id(root), [])
            if not mine or mine[-1] is not last:
                mine.append(last)
        return runs

    def segment(self, root: _Root) -> Segment:
        """Say where the runs of *root* lie."""
        runs = self._runs[id(root)]
        places = tuple((run.low - root.base, run.high - root.base, run.number) for run in runs)
        values = root.whole
        if (
            values is None
            or len(runs) != 1
            or runs[0].low != root.base
            or runs[0].high != root.base + values.nbytes
        ):
            return Segment(places, None)
        order = "C" if values.flags.c_contiguous else "F"
        return Segment(places, Whole(values.dtype, values.shape, order, bool(values.flags.writeable)))
