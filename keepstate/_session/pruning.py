"""Deletes superseded snapshots of this notebook between saves, when it is time for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._repository import ConflictError
from keepstate._session import space
from keepstate.errors import KeepstateError

if TYPE_CHECKING:
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

    def now(self) -> None:
        """Prune, as when the store is full."""
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
