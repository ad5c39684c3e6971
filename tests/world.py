"""A notebook in simulated time, driven by an agenda: twelve hours of it in a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from keepstate._base.clock import ManualClock, instant
from keepstate._session.agenda import Agenda, Scene
from keepstate._session.budget import Cost

if TYPE_CHECKING:
    from keepstate._session.limits import Limits


@dataclass
class World:
    """One user, one kernel and one store. ``saves`` is what a real session would have asked its guard for."""

    limits: Limits
    interval: float = 60.0
    save_seconds: float = 0.05
    stall_seconds: float = 0.004
    age: float = 0.0
    store_works: bool = True
    clock: ManualClock = field(default_factory=ManualClock)
    saves: list[tuple[float, str]] = field(default_factory=list)
    """Second at which it began, reason."""
    failed: list[float] = field(default_factory=list)
    looks: list[tuple[float, str]] = field(default_factory=list)
    running: bool = False
    version: int = 0
    """Of the state; every finished cell makes a new one."""
    kept: int = 0
    longest_unsaved: float = 0.0
    _unsaved_since: float | None = None

    def __post_init__(self) -> None:
        self.agenda = Agenda(
            self.limits, interval_seconds=self.interval, age_seconds=self.age, clock=self.clock
        )

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    @property
    def scene(self) -> Scene:
        return Scene(running=self.running, owed=self.kept != self.version)

    def begin_cell(self) -> None:
        self.agenda.seen()
        self.running = True

    def end_cell(self, *, changes: bool = True) -> None:
        self.running = False
        self.agenda.seen()
        if changes:
            self.version += 1
            self._note()
        if self.scene.owed and self.agenda.rested():
            self.save("cell")

    def cell(self, seconds: float = 0.2, *, changes: bool = True) -> None:
        self.begin_cell()
        self.run(seconds)
        self.end_cell(changes=changes)

    def save(self, reason: str) -> None:
        """Take a picture now; nothing else happens until it is written."""
        self.agenda.save_began()
        version = self.version
        began = self.now
        self.clock.advance(self.save_seconds)
        if self.store_works:
            self.saves.append((round(began, 1), reason))
            self.kept = version
            self.agenda.save_ended(Cost(self.stall_seconds, 0, self.save_seconds))
        else:
            self.failed.append(round(began, 1))
            self.agenda.save_failed()
        self._note()

    def run(self, seconds: float) -> None:
        """Let time pass, and ring every alarm when it is due."""
        until = self.now + seconds
        for _ in range(20_000):
            alarms = self.agenda.alarms(self.scene)
            wait = min(alarms.values(), default=seconds)
            if self.now + wait >= until:
                self.clock.advance(max(0.0, until - self.now))
                self._note()
                return
            self.clock.advance(wait)
            self._note()
            for alarm, left in alarms.items():
                if left <= wait:
                    self._ring(alarm)
        raise AssertionError("the agenda rings without end")

    def _ring(self, alarm: str) -> None:
        if alarm == "save":
            if self.agenda.save_is_due(self.scene):
                if self.running:
                    self.version += 1  # a cell that runs changes something all the time
                self.save("timer" if self.running else "cell")
            return
        deadline = self.agenda.look(alarm, self.scene)
        if deadline is None:
            return
        self.looks.append((round(deadline.seconds_left), alarm))
        if self.running:
            self.version += 1
        if self.scene.owed:
            self.save(alarm)

    def _note(self) -> None:
        if self.kept == self.version:
            self._unsaved_since = None
        elif self._unsaved_since is None:
            self._unsaved_since = self.now
        if self._unsaved_since is not None and not self.running:
            self.longest_unsaved = max(self.longest_unsaved, self.now - self._unsaved_since)

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self.clock.now += timedelta(seconds=seconds)

    def deadline_in(self) -> float | None:
        nearest = self.agenda.nearest(self.scene)
        return None if nearest is None else (nearest - instant(self.clock).wall).total_seconds()
