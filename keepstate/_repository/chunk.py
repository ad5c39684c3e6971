"""One chunk inside a pack: a header that stands for itself, then the stored bytes.

Knows bytes only. The header repeats what the footer of the pack says, so that a pack whose footer is damaged
can be read by scanning, and carries a checksum of the stored bytes, so that damage is told before anything is
handed to a decompressor.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from blake3 import blake3
from xxhash import xxh3_64_intdigest

from keepstate._repository import compression
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate.errors import IntegrityError

MAGIC = b"kCHK"
_FIELDS = struct.Struct("<4sB3xIIQ32s")
_SUM = struct.Struct("<Q")
HEADER_BYTES = _FIELDS.size + _SUM.size
"""64."""


class ChunkHeader(NamedTuple):
    """What stands before the stored bytes."""

    id: bytes
    compression: int
    plain: int
    """Plain length in bytes, 1 to 1 MiB."""
    stored: int
    """Stored length in bytes, 1 to *plain*."""
    checksum: int
    """xxh3-64 of the stored bytes."""


def chunk_id(plain: bytes | memoryview) -> bytes:
    """Name a chunk by its content."""
    return blake3(plain).digest()


def encode_header(header: ChunkHeader) -> bytes:
    """64 bytes, the last 8 a checksum of the others."""
    fields = _FIELDS.pack(MAGIC, header.compression, header.plain, header.stored, header.checksum, header.id)
    return fields + _SUM.pack(xxh3_64_intdigest(fields))


def decode_header(raw: bytes | memoryview) -> ChunkHeader:
    """Read a header.

    Raises:
        IntegrityError: These are not the bytes of a header, or its lengths are out of range.
    """
    if len(raw) < HEADER_BYTES or _SUM.unpack_from(raw, _FIELDS.size)[0] != xxh3_64_intdigest(
        raw[: _FIELDS.size]
    ):
        raise IntegrityError("the header of a chunk is damaged")
    magic, kind, plain, stored, checksum, own = _FIELDS.unpack_from(raw)
    if magic != MAGIC or raw[5:8] != bytes(3):
        raise IntegrityError("the header of a chunk is damaged")
    check_lengths(kind, plain, stored)
    return ChunkHeader(own, kind, plain, stored, checksum)


def check_lengths(kind: int, plain: int, stored: int) -> None:
    """Refuse lengths that no writer of format 1 gives.

    Raises:
        IntegrityError: They are out of range.
    """
    known = kind == compression.BLOSC2 or (kind == compression.NONE and stored == plain)
    if not (known and 1 <= stored <= plain <= CHUNK_BYTES):
        raise IntegrityError("a chunk has lengths that are not possible")


def open_chunk(header: ChunkHeader, stored: bytes | memoryview, target: memoryview) -> None:
    """Put the plain bytes into *target* and check them against the id.

    Raises:
        IntegrityError: They are not what was written; *target* holds nothing of use then.
    """
    if xxh3_64_intdigest(stored) != header.checksum:
        raise IntegrityError(f"chunk {header.id.hex()[:12]} is damaged")
    compression.decompress_into(header.compression, stored, target)
    if chunk_id(target) != header.id:
        raise IntegrityError(f"chunk {header.id.hex()[:12]} does not hold what its id says")
