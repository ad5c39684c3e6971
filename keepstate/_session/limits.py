"""When this machine will be taken: the host's numbers, and the user's where they know better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from keepstate._hosts import Idle, Lifetime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstate._hosts import Profile

LEAD_SECONDS = (1800.0, 900.0, 300.0, 60.0)
"""How long before a deadline all must be safe, again and again."""
LEAD_SHARES = (1 / 2, 1 / 4, 1 / 10, 1 / 20)
"""The same as parts of a limit, where that is less."""

GIVEN = {"certainty": "yours", "source": "given to start() or in a settings file"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a machine; ``None``: nothing of that kind is known."""

    idle: Idle | None = None
    lifetime: Lifetime | None = None


def settle_limits(profile: Profile, given: Mapping[str, float | None]) -> Limits:
    """Take the host's limits, and those in *given* (``idle_seconds``, ``lifetime_seconds``) instead of them."""
    idle, lifetime = profile.idle, profile.lifetime
    if "idle_seconds" in given:
        seconds = given["idle_seconds"]
        counts = "cells" if idle is None else idle.counts
        idle = (
            None
            if seconds is None
            else msgspec.convert({"seconds": seconds, "counts": counts, **GIVEN}, Idle)
        )
    if "lifetime_seconds" in given:
        seconds = given["lifetime_seconds"]
        lifetime = None if seconds is None else msgspec.convert({"seconds": seconds, **GIVEN}, Lifetime)
    return Limits(idle, lifetime)


def leads(limit_seconds: float) -> tuple[float, ...]:
    """Give the times before the end of such a limit at which to look, longest first."""
    return tuple(
        min(seconds, share * limit_seconds) for seconds, share in zip(LEAD_SECONDS, LEAD_SHARES, strict=True)
    )
