"""The layout of one stream: two pickles, then the memory map, then how long these are.

    preamble    pickle that yields the notebook's namespace, so that ``globals()`` is kept by reference
    body        pickle of a dict, member name → value; shares its memo with the preamble
    map         pickle of a MemoryMap as plain tuples: it is known only when the body is done
    marks       8 bytes each: what the sink has left out of preamble and body, and then of the map
    end         8 bytes each, little endian: length of the map, numbers of these marks; 4 bytes: ``MAGIC``

The length of preamble and body is not in it, so that the end stays the same when they grow. In the map,
segments come first: they name the same few dtypes, by numbers that would grow with the pieces. Streams with
the magic ``ks1`` have no marks, pieces come first in their map, and they end with its offset and the magic.

It knows nothing of what the pickles hold.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstate.codecs._dtypes import describe, make_dtype
from keepstate.codecs._original import MARK_BYTES, encode_marks, open_original
from keepstate.codecs._sink import Sink
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence

    from keepstate._model.parts import Stream

MAGIC = b"ks2\n"
_END = struct.Struct("<QQQ4s")
_OLD_MAGIC = b"ks1\n"
_OLD_END = struct.Struct("<Q4s")


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of memory that arrays of the stream lie in."""

    nbytes: int
    source: int | bytes
    """Index of its part; or its bytes, where they are few."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Facts of an array that owns its memory."""

    dtype: Any
    shape: tuple[int, ...]
    order: str
    """``C`` or ``F``."""
    writable: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """Memory that arrays refer to by number: the runs of it that are kept."""

    runs: tuple[tuple[int, int, int], ...]
    """(start, stop, piece): that piece is ``[start, stop)`` of the segment, counted from its beginning."""
    whole: Whole | None
    """Set if the array that owns the memory is itself in the stream, and its run is a whole piece."""


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Where the memory of a stream's arrays is."""

    buffers: int
    """How many of the first parts are buffers that pickle itself asked for."""
    pieces: tuple[Piece, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one stream."""

    pickles: memoryview
    """Preamble and body, without what was left out."""
    marks: memoryview
    """Of these."""
    memory_map: memoryview
    map_marks: memoryview
    is_old: bool
    """Whether it is a stream of before."""


def end_of(memory: MemoryMap, *, marks: Sequence[int]) -> bytes:
    """Return what follows preamble and body.

    Args:
        memory: Where the memory of arrays is.
        marks: What the sink has left out so far.
    """
    known: dict[int, Any] = {}

    def told(dtype: Any) -> Any:
        # One object for each: pickle writes an object once. By id, as equal ones may differ in metadata.
        if id(dtype) not in known:
            described = describe(dtype)
            known[id(dtype)] = dtype if described is None else described
        return known[id(dtype)]

    sink = Sink(None)
    pickle.Pickler(sink, 5).dump(
        (
            memory.buffers,
            [
                (
                    s.runs,
                    None
                    if s.whole is None
                    else (told(s.whole.dtype), s.whole.shape, s.whole.order, s.whole.writable),
                )
                for s in memory.segments
            ],
            [(piece.nbytes, piece.source) for piece in memory.pieces],
        )
    )
    end = _END.pack(sink.nbytes, len(marks), len(sink.marks), MAGIC)
    return sink.finish(encode_marks([*marks, *sink.marks]) + end)


def layout_of(stream: Stream) -> Layout:
    """Return the parts of *stream*.

    Raises:
        IntegrityError: This is not a stream of this format.
    """
    view = memoryview(stream)
    magic = view[-len(MAGIC) :]
    if magic == MAGIC and len(stream) >= _END.size:
        end = len(stream) - _END.size
        map_bytes, count, map_count, _ = _END.unpack_from(stream, end)
        map_marks_at = end - map_count * MARK_BYTES
        marks_at = map_marks_at - count * MARK_BYTES
        map_at = marks_at - map_bytes
        if map_at >= 0:
            return Layout(
                pickles=view[:map_at],
                marks=view[marks_at:map_marks_at],
                memory_map=view[map_at:marks_at],
                map_marks=view[map_marks_at:end],
                is_old=False,
            )
    elif magic == _OLD_MAGIC and len(stream) >= _OLD_END.size:
        end = len(stream) - _OLD_END.size
        map_at, _ = _OLD_END.unpack_from(stream, end)
        if map_at <= end:
            none = view[:0]
            return Layout(view[:map_at], none, view[map_at:end], none, is_old=True)
    raise IntegrityError("a stream does not end as a stream of this format does")


def map_of(layout: Layout, *, load: Callable[[io.BufferedReader], Any] = pickle.load) -> MemoryMap:
    """Read the map of a stream.

    Args:
        layout: Of the stream.
        load: Reads a pickle; what it raises comes through.
    """
    fields = load(open_original(layout.memory_map, layout.map_marks))
    buffers, *lists = fields
    pieces, segments = lists if layout.is_old else reversed(lists)
    return MemoryMap(
        buffers,
        tuple(Piece(nbytes, source) for nbytes, source in pieces),
        tuple(
            Segment(tuple(tuple(run) for run in runs), None if whole is None else _whole(*whole))
            for runs, whole in segments
        ),
    )


def _whole(dtype: Any, shape: tuple[int, ...], order: str, writable: bool) -> Whole:
    told = type(dtype) in (str, tuple)  # streams of before have the dtype itself
    return Whole(make_dtype(dtype) if told else dtype, shape, order, writable)
