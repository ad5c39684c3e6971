"""Small saves of plain bytes, as the layers above make them of objects."""

import contextlib

from keepstate._model.manifest import Entry, GroupRecord, Manifest, MemberRecord, PartRecord
from keepstate._repository import Repository, fingerprint_pieces, fingerprint_stream

SEED = 7


def snapshot_id(lineage, sequence):
    return f"{sum(lineage.encode()):08x}{sequence:012x}"


def put_values(writer, values, known=None, itemsize=1, needs=None):
    """Put each value as the only part of a group; return name → entry."""
    names = {}
    known = writer.present(known or {})
    for name, value in values.items():
        pieces = fingerprint_pieces(memoryview(value), seed=SEED, known=known)
        record = GroupRecord(
            codec="pickle5",
            members=[MemberRecord(name, "variable", "bytes", True)],
            needs=needs or {},
            key=name,
            stream=writer.put(fingerprint_stream(b"stream of " + name.encode(), seed=SEED, known=known)),
            parts=[PartRecord(writer.put(pieces, itemsize=itemsize), itemsize, True)],
        )
        names[name] = Entry(group=writer.put_record(record), type="bytes", logical_bytes=len(value))
    return names


def manifest(names, *, sequence, member="ana", project="p", notebook="n", lineage="s1", own_id=None, **more):
    return Manifest(
        id=own_id or snapshot_id(lineage, sequence),
        project=project,
        member=member,
        notebook=notebook,
        lineage=lineage,
        sequence=sequence,
        parents=more.pop("parents", {}),
        created_at=more.pop("created_at", f"2026-01-01T00:00:{sequence % 60:02d}+00:00"),
        reason="manual",
        consistency=more.pop("consistency", "cell"),
        names=names,
        **more,
    )


def save(repository, values, *, sequence, known=None, carried=None, cells=b"", itemsize=1, threads=1, **more):
    """Save *values* and return the commit."""
    member = more.get("member", "ana")
    with repository.writer(
        member, project=more.get("project", "p"), notebook=more.get("notebook", "n"), threads=threads
    ) as writer:
        names = put_values(writer, values, known, itemsize) | (carried or {})
        ref = writer.put_bytes(cells) if cells else None
        return writer.commit(
            lambda written: manifest(names, sequence=sequence, cells=ref, written_bytes=written, **more)
        )


def values_of(repository, found, only=None):
    """Read a snapshot back."""
    values = {}
    for name, entry in found.names.items():
        if only is not None and name != only:
            continue
        record = repository.group(entry.group, member=found.member)
        assert repository.read(record.stream, member=found.member) == b"stream of " + name.encode()
        part = repository.part(record.parts[0], member=found.member)
        memory = bytearray(part.nbytes)
        part.read_into(memoryview(memory))
        values[name] = bytes(memory)
    return values


def files(path, suffix):
    return sorted(p for p in path.rglob(f"*{suffix}") if p.is_file())


def everything(path):
    """All that a fresh look at the store gives: snapshot id → values."""
    fresh = Repository.open(path, create=False)
    return {found.id: values_of(fresh, found) for found in fresh.manifests()}


@contextlib.contextmanager
def changed(path, raw):
    """Put other bytes into a file for a while."""
    before = path.read_bytes()
    path.write_bytes(raw)
    try:
        yield
    finally:
        path.write_bytes(before)
