"""Find which pieces of memory changed since the last snapshot, without writing anything.

Memory is cut into pieces of fixed size, because buffers change in place and grow at the end, and each piece
is hashed with seeded xxh3-128 (27 GB/s, BASELINES §2.3). Only pieces with a new fingerprint get a
cryptographic id, compression and a write. The seed is secret to the session: nobody can prepare two pieces
that collide under it. Runs in a forked child: takes no lock and starts no thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xxhash import xxh3_128_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHUNK_BYTES = 1 << 20
"""Longest chunk, in bytes. Pieces of parts have this length, so that growth at the end moves no border."""

STREAM_BYTES = 1 << 18
"""Length of the pieces of streams, which are short and change in few places."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes that becomes one chunk."""

    fingerprint: bytes
    """16 bytes."""
    length: int
    memory: memoryview | None
    """``None``: unchanged, so *id* is enough."""
    id: bytes | None = None
    """Chunk id, where it is known."""


def fingerprint_pieces(memory: memoryview, *, seed: int, known: Mapping[bytes, bytes]) -> Iterator[Piece]:
    """Cut *memory* into pieces of 1 MiB; the last may be shorter.

    Args:
        memory: Contiguous, format ``B``; may be empty.
        seed: Of the fingerprints, 0 to 2**64 - 1.
        known: Fingerprint → chunk id of what is in the repository.
    """
    return _cut(memory, size=CHUNK_BYTES, seed=seed, known=known)


def fingerprint_stream(stream: bytes, *, seed: int, known: Mapping[bytes, bytes]) -> list[Piece]:
    """Cut a codec's stream into pieces of 256 KiB; the last may be shorter."""
    return list(_cut(memoryview(stream), size=STREAM_BYTES, seed=seed, known=known))


def _cut(memory: memoryview, *, size: int, seed: int, known: Mapping[bytes, bytes]) -> Iterator[Piece]:
    for start in range(0, memory.nbytes, size):
        piece = memory[start : start + size]
        fingerprint = xxh3_128_digest(piece, seed)
        chunk_id = known.get(fingerprint)
        yield Piece(fingerprint, piece.nbytes, piece if chunk_id is None else None, chunk_id)
