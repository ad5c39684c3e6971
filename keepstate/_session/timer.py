"""The timer: one APScheduler job that never prints, logs to a cell, or does work of its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

_EXECUTOR = "keepstate"


class Timer:
    """Calls back every so many seconds from a thread of its own until it is stopped."""

    def __init__(self, interval_seconds: float, callback: Callable[[], None]) -> None:
        # A record of level WARNING without a handler would reach stderr, that is the cell that runs now.
        # The loggers are ours by name, so what the user does with APScheduler is not touched.
        for name in ("keepstate.timer", f"apscheduler.executors.{_EXECUTOR}"):
            logger = logging.getLogger(name)
            logger.propagate = False
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
        self._scheduler = BackgroundScheduler(
            logger=logging.getLogger("keepstate.timer"),
            executors={_EXECUTOR: DebugExecutor()},  # runs the job in the scheduler's thread: it only rings
            timezone="UTC",
            daemon=True,
        )
        self._scheduler.add_job(
            callback,
            "interval",
            seconds=interval_seconds,
            executor=_EXECUTOR,
            coalesce=True,  # a machine that was suspended has missed many; one is enough
            misfire_grace_time=None,
            max_instances=1,
        )

    def start(self) -> None:
        """Begin to count; the first call comes after one interval."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call back no more; returns without waiting for a call that is under way."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
