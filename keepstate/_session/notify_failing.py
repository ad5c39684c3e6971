"""When saves that fail are worth a message: not the first, and not every one after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._session.notify_messages import SaveFailing, SaveWorksAgain

if TYPE_CHECKING:
    from datetime import datetime

    from keepstate._base.clock import Clock

FAILURES_BEFORE_TELLING = 3
"""In a row. One or two pass by themselves: a mount that reconnects, a disk that was full for a moment."""
SECONDS_BEFORE_TELLING = 600.0
"""Since the first failure; so much work in danger is worth a message even when saves are rare."""
FIRST_DISTANCE_SECONDS = 600.0
LONGEST_DISTANCE_SECONDS = 86400.0
"""Between two messages about one row of failures; the distance doubles from the one to the other."""


class Failing:
    """Counts failures in a row; its answers are the messages to send."""

    def __init__(self, identity: str, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._times = 0
        self._since: datetime | None = None
        self._began = 0.0
        self._told_at: float | None = None
        self._distance = FIRST_DISTANCE_SECONDS

    def failed(self, sentence: str) -> SaveFailing | None:
        """A save has failed, and *sentence* says how; return what is to be told now."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since, self._began = self._clock.utc_now(), now
        self._times += 1
        if not self._due(now):
            return None
        if self._told_at is not None:
            self._distance = min(self._distance * 2, LONGEST_DISTANCE_SECONDS)
        self._told_at = now
        return SaveFailing(self._identity, self._since, self._times, sentence)

    def succeeded(self) -> SaveWorksAgain | None:
        """A save has worked; return what is to be told now: something if the failures had been told."""
        told, began = self._told_at, self._began
        self._times, self._since, self._told_at = 0, None, None
        self._distance = FIRST_DISTANCE_SECONDS
        return None if told is None else SaveWorksAgain(self._identity, self._clock.monotonic() - began)

    def _due(self, now: float) -> bool:
        if self._told_at is not None:
            return now - self._told_at >= self._distance
        return self._times >= FAILURES_BEFORE_TELLING or now - self._began >= SECONDS_BEFORE_TELLING
