"""The layout of one stream: two pickles, then the memory map, then where that begins.

    preamble    pickle that yields the notebook's namespace, so that ``globals()`` is kept by reference
    body        pickle of a dict, member name → value; shares its memo with the preamble
    map         pickle of a MemoryMap as plain tuples: it is known only when the body is done
    end         8 bytes, little endian: offset of the map; 4 bytes: ``MAGIC``

It knows nothing of what the pickles hold.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Any

from keepstate.errors import IntegrityError

MAGIC = b"ks1\n"
_END = struct.Struct("<Q4s")


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


def end_of(memory: MemoryMap, *, offset: int) -> bytes:
    """Return what follows the body of a stream of *offset* bytes."""
    plain = (
        memory.buffers,
        [(piece.nbytes, piece.source) for piece in memory.pieces],
        [
            (
                s.runs,
                None if s.whole is None else (s.whole.dtype, s.whole.shape, s.whole.order, s.whole.writable),
            )
            for s in memory.segments
        ],
    )
    return pickle.dumps(plain, 5) + _END.pack(offset, MAGIC)


def map_offset(stream: bytes) -> int:
    """Return where the map of *stream* begins.

    Raises:
        IntegrityError: This is not a stream of this format.
    """
    if len(stream) < _END.size:
        raise IntegrityError("a stream is shorter than its own end")
    offset, magic = _END.unpack_from(stream, len(stream) - _END.size)
    if magic != MAGIC or offset > len(stream) - _END.size:
        raise IntegrityError("a stream does not end as a stream of this format does")
    return int(offset)


def map_of(plain: object) -> MemoryMap:
    """Rebuild the map from the plain tuples that :func:`end_of` wrote."""
    fields: Any = plain
    buffers, pieces, segments = fields
    return MemoryMap(
        buffers,
        tuple(Piece(nbytes, source) for nbytes, source in pieces),
        tuple(
            Segment(tuple(tuple(run) for run in runs), None if whole is None else Whole(*whole))
            for runs, whole in segments
        ),
    )
