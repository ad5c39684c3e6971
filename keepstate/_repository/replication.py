"""Copy snapshots of one member from one repository to another: chunks that are missing, then manifests.

The same steps as a save (FORMAT.md §8), whichever side is the far one: a lease, a look, the packs, a look
again, the manifests, oldest first. So it is safe beside writers and prunes of both sides, and after being cut
off anywhere the next one goes on from what is there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base.clock import instant
from keepstate._base.disk import make_directories, sync_upwards, translating, write_durably
from keepstate._repository import index
from keepstate._repository.apart import as_stored
from keepstate._repository.catalog import PackInfo
from keepstate._repository.conflict import ConflictError
from keepstate._repository.copying import Copier, Target, plan_jobs
from keepstate._repository.floor import Floor
from keepstate._repository.lease import HOLD_SECONDS, take_lease
from keepstate._repository.manifests import LIMIT_BYTES, decode_manifest, encode_manifest
from keepstate.errors import AlreadyThereError, FormatError, IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from keepstate._base.clock import Clock, Flag, Instant
    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Head
    from keepstate._repository import pack
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.lease import Lease
    from keepstate._repository.needs import Needed, Needs

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
    """Snapshot id → what of it is damaged or gone at the source, and was at the target neither; or what
    stands in its place there."""
    unread: dict[str, str] = field(default_factory=dict)
    """Snapshot id → what of it cannot be read now at the source; it was left."""
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
        on_plan: Called with id and plain length of each chunk that will be copied, before the first is.
        on_progress: Called with the bytes that are behind and that there are, from several threads, once
            a pack is in its place.
        drop: Takes a lease back, now or later.
        floor_bytes: What is left free on the disk of the target; ``None``: the usual.
    """

    def __init__(
        self,
        source: Catalog,
        target: Catalog,
        *,
        needs: Needs,
        clock: Clock,
        stop: Flag,
        on_plan: Callable[[Mapping[bytes, int]], None],
        on_progress: Callable[[int, int], None],
        drop: Callable[[Lease], None],
        floor_bytes: int | None = None,
    ) -> None:
        self._source = source
        self.target = target
        self._needs = needs
        self._clock = clock
        self._stop = stop
        self._on_plan = on_plan
        self._on_progress = on_progress
        self._drop = drop
        self._floor = Floor(target.disk, target.folder.root, floor_bytes=floor_bytes)
        self._guard = threading.Lock()
        self._done = 0
        self._temporaries = 0
        self._put: set[str] = set()
        """Packs that this copy has written itself."""
        self._lease: Lease | None = None
        self._leased_at: Instant = instant(clock)

    @property
    def _disk(self) -> Disk:
        return self.target.disk

    def run(self, manifests: Sequence[Head]) -> Copied:
        """Copy *manifests*, which are given oldest first.

        Raises:
            ConflictError: What one of the two had was pruned meanwhile; try again.
            StoreError: One of the places failed. What was kept before is untouched at both.
        """
        with translating(self.target.folder.root):
            self._take_lease(manifests[-1])
            try:
                return self._run(manifests)
            finally:
                self._drop_lease()

    def _run(self, manifests: Sequence[Head]) -> Copied:
        self.target = self.target.refreshed()
        needed = self._needs.of(manifests, [self._source, self.target])
        chunks = dict.fromkeys(own for each in needed.values() for own in each.chunks)
        missing = [own for own in chunks if not self.target.has(own)]
        jobs = plan_jobs(self._source, missing, taken={*self.target.packs, *self.target.condemned})
        self._on_plan({each.entry.id: each.entry.plain for job in jobs for each in job.locations})
        total = sum(job.nbytes for job in jobs)
        self._on_progress(0, total)
        self._floor.look()
        copier = Copier(
            self._source,
            Target(self._disk, self.target.folder, self._temporary, self._floor),
            stop=self._stop,
            on_bytes=lambda nbytes: self._count(nbytes, total),
        )
        made = copier.copy(jobs)
        copied = Copied(nbytes=self._done)
        if self._stop.is_set():
            copied.stopped = True
            return copied
        self._put = copier.put
        self._look_again(made, needed, manifests[-1])
        sync_upwards(
            self._disk,
            [self.target.folder.pack(own).parent for own in made],
            top=self.target.folder.store,
        )
        for manifest in manifests:
            self._publish(manifest, needed[manifest.id], copied)
        return copied

    def _count(self, nbytes: int, total: int) -> None:
        with self._guard:
            self._done += nbytes
            done = self._done
        self._on_progress(done, max(total, done))

    # The lease

    def _take_lease(self, last: Head) -> None:
        self._leased_at = instant(self._clock)
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
        if lease is not None:
            self._drop(lease)

    @property
    def _lease_seconds(self) -> float:
        return self._leased_at.seconds_until(instant(self._clock))

    def _temporary(self) -> Path:
        self._temporaries += 1
        own = "" if self._lease is None else self._lease.id
        return self.target.folder.temporary / f"{own}-{self._temporaries}.tmp"

    # The commit

    def _look_again(
        self, made: Mapping[str, tuple[pack.Footer, int]], needed: Mapping[str, Needed], manifest: Head
    ) -> None:
        """Refuse to go on if anything that was there is gone or about to go.

        A copy may take hours, and a lease does not count for so long: a fresh one is taken before this look.
        """
        last, relied = self._lease, self.target
        if self._lease_seconds > FRESH_SECONDS and last is not None:
            self._take_lease(manifest)
            self._drop(last)
        there = {own for each in needed.values() for own in each.chunks if relied.has(own)}
        own = {name: PackInfo(*found, covered=False) for name, found in made.items()}
        # What was put need not be read again; what was there under its name is no better known than others.
        put = {name: info for name, info in own.items() if name in self._put}
        self.target = self.target.with_packs(put).refreshed()
        if self._disk.lists_late:
            self.target = self.target.with_packs(own)
        if any(own in self.target.condemned or own not in self.target.packs for own in made):
            raise ConflictError("packs of this copy were pruned meanwhile: try again")
        if not all(self.target.has(own) for own in there):
            raise ConflictError("what this copy relies on was pruned meanwhile: try again")
        self._write_index()

    def _write_index(self) -> None:
        try:
            self.target = index.cover(self._disk, self.target, temporary=self._temporary())
        except StoreError:
            pass  # an index only accelerates; if the place is in trouble, the manifest will tell

    def _publish(self, manifest: Head, needed: Needed, copied: Copied) -> None:
        if self._lease_seconds > HOLD_SECONDS:
            raise ConflictError("this copy took so long that its lease no longer counts: try again")
        gone = sum(not self.target.has(own) for own in needed.chunks)
        is_whole = not gone and not needed.damage
        if not is_whole and not self._is_lost(manifest, copied):
            return
        if not is_whole:
            more = f"; {needed.damage}" if needed.damage else ""
            copied.lost[manifest.id] = (
                f"snapshot {manifest.id[:10]} is not whole: {gone} chunks are damaged or gone{more}"
            )
        path = self.target.folder.manifest(manifest)
        raw = self._bytes_of(manifest)
        self._floor.take(len(raw))
        make_directories(self._disk, path.parent)
        sync_upwards(self._disk, [path.parent], top=self.target.folder.store)
        try:
            if self._disk.exists(path):
                raise AlreadyThereError(f"{self._disk.shown(path)} is there")
            write_durably(self._disk, path, [raw], temporary=self._temporary())
            copied.nbytes += len(raw)
        except AlreadyThereError:
            if not self._holds(path, manifest):
                # Those that follow must not wait until somebody has mended this one.
                copied.lost[manifest.id] = (
                    f"{self._disk.shown(path)} holds something else than snapshot {manifest.id[:10]}, or is "
                    "damaged: move it away"
                )
                return
        copied.ids.append(manifest.id)

    def _bytes_of(self, manifest: Head) -> bytes:
        """Give the file as it is at the source, with what only a newer version knows of."""
        try:
            raw = self._source.disk.read(self._source.folder.manifest(manifest), limit_bytes=LIMIT_BYTES)
            if decode_manifest(raw) == as_stored(manifest):
                return raw
        except (FileNotFoundError, IntegrityError, FormatError):
            pass  # pruned meanwhile, or damaged since it was read: what was read is whole
        return encode_manifest(manifest)

    def _is_lost(self, manifest: Head, copied: Copied) -> bool:
        """Tell what was lost at the source from what cannot be read now, or a prune has moved or taken.

        Raises:
            ConflictError: It may be elsewhere by now.
        """
        now = self._source.refreshed()
        if any(own not in now.packs and own not in now.unreadable for own in self._source.packs):
            raise ConflictError("what was to be copied was pruned meanwhile: try again")
        for why in (*self._source.unreadable.values(), *now.unreadable.values()):
            copied.unread[manifest.id] = (
                f"snapshot {manifest.id[:10]} may need a pack that cannot be read now: {why}: try again later"
            )
            return False
        return self._source.disk.exists(self._source.folder.manifest(manifest))

    def _holds(self, path: Path, manifest: Head) -> bool:
        """Say whether an earlier copy has published this very snapshot."""
        try:
            return decode_manifest(self._disk.read(path, limit_bytes=LIMIT_BYTES)) == as_stored(manifest)
        except (IntegrityError, FormatError):
            return False
