"""Memory of a stream that is read back: pieces are allocated when first asked for, and filled from parts.

Arrays that owned their memory own it again, allocated by numpy, so that large ones have huge pages.
It knows parts and numpy, not pickles.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._arrays import live_memory
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keepstate._model.parts import PartReader
    from keepstate.codecs._arrays import Array
    from keepstate.codecs._stream import MemoryMap, Segment, Whole


def flat_bytes(values: Array) -> Array:
    """Return the memory of a contiguous array as bytes, sharing it."""
    return (values if values.flags.c_contiguous else values.T).reshape(-1).view(np.uint8)


class RestoredMemory:
    """The segments of one stream.

    Args:
        layout: Where things are.
        parts: The parts of the group, in order.
    """

    def __init__(self, layout: MemoryMap, parts: Sequence[PartReader]) -> None:
        self._layout = layout
        self._parts = parts
        self._pieces: dict[int, Array] = {}
        self._wholes: dict[int, Array] = {}
        self._tensors: dict[int, Any] = {}
        self._storages: dict[tuple[int, int, int], Any] = {}

    def buffers(self) -> Iterator[memoryview]:
        """Yield the buffers that pickle asked for, each read when its turn comes."""
        for part in self._parts[: self._layout.buffers]:
            memory = _bytes_of(np.empty(part.nbytes, np.uint8))
            part.read_into(memory)
            yield memory if part.writable else memory.toreadonly()

    def array(self, number: int) -> Array:
        """Return the array that owns segment *number*, or that began it."""
        if number not in self._wholes:
            whole = self._layout.segments[number].whole
            if whole is None:
                raise CodecError(f"segment {number} has no array of its own")
            self._make(number, whole)
        return self._wholes[number]

    def _make(self, number: int, whole: Whole) -> None:
        piece = self._layout.segments[number].runs[0][2]
        if piece in self._pieces or piece in self._tensors:  # a tensor that shows this memory came first
            values = np.ndarray(
                whole.shape, whole.dtype, buffer=self._memory(piece), order=_order(whole.order)
            )
        else:
            values = np.empty(whole.shape, whole.dtype, order=_order(whole.order))
            self._pieces[piece] = flat_bytes(values)
            self._fill(piece, _bytes_of(self._pieces[piece]))
        values.flags.writeable = whole.writable
        self._wholes[number] = values

    def view(
        self,
        number: int,
        offset: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        writable: bool,
    ) -> Array:
        """Return an array over the memory of segment *number*; its first element is at *offset*."""
        start, piece = self._run_at(self._layout.segments[number], offset)
        memory = self._memory(piece)
        values = np.ndarray(shape, dtype, buffer=memory, offset=offset - start, strides=strides)
        if not writable:
            values.flags.writeable = False
        return values

    def untyped_storage(self, number: int, nbytes: int) -> Any:
        """Return a torch storage over the first *nbytes* of segment *number*; the same one each time."""
        start, piece = self._run_at(self._layout.segments[number], 0)
        key = piece, -start, nbytes
        if key not in self._storages:
            whole = key[1:] == (0, self._layout.pieces[piece].nbytes)
            if piece not in self._pieces and piece not in self._tensors and whole:
                self._storages[key] = self._allocated_by_torch(piece)
            else:
                shown = self._memory(piece)[-start : nbytes - start]
                self._storages[key] = sys.modules["torch"].from_numpy(shown).untyped_storage()
        return self._storages[key]

    def _allocated_by_torch(self, piece: int) -> Any:
        """Let torch allocate what a tensor comes upon first: such storages can be resized."""
        torch = sys.modules["torch"]
        tensor = torch.empty(self._layout.pieces[piece].nbytes, dtype=torch.uint8)
        # Not tensor.numpy(): that makes the storage one that cannot be resized, for good.
        self._fill(piece, live_memory(tensor.data_ptr(), tensor.nbytes, tensor, writable=True))
        self._tensors[piece] = tensor
        return tensor.untyped_storage()

    def _memory(self, piece: int) -> Array:
        """Return the bytes of *piece*, allocated and filled when first asked for."""
        if piece not in self._pieces and piece in self._tensors:
            self._pieces[piece] = self._tensors[piece].numpy()
        elif piece not in self._pieces:
            self._begin(piece)
        return self._pieces[piece]

    @staticmethod
    def _run_at(segment: Segment, offset: int) -> tuple[int, int]:
        for start, stop, piece in segment.runs:
            if start <= offset < stop:
                return start, piece
        raise CodecError("an array lies outside the memory that was kept for it")

    def _begin(self, piece: int) -> None:
        # If an array owns this very piece, it is made first, so that it owns it again.
        for number, segment in enumerate(self._layout.segments):
            if segment.whole is not None and segment.runs[0][2] == piece:
                self._make(number, segment.whole)
                return
        self._pieces[piece] = np.empty(self._layout.pieces[piece].nbytes, np.uint8)
        self._fill(piece, _bytes_of(self._pieces[piece]))

    def _fill(self, piece: int, memory: memoryview) -> None:
        source = self._layout.pieces[piece].source
        if isinstance(source, bytes):
            memory[:] = source
        else:
            self._parts[source].read_into(memory)


def _bytes_of(values: Any) -> memoryview:
    return memoryview(values)


def _order(order: str) -> Any:
    return "F" if order == "F" else "C"
