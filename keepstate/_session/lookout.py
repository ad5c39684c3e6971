"""Keeps an eye on time, memory and the host, and asks for a save when one is due.

The plan is the agenda's, the picture the guard's; here is what rings between them, and what the user's
webhook is told of it. In the notebook nothing of this is ever said: ``status()`` has it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil

from keepstate._base import table
from keepstate._base.clock import Instant, instant
from keepstate._base.word import Word
from keepstate._capture import read_room
from keepstate._capture.choice import read_needed_bytes
from keepstate._hosts import last_activity
from keepstate._session import pressure
from keepstate._session.agenda import Agenda, Scene
from keepstate._session.budget import Cost, Faults, crowded_seconds, read_usage
from keepstate._session.limits import age_of_machine
from keepstate._session.notify_failing import Failing
from keepstate._session.notify_messages import DeadlineAhead
from keepstate._session.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from keepstate._base.clock import Clock
    from keepstate._model.kernel import Kernel
    from keepstate._session.agenda import Deadline, Kind
    from keepstate._session.far_side import FarSide
    from keepstate._session.guard import Guard
    from keepstate._session.limits import Limits
    from keepstate._session.notify import Notifier
    from keepstate._session.notify_messages import Message

LONG_SECONDS = 300.0
"""A save that is under way for longer is told of."""
LOAD_SECONDS = 1.0
"""Over which the load is measured, on the timer's thread."""
BUSY_SHARE = 0.1
"""Of one processor: a host that counts load takes a kernel with more than this for active. A guess: none of
them publishes its number."""


class Lookout:
    """The eyes of one session; also what is told of its saves.

    Args:
        kernel: What runs the user's code.
        identity: Whose state it is, for people.
        limits: Of this machine.
        age_seconds: How long the host has counted its lifetime.
        interval_seconds: Between two saves inside a long cell.
        tracked: Gives the names that are bound and guarded.
        owed: Tells whether a cell has ended since the newest kept picture.
        files_changed: Tells whether something in a watched folder has changed since then.
        far: What sends snapshots to a far store; ``None``: the store is on this machine.
        trouble: Told what went wrong in the background.
        notifier: Sends messages; ``None``: nobody wants any.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        kernel: Kernel,
        identity: str,
        limits: Limits,
        age_seconds: float,
        interval_seconds: float,
        tracked: Callable[[], tuple[str, ...]],
        owed: Callable[[], bool],
        files_changed: Callable[[], bool],
        far: FarSide | None,
        trouble: Callable[[BaseException], None],
        notifier: Notifier | None,
        clock: Clock,
    ) -> None:
        self.agenda = Agenda(limits, interval_seconds=interval_seconds, age_seconds=age_seconds, clock=clock)
        self._kernel = kernel
        self._identity = identity
        self._tracked = tracked
        self._owed = owed
        self._files_changed = files_changed
        self._far = far
        self._notifier = notifier
        self._clock = clock
        self._guard: Guard | None = None
        self._timer = Timer(self._plan, self._ring, trouble=trouble, clock=clock)
        self._pressure = pressure.Pressure()
        self._memory_read = clock.monotonic() - pressure.READ_SECONDS
        self._faults = Faults()
        self._halfway_at: float | None = None
        """When half of the time to the next save is over, by the monotonic clock."""
        self._any_bound = False
        self._failing = Failing(identity, clock)
        self._failed = False

    def start(self, guard: Guard) -> None:
        """Begin; saves are asked of *guard*."""
        self._guard = guard
        if self._notifier is not None:
            self._notifier.start()
        self._timer.start()
        self._timer.poke()

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()

    def poke(self) -> None:
        """Something has changed that the plan depends on."""
        self._timer.poke()

    # -- what the kernel does ------------------------------------------------------------------------

    def cell_began(self) -> None:
        """Somebody is there."""
        self._any_bound = False
        self.agenda.seen()
        self._timer.poke()

    def cell_ended(self) -> bool:
        """Say whether a save shall follow at once; otherwise it comes by itself when it is due."""
        self._any_bound = False
        self.agenda.seen()
        self._timer.poke()
        return self._guard is not None and not self._guard.writing and self.agenda.rested()

    # -- what becomes of saves -----------------------------------------------------------------------

    def save_began(self) -> None:
        """A picture is taken."""
        self.agenda.save_began()
        self._faults.begin(read_usage(self._clock))
        self._halfway_at = None

    def save_ended(self, *, stall_seconds: float, seconds: float, processor_seconds: float) -> None:
        """All that was in it is kept."""
        with suppress(psutil.Error):  # then the number of the save before stands
            self._faults.end(psutil.Process().memory_info().rss)
        crowded = crowded_seconds(
            processor_seconds, seconds, busy=self._faults.busy, processors=psutil.cpu_count() or 1
        )
        self.agenda.save_ended(Cost(stall_seconds, self._faults.of_a_save, seconds, crowded))
        self._halfway_at = self._clock.monotonic() + self.agenda.cadence_seconds / 2
        self._failed = False
        self._tell(self._failing.succeeded())
        self._timer.poke()

    def save_failed(self, why: str) -> None:
        """Nothing was kept."""
        self.agenda.save_failed()
        self._failed = True
        self._tell(self._failing.failed(why))
        self._timer.poke()

    # -- alarms, on the timer's thread ---------------------------------------------------------------

    def scene(self) -> Scene:
        """What goes on right now."""
        return Scene(
            running=self._kernel.running is not None,
            background=bool(self._kernel.background()),
            owed=self._owed(),
            files=self._files_changed(),
            saving=self._guard is not None and self._guard.busy,
        )

    def deadline(self) -> datetime | None:
        """Give the nearest foreseen end, aware, in UTC."""
        return self.agenda.nearest(self.scene())

    def remarks(self) -> tuple[str, ...]:
        """Say what the user should know about the plan."""
        agenda = self.agenda
        found = list(agenda.limits.sentences)
        if agenda.stretched:
            took, apart = table.duration(agenda.needs_seconds), table.duration(agenda.cadence_seconds)
            found.append(f"A save takes {took}: inside a long cell one is made every {apart}.")
        if self._guard is not None and self._guard.writing and agenda.saving_seconds > LONG_SECONDS:
            found.append(
                f"A save has been under way for {table.duration(agenda.saving_seconds)}: "
                "perhaps the store does not answer."
            )
        return tuple(found)

    def change(self, limits: Limits) -> None:
        """Count by other limits from now on."""
        self.agenda.change(limits, age_seconds=age_of_machine(self._clock, limits.lifetime))
        self._timer.poke()

    def _plan(self) -> Mapping[str, float]:
        scene = self.scene()
        if self._far is not None:
            self._far.look_after()
            self.agenda.sending_takes(self._far.needs_seconds())
        alarms: dict[str, float] = dict(self.agenda.alarms(scene).items()) if self.guards_something() else {}
        if scene.running or scene.background:
            # Also while there is nothing to lose: names may be bound and tracked inside the cell that runs.
            left = self._memory_read + self._pressure.read_seconds - self._clock.monotonic()
            alarms["memory"] = max(0.0, left)
        if self._halfway_at is not None:
            alarms["halfway"] = max(0.0, self._halfway_at - self._clock.monotonic())
        return alarms

    def guards_something(self) -> bool:
        """Whether a tracked name is bound; once one is, this is not asked again before the next cell.

        Looking up 2,000 variables under "all" takes 3 ms. If the last one is gone, a save keeps nothing.
        """
        self._any_bound = self._any_bound or bool(self._tracked())
        return self._any_bound

    def _ring(self, alarm: str) -> None:
        if self._guard is None:
            return
        if alarm == "memory":
            self._look_at_memory(self._guard)
        elif alarm == "halfway":
            self._halfway_at = None
            self._faults.halfway(read_usage(self._clock))
        elif alarm == "save":
            scene = self.scene()
            if self.agenda.save_is_due(scene):
                self._guard.request("cell" if scene.owed else "timer")
        elif alarm == "idle":
            self._look_at_host()
            self._look_ahead("idle", self._guard)
        else:
            self._look_ahead("lifetime", self._guard)

    def _look_at_memory(self, guard: Guard) -> None:
        now = self._memory_read = self._clock.monotonic()
        room = read_room()
        if room is None:
            return
        call = self._pressure.feed(now, room, needed_bytes=read_needed_bytes())
        if call is not None and self.guards_something():
            guard.request("memory", patience_seconds=call.patience_seconds)

    def _look_ahead(self, kind: Kind, guard: Guard) -> None:
        scene = self.scene()
        deadline = self.agenda.look(kind, scene)
        if deadline is None:
            return
        if scene.may_differ or self._failed:
            guard.request(kind)
        sent = self._far is None or not self._far.report().pending_ids
        if self._far is not None:
            self._far.hurry()
        # Threads of a library's that idle are no reason to alarm anybody, but reason enough to save.
        safe = sent and not (scene.running or scene.owed or scene.files or self._failed)
        if deadline.first or not safe:
            self._tell_of(deadline, safe=safe)

    def _look_at_host(self) -> None:
        """See whether the host saw activity that was no cell."""
        counts = self.agenda.limits.counts
        if counts == "server" and self._kernel.id is not None:
            seen = last_activity(os.environ, self._kernel.id)
            now = instant(self._clock)
            if seen is not None and seen <= now.wall:
                ago = (now.wall - seen).total_seconds()
                self.agenda.seen(Instant(now.monotonic - ago, now.wall - timedelta(seconds=ago)))
        elif counts == "processor" and _load(self._clock) > BUSY_SHARE:
            self.agenda.seen()

    def _tell_of(self, deadline: Deadline, *, safe: bool) -> None:
        self._tell(
            DeadlineAhead(
                identity=self._identity,
                kind=deadline.kind,
                at=self._clock.utc_now() + timedelta(seconds=deadline.seconds_left),
                seconds_left=deadline.seconds_left,
                safe=safe,
                unsaved=() if safe else self._tracked(),
                needs_seconds=None if safe else self.agenda.needs_seconds or None,
            )
        )

    def _tell(self, message: Message | None) -> None:
        if self._notifier is not None and message is not None:
            self._notifier.tell(message)


def _load(clock: Clock) -> float:
    """Measure how much of one processor this kernel and its children use: 0 none, 2 two of them."""
    before = _processor_seconds()
    began = clock.monotonic()
    clock.wait(Word(), LOAD_SECONDS)
    passed = clock.monotonic() - began
    return (_processor_seconds() - before) / passed if passed > 0 else 0.0


def _processor_seconds() -> float:
    total = 0.0
    with suppress(psutil.Error):
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
    return total
