"""What a prune has done, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepstate._repository.superseded import Verdict


@dataclass(slots=True)
class PruneReport:
    """What was deleted, what stays, and what has to wait."""

    removed: list[str] = field(default_factory=list)
    """Ids of the snapshots that are gone."""
    kept: dict[str, str] = field(default_factory=dict)
    """Id of each snapshot that was asked about and stays → all its reasons, with semicolons between."""
    deleted_packs: int = 0
    repacked_packs: int = 0
    waiting_packs: int = 0
    """Condemned, and to be deleted by a later prune."""
    waiting_for: list[str] = field(default_factory=list)
    """Why they wait, in sentences."""
    freed_bytes: int = 0
    """Bytes of deleted packs less those that were written anew."""
    short_bytes: int = 0
    """How much more than the budget stays; 0 if it is met, or there is none."""
    damage: list[str] = field(default_factory=list)
    """What could not be followed in kept snapshots; run verify."""
    remarks: list[str] = field(default_factory=list)
    """What else there is to say, in sentences."""

    def add(self, verdict: Verdict) -> None:
        """Say what was decided about the snapshots of one member."""
        self.kept.update((own_id, "; ".join(why)) for own_id, why in verdict.kept.items())
        self.removed += [manifest.id for manifest in verdict.gone]
        self.remarks += verdict.remarks
        self.short_bytes += verdict.short_bytes
