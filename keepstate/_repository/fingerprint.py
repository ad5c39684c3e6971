"""Find which pieces of memory changed since the last snapshot, without writing anything.

Buffers are cut into pieces of fixed size, because they change in place and grow at the end, anew in each long
row, because columns of frames come and go and move as a whole; streams where their content says so, because
one value that takes a byte more moves all that follows. Each piece is hashed
with seeded xxh3-128 (27 GB/s, BASELINES §2.3). Only pieces with a new fingerprint get a cryptographic id,
compression and a write. The seed is secret to the session: nobody can prepare two pieces that collide under
it. Runs in a forked child: takes no lock and starts no thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING

from xxhash import xxh3_128_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK_BYTES = 1 << 20
"""Longest chunk, in bytes. Pieces of parts have this length, so that growth at the end moves no border."""
LONG_ROW_BYTES = 128 << 10
"""Rows from this on are cut each for itself; in shorter ones, compression would lose a tenth of its speed."""

STREAM_BYTES = 32 << 10
"""Shortest piece of a stream; the average is 64 KiB. Half of that makes pickles 3 % longer, compressed, and
compression a sixth slower; twice that writes twice as much for a change, and saves 1 %."""
FAR_BYTES, FAR_STREAM_BYTES = 1 << 30, 128 << 10
"""Where in a stream its pieces become longer, and how long then: a list of pieces has room for 2**20."""


FINGERPRINT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes that becomes one chunk."""

    fingerprint: bytes
    length: int
    memory: memoryview | None
    """``None``: unchanged, so *id* is enough."""
    id: bytes | None = None
    """Chunk id, where it is known."""


def fingerprint(memory: memoryview, *, seed: int) -> bytes:
    """Hash the memory of one piece."""
    return xxh3_128_digest(memory, seed)


def piece_ends(nbytes: int, *, row_bytes: int = 0) -> list[int]:
    """Say where the pieces of a part end.

    Args:
        nbytes: Length of the part.
        row_bytes: Of its rows: each begins with a piece if it is long.

    >>> piece_ends(5 << 19), piece_ends(3 << 18, row_bytes=1 << 18), piece_ends(20, row_bytes=8)
    ([1048576, 2097152, 2621440], [262144, 524288, 786432], [20])
    """
    row = row_bytes if LONG_ROW_BYTES <= row_bytes < nbytes else max(1, nbytes)
    return [
        min(start + CHUNK_BYTES, begin + row, nbytes)
        for begin in range(0, nbytes, row)
        for start in range(begin, min(begin + row, nbytes), CHUNK_BYTES)
    ]


def fingerprint_pieces(
    memory: memoryview,
    *,
    row_bytes: int = 0,
    seed: int,
    known: Mapping[bytes, bytes],
    given: Sequence[bytes | None] = (),
) -> Iterator[Piece]:
    """Cut *memory* into pieces that end where :func:`piece_ends` says.

    Args:
        memory: Contiguous, format ``B``; may be empty.
        row_bytes: Of the rows of the array that it is of; 0 where unknown.
        seed: Of the fingerprints, 0 to 2**64 - 1.
        known: Fingerprint → chunk id of what is in the repository.
        given: Those fingerprints of the first pieces that are known without hashing.
    """
    ends = piece_ends(memory.nbytes, row_bytes=row_bytes)
    pieces = (memory[start:stop] for start, stop in pairwise([0, *ends]))
    return _fingerprint(pieces, seed=seed, known=known, given=given)


def fingerprint_stream(stream: bytes, *, seed: int, known: Mapping[bytes, bytes]) -> list[Piece]:
    """Cut a codec's stream into pieces that stay the same when others grow or shrink."""
    whole = memoryview(stream)
    return [
        piece
        for part, least in ((whole[:FAR_BYTES], STREAM_BYTES), (whole[FAR_BYTES:], FAR_STREAM_BYTES))
        for piece in _fingerprint(cut_by_content(part, least=least), seed=seed, known=known)
    ]


def cut_evenly(memory: memoryview, size: int) -> Iterator[memoryview]:
    """Give pieces of *size* bytes; the last may be shorter."""
    return (memory[start : start + size] for start in range(0, memory.nbytes, size))


def cut_by_content(memory: memoryview, *, least: int) -> Iterator[memoryview]:
    """Give pieces that end where their content says so, as ``cutting.cut`` does."""
    if memory.nbytes <= least:
        yield from cut_evenly(memory, least)
        return
    from keepstate._repository.cutting import cut  # numpy: 0.1 s that `keepstate log` need not wait for

    start = 0
    for stop in cut(memory, least=least):
        yield memory[start:stop]
        start = stop


def _fingerprint(
    pieces: Iterable[memoryview],
    *,
    seed: int,
    known: Mapping[bytes, bytes],
    given: Iterable[bytes | None] = (),
) -> Iterator[Piece]:
    for piece, told in zip(pieces, chain(given, repeat(None)), strict=False):
        own = told or fingerprint(piece, seed=seed)
        chunk_id = known.get(own)
        yield Piece(own, piece.nbytes, piece if chunk_id is None else None, chunk_id)
