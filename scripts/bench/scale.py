"""What ``log``, ``start()``, a snapshot and ``verify`` cost as a history grows."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import histories, plots
from bench.alone import alone
from bench.memory import forget_peak, peak_bytes
from bench.samples import number, prose, table, times
from bench.section import Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = {"snapshots": 100, "names": 50, "cells": 50, "chunks": 0, "sessions": 5}
"""What does not grow stays like this."""
AXES = {
    "snapshots": (10, 100, 1000, 10_000),
    "names": (10, 100, 500, 2000),
    "cells": (10, 100, 1000, 5000),
    "chunks": (0, 10_000, 100_000, 1_000_000),
}
TOLD = {
    "snapshots": "snapshots kept",
    "names": "variables",
    "cells": "cells that had run",
    "chunks": "chunks of 1 MiB in the index",
}
BOUNDS = {"log": 5.0, "start": 2.0, "snapshot": 1.0, "verify": 60.0}
"""Seconds that each may take at the largest size of every axis; a row of the table that ``log`` prints takes
0.2 ms (measured), and 10,000 are a list that nobody reads to its end: ``--last`` shows some."""
WAYS = tuple(BOUNDS)


def measure(run: Run) -> Found:
    """One history for each size; each way in a process of its own."""
    found: Found = {"axes": {}}
    for axis, sizes in AXES.items():
        found["axes"][axis] = []
        for size in run.pick(sizes, sizes[:2]):
            run.say(f"{size:,} {TOLD[axis]}")
            with folder() as place:
                store = str(place / "store")
                shape = {**SMALL, axis: size}
                shape["sessions"] = max(1, shape["snapshots"] // 100)
                alone(make, {"store": store, "shape": shape})
                row: Found = {"size": size, **{way: [] for way in WAYS}}
                for _ in range(run.pick(2, 1)):
                    row["log"].append(alone(command, {"name": "log", "store": store}))
                    row["verify"].append(alone(command, {"name": "verify", "store": store}))
                    start, snapshot = alone(work, {"store": store})
                    row["start"].append(start)
                    row["snapshot"].append(snapshot)
                found["axes"][axis].append(row)
    return found


def make(store: str, shape: dict[str, int]) -> None:
    """A history."""
    histories.make_history(Path(store), histories.Shape(**shape))


def command(name: str, store: str) -> Found:
    """A command of the command line, with the start of Python; what it prints is thrown away."""
    line = [sys.executable, "-m", "keepstate", name, "--store", store]
    began = time.perf_counter()
    subprocess.run(line, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}


def work(store: str) -> list[Found]:
    """``start()``, and a snapshot after one variable has changed."""
    import keepstate
    from keepstate._api import _load

    _load()
    space: dict[str, object] = {}
    who = {"project": histories.PROJECT, "member": histories.MEMBER, "notebook": histories.HISTORY}

    def start() -> None:
        keepstate.start(store=store, namespace=space, interval=86400, **who)  # type: ignore[arg-type]

    found = [_cost(start)]
    space["v0000"] = "changed"
    found.append(_cost(lambda: keepstate.snapshot()))
    keepstate.stop(snapshot=False)
    return found


def _cost(call: Callable[[], object]) -> Found:
    def processor() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    forget_peak()
    began, cpu = time.perf_counter(), processor()
    call()
    return {"seconds": time.perf_counter() - began, "cpu": processor() - cpu, "peak": peak_bytes()}


# The page

TEXT = """
Histories in which one thing grows and everything else is small ({small}). Least of {rounds} rounds, in a
process of its own: `log` and `verify` as commands, with the start of Python; `start()`, which restores all
variables; and `snapshot()` after one variable has changed. A million chunks of 1 MiB are 1 TB of history;
their packs hold nothing but the index, which `verify` without `--deep` does not notice. Seconds.
"""


def report(found: Found) -> str:
    """A table for each axis, with the bounds."""
    rounds = len(found["axes"]["snapshots"][0]["log"])
    small = ", ".join(f"{SMALL[axis]} {told}" for axis, told in TOLD.items())
    parts = [prose(TEXT, small=small, rounds=rounds)]
    for axis, sizes in found["axes"].items():
        rows: list[list[object]] = []
        for row in sizes:
            peak = max(one["peak"] for way in WAYS for one in row[way])
            rows.append([f"{row['size']:,}", *(seconds(row, way) for way in WAYS), number(peak / 1e6)])
        rows.append(["bound", *BOUNDS.values(), None])
        rows.append(["of the bound", *(times(seconds(sizes[-1], way), BOUNDS[way]) for way in WAYS), None])
        parts.append(table(f"{TOLD[axis]} | log | start | snapshot | verify | peak MB", rows))
    return "\n".join(parts)


def seconds(row: Found, way: str) -> float:
    """Of the fastest round."""
    return float(min(one["seconds"] for one in row[way]))


def plot(found: Found, pictures: Path) -> list[str]:
    """Cost against size, one panel for each axis."""
    panels = [
        plots.Panel(
            TOLD[axis],
            "seconds",
            {way: [(row["size"], seconds(row, way)) for row in sizes if row["size"]] for way in WAYS},
        )
        for axis, sizes in found["axes"].items()
    ]
    return [plots.draw(panels, pictures / "scale.svg")]


SECTION = Section("What a long history costs", measure, report, plot)
