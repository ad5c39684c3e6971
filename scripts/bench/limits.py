"""What this machine can do at best."""

from __future__ import annotations

import subprocess
import sys
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from bench import inside, speed
from bench.alone import COLD_SECONDS, alone, seconds_of, surroundings
from bench.samples import number, table
from bench.section import Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable

MADV_HUGEPAGE, MADV_NOHUGEPAGE = 14, 15
"""Source: ``asm-generic/mman-common.h``."""


def measure(run: Run) -> Found:
    """All of it; name → unit and rounds."""
    nbytes, rounds = run.pick((1 << 30, 5), (1 << 27, 2))
    cold = not run.quick
    with folder() as place:
        given = {"place": str(place), "nbytes": nbytes, "rounds": rounds}
        found: Found = alone(passes, given, cold=cold)
    for name, advice in (("huge pages", MADV_HUGEPAGE), ("4 KiB pages", MADV_NOHUGEPAGE)):
        forks = alone(fork, {"nbytes": nbytes, "advice": advice, "rounds": rounds})
        found[f"bare fork, {nbytes / 1e9:.2f} GB on {name}"] = _milliseconds(forks)
    first = [alone(touch, {"nbytes": nbytes}, cold=cold) for _ in range(run.pick(2, 1))]
    found["first touch of memory, cold"] = _rates(nbytes, first)
    again = [alone(touch, {"nbytes": nbytes}) for _ in range(1 + rounds)]
    found["first touch of memory, warm"] = _rates(nbytes, again[1:])
    found["`import keepstate` beside numpy"] = _milliseconds([_import_seconds() for _ in range(rounds)])
    return {"limits": found}


def passes(place: str, nbytes: int, rounds: int) -> Found:
    """Passes over memory, and synced writes."""
    import numpy as np
    import xxhash
    from blake3 import blake3

    source = speed.make(speed.KINDS[2], nbytes)
    memory = source.data.cast("B")
    target = np.ones_like(source)
    path = Path(place) / "limit"

    def afresh(write: Callable[[Path, memoryview], None]) -> Callable[[], None]:
        def once() -> None:
            path.unlink(missing_ok=True)
            write(path, memory)

        return once

    calls: dict[str, Callable[[], object]] = {
        "memcpy": lambda: np.copyto(target, source),
        "xxh3-128": lambda: xxhash.xxh3_128_digest(memory),
        "blake3, 1 MiB at a time": lambda: [
            blake3(memory[at : at + (1 << 20)]).digest() for at in range(0, nbytes, 1 << 20)
        ],
        "synced write, page cache": afresh(speed.write),
        "synced write, direct": afresh(speed.write_direct),
    }
    found = {name: _rates(nbytes, [seconds_of(call) for _ in range(rounds)]) for name, call in calls.items()}
    for kind in speed.KINDS:
        array = speed.make(kind, nbytes // 8).data.cast("B")
        itemsize = 4 if "32" in kind else 8
        taken = [speed.compress(array, itemsize) for _ in range(rounds)]
        found[f"compression on one core, {kind}"] = _rates(len(array), taken)
    return found


def _rates(nbytes: int, seconds: list[float]) -> Found:
    return {"unit": "GB/s", "rounds": [nbytes / one / 1e9 for one in seconds]}


def _milliseconds(seconds: list[float]) -> Found:
    return {"unit": "ms", "rounds": [one * 1e3 for one in seconds]}


def fork(nbytes: int, advice: int, rounds: int) -> list[float]:
    """Bare forks of a process with so much memory."""
    memory = mmap(-1, nbytes)
    memory.madvise(advice)
    for at in range(0, nbytes, 4096):
        memory[at] = 1
    return inside.forks(2 + rounds)[2:]


def touch(nbytes: int) -> float:
    """Seconds until so much memory was written to for the first time."""
    import numpy as np

    fresh = np.empty(nbytes, "u1")
    return seconds_of(lambda: fresh.fill(1))


def _import_seconds() -> float:
    code = "import numpy, time; b = time.perf_counter(); import keepstate; print(time.perf_counter() - b)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=surroundings(), capture_output=True, text=True, check=True)
    return float(done.stdout)


def report(found: Found) -> str:
    """One table."""
    rows = []
    for name, one in found["limits"].items():
        rounds, fast = sorted(one["rounds"]), max if "/s" in one["unit"] else min
        rows.append([name, number(rounds[len(rounds) // 2]), number(fast(rounds)), one["unit"], len(rounds)])
    about = (
        f"Cold memory is what the machine gets back from its host: {COLD_SECONDS:g} s after it was freed.\n"
    )
    return "\n".join([about, table("limit | median | best | unit | rounds", rows)])


SECTION = Section("This machine's limits", measure, report)
