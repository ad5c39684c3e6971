"""Write ``repo-uneven``, a repository of format 1 with uneven lists, as they are since they were added to it.

    python tests/data/make_repo_uneven.py tests/data/repo-uneven tests/data/repo-uneven.json

Run once, for ever kept, beside ``repo-v1``: two snapshots that share lists of both depths, and a record that is
itself an uneven list. Streams hold plain bytes here and are not meant to be decoded.
"""

from __future__ import annotations

import json
import sys
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec
from blake3 import blake3

from keepstate._base.clock import ManualClock
from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord
from keepstate._repository import Piece, Repository


def noise(name: str, length: int) -> bytes:
    """The same bytes for the same name, on every machine."""
    return blake3(name.encode()).digest(length=length)


def pieces(step: int) -> dict[str, list[bytes]]:
    """Name → the pieces of its stream, as they are in the snapshot of *step*."""
    lengths = [1 + each % 37 for each in noise("lengths", 500)]
    whole = noise("many", sum(lengths))
    many = [whole[start:stop] for start, stop in pairwise([0, *accumulate(lengths)])]
    return {
        "two": [b"abc", b"defgh"],
        "several": many[:90],
        "many": [*many[:250], b"inserted", *many[250:]] if step == 2 else many,
        "even": [noise("even", 40)] * 3 + [b"end"],
    }


def manifest_of(step: int, names: dict[str, Entry], **more: object) -> Manifest:
    """The snapshot of *step* in a history of one notebook and one session."""
    fixed = {
        "id": f"{step:020x}",
        "project": "p",
        "member": "Ana",
        "notebook": "n",
        "lineage": "first",
        "sequence": step,
        "parents": {},
        "created_at": f"2026-11-0{step}T00:00:00+00:00",
        "reason": "manual",
        "consistency": "cell",
        "names": names,
        "tracked": sorted(names),
    }
    return Manifest(**{**fixed, **more})


def tidy(path: Path) -> None:
    """Take away what a folder in git cannot hold."""
    for each in (*path.glob("members/*/leases"), *path.glob("members/*/temporary")):
        each.rmdir()


def save(repository: Repository, step: int) -> Manifest:
    """One snapshot with everything in it."""
    with repository.writer("Ana") as writer:
        names = {}
        for name, several in pieces(step).items():
            source = "".join(f"line_{number} = {noise(name + str(number), 9).hex()}\n" for number in range(900))
            record = GroupRecord(
                codec="pickle5",
                members=[MemberRecord(name, "variable", "bytes", True, source)],
                needs={},
                key=name,
                stream=writer.put([Piece(noise(str(each), 16), len(each), memoryview(each)) for each in several]),
                parts=[],
            )
            names[name] = Entry(group=writer.put_record(record), type="bytes", logical_bytes=1)
        manifest = manifest_of(step, names)
        return writer.commit(lambda written: msgspec.structs.replace(manifest, written_bytes=written)).manifest


def main(path: Path, expected: Path) -> None:
    """Write the repository, and beside it what must be read from it."""
    repository = Repository.open(path, create=True, clock=ManualClock())
    for step in (1, 2):
        save(repository, step)
    tidy(path)
    facts = {
        f"{step:020x}": {
            name: blake3(b"".join(several)).hexdigest() for name, several in pieces(step).items()
        }
        for step in (1, 2)
    }
    expected.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
