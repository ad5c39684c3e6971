"""The byte layout of a pack: a header, chunks without gaps, a footer that lists them, a trailer.

Knows how bytes are laid out and how to read them from a file, not who needs them. Every byte of a pack is
covered by one checksum or another, so that a flipped bit anywhere is found.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from keepstate._repository import chunk
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from keepstate._base.disk import Disk, OpenFile

TARGET_BYTES = 32 << 20
"""A pack is closed once it is this long; so the longest has 33 MiB and its footer."""
MOST_ENTRIES = 1 << 16
"""Chunks in one pack, at most; its footer has 3.5 MiB then."""

MAGIC = b"kPACK\x00\x01\n"
END_MAGIC = b"kPEND\x00\x01\n"
_HEADER = struct.Struct("<8s16s8x")
_ENTRY = struct.Struct("<32sQIIB7x")
_TRAILER = struct.Struct("<8sII16s32s")
HEADER_BYTES = _HEADER.size
ENTRY_BYTES = _ENTRY.size
TRAILER_BYTES = _TRAILER.size


class Entry(NamedTuple):
    """Where one chunk is in its pack."""

    id: bytes
    offset: int
    """Of the chunk's header, from the beginning of the pack."""
    stored: int
    plain: int
    compression: int


def encode_start(pack_id: str) -> bytes:
    """The first 32 bytes."""
    return _HEADER.pack(MAGIC, bytes.fromhex(pack_id))


def encode_end(pack_id: str, entries: Iterable[Entry]) -> bytes:
    """Footer and trailer."""
    footer = b"".join(_ENTRY.pack(*entry) for entry in entries)
    return end_of(pack_id, footer)


def end_of(pack_id: str, footer: bytes) -> bytes:
    """Footer and trailer of a pack whose footer is known."""
    return footer + _trailer(pack_id, footer)


def _trailer(pack_id: str, footer: bytes) -> bytes:
    count = len(footer) // ENTRY_BYTES
    own = bytes.fromhex(pack_id)
    covered = _TRAILER.pack(END_MAGIC, count, 0, own, bytes(32))[:32]
    return covered + blake3(footer + covered).digest()


def decode_entries(footer: bytes, *, pack_bytes: int) -> list[Entry]:
    """Read a footer and check that its chunks fill a pack of *pack_bytes* without gap or overlap.

    Raises:
        IntegrityError: They do not.
    """
    if len(footer) % ENTRY_BYTES or len(footer) // ENTRY_BYTES > MOST_ENTRIES:
        raise IntegrityError("the footer of a pack has a length that is not possible")
    entries = [Entry._make(fields) for fields in _ENTRY.iter_unpack(footer)]
    end = HEADER_BYTES
    for entry in entries:
        chunk.check_lengths(entry.compression, entry.plain, entry.stored)
        if entry.offset != end:
            raise IntegrityError("the chunks of a pack overlap or leave gaps")
        end += chunk.HEADER_BYTES + entry.stored
    if end + len(footer) + TRAILER_BYTES != pack_bytes:
        raise IntegrityError("a pack is not as long as its chunks")
    return entries


def entry_at(footer: bytes, number: int) -> Entry:
    """Read one entry of a footer that has been checked."""
    return Entry._make(_ENTRY.unpack_from(footer, number * ENTRY_BYTES))


def ids_of(footer: bytes) -> list[bytes]:
    """All chunk ids of a footer, in order."""
    return [footer[at : at + 32] for at in range(0, len(footer), ENTRY_BYTES)]


def read_footer(disk: Disk, path: Path, *, pack_id: str) -> tuple[bytes, int]:
    """Read and check the footer of a pack; return it and the length of the pack.

    Raises:
        FileNotFoundError: There is no such pack.
        IntegrityError: It is not a whole pack of this id.
    """
    file = disk.open(path)
    try:
        size = file.nbytes
        if size < HEADER_BYTES + TRAILER_BYTES:
            raise IntegrityError(f"pack {pack_id[:12]} is too short")
        if read_at(file, 0, HEADER_BYTES) != encode_start(pack_id):
            raise IntegrityError(f"pack {pack_id[:12]} does not begin as a pack of this version")
        end = read_at(file, size - TRAILER_BYTES, TRAILER_BYTES)
        magic, count, _, _, _ = _TRAILER.unpack(end)
        footer_bytes = count * ENTRY_BYTES
        if magic != END_MAGIC or footer_bytes > size - HEADER_BYTES - TRAILER_BYTES:
            raise IntegrityError(f"pack {pack_id[:12]} has no trailer: it is cut off or damaged")
        footer = read_at(file, size - TRAILER_BYTES - footer_bytes, footer_bytes)
    finally:
        file.close()
    if end != _trailer(pack_id, footer):
        raise IntegrityError(f"the footer of pack {pack_id[:12]} is damaged")
    decode_entries(footer, pack_bytes=size)
    return footer, size


def read_at(file: OpenFile, offset: int, length: int) -> bytes:
    """Read exactly *length* bytes.

    Raises:
        IntegrityError: The file ends before.
    """
    found = file.read_at(offset, length)
    if len(found) != length:
        raise IntegrityError("a file ends too early")
    return found if isinstance(found, bytes) else bytes(found)


def scan(disk: Disk, path: Path) -> bytes:
    """Make the footer of a damaged pack anew, from the headers of the chunks that are still there.

    Chunks found so are not trusted more than others: each is checked against its id when it is read.
    """
    file = disk.open(path)
    try:
        return b"".join(_ENTRY.pack(*entry) for entry in _scan(file, file.nbytes))
    finally:
        file.close()


def _scan(file: OpenFile, size: int) -> Iterator[Entry]:
    at, found = HEADER_BYTES, 0
    while at + chunk.HEADER_BYTES <= size and found < MOST_ENTRIES:
        try:
            header = chunk.decode_header(read_at(file, at, chunk.HEADER_BYTES))
        except IntegrityError:
            at = _next_magic(file, at + 1, size)
            continue
        if at + chunk.HEADER_BYTES + header.stored > size:
            at = _next_magic(file, at + 1, size)
            continue
        yield Entry(header.id, at, header.stored, header.plain, header.compression)
        found += 1
        at += chunk.HEADER_BYTES + header.stored


def _next_magic(file: OpenFile, at: int, size: int) -> int:
    while at < size:
        window = read_at(file, at, min(1 << 20, size - at))
        if (hit := window.find(chunk.MAGIC)) >= 0:
            return at + hit
        if len(window) < len(chunk.MAGIC):
            break
        at += len(window) - len(chunk.MAGIC) + 1  # the magic may lie across the border of two windows
    return size
