"""Measure keepstate beside this machine's limits and beside what people use instead.

    make bench                     writes docs/benchmarks.md and docs/benchmarks.json

Every number is the median of a few runs in a process of its own. Peers save the same state in the same
process, by the call that their users write; they hold the notebook for as long as they take.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_far

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
GB = 1e9

ARRAY = """
import numpy as np
state = {"big": np.random.default_rng(7).random((262144, 1024))}
"""
FRAME = """
import numpy as np, pandas as pd
r, rows = np.random.default_rng(1), 1_000_000
columns = {f"i{j}": r.integers(0, 10_000, rows) for j in range(3)}
columns |= {f"f{j}": r.standard_normal(rows) for j in range(5)}
state = {"df": pd.DataFrame({**columns, "t": pd.date_range("2015-01-01", periods=rows, freq="min")})}
"""
DICT = """
state = {"d": {f"key_{i:08d}": [i, i % 7] for i in range(1_000_000)}}
"""
WORKLOADS = {
    "array of 2 GB": (ARRAY, "state['big'][7, 3] += 1.0", "one element"),
    "frame of 1 M rows": (FRAME, "state['df']['f1'] = state['df']['f1'] * 1.01", "one column of nine"),
    "dict of 1 M lists": (DICT, "state['d']['key_00000123'].append(5)", "one list"),
}
"""name → how it is built, how it is changed, and what that change is."""


EXPLANATION = """
*held* is how long the main thread cannot go on: for keepstate what `stall_seconds` says, for the others the
whole save. All saves end with a sync. keepstate's restore includes opening the store and checking
every byte against its id; the peers check nothing.
"""


def clock(call, rounds: int = ROUNDS) -> float:
    """Median seconds of *call*."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def limits(folder: Path) -> dict[str, float]:
    """What this machine can do at best, in GB/s; fork in ms for a process with 1 GB of arrays."""
    import numpy as np
    import xxhash

    source = np.random.default_rng(0).random(1 << 27)  # 1 GiB
    target = np.empty_like(source)
    target[:] = source

    def write() -> None:
        with (folder / "limit").open("wb") as file:
            file.write(source.data)
            os.fsync(file.fileno())

    def fork() -> None:
        if pid := os.fork():
            forks.append(time.perf_counter() - began)
            os.waitpid(pid, 0)
        else:
            os._exit(0)

    forks: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        fork()
    imports = "import numpy, time; b = time.perf_counter(); import keepstate; print(time.perf_counter() - b)"
    size = source.nbytes / GB
    found = {
        "memcpy GB/s": size / clock(lambda: np.copyto(target, source)),
        "xxh3-128 GB/s": size / clock(lambda: xxhash.xxh3_128_digest(source.data)),
        "synced write GB/s": size / clock(write),
        "fork of 1 GB of arrays, ms": statistics.median(forks) * 1e3,
        "`import keepstate` beside numpy, ms": restored_in(imports) * 1e3,
    }
    (folder / "limit").unlink()
    return found


def run_workload(name: str) -> dict[str, dict[str, float]]:
    """Save, change, save, restore by every method; one process, so that the state is the same."""
    build, change, _ = WORKLOADS[name]
    space: dict[str, object] = {}
    exec(build, space)
    state = space["state"]
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        rows = {"keepstate": ours(state, change, Path(folder))}
        for peer in ("pickle", "joblib", "dill"):
            rows[peer] = theirs(peer, state, change, Path(folder))
    return rows


def ours(state: dict[str, object], change: str, folder: Path) -> dict[str, float]:
    """The state as variables of a script that is guarded."""
    import keepstate

    space = dict(state)
    keepstate.start(store=folder / "store", namespace=space, track=tuple(state), interval=86400)
    began = time.perf_counter()
    first = keepstate.snapshot()
    first_seconds = time.perf_counter() - began
    stalls, seconds, written = [], [], []
    for _ in range(ROUNDS):
        exec(change, {"state": space})
        began = time.perf_counter()
        kept = keepstate.snapshot()
        seconds.append(time.perf_counter() - began)
        stalls.append(kept.stall_seconds)
        written.append(kept.written_bytes)
    began = time.perf_counter()
    keepstate.snapshot()
    unchanged = time.perf_counter() - began
    keepstate.stop(snapshot=False)
    code = (
        f"import time, numpy, keepstate\ntry:\n import pandas\nexcept ImportError: pass\n"
        f"s={{}}; b=time.perf_counter()\n"
        f"keepstate.start(store={str(folder / 'store')!r}, namespace=s, interval=86400)\n"
        f"print('seconds', time.perf_counter()-b)"
    )
    return {
        "first save s": first_seconds,
        "held ms": statistics.median(stalls) * 1e3,
        "save after change s": statistics.median(seconds),
        "MB written after change": statistics.median(written) / 1e6,
        "unchanged s": unchanged,
        "restore s": restored_in(code),
        "first MB": first.written_bytes / 1e6,
    }


def theirs(peer: str, state: dict[str, object], change: str, folder: Path) -> dict[str, float]:
    """One whole file each time, closed and synced, as a careful user would."""
    import pickle

    import dill
    import joblib

    path = folder / peer
    save = {"pickle": lambda f: pickle.dump(state, f, 5), "joblib": lambda f: joblib.dump(state, f)}
    dump = save.get(peer, lambda f: dill.dump(state, f, 5))

    def once() -> None:
        with path.open("wb") as file:
            dump(file)
            file.flush()
            os.fsync(file.fileno())

    rounds = 1 if "dict" in repr(type(next(iter(state.values())))) and peer != "pickle" else ROUNDS
    first = clock(once, 1)
    seconds = []
    for _ in range(rounds):
        exec(change, {"state": state})
        seconds.append(clock(once, 1))
    loader = {"pickle": "import pickle as m", "joblib": "import joblib as m", "dill": "import dill as m"}[
        peer
    ]
    code = (
        f"import time, numpy\n{loader}\ntry:\n import pandas\nexcept ImportError: pass\n"
        f"b=time.perf_counter()\nwith open({str(path)!r}, 'rb') as f: s = m.load(f)\n"
        f"print('seconds', time.perf_counter()-b)"
    )
    held = statistics.median(seconds)
    size = path.stat().st_size / 1e6
    result = {
        "first save s": first,
        "held ms": held * 1e3,
        "save after change s": held,
        "MB written after change": size,
        "unchanged s": held,
        "restore s": restored_in(code),
        "first MB": size,
    }
    path.unlink()
    return result


def restored_in(code: str) -> float:
    """Seconds that a fresh process needs; imports are done before the clock starts."""
    seconds = []
    for _ in range(ROUNDS):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        seconds.append(float(out.split()[-1]))
    return statistics.median(seconds)


def table(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table: one method a row, and the ratio to plain pickle where it says something."""
    columns = list(next(iter(rows.values())))
    lines = ["| method | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    lines += [
        f"| {name} | " + " | ".join(f"{row[c]:.4g}" for c in columns) + " |" for name, row in rows.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure everything and write the page."""
    if len(sys.argv) > 1:
        print(json.dumps(run_workload(sys.argv[1])))
        return
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        bounds = limits(Path(folder))
    results = {}
    for name in WORKLOADS:
        print(f"measuring: {name}", file=sys.stderr)
        out = subprocess.run(
            [sys.executable, __file__, name], capture_output=True, text=True, check=True
        ).stdout
        results[name] = json.loads(out.splitlines()[-1])
    far = bench_far.measure()
    versions = {p: importlib.metadata.version(p) for p in ("numpy", "pandas", "joblib", "dill", "blosc2")}
    about = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        **versions,
    }
    (ROOT / "docs" / "benchmarks.json").write_text(
        json.dumps({"about": about, "limits": bounds, "results": results, "far": far}, indent=1) + "\n"
    )
    (ROOT / "docs" / "benchmarks.md").write_text(page(about, bounds, results) + bench_far.section(far))


def page(about: dict[str, str], bounds: dict[str, float], results: dict[str, object]) -> str:
    """The page in docs/."""
    parts = [
        "# Benchmarks\n",
        "Written by `make bench`; raw numbers in `benchmarks.json`. "
        + ", ".join(f"{k} {v}" for k, v in about.items()),
        "\n## This machine's limits\n",
        "\n".join(f"- {name}: {value:.3g}" for name, value in bounds.items()),
    ]
    for name, rows in results.items():
        parts += [f"\n## {name}; changed: {WORKLOADS[name][2]}\n", table(rows)]
    parts.append(EXPLANATION)
    return "\n".join(parts)


if __name__ == "__main__":
    main()
