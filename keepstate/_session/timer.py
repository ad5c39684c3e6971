"""The timer: APScheduler jobs that move with the plan, and never print, log to a cell, or do work."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

_EXECUTOR = "keepstate"
LONGEST_SLEEP_SECONDS = 15.0
"""APScheduler waits by the wall clock. One that was set back would have it wait as much longer, so while
there are alarms the plan is asked again at least so often, in seconds from now."""
TOLERANCE_SECONDS = 0.1
"""A job that is no more than this away from its plan stays as it is."""


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
        self._due: dict[str, datetime] = {}
        self._scheduler = _Scheduler(
            self._arrange,
            logger=logging.getLogger("keepstate.timer"),
            executors={_EXECUTOR: DebugExecutor()},  # runs a job in the scheduler's thread: it only rings
            timezone="UTC",
            daemon=True,
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
        """Ring no more; returns without waiting for a call that is under way."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _arrange(self) -> float | None:
        """Have one job for each alarm of the plan; return the seconds to the first, ``None`` without any."""
        try:
            alarms = self._plan()
        except Exception as error:  # noqa: BLE001 - the timer outlives every error
            self._trouble(error)
            alarms = {}
        now = self._clock.utc_now()
        for name in self._due.keys() - alarms.keys():
            del self._due[name]
            with suppress(JobLookupError):
                self._scheduler.remove_job(name)
        for name, seconds in alarms.items():
            due = now + timedelta(seconds=max(0.0, seconds))
            standing = self._due.get(name)
            if standing is None or abs((standing - due).total_seconds()) > TOLERANCE_SECONDS:
                self._due[name] = due
                self._add(name, due)
        return min(((due - now).total_seconds() for due in self._due.values()), default=None)

    def _add(self, name: str, due: datetime) -> None:
        self._scheduler.add_job(
            self._rung,
            "date",
            run_date=due,
            args=[name],
            id=name,
            executor=_EXECUTOR,
            misfire_grace_time=None,  # a machine that was suspended has missed it; late is better than never
            replace_existing=True,
        )

    def _rung(self, name: str) -> None:
        self._due.pop(name, None)
        try:
            self._ring(name)
        except Exception as error:  # noqa: BLE001 - the timer outlives every error
            self._trouble(error)


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # it has no types
    """Asks for the plan whenever it wakes, and wakes now and then whatever the wall clock says."""

    def __init__(self, arrange: Callable[[], float | None], **options: object) -> None:
        super().__init__(**options)
        self._arrange = arrange

    def _process_jobs(self) -> float | None:
        self._arrange()
        super()._process_jobs()
        left = self._arrange()  # a job that has run is gone, and may have changed the plan
        return None if left is None else min(max(0.0, left), LONGEST_SLEEP_SECONDS)
