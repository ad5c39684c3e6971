"""How often a save may be made: what it cost the user decides how long there is rest after it."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.025
"""Of the foreground's time that saves may cost it (``DESIGN`` §7: 2.5 %)."""
DUTY = 0.25
"""Of all time that a child may be at work: it takes one core of two, and the disk. A save of 40 s is followed
by 120 s of rest."""
LEAST_REST_SECONDS = 0.25
"""Cells that end within this time of a save share the next one."""
LONGEST_REST_SECONDS = 1800.0
"""However dear a save is, half an hour of work is more than anyone should lose."""
FAULT_SECONDS = 1.9e-6
"""What it costs to write to a 4 KiB page that a child still shares; measured on 2 cores, Linux 6.18."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one save cost."""

    stall_seconds: float
    """How long the main thread was held."""
    faults: float
    """Page faults of this process beyond its usual ones while the child lived."""
    seconds: float
    """From the picture to the end of the work."""

    @property
    def foreground_seconds(self) -> float:
        """What the user's code lost."""
        return self.stall_seconds + self.faults * FAULT_SECONDS


def rest_after(cost: Cost) -> float:
    """Say how many seconds shall pass between the end of a save and the beginning of the next."""
    by_share = cost.foreground_seconds / SHARE - cost.foreground_seconds
    by_duty = cost.seconds * (1 / DUTY - 1)
    return min(max(by_share, by_duty, LEAST_REST_SECONDS), LONGEST_REST_SECONDS)


class Faults:
    """Counts page faults beyond those that the user's code makes anyway.

    Its usual rate is taken from the time in which no child lived.
    """

    def __init__(self) -> None:
        self._ended: tuple[float, int] | None = None
        self._began: tuple[float, int] | None = None
        self._rate = 0.0

    def begin(self, now: float) -> None:
        """A picture is taken."""
        count = _minor_faults()
        if self._ended is not None and now > self._ended[0]:
            self._rate = (count - self._ended[1]) / (now - self._ended[0])
        self._began = now, count

    def end(self, now: float) -> float:
        """The child has gone; return the faults that it caused."""
        count = _minor_faults()
        self._ended = now, count
        if self._began is None:
            return 0.0
        began, before = self._began
        return max(0.0, count - before - self._rate * (now - began))


def _minor_faults() -> int:
    try:
        import resource
    except ImportError:  # not a Unix: there is no fork either
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
