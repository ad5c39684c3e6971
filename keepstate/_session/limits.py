"""When this machine will be taken: the host's numbers, and the user's where they know better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base import table
from keepstate._hosts import Idle, Lifetime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstate._base.clock import Clock
    from keepstate._hosts import Activity, Profile

LEAD_SECONDS = (1800.0, 900.0, 300.0, 60.0)
"""How long before a deadline all must be safe, again and again."""
LEAD_SHARES = (1 / 2, 1 / 4, 1 / 10, 1 / 20)
"""The same as parts of a limit, where that is less."""

_SAID_BY_USER = "given to start() or in a settings file"


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a machine; ``None``: nothing of that kind is known."""

    idle: Idle | None = None
    lifetime: Lifetime | None = None
    counts: Activity = "cells"
    """What the host takes for activity."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is not certain about them, for people."""
        named = (("idle", self.idle), ("lifetime", self.lifetime))
        return tuple(
            f"The {what} limit of {table.duration(limit.seconds)} is a guess: {limit.source}."
            if limit.certainty == "guess"
            else f"The {what} limit of {table.duration(limit.seconds)} is {limit.certainty}: {limit.source}."
            for what, limit in named
            if limit is not None and limit.certainty not in ("certain", "yours")
        )


def settle_limits(profile: Profile, given: Mapping[str, float | None]) -> Limits:
    """Take the host's limits, or those that *given* has: ``idle_seconds``, ``lifetime_seconds``."""
    idle, lifetime = profile.idle, profile.lifetime
    if "idle_seconds" in given:
        seconds = given["idle_seconds"]
        idle = None if seconds is None else Idle(seconds, "yours", _SAID_BY_USER)
    if "lifetime_seconds" in given:
        seconds = given["lifetime_seconds"]
        lifetime = None if seconds is None else Lifetime(seconds, "yours", _SAID_BY_USER)
    return Limits(idle, lifetime, profile.counts)


def age_of_machine(clock: Clock, lifetime: Lifetime | None) -> float:
    """Give the seconds since the host began to count *lifetime*.

    That is the birth of process 1. A machine that is older than its own limit was not counted from there (a
    host that was named by hand, a limit that somebody gave): then it is the birth of this kernel.
    """
    import psutil

    now = clock.utc_now().timestamp()
    for pid in (1, None):
        try:
            age = now - float(psutil.Process(pid).create_time())
        except (psutil.Error, OSError):
            continue
        if age >= 0 and (lifetime is None or age < lifetime.seconds):
            return age
    return 0.0


def leads(limit_seconds: float) -> tuple[float, ...]:
    """Give the times before the end of such a limit at which to look, longest first."""
    return tuple(
        min(seconds, share * limit_seconds) for seconds, share in zip(LEAD_SECONDS, LEAD_SHARES, strict=True)
    )
