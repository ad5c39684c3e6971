"""What snapshots need, found in few reads also where each read is a request to the far side.

Records and lists are followed in waves: all that one wave names is read at once. Groups that were walked
before are remembered, so that a snapshot in which three of two thousand names have changed costs three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.at_once import at_once
from keepstate._base.disk import SYSTEM_DISK, translate
from keepstate._repository.bulk import plain_of, read_run, runs_of
from keepstate._repository.reach import Reach
from keepstate._repository.reader import ChunkReader
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from keepstate._model.manifest import Head
    from keepstate._repository.bulk import Run
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.pack import Entry
    from keepstate._repository.reader import OpenPacks

MOST_REMEMBERED = 1 << 20
"""Chunks that were given out before everything is forgotten: what a session of days, which changes a list of
8,000 chunks with each snapshot, has followed would fill gigabytes, and these are 200 MB at most."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What one snapshot needs."""

    chunks: tuple[bytes, ...]
    """In the order in which restoring asks for them."""
    damage: str
    """What could not be followed, so that more may be needed; empty if everything was."""


class Needs:
    """Follows manifests of one member through the packs of one place."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._reader = _GatheringReader()
        self._reach = Reach(self._reader, remember=True)
        self._given = 0

    def of(self, manifests: Sequence[Head], catalogs: Sequence[Catalog]) -> Mapping[str, Needed]:
        """Give, for each snapshot id, what it needs.

        Args:
            manifests: Of one member.
            catalogs: Where to read records and lists, the nearest first.

        Raises:
            StoreError: A place cannot be read now.
        """
        if self._given > MOST_REMEMBERED:
            self._forget()
        self._reader.look_into(catalogs)
        while True:
            self._reach.forget_damage()
            found = {manifest.id: self._of_one(manifest) for manifest in manifests}
            if not self._reader.gather():
                self._given += sum(len(each.chunks) for each in found.values())
                return found

    def _of_one(self, manifest: Head) -> Needed:
        chunks, damage = self._reach.chunks([manifest])
        return Needed(tuple(chunks), "; ".join(sorted(damage)))


class _GatheringReader(ChunkReader):
    """Answers from what was gathered, and remembers what else was asked for."""

    def __init__(self) -> None:
        super().__init__(SYSTEM_DISK, lambda _: (), self._length)
        self._plain: dict[bytes, bytes] = {}
        self._catalogs: Sequence[Catalog] = ()
        self._wanted: set[bytes] = set()
        self._given_up: set[bytes] = set()

    def look_into(self, catalogs: Sequence[Catalog]) -> None:
        """Read from these, the nearest first."""
        self._catalogs = catalogs
        self._given_up = set()

    def _length(self, own_id: bytes) -> int | None:
        lengths = (catalog.plain_length(own_id) for catalog in self._catalogs)
        return next((length for length in lengths if length is not None), None)

    def chunk(self, own_id: bytes) -> bytes:
        """Give the bytes of one chunk that was gathered, or take note of it."""
        plain = self._plain.get(own_id)
        if plain is None:
            if own_id not in self._given_up:
                self._wanted.add(own_id)
            raise IntegrityError(f"chunk {own_id.hex()[:12]} is not here yet, or damaged")
        return plain

    def _read_into(self, own_id: bytes, target: memoryview, packs: OpenPacks) -> None:
        del packs
        target[:] = self.chunk(own_id)

    def gather(self) -> bool:
        """Read what was asked for; ``False`` if that was nothing."""
        wanted, self._wanted = self._wanted, set()
        for catalog in self._catalogs:
            missing = wanted - self._plain.keys()
            self._gather_from(catalog, missing)
        self._given_up |= wanted - self._plain.keys()
        return bool(wanted)

    def _gather_from(self, catalog: Catalog, wanted: Iterable[bytes]) -> None:
        for copy in range(_COPIES):
            homes = [list(catalog.locate(own)) for own in wanted if own not in self._plain]
            runs = runs_of(found[copy] for found in homes if len(found) > copy)
            if not runs:
                return

            def read(run: Run, catalog: Catalog = catalog) -> list[tuple[Entry, memoryview]]:
                return _chunks_of_run(catalog, run)

            # Only reading is done by several threads: libraries that decompress need not bear that.
            for found in at_once(read, runs, most=catalog.disk.most_at_once):
                self._take(found)

    def _take(self, found: Iterable[tuple[Entry, memoryview]]) -> None:
        """Keep what is sound; of the others another copy may be, and what has none is given up."""
        for entry, stored in found:
            try:
                self._plain[entry.id] = plain_of(entry, stored)
            except IntegrityError:
                continue


def _chunks_of_run(catalog: Catalog, run: Run) -> list[tuple[Entry, memoryview]]:
    try:
        return list(read_run(catalog.disk, run))
    except FileNotFoundError:
        return []  # pruned since the look
    except StoreError:
        raise
    except OSError as error:
        raise translate(error, run.path) from error


_COPIES = 3
"""Copies of a chunk that are tried; more than two are rare."""
