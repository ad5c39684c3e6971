"""Copy snapshots of one member from one repository to another: chunks that are missing, then manifests.

The same steps as a save (FORMAT.md §8), whichever side is the far one: a lease, a look, the packs, a look
again, the manifests, oldest first. So it is safe beside writers and prunes of both sides, and after being cut
off anywhere the next one goes on from what is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base.disk import make_directories, sync_upwards, translating, write_durably
from keepstate._repository import index
from keepstate._repository.catalog import PackInfo
from keepstate._repository.conflict import ConflictError
from keepstate._repository.copying import Copier, Target, plan_jobs
from keepstate._repository.floor import Floor
from keepstate._repository.lease import drop_lease, take_lease
from keepstate._repository.manifests import LIMIT_BYTES, decode_manifest, encode_manifest
from keepstate.errors import AlreadyThereError, FormatError, IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from keepstate._base.clock import Clock, Flag
    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Manifest
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.lease import Lease
    from keepstate._repository.needs import Needs

FRESH_SECONDS = 1800.0
"""Age of the lease at which another one is taken before the last look: half of what a holder may use."""


@dataclass(slots=True)
class Copied:
    """What came of it."""

    ids: list[str] = field(default_factory=list)
    """Snapshots that are at the target now."""
    nbytes: int = 0
    """Of packs and manifests that were written."""
    lost: dict[str, str] = field(default_factory=dict)
    """Snapshot id → what of it is damaged or gone at the source, and was at the target neither."""
    stopped: bool = False
    """Whether it was told to stop; what was written is found by the next one."""


class Replication:
    """One copy of some snapshots of one member.

    Args:
        source: Packs of the member where the snapshots are.
        target: Packs of the member where they shall be, as known so far.
        needs: Of the source, remembered from copy to copy.
        clock: For the age of the lease.
        stop: Once it is set, no further pack is begun.
        on_progress: Called with the bytes that are behind and that there are, from several threads.
    """

    def __init__(
        self,
        source: Catalog,
        target: Catalog,
        *,
        needs: Needs,
        clock: Clock,
        stop: Flag,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._source = source
        self.target = target
        self._needs = needs
        self._clock = clock
        self._stop = stop
        self._on_progress = on_progress
        self._done = 0
        self._temporaries = 0
        self._lease: Lease | None = None
        self._leased_at = 0.0

    @property
    def _disk(self) -> Disk:
        return self.target.disk

    def run(self, manifests: Sequence[Manifest]) -> Copied:
        """Copy *manifests*, which are given oldest first.

        Raises:
            ConflictError: What the target had was pruned meanwhile; try again.
            StoreError: One of the places failed. What was kept before is untouched at both.
        """
        with translating(self.target.folder.root):
            try:
                self._take_lease(manifests[-1])
                return self._run(manifests)
            finally:
                self._drop_lease()

    def _run(self, manifests: Sequence[Manifest]) -> Copied:
        self.target = self.target.refreshed()
        needed = self._needs.of(manifests, [self._source])
        missing = {own for chunks in needed.values() for own in chunks if not self.target.has(own)}
        jobs = plan_jobs(self._source, missing)
        total = sum(job.nbytes for job in jobs)
        self._on_progress(0, total)
        copier = Copier(
            self._source,
            Target(self._disk, self.target.folder, self._temporary, self._floor()),
            stop=self._stop,
            on_bytes=lambda nbytes: self._count(nbytes, total),
        )
        made = copier.copy(jobs)
        copied = Copied(nbytes=self._done)
        if self._stop.is_set():
            copied.stopped = True
            return copied
        self._look_again(made, needed)
        sync_upwards(
            self._disk,
            [self.target.folder.pack(own).parent for own in made],
            top=self.target.folder.store,
        )
        for manifest in manifests:
            self._publish(manifest, needed[manifest.id], copied)
        return copied

    def _floor(self) -> Floor:
        floor = Floor(self._disk, self.target.folder.root)
        floor.look()
        return floor

    def _count(self, nbytes: int, total: int) -> None:
        self._done += nbytes
        self._on_progress(self._done, max(total, self._done))

    # The lease

    def _take_lease(self, last: Manifest) -> None:
        self._leased_at = self._clock.monotonic()
        self._lease = take_lease(
            self._disk,
            self.target.folder,
            purpose="write",
            clock=self._clock,
            project=last.project,
            notebook=last.notebook,
            lineage=last.lineage,
        )

    def _drop_lease(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            drop_lease(self._disk, self.target.folder, lease)
        except StoreError:
            pass  # it counts until this process ends, or for two hours elsewhere

    def _temporary(self) -> Path:
        self._temporaries += 1
        own = "" if self._lease is None else self._lease.id
        return self.target.folder.temporary / f"{own}-{self._temporaries}.tmp"

    # The commit

    def _look_again(self, made: Mapping[str, tuple[bytes, int]], needed: Mapping[str, set[bytes]]) -> None:
        """Refuse to go on if anything that was there is gone or about to go.

        A copy may take hours, and a lease does not count for so long: a fresh one is taken before this look.
        """
        last, relied = self._lease, self.target
        if self._clock.monotonic() - self._leased_at > FRESH_SECONDS and last is not None:
            self._renew_lease(last)
        there = {own for chunks in needed.values() for own in chunks if relied.has(own)}
        self.target = self.target.refreshed()
        if self._disk.lists_late:
            own = {name: PackInfo(*found, covered=False) for name, found in made.items()}
            self.target = self.target.with_packs(own)
        if any(own in self.target.condemned or own not in self.target.packs for own in made):
            raise ConflictError("packs of this copy were pruned meanwhile: try again")
        if not all(self.target.has(own) for own in there):
            raise ConflictError("what this copy relies on was pruned meanwhile: try again")
        self._write_index()

    def _renew_lease(self, last: Lease) -> None:
        self._leased_at = self._clock.monotonic()
        self._lease = take_lease(
            self._disk,
            self.target.folder,
            purpose="write",
            clock=self._clock,
            project=last.project,
            notebook=last.notebook,
            lineage=last.lineage,
        )
        drop_lease(self._disk, self.target.folder, last)

    def _write_index(self) -> None:
        try:
            self.target = index.cover(self._disk, self.target, temporary=self._temporary())
        except StoreError:
            pass  # an index only accelerates; if the place is in trouble, the manifest will tell

    def _publish(self, manifest: Manifest, needed: set[bytes], copied: Copied) -> None:
        path = self.target.folder.manifest(manifest)
        gone = [own for own in needed if not self.target.has(own)]
        if gone:
            copied.lost[manifest.id] = (
                f"snapshot {manifest.id[:10]} needs {len(gone)} chunks that are damaged or gone"
            )
        raw = encode_manifest(manifest)
        make_directories(self._disk, path.parent)
        sync_upwards(self._disk, [path.parent], top=self.target.folder.store)
        try:
            write_durably(self._disk, path, [raw], temporary=self._temporary())
            copied.nbytes += len(raw)
        except AlreadyThereError:
            self._must_be(path, manifest)
        copied.ids.append(manifest.id)

    def _must_be(self, path: Path, manifest: Manifest) -> None:
        """An earlier copy has published it; it must be this very one."""
        try:
            same = decode_manifest(self._disk.read(path, limit_bytes=LIMIT_BYTES)) == manifest
        except (IntegrityError, FormatError):
            same = False
        if not same:
            raise StoreError(
                f"{self._disk.shown(path)} holds something else than snapshot {manifest.id}: move it away"
            )
