"""The kept repository of format 1 reads, byte for byte, by this version and by FORMAT.md alone."""

import json
import shutil
import struct
import zlib
from pathlib import Path

import blosc2
import msgspec
import pytest
from blake3 import blake3
from saves import files, save
from xxhash import xxh3_64_intdigest

from keepstate._repository import Repository
from keepstate._repository.layout import member_folder

DATA = Path(__file__).parents[1] / "data"
STORE = DATA / "repo-v1"
EXPECTED = json.loads((DATA / "repo-v1.json").read_text())


def test_every_value_and_every_field_reads_as_it_was_written():
    """All snapshots of all members, with their values, cells and random states."""
    repository = Repository.open(STORE, create=False)
    assert repository.members() == ["Ana", "con"]
    found = {manifest.id: manifest for manifest in repository.manifests()}
    assert found.keys() == EXPECTED.keys()
    for own, manifest in found.items():
        expected = EXPECTED[own]
        assert msgspec.convert(expected["manifest"], type(manifest)) == manifest
        for name, digest in expected["values"].items():
            record = repository.group(manifest.names[name].group, member=manifest.member)
            part = repository.part(record.parts[0], member=manifest.member)
            memory = memoryview(bytearray(part.nbytes))
            part.read_into(memory)
            assert blake3(memory).hexdigest() == digest
            assert repository.read(record.stream, member=manifest.member) == b"stream of " + name.encode()
            base = repository.group(record.needs["def Base"], member=manifest.member)
            assert len(base.members[0].source) > 1 << 20
        cells = repository.read(manifest.cells, member=manifest.member)
        assert cells == b"one cell, run again and again\n".ljust(32) * 3000
        assert repository.read(manifest.random, member=manifest.member) == blake3(b"random").digest(
            length=300
        )
    assert repository.verify(deep=True).is_sound
    assert [m.id for m in repository.manifests(member="Ana")] == sorted(
        (own for own, m in found.items() if m.member == "Ana"), reverse=True
    )


def test_this_version_goes_on_in_it(tmp_path):
    """A save, a prune and a verify leave a sound repository with what was kept."""
    path = tmp_path / "store"
    shutil.copytree(STORE, path)
    repository = Repository.open(path, create=True)
    who = {"member": "Ana", "project": "p", "notebook": "n/1"}
    parents = {"first": 2, "Second": 1}
    save(repository, {"new": b"new" * 1000}, sequence=1, lineage="third", parents=parents, **who)
    report = repository.prune(keep_last=1)
    assert len(report.removed) == 2  # "operation" of step 2 is the last of its session, and stays
    assert report.deleted_packs
    assert files(path, ".json") == [path / "keepstate.json"]
    assert repository.verify(deep=True).is_sound


# What follows knows FORMAT.md and the libraries that it names, and nothing of the package.


def u(raw, at, length):
    return int.from_bytes(raw[at : at + length], "little")


def read_pack(path):
    """FORMAT.md §4: every byte accounted for."""
    raw = path.read_bytes()
    own = bytes.fromhex(path.stem)
    assert path.parent.name == path.stem[:2]
    assert raw[:32] == b"kPACK\x00\x01\n" + own + bytes(8)
    end = raw[-64:]
    count = u(end, 8, 4)
    assert end[:8] == b"kPEND\x00\x01\n"
    assert end[12:32] == bytes(4) + own
    footer = raw[-64 - 56 * count : -64]
    assert end[32:] == blake3(footer + end[:32]).digest()
    at, chunks = 32, {}
    for number in range(count):
        entry = footer[56 * number : 56 * number + 56]
        assert entry[49:] == bytes(7)
        own_id, offset, stored, plain, kind = (
            entry[:32],
            u(entry, 32, 8),
            u(entry, 40, 4),
            u(entry, 44, 4),
            entry[48],
        )
        assert offset == at
        header, body = raw[at : at + 64], raw[at + 64 : at + 64 + stored]
        assert header[:8] == b"kCHK" + bytes([kind, 0, 0, 0])
        assert header[8:24] == struct.pack("<IIQ", plain, stored, xxh3_64_intdigest(body))
        assert header[24:56] == own_id
        assert header[56:] == struct.pack("<Q", xxh3_64_intdigest(header[:56]))
        value = body if kind == 0 else blosc2.decompress2(body)
        assert len(value) == plain <= 1 << 20
        assert blake3(value).digest() == own_id
        if kind:
            assert (body[0], body[2] & 7, body[3] > 0) == (5, 5, True)
            assert (u(body, 4, 4), u(body, 12, 4)) == (plain, stored)
            assert set(body[16:22]) <= {0, 1, 2}
            assert (body[2] >> 5, body[22]) in {(1, 1), (4, 5)}
            assert (body[23:31], body[31] in (0, 16)) == (bytes(8), True)
        chunks[own_id] = value
        at += 64 + stored
    assert at + 56 * count + 64 == len(raw)
    return chunks, footer, len(raw)


def read_ref(chunks, ref):
    """FORMAT.md §5."""
    length, own, depth = ref
    if length == 0:
        assert (own, depth) == (b"", 0)
        return b""
    if depth == 0:
        assert len(chunks[own]) == length
        return chunks[own]
    raw = chunks[own]
    assert (raw[:4], raw[4], raw[5:8]) == (b"kLST", depth, bytes(3))
    leaf, count, covered = u(raw, 8, 4), u(raw, 12, 4), u(raw, 16, 8)
    assert covered == length
    end = 32 + 32 * count
    ids = [raw[at : at + 32] for at in range(32, end, 32)]
    if leaf:
        span = leaf * (1024 if depth == 2 else 1)
        assert (count, len(raw)) == (-(-length // span), end)
        lengths = [min(span, length - span * i) for i in range(count)]
    else:
        assert len(raw) == end + 8 * count
        lengths = [u(raw, at, 8) for at in range(end, len(raw), 8)]
    return b"".join(read_ref(chunks, (n, i, depth - 1)) for n, i in zip(lengths, ids, strict=True))


def read_record(chunks, own):
    raw = chunks[own]
    if raw.startswith(b"kLST"):
        raw = read_ref(chunks, (u(raw, 16, 8), own, raw[4]))
    return msgspec.msgpack.decode(raw)


def read_manifest(path):
    """FORMAT.md §6."""
    raw = path.read_bytes()
    assert raw[:8] == b"kMANI\x00\x01\n"
    assert u(raw, 8, 4) in (0, 1, 3)
    assert u(raw, 12, 4) == 0
    assert u(raw, 16, 8) == len(raw) - 64
    assert raw[24:32] == bytes(8)
    assert raw[32:64] == blake3(raw[:32] + raw[64:]).digest()
    return msgspec.msgpack.decode(raw[64:])


@pytest.mark.parametrize("folder", sorted((STORE / "members").iterdir()), ids=lambda path: path.name)
def test_the_description_of_the_format_is_enough_to_read_it(folder):
    """A reader written from FORMAT.md alone accounts for every byte of every pack, manifest and index."""
    chunks, footers = {}, {}
    for path in folder.glob("packs/*/*.pack"):
        found, footer, length = read_pack(path)
        chunks.update(found)
        footers[bytes.fromhex(path.stem)] = (footer, length)
    for path in folder.glob("index/*.index"):
        raw = path.read_bytes()
        assert raw[:8] == b"kINDX\x00\x01\n"
        assert u(raw, 8, 8) == len(raw) - 64
        assert raw[16:32] == bytes(16)
        assert raw[32:64] == blake3(raw[64:]).digest()
        at = 64
        while at < len(raw):
            length = u(raw, at + 24, 4)
            assert footers[raw[at : at + 16]] == (raw[at + 32 : at + 32 + length], u(raw, at + 16, 8))
            at += 32 + length
    depths = set()
    for path in folder.glob("manifests/*/*/*.manifest"):
        manifest = read_manifest(path)
        expected = EXPECTED[manifest["id"]]["values"]
        for name, entry in manifest["names"].items():
            record = read_record(chunks, entry["group"])
            (ref, _, _) = record["parts"][0]
            assert blake3(read_ref(chunks, ref)).hexdigest() == expected[name]
            assert read_ref(chunks, record["stream"]) == b"stream of " + name.encode()
            assert read_record(chunks, record["needs"]["def Base"])["key"] == "def Base"
            depths.add(ref[2])
        depths.add(manifest["cells"][2])
        assert len(read_ref(chunks, manifest["cells"])) == 96_000
        assert path.name.endswith(f"-{manifest['sequence']:010d}-{manifest['id']}.manifest")
    assert depths == {0, 1, 2}


def test_the_script_that_made_it_still_makes_the_same(tmp_path, monkeypatch):
    """What is written today from the same values reads as what was written then."""
    monkeypatch.syspath_prepend(DATA)
    import make_repo_v1

    make_repo_v1.main(tmp_path / "store", tmp_path / "expected.json")
    made = json.loads((tmp_path / "expected.json").read_text())
    assert {own: each["values"] for own, each in made.items()} == {
        own: each["values"] for own, each in EXPECTED.items()
    }
    folder = member_folder(tmp_path / "store", "Ana")
    assert folder.root.is_dir()


# Uneven lists: added to format 1 later. Older versions refuse their manifests.

UNEVEN = DATA / "repo-uneven"
EXPECTED_UNEVEN = json.loads((DATA / "repo-uneven.json").read_text())


def test_uneven_lists_read_as_they_were_written(tmp_path, monkeypatch):
    """Every stream and record of the kept repository, and the same from what the script makes today."""
    monkeypatch.syspath_prepend(DATA)
    import make_repo_uneven

    make_repo_uneven.main(tmp_path / "store", tmp_path / "expected.json")
    for path in (UNEVEN, tmp_path / "store"):
        repository = Repository.open(path, create=False)
        assert repository.verify(deep=True).is_sound
        found = {manifest.id: manifest.names for manifest in repository.manifests()}
        assert found.keys() == EXPECTED_UNEVEN.keys()
        for own, digests in EXPECTED_UNEVEN.items():
            for name, digest in digests.items():
                record = repository.group(found[own][name].group)
                assert blake3(repository.read(record.stream)).hexdigest() == digest
                assert record.members[0].source.startswith("line_0 = ")


def test_the_description_of_uneven_lists_is_enough_to_read_them():
    """A reader written from FORMAT.md alone follows records and streams through lists of both depths."""
    (folder,) = (UNEVEN / "members").iterdir()
    chunks = {}
    for path in folder.glob("packs/*/*.pack"):
        chunks |= read_pack(path)[0]
    depths = set()
    for path in folder.glob("manifests/*/*/*.manifest"):
        manifest = read_manifest(path)
        assert path.read_bytes()[8] == 1
        for name, entry in manifest["names"].items():
            assert chunks[entry["group"]].startswith(b"kLST")
            stream = read_record(chunks, entry["group"])["stream"]
            assert blake3(read_ref(chunks, stream)).hexdigest() == EXPECTED_UNEVEN[manifest["id"]][name]
            depths.add((stream[2], u(chunks[stream[1]], 8, 4)))
    assert depths == {(1, 0), (1, 40), (2, 0)}


# Names apart: added to format 1 later. Older versions refuse such manifests.

APART = DATA / "repo-apart"
EXPECTED_APART = json.loads((DATA / "repo-apart.json").read_text())


def test_names_apart_read_as_they_were_written(tmp_path, monkeypatch):
    """Every field of the kept repository, and the same from what the script makes today."""
    monkeypatch.syspath_prepend(DATA)
    import make_repo_apart

    make_repo_apart.main(tmp_path / "store", tmp_path / "expected.json")
    for path in (APART, tmp_path / "store"):
        repository = Repository.open(path, create=False)
        assert repository.verify(deep=True).is_sound
        manifests = repository.manifests()
        assert {each.id: make_repo_apart.facts(each) for each in manifests} == EXPECTED_APART
        for manifest in manifests:
            for name, value in make_repo_apart.values(manifest.sequence).items():
                assert repository.read(repository.group(manifest.names[name].group).stream) == value


def test_the_description_of_names_apart_is_enough_to_read_them():
    """A reader written from FORMAT.md alone finds every name, and where its value is."""
    (folder,) = (APART / "members").iterdir()
    chunks = {}
    for path in folder.glob("packs/*/*.pack"):
        chunks |= read_pack(path)[0]
    for path in folder.glob("manifests/*/*/*.manifest"):
        manifest = read_manifest(path)
        expected = EXPECTED_APART[manifest["id"]]
        assert (manifest["apart"] is None) == (path.read_bytes()[8] == 1) == (manifest["sequence"] == 1)
        if manifest["apart"] is None:
            continue
        own, shown, carried = manifest["apart"]
        contents = read_record(chunks, own)
        runs = [read_record(chunks, rows) for _, rows in contents["runs"]]
        assert [count for count, _ in contents["runs"]] == [len(rows) for rows in runs]
        rows = [[*row, ""][:5] for rows in runs for row in rows]
        names = sorted(expected["names"])
        assert msgspec.msgpack.decode(zlib.decompress(shown)) == [names, expected["skipped"]]
        assert {name: [kind, length, source] for name, kind, _, length, source in rows} == expected["names"]
        assert carried == {source: name for name, _, _, _, source in rows if source}
        assert [row[0] for row in rows] == names
        tracked = (set(names) - set(contents["untracked"])) | set(contents["tracked_besides"])
        assert sorted(tracked) == expected["tracked"]
        assert list(contents["definitions"]) == expected["definitions"]
        assert (contents["pending"], contents["versions"]) == (expected["pending"], expected["versions"])
        for name, _, group, _, _ in rows:
            value = read_ref(chunks, read_record(chunks, group)["stream"])
            assert value.startswith(b"value ")
            assert (value == b"value 9") == (name == "more")
