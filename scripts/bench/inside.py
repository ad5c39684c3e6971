"""What runs inside a kernel that is measured. Knows only the public calls of keepstate."""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import keepstate

QUIET_SECONDS = 0.3
"""How long a cell spins before a snapshot is asked for: what it sees then is the machine's."""


def newest() -> dict[str, Any] | None:
    """The newest snapshot in numbers."""
    kept = keepstate.snapshots()
    return facts(kept[0]) if kept else None


def facts(kept: keepstate.Snapshot) -> dict[str, Any]:
    """A snapshot in numbers."""
    return {
        "id": kept.id,
        "reason": kept.reason,
        "consistency": kept.consistency,
        "stall": kept.stall_seconds,
        "seconds": kept.seconds,
        "written": kept.written_bytes,
        "logical": kept.logical_bytes,
        "sequence": kept.sequence,
        "strategy": kept.strategy,
    }


UNITS_AFTER = 2
"""How many usual units after a save are still dearer for it: the next training step writes its pages anew."""


def dearer(units: list[tuple[float, float]], saves: list[keepstate.Snapshot]) -> list[float]:
    """By how many seconds each save made the units about it slower than the median of all others.

    Args:
        units: When each began, by the clock on the wall, and the seconds that it took.
        saves: What was taken meanwhile.
    """
    windows = [(kept.created_at.timestamp(), kept.created_at.timestamp() + kept.seconds) for kept in saves]
    after = UNITS_AFTER * statistics.median(took for _, took in units)
    about = [
        [took for began, took in units if began + took > start and began < end + after]
        for start, end in windows
    ]
    usual = statistics.median(
        took
        for began, took in units
        if not any(began + took > start and began < end + after for start, end in windows)
    )
    return [sum(took - usual for took in each) for each in about]


def forks(rounds: int) -> list[float]:
    """Seconds that a bare ``os.fork`` holds this thread; the child ends at once."""
    taken = []
    for _ in range(rounds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are threads
            began = time.perf_counter()
            child = os.fork()
            if not child:
                os._exit(0)
            taken.append(time.perf_counter() - began)
        os.waitpid(child, 0)
    return taken


_PR_SET_CHILD_SUBREAPER = 36
"""Source: ``linux/prctl.h``."""


def adopt_children() -> None:
    """Make keepstate's children ours, which they are not by themselves, so that their time counts."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Cost:
    """What happens between two statements of a cell: seconds, processor, and bytes in a folder."""

    def __init__(self, store: str) -> None:
        self.found: dict[str, float] = {}
        self._store = Path(store)
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "wall": time.perf_counter(),
            "cpu": sum(each.ru_utime + each.ru_stime for each in used),
            "grown": sum(path.stat().st_size for path in self._store.rglob("*") if path.is_file()),
        }

    def end(self) -> None:
        """Wait for adopted children, and count."""
        wall = time.perf_counter()
        try:
            while True:
                os.wait()
        except ChildProcessError:
            pass
        now = {**self._now(), "wall": wall}
        self.found = {what: now[what] - self._before[what] for what in now}


def warm(nbytes: int) -> None:
    """Have the machine fetch memory for the page cache, so that the next file of this size finds it."""
    scratch = Path("scratch")
    with scratch.open("wb", buffering=0) as file:
        for _ in range(0, nbytes, 1 << 24):
            file.write(bytes(1 << 24))
    scratch.unlink()


class Ask:
    """Asks for a snapshot from a thread, beside the cell that spins."""

    def __init__(self) -> None:
        self.done = False
        self.asked = 0.0
        self.kept: dict[str, Any] = {}
        self.error = ""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        never = threading.Event()
        never.wait(QUIET_SECONDS)
        self.asked = time.perf_counter()
        try:
            self.kept = facts(keepstate.snapshot())
        except keepstate.KeepstateError as error:
            self.error = repr(error)
        never.wait(0.05)
        self.done = True

    def seen(self, gaps: list[tuple[float, float]]) -> dict[str, Any]:
        """What came of it.

        Args:
            gaps: When the cell stood still, and for how long.
        """
        return {
            **self.kept,
            "error": self.error,
            "gap": max((gap for when, gap in gaps if when >= self.asked), default=0.0),
            "quiet gap": max((gap for when, gap in gaps if when < self.asked), default=0.0),
        }


SPIN = """
ask, gaps, last = inside.Ask(), [], time.perf_counter()
while not ask.done:
    now = time.perf_counter()
    if now - last > 1e-4:
        gaps.append((now, now - last))
    last = now
"""
"""In the cell itself: only there can a picture be taken."""


class Beat:
    """The kernel's loop, turning once a millisecond: what it sees of a save between cells.

    From the last statement of a cell on, so that the hooks at its end are seen, too.
    """

    def __init__(self, seconds: float) -> None:
        self.longest = 0.0
        self.done = False
        shell: Any = sys.modules["IPython"].get_ipython()
        self._loop = shell.kernel.io_loop.asyncio_loop
        self._last = time.perf_counter()
        self._until = self._last + seconds
        self._loop.call_later(0.001, self._turn)

    def _turn(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        if now < self._until:
            self._loop.call_later(0.001, self._turn)
        else:
            self.done = True


class Arrival:
    """Notes when names are there, from a thread that only looks into the namespace."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.done = False
        self.seconds = self.started_after = 0.0
        self._names = names
        self._space: Any = sys.modules["__main__"].__dict__
        self._began = 0.0

    def begin(self) -> None:
        """``start()`` is called next."""
        self._began = time.perf_counter()
        threading.Thread(target=self._run, daemon=True).start()

    def started(self) -> None:
        """``start()`` has returned."""
        self.started_after = time.perf_counter() - self._began

    def _run(self) -> None:
        never = threading.Event()
        while not all(name in self._space for name in self._names):
            never.wait(0.02)
        self.seconds = time.perf_counter() - self._began
        self.done = True
