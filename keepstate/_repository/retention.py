"""Which snapshots stay, each with its reason.

Knows manifests only. Some stay whatever is asked for: the last of every session, the newest that was not
taken in the middle of an operation, and those that a kept snapshot carries names from.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from keepstate._repository.history import newest_first

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from keepstate._model.manifest import Manifest


def kept_with_reason(
    manifests: Iterable[Manifest], *, keep_last: int, also: Collection[str] = ()
) -> Mapping[str, str]:
    """Decide for all snapshots of one member.

    Args:
        manifests: Every manifest of the member.
        keep_last: How many of the newest stay in every notebook, 1 or more.
        also: Ids that stay in any case.

    Returns:
        Id → why it stays. Those that are not in it may go.
    """
    manifests = list(manifests)
    by_notebook: dict[tuple[str, str, str], list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        by_notebook[manifest.project, manifest.member, manifest.notebook].append(manifest)
    kept: dict[str, str] = {}
    for own in by_notebook.values():
        _keep_of_notebook(kept, newest_first(own), keep_last)
    for manifest in manifests:
        if manifest.id in also:
            kept.setdefault(manifest.id, "asked for")
    _keep_carried(kept, {manifest.id: manifest for manifest in manifests})
    return kept


def _keep_of_notebook(kept: dict[str, str], newest: list[Manifest], keep_last: int) -> None:
    for manifest in newest[:keep_last]:
        kept.setdefault(manifest.id, f"one of the newest {keep_last}")
    for manifest in newest:
        if manifest.consistency != "operation":
            kept.setdefault(manifest.id, "the newest that is consistent")
            break
    sessions = set()
    for manifest in newest:
        if manifest.lineage not in sessions:
            sessions.add(manifest.lineage)
            kept.setdefault(manifest.id, "the last of its session")


def _keep_carried(kept: dict[str, str], by_id: Mapping[str, Manifest]) -> None:
    waiting = list(kept)
    while waiting:
        manifest = by_id.get(waiting.pop())
        if manifest is None:
            continue
        for name, entry in manifest.names.items():
            if entry.kept_in in by_id and entry.kept_in not in kept:
                kept[entry.kept_in] = f"snapshot {manifest.id[:10]} carries {name!r} from it"
                waiting.append(entry.kept_in)
