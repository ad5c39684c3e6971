"""Write ``repo-apart``, a repository of format 1 whose manifests have their names apart, as they were added to it.

    python tests/data/make_repo_apart.py tests/data/repo-apart tests/data/repo-apart.json

Run once, for ever kept, beside ``repo-v1``: two snapshots of 300 names, of which they share all but three, and one
of a single name, which holds it itself. Streams hold plain bytes here and are not meant to be decoded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
from make_repo_uneven import manifest_of, tidy

from keepstate._base.clock import ManualClock
from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord
from keepstate._repository import Repository
from keepstate._repository.fingerprint import fingerprint_stream


def values(step: int) -> dict[str, bytes]:
    """Name → what its stream holds in the snapshot of *step*."""
    if step == 1:
        return {"only": b"value 0"}
    found = {f"näme {number}": b"value %d" % (number % 7) for number in range(300)}
    return found | ({"näme 3": b"value 8", "näme 150": b"value 8", "more": b"value 9"} if step == 3 else {})


def save(repository: Repository, step: int) -> Manifest:
    """One snapshot with everything in it."""
    with repository.writer("Ana") as writer:
        groups = {}
        for value in sorted(set(values(step).values())):
            record = GroupRecord(
                codec="pickle5",
                members=[MemberRecord("x", "variable", "bytes", True)],
                needs={},
                key="x",
                stream=writer.put(fingerprint_stream(value, seed=7, known={})),
                parts=[],
            )
            groups[value] = writer.put_record(record)
        names = {
            name: Entry(group=groups[value], type="bytes", logical_bytes=len(value))
            for name, value in values(step).items()
        }
        if step == 3:
            names["more"] = msgspec.structs.replace(names["more"], kept_in=f"{1:020x}")
        manifest = manifest_of(
            step,
            names,
            definitions={"definition": groups[b"value 0"]},
            skipped={"conn": "it is a connection"},
            pending={"more": "it had not been brought back yet"} if step == 3 else {},
            tracked=sorted([*list(names)[::2], "not here"]),
            versions={"python": "3.11.7"},
        )
        return writer.commit(lambda written: msgspec.structs.replace(manifest, written_bytes=written)).manifest


def facts(manifest: Manifest) -> dict[str, object]:
    """What must be read of a snapshot, besides its values."""
    return {
        "names": {name: [each.type, each.logical_bytes, each.kept_in] for name, each in manifest.names.items()},
        "definitions": list(manifest.definitions),
        "skipped": manifest.skipped,
        "pending": manifest.pending,
        "tracked": manifest.tracked,
        "versions": manifest.versions,
    }


def main(path: Path, expected: Path) -> None:
    """Write the repository, and beside it what must be read from it."""
    repository = Repository.open(path, create=True, clock=ManualClock())
    made = [save(repository, step) for step in (1, 2, 3)]
    tidy(path)
    found = {each.id: facts(each) for each in made}
    expected.write_text(json.dumps(found, indent=None, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
