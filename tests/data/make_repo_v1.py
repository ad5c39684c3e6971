"""Write ``repo-v1``, the repository of format 1 that every later version must read. Run once, for ever kept.

    python tests/data/make_repo_v1.py tests/data/repo-v1 tests/data/repo-v1.json

It holds what the format has: every kind of compression, lists of both depths, a record that is a list, several
packs, members, projects and notebooks, an index, a round that prune has left open, and names that need encoding.
Group records hold plain bytes here; their streams are not meant to be decoded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
from blake3 import blake3

from keepstate._base.clock import ManualClock
from keepstate._base.disk import SYSTEM_DISK
from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord, PartRecord, WhereRecord
from keepstate._repository import Repository, fingerprint_pieces, fingerprint_stream, index
from keepstate._repository.condemned import Round, write_round
from keepstate._repository.layout import member_folder

SEED = 1


def noise(name: str, length: int) -> bytes:
    """The same bytes for the same name, on every machine."""
    return blake3(name.encode()).digest(length=length)


def values(step: int) -> dict[str, tuple[int, bytes]]:
    """Name → item size and bytes, as they are in the snapshot of *step*."""
    counting = b"".join(i.to_bytes(8, "little") for i in range(3000 + step))
    floats = b"".join(noise(f"f{i % 50}", 3) + b"\x3f" for i in range(4000))
    sparse = b"".join(noise(f"s{i}", 4) if i % 37 == 0 else bytes(4) for i in range(9000))
    return {
        "noise": (1, noise(f"noise {step // 2}", 5000)),
        "counting": (8, counting),
        "floats": (4, floats),
        "sparse": (4, sparse),
        "text": (1, b"".join(b"line %d of the text\n" % i for i in range(2000))),
        "long": (8, bytes(3 << 20) + b"the end" + bytes(step)),
        "empty": (1, b""),
        "tiny": (1, bytes([step])),
        "Größe \U0001f40d": (2, b"ab" * 500),
    }


def snapshot_id(member: str, step: int) -> str:
    """20 hexadecimal digits."""
    return f"{member.encode().hex():.6}{step:014x}"


def save(repository: Repository, step: int, *, member: str, project: str, notebook: str) -> Manifest:
    """One snapshot with everything in it."""
    with repository.writer(member, project=project, notebook=notebook) as writer:
        names = {}
        base = writer.put_record(
            GroupRecord(
                codec="pickle5",
                members=[MemberRecord("Base", "definition", "type", False, "class Base:\n    pass\n" * 60_000)],
                needs={},
                key="def Base",
                stream=writer.put(fingerprint_stream(b"definition", seed=SEED, known={})),
                parts=[],
            )
        )
        for name, (itemsize, value) in values(step).items():
            part = writer.put(fingerprint_pieces(memoryview(value), seed=SEED, known={}), itemsize=itemsize)
            record = GroupRecord(
                codec="pickle5",
                members=[MemberRecord(name, "variable", "bytes", True)],
                needs={"def Base": base},
                key=name,
                stream=writer.put(fingerprint_stream(b"stream of " + name.encode(), seed=SEED, known={})),
                parts=[PartRecord(part, itemsize, step % 2 == 0)],
            )
            names[name] = Entry(group=writer.put_record(record), type="bytes", logical_bytes=len(value))
        cells = writer.put_bytes(b"one cell, run again and again\n".ljust(32) * 3000, chunk_bytes=32)
        random = writer.put_bytes(noise("random", 300))
        manifest = Manifest(
            id=snapshot_id(member, step),
            project=project,
            member=member,
            notebook=notebook,
            lineage="first" if step < 3 else "Second",
            sequence=step if step < 3 else step - 2,
            parents={} if step < 3 else {"first": 2},
            restored_from="" if step < 3 else snapshot_id(member, 2),
            created_at=f"2026-01-0{step}T00:00:00+00:00",
            reason="manual",
            consistency="operation" if step == 2 else "cell",
            where=WhereRecord(7, 3) if step == 2 else None,
            note="noted \u2713" if step == 3 else "",
            names=names,
            definitions={"def Base": base},
            skipped={"lock": "a lock cannot be kept"},
            pending={},
            tracked=sorted(names),
            track_all=step == 3,
            random=random,
            cells=cells,
            versions={"python": "3.11.7"},
            host="plain",
            threads=["worker"],
            logical_bytes=sum(len(value) for _, value in values(step).values()),
            stall_seconds=0.004,
            seconds=0.25,
            strategy="fork",
        )
        return writer.commit(lambda written: msgspec.structs.replace(manifest, written_bytes=written)).manifest


def main(path: Path, expected: Path) -> None:
    """Write the repository, and beside it what must be read from it."""
    repository = Repository.open(path, create=True, clock=ManualClock())
    found = [
        save(repository, step, member=member, project=project, notebook="n/1")
        for member, project in (("Ana", "p"), ("con", "Q" * 120))
        for step in (1, 2, 3)
    ]
    folder = member_folder(path, "Ana")
    catalog = repository._members.catalog(folder)
    footers = {own: (info.footer, info.nbytes) for own, info in catalog.packs.items()}
    index.write_index(SYSTEM_DISK, folder, footers, temporary=folder.temporary / "index")
    with repository.writer("Ana") as writer:  # a save that did not get to its manifest, then a prune
        writer.put_bytes(noise("garbage", 700))
        writer._filler.finish()
        (garbage,) = writer._publish_packs()
    left = Round(id="0" * 32, packs=[garbage], condemned_at="2026-01-04T00:00:00+00:00", waits_for=["f" * 32])
    write_round(SYSTEM_DISK, folder, left, temporary=folder.temporary / "round")
    for each in (*path.glob("members/*/leases"), *path.glob("members/*/temporary")):
        each.rmdir()
    facts = {
        manifest.id: {
            "step": int(manifest.id[6:], 16),
            "manifest": msgspec.to_builtins(manifest),
            "values": {
                name: blake3(value).hexdigest() for name, (_, value) in values(int(manifest.id[6:], 16)).items()
            },
        }
        for manifest in found
    }
    expected.write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
