"""Which of two snapshots is newer: by lineage and sequence, by the clock only where these do not say.

A lineage is one session. It names the lineages that were there when it began and how far each had come;
everything in it is newer than those snapshots. Clocks of two machines may differ by hours, and one
machine's may jump.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING, Generic, TypeVar

from keepstate._model.manifest import Head

if TYPE_CHECKING:
    from collections.abc import Iterable


Kept = TypeVar("Kept", bound=Head)
"""A snapshot, with its names or without."""


def newest_first(manifests: Iterable[Kept]) -> list[Kept]:
    """Order *manifests* so that none comes after one that it follows.

    Among sessions that ran side by side the clock decides. Lineages that name each other in a circle, which
    no writer makes, are ordered by the clock as well.
    """
    sessions: dict[str, list[Kept]] = defaultdict(list)
    for manifest in manifests:
        sessions[manifest.lineage].append(manifest)
    for lineage, own in sessions.items():
        sessions[lineage] = sorted(own, key=lambda each: (each.sequence, each.created_at, each.id))
    return list(_Unwinding(dict(sessions)).run())


class _Unwinding(Generic[Kept]):
    """Tells the newest that is left, again and again.

    Args:
        left: Lineage → its snapshots, oldest first; emptied.
    """

    def __init__(self, left: dict[str, list[Kept]]) -> None:
        self._left = left
        self._parents = {lineage: _parents(lineage, own, left) for lineage, own in left.items()}
        # For each lineage, who follows it and from where on: the furthest first.
        self._followers: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for lineage, parents in self._parents.items():
            for parent, reached in parents.items():
                heapq.heappush(self._followers[parent], (-reached, lineage))
        self._ready: list[tuple[_Descending, _Descending, str]] = []
        self._blocked: set[str] = set()

    def run(self) -> Iterable[Kept]:
        for lineage in self._left:
            self._look(lineage)
        while self._ready or self._blocked:
            if self._ready:
                _, _, lineage = heapq.heappop(self._ready)
            else:  # a circle
                lineage = min(self._blocked, key=self._key)
                self._blocked.discard(lineage)
            yield self._left[lineage].pop()
            if self._left[lineage]:
                self._look(lineage)
                continue
            for parent in self._parents[lineage].keys() & self._blocked:
                self._look(parent)

    def _look(self, lineage: str) -> None:
        """Say whether the newest that is left of a lineage may be told, or follows later."""
        followers = self._followers[lineage]
        while followers and not self._left[followers[0][1]]:
            heapq.heappop(followers)
        if followers and -followers[0][0] >= self._left[lineage][-1].sequence:
            self._blocked.add(lineage)
        else:
            self._blocked.discard(lineage)
            heapq.heappush(self._ready, self._key(lineage))

    def _key(self, lineage: str) -> tuple[_Descending, _Descending, str]:
        newest = self._left[lineage][-1]
        return _Descending(newest.created_at), _Descending(newest.id), lineage


def _parents(lineage: str, own: Iterable[Head], there: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    before: dict[str, int] = {}
    for manifest in own:
        if manifest.parents == before:
            continue  # all snapshots of a session say the same
        before = manifest.parents
        for parent, reached in before.items():
            if parent != lineage and parent in there:
                found[parent] = max(reached, found.get(parent, 0))
    return found


class _Descending(str):
    """A string that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)
