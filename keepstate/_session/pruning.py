"""Deletes superseded snapshots of this notebook between saves, when it is time for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._model.manifest import RESULTS
from keepstate._repository import ConflictError
from keepstate._session import space
from keepstate.errors import KeepstateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.snapshot import Reason
    from keepstate._repository import Repository
    from keepstate._session.identity import Identity
    from keepstate._session.options import Options


@dataclass(slots=True)
class Pruning:
    """What one session knows of its prunes; only ever used by the thread that finishes saves."""

    repository: Repository
    identity: Identity
    options: Options
    lineage: str
    clock: Clock
    trouble: str | None = None
    """What stands in the way, in a sentence; as true after a save as before it."""
    _last: float | None = None

    def after_save(self, reason: Reason) -> None:
        """Prune if it is time; never when an end is near. If it fails, what was kept is kept still."""
        if reason not in space.URGENT and self._is_time():
            self.now()

    def make_room(self) -> None:
        """Prune because the store is full: the older half of the results of functions goes as well.

        They can be computed again, and the state of the notebook cannot. A save that still finds no room has
        half of the rest go.
        """
        try:
            own = self.identity
            heads = self.repository.heads(project=own.project, member=own.member, notebook=RESULTS)
        except KeepstateError:
            heads = []  # the prune will say why
        results = [each.id for each in heads if each.result is not None and not each.result.cleared]
        self.now(drop=results[len(results) // 2 :])

    def now(self, *, drop: Sequence[str] = ()) -> None:
        """Prune whatever the time, and let these go in any case."""
        own, options = self.identity, self.options
        self._last = self.clock.monotonic()
        try:
            report = self.repository.prune(
                keep_last=options.keep_last,
                member=own.member,
                project=own.project,
                notebook=own.notebook,
                budget_bytes=options.budget_bytes,
                running=[self.lineage],
                drop=drop,
            )
        except ConflictError:
            return  # somebody else is at it
        except KeepstateError as error:
            self.trouble = str(error)
            return
        self.trouble = "; ".join(report.remarks) if report.short_bytes else None

    def _is_time(self) -> bool:
        if self.options.keep_last is not None:
            return True  # the user wants so many, at any time
        now, own, budget = self.clock.monotonic(), self.identity.member, self.options.budget_bytes
        if self._last is None:
            self._last = now - space.PRUNE_SECONDS + space.FIRST_PRUNE_SECONDS
        try:
            room = self.repository.room(own)
            used = None if budget is None else self.repository.held_bytes(own)
        except KeepstateError as error:
            self.trouble = str(error)
            return False
        reason = space.when_to_prune(
            now=now,
            last_prune=self._last,
            used_bytes=used,
            budget_bytes=budget,
            free_bytes=None if room is None else room.free_bytes,
            floor_bytes=None if room is None else room.floor_bytes,
        )
        return reason is not None
