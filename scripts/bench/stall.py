"""How long a snapshot holds the main thread, beside a bare fork in the same kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import plots, states
from bench.inside import SPIN
from bench.kernel import Kernel
from bench.memory import available_bytes
from bench.samples import middle, number, prose, said, table, times
from bench.section import Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEAST_LIMIT_SECONDS = 0.005
BEAT_SECONDS = 1.6
"""A save after a cell begins at its end, or once the kernel was idle for a second."""
ROOM = 1.7
"""Memory needed, as a multiple of the state: what builds it, and pages that are rewritten."""
FORKS = 3
"""A round."""


def measure(run: Run) -> Found:
    """Each state in a kernel of its own, smallest first."""
    sizes = run.pick((0.1, 1.0, 2.0, 8.0), (0.05, 0.2))
    count = run.pick(1_000_000, 50_000)
    wanted = [(kind(size), size) for kind in (states.arrays, states.frames, states.model) for size in sizes]
    wanted += [(states.entries(2 * count), 0.8), (states.records(count), 0.5)]
    rows: list[Found] = []
    for state, gigabytes in wanted:
        row: Found = {"state": state.name, "GB": gigabytes}
        if available_bytes() < ROOM * gigabytes * 1e9 + 1e9:
            row["left out"] = f"{available_bytes() / 1e9:.1f} GB of memory were free"
        else:
            run.say(f"{state.name}, {gigabytes} GB")
            row |= _of(state, rounds=run.pick(3, 1))
        rows.append(row)
    return {"rows": rows, "torch": states.has_torch()}


def _of(state: states.State, *, rounds: int) -> Found:
    """One kernel: in turns, forks, a snapshot inside a cell, and one between cells."""
    found: Found = {"fork": [], "inside": [], "between": [], "idle gap": []}
    with folder() as place, Kernel(place) as kernel:
        kernel.run(f"from bench import inside\n{state.build}")
        for _ in range(rounds):
            kernel.run("beat = inside.Beat(0.2)")
            kernel.wait_until("beat.done")
            found["idle gap"].append(kernel.ask("beat.longest"))
        kernel.run(
            f"import keepstate\nkeepstate.start(store={str(place / 'store')!r}, interval=86400, "
            f"track={state.tracked!r})\nkeepstate.snapshot()"
        )
        found["rss"] = kernel.ask("__import__('bench.memory').memory.held_bytes()")
        for turn in range(1, rounds + 1):
            found["fork"] += kernel.ask(f"inside.forks({FORKS})")
            kernel.run(f"turn = {turn}\n{state.change}\n{SPIN}\nturn += 1000\n{state.change}\n"
                       f"beat = inside.Beat({BEAT_SECONDS})")  # fmt: skip
            found["inside"].append(inside := kernel.ask("ask.seen(gaps)"))
            kernel.wait_until("beat.done")
            kernel.wait_until(f"inside.newest()['id'] != {inside['id']!r}")
            found["between"].append(kernel.ask("{**inside.newest(), 'gap': beat.longest}"))
    return found


# The page

TEXT = """
Median (least) of {rounds} snapshots each, in turns with {forks} forks, in one kernel for each row. *Held*
is `stall_seconds`, by a fork or by copying what has changed (*stage*). *Seen* is the longest time for which
the kernel's loop, or a cell that only reads the clock, stood still while the snapshot was taken and
written: that includes waits for the GIL (5 ms a turn) and for a core. The limit is twice the bare fork, or
5 ms. Of the {each} forks of a turn the *first* is the dearest, for what it walks is in no cache; that of a
snapshot is always a first one. Large arrays have huge pages; tensors and Python objects have 4 KiB pages,
for each of which a fork copies an entry.
"""

PROFILE = """
Where it goes, by a clock between the steps (1 GB of arrays, median of 6, 2026-11-30, the machine below):
of 6.5 ms inside a cell and 5.7 between cells the fork itself is 4.2 and 4.0, and the first bare fork of
a turn 4.2; what the machine and its libraries are like 0.3 and 0.2; the handlers of libraries before and
after a fork 0.4 and 0.2; making the steps, which call no Python in between, 0.3 and 0; the wait for the
intermediate process 0.3 and 0.5; names, random states, pipes and the collector 1.0 and 0.8. Some 500
pages that the fork before had made shared are written to on this way: about 1 ms of it, spread over all
of these.
"""


def report(found: Found) -> str:
    """Two tables, and what of them is over its limit."""
    measured = [row for row in found["rows"] if "left out" not in row]
    over = [
        f"{row['state']} ({row['GB']:g} GB), {where}: {number(middle(held) / limit_of(row))} times the "
        f"limit, {number((middle(held) - middle(row['fork'])) * 1e3)} ms more than the fork"
        for where in ("between", "inside")
        for row in measured
        if middle(held := _stalls(row, where)) > limit_of(row)
    ]
    left_out = [
        f"{row['state']} of {row['GB']:g} GB was left out: {row['left out']}.\n"
        for row in found["rows"]
        if "left out" in row
    ]
    rounds = len(measured[0]["between"])
    about = prose(TEXT, rounds=rounds, forks=FORKS * rounds, each=FORKS)
    if not found["torch"]:
        about = about.rstrip() + " Torch is not installed: small arrays stand for a model and its Adam.\n"
    head = "GB held | bare fork ms | first fork ms | held ms | of limit | of twice the first"
    between = [[row["state"], *_row(row, "between"), said(row["idle gap"], 1e3)] for row in measured]
    inside = [
        [row["state"], *_row(row, "inside"), said([one["quiet gap"] for one in row["inside"]], 1e3)]
        for row in measured
    ]
    return "\n".join(
        [
            about,
            table(f"between cells | {head} | seen by the loop ms | without a save ms", between),
            table(f"inside a cell | {head} | seen by the cell ms | without a save ms", inside),
            *left_out,
            f"Over the limit: {'; '.join(over) or 'nothing'}.\n",
            prose(PROFILE),
        ]
    )


def limit_of(row: Found) -> float:
    """Seconds."""
    return max(2 * middle(row["fork"]), LEAST_LIMIT_SECONDS)


def _firsts(row: Found) -> list[float]:
    """Give the first fork of each turn: what it walks is in no cache."""
    firsts: list[float] = row["fork"][::FORKS]
    return firsts


def _stalls(row: Found, where: str) -> list[float]:
    return [one["stall"] for one in row[where]]


def _row(row: Found, where: str) -> list[str]:
    held = _stalls(row, where)
    return [
        number(row["rss"] / 1e9),
        said(row["fork"], 1e3),
        said(_firsts(row), 1e3),
        f"{said(held, 1e3)} {'/'.join(sorted({one['strategy'].partition(':')[0] for one in row[where]}))}",
        times(middle(held), limit_of(row)),
        times(middle(held), max(2 * middle(_firsts(row)), LEAST_LIMIT_SECONDS)),
        said([one["gap"] for one in row[where]], 1e3),
    ]


def plot(found: Found, pictures: Path) -> list[str]:
    """Time held against size, between cells and inside of one."""
    measured = [row for row in found["rows"] if "left out" not in row]
    kinds = [
        kind for kind in dict.fromkeys(row["state"] for row in measured) if _points(measured, kind, _fork)[1:]
    ]
    panels = []
    for kind in kinds:
        lines = {
            "bare fork": _points(measured, kind, _fork),
            "between cells": _points(measured, kind, lambda row: middle(_stalls(row, "between"))),
            "inside a cell": _points(measured, kind, lambda row: middle(_stalls(row, "inside"))),
            "limit": _points(measured, kind, limit_of),
        }
        panels.append(plots.Panel("GB held", "ms", lines, kind))
    return [plots.draw(panels, pictures / "stall.svg")]


def _fork(row: Found) -> float:
    return middle(row["fork"])


def _points(rows: list[Found], kind: str, value: Callable[[Found], float]) -> list[tuple[float, float]]:
    return [(row["rss"] / 1e9, value(row) * 1e3) for row in rows if row["state"] == kind]


SECTION = Section("How long the notebook is held", measure, report, plot)
