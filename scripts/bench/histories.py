"""Make a local repository with a long history, of any size, in seconds.

    from histories import Shape, make_history
    make_history(Path("/tmp/store"), Shape(snapshots=10_000, names=2_000, cells=5_000, chunks=1_000_000))

What sessions would have left is written by the parts that write it for them, without syncs and without a look
at the store between two snapshots. Two notebooks of one member:

- ``history``: snapshots of small variables (``v0000`` and so on), of which some change from one to the next,
  in the packs that prune leaves: full ones, and one for each of the newest snapshots.
- ``archive``, if *chunks* are asked for: large arrays of which only the ids are there. Their packs are as
  long as they say and hold nothing but header, footer and trailer, so that a terabyte takes some hundred
  megabytes of disk. Everything works with it that does not read values: ``log``, ``start`` of the other
  notebook, ``snapshot``, ``verify`` without ``--deep``, ``prune`` (which copies nothing of it).
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from keepstate import codecs
from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import Disk
from keepstate._model.kernel import Cell
from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord, PartRecord, Ref
from keepstate._repository import CHUNK_BYTES, Repository, load_compression, pack
from keepstate._repository.apart import put_apart
from keepstate._repository.catalog import Catalog
from keepstate._repository.chunk import HEADER_BYTES, ChunkHeader, chunk_id
from keepstate._repository.chunk_list import store_list
from keepstate._repository.compression import Compressor
from keepstate._repository.crew import Crew
from keepstate._repository.fingerprint import STREAM_BYTES
from keepstate._repository.index import write_index
from keepstate._repository.layout import member_folder
from keepstate._repository.manifests import encode_manifest
from keepstate._repository.outlet import Outlet
from keepstate._repository.packer import Packer
from keepstate._repository.writer import RECORD_BYTES, WHOLE_BYTES
from keepstate._snapshot.occasion import encode_cells

if TYPE_CHECKING:
    from datetime import datetime

    from keepstate._repository.layout import MemberFolder

PROJECT, MEMBER, HISTORY, ARCHIVE = "bench", "me", "history", "archive"

ARRAY_CHUNKS = 8192
"""Of one array of the archive: 8 GiB."""
PACK_CHUNKS = 32
"""Of 1 MiB: a writer closes a pack at 32 MiB."""
_FOOTER = np.dtype(
    [("id", "V32"), ("offset", "<u8"), ("stored", "<u4"), ("plain", "<u4"), ("kind", "u1"), ("zero", "V7")]
)


@dataclass(frozen=True)
class Shape:
    """How large a history is."""

    snapshots: int = 10_000
    names: int = 200
    changed: int = 3
    """Names whose value is another from one snapshot to the next."""
    cells: int = 500
    """That had run when the newest snapshot was taken."""
    sessions: int = 100
    chunks: int = 0
    """Of 1 MiB, in the other notebook."""
    recent: int = 60
    """Newest snapshots whose chunks are in packs of their own."""
    minutes_apart: float = 1.0


class _QuickDisk(Disk):
    """Nothing here needs to survive a power cut."""

    def sync(self, descriptor: int) -> None:
        """Leave it to the system."""

    def sync_directory(self, path: Path) -> None:
        """Leave it to the system."""


class _Packs:
    """Puts chunks into packs, each chunk once."""

    def __init__(self, folder: MemberFolder, random: np.random.Generator) -> None:
        self._outlet = Outlet(_QuickDisk(), Crew(1).writers[0], direct=False)
        self._folder = folder
        self._random = random
        self._packer: Packer | None = None
        self._there: set[bytes] = set()

    def put(self, plain: bytes | memoryview) -> bytes:
        """Store a chunk."""
        own = chunk_id(plain)
        if own not in self._there:
            self._there.add(own)
            if self._packer is not None and self._packer.is_full:
                self.close()
            if self._packer is None:
                own_id = self._random.bytes(16).hex()
                path = self._folder.pack(own_id)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._packer = Packer(self._outlet, path, pack_id=own_id)
            kind, stored = Compressor(1).compress(memoryview(plain))
            header = ChunkHeader(own, kind, len(plain), len(stored), xxh3_64_intdigest(stored))
            self._packer.add(header, stored)
        return own

    def put_bytes(self, data: bytes, *, chunk_bytes: int) -> Ref:
        """Store bytes of any length."""
        view = memoryview(data)
        pieces = [view[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
        return store_list([(self.put(piece), piece.nbytes) for piece in pieces], put=self.put)

    def close(self) -> None:
        """Finish the pack in hand."""
        if self._packer is not None:
            self._packer.finish()
            self._packer = None


def make_history(path: Path, shape: Shape, *, until: datetime | None = None, seed: int = 1) -> None:
    """Make a store at *path*, which is empty or not there.

    Args:
        path: Where.
        shape: How large.
        until: When the newest snapshot was taken, aware; ``None``: a minute ago.
        seed: Of all that is random.
    """
    load_compression()
    until = SYSTEM_CLOCK.utc_now() - timedelta(minutes=1) if until is None else until
    Repository.open(path, create=True)
    folder = member_folder(path, MEMBER)
    random = np.random.default_rng(seed)
    _make_archive(folder, shape, until, random)
    _make_snapshots(folder, shape, until, random)


# -- the notebook of small variables ---------------------------------------------------------------------


def _make_snapshots(folder: MemberFolder, shape: Shape, until: datetime, random: np.random.Generator) -> None:
    packs = _Packs(folder, random)
    values: dict[str, object] = {f"v{number:04d}": [number] for number in range(shape.names)}
    names = _encoded(values, packs)
    cells: list[Cell] = []
    parents: dict[str, int] = {}
    per_session = -(-shape.snapshots // shape.sessions)
    for number in range(shape.snapshots):
        session, sequence = divmod(number, per_session)
        if number and not sequence:
            parents[_lineage(session - 1)] = per_session
            cells = []
        if number:
            changed = random.choice(shape.names, min(shape.changed, shape.names), replace=False)
            names |= _encoded({f"v{each:04d}": [int(each), number] for each in changed}, packs)
        wanted = min(shape.cells, -(-shape.cells * (sequence + 1) // per_session))
        cells += [Cell(each + 1, _source(each)) for each in range(len(cells), wanted)]
        record = packs.put_bytes(encode_cells(tuple(cells)), chunk_bytes=RECORD_BYTES)
        manifest = Manifest(
            id=random.bytes(10).hex(),
            project=PROJECT,
            member=MEMBER,
            notebook=HISTORY,
            lineage=_lineage(session),
            sequence=sequence + 1,
            parents=dict(parents),
            created_at=_moment(until, shape, number),
            reason="cell",
            consistency="cell",
            names=dict(sorted(names.items())),
            tracked=sorted(names),
            cells=record,
            versions={"python": "3.11.7", "numpy": "2.4.6", "pandas": "3.1.1"},
            host="jupyter",
            strategy="fork: it holds the main thread for the shortest time",
            logical_bytes=40 * shape.names,
            written_bytes=1000,
            stall_seconds=0.004,
            seconds=0.1,
        )
        if len(encode_manifest(manifest)) > WHOLE_BYTES:
            apart = put_apart(manifest, lambda raw: packs.put_bytes(raw, chunk_bytes=CHUNK_BYTES).id)
            manifest = msgspec.structs.replace(manifest, apart=apart)
        if shape.snapshots - number == shape.recent + 1:
            packs.close()
            _cover(folder)
        if shape.snapshots - number <= shape.recent:
            packs.close()
        _publish(folder, manifest)
    packs.close()


def _encoded(values: dict[str, object], packs: _Packs) -> dict[str, Entry]:
    """Encode values and store them as a save does."""
    names: dict[str, Entry] = {}
    for group in codecs.encode(values, namespace=values).groups:
        record = GroupRecord(
            codec="pickle5",
            members=[MemberRecord(m.name, m.role, m.type, m.bind, m.source) for m in group.members],
            needs={},
            key=group.key,
            stream=packs.put_bytes(group.stream, chunk_bytes=STREAM_BYTES),
            parts=[],
        )
        own = packs.put(msgspec.msgpack.encode(record))
        names |= {member.name: Entry(own, member.type, group.logical_bytes) for member in group.members}
    return names


def _source(number: int) -> str:
    lines = [
        f"df_{number} = frame.groupby('column_{each}').agg(['mean', 'std'])" for each in range(number % 5)
    ]
    return "\n".join([f"# cell {number}", *lines, f"v{number % 2000:04d} = [{number}, len(frame)]"])


def _lineage(session: int) -> str:
    return f"{session:016x}"


def _moment(until: datetime, shape: Shape, number: int) -> str:
    return (until - timedelta(minutes=shape.minutes_apart * (shape.snapshots - 1 - number))).isoformat()


def _publish(folder: MemberFolder, manifest: Manifest) -> None:
    path = folder.manifest(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_manifest(manifest))


def _cover(folder: MemberFolder) -> None:
    """Write an index of all packs that are there."""
    disk = _QuickDisk()
    catalog = Catalog(folder, disk).refreshed()
    footers = {own: (info.footer, info.nbytes) for own, info in catalog.packs.items()}
    folder.temporary.mkdir(parents=True, exist_ok=True)
    write_index(disk, folder, footers, temporary=folder.temporary / "history.tmp")


# -- the notebook of large arrays ------------------------------------------------------------------------


def _make_archive(folder: MemberFolder, shape: Shape, until: datetime, random: np.random.Generator) -> None:
    packs = _Packs(folder, random)
    for number, first in enumerate(range(0, shape.chunks, ARRAY_CHUNKS)):
        count = min(ARRAY_CHUNKS, shape.chunks - first)
        leaves = _hollow_chunks(folder, count, random)
        length = count * CHUNK_BYTES
        array = store_list([(own, CHUNK_BYTES) for own in leaves], put=packs.put)
        record = GroupRecord(
            codec="pickle5",
            members=[MemberRecord("big", "variable", "numpy.ndarray", True)],
            needs={},
            key="big",
            stream=packs.put_bytes(b"big %d" % number, chunk_bytes=STREAM_BYTES),
            parts=[PartRecord(array, 8, True)],
        )
        entry = Entry(packs.put(msgspec.msgpack.encode(record)), "numpy.ndarray", length)
        _publish(
            folder,
            Manifest(
                id=random.bytes(10).hex(),
                project=PROJECT,
                member=MEMBER,
                notebook=ARCHIVE,
                lineage="a" * 16,
                sequence=number + 1,
                parents={},
                created_at=_moment(until, dataclasses.replace(shape, snapshots=number + 1), 0),
                reason="manual",
                consistency="cell",
                names={"big": entry},
                tracked=["big"],
                logical_bytes=length,
            ),
        )
    packs.close()


def _hollow_chunks(folder: MemberFolder, count: int, random: np.random.Generator) -> list[bytes]:
    """Make packs of *count* chunks that are not there but for their place; return the ids."""
    ids: list[bytes] = []
    step = HEADER_BYTES + CHUNK_BYTES
    for first in range(0, count, PACK_CHUNKS):
        footer = np.zeros(min(PACK_CHUNKS, count - first), _FOOTER)
        footer["id"] = np.frombuffer(random.bytes(32 * len(footer)), "V32")
        footer["offset"] = pack.HEADER_BYTES + step * np.arange(len(footer))
        footer["stored"] = footer["plain"] = CHUNK_BYTES
        own_id = random.bytes(16).hex()
        path = folder.pack(own_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(pack.encode_start(own_id))
            file.seek(pack.HEADER_BYTES + step * len(footer))
            file.write(pack.end_of(own_id, footer.tobytes()))
        ids += [bytes(each) for each in footer["id"]]
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    for field in dataclasses.fields(Shape):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    make_history(given.pop("path"), Shape(**given))


if __name__ == "__main__":
    main()
