"""Which snapshots go beyond the rules so that a member's bytes fit a budget: the oldest first, and results of
functions, which can be computed again, before the state of any notebook.

Decides, and changes nothing. What must stay is told by the caller.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._repository.apart import carried_from
from keepstate._repository.footprint import Footprint
from keepstate._repository.garbage import MOSTLY_DEAD, THRIFTY
from keepstate._repository.history import newest_first

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Fit:
    """How a budget can be met, or how nearly."""

    gone: frozenset[str]
    """Ids of the snapshots that go for it."""
    nbytes: int
    """What the others take."""
    mostly_dead: float
    """Packs with less than this share of needed bytes must be written anew for that."""


def fit_into(
    budget_bytes: int, manifests: Iterable[Head], *, catalog: Catalog, must_stay: Collection[str]
) -> Fit:
    """Take the oldest away until the rest fits, or nothing is left that may go; results before anything else.

    One from which another carries names goes after that one. That packs are written anew comes before that
    snapshots go.

    Args:
        budget_bytes: For packs and manifests together.
        manifests: What the rules keep, of all notebooks of the member.
        catalog: All packs of the member.
        must_stay: Ids of those that do not go for a budget.
    """
    newest = newest_first(manifests)
    footprint = Footprint(catalog, newest)
    if footprint.nbytes() <= budget_bytes:
        return Fit(frozenset(), footprint.nbytes(), MOSTLY_DEAD)
    carriers = Counter(source for each in newest for source in _sources(each))
    left = [each for each in reversed(newest) if each.id not in must_stay]
    left.sort(key=lambda each: not each.is_result)
    gone = set()
    while footprint.nbytes(mostly_dead=THRIFTY) > budget_bytes:
        oldest = next((each for each in left if not carriers[each.id]), None)
        if oldest is None:
            break
        left.remove(oldest)
        footprint.take_away(oldest)
        carriers.subtract(_sources(oldest))
        gone.add(oldest.id)
    loose, tight = footprint.nbytes(), footprint.nbytes(mostly_dead=THRIFTY)
    mostly_dead = MOSTLY_DEAD if loose <= budget_bytes else THRIFTY
    return Fit(frozenset(gone), min(loose, tight) if mostly_dead == THRIFTY else loose, mostly_dead)


def _sources(manifest: Head) -> set[str]:
    return set(carried_from(manifest))
