"""The only deleter: superseded manifests first, then the packs that nothing needs any more.

Safe beside writers, which never wait for it: packs are condemned in public, the writers that may not have
seen that are waited for, the manifests are read again, and only then are packs deleted. Safe against a
power cut at every line: what is deleted is needed by nothing that is still there. The proof is in FORMAT.md
§8.
Source: two-phase deletion of restic and kopia.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from keepstate._repository import index
from keepstate._repository.apart import Joiner
from keepstate._repository.condemned import Round, age_seconds, read_rounds, remove_round, write_round
from keepstate._repository.conflict import ConflictError
from keepstate._repository.floor import Room, room_of
from keepstate._repository.garbage import MOSTLY_DEAD, plan_garbage, still_needed
from keepstate._repository.lease import HOLD_SECONDS, LIMIT_SECONDS, leases, take_lease
from keepstate._repository.manifests import ManifestFolder
from keepstate._repository.reach import Reach
from keepstate._repository.repack import copy_chunks, taken_by, that_fit
from keepstate._repository.superseded import Verdict, Wishes, decide, read_all
from keepstate.errors import IntegrityError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from keepstate._base.clock import Clock
    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog, Location
    from keepstate._repository.layout import MemberFolder
    from keepstate._repository.lease import Held, Lease
    from keepstate._repository.prune_report import PruneReport


MOSTLY_GONE = 2
"""An index that is so many times as long as it must be is written anew."""


class Pruner:
    """One prune of one member's folder."""

    def __init__(
        self,
        *,
        disk: Disk,
        clock: Clock,
        folder: MemberFolder,
        catalog: Catalog,
        wishes: Wishes,
        floor_bytes: int | None,
        grace_seconds: float,
        drop_damaged: bool,
        drop: Callable[[Lease], None],
        report: PruneReport,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._folder = folder
        self._catalog = catalog
        self._wishes = wishes
        self._floor_bytes = floor_bytes
        self._grace_seconds = grace_seconds
        self._drop_damaged = drop_damaged
        self._drop = drop
        self._report = report
        self._temporaries = 0
        self._lease: Lease | None = None
        self._began = (clock.monotonic(), clock.utc_now())
        self._waiting: dict[str, tuple[int, str]] = {}
        self._damage: set[str] = set()
        self._mostly_dead = MOSTLY_DEAD

    def run(self) -> None:
        """Do all steps; the lease is dropped whatever happens."""
        self._lease = take_lease(self._disk, self._folder, purpose="prune", clock=self._clock)
        try:
            self._remove_manifests(running=self._sweep())
            self._prune_packs()
            self._renew_index()
            self._report.waiting_packs += sum(count for count, _ in self._waiting.values())
            self._report.waiting_for += [why for _, why in self._waiting.values()]
            self._report.damage += sorted(self._damage)
        finally:
            try:
                self._clean_own_temporaries()
            finally:
                self._drop(self._lease)

    def rehearse(self) -> None:
        """Say what :meth:`run` would do if nobody else were at work; change nothing, not even a lease."""
        manifests, _ = self._read_all()
        verdict = self._decide(manifests, running=_saving(self._leases()))
        self._report.add(verdict)
        gone = {manifest.id for manifest in verdict.gone}
        needed = self._needed([each for each in manifests if each.id not in gone])
        plan = plan_garbage(self._catalog, needed, mostly_dead=verdict.mostly_dead)
        chosen = that_fit(plan.repack, catalog=self._catalog, room=self._room())
        going = [*plan.dead, *chosen]
        copied = sum(map(taken_by, chosen.values()))
        self._report.deleted_packs += len(going)
        self._report.repacked_packs += len(chosen)
        self._report.freed_bytes += sum(self._catalog.packs[own].nbytes for own in going) - copied
        self._report.damage += sorted(self._damage)

    # What the dead have left

    def _sweep(self) -> set[str]:
        """Remove leases and temporary files of the dead; give the lineages of those who save."""
        # Temporaries are listed before leases: one that has no lease by then has no living owner.
        temporaries = [entry.name for entry in self._disk.entries(self._folder.temporary)]
        held = self._leases()
        if any(each.is_alive and each.purpose == "prune" for each in held):
            raise ConflictError("another prune of this member is running: try again later")
        alive = {each.id for each in held if each.is_alive} | {self._own_id}
        for name in temporaries:
            if name.partition("-")[0] not in alive:
                self._disk.remove(self._folder.temporary / name)
        for each in held:
            if not each.is_alive:
                self._disk.remove(each.path)
        return _saving(held)

    def _leases(self) -> list[Held]:
        """Leases of others."""
        found = leases(self._disk, self._folder, clock=self._clock, limit_seconds=LIMIT_SECONDS)
        return [each for each in found if each.id != self._own_id]

    @property
    def _own_id(self) -> str:
        return "" if self._lease is None else self._lease.id

    # Snapshots

    def _manifests(self) -> list[Head]:
        sound, given_up = self._read_all()
        self._remove(given_up)
        return sound

    def _read_all(self) -> tuple[list[Head], list[Path]]:
        folder = ManifestFolder(self._disk, self._folder)
        sound, given_up = read_all(folder, give_up_damaged=self._drop_damaged)
        if not self._drop_damaged:
            return sound, given_up
        joiner = Joiner(self._whole_catalog().reader().record)
        nameless = {head.id for head in sound if joiner.trouble(head)}
        given_up += [self._folder.manifest(head) for head in sound if head.id in nameless]
        return [head for head in sound if head.id not in nameless], given_up

    def _decide(self, manifests: Sequence[Head], *, running: Collection[str]) -> Verdict:
        now = self._clock.utc_now()
        verdict = decide(manifests, self._wishes, now=now, running=running, catalog=self._whole_catalog)
        self._mostly_dead = verdict.mostly_dead
        return verdict

    def _remove_manifests(self, *, running: Collection[str]) -> None:
        verdict = self._decide(self._manifests(), running=running)
        self._remove([self._folder.manifest(manifest) for manifest in verdict.gone])
        self._report.add(verdict)

    def _remove(self, paths: Iterable[Path]) -> None:
        """Remove files and return when a power cut cannot bring them back."""
        folders = set()
        for path in paths:
            self._disk.remove(path)
            folders.add(path.parent)
        for each in sorted(folders):
            self._disk.sync_directory(each)

    # Packs

    def _look(self) -> set[bytes]:
        """Read manifests, then packs, anew; give the chunks that are needed."""
        return self._needed(self._manifests())

    def _whole_catalog(self) -> Catalog:
        """Read packs anew; one that cannot be read may hold what is needed."""
        self._catalog = self._catalog.refreshed()
        for pack_id, why in self._catalog.unreadable.items():
            raise StoreError(f"cannot prune: pack {pack_id} cannot be read now ({why})")
        return self._catalog

    def _needed(self, manifests: Sequence[Head]) -> set[bytes]:
        reader = self._whole_catalog().reader()
        joiner = Joiner(reader.record)
        for head in manifests:
            if why := joiner.trouble(head):  # the values of names that are not known would go
                raise IntegrityError(
                    f"cannot prune: the names of snapshot {head.id[:10]} cannot be read: {why}; "
                    "drop_damaged=True removes it"
                )
        needed, self._damage = Reach(reader, remember=False).chunks(manifests)
        return set(needed)

    def _prune_packs(self) -> None:
        # What is dead goes first, so that there is space for what is copied.
        needed = self._look()
        plan = plan_garbage(self._catalog, needed, mostly_dead=self._mostly_dead)
        self._condemn(plan.dead)
        self._delete_condemned()
        if plan.repack:
            self._condemn(self._repack(plan.repack))
            self._delete_condemned()

    def _condemn(self, packs: Collection[str]) -> None:
        if packs:
            now = self._clock.utc_now().isoformat()
            self._write_round(Round(id=os.urandom(16).hex(), packs=sorted(packs), condemned_at=now))

    def _room(self) -> Room | None:
        return room_of(self._disk, self._folder.root, floor_bytes=self._floor_bytes)

    def _repack(self, wanted: dict[str, list[Location]]) -> set[str]:
        chosen = that_fit(wanted, catalog=self._catalog, room=self._room())
        try:
            packers, done = copy_chunks(
                chosen, disk=self._disk, folder=self._folder, temporary=self._temporary
            )
        except StoreFullError:
            chosen, packers, done = {}, [], set()
        if len(chosen) < len(wanted):
            count = len(wanted) - len(chosen)
            self._report.remarks.append(
                f"there is no space to write anew {count} packs of which little is needed"
            )
        self._report.repacked_packs += len(done)
        self._report.freed_bytes -= sum(packer.nbytes for packer in packers)
        return done

    def _write_round(self, found: Round) -> None:
        write_round(self._disk, self._folder, found, temporary=self._temporary())

    def _temporary(self) -> Path:
        self._temporaries += 1
        return self._folder.temporary / f"{self._own_id}-{self._temporaries}.tmp"

    def _delete_condemned(self) -> None:
        # The rounds are published by now. A writer whose lease is not here will see them.
        self._waiting.clear()
        alive = {each.id: each for each in self._leases() if each.is_alive}
        ready: list[Round] = []
        for found in read_rounds(self._disk, self._folder):
            blocking = sorted(alive if found.waits_for is None else alive.keys() & set(found.waits_for))
            if blocking and found.waits_for is None:
                self._write_round(msgspec.structs.replace(found, waits_for=blocking))
            if blocking:
                self._waiting[found.id] = len(found.packs), self._who(alive[blocking[0]])
            elif age_seconds(found, self._clock.utc_now()) < self._grace_seconds:
                self._waiting[found.id] = len(found.packs), "they were condemned only lately"
            else:
                ready.append(found)
        if ready:
            self._delete(ready)

    def _who(self, held: Held) -> str:
        if held.lease is None:
            return f"a save that began before is under way ({held.path.name})"
        holder = held.lease
        return f"a save that began before is under way on {holder.place.host} as process {holder.pid}"

    def _delete(self, ready: list[Round]) -> None:
        needed = self._look()  # after the leases: a writer that is gone has its manifest there
        wanted = {pack_id for found in ready for pack_id in found.packs} & set(self._catalog.packs)
        gone = [own for own in sorted(wanted) if not still_needed(self._catalog, own, needed)]
        self._check_own_lease()
        self._remove([self._folder.pack(own) for own in gone])
        self._report.deleted_packs += len(gone)
        self._report.freed_bytes += sum(self._catalog.packs[own].nbytes for own in gone)
        for found in ready:
            remove_round(self._disk, self._folder, found)  # those that are still needed are free again

    def _check_own_lease(self) -> None:
        """Refuse to delete if others may take this prune for dead."""
        passed = max(
            self._clock.monotonic() - self._began[0],
            (self._clock.utc_now() - self._began[1]).total_seconds(),
        )
        names = {entry.name.partition(".")[0] for entry in self._disk.entries(self._folder.leases)}
        if passed > HOLD_SECONDS or self._own_id not in names:
            raise ConflictError("this prune took so long that its lease no longer counts: try again")

    # Leftovers of this prune

    def _renew_index(self) -> None:
        """Write one index of all packs where most of what the files list is gone."""
        files = index.index_files(self._disk, self._folder)
        self._catalog = self._catalog.refreshed()
        sound = {own: info for own, info in self._catalog.packs.items() if not info.damage}
        if sum(file.bytes for file in files) <= MOSTLY_GONE * index.index_bytes(sound.values()):
            return
        footers = {own: (info.footer, info.nbytes) for own, info in sound.items()}
        index.write_index(self._disk, self._folder, footers, temporary=self._temporary())
        self._remove([self._folder.index / file.name for file in files])

    def _clean_own_temporaries(self) -> None:
        for number in range(1, self._temporaries + 1):
            self._disk.remove(self._folder.temporary / f"{self._own_id}-{number}.tmp")


def _saving(held: Iterable[Held]) -> set[str]:
    """Lineages of the sessions that save right now."""
    return {each.lease.lineage for each in held if each.is_alive and each.lease and each.lease.lineage}
