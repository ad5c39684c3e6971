"""Whether memory is about to run out, so that a picture is taken while that is possible without copying.

Decides from readings; the machine, or the control group, is read by whoever feeds it.
Source of the 85 %: ``DESIGN`` §7. An out-of-memory kill gives no warning (SIGKILL), so this one is ours.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepstate._capture import Room

HIGH = 0.85
"""Part of the limit that is used, above which any growth is pressure."""
SOON_SECONDS = 60.0
"""Growth that would reach the limit within so long is pressure, however much is free."""
READ_SECONDS = 0.5
"""Between two readings while something runs; one takes 0.1 ms (measured on 2 cores, Linux 6.18)."""
WINDOW_SECONDS = 5.0
"""Over which growth is judged."""
LEAST_GROWTH = 0.01
"""Part of the limit. Less growth within the window is noise: the page cache, the allocator."""
AGAIN_SECONDS = 3.0
"""Between two pictures under lasting pressure: what a kill in the next second may cost."""
PATIENCE_SECONDS = 2.0
"""How long to wait for a safe point; at a gigabyte a second there is no more."""


class Pressure:
    """Judges readings of free memory."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()
        self._asked: tuple[float, int] | None = None

    def feed(self, now: float, room: Room) -> str | None:
        """Take a reading, and say in a sentence why a picture is called for; ``None``: none is.

        Args:
            now: Seconds of a monotonic clock.
            room: What is free, and the limit, in bytes.
        """
        used = room.limit - room.available
        self._readings.append((now, used))
        while now - self._readings[0][0] > WINDOW_SECONDS:
            self._readings.popleft()
        reason = self._judge(now, used, room)
        if reason is None or not self._is_new(now, used, room):
            return None
        self._asked = now, used
        return reason

    def _judge(self, now: float, used: int, room: Room) -> str | None:
        began, before = min(self._readings, key=lambda reading: reading[1])
        grown, seconds = used - before, now - began
        if grown < LEAST_GROWTH * room.limit or seconds <= 0:
            return None
        if used > HIGH * room.limit:
            return f"{used / room.limit:.0%} of memory are used, and it grows"
        left = room.available / (grown / seconds)
        return f"at this growth memory is full in {left:.0f} s" if left < SOON_SECONDS else None

    def _is_new(self, now: float, used: int, room: Room) -> bool:
        """Whether the last picture for this reason is long enough ago, by time or by growth."""
        if self._asked is None:
            return True
        when, then = self._asked
        return now - when >= AGAIN_SECONDS and used - then >= LEAST_GROWTH * room.limit
