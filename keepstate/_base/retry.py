"""Try again what may work later, with waits that grow and that no two callers share.

What is tried, and which of its failures pass by themselves, is the caller's knowledge; here is only the
patience. Truncated exponential backoff with full jitter: the wait before the n-th repetition is drawn evenly
between 0 and a bound that doubles. Of the variants that AWS compared, it needs the fewest calls until all
clients of a crowded server are through.
Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keepstate._base.clock import Clock, Flag

Result = TypeVar("Result")

MOST_DOUBLINGS = 30
"""Of the first bound; later it stays (a billion times any sensible one), so that no power overflows."""

LONGEST_ASKED_SECONDS = 86400.0
"""A day. What the far side asks for beyond it means the same: not in this session."""

_EVEN = secrets.SystemRandom().random
"""From the operating system: the user's random streams are not touched."""

_LONGEST_ASKED_TEXT = 64
"""Characters; a date of HTTP has 29."""

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How patient to be."""

    first_seconds: float = 1.0
    """Bound of the first wait, above 0."""
    longest_seconds: float = 20.0
    """Bound of every wait that the far side did not ask for."""
    total_seconds: float = 60.0
    """After so long no attempt begins any more."""

    def __post_init__(self) -> None:
        if not 0 < self.first_seconds <= self.longest_seconds or not self.total_seconds > 0:
            raise InvalidInputError(f"{self}: seconds are above 0, and the longest wait is not the shortest")

    def bound(self, repetition: int) -> float:
        """Give the longest wait before a repetition, the first being 0.

        >>> [Backoff(first_seconds=1, longest_seconds=5).bound(n) for n in range(5)]
        [1.0, 2.0, 4.0, 5.0, 5.0]
        """
        return float(min(self.longest_seconds, self.first_seconds * 2.0 ** min(repetition, MOST_DOUBLINGS)))


def nothing_asked(_error: Exception) -> float | None:
    """Say that the far side never asks for a wait."""
    return None


def keep_trying(
    attempt: Callable[[float], Result],
    *,
    worth: Callable[[Exception], bool],
    stop: Flag,
    clock: Clock,
    backoff: Backoff,
    asked: Callable[[Exception], float | None] = nothing_asked,
    draw: Callable[[], float] = _EVEN,
) -> Result:
    """Call *attempt* until it returns, and return what it did.

    Args:
        attempt: Is given the seconds that are left of the total time, above 0, to bound its own waits by.
        worth: Whether a failure may pass by itself.
        stop: Once it is set no wait goes on and no attempt follows; the first one is always made.
        clock: The time.
        backoff: How patient to be.
        asked: The wait that the far side asked for with a failure, in seconds; it is never cut short.
        draw: An even random number from [0, 1).

    Raises:
        Exception: What the last attempt raised: it is not worth repeating, or there is no time for the wait.
    """
    until = clock.monotonic() + backoff.total_seconds
    repetition = 0
    while True:
        try:
            return attempt(until - clock.monotonic())
        except Exception as error:
            if not worth(error):
                raise
            wait = max(draw() * backoff.bound(repetition), asked(error) or 0.0)
            # The wait is never shortened to fit: whoever comes back too early is sent away for longer.
            if clock.monotonic() + wait >= until or clock.wait(stop, wait) or clock.monotonic() >= until:
                raise
        repetition += 1


def read_retry_after(text: str | None, now: datetime) -> float | None:
    """Read a ``Retry-After`` header: seconds, from 0 to a day, or ``None`` where it says nothing.

    Args:
        text: As it came, from a server that may be hostile: seconds or a date.
        now: The time from which a date is counted, aware.

    Source: RFC 9110, section 10.2.3. Fractions of a second are no part of it, and are sent by some.

    >>> from datetime import datetime, UTC
    >>> now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    >>> read_retry_after("120", now), read_retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now)
    (120.0, 30.0)
    >>> read_retry_after("soon", now), read_retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now)
    (None, 0.0)
    """
    text = (text or "").strip()
    if not text or len(text) > _LONGEST_ASKED_TEXT:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_ASKED_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_ASKED_SECONDS)
