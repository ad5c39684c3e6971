"""The timer: APScheduler jobs that move with the plan, and never print, log to a cell, or do work."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

THREAD = "keepstate-timer"
LONGEST_SLEEP_SECONDS = 15.0
"""A thread's wait stands still while the machine is suspended, and deadlines come nearer meanwhile. So while
there are alarms the plan is asked again at least so often."""
SHORTEST_SLEEP_SECONDS = 0.02
"""A plan that always has something due does not make the thread spin beside the user's code."""
TOLERANCE_SECONDS = 0.1
"""A job that is no more than this away from its plan stays as it is."""
STOP_SECONDS = 0.25
"""How long :meth:`Timer.stop` waits for a call that is under way. Most take less than a millisecond; one that
asks a server may take some seconds, and a kernel that is shut down has 2.5 s for everything."""

_EXECUTOR = "keepstate"


class Timer:
    """Rings the alarms of a plan, from a thread of its own, until it is stopped.

    Args:
        plan: Gives alarm → seconds from now; asked whenever :meth:`poke` is called and after each alarm.
        ring: Called with the name of an alarm that is due; only ever from the timer's thread.
        trouble: Told what either of them raised.
        clock: The wall clock of the jobs.
    """

    def __init__(
        self,
        plan: Callable[[], Mapping[str, float]],
        ring: Callable[[str], None],
        *,
        trouble: Callable[[BaseException], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        # A record of level WARNING without a handler would reach stderr, that is the cell that runs now.
        # The loggers are ours by name, so what the user does with APScheduler is not touched.
        for name in ("keepstate.timer", f"apscheduler.executors.{_EXECUTOR}"):
            logger = logging.getLogger(name)
            logger.propagate = False
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
        self._plan = plan
        self._ring = ring
        self._trouble = trouble
        self._clock = clock
        self._jobs: dict[str, datetime] = {}
        self._due: list[str] = []
        self._scheduler = _Scheduler(
            self._arrange,
            self._ring_what_is_due,
            logger=logging.getLogger("keepstate.timer"),
            executors={_EXECUTOR: DebugExecutor()},  # runs a job in the scheduler's thread: it only notes
            timezone="UTC",
        )

    def start(self) -> None:
        """Begin to follow the plan."""
        self._scheduler.start()

    def poke(self) -> None:
        """The plan may have changed; takes microseconds, on any thread."""
        with interrupts.deferred():
            if self._scheduler.running:
                self._scheduler.wakeup()

    def stop(self) -> None:
        """Ring no more; a call that is under way is waited for, but not for long."""
        with interrupts.deferred():
            if self._scheduler.running:
                self._scheduler.shutdown(wait=False)
        thread = self._scheduler.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    # -- on the timer's thread -----------------------------------------------------------------------

    def _arrange(self) -> float | None:
        """Have one job for each alarm of the plan; return the seconds to the first, ``None`` without any."""
        try:
            alarms = self._plan()
        except Exception as error:  # noqa: BLE001 - the timer outlives every error
            self._trouble(error)  # what stands still stands, and the plan is asked again before long
            first = self._seconds_to_first(self._clock.utc_now())
            return LONGEST_SLEEP_SECONDS if first is None else first
        now = self._clock.utc_now()
        for name in self._jobs.keys() - alarms.keys():
            del self._jobs[name]
            with suppress(JobLookupError):
                self._scheduler.remove_job(name)
        for name, seconds in alarms.items():
            due = now + timedelta(seconds=max(0.0, seconds))
            standing = self._jobs.get(name)
            if standing is None or abs((standing - due).total_seconds()) > TOLERANCE_SECONDS:
                self._jobs[name] = due
                self._add(name, due)
        return self._seconds_to_first(now)

    def _seconds_to_first(self, now: datetime) -> float | None:
        return min(((due - now).total_seconds() for due in self._jobs.values()), default=None)

    def _add(self, name: str, due: datetime) -> None:
        self._scheduler.add_job(
            self._note,
            "date",
            run_date=due,
            args=[name],
            id=name,
            executor=_EXECUTOR,
            misfire_grace_time=None,  # a machine that was suspended has missed it; late is better than never
            replace_existing=True,
        )

    def _note(self, name: str) -> None:
        # Not a method of the list: APScheduler asks for the signature of what it is to call, and that of
        # what is written in C is parsed as source each time.
        self._due.append(name)

    def _ring_what_is_due(self) -> None:
        due = self._due[:]
        self._due.clear()
        for name in due:
            self._jobs.pop(name, None)
        for name in due:
            if not self._scheduler.running:
                return
            try:
                self._ring(name)
            except Exception as error:  # noqa: BLE001 - the timer outlives every error
                self._trouble(error)


class _Scheduler(BlockingScheduler):  # type: ignore[misc]  # it has no types
    """Asks for the plan whenever it wakes, and wakes now and then whatever the wall clock says.

    Jobs only note what is due, and it is rung after them: while they run, a lock of the scheduler is held
    that whoever stops it must have. Unlike a ``BackgroundScheduler`` it can be stopped without waiting for
    its thread, whose name says that it is ours.
    """

    thread: threading.Thread | None = None

    def __init__(
        self, arrange: Callable[[], float | None], ring: Callable[[], None], **options: object
    ) -> None:
        super().__init__(**options)
        self._arrange = arrange
        self._ring = ring

    def start(self) -> None:
        self._event = threading.Event()
        BaseScheduler.start(self)
        self.thread = threading.Thread(target=self._main_loop, name=THREAD, daemon=True)
        self.thread.start()

    def wakeup(self) -> None:
        if threading.current_thread() is not self.thread:  # it has added a job, and looks at the time anyway
            super().wakeup()

    def _process_jobs(self) -> float | None:
        self._arrange()
        try:
            super()._process_jobs()
        except JobLookupError:  # it looks elsewhere for a job that it has just run once it is being stopped
            if self.running:
                raise
        self._ring()
        left = self._arrange()  # a job that has run is gone, and may have changed the plan
        return None if left is None else min(max(SHORTEST_SLEEP_SECONDS, left), LONGEST_SLEEP_SECONDS)
