"""How many bytes a set of snapshots takes once everything else is gone: told by what they reach.

Knows packs and what prune makes of them: one without a needed chunk goes, one that is mostly dead is written
anew, any other stays as it is. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from keepstate._repository import chunk, pack
from keepstate._repository.garbage import MOSTLY_DEAD
from keepstate._repository.manifests import encode_manifest
from keepstate._repository.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.layout import MemberFolder

_ENTRY_BYTES = chunk.HEADER_BYTES + pack.ENTRY_BYTES
"""What a chunk takes besides its stored bytes: a header before it, and its line in the footer."""
_PACK_BYTES = pack.HEADER_BYTES + pack.TRAILER_BYTES


class Footprint:
    """The bytes of packs and manifests that some snapshots need, of whom one after another may be taken away.

    Args:
        catalog: All packs of the member.
        manifests: The snapshots that stay at first.
    """

    def __init__(self, catalog: Catalog, manifests: Iterable[Head]) -> None:
        self._catalog = catalog
        self._reach = Reach(catalog.reader(), remember=True)
        self._needed_by: Counter[bytes] = Counter()
        self._alive: Counter[str] = Counter()
        self._manifest_bytes = 0
        for manifest in manifests:
            self._add(manifest)

    def _add(self, manifest: Head) -> None:
        self._manifest_bytes += len(encode_manifest(manifest))
        for own in self._chunks(manifest):
            self._needed_by[own] += 1
            if self._needed_by[own] == 1:
                self._count(own, 1)

    def take_away(self, manifest: Head) -> None:
        """Count this snapshot no longer."""
        self._manifest_bytes -= len(encode_manifest(manifest))
        for own in self._chunks(manifest):
            self._needed_by[own] -= 1
            if not self._needed_by[own]:
                self._count(own, -1)

    def _chunks(self, manifest: Head) -> Iterable[bytes]:
        return self._reach.chunks([manifest])[0]

    def _count(self, own: bytes, sign: int) -> None:
        home = next(self._catalog.locate(own), None)
        if home is not None:
            self._alive[home.pack_id] += sign * (_ENTRY_BYTES + home.entry.stored)

    def nbytes(self, *, mostly_dead: float = MOSTLY_DEAD) -> int:
        """What stays on the disk if packs with less than this share of needed bytes are written anew."""
        total = self._manifest_bytes
        for pack_id, alive in self._alive.items():
            if alive:
                whole = self._catalog.packs[pack_id].nbytes
                total += alive + _PACK_BYTES if alive < mostly_dead * whole else whole
        return total


def manifests_bytes(disk: Disk, folder: MemberFolder) -> int:
    """Add up the manifests that are there, without reading them."""
    return sum(
        entry.bytes
        for project in disk.entries(folder.manifests)
        if project.is_directory
        for notebook in disk.entries(folder.manifests / project.name)
        if notebook.is_directory
        for entry in disk.entries(folder.manifests / project.name / notebook.name)
    )
