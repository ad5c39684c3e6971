"""A first snapshot beside the disk and one core's compression; a restore beside ``np.load`` and pickle."""

from __future__ import annotations

import os
import pickle
import time
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from bench.alone import alone, seconds_of
from bench.memory import forget_peak, held_bytes, peak_bytes
from bench.samples import middle, number, prose, said, table, times
from bench.section import Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

SHARE, RESTORE_LIMIT, MEMORY_LIMIT = 0.9, 1.3, 1.15
"""Of issue 5: a first snapshot's share of the slower limit; a restore's seconds and memory."""
CHUNK_BYTES = 1 << 20
CORES = min(2, os.cpu_count() or 1)
"""That ours uses at most."""
PIECE_BYTES = 8 << 20
"""What is written at once."""
KINDS = ("random float32", "integers below 10,000", "random walk, float64")


def make(kind: str, nbytes: int) -> NDArray[np.generic]:
    """An array of that kind."""
    import numpy as np

    r = np.random.default_rng(11)
    if kind == KINDS[0]:
        return r.random(nbytes // 4, dtype=np.float32)
    if kind == KINDS[1]:
        return r.integers(0, 10_000, nbytes // 8)
    walk = r.standard_normal(nbytes // 8)
    return np.cumsum(walk, out=walk)


# Each in a process of its own


def save_ours(kind: str, nbytes: int, place: str) -> Found:
    """A first snapshot, as of a script."""
    import keepstate

    space: dict[str, object] = {"x": make(kind, nbytes)}
    keepstate.start(store=place, namespace=space, track=("x",), interval=86400)
    began = time.perf_counter()
    kept = keepstate.snapshot()
    seconds = time.perf_counter() - began
    keepstate.stop(snapshot=False)
    return {"seconds": seconds, "written": kept.written_bytes}


def save_plainly(kind: str, nbytes: int, place: str, stored: int) -> Found:
    """What bounds it: compressing this array on one core, and writing as many bytes as ours has stored."""
    array = make(kind, nbytes)
    memory = array.data.cast("B")
    path = Path(place) / "limit"
    found = {
        "compress": compress(memory, array.itemsize),
        "all steps": at_once(memory, array.itemsize),
        "write": seconds_of(lambda: write(path, memory[:stored])),
    }
    path.unlink()
    found["write direct"] = seconds_of(lambda: write_direct(path, memory[:stored]))
    path.unlink()
    return found


def compress(memory: memoryview, itemsize: int) -> float:
    """Seconds for all of it, chunk by chunk, by the filter that is quickest of those that pay, or at all."""
    shrink = shrinker(memory[: 16 * CHUNK_BYTES], itemsize)
    began = time.perf_counter()
    for at in range(0, len(memory), CHUNK_BYTES):
        shrink(memory[at : at + CHUNK_BYTES])
    return time.perf_counter() - began


def at_once(memory: memoryview, itemsize: int) -> float:
    """Seconds in which as many processes as ours has threads do all steps, each to a part of it.

    Processes, because they do not wait for one another's interpreter; side by side, because two cores that
    share a cache and a way to memory are not twice as fast as one.
    """
    part = -(-len(memory) // CORES // CHUNK_BYTES) * CHUNK_BYTES
    children = []
    began = time.perf_counter()
    for start in range(0, len(memory), part):
        if not (child := os.fork()):
            code = 1
            try:
                all_steps(memory[start : start + part], itemsize)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    seconds = time.perf_counter() - began
    assert not any(codes), codes
    return seconds


def all_steps(memory: memoryview, itemsize: int) -> None:
    """What a checked snapshot does to a chunk, but for writing it.

    A fingerprint, an id, compression; back again, and the id of that; a checksum, and a copy for the disk.
    """
    import blosc2
    from blake3 import blake3
    from xxhash import xxh3_64_intdigest, xxh3_128_digest

    shrink = shrinker(memory[: 16 * CHUNK_BYTES], itemsize)
    back, block = bytearray(CHUNK_BYTES), memoryview(bytearray(2 * CHUNK_BYTES))
    for at in range(0, len(memory), CHUNK_BYTES):
        chunk = memory[at : at + CHUNK_BYTES]
        xxh3_128_digest(chunk)
        own, stored = blake3(chunk).digest(), shrink(chunk)
        blosc2.decompress2(stored, dst=back)
        assert blake3(memoryview(back)[: len(chunk)]).digest() == own
        xxh3_64_intdigest(stored)
        block[: len(stored)] = stored


def shrinker(sample: memoryview, itemsize: int) -> Callable[[memoryview], bytes]:
    """What compresses a chunk, by the filter that shrinks *sample* most."""
    import blosc2

    def shrink(chunk: memoryview, chosen: object) -> bytes:
        method = {"codec": blosc2.Codec.LZ4, "clevel": 5, "filters": [chosen]}
        stored: bytes = blosc2.compress2(chunk, typesize=itemsize, nthreads=1, **method)
        return stored

    filters = (blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE, blosc2.Filter.NOFILTER)
    smallest = min(filters, key=lambda each: len(shrink(sample, each)))
    return lambda chunk: shrink(chunk, smallest)


def write(path: Path, memory: memoryview) -> None:
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(memory), PIECE_BYTES):
            file.write(memory[at : at + PIECE_BYTES])
        os.fdatasync(file.fileno())


def write_direct(path: Path, memory: memoryview) -> None:
    """Past the page cache, which needs aligned memory, and whole blocks."""
    piece = mmap(-1, PIECE_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    try:
        for at in range(0, len(memory), PIECE_BYTES):
            part = memory[at : at + PIECE_BYTES]
            piece[: len(part)] = part
            os.write(descriptor, memoryview(piece)[: -(-len(part) // 4096) * 4096])
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def put_plainly(kind: str, nbytes: int, place: str) -> None:
    """The files that the plain ways read."""
    import numpy as np

    array = make(kind, nbytes)
    np.save(Path(place) / "x.npy", array)
    with (Path(place) / "x.pickle").open("wb") as file:
        pickle.dump(array, file, 5)


def restore(way: str, place: str) -> Found:
    """Everything is imported before the clock starts."""
    import numpy as np

    import keepstate
    from keepstate._api import _load

    _load()
    space: dict[str, object] = {}

    def ours() -> None:
        keepstate.start(store=Path(place) / "store", namespace=space, restore="eager", interval=86400)

    def numpy() -> None:
        space["x"] = np.load(Path(place) / "x.npy")

    def unpickle() -> None:
        with (Path(place) / "x.pickle").open("rb") as file:
            space["x"] = pickle.load(file)

    ways: dict[str, Callable[[], None]] = {"keepstate": ours, "np.load": numpy, "pickle.load": unpickle}
    forget_peak()
    before = held_bytes()
    seconds = seconds_of(ways[way])
    array = space["x"]
    assert isinstance(array, np.ndarray)
    return {
        "seconds": seconds,
        "extra": peak_bytes() - before,
        "nbytes": array.nbytes,
        "sum": float(array[::97].sum()),
    }


WAYS = ("keepstate", "np.load", "pickle.load")


def measure(run: Run) -> Found:
    """Ours and the plain ways in turns, after pauses of equal length; restores also without any."""
    nbytes, cold = run.pick(2_000_000_000, 100_000_000), not run.quick
    rows = []
    for kind in KINDS:
        run.say(kind)
        row: Found = {"kind": kind, "save": [], "limits": []}
        given = {"kind": kind, "nbytes": nbytes}
        with folder() as place:
            store = place / "store"
            for turn in range(run.pick(2, 1)):
                store = place / f"store{turn}"
                row["save"].append(alone(save_ours, {**given, "place": str(store)}, cold=cold))
                plainly = {**given, "place": str(place), "stored": row["save"][-1]["written"]}
                row["limits"].append(alone(save_plainly, plainly, cold=cold))
            store.rename(place / "store")
            alone(put_plainly, {**given, "place": str(place)})
            row["warm"] = _restores(place, rounds=run.pick(6, 2), cold=False)
            if kind == KINDS[0]:
                row["cold"] = _restores(place, rounds=run.pick(6, 1), cold=cold)
        rows.append(row)
    return {"nbytes": nbytes, "rows": rows}


def _restores(place: Path, *, rounds: int, cold: bool) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {way: [] for way in WAYS}
    if not cold:
        alone(restore, {"way": WAYS[0], "place": str(place)})  # has the machine fetch the memory
    for turn in range(rounds):
        for way in (*WAYS[turn % len(WAYS) :], *WAYS[: turn % len(WAYS)]):  # nobody always follows the same
            found[way].append(alone(restore, {"way": way, "place": str(place)}, cold=cold))
    assert len({one["sum"] for ones in found.values() for one in ones}) == 1
    return found


# The page

SAVE_TEXT = """
{size} in one array. Speeds in GB of the array a second, median (best) of {rounds} rounds, in turns, each in
a process of its own after a pause. The limits: LZ4 with the filter that suits, 1 MiB at a time, on one
core; and writing as many bytes as ours stored, synced, through the page cache or past it, whichever was
faster. A snapshot hashes besides, decompresses and compares before it writes: *all steps* is how fast
{cores} processes at once do that and nothing else, in the same run.
"""
PROFILE = """
Where it goes, by a clock between the steps (2 GB in memory that the machine has already, 2026-11-30, the
machine below): of 0.91 s for the integers, the hash pass that looks for what has changed takes 0.065 s on one
core, all steps and the writing, with two threads, 0.80, what is synced at the end and published 0.02; of 1.15
s for random numbers 0.065, 0.98 and 0.08. Two processes that write for themselves are no faster than two
threads (1 GB: 0.44 to 0.49 s for 0.43 to 0.47 of the integers, 0.71 to 0.77 for 0.63 to 0.64 of random
numbers), so the interpreter is not what is waited for.
"""
RESTORE_TEXT = """
Restoring in a fresh process, in turns; median (least) of {warm} rounds right after one another (*warm*: the
machine has the memory already) or of {cold} after pauses (*cold*). Ours opens the store, checks every byte
against its id and decompresses; the others check nothing. *Peak* is the memory that the process needed at
most, as a multiple of the array. Cold memory in huge pages, which numpy asks for, comes at 0.5 GB/s here, in
4 KiB pages, as those of the bytes that pickle makes, at 2.5 (first touch, median of 5, 2026-11-30).
"""


def report(found: Found) -> str:
    """Two tables: saving, and restoring."""
    saves, restores = [], []
    for row in found["rows"]:
        compression, disk = limits_of(row, found["nbytes"])
        speed = [found["nbytes"] / one["seconds"] / 1e9 for one in row["save"]]
        share = middle(speed) / min(compression, disk)
        steps = found["nbytes"] / min(one["all steps"] for one in row["limits"]) / 1e9
        saves.append(
            [
                row["kind"],
                number(found["nbytes"] / middle([one["written"] for one in row["save"]])),
                f"{number(middle(speed))} ({number(max(speed))})",
                number(compression),
                number(disk),
                "compression" if compression < disk else "disk",
                number(share),
                times(SHARE, share),
                number(steps),
                number(middle(speed) / steps),
            ]
        )
        restores += [
            _restored(row["kind"], memory, row[memory]) for memory in ("warm", "cold") if memory in row
        ]
    first = found["rows"][0]
    size = f"{found['nbytes'] / 1e9:g} GB"
    warm, cold = (len(first[memory]["np.load"]) for memory in ("warm", "cold"))
    saves_head = (
        "array | shrinks by | first snapshot GB/s | compression GB/s | disk GB/s | the slower one | "
        f"share of it | {SHARE:g} / share | all steps GB/s | share of that"
    )
    ratio = f"ratio / {RESTORE_LIMIT:g}"
    restores_head = (
        f"array | memory | `start()` s | `np.load` s | {ratio} | `pickle.load` s | {ratio} | peak | "
        f"peak / {MEMORY_LIMIT:g}"
    )
    return "\n".join(
        [
            prose(SAVE_TEXT, size=size, rounds=len(first["save"]), cores=CORES),
            table(saves_head, saves),
            prose(PROFILE),
            prose(RESTORE_TEXT, warm=warm, cold=cold),
            table(restores_head, restores),
        ]
    )


def limits_of(row: Found, nbytes: int) -> tuple[float, float]:
    """GB of the array a second: what compression allows, and what the disk does."""
    least = {what: min(one[what] for one in row["limits"]) for what in ("compress", "write", "write direct")}
    return nbytes / least["compress"] / 1e9, nbytes / min(least["write"], least["write direct"]) / 1e9


def _restored(kind: str, memory: str, ways: dict[str, list[Found]]) -> list[str]:
    took = {way: [one["seconds"] for one in ones] for way, ones in ways.items()}
    ours = middle(took["keepstate"])
    peak = max(one["extra"] / one["nbytes"] for one in ways["keepstate"])
    plain = [
        cell for way in WAYS[1:] for cell in (said(took[way]), times(ours, RESTORE_LIMIT * middle(took[way])))
    ]
    return [kind, memory, said(took["keepstate"]), *plain, number(peak), times(peak, MEMORY_LIMIT)]


SECTION = Section("How fast a first snapshot and a restore are", measure, report)
