"""The byte layout of a pack: a header, chunks without gaps, a footer that lists them, a trailer.

Knows how bytes are laid out and how to read them from a file, not who needs them. Every byte of a pack is
covered by one checksum or another, so that a flipped bit anywhere is found.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from keepstate._repository import chunk, compression
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
ID_BYTES = 32
_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 4 << 10
"""Read at once at the end of a pack: footer and trailer of 72 chunks."""

Footer = bytes | memoryview
"""Its bytes; a view where they are part of a long index."""


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
    return end_of(pack_id, footer_of(entries))


def footer_of(entries: Iterable[Entry]) -> bytes:
    """The footer alone."""
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def end_of(pack_id: str, footer: Footer) -> bytes:
    """Footer and trailer of a pack whose footer is known."""
    return b"".join((footer, _trailer(pack_id, footer)))


def _trailer(pack_id: str, footer: Footer) -> bytes:
    count = len(footer) // ENTRY_BYTES
    own = bytes.fromhex(pack_id)
    covered = _TRAILER.pack(END_MAGIC, count, 0, own, bytes(32))[:32]
    return covered + blake3(b"".join((footer, covered))).digest()


def check_footers(footers: Sequence[Footer], sizes: Sequence[int]) -> None:
    """Check that the chunks of each footer fill a pack of that size without gap or overlap.

    Raises:
        IntegrityError: They do not.
    """
    for footer in footers:
        if len(footer) % ENTRY_BYTES or len(footer) // ENTRY_BYTES > MOST_ENTRIES:
            raise IntegrityError("the footer of a pack has a length that is not possible")
    for start, stop in _blocks(footers):
        _check_block(footers[start:stop], sizes[start:stop])


def _check_block(footers: Sequence[Footer], sizes: Sequence[int]) -> None:
    import numpy as np

    entries = entries_of(footers)
    plain, stored, kind = entries["plain"], entries["stored"], entries["compression"]
    known = (kind == compression.BLOSC2) | ((kind == compression.NONE) & (stored == plain))
    if not (known & (stored >= 1) & (stored <= plain) & (plain <= CHUNK_BYTES)).all():
        raise IntegrityError("a chunk has lengths that are not possible")
    lengths = np.array([len(footer) for footer in footers], np.uint64)
    counts = (lengths // ENTRY_BYTES).astype(np.int64)
    some = counts > 0
    last = np.cumsum(counts)
    ends = entries["offset"] + np.uint64(chunk.HEADER_BYTES) + stored
    begins = np.empty_like(ends)
    begins[1:] = ends[:-1]
    begins[(last - counts)[some]] = HEADER_BYTES
    if (entries["offset"] != begins).any():
        raise IntegrityError("the chunks of a pack overlap or leave gaps")
    filled = np.full(len(footers), HEADER_BYTES, np.uint64)
    filled[some] = ends[last[some] - 1]
    if (filled + lengths + np.uint64(TRAILER_BYTES) != np.array(sizes, np.uint64)).any():
        raise IntegrityError("a pack is not as long as its chunks")


def entries_of(footers: Iterable[Footer]) -> NDArray[Any]:
    """Give the entries of footers as one array; ``key`` is the beginning of the id, as a number."""
    import numpy as np

    fields: list[tuple[str, str]] = [
        ("key", ">u8"), ("more", "V24"), ("offset", "<u8"),
        ("stored", "<u4"), ("plain", "<u4"), ("compression", "u1"), ("zero", "V7"),
    ]  # fmt: skip
    return np.frombuffer(b"".join(footers), np.dtype(fields))


def keys_of(footers: Sequence[Footer]) -> NDArray[Any]:
    """Give the beginnings of all ids, as numbers."""
    import numpy as np

    found = [entries_of(footers[start:stop])["key"].astype(np.uint64) for start, stop in _blocks(footers)]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _blocks(footers: Sequence[Footer]) -> Iterator[tuple[int, int]]:
    """Divide what is worked on at once: memory that is used again costs a tenth of new memory."""
    start = held = 0
    for number, footer in enumerate(footers, 1):
        held += len(footer)
        if held >= _BLOCK_BYTES:
            yield start, number
            start, held = number, 0
    if start < len(footers):
        yield start, len(footers)


def entry_at(footer: Footer, number: int) -> Entry:
    """Read one entry of a footer that has been checked."""
    return Entry._make(_ENTRY.unpack_from(footer, number * ENTRY_BYTES))


def id_at(footer: Footer, number: int) -> bytes:
    """Read the chunk id of one entry."""
    at = number * ENTRY_BYTES
    return bytes(footer[at : at + ID_BYTES])


def ids_of(footer: Footer) -> list[bytes]:
    """All chunk ids of a footer, in order."""
    raw = bytes(footer)
    return [raw[at : at + ID_BYTES] for at in range(0, len(raw), ENTRY_BYTES)]


def read_footer(disk: Disk, path: Path, *, pack_id: str) -> tuple[bytes, int]:
    """Read and check the footer of a pack; return it and the length of the pack.

    Raises:
        FileNotFoundError: There is no such pack.
        IntegrityError: It is not a whole pack of this id.
    """
    footer, size = read_end(disk, path, pack_id=pack_id)
    check_footers([footer], [size])
    return footer, size


def read_end(disk: Disk, path: Path, *, pack_id: str) -> tuple[bytes, int]:
    """Read a footer of which only the checksum is checked: of many, :func:`check_footers` does the rest.

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
        tail_at = max(HEADER_BYTES, size - _TAIL_BYTES)
        tail = read_at(file, tail_at, size - tail_at)
        end = tail[-TRAILER_BYTES:]
        magic, count, _, _, _ = _TRAILER.unpack(end)
        footer_at = size - TRAILER_BYTES - count * ENTRY_BYTES
        if magic != END_MAGIC or footer_at < HEADER_BYTES:
            raise IntegrityError(f"pack {pack_id[:12]} has no trailer: it is cut off or damaged")
        if footer_at >= tail_at:
            footer = tail[footer_at - tail_at : -TRAILER_BYTES]
        else:
            footer = read_at(file, footer_at, count * ENTRY_BYTES)
    finally:
        file.close()
    if end != _trailer(pack_id, footer):
        raise IntegrityError(f"the footer of pack {pack_id[:12]} is damaged")
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
