"""How much slower a busy cell runs while snapshots are due every ten seconds, and what memory they take."""

from __future__ import annotations

from dataclasses import dataclass

from bench import states
from bench.kernel import Kernel
from bench.memory import family, shared_out_bytes, watching
from bench.samples import middle, number, prose, said, table, times
from bench.section import Found, Run, Section, folder

GOAL = 0.025
"""Of the cell's time (issue 5)."""
SETTLE_SECONDS = 3.0
"""What is not counted of a cell: the save of the cell before may still run."""
LEARN = 2.8
"""Intervals of a cell beforehand, in which the overhead budget learns what saves cost here; not a whole
number, so that none is due at its end."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A cell that works in units until its time is up."""

    name: str
    state: states.State
    prepare: str
    unit: str


def _busy(gigabytes: float) -> list[Busy]:
    arrays = states.arrays(gigabytes)
    blas = states.State("matrices", arrays.build, arrays.change, (*arrays.tracked, "a", "b", "c"))
    python = states.State("arrays and a dict", arrays.build, arrays.change, (*arrays.tracked, "d"))
    return [
        Busy("Python, one thread", python, "d = dict.fromkeys(range(1000), 0)",
             "for i in range(20_000): d[i % 1000] += i % 7"),
        Busy("BLAS, its own threads", blas, "a, b = np.random.default_rng(1).random((2, 1500, 1500))",
             "a[0, 0] += 1; c = a @ b"),
        _training(gigabytes),
    ]  # fmt: skip


def _training(gigabytes: float) -> Busy:
    """Every step rewrites all of the state."""
    if states.has_torch():
        state = states.model(gigabytes)
        unit = "(model(x) - 1).square().mean().backward(); opt.step(); opt.zero_grad(set_to_none=True)"
        return Busy("training step, torch with Adam", state, "x = torch.randn(8, 1024)", unit)
    side = int((gigabytes * 1e9 / 2 / 8 / 8) ** 0.5)
    build = f"import numpy as np\nw, v = ([np.zeros(({side}, {side})) for _ in range(8)] for _ in range(2))"
    unit = "for p, q in zip(w, v):\n        q *= 0.9; q += 0.1; p -= q"
    return Busy("training step, numpy with momentum", states.State("arrays", build, "", ("w", "v")), "", unit)


CELL = """
took, began = [], time.perf_counter() + {settle}
wall = time.time() - time.perf_counter()
while time.perf_counter() < began:
    {unit}
began = time.perf_counter()
while time.perf_counter() < began + {seconds}:
    before = time.perf_counter()
    {unit}
    took.append((wall + before, time.perf_counter() - before))
elapsed = time.perf_counter() - began
"""

SAVES = """
saves = [s for s in keepstate.snapshots() if s.reason == 'timer' and s.sequence > last]
saves = [s for s in saves if s.lineage == keepstate.snapshots()[0].lineage]
"""


def measure(run: Run) -> Found:
    """Each cell in a kernel of its own, without and with keepstate in turns."""
    seconds, interval = run.pick((20.0, 10.0), (4.0, 2.0))
    rows = []
    for busy in _busy(run.pick(1.0, 0.2)):
        run.say(busy.name)
        rows.append({"name": busy.name, **_of(busy, seconds, interval, rounds=run.pick(2, 1))})
    return {"rows": rows, "seconds": seconds, "interval": interval}


def _of(busy: Busy, seconds: float, interval: float, *, rounds: int) -> Found:
    found: Found = {"off": [], "on": []}
    with folder() as place, Kernel(place) as kernel:
        kernel.run(f"from bench import inside\nimport keepstate\n{busy.state.build}\n{busy.prepare}")
        kernel.run(CELL.format(settle=0, seconds=1.0, unit=busy.unit))  # the first of everything is slower
        for _ in range(rounds):
            kernel.run(
                f"keepstate.start(store={str(place / 'store')!r}, interval={interval}, restore='off', "
                f"track={busy.state.tracked!r})"
            )
            kernel.run(CELL.format(settle=0, seconds=LEARN * interval, unit=busy.unit))
            # Whole cadences: each has one save.
            seconds = max(seconds, 2 * kernel.ask("keepstate.status().cadence_seconds"))
            cell = CELL.format(settle=SETTLE_SECONDS, seconds=seconds, unit=busy.unit)
            kernel.run("last = keepstate.snapshot().sequence")
            with_it = _timed(kernel, cell)
            kernel.run(SAVES)
            with_it["snapshots"] = kernel.ask("[inside.facts(s) for s in saves]")
            with_it["dearer"] = kernel.ask("inside.dearer(took, saves)")
            with_it["cadence"] = kernel.ask("keepstate.status().cadence_seconds")
            kernel.run("keepstate.stop(snapshot=False)")
            with_it["after"] = shared_out_bytes(family(kernel.mark))
            found["on"].append(with_it)
            found["off"].append(_timed(kernel, cell))
    return found


def _timed(kernel: Kernel, cell: str) -> Found:
    """Run the cell once."""
    before = shared_out_bytes(family(kernel.mark))
    with watching(kernel.mark) as peak:
        kernel.run(cell)
    kernel.run("units = sorted(each for _, each in took)")
    units = kernel.ask("[len(units), elapsed, units[-1], units[len(units) // 2]]")
    return {
        **dict(zip(("units", "elapsed", "slowest", "usual"), units, strict=True)),
        "before": before,
        "peak": peak.bytes,
        "processes": peak.processes,
    }


# The page

UNITS = ("usual", "slowest")
TEXT = """
Cells of {seconds:g} s, or two cadences where those are longer, with keepstate (*on*) at
`interval={interval:g}` and without (*off*), in turns, {rounds} rounds. A cell beforehand lets the overhead
budget learn what a save costs; the first {settle:g} s, with the save of that cell, are not counted.
*Slower* compares the median numbers of units done in a second; *cadence* is how far apart saves were at
most, after the budget had stretched the interval. *A save costs* is by how much the units in which it was
at work, and two more, were slower than the median of all others of the same cell: with few saves in a cell
that is less at the mercy of a machine whose speed wanders. A child wants a core while it lives, at the
lowest priority: a cell that keeps all cores busy shares them with it, and every cell pays for each page
that it rewrites meanwhile. Memory is that of the kernel and its children together, each page counted once;
*not given back* is what is left after keepstate has stopped.
"""


def report(found: Found) -> str:
    """Two tables of the three cells: time, and memory."""
    speeds, memories = [], []
    for row in found["rows"]:
        slower = slowdown(row)
        taken = [len(one["snapshots"]) for one in row["on"]]
        held = [one["stall"] for one_cell in row["on"] for one in one_cell["snapshots"]]
        dearer = [one for one_cell in row["on"] for one in one_cell["dearer"]]
        cadence = max(one["cadence"] for one in row["on"])
        units = [said([one[what] for one in row[how]], 1e3) for what in UNITS for how in ("off", "on")]
        speeds.append(
            [
                row["name"],
                number(slower * 100),
                times(max(slower, 0.0), GOAL),
                ", ".join(number((1 - rate(on) / rate(off)) * 100) for off, on in _pairs(row)),
                "/".join(map(str, taken)),
                number(cadence),
                said(dearer, 1e3),
                number(middle(dearer) / cadence * 100) if dearer else None,
                said(held, 1e3),
                *units,
            ]
        )
        off, on = (max(one["peak"] for one in row[how]) for how in ("off", "on"))
        left = row["on"][-1]["after"] - row["off"][0]["peak"]
        memories.append([row["name"], *(number(one / 1e6) for one in (off, on, on - off, left))])
    about = prose(
        TEXT,
        seconds=found["seconds"],
        settle=SETTLE_SECONDS,
        interval=found["interval"],
        rounds=len(found["rows"][0]["on"]),
    )
    units_head = " | ".join(f"{what} unit ms, {how}" for what in UNITS for how in ("off", "on"))
    goal = f"of {GOAL * 100:g} %"
    speed_head = (
        f"cell | slower by % | {goal} | each round % | snapshots | cadence s | a save costs ms "
        f"| of the cadence % | held ms | {units_head}"
    )
    memory_head = "cell | peak without MB | peak with MB | extra MB | not given back MB"
    return "\n".join([about, table(speed_head, speeds), table(memory_head, memories)])


def rate(cell: Found) -> float:
    """Units a second."""
    return float(cell["units"] / cell["elapsed"])


def slowdown(row: Found) -> float:
    """How much fewer units are done in a second, as a share."""
    return 1 - middle([rate(one) for one in row["on"]]) / middle([rate(one) for one in row["off"]])


def _pairs(row: Found) -> list[tuple[Found, Found]]:
    return list(zip(row["off"], row["on"], strict=True))


SECTION = Section("How much slower a busy cell runs", measure, report)
