"""What is due when: saves, and looks ahead of the deadlines. Decides, and does nothing.

Told of cells and saves as they happen, it gives the times of the next alarms; whoever rings one asks what is
due. It holds no thread and no timer, so twelve hours of it can be tried in a second.

All times are seconds on :class:`~keepstate._base.clock.Instant`, which is early rather than late when a clock
was set or the machine slept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from keepstate._base.clock import Instant, instant
from keepstate._session.budget import Cost, rest_after
from keepstate._session.limits import leads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from keepstate._base.clock import Clock
    from keepstate._session.limits import Limits

Alarm = Literal["save", "idle", "lifetime"]
Kind = Literal["idle", "lifetime"]

QUIET_SECONDS = 1.0
"""Without a cell for so long, nobody is there whom a save could slow down: it need not wait for its rest."""
RETRY_SECONDS = 5.0
"""After a save that failed; doubled each time."""
LONGEST_RETRY_SECONDS = 300.0
MARGIN_SECONDS = 10.0
"""Added to half as much again as a save is expected to take, when it must end before a deadline."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What goes on at the moment of a question."""

    running: bool
    """Whether a cell runs."""
    background: bool = False
    """Whether threads or tasks of the user's may change state while no cell runs."""
    owed: bool = False
    """Whether a cell has ended since the newest kept picture."""
    files: bool = False
    """Whether files in a watched folder have changed since then."""
    saving: bool = False
    """Whether a save is under way or asked for."""

    @property
    def may_differ(self) -> bool:
        """Whether there may be something that is not kept."""
        return self.running or self.background or self.owed or self.files


@dataclass(frozen=True, slots=True)
class Deadline:
    """An end that is foreseen."""

    kind: Kind
    seconds_left: float
    limit_seconds: float
    first: bool = True
    """Whether nobody has looked at it yet."""


class Agenda:
    """The plan of one session.

    Args:
        limits: Of this machine.
        interval_seconds: Between two saves inside a long cell.
        age_seconds: How old the machine is by now.
        clock: Tells the time.
    """

    def __init__(self, limits: Limits, *, interval_seconds: float, age_seconds: float, clock: Clock) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        now = instant(clock)
        self._born = _before(now, age_seconds)
        self._active = now
        self._began = now
        self._ended = now
        self._rest_seconds = 0.0
        self._failures = 0
        self._needs_seconds = 0.0
        self._sending_seconds = 0.0
        self._looked: dict[Kind, float] = {}
        self.limits = limits

    # -- what happens --------------------------------------------------------------------------------

    def seen(self, when: Instant | None = None) -> None:
        """Somebody was there: a cell began or ended, or the host says so."""
        when = instant(self._clock) if when is None else when
        if when.monotonic > self._active.monotonic:
            self._active = when
            self._looked.pop("idle", None)

    def change(self, limits: Limits, *, age_seconds: float) -> None:
        """Count by other limits from now on, for a machine of that age."""
        self.limits = limits
        self._born = _before(instant(self._clock), age_seconds)
        self._looked.clear()

    def save_began(self) -> None:
        """A picture is taken."""
        self._began = instant(self._clock)

    def save_ended(self, cost: Cost) -> None:
        """All is kept as it was in the picture."""
        self._ended = instant(self._clock)
        self._rest_seconds = rest_after(cost)
        self._needs_seconds = cost.seconds
        self._failures = 0

    def sending_takes(self, seconds: float) -> None:
        """What is saved here needs so long to reach the place where it must end up."""
        self._sending_seconds = seconds

    def save_failed(self) -> None:
        """Nothing was kept."""
        self._ended = instant(self._clock)
        self._failures += 1

    # -- what is due ---------------------------------------------------------------------------------

    @property
    def cadence_seconds(self) -> float:
        """How far apart saves inside a long cell are at least."""
        return max(self._interval_seconds, self._rest_seconds)

    @property
    def stretched(self) -> bool:
        """Whether saves are so dear that they are made less often than was asked for."""
        return self._rest_seconds > self._interval_seconds

    def rested(self) -> bool:
        """Whether a cell that has just ended may be followed by a save at once."""
        return self._since(self._ended) >= (RETRY_SECONDS if self._failures else self._rest_seconds)

    def alarms(self, scene: Scene) -> dict[Alarm, float]:
        """Give the seconds from now to the next alarm of each kind that there is."""
        found: dict[Alarm, float] = {}
        if (save := self._save_in(scene)) is not None:
            found["save"] = save
        for deadline in self.deadlines(scene):
            ahead = [lead for lead in self._leads(deadline) if lead < self._looked.get(deadline.kind, _NEVER)]
            if ahead and deadline.seconds_left > 0:
                found[deadline.kind] = max(0.0, deadline.seconds_left - ahead[0])
        return found

    def save_is_due(self, scene: Scene) -> bool:
        """Whether a save shall be made now, no deadline considered."""
        left = self._save_in(scene)
        return left is not None and left <= _SLACK_SECONDS

    def look(self, kind: Kind, scene: Scene) -> Deadline | None:
        """Give the deadline whose lead time has come, once for each lead time; ``None``: not yet."""
        for deadline in self.deadlines(scene):
            if deadline.kind != kind or deadline.seconds_left <= 0:
                continue
            reached = [
                lead for lead in self._leads(deadline) if deadline.seconds_left <= lead + _SLACK_SECONDS
            ]
            if reached and reached[-1] < self._looked.get(kind, _NEVER):
                first = kind not in self._looked
                self._looked[kind] = reached[-1]
                return replace(deadline, first=first)
        return None

    def deadlines(self, scene: Scene) -> Iterator[Deadline]:
        """Give what is foreseen; ``seconds_left`` is 0 where the host did not keep to its limit."""
        idle, lifetime = self.limits.idle, self.limits.lifetime
        if idle is not None and not scene.running:
            yield Deadline("idle", max(0.0, idle.seconds - self._since(self._active)), idle.seconds)
        if lifetime is not None:
            yield Deadline("lifetime", max(0.0, lifetime.seconds - self._since(self._born)), lifetime.seconds)

    def nearest(self, scene: Scene) -> datetime | None:
        """Give the nearest end that is still ahead, by the wall clock."""
        idle = self.limits.idle
        ahead = [deadline.seconds_left for deadline in self.deadlines(scene) if deadline.seconds_left > 0]
        if scene.running and idle is not None:  # the earliest: the cell could end now
            ahead.append(idle.seconds)
        return None if not ahead else self._clock.utc_now() + timedelta(seconds=min(ahead))

    @property
    def saving_seconds(self) -> float:
        """Seconds since the last picture was taken."""
        return self._since(self._began)

    @property
    def needs_seconds(self) -> float:
        """How long making all safe will take, by the last save and the speed of the way to the store."""
        return self._needs_seconds + self._sending_seconds

    def _save_in(self, scene: Scene) -> float | None:
        if scene.saving:
            return None  # its end will ask again
        if self._failures:
            if not scene.may_differ:
                return None
            retry = min(RETRY_SECONDS * (1 << min(self._failures - 1, 10)), LONGEST_RETRY_SECONDS)
            return max(0.0, retry - self._since(self._ended))
        rest = self._rest_seconds - self._since(self._ended)
        if scene.owed:
            quiet = rest if scene.running else QUIET_SECONDS - self._since(self._active)
            return max(0.0, min(rest, quiet))
        if scene.running:  # since when it may have changed something
            return max(
                0.0, rest, self._interval_seconds - min(self._since(self._began), self._since(self._active))
            )
        if scene.files:
            return max(0.0, rest)
        if scene.background:
            return max(0.0, rest, self._interval_seconds - self._since(self._began))
        return None

    def _leads(self, deadline: Deadline) -> list[float]:
        """Longest first; one more if a save takes longer than the last of them."""
        found = set(leads(deadline.limit_seconds))
        needed = 1.5 * self.needs_seconds + MARGIN_SECONDS
        if min(found) < needed < deadline.limit_seconds:
            found.add(needed)
        return sorted(found, reverse=True)

    def _since(self, when: Instant) -> float:
        return when.seconds_until(instant(self._clock))


_NEVER = float("inf")
_SLACK_SECONDS = 0.05
"""A timer may ring a little early by the other clock."""


def _before(now: Instant, seconds: float) -> Instant:
    return Instant(now.monotonic - seconds, now.wall - timedelta(seconds=seconds))
