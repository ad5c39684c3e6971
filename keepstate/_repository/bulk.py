"""Read many chunks in few reads: neighbours in a pack come together, and several packs at a time.

Knows where chunks lie, not what they mean. What is given out has been checked against the checksum of its
stored bytes; the id is checked by whoever uses the plain ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._repository import chunk, pack
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._repository.catalog import Location

GAP_BYTES = 128 << 10
"""Bytes between two chunks that are read and thrown away: a request to a bucket takes as long as half a MiB
(20 ms at 25 MB/s), so this much is cheaper than another one."""
RUN_BYTES = 8 << 20
"""Longest read; short enough that several go on at a time, long enough that a request costs little."""


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks of one pack that are read at once."""

    path: Path
    pack_id: str
    start: int
    length: int
    entries: tuple[pack.Entry, ...]


def runs_of(locations: Iterable[Location]) -> list[Run]:
    """Join what lies close together."""
    runs: list[Run] = []
    ordered = sorted(locations, key=lambda each: (each.pack_id, each.entry.offset))
    for location in ordered:
        entry, end = location.entry, _end(location.entry)
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.pack_id == location.pack_id
            and entry.offset - (last.start + last.length) <= GAP_BYTES
            and end - last.start <= RUN_BYTES
        ):
            length = max(end - last.start, last.length)
            runs[-1] = Run(last.path, last.pack_id, last.start, length, (*last.entries, entry))
        else:
            runs.append(Run(location.path, location.pack_id, entry.offset, end - entry.offset, (entry,)))
    return runs


def _end(entry: pack.Entry) -> int:
    return entry.offset + chunk.HEADER_BYTES + entry.stored


def read_run(disk: Disk, run: Run) -> Iterator[tuple[pack.Entry, memoryview]]:
    """Give the stored bytes of each chunk of a run that is sound; what is damaged is left out.

    Raises:
        OSError: The pack cannot be read.
    """
    file = disk.open(run.path)
    try:
        raw = memoryview(file.read_at(run.start, run.length))
    finally:
        file.close()
    for entry in run.entries:
        stored = sound_chunk(raw[entry.offset - run.start :], entry)
        if stored is not None:
            yield entry, stored


def sound_chunk(raw: memoryview, entry: pack.Entry) -> memoryview | None:
    """Give the stored bytes of the chunk at the start of *raw*; ``None`` if it is not the one expected."""
    try:
        header = chunk.decode_header(raw[: chunk.HEADER_BYTES])
    except IntegrityError:
        return None
    stored = raw[chunk.HEADER_BYTES : chunk.HEADER_BYTES + entry.stored]
    fits = header[:4] == (entry.id, entry.compression, entry.plain, entry.stored)
    return stored if fits and xxh3_64_intdigest(stored) == header.checksum else None


def plain_of(entry: pack.Entry, stored: memoryview) -> bytes:
    """Give the plain bytes of a chunk, checked against its id.

    Raises:
        IntegrityError: They are not what was written.
    """
    target = memoryview(bytearray(entry.plain))
    header = chunk.ChunkHeader(
        entry.id, entry.compression, entry.plain, entry.stored, xxh3_64_intdigest(stored)
    )
    chunk.open_chunk(header, stored, target)
    return bytes(target)
