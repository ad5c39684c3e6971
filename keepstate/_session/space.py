"""When a session prunes: seldom, unless bytes run short.

Decides from numbers alone, and says why. Knows nothing of stores and disks.
"""

from __future__ import annotations

from keepstate._base.table import duration, size

PRUNE_SECONDS = 3600.0
"""An hour is what the rules tell apart at the finest, so more often deletes little."""
FIRST_PRUNE_SECONDS = 300.0
"""From the first save to the first prune: it keeps out of the way of a start, and comes in short sessions."""
LEAST_SECONDS = 300.0
"""However short the bytes: a prune reads all manifests, and what cannot go now can hardly go in a minute."""
NEAR_FLOOR = 2
"""Floors that must be free; with less, the next large save might be refused."""

URGENT = frozenset({"exit", "signal", "lifetime", "memory"})
"""Reasons of saves that nothing may follow at leisure: the end is near, or memory is short."""


def when_to_prune(
    *,
    now: float,
    last_prune: float | None,
    used_bytes: int | None,
    budget_bytes: int | None,
    free_bytes: int | None,
    floor_bytes: int | None,
) -> str | None:
    """Say why it is time to prune, or ``None`` if it is not.

    Args:
        now: Seconds of a monotonic clock.
        last_prune: When the last one began by that clock; ``None``: there was none.
        used_bytes: What this member takes at the store; ``None``: not known.
        budget_bytes: What it may take; ``None``: there is no budget.
        free_bytes: What the disk has free; ``None``: it does not say.
        floor_bytes: What of it saves leave free; ``None``: likewise.
    """
    passed = None if last_prune is None else now - last_prune
    if passed is not None and passed < LEAST_SECONDS:
        return None
    if used_bytes is not None and budget_bytes is not None and used_bytes > budget_bytes:
        return f"{size(used_bytes)} are used of a budget of {size(budget_bytes)}"
    if free_bytes is not None and floor_bytes is not None and free_bytes < NEAR_FLOOR * floor_bytes:
        return f"the disk has {size(free_bytes)} free, and {size(floor_bytes)} of it must stay free"
    if passed is None:
        return "nothing was pruned yet"
    return f"the last prune was {duration(passed)} ago" if passed >= PRUNE_SECONDS else None
