"""Six notebooks, and keepstate beside what people use instead: first save, save after a change, restore."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench import notebooks, peers, plots, states
from bench.alone import alone
from bench.kernel import Kernel, save
from bench.memory import family, shared_out_bytes, watching
from bench.samples import middle, number, prose, said, table
from bench.section import WORKING, Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KISHU_SCALE = {"W4": 0.05}
"""At full size Kishu took 138 s to save it first, 49 to 87 s after a change, and 99 s to restore it."""
PEERS = ("keepstate", *peers.FILES, "kishu")


def measure(run: Run) -> Found:
    """Each workload with every method."""
    os.environ["BENCH_SCALE"] = str(scale := run.pick(1.0, 0.02))
    WORKING.mkdir(parents=True, exist_ok=True)
    found: Found = {"scale": scale, "kishu": peers.KISHU_PYTHON.exists(), "workloads": {}}
    for workload in run.pick(tuple(notebooks.NAMES), ("W1", "W6")):
        if workload == "W5" and not states.has_torch():
            found["workloads"][workload] = {"left out": "torch is not installed"}
            continue
        run.say(f"{workload}: {notebooks.NAMES[workload]}")
        found["workloads"][workload] = _of(run, workload, scale, kishu=found["kishu"])
    return found


def _of(run: Run, workload: str, scale: float, *, kishu: bool) -> Found:
    rounds = run.pick(2, 1)
    with folder() as place:
        given = {"workload": workload, "place": str(place), "rounds": rounds}
        found: Found = alone(peers.save_files, given)
        found["keepstate"] = _ours(workload, str(place / "store"), rounds)
        for peer, method in found.items():
            if "error" not in method:
                path = place / ("store" if peer == "keepstate" else peer)
                method["restore"] = _restores({"workload": workload, "peer": peer, "path": str(path)}, run)
    if kishu:
        try:
            found["kishu"] = peers.kishu(workload, scale * KISHU_SCALE.get(workload, 1.0))
        except RuntimeError as error:
            found["kishu"] = {"error": str(error).strip().splitlines()[-1][:100]}
    return found


def _restores(given: Found, run: Run) -> list[Found]:
    found = [alone(peers.restore, given)]
    if found[0]["seconds"] < peers.SLOW_SECONDS / 2 and not run.quick:
        found.append(alone(peers.restore, given))
    return found


def _ours(workload: str, store: str, rounds: int) -> Found:
    """In a kernel, with everything tracked."""
    with folder() as place, Kernel(place) as kernel:
        kernel.run(f"import keepstate\nfrom bench import inside\n{notebooks.build(workload, str(WORKING))}")
        kernel.ask(f"inside.warm({shared_out_bytes(family(kernel.mark))})")
        start = f"keepstate.start(store={store!r}, interval=86400, track='all')"
        saves = []
        for cell in (start, *(notebooks.step(workload, turn) for turn in range(rounds))):
            before = shared_out_bytes(family(kernel.mark))
            with watching(kernel.mark) as peak:
                saves.append(save(kernel, store, cell))
            saves[-1]["extra"] = max(0, peak.bytes - before)
        digest = kernel.ask(f"notebooks.digest({workload!r}, globals())")
    rows = [
        {"seconds": one["wall"], "held": one["stall"], "written": one["grown"], "extra": one["extra"]}
        for one in saves
    ]
    return {"first": rows[:1], "later": rows[1:], "digest": digest}


# The page

TEXT = """
Each notebook in a kernel with keepstate (`track="all"`), the same state saved as one file by pickle 5,
joblib and dill in one process, in turns, and the same cells in a kernel with Kishu, in an environment of
its own. All saves end with a sync. *Held* is how long the notebook cannot go on: the whole save for all but
keepstate. Median of {rounds} saves after small changes; restores, in fresh processes that have imported
everything, median of up to {restores}. Memory is warm. *Peak* is memory beyond the state that a save takes
(its child's included) or that the process of a restore takes in all. keepstate's restore includes opening
the store and checking every byte against its id; files are not checked. Kishu was given one change, at full
size but for {scaled}.
"""


def report(found: Found) -> str:
    """A table for each workload, and where somebody else is faster."""
    some = next(one for one in found["workloads"].values() if "left out" not in one)
    scaled = ", ".join(f"{name} at {scale:g} of it" for name, scale in KISHU_SCALE.items())
    parts = [
        prose(
            TEXT,
            rounds=len(some["keepstate"]["later"]),
            restores=len(some["keepstate"]["restore"]),
            scaled=scaled,
        )
    ]
    head = (
        "first save s | held ms | after a change s | held ms | first MB | MB after | restore s | "
        "peak saving MB | peak restoring MB | equal"
    )
    for name, methods in found["workloads"].items():
        parts.append(f"### {name}: {notebooks.NAMES[name]}\n")
        if "left out" in methods:
            parts.append(f"Left out: {methods['left out']}.\n")
            continue
        rows = [[peer, *_row(methods[peer])] for peer in PEERS if peer in methods]
        parts += [table(f"method | {head}", rows), _lost(methods)]
    return "\n".join(parts)


def _row(method: Found) -> list[object]:
    if "error" in method:
        return [method["error"].replace("|", "/"), *[""] * 9]
    first, later, restores = method["first"], method["later"], method["restore"]
    after: list[float] = [one["written"] for one in later]
    extra = max(one["extra"] for one in first + later)
    taken: list[float] = [one["extra"] for one in restores if "extra" in one]
    return [
        said([one["seconds"] for one in first]).partition(" ")[0],
        said(list(map(_held, first)), 1e3).partition(" ")[0],
        said([one["seconds"] for one in later]) if later else "as the first",
        said(list(map(_held, later)), 1e3),
        first[0]["written"] / 1e6,
        middle(after) / 1e6 if after else None,
        said([one["seconds"] for one in restores]),
        extra / 1e6,
        max(taken) / 1e6 if taken else None,
        "yes" if all(one["digest"] == method["digest"] for one in restores) else "**no**",
    ]


def _lost(methods: Found) -> str:
    """What a method that writes files needs less for than keepstate, and by how much."""
    measures: dict[str, Callable[[Found], list[float]]] = {
        "the first save": lambda one: [each["seconds"] for each in one["first"]],
        "holding the notebook": lambda one: [_held(each) for each in _latest(one)],
        "a save after a change": lambda one: [each["seconds"] for each in _latest(one)],
        "bytes after a change": lambda one: [each["written"] for each in _latest(one)],
        "restoring": lambda one: [each["seconds"] for each in one["restore"]],
    }
    able = [peer for peer in PEERS[1:-1] if "error" not in methods[peer]]
    sentences = []
    for what, rounds in measures.items():
        ours, others = (
            middle(rounds(methods["keepstate"])),
            {each: middle(rounds(methods[each])) for each in able},
        )
        best = min(others, key=lambda peer: others[peer])
        if others[best] < ours:
            sentences.append(f"{what} ({best}: {number(ours / others[best])} times)")
    return f"One that writes files needs less for: {'; '.join(sentences) or 'nothing'}.\n"


def _held(save: Found) -> float:
    """Files are written by the notebook itself."""
    return float(save["held"] if "held" in save else save["seconds"])


def _latest(method: Found) -> list[Found]:
    later: list[Found] = method["later"] or method["first"]
    return later


def plot(found: Found, pictures: Path) -> list[str]:
    """How long the notebook is held after a change, what is written then, and restoring."""
    groups = {name: methods for name, methods in found["workloads"].items() if "left out" not in methods}

    def panel(told: str, value: Callable[[Found], float]) -> plots.Bars:
        bars = {
            peer: [
                None if "error" in methods.get(peer, {"error": ""}) else value(methods[peer])
                for methods in groups.values()
            ]
            for peer in PEERS
        }
        return plots.Bars(told, list(groups), bars)

    panels = [
        panel("held after a change, s", lambda one: middle([_held(each) for each in _latest(one)])),
        panel(
            "written after a change, MB", lambda one: middle([each["written"] for each in _latest(one)]) / 1e6
        ),
        panel("restoring, s", lambda one: middle([each["seconds"] for each in one["restore"]])),
    ]
    return [plots.draw(panels, pictures / "workloads.svg")]


SECTION = Section("Six notebooks, beside pickle, joblib, dill and Kishu", measure, report, plot)
