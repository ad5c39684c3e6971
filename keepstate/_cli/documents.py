"""A snapshot as JSON: the fields of ``Snapshot`` under their names, and whose it is."""

from __future__ import annotations

import dataclasses
from datetime import UTC
from typing import TYPE_CHECKING

from keepstate._snapshot import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability
    from keepstate._repository import DamagedManifest


def snapshot_document(manifest: Head, durability: Durability = "local") -> dict[str, object]:
    """Give what ``log`` and ``show`` say of every snapshot."""
    snapshot = snapshot_of(manifest, durability=durability)
    return {
        "id": snapshot.id,
        "project": manifest.project,
        "member": manifest.member,
        "notebook": manifest.notebook,
        # Not asdict(), which copies each of very many names of very many snapshots.
        **{field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)},
        "where": None if snapshot.where is None else dataclasses.asdict(snapshot.where),
        **({} if manifest.result is None else {"function": manifest.result.function}),
        "created_at": instant(snapshot.created_at),
        "names": list(snapshot.names),
    }


def instant(at: datetime) -> str:
    """Write a time as ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat()


def damage_remarks(damaged: Iterable[DamagedManifest]) -> tuple[str, ...]:
    """Say which snapshots cannot be listed, and why."""
    return tuple(f"not listed: {each.path}: {each.why}" for each in damaged)
