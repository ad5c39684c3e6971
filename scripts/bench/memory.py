"""How much memory processes hold."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "KEEPSTATE_BENCH_MARK"
"""Stands in the environment of a kernel, and so of all that it starts: our children are nobody's children."""
EVERY_SECONDS = 0.2


def available_bytes() -> int:
    """What can be had without swapping."""
    return int(psutil.virtual_memory().available)


def peak_bytes(pid: int | str = "self") -> int:
    """The most that a process has held so far."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def held_bytes(pid: int | str = "self") -> int:
    """What a process holds now."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def forget_peak() -> None:
    """Count the peak of this process anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _field(path: Path, name: str) -> int:
    lines = path.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)


def family(mark: str) -> list[int]:
    """The processes whose environment has this mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for each in os.scandir("/proc"):
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in Path(each.path, "environ").read_bytes():
                    found.append(int(each.name))
    return found


def shared_out_bytes(pids: list[int]) -> int:
    """What these processes hold together, each page counted once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
    return total


class Peak:
    """The most that a family held while it was looked at."""

    def __init__(self) -> None:
        self.bytes = 0
        self.processes = 0


@contextlib.contextmanager
def watching(mark: str) -> Iterator[Peak]:
    """Look at a family every *EVERY_SECONDS*."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while not done.wait(EVERY_SECONDS):
            pids = family(mark)
            peak.bytes = max(peak.bytes, shared_out_bytes(pids))
            peak.processes = max(peak.processes, len(pids))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
