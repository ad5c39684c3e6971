"""The only caller of the operating system's clocks, so that tests can move time.

Durations are measured with :func:`monotonic`; :func:`utc_now` is for people to read and never decides
which of two snapshots is newer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Flag(Protocol):
    """What can be waited for: ``threading.Event``, or a :class:`~keepstate._base.word.Word`."""

    def is_set(self) -> bool:
        """Whether it has come."""
        ...

    def wait(self, seconds: float, /) -> bool:
        """Wait at most *seconds* for it; return whether it has come."""
        ...


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment by both clocks, because each of them can be wrong alone.

    The monotonic clock stands still while a machine is suspended; the wall clock may be set.
    """

    monotonic: float
    wall: datetime

    def seconds_until(self, later: Instant) -> float:
        """Seconds from here to *later*, 0 or more: by the clock that says more.

        Whoever measures a time limit by it is early if a clock was set forward, and never late.
        """
        wall = (later.wall - self.wall).total_seconds()
        return max(later.monotonic - self.monotonic, wall, 0.0)


class Clock(Protocol):
    """A source of time: the machine's, or one that a test moves."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def utc_now(self) -> datetime:
        """The wall clock, aware, in UTC; may jump either way."""
        ...

    def wait(self, event: Flag, seconds: float) -> bool:
        """Wait at most *seconds* for *event*; return whether it is set."""
        ...


def processor_seconds() -> float:
    """Seconds for which the calling thread has computed; waiting for a processor does not count."""
    return time.thread_time()


def process_seconds() -> float:
    """Seconds for which all threads of this process have computed, since it was forked or begun."""
    return time.process_time()


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds since boot or so."""
        return time.monotonic()  # noqa: TID251 - this is the one place

    def utc_now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one place

    def wait(self, event: Flag, seconds: float) -> bool:
        """Block the calling thread only."""
        return event.wait(seconds)


@dataclass
class ManualClock:
    """A clock that stands still until it is told to move; for tests and simulations.

    >>> clock = ManualClock()
    >>> before = clock.monotonic()
    >>> clock.advance(90)
    >>> clock.monotonic() - before
    90.0
    """

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    seconds: float = 0.0
    _moved: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def monotonic(self) -> float:
        """Seconds moved so far."""
        return self.seconds

    def utc_now(self) -> datetime:
        """The date this clock was set to, plus what it moved."""
        return self.now + timedelta(seconds=self.seconds)

    def wait(self, event: Flag, seconds: float) -> bool:
        """Wait until this clock has moved *seconds*, or *event* is set (looked at when it moves)."""
        until = self.seconds + seconds
        with self._moved:
            while not event.is_set() and self.seconds < until:
                self._moved.wait(0.01)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by *seconds*, 0 or more."""
        with self._moved:
            self.seconds += seconds
            self._moved.notify_all()


SYSTEM_CLOCK: Clock = SystemClock()


def instant(clock: Clock) -> Instant:
    """Read both clocks."""
    return Instant(clock.monotonic(), clock.utc_now())
