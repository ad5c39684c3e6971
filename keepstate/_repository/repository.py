"""A store as one object: open or create it, list its snapshots, read, write, verify, prune.

Knows bytes and ids, never Python objects. Holds no lock and no open file between calls, so that it can be
used in a child that was forked at any instant. Layout and order of writes: FORMAT.md.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._base.disk import SYSTEM_DISK, Disk, translating
from keepstate._model.manifest import Manifest
from keepstate._repository.apart import Joiner
from keepstate._repository.copying import plan_jobs
from keepstate._repository.floor import Room, room_of
from keepstate._repository.footprint import manifests_bytes
from keepstate._repository.history import newest_first
from keepstate._repository.layout import MARKER, member_folder
from keepstate._repository.lease import LIMIT_SECONDS, Held, Lease, drop_lease, leases, take_lease
from keepstate._repository.manifests import DamagedManifest, ManifestFolder
from keepstate._repository.marker import NoStoreError, make_store, read_marker
from keepstate._repository.members import Members
from keepstate._repository.needs import Needs
from keepstate._repository.prune import Pruner
from keepstate._repository.prune_report import PruneReport
from keepstate._repository.reach import decode_group
from keepstate._repository.replication import Copied, Replication
from keepstate._repository.retention import Retention, Scope, chosen
from keepstate._repository.superseded import Wishes
from keepstate._repository.usage import Usage, usage_of_member
from keepstate._repository.verify import VerifyReport, verify_member
from keepstate._repository.writer import Commit, Writer
from keepstate.errors import FormatError, KeepstateError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from keepstate._base.clock import Flag
    from keepstate._model.manifest import GroupRecord, Head, PartRecord, Ref
    from keepstate._repository.layout import MemberFolder
    from keepstate._repository.members import Coming
    from keepstate._repository.reader import StoredPart


class Repository:
    """All snapshots in one store. Made by :meth:`open`."""

    def __init__(
        self, path: Path, store_id: str, disk: Disk, clock: Clock, *, floor_bytes: int | None = None
    ) -> None:
        self.path = path
        self.store_id = store_id
        """Random, given when the store was made."""
        self._disk = disk
        self._clock = clock
        self._floor_bytes = floor_bytes
        self._members = Members(path, disk)
        self._device = disk.device(path)
        self._left: list[tuple[MemberFolder, Lease]] = []
        self._needs: dict[str, Needs] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool,
        disk: Disk = SYSTEM_DISK,
        clock: Clock = SYSTEM_CLOCK,
        floor_bytes: int | None = None,
    ) -> Self:
        """Open the store at *path*.

        Args:
            path: A directory.
            create: Whether to make a store where there is none; then it must be writable as well.
            disk: Where writes go.
            clock: For the age of leases and snapshots.
            floor_bytes: What saves leave free on the disk; ``None``: a twentieth of it, at most 1 GiB.

        Raises:
            NotAStoreError: It is a file, or a folder that holds something else.
            StoreError: It is not there, cannot be read, or (with *create*) cannot be written.
            FormatError: A newer version has written it.
        """
        with translating(path):
            marker = read_marker(path, disk)
            if marker is None:
                if not create:
                    raise NoStoreError(f"there is no store at {disk.shown(path)}")
                marker = make_store(path, disk)
            elif create and not disk.may_write(path):
                raise StoreError(
                    f"the store at {disk.shown(path)} can only be read by this user: change its permissions, "
                    "mount it for writing, or choose another store"
                )
        return cls(path, marker.store, disk, clock, floor_bytes=floor_bytes)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self._disk.shown(self.path)

    # Snapshots

    def heads(
        self,
        *,
        project: str | None = None,
        member: str | None = None,
        notebook: str | None = None,
        lineage: str | None = None,
    ) -> list[Head]:
        """Every snapshot that fits, newest first, without the names of those that have very many.

        Those whose manifest cannot be used are not among them; see :meth:`damaged_manifests`.

        Raises:
            StoreError: There is none, and the store is gone or cannot be read: there may be some.
        """
        found: list[Head] = []
        damaged: list[DamagedManifest] = []
        for folder in self._members.folders(member):
            sound, others = self._members.manifests(folder).read(
                project=project, notebook=notebook, lineage=lineage
            )
            found += sound
            damaged += others
        if not found:
            self._must_be_there(damaged)
        return newest_first(
            head
            for head in found
            if project in (None, head.project)
            and notebook in (None, head.notebook)
            and lineage in (None, head.lineage)
        )

    def manifests(
        self, *, project: str | None = None, member: str | None = None, notebook: str | None = None
    ) -> list[Manifest]:
        """Give the same with all names, which takes long and much memory for a long history.

        Raises:
            IntegrityError: The names of one cannot be read.
            StoreError: As :meth:`heads`, or they cannot be read now.
        """
        found = self.heads(project=project, member=member, notebook=notebook)
        joiners = {own: self.joiner(own) for own in {head.member for head in found}}
        return [joiners[head.member].manifest(head) for head in found]

    def manifest_of(self, head: Head) -> Manifest:
        """Give the manifest of a snapshot with its names.

        Raises:
            IntegrityError: What says where they are is missing or damaged.
            StoreError: It cannot be read now.
        """
        return head if isinstance(head, Manifest) else self.joiner(head.member).manifest(head)

    def joiner(self, member: str) -> Joiner:
        """Give what puts several manifests of *member* together; it keeps what they share."""
        return Joiner(self._members.reader(member).record)

    def _must_be_there(self, damaged: list[DamagedManifest]) -> None:
        """Tell a store in which nothing is kept from one that cannot be looked into."""
        for each in damaged:
            if each.transient:
                raise StoreError(each.why)
        if not self._is_there():
            raise StoreError(
                f"the store at {self.place} is gone: bring it back; else the next save begins anew"
            )

    def _is_there(self) -> bool:
        with translating(self.path):
            return self._disk.exists(self.path / MARKER)

    def damaged_manifests(
        self, *, project: str | None = None, member: str | None = None, notebook: str | None = None
    ) -> list[DamagedManifest]:
        """Files that should be manifests and cannot be used, each with the reason."""
        found: list[DamagedManifest] = []
        for folder in self._members.folders(member):
            found += self._members.manifests(folder).read(project=project, notebook=notebook)[1]
        return found

    def manifest(self, snapshot_id: str) -> Manifest:
        """Give the manifest of this full id.

        Raises:
            NotFoundError: There is none that can be read.
            IntegrityError: Its names cannot be read.
        """
        for head in self.heads():
            if head.id == snapshot_id:
                return self.manifest_of(head)
        raise NotFoundError(f"there is no snapshot {snapshot_id}")

    def members(self) -> list[str]:
        """Names of all who have written here, sorted."""
        return sorted(self._members.name(folder) for folder in self._members.folders(None))

    # Reading

    def group(self, record_id: bytes, *, member: str | None = None) -> GroupRecord:
        """Give the record of a group, checked against its id.

        Args:
            record_id: From a manifest or another record.
            member: Whose packs to look into; ``None``: any copy will do, since the id says what it must be.

        Raises:
            IntegrityError: It is missing or damaged.
        """
        return decode_group(self._members.reader(member).record(record_id))

    def read(self, ref: Ref, *, member: str | None = None) -> bytes:
        """Give all bytes of a ref, each chunk checked against its id.

        Raises:
            IntegrityError: Something is missing or damaged.
        """
        return self._members.reader(member).read(ref)

    def part(self, record: PartRecord, *, member: str | None = None) -> StoredPart:
        """Give a reader of a part; that all its chunks are there is checked here, their bytes when read.

        Raises:
            IntegrityError: A chunk is missing.
        """
        return self._members.reader(member).part(record)

    def leaves(self, ref: Ref, *, member: str | None = None) -> list[tuple[bytes, int]]:
        """Give id and length of the chunks of a ref, which are the same wherever the bytes are.

        Raises:
            IntegrityError: A chunk is missing, or a list of them is damaged.
        """
        return self._members.reader(member).leaves(ref)

    @contextmanager
    def taking_in(self, coming: Coming) -> Iterator[None]:
        """Have reads inside the block wait for what is on its way here, instead of calling it missing."""
        self._members.coming = coming
        try:
            yield
        finally:
            self._members.coming = None

    def refresh(self) -> None:
        """Learn which packs others have added or deleted."""
        self._members.refresh()
        self._device = self._disk.device(self.path)

    def absorb(self, commit: Commit) -> None:
        """Learn of what a save in another process has added.

        A child that was forked for a save begins with what is known here: not knowing of the index that the
        child before it has written, it would write one with each save.
        """
        self.refresh()
        if commit.indexed:
            self._members.cover(member_folder(self.path, commit.manifest.member), commit.indexed)

    # Writing

    def writer(
        self,
        member: str,
        *,
        project: str = "",
        notebook: str = "",
        lineage: str = "",
        threads: int = 1,
    ) -> Writer:
        """Begin a save of *member*.

        Args:
            member: Whose folder is written.
            project: Of the coming snapshot; lets others see that it is under way.
            notebook: Likewise.
            lineage: Likewise.
            threads: That hash and compress; with more than one, another one writes.

        Raises:
            StoreError: The store cannot be written.
        """
        self._find_again()
        self._drop_left()
        folder = member_folder(self.path, member)
        lease = take_lease(
            self._disk,
            folder,
            purpose="write",
            clock=self._clock,
            project=project,
            notebook=notebook,
            lineage=lineage,
        )
        try:
            catalog = self._members.refreshed(folder)
        except KeepstateError:
            self._drop(folder, lease)
            raise
        return Writer(
            disk=self._disk,
            clock=self._clock,
            member=member,
            lease=lease,
            catalog=catalog,
            on_packs=self._members.learn,
            drop=partial(self._drop, folder),
            floor_bytes=self._floor_bytes,
            threads=threads,
        )

    def _find_again(self) -> None:
        """Make sure that the store is still the one that was opened; begin anew in a folder that was emptied.

        What is written beside no marker could never be opened again. Where a drive is no longer mounted
        nothing is begun: this machine's own disk would be filled instead, and the drive could not be mounted
        over it.
        """
        with translating(self.path):
            try:
                marker = read_marker(self.path, self._disk)
            except FormatError as error:
                raise StoreError(str(error)) from error  # it was opened once: this is another one
            if marker is None:
                if self._disk.device(self.path) != self._device:
                    raise StoreError(
                        f"the drive that held the store at {self.place} is no longer mounted there: mount it "
                        "again, or choose another store"
                    )
                marker = make_store(self.path, self._disk)
        if marker.store != self.store_id:
            self.store_id = marker.store
            self._members.forget()

    def _drop(self, folder: MemberFolder, lease: Lease) -> None:
        """Take a lease back, now or, if the store fails, before the next save or prune.

        While this process lives its lease counts, and prune would wait for it.
        """
        try:
            is_gone = drop_lease(self._disk, folder, lease)
        except OSError:
            is_gone = False
        if not is_gone:
            self._left.append((folder, lease))

    def _drop_left(self) -> None:
        """Take back the leases that could not be dropped when the store failed."""
        left, self._left = self._left, []
        for number, (folder, lease) in enumerate(left):
            try:
                drop_lease(self._disk, folder, lease)
            except OSError:
                self._left += left[number:]  # the coming save or prune will tell why
                return

    def saving(self, *, project: str, member: str, notebook: str) -> list[Lease]:
        """Saves of this notebook that are under way, also of a kernel that is dead by now."""
        return [
            held.lease
            for held in self.leases(member)
            if held.is_alive
            and held.lease is not None
            and held.lease.purpose == "write"
            and (held.lease.project, held.lease.notebook) == (project, notebook)
        ]

    def leases(self, member: str) -> list[Held]:
        """Everyone who writes to or prunes the folder of *member*."""
        folder = member_folder(self.path, member)
        with translating(folder.leases):
            return leases(self._disk, folder, clock=self._clock, limit_seconds=LIMIT_SECONDS)

    # From one repository to another

    def replicate_to(
        self,
        target: Repository,
        manifests: Sequence[Head],
        *,
        stop: Flag,
        on_progress: Callable[[int, int], None],
        on_plan: Callable[[Mapping[bytes, int]], None] = lambda _: None,
    ) -> Copied:
        """Copy snapshots, with all that they need and *target* lacks.

        Args:
            target: Where they shall be.
            manifests: Of one member, oldest first, at least one.
            stop: Once it is set, no further pack is begun.
            on_progress: Called with the bytes that are behind and that there are, from several threads, once
                a pack is in its place.
            on_plan: Called with id and plain length of each chunk that will be copied, in the order in which
                restoring asks for them, before the first is.

        Raises:
            ConflictError: Somebody pruned one of the two meanwhile; try again.
            StoreError: One of the two failed; what was kept is untouched at both.
        """
        member = manifests[-1].member
        target._find_again()
        target._drop_left()
        source = self._members.refreshed(member_folder(self.path, member))
        folder = member_folder(target.path, member)
        replication = Replication(
            source,
            target._members.known(folder),
            needs=self._needs.setdefault(source.folder.root.name, Needs()),
            clock=self._clock,
            stop=stop,
            on_plan=on_plan,
            on_progress=on_progress,
            drop=partial(target._drop, folder),
            floor_bytes=target._floor_bytes,
        )
        try:
            return replication.run(manifests)
        finally:
            target._members.learn(replication.target)

    def missing_bytes(self, manifests: Sequence[Head], *, at: Repository | None) -> int:
        """Estimate what :meth:`replicate_to` would write, by what is known of *at* without asking it.

        Args:
            manifests: Of one member, at least one.
            at: Where they shall be; ``None``: nothing is known to be there.
        """
        source = self._members.refreshed(member_folder(self.path, manifests[-1].member))
        needs = self._needs.setdefault(source.folder.root.name, Needs())
        wanted = {own for each in needs.of(manifests, [source]).values() for own in each.chunks}
        if at is not None:
            known = at._members.known(member_folder(at.path, manifests[-1].member))
            wanted = {own for own in wanted if not known.has(own)}
        return sum(job.nbytes for job in plan_jobs(source, wanted))

    def holds_whole(self, manifest: Head, *, beside: Repository) -> bool:
        """Say whether all that a snapshot needs is here, by the packs that are listed.

        Args:
            manifest: Of a snapshot.
            beside: A repository where its records can be read in few requests.
        """
        catalog = self._members.catalog(member_folder(self.path, manifest.member))
        other = beside._members.catalog(member_folder(beside.path, manifest.member))
        needs = self._needs.setdefault(catalog.folder.root.name, Needs())
        needed = needs.of([manifest], [other, catalog])[manifest.id]
        return not needed.damage and all(map(catalog.has, needed.chunks))

    def usable_packs(self, member: str, *, known: Collection[str], look: bool) -> frozenset[str]:
        """Give the ids of the packs that are there and not about to go.

        Args:
            member: Whose.
            known: Packs that were there before. Where listings are late, one that none shows is asked for by
                its name.
            look: Whether to look now, or to say what was found by the last look.
        """
        folder = member_folder(self.path, member)
        catalog = self._members.refreshed(folder) if look else self._members.catalog(folder)
        there = catalog.packs.keys() - catalog.condemned
        if self._disk.lists_late:
            unseen = set(known) - there - catalog.condemned
            there |= {own for own in unseen if self._disk.exists(folder.pack(own))}
        return frozenset(there)

    def may_hold_more(self, member: str) -> bool:
        """Say whether there are packs that could not be read at the last look."""
        return bool(self._members.known(member_folder(self.path, member)).unreadable)

    # Upkeep

    def verify(
        self,
        *,
        deep: bool,
        member: str | None = None,
        project: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        """Prove that what was kept is still there.

        Args:
            deep: Read and hash every byte, instead of the structure alone.
            member: Whose folder; ``None``: all.
            project: Whose snapshots; ``None``: all. Packs are shared by the projects of a member.
            on_progress: Called with the bytes of packs that are behind and that there are.
        """
        began = self._clock.monotonic()
        report = VerifyReport(deep=deep)
        for folder in self._members.folders(member):
            sound, damaged = ManifestFolder(self._disk, folder).read(project=project)
            catalog = self._members.fresh_catalog(folder)
            verify_member(
                report,
                catalog=catalog,
                manifests=sound,
                damaged=damaged,
                on_progress=on_progress,
                on_damage=self._members.mark,
            )
            there = {each.id for each in ManifestFolder(self._disk, folder).read(project=project)[0]}
            for own in {each.id for each in sound} - there:
                report.affected.pop(own, None)  # prune has deleted it meanwhile
        report.seconds = self._clock.monotonic() - began
        return report

    def prune(
        self,
        *,
        keep_last: int | None = None,
        retention: Retention | None = None,
        member: str | None = None,
        project: str | None = None,
        notebook: str | None = None,
        keep: Collection[str] = (),
        drop: Collection[str] = (),
        running: Collection[str] = (),
        budget_bytes: int | None = None,
        grace_seconds: float = 0.0,
        drop_damaged: bool = False,
        dry_run: bool = False,
    ) -> PruneReport:
        """Delete superseded snapshots, and the packs that nothing needs any more.

        Args:
            keep_last: How many of the newest snapshots stay in every notebook, 1 or more, instead of
                *retention*.
            retention: Which snapshots stay; ``None``: the usual rules. The newest of each level, the last of
                every session, those with a note and those that a kept one carries names from stay as well.
            member: Whose folder; ``None``: all.
            project: Whose snapshots may go; ``None``: those of all projects.
            notebook: Likewise. Results of functions of these projects may go in any case.
            keep: Ids of snapshots that stay in any case.
            drop: Ids of snapshots that go, although the rules or a note would keep them; not the newest of a
                level, nor one that a kept one carries names from.
            running: Lineages of sessions that go on: their last snapshots stay, also with a budget.
            budget_bytes: For packs and manifests of each member, 1 or more. While there are more, the oldest
                go, but for those with a note, those in *keep*, and those that no *drop* takes.
            grace_seconds: How long a condemned pack stays at least; on storage that shows files late, longer
                than a save and any delay take.
            drop_damaged: Delete manifests that are damaged; otherwise one of them stops the prune, because
                what it needs is not known.
            dry_run: Say what would be done, and change nothing.

        Raises:
            InvalidInputError: A number is out of its range, or both *keep_last* and *retention* are given.
            IntegrityError: A manifest is damaged, and *drop_damaged* is not set.
            FormatError: A newer version has written here.
            ConflictError: Another prune is running.
            StoreError: The store failed; what is left is whole.
        """
        wishes = Wishes(
            retention=chosen(keep_last, retention),
            scope=Scope(project, notebook),
            keep=frozenset(keep),
            drop=frozenset(drop),
            running=frozenset(running),
            budget_bytes=budget_bytes,
        )
        report = PruneReport()
        if not dry_run and self._is_there():
            self._drop_left()
        for folder in self._members.folders(member):
            if not self._disk.is_directory(folder.root):
                continue  # nobody of this name has written here, and prune makes no folders
            pruner = Pruner(
                disk=self._disk,
                clock=self._clock,
                folder=folder,
                catalog=self._members.known(folder),
                wishes=wishes,
                floor_bytes=self._floor_bytes,
                grace_seconds=grace_seconds,
                drop_damaged=drop_damaged,
                drop=partial(self._drop, folder),
                report=report,
            )
            with translating(folder.root):
                pruner.rehearse() if dry_run else pruner.run()
        unknown = wishes.drop - report.kept.keys() - set(report.removed)
        report.remarks += [f"there is no snapshot {own_id} here that could go" for own_id in sorted(unknown)]
        self.refresh()
        return report

    def room(self, member: str) -> Room | None:
        """Say how much the disk has free for a save of *member*; ``None`` where it cannot be told."""
        folder = member_folder(self.path, member).root
        there = folder if self._disk.is_directory(folder) else self.path
        return room_of(self._disk, there, floor_bytes=self._floor_bytes)

    def held_bytes(self, member: str) -> int:
        """Add up the packs of *member* as they were looked at last, and the manifests that are there."""
        folder = member_folder(self.path, member)
        packs = sum(info.nbytes for info in self._members.catalog(folder).packs.values())
        with translating(folder.manifests):
            return packs + manifests_bytes(self._disk, folder)

    def usage(self, *, member: str | None = None) -> list[Usage]:
        """Who owns how many bytes, by member and project."""
        found = []
        for folder in self._members.folders(member):
            manifests = self._members.manifests(folder).read()[0]
            name, catalog = self._members.name(folder), self._members.fresh_catalog(folder)
            with translating(folder.root):
                found.append(usage_of_member(self._disk, name, catalog, manifests))
        return found
