"""What snapshots need, found in few reads also where each read is a request to the far side.

Records and lists are followed in waves: all that one wave names is read at once. Groups that were walked
before are remembered, so that a snapshot in which three of two thousand names have changed costs three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._base.at_once import at_once
from keepstate._base.disk import SYSTEM_DISK
from keepstate._repository.bulk import plain_of, read_run, runs_of
from keepstate._repository.reach import Reach
from keepstate._repository.reader import ChunkReader
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from keepstate._model.manifest import Manifest
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.reader import OpenPacks


class Needs:
    """Follows manifests of one member through the packs of one place."""

    def __init__(self) -> None:
        self._reader = _GatheringReader()
        self._reach = Reach(self._reader)

    def of(self, manifests: Sequence[Manifest], catalogs: Sequence[Catalog]) -> Mapping[str, set[bytes]]:
        """Give, for each snapshot id, the chunks that it needs; what cannot be followed is named and no more.

        Args:
            manifests: Of one member.
            catalogs: Where to read records and lists, the nearest first.

        Raises:
            StoreError: A place cannot be read now.
        """
        self._reader.look_into(catalogs)
        while True:
            self._reach.forget_damage()
            found = {manifest.id: self._reach.chunks([manifest])[0] for manifest in manifests}
            if not self._reader.gather():
                return found


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

            def read(run: object, catalog: Catalog = catalog) -> dict[bytes, bytes]:
                found: dict[bytes, bytes] = {}
                try:
                    for entry, stored in read_run(catalog.disk, run):  # type: ignore[arg-type]
                        found[entry.id] = plain_of(entry, stored)
                except (IntegrityError, FileNotFoundError):
                    pass  # another copy may be whole; what has none is given up
                return found

            for found in at_once(read, runs, most=catalog.disk.most_at_once):
                self._plain.update(found)


_COPIES = 3
"""Copies of a chunk that are tried; more than two are rare."""
