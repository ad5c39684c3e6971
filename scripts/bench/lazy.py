"""How soon a large state is there: ``start()``, a cell that uses one small object, and all of it."""

from __future__ import annotations

import time

from bench.alone import COLD_SECONDS, pause
from bench.kernel import Kernel
from bench.memory import available_bytes
from bench.samples import middle, number, prose, said, table, times
from bench.section import Found, Run, Section, folder

RETURN_LIMIT_SECONDS = 0.3
"""Of ``start()`` (issue 5)."""
PIECES = 8
ROOM = 1.7
"""Memory needed, as a multiple of the state."""
BUSY_SECONDS = 1.0

BUSY = """
busy_began, busy_units, busy_until = time.perf_counter(), 0, time.perf_counter() + {seconds}
while time.perf_counter() < busy_until:
    for busy in range(5_000): busy * busy % 7
    busy_units += 1
"""
"""Names nothing that is restored."""


def measure(run: Run) -> Found:
    """One kernel keeps a state; each round begins in a fresh one, after a pause."""
    wanted = run.pick(8.0, 0.3)
    gigabytes = min(wanted, max(0.5, int(available_bytes() / 1e9 / ROOM * 2) / 2))
    found: Found = {"GB": gigabytes, "wanted GB": wanted, "lazy": [], "eager": []}
    arrays = tuple(f"a{i}" for i in range(PIECES))
    with folder() as place:
        store = str(place / "store")
        with Kernel(place) as kernel:
            rows = int(gigabytes * 1e9 / 4 / PIECES)
            kernel.run("import keepstate, numpy as np\nr = np.random.default_rng(1)")
            for name in arrays:
                kernel.run(f"{name} = r.random({rows}, dtype=np.float32)")
            kernel.run(
                f"small = {{'answer': 42}}\nkeepstate.start(store={store!r}, interval=86400, "
                f"track={(*arrays, 'small')!r})\nkeepstate.snapshot()\nkeepstate.stop(snapshot=False)"
            )
        for mode in run.pick(("lazy", "eager", "lazy"), ("lazy", "eager")):
            run.say(f"{gigabytes:g} GB, {mode}")
            pause(run.pick(COLD_SECONDS, 1.0))
            with folder() as fresh, Kernel(fresh) as kernel:
                found[mode].append(_come_back(kernel, store, mode, (*arrays, "small")))
    return found


def _come_back(kernel: Kernel, store: str, mode: str, names: tuple[str, ...]) -> Found:
    kernel.run("import keepstate, time, numpy as np\nfrom keepstate._api import _load\n_load()")
    kernel.run("from bench import inside")
    idle = [kernel.run("pass") for _ in range(3)]
    # Not in the cell that starts, which would wait for every name that it says, in texts as well.
    kernel.run(f"arrival = inside.Arrival({names!r})")
    kernel.run(
        "arrival.begin()\n"
        f"keepstate.start(store={store!r}, restore={mode!r}, interval=86400)\n"
        "arrival.started()"
    )
    small = kernel.run("assert small['answer'] == 42")
    rates = []
    until = time.perf_counter() + 300
    while not kernel.ask("arrival.done") and time.perf_counter() < until:
        rates.append(_rate(kernel))
    found: Found = kernel.ask("{'started': arrival.started_after, 'all': arrival.seconds}")
    alone = [_rate(kernel) for _ in range(3)]
    return {**found, "idle cell": middle(idle), "small cell": small, "rates": rates, "alone": alone}


def _rate(kernel: Kernel) -> float:
    """Units that a busy cell does in a second."""
    kernel.run(BUSY.format(seconds=BUSY_SECONDS))
    return float(kernel.ask("busy_units / (time.perf_counter() - busy_began)"))


# The page

TEXT = """
{size} GB of random float32 in {pieces} arrays, and a small dict, wait in a local repository. Each round
begins in a fresh kernel that has imported everything, after a pause; median (least) of {rounds}. *Start* is
until `start()` returns; *one small object* is how long a cell takes after that which names nothing but the
dict; *all* is until the last array is bound, counted from the call of `start()`. *Slower* compares a cell
that only computes, meanwhile and afterwards.
"""


def report(found: Found) -> str:
    """One table, lazy beside eager."""
    rows = []
    for mode in ("lazy", "eager"):
        rounds = found[mode]
        started = [one["started"] for one in rounds]
        drags = [1 - middle(one["rates"]) / middle(one["alone"]) for one in rounds if one["rates"]]
        rows.append(
            [
                f"`restore={mode!r}`",
                said(started),
                times(middle(started), RETURN_LIMIT_SECONDS),
                said([one["small cell"] for one in rounds], 1e3),
                said([one["idle cell"] for one in rounds], 1e3),
                said([one["all"] for one in rounds]),
                number(middle(drags) * 100) if drags else None,
            ]
        )
    about = prose(TEXT, size=f"{found['GB']:g}", pieces=PIECES, rounds=len(found["lazy"]))
    if found["GB"] < found["wanted GB"]:
        about += f"\nMore than that did not fit: {found['wanted GB']:g} GB were wanted.\n"
    head = (
        f"mode | start s | of {RETURN_LIMIT_SECONDS:g} s | one small object ms | an empty cell ms | all s | "
        "slower by %"
    )
    return "\n".join([about, table(head, rows)])


SECTION = Section("How soon a state is there", measure, report)
