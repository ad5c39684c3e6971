"""Which snapshot to restore unasked, which one a person means, and what to say about the choice.

All lists of manifests here are of one notebook and newest first, as the repository gives them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keepstate._model.snapshot import Snapshot
from keepstate.errors import AmbiguousError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate._model.manifest import Head

CELL = "cell"
"""As ``at=``: the newest state that was taken between cells."""


def best_of(newest: Sequence[Head]) -> Head | None:
    """Choose what to restore unasked: the newest that is not of the ``operation`` level, if there is one."""
    return next((m for m in newest if m.consistency != "operation"), newest[0] if newest else None)


def remarks_on(chosen: Head, newest: Sequence[Head]) -> list[str]:
    """Say what a user should know about the choice of *chosen* among *newest*."""
    remarks = []
    if chosen.consistency == "operation":
        remarks.append(
            "This state was taken in the middle of library code: objects may be half updated. "
            "There is no better one."
        )
    elif newest[0].consistency == "operation":
        remarks.append(
            f"A newer snapshot {newest[0].id[:10]} was taken in the middle of library code, where "
            f"objects may be half updated; "
            f"keepstate.restore(at={newest[0].id[:10]!r}) brings it back all the same."
        )
    # What this lineage and those before it did not know of was written beside them.
    beside = {
        m.lineage
        for m in newest
        if m.lineage != chosen.lineage and m.sequence > chosen.parents.get(m.lineage, 0)
    }
    if beside := beside - _ancestors(chosen, newest):
        other = next(m for m in newest if m.lineage in beside)
        remarks.append(
            f"Another session of this notebook wrote at the same time; its newest is {other.id[:10]} "
            f"of {datetime.fromisoformat(other.created_at):%Y-%m-%d %H:%M:%S} UTC."
        )
    return remarks


def _ancestors(chosen: Head, manifests: Sequence[Head]) -> set[str]:
    """Lineages of which an ancestor of *chosen* knew the last snapshot."""
    last: dict[str, int] = {}
    parents: dict[str, dict[str, int]] = {}
    for manifest in manifests:
        last[manifest.lineage] = max(manifest.sequence, last.get(manifest.lineage, 0))
        parents[manifest.lineage] = manifest.parents
    found: set[str] = set()
    waiting = [chosen.lineage]
    while waiting:
        for name, sequence in parents.get(waiting.pop(), {}).items():
            if name in last and name not in found and sequence >= last[name]:
                found.add(name)
                waiting.append(name)
    return found


def find(newest: Sequence[Head], at: object) -> Head:
    """Find the snapshot that *at* means among those of one notebook.

    Args:
        newest: Newest first.
        at: ``None`` (the one that would be restored unasked), a Snapshot, an id or a unique beginning of
            one, an aware datetime (the newest taken until then), or ``"cell"``.

    Raises:
        NotFoundError: No snapshot fits.
        AmbiguousError: More than one id begins like that.
        InvalidInputError: *at* is none of these.
    """
    if not newest:
        raise NotFoundError("there is no snapshot of this notebook yet; keepstate.snapshot() takes one")
    if at is None:
        return best_of(newest) or newest[0]
    if isinstance(at, Snapshot):
        return _only([m for m in newest if m.id == at.id], at.id)
    if isinstance(at, datetime):
        return _until(newest, at)
    if at == CELL:
        return _only([m for m in newest if m.consistency == "cell"][:1], "cell")
    if isinstance(at, str) and at:
        return _only([m for m in newest if m.id.startswith(at.lower())], at)
    raise InvalidInputError(f"at={at!r}: give a Snapshot, its id, an aware datetime, or 'cell'")


def _until(newest: Sequence[Head], at: datetime) -> Head:
    if at.tzinfo is None:
        raise InvalidInputError(
            f"at={at!r} has no time zone: use e.g. datetime.now(timezone.utc) or .astimezone()"
        )
    fitting = [m for m in newest if datetime.fromisoformat(m.created_at) <= at]
    return _only(
        sorted(fitting, key=lambda m: datetime.fromisoformat(m.created_at), reverse=True)[:1], f"until {at}"
    )


def _only(found: Sequence[Head], wanted: str) -> Head:
    if not found:
        raise NotFoundError(f"no snapshot {wanted!r}: keepstate.snapshots() lists those that are there")
    if len(found) > 1:
        ids = ", ".join(m.id[:12] for m in found[:5])
        raise AmbiguousError(f"{len(found)} snapshots begin with {wanted!r} ({ids}, …): give more of the id")
    return found[0]
