"""How often a save may be made: what it cost the user decides how long there is rest after it."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from keepstate._base.clock import Clock

SHARE = 0.025
"""Of the foreground's time that saves may cost it (``DESIGN`` §7: 2.5 %)."""
DUTY = 0.25
"""Of all time that a child may be at work: it takes one core of two, and the disk. A save of 40 s is followed
by 120 s of rest."""
LEAST_REST_SECONDS = 0.25
"""Cells that end within this time of a save share the next one."""
LONGEST_REST_SECONDS = 1800.0
"""However dear a save is, half an hour of work is more than anyone should lose."""
FAULT_SECONDS = 2.5e-6
"""What it costs to write to a 4 KiB page for the first time after a fork. Measured on 2 cores, Linux 6.18:
1.7 for numpy on one of them, 2.2 to 3 for a training step of torch on both, of which a child takes some."""
LIKE = 0.5
"""How busy the user's code must be in the second half of the time between two saves, as a share of the first,
for its page faults then to be the usual ones."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one save cost."""

    stall_seconds: float
    """How long the main thread was held."""
    faults: float
    """Page faults of this process beyond its usual ones."""
    seconds: float
    """From the picture to the end of the work."""
    crowded_seconds: float = 0.0
    """How long the user's code waited for processors that the child had."""

    @property
    def foreground_seconds(self) -> float:
        """What the user's code lost."""
        return self.stall_seconds + self.faults * FAULT_SECONDS + self.crowded_seconds


def crowded_seconds(processor_seconds: float, seconds: float, *, busy: float, processors: int) -> float:
    """Say how long code waited that would have kept *busy* processors at work, beside a child.

    Args:
        processor_seconds: For which the child has computed.
        seconds: From its beginning to its end.
        busy: Processors, as :attr:`Faults.busy`.
        processors: How many there are.

    >>> crowded_seconds(0.5, 1.0, busy=1.0, processors=2), crowded_seconds(0.5, 1.0, busy=2.0, processors=2)
    (0.0, 0.25)
    """
    idle = max(0.0, processors - busy) * seconds
    return max(0.0, processor_seconds - idle) / max(1.0, busy)


def rest_after(cost: Cost) -> float:
    """Say how many seconds shall pass between the end of a save and the beginning of the next."""
    by_share = cost.foreground_seconds / SHARE - cost.foreground_seconds
    by_duty = cost.seconds * (1 / DUTY - 1)
    return min(max(by_share, by_duty, LEAST_REST_SECONDS), LONGEST_REST_SECONDS)


class Usage(NamedTuple):
    """What this process has used so far."""

    faults: int
    """Page faults without a disk."""
    user_seconds: float
    """Of processor time, in user mode."""
    seconds: float
    """By the monotonic clock."""


class Faults:
    """Counts the page faults that a save causes, beyond those that the user's code makes anyway.

    After a fork every page is noticed at its first write, also when the child has long gone, and a cell may
    take its time to come round to it. So they are counted in the first half of the time to the next save. The
    second half tells how many are usual; by processor time, because code that is slowed down makes fewer.
    """

    def __init__(self) -> None:
        self.of_a_save = 0.0
        """Of the last two of which it is known, those of the dearer one: what is usual is not known well."""
        self.busy = 0.0
        """How many processors this process kept busy between the last two saves."""
        self._found = 0.0
        self._began: Usage | None = None
        self._halfway: Usage | None = None
        self._most = math.inf

    def begin(self, now: Usage) -> None:
        """A picture is taken."""
        began, halfway = self._began, self._halfway
        self._began, self._halfway = now, None
        if began is None:
            return
        self.busy = (now.user_seconds - began.user_seconds) / max(now.seconds - began.seconds, 1e-3)
        until = now if halfway is None else halfway
        busy, busy_then = until.user_seconds - began.user_seconds, now.user_seconds - until.user_seconds
        found = float(until.faults - began.faults)
        if busy_then > 0 and busy_then >= LIKE * busy:
            found -= busy * (now.faults - until.faults) / busy_then
        else:  # what is usual is not known: this is the most that it can have been
            found = min(found, self.of_a_save)
        before, self._found = self._found, min(max(0.0, found), self._most)
        self.of_a_save = max(before, self._found)

    def end(self, resident_bytes: int) -> None:
        """The child has gone; no more pages than so many bytes have can have been its."""
        self._most = resident_bytes / mmap.PAGESIZE

    def halfway(self, now: Usage) -> None:
        """Half of the time to the next save is over."""
        self._halfway = now


def read_usage(clock: Clock) -> Usage:
    """Read it; takes microseconds."""
    try:
        import resource
    except ImportError:  # not a Unix: there is no fork either
        return Usage(0, 0.0, clock.monotonic())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(used.ru_minflt, used.ru_utime, clock.monotonic())
