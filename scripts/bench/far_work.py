"""What is measured of the far store: ours and the plain way, each in a process of its own."""

from __future__ import annotations

import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.memory import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obstore.store import S3Store

    from keepstate._repository.layout import MemberFolder

BUCKET = "bench"
NICENESS = 10
"""That of the process that sends; the plain way is given the same, as the server is at work beside both."""
RANGE_BYTES = 8 << 20
"""Plain ranges; 32 MiB at a time were slower here."""
SMALL_PER_SECOND = 100
WHO: dict[str, Any] = {"project": "p", "member": "m", "notebook": "n"}


# Ours: each in a process of its own


def keep(address: str, rows: int, idle_seconds: float) -> dict[str, float]:
    """Save the array, send it, and say what that took; then, if told so, stay idle."""
    import numpy as np

    import keepstate
    from keepstate._session.far_side import FarSide

    far: list[FarSide] = []
    begin = FarSide.begin

    def noting(self: FarSide) -> None:
        far.append(self)
        begin(self)

    FarSide.begin = noting  # type: ignore[method-assign]
    space: dict[str, object] = {"big": np.random.default_rng(7).random((rows, 1024))}
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
        "peak MB": peak_bytes(report.pid) / 1e6,
        "cpu": cpu_of(report.pid),
    }
    if idle_seconds:
        before = cpu_of(report.pid)
        threading.Event().wait(idle_seconds)
        found["idle cpu s a minute"] = (cpu_of(report.pid) - before) * 60 / idle_seconds
    keepstate.stop(snapshot=False)
    return found


def come_back(address: str, rows: int) -> dict[str, float]:
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
    assert getattr(space["big"], "shape", None) == (rows, 1024)
    keepstate.stop(snapshot=False)
    return took


def timed(call: Callable[..., Any], name: str, took: dict[str, float]) -> Callable[..., Any]:
    """Note how long *call* takes, and what the processes that it ran took."""

    def measured(*args: object, **named: object) -> object:
        began = time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            took[name] = time.perf_counter() - began
            took[f"{name} peak MB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    return measured


def many(address: str, near: str, count: int, arriving: bool) -> dict[str, float]:
    """Have *count* snapshots sent that are all there, or that come while the transfer runs."""
    from keepstate._repository import Repository
    from keepstate._transfer import Transfer
    from keepstate.backends import Credentials

    Repository.open(Path(near), create=True)
    if not arriving:
        make_many(Path(near), count, per_second=None)
    secrets = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    began = time.perf_counter()
    transfer = Transfer.start(Path(near), address=address, credentials=Credentials(secrets))
    if arriving:
        make_many(Path(near), count, per_second=SMALL_PER_SECOND)
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
        "peak MB": peak_bytes(report.pid) / 1e6,
    }
    transfer.close()
    return found


def make_many(near: Path, count: int, *, per_second: int | None) -> None:
    """Write snapshots of one changing number each: what ten thousand saves leave, without their syncs."""
    import msgspec

    from keepstate._base.clock import SYSTEM_CLOCK
    from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord, Ref
    from keepstate._repository import chunk
    from keepstate._repository.layout import member_folder
    from keepstate._repository.manifests import encode_manifest

    folder = member_folder(near, WHO["member"])
    began = time.perf_counter()
    for number in range(1, count + 1):
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


def put_pack(folder: MemberFolder, chunks: list[bytes]) -> None:
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


def plain_array(address: str, rows: int, most: int) -> dict[str, float]:
    """Read the array as it is, not compressed and not checked, into a new array; put it there if it is not.

    *most* of 1 is one stream.
    """
    import numpy as np
    import obstore

    client = plain_client(address)
    if not most:
        array = np.random.default_rng(7).random((rows, 1024))
        obstore.put(client, "array", array.data.cast("B"), chunk_size=32 << 20, max_concurrency=4)
        return {"seconds": 0.0}
    began = time.perf_counter()
    array = np.empty((rows, 1024))
    target = array.data.cast("B")

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
    held: dict[str, Sequence[object]] = {}

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


def plain_client(address: str) -> S3Store:
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


def cpu_of(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
