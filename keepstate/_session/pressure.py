"""Whether memory is about to run out, so that a picture is taken while that is possible without copying.

Decides from readings; the machine, or the control group, is read by whoever feeds it.
Source of the 85 %: ``DESIGN`` §7. An out-of-memory kill gives no warning (SIGKILL), so this one is ours.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from keepstate._capture import Room

MiB = 1 << 20
HIGH = 0.85
"""Part of the limit that is used, above which any growth is pressure."""
SOON_SECONDS = 60.0
"""Growth that would reach the limit within so long is pressure, however much is free."""
READ_SECONDS = 0.5
"""Between two readings while something runs and memory is short or grows. One takes 0.3 ms by itself, but 20
ms of the thread that wakes for it beside a busy cell, as no cache holds its code (2 cores, Linux 6.18)."""
LONGEST_READ_SECONDS = 2.0
"""While it does not grow and much is free."""
FASTEST_BYTES_PER_SECOND = 30e9
"""Twice what one thread can fill, 15 GB/s (first touch of warm memory: ``docs/benchmarks.md``): until the
next reading no more than half of what is free can have gone."""
SPEED_SECONDS = 5.0
"""Over which the speed of growth is judged."""
WINDOW_SECONDS = 60.0
"""Over which memory must have grown at all: a slow leak is seen as well."""
LEAST_GROWTH = 0.01
"""Part of the limit. Less growth is noise: the page cache, the allocator."""
NEAR_GROWTH = 0.25
"""Part of what is free. Near the end less growth counts, because less is left."""
NOISE_BYTES = 2 * MiB
"""What Python takes and gives back all the time; never growth."""
AGAIN_SECONDS = 3.0
"""Between two pictures under lasting pressure, at most: what a kill in the next second may cost."""
HALFWAY = 0.5
"""Part of the time to the end after which the next picture is due, so that the last comes just before it."""
CALM_SECONDS = 60.0
"""Between two pictures while memory goes up and down, and no higher than at the last one."""
PATIENCE_SECONDS = 2.0
"""How long to wait for a safe point, at most."""
PATIENCE_SHARE = 0.25
"""Part of the time to the end that may be spent on waiting for a safe point."""


class Call(NamedTuple):
    """A picture is called for."""

    reason: str
    """A sentence."""
    patience_seconds: float
    """How long to wait for a safe point."""


class Pressure:
    """Judges readings of free memory."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()
        self._called: tuple[float, int] | None = None
        self.read_seconds = READ_SECONDS
        """When the next reading is due, counted from the last."""

    def feed(self, now: float, room: Room, *, needed_bytes: int = 0) -> Call | None:
        """Take a reading, and say whether a picture is called for; ``None``: none is, or none is possible.

        Args:
            now: Seconds of a monotonic clock.
            room: What is free, and the limit, in bytes.
            needed_bytes: What must be free for a picture, 0 or more. The end is where that is no longer so.
        """
        used = room.limit - room.available
        self._readings.append((now, used))
        while now - self._readings[0][0] > WINDOW_SECONDS:
            self._readings.popleft()
        left = room.available - needed_bytes
        self.read_seconds = READ_SECONDS
        if left < 0:
            return None
        noise = max(NOISE_BYTES, min(LEAST_GROWTH * room.limit, NEAR_GROWTH * left))
        seconds_left = self._seconds_left(now, used, left, noise)
        if math.isinf(seconds_left):
            self.read_seconds = min(max(READ_SECONDS, left / FASTEST_BYTES_PER_SECOND), LONGEST_READ_SECONDS)
        reason = self._judge(used, room.limit - needed_bytes, noise, seconds_left)
        if reason is None or not self._is_due(now, used, noise, seconds_left):
            return None
        self._called = now, used
        return Call(reason, min(PATIENCE_SECONDS, PATIENCE_SHARE * seconds_left))

    def _seconds_left(self, now: float, used: int, left: int, noise: float) -> float:
        """Give the time to the end at the present speed; infinite if memory does not grow."""
        recent = (reading for reading in self._readings if now - reading[0] <= SPEED_SECONDS)
        began, before = min(recent, key=lambda reading: reading[1])
        grown, seconds = used - before, now - began
        return math.inf if grown < noise or seconds <= 0 else left * seconds / grown

    def _judge(self, used: int, end: int, noise: float, seconds_left: float) -> str | None:
        if seconds_left < SOON_SECONDS:
            return f"at this growth memory is full in {seconds_left:.0f} s"
        if used > HIGH * end and used - min(reading for _, reading in self._readings) >= noise:
            return f"{used / end:.0%} of memory are used, and it grows"
        return None

    def _is_due(self, now: float, used: int, noise: float, seconds_left: float) -> bool:
        """Whether the last picture for this reason is long enough ago, by time and by growth."""
        if self._called is None:
            return True
        when, then = self._called
        if used - then < noise:
            return now - when >= CALM_SECONDS
        return now - when >= min(AGAIN_SECONDS, HALFWAY * seconds_left)
