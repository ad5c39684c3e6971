"""What ``status()`` adds up: how far the newest state has come, and what the far store holds beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._repository import newest_first
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability, Snapshot
    from keepstate._session.far_side import FarSide
    from keepstate._session.kept import Kept
    from keepstate._transfer import Report


def last_sequences(manifests: list[Head]) -> dict[str, int]:
    """Give the last sequence of each lineage."""
    last: dict[str, int] = {}
    for manifest in manifests:
        last[manifest.lineage] = max(manifest.sequence, last.get(manifest.lineage, 0))
    return last


def newest_by_level(kept: Kept) -> dict[Durability, datetime]:
    """Say of when the newest snapshot of each level is."""
    try:
        snapshots = kept.snapshots()
    except StoreError:
        return {}
    found: dict[Durability, datetime] = {}
    for each in snapshots:
        found.setdefault(each.durability, each.created_at)
    return found


def written_beside(far: FarSide | None, known: Mapping[str, float]) -> list[str]:
    """Say what the far store holds that a session does not know of.

    Args:
        far: That store.
        known: Lineage → the last sequence that the session knows.
    """
    manifests = [] if far is None else far.manifests()
    beside = [each for each in manifests if each.sequence > known.get(each.lineage, 0)]
    if not beside:
        return []
    newest = newest_first(beside)[0]
    own = newest.id[:10]
    said = f"Another session of this notebook has written to the store: {own} of {newest.created_at[:19]}"
    return [f"{said} UTC; keepstate.restore(at={own!r}) brings it here."]


def pending_bytes(report: Report, last: Snapshot | None) -> int:
    """Add what was saved since the report was written, and what was handed on without any proof."""
    known = last is None or last.id in report.levels or last.id in report.pending_ids
    found = report.pending_bytes + (0 if known or last is None else last.written_bytes)
    return found + (report.sent_bytes if "queued" in report.levels.values() else 0)
