"""Copy chunks from the packs of one place into packs of another.

A pack of which nearly everything is wanted is copied as it is; what is scattered is gathered into new packs.
Each is whole before it has its name, and nobody needs it before a manifest names its chunks, so a copy that
was cut off anywhere leaves packs that the next one finds, and nothing half written.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._base.at_once import at_once
from keepstate._base.disk import make_directories, translate, write_durably
from keepstate._repository import chunk, pack
from keepstate._repository.bulk import read_run, runs_of, sound_chunk
from keepstate._repository.conflict import ConflictError
from keepstate.errors import AlreadyThereError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from keepstate._base.clock import Flag
    from keepstate._base.disk import Disk, OpenFile
    from keepstate._repository.catalog import Catalog, Location, PackInfo
    from keepstate._repository.floor import Floor
    from keepstate._repository.layout import MemberFolder

MOSTLY_WANTED = 0.8
"""Share of a pack's bytes that must be wanted for it to be copied as it is: a fifth more bytes, against
reading it in pieces and having the chunks in yet another pack."""
WHOLE_BYTES = 4 << 20
"""Packs below this are gathered with others: places far away bear few and large files best."""
PACKS_AT_ONCE = 4
"""Packs in memory at a time; four of 32 MiB fill a line of 100 MB/s at a latency of one second."""
PIECE_BYTES = 24 << 20
"""Longest read of a whole pack from far away. From 32 MiB on the C library gives memory back to the system
after each use, and to be given it again, page by page, took a fifth of the processor time of fetching. Not
much shorter, because a place that knows no ranges reads an object from its beginning for each."""


@dataclass(frozen=True, slots=True)
class Job:
    """One pack that is to be made."""

    pack_id: str
    """Of the pack that is copied as it is, else a new one."""
    whole: PackInfo | None
    locations: tuple[Location, ...]
    nbytes: int
    """Of the chunks, about."""


def plan_jobs(source: Catalog, wanted: Collection[bytes], *, taken: Collection[str] = ()) -> list[Job]:
    """Say how to copy *wanted*; what is nowhere at the source is left out.

    Args:
        source: Where it is.
        wanted: Ids of chunks, in the order in which they shall come.
        taken: Ids of packs at the target. One that is about to go there, or is damaged, cannot be put again
            under its name, so what is wanted of it goes into another.
    """
    homes: dict[str, list[Location]] = defaultdict(list)
    for own in wanted:
        home = next(source.locate(own), None)
        if home is not None:
            homes[home.pack_id].append(home)
    jobs: list[Job] = []
    scattered: list[Location] = []
    for pack_id, locations in homes.items():
        info = source.packs[pack_id]
        mostly = sum(map(_taken, locations)) >= MOSTLY_WANTED * info.nbytes
        if mostly and info.nbytes >= WHOLE_BYTES and not info.damage and pack_id not in taken:
            jobs.append(Job(pack_id, info, tuple(locations), info.nbytes))
        else:
            scattered += sorted(locations, key=lambda each: each.entry.offset)
    # First: they are small, and hold the records without which nobody can begin with the others.
    return _gathered(scattered) + jobs


def _gathered(scattered: Iterable[Location]) -> list[Job]:
    jobs: list[Job] = []
    held: list[Location] = []
    nbytes = 0
    for location in scattered:
        held.append(location)
        nbytes += _taken(location)
        if nbytes >= pack.TARGET_BYTES or len(held) >= pack.MOST_ENTRIES:
            jobs.append(Job(os.urandom(16).hex(), None, tuple(held), nbytes))
            held, nbytes = [], 0
    if held:
        jobs.append(Job(os.urandom(16).hex(), None, tuple(held), nbytes))
    return jobs


def _taken(location: Location) -> int:
    return chunk.HEADER_BYTES + location.entry.stored


@dataclass(slots=True)
class Target:
    """Where copies go."""

    disk: Disk
    folder: MemberFolder
    temporary: Callable[[], Path]
    """Gives names that nobody else uses."""
    floor: Floor | None = None
    """What every pack has to ask; ``None``: nobody."""


class Copier:
    """Does the jobs of a plan, several at a time."""

    def __init__(
        self, source: Catalog, target: Target, *, stop: Flag, on_bytes: Callable[[int], None]
    ) -> None:
        self._source = source
        self._target = target
        self._stop = stop
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._own = threading.local()
        self.put: set[str] = set()
        """Packs that were written, and not found there under their name."""

    def copy(self, jobs: Sequence[Job]) -> dict[str, tuple[pack.Footer, int]]:
        """Make the packs, and give footer and length of each.

        Raises:
            StoreError: One of the places failed. Packs that were made stay, and are found by the next copy.
        """
        most = min(PACKS_AT_ONCE, max(self._source.disk.most_at_once, self._target.disk.most_at_once))
        made = at_once(self._do, jobs, most=most)
        return {found[0]: found[1:] for found in made if found is not None}

    def _do(self, job: Job) -> tuple[str, pack.Footer, int] | None:
        if self._stop.is_set():
            return None
        try:
            return self._make(job)
        except FileNotFoundError as error:
            raise ConflictError("a pack was pruned where it was copied from: try again") from error
        except StoreError:
            raise
        except OSError as error:
            raise translate(error, self._source.folder.packs) from error

    def _make(self, job: Job) -> tuple[str, pack.Footer, int] | None:
        if job.whole is not None:
            raw = self._whole_pack(job.pack_id, job.whole)
            if raw is not None:
                self._write(job.pack_id, [raw])
                return job.pack_id, job.whole.footer, len(raw)
            job = Job(os.urandom(16).hex(), None, job.locations, job.nbytes)  # part of it may be sound
        entries, body = self._gather(job)
        if not entries:
            return None
        end = pack.encode_end(job.pack_id, entries)
        body += end
        self._write(job.pack_id, [body])
        return job.pack_id, end[: -pack.TRAILER_BYTES], len(body)

    def _whole_pack(self, pack_id: str, info: PackInfo) -> memoryview | None:
        """Read a pack; ``None`` if it is not as it was written."""
        file = self._source.disk.open(self._source.folder.pack(pack_id))
        try:
            raw = self._all_of(file, info.nbytes)
        finally:
            file.close()
        end = pack.end_of(pack_id, info.footer)
        ends = len(raw) == info.nbytes and raw[-len(end) :] == end
        if not ends or raw[: pack.HEADER_BYTES] != pack.encode_start(pack_id):
            return None
        if any(sound_chunk(raw[entry.offset :], entry) is None for entry in info.entries()):
            return None
        return raw

    def _all_of(self, file: OpenFile, nbytes: int) -> memoryview:
        """Read the first *nbytes*; what is given is good until this thread reads the next pack."""
        if self._target.disk.most_at_once > 1:
            return memoryview(file.read_at(0, nbytes))  # bytes, which need no copy to be sent
        held: bytearray = getattr(self._own, "held", bytearray())
        if len(held) < nbytes:
            held = self._own.held = bytearray(max(nbytes, pack.TARGET_BYTES + (1 << 20)))
        raw, at = memoryview(held)[:nbytes], 0
        length = -(-nbytes // -(-nbytes // PIECE_BYTES))  # pieces of one length, as few as can be
        while at < nbytes and (count := file.read_into(at, raw[at : at + length])):
            at += count
        return raw[:at]

    def _gather(self, job: Job) -> tuple[list[pack.Entry], bytearray]:
        entries: list[pack.Entry] = []
        body = bytearray(pack.encode_start(job.pack_id))
        for entry, stored in self._sound(job.locations):
            header = chunk.ChunkHeader(
                entry.id, entry.compression, entry.plain, entry.stored, xxh3_64_intdigest(stored)
            )
            entries.append(entry._replace(offset=len(body)))
            body += chunk.encode_header(header)
            body += stored
        return entries, body

    def _sound(self, locations: Sequence[Location]) -> Iterator[tuple[pack.Entry, memoryview]]:
        given: set[bytes] = set()
        for run in runs_of(locations):
            for entry, stored in read_run(self._source.disk, run):
                given.add(entry.id)
                yield entry, stored
        for location in locations:  # what was damaged there may be whole in another pack
            if location.entry.id not in given:
                yield from self._other_copy(location)

    def _other_copy(self, first: Location) -> Iterator[tuple[pack.Entry, memoryview]]:
        others = [each for each in self._source.locate(first.entry.id) if each.pack_id != first.pack_id]
        for other in (*others, first):  # the first once more: the damage may have come on the way
            for found in read_run(self._source.disk, runs_of([other])[0]):
                yield found
                return

    def _write(self, pack_id: str, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        target, nbytes = self._target, sum(map(len, pieces))
        path = target.folder.pack(pack_id)
        with self._lock:
            if target.floor is not None:
                target.floor.take(nbytes)
            make_directories(target.disk, path.parent)
            temporary = target.temporary()
        try:
            write_durably(target.disk, path, [memoryview(piece) for piece in pieces], temporary=temporary)
        except AlreadyThereError:
            pass  # an earlier copy that was cut off has put it: ids are random, so it is this one
        else:
            self.put.add(pack_id)
        self._on_bytes(nbytes)
