"""Which snapshots go to the far side: those that count, and not each that was taken.

A session saves every few seconds, and what a newer snapshot has superseded needs to travel nowhere. Knows
manifests, decides, and moves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from keepstate._repository.apart import carried_from
from keepstate._repository.history import newest_first

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from keepstate._model.manifest import Head


def wanted(near: Iterable[Head], far: Mapping[str, int], there: Collection[str]) -> list[Head]:
    """Choose what shall be sent, oldest first.

    Of each lineage: the newest, the newest of each consistency, those with a note, and those that one of
    these carries names from. What the far side has a newer one of is left: it had its turn, or was pruned.

    Args:
        near: All snapshots here of one member.
        far: Lineage → its last sequence at the far side.
        there: Ids of all snapshots at the far side.
    """
    lineages: dict[str, list[Head]] = defaultdict(list)
    by_id: dict[str, Head] = {}
    for manifest in near:
        by_id[manifest.id] = manifest
        if manifest.sequence > far.get(manifest.lineage, 0) and manifest.id not in there:
            lineages[manifest.lineage].append(manifest)
    chosen: dict[str, Head] = {}
    for manifests in lineages.values():
        manifests.sort(key=lambda each: each.sequence, reverse=True)
        levels: set[str] = set()
        for manifest in manifests:
            if manifest.consistency not in levels or manifest.note:
                chosen[manifest.id] = manifest
            levels.add(manifest.consistency)
    for manifest in list(chosen.values()):
        for source in carried_from(manifest):
            if source in by_id and source not in there:
                chosen.setdefault(source, by_id[source])
    return newest_first(chosen.values())[::-1]
