"""The work of the transfer: copy what counts from here to the far side, and know what is there.

Runs in the process of the transfer. What it knows of the far side is read from the far side, never remembered
from a process before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import ConflictError, Repository
from keepstate._transfer.choosing import wanted
from keepstate._transfer.far import open_far
from keepstate._transfer.mirror import Mirror, whose
from keepstate._transfer.report import Pending, Progress, Round
from keepstate.errors import IntegrityError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from keepstate._base.clock import Clock, Flag
    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability
    from keepstate._repository.replication import Copied
    from keepstate._transfer.far import Far
    from keepstate.backends import Address, Credentials

ATTEMPTS = 3
"""Of one round, where a prune of somebody else's came between."""
LATE_GRACE_SECONDS = 7200.0
"""Where listings are late a condemned pack stays for at least so long: longer than any lease of a writer."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a session wants of the far side."""

    notebooks: list[tuple[str, str, str]] = []
    """Project, member and notebook of those whose manifests are mirrored, also if nothing of them is here."""
    keep_last: int | None = None
    budget_bytes: int | None = None


class Replicator:
    """The :class:`~keepstate._transfer.work.Work` of one repository.

    Args:
        near: The repository of this machine.
        far: The far side.
        mirror: Where to note what is there.
        settings: What the session wants.
        clock: The time.
    """

    def __init__(
        self,
        near: Repository,
        far: Far,
        *,
        mirror: Mirror,
        settings: Settings,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._near = near
        self._far = far
        self._mirror = mirror
        self._settings = settings
        self._clock = clock
        self._there: Repository | None = None
        self._seen: dict[str, Head] = {}
        self._whole: dict[str, Durability] | None = None
        """What is known to be whole there; ``None`` before that was looked at."""
        self._packs: dict[str, frozenset[str]] = {}
        """Member → packs that were there when :attr:`_whole` was found out."""
        self._broken: set[str] = set()
        """Snapshots that were not whole then."""

    @property
    def _far_repository(self) -> Repository:
        if self._there is None:
            self._there = self._far.repository(create=True)
        return self._there

    def pending(self) -> Pending:
        """Say what the far side lacks and should have, as the repository here is now."""
        wanted = self._wanted()
        return Pending(
            ids=tuple(manifest.id for manifest in wanted),
            nbytes=sum(self._near.missing_bytes(group, at=self._there) for group in _by_member(wanted)),
        )

    def _wanted(self) -> list[Head]:
        near = self._near.heads()
        last: dict[str, int] = {}
        there = self._seen.keys() - self._broken  # what is not whole there may be mended from here
        for own in there:
            manifest = self._seen[own]
            last[manifest.lineage] = max(manifest.sequence, last.get(manifest.lineage, 0))
        return wanted(near, last, there)

    def run(self, *, urgent: bool, stop: Flag, on_progress: Callable[[Progress], None]) -> Round:
        """Copy everything that should be there."""
        del urgent  # all of it is wanted in any case
        began, before = self._clock.monotonic(), self._far.backend.requests
        repository = self._far_repository
        self._look(repository)
        copied: list[Copied] = []
        # Twice if it shows only afterwards that something is not whole there any more.
        for _ in range(2):
            groups = _by_member(self._wanted())
            for group in groups:
                copied.append(self._copy(repository, group, stop, on_progress))
                if stop.is_set():
                    break
            else:
                self._look(repository)
                self._prove(repository, just_seen={group[0].member for group in groups})
                if self._wanted():
                    continue
            break
        if lost := [why for each in copied for why in each.lost.values()]:
            raise IntegrityError("; ".join(lost))
        if unread := [why for each in copied for why in each.unread.values()]:
            raise UnavailableError("; ".join(unread))
        return Round(
            ids=tuple(own for each in copied for own in each.ids),
            sent_bytes=sum(each.nbytes for each in copied),
            requests=self._far.backend.requests - before,
            seconds=self._clock.monotonic() - began,
        )

    def _copy(
        self,
        repository: Repository,
        manifests: Sequence[Head],
        stop: Flag,
        on_progress: Callable[[Progress], None],
    ) -> Copied:
        before = self._far.backend.requests

        def progress(done: int, total: int) -> None:
            on_progress(Progress(done, total, self._far.backend.requests - before))

        for attempt in range(ATTEMPTS):
            try:
                return self._near.replicate_to(repository, manifests, stop=stop, on_progress=progress)
            except ConflictError:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _look(self, repository: Repository) -> None:
        """Learn which snapshots are there, of everyone who writes from here."""
        seen: dict[str, Head] = {}
        with self._far.strictly():
            for member in self._members():
                for manifest in repository.heads(member=member):
                    seen[manifest.id] = manifest
        self._seen = seen
        notebooks = {whose(manifest) for manifest in self._near.heads()}
        for notebook in {*notebooks, *self._settings.notebooks}:
            self._mirror.write(notebook, [each for each in seen.values() if whose(each) == notebook])

    def _members(self) -> set[str]:
        return {*self._near.members(), *(member for _, member, _ in self._settings.notebooks)}

    def _prove(self, repository: Repository, *, just_seen: Collection[str] = ()) -> None:
        """Say of what is there how sure that is; one that is here too is gone through chunk by chunk.

        All of them are, here or not, once a pack has gone that was there before.

        Args:
            repository: At the far side.
            just_seen: Members whose packs were listed for the last copy, and are known better than a listing
                that comes late would tell.
        """
        here = {manifest.id for manifest in self._near.heads()}
        there: dict[str, frozenset[str]] = {}
        whole: dict[str, Durability] = {}
        for own, manifest in self._seen.items():
            member = manifest.member
            known = self._packs.get(member, frozenset())
            if member not in there:
                there[member] = repository.usable_packs(member, known=known, look=member not in just_seen)
            is_new = (own not in (self._whole or {}) and own in here) or own in self._broken
            if not is_new and known <= there[member]:
                whole[own] = self._far.level
            elif repository.holds_whole(manifest, beside=self._near):
                whole[own] = self._far.level
                self._broken.discard(own)
            elif not repository.may_hold_more(member):
                self._broken.add(own)
        self._broken &= self._seen.keys()
        self._whole, self._packs = whole, there

    def levels(self) -> Mapping[str, Durability] | None:
        """Say which snapshots are at the far side, and how sure that is; asks nobody."""
        return self._whole

    def upkeep(self) -> None:
        """Remove at the far side what retention no longer keeps of the notebooks of this session."""
        repository = self._far_repository
        late = self._far.backend.properties.listing_delay_seconds
        for project, member, notebook in self._settings.notebooks:
            try:
                repository.prune(
                    member=member,
                    project=project,
                    notebook=notebook,
                    keep_last=self._settings.keep_last,
                    budget_bytes=self._settings.budget_bytes,
                    running={manifest.lineage for manifest in self._near.heads(member=member)},
                    grace_seconds=LATE_GRACE_SECONDS + late if late else 0.0,
                )
            except ConflictError:
                continue  # somebody else is at it
            except IntegrityError:
                if not late:
                    raise
                continue  # a pack that was put just now may not be listed yet
        self._look(repository)
        self._prove(repository)


def _by_member(manifests: Iterable[Head]) -> list[list[Head]]:
    groups: dict[str, list[Head]] = {}
    for manifest in manifests:
        groups.setdefault(manifest.member, []).append(manifest)
    return list(groups.values())


def make_work(
    *, near: Path, address: Address, credentials: Credentials, settings: Mapping[str, object], stop: Flag
) -> Replicator:
    """Make the work for the repository at *near*; see ``launch.WORK``.

    Raises:
        StoreError: The repository here cannot be read.
        CredentialsError: The far side wants some that are not there.
    """
    return Replicator(
        Repository.open(near, create=False),
        open_far(address, credentials, stop=stop),
        mirror=Mirror.of(near),
        settings=msgspec.convert(dict(settings), Settings),
    )
