"""Memory of a stream that is read back: pieces are allocated when first asked for, and filled from parts.

Arrays that owned their memory own it again, allocated by numpy, so that large ones have huge pages.
It knows parts and numpy, not pickles.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._arrays import live_memory, refuse_outside, refuse_pointers
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keepstate._model.parts import PartReader
    from keepstate.codecs._arrays import Array
    from keepstate.codecs._stream import MemoryMap, Segment, Whole


def flat_bytes(values: Array) -> Array:
    """Return the memory of a contiguous array as bytes, sharing it."""
    return (values if values.flags.c_contiguous else values.T).reshape(-1).view(np.uint8)


def refuse_extended(dtype: np.dtype[Any]) -> None:
    """Refuse numbers that each kind of processor lays out in its own way.

    Raises:
        CodecError: *dtype* is ``longdouble`` or ``clongdouble``, or has a field that is.
    """
    fields: Any = dtype.fields or {}
    if dtype.char in "gG" or dtype.base.char in "gG":
        raise CodecError(f"{dtype} has another layout on the machine where it was kept: keep it as float64")
    for field in fields.values():
        refuse_extended(field[0])


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
        self._buffers: list[memoryview] = []
        self.is_of_other_machine = False
        """Whether extended numbers may be laid out otherwise there, in as many bytes."""

    def ahead(self, *, tensors: bool | None) -> Iterator[Callable[[], None]]:
        """Allocate what the stream will ask for, and give what fills it; all to be called before decoding.

        Args:
            tensors: Whether memory that no array owns may be a tensor's, and torch is imported; ``None``:
                that is not known, and such memory is left until it is asked for.
        """
        for part in self._parts[: self._layout.buffers]:
            self._buffers.append(_bytes_of(np.empty(part.nbytes, np.uint8)))
            yield from part.steps(self._buffers[-1])
        owners: dict[int, tuple[int, Whole]] = {}
        for number, segment in enumerate(self._layout.segments):
            if segment.whole is not None:
                owners.setdefault(segment.runs[0][2], (number, segment.whole))
        storages = {segment.runs for segment in self._layout.segments}
        for number, piece in enumerate(self._layout.pieces):
            if isinstance(piece.source, bytes):
                continue
            if number in owners:
                memory = self._own(number, *owners[number])
            elif tensors is False:
                memory = _bytes_of(self._pieces.setdefault(number, np.empty(piece.nbytes, np.uint8)))
            elif tensors and ((0, piece.nbytes, number),) in storages:
                memory = self._new_tensor(number)
                self._storages[number, 0, piece.nbytes] = self._tensors[number].untyped_storage()
            else:
                continue
            yield from self._parts[piece.source].steps(memory)

    def buffers(self) -> Iterator[memoryview]:
        """Yield the buffers that pickle asked for, each read when its turn comes."""
        for number, part in enumerate(self._parts[: self._layout.buffers]):
            if number < len(self._buffers):
                memory = self._buffers[number]
            else:
                memory = _bytes_of(np.empty(part.nbytes, np.uint8))
                part.read_into(memory)
            yield memory if part.writable else memory.toreadonly()

    def array(self, number: int) -> Array:
        """Return the array that owns segment *number*, or that began it."""
        if number not in self._wholes:
            whole = self._layout.segments[number].whole
            if whole is None:
                raise CodecError(f"segment {number} has no array of its own")
            self._check(whole.dtype)
            self._make(number, whole)
        return self._wholes[number]

    def _make(self, number: int, whole: Whole) -> None:
        piece = self._layout.segments[number].runs[0][2]
        if piece in self._pieces or piece in self._tensors:  # a tensor that shows this memory came first
            values = np.ndarray(
                whole.shape, whole.dtype, buffer=self._memory(piece), order=_order(whole.order)
            )
        else:
            self._fill(piece, self._own(piece, number, whole))
            return
        values.flags.writeable = whole.writable
        self._wholes[number] = values

    def _own(self, piece: int, number: int, whole: Whole) -> memoryview:
        """Let numpy allocate *piece* for the array that owns it, and show it."""
        values = self._wholes[number] = np.empty(whole.shape, whole.dtype, order=_order(whole.order))
        self._pieces[piece] = flat_bytes(values)
        values.flags.writeable = whole.writable
        return _bytes_of(self._pieces[piece])

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
        self._check(dtype)
        start, piece = self._run_at(self._layout.segments[number], offset)
        memory = self._memory(piece)
        refuse_outside(memory.nbytes, offset - start, dtype, shape, strides)
        values = np.ndarray(shape, dtype, buffer=memory, offset=offset - start, strides=strides)
        if not writable:
            values.flags.writeable = False
        return values

    def _check(self, dtype: np.dtype[Any]) -> None:
        refuse_pointers(dtype)
        if self.is_of_other_machine:
            refuse_extended(dtype)

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
                if shown.nbytes != nbytes:
                    raise CodecError("a tensor lies outside the memory that was kept for it")
                self._storages[key] = importlib.import_module("torch").from_numpy(shown).untyped_storage()
        return self._storages[key]

    def _allocated_by_torch(self, piece: int) -> Any:
        """Let torch allocate what a tensor comes upon first: such storages can be resized."""
        self._fill(piece, self._new_tensor(piece))
        return self._tensors[piece].untyped_storage()

    def _new_tensor(self, piece: int) -> memoryview:
        torch = importlib.import_module("torch")
        # The user may have set another device as the default.
        tensor = torch.empty(self._layout.pieces[piece].nbytes, dtype=torch.uint8, device="cpu")
        self._tensors[piece] = tensor
        # Not tensor.numpy(): that makes the storage one that cannot be resized, for good.
        return live_memory(tensor.data_ptr(), tensor.nbytes, tensor, writable=True)

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
