"""Bytes that are not what was written are never given out, whoever changed them."""

import os
import random
import struct

import msgspec
import pytest
from blake3 import blake3
from saves import SEED, changed, everything, files, manifest, put_values, save, values_of
from xxhash import xxh3_64_intdigest

from keepstate._base.disk import SYSTEM_DISK
from keepstate._model.manifest import Entry, GroupRecord, Manifest, PartRecord, Ref
from keepstate._repository import ConflictError, Repository, chunk_list, compression, fingerprint_pieces, pack
from keepstate._repository import chunk as chunks
from keepstate._repository.catalog import Catalog
from keepstate._repository.layout import member_folder
from keepstate._repository.manifests import decode_manifest, encode_manifest
from keepstate.errors import FormatError, IntegrityError

NOISE = random.Random(3).randbytes(200)
VALUES = {"noise": NOISE, "same": b"same" * 40}


def read_all(path):
    """Read every value; what is damaged is left out, and anything else must be right."""
    fresh = Repository.open(path, create=False)
    found = {}
    for each in fresh.manifests():
        for name in each.names:
            try:
                found.update(values_of(fresh, each, only=name))
            except IntegrityError:
                continue
    return found


def assert_noticed(path, values):
    report = Repository.open(path, create=False).verify(deep=True)
    assert not report.is_sound
    found = read_all(path)
    assert found.items() <= values.items()
    broken = {name for names in report.affected.values() for name in names}
    assert broken & values.keys() == values.keys() - found.keys()


def test_a_flipped_bit_anywhere_in_a_pack_is_noticed(repository):
    """Every byte of a pack is covered: verify --deep tells, and no wrong value is ever read."""
    save(repository, VALUES, sequence=1)
    (path,) = files(repository.path, ".pack")
    raw = path.read_bytes()
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        with changed(path, flipped):
            assert_noticed(repository.path, VALUES)


def test_a_pack_cut_off_anywhere_is_noticed(repository):
    """Of a pack that was cut off, the chunks that are whole still read."""
    save(repository, VALUES, sequence=1)
    (path,) = files(repository.path, ".pack")
    raw = path.read_bytes()
    for length in range(len(raw)):
        with changed(path, raw[:length]):
            assert_noticed(repository.path, VALUES)
    with changed(path, raw + b"\0"):
        assert_noticed(repository.path, VALUES)
        assert read_all(repository.path) == VALUES


def test_a_flipped_bit_or_a_cut_anywhere_in_a_manifest_is_noticed(repository):
    """A damaged manifest is listed as damaged beside the others, which stay usable."""
    save(repository, VALUES, sequence=1)
    save(repository, {"other": b"1"}, sequence=2)
    path = files(repository.path, ".manifest")[0]
    raw = path.read_bytes()
    flips = [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(len(raw))]
    for bad in [*flips, *(raw[:length] for length in range(len(raw))), raw + b"\0"]:
        with changed(path, bad):
            fresh = Repository.open(repository.path, create=False)
            assert [m.sequence for m in fresh.manifests()] == [2]
            (found,) = fresh.damaged_manifests()
            assert found.path == path
            assert found.why
            assert not fresh.verify(deep=False).is_sound


def test_a_pack_without_its_footer_is_read_by_scanning(repository):
    """Footer and trailer gone, a chunk in the middle overwritten: all others still read."""
    values = {str(i): random.Random(i).randbytes(2000) for i in range(5)}
    save(repository, values, sequence=1)
    (path,) = files(repository.path, ".pack")
    raw = bytearray(path.read_bytes())
    footer, _ = pack.read_footer(SYSTEM_DISK, path, pack_id=path.stem)
    with changed(path, raw[: -len(footer) - 10]):
        assert read_all(repository.path) == values
    broken = pack.entry_at(footer, 4)  # a value of the middle
    raw[broken.offset : broken.offset + 100] = os.urandom(100)
    with changed(path, raw[: -len(footer) - 10]):
        assert len(read_all(repository.path)) == 4


def test_the_scan_finds_a_header_across_the_border_of_its_window(tmp_path):
    """Headers after a damaged region are found wherever they lie."""
    stored = b"x" * 200
    header = chunks.encode_header(
        chunks.ChunkHeader(chunks.chunk_id(stored), compression.NONE, 200, 200, xxh3_64_intdigest(stored))
    )
    for junk in ((1 << 20) - 34, (1 << 20) - 33, (1 << 20) - 32, (1 << 20) - 31, 0, 5):
        path = tmp_path / f"{junk}.pack"
        path.write_bytes(bytes(32) + b"k" * junk + header + stored)
        footer = pack.scan(SYSTEM_DISK, path)
        assert pack.entry_at(footer, 0) == (chunks.chunk_id(stored), 32 + junk, 200, 200, 0)


def test_a_second_sound_copy_is_read_instead(repository):
    """Where two writers stored the same chunk, damage to one costs nothing."""
    with repository.writer("ana") as one, Repository.open(repository.path, create=True).writer("ana") as two:
        names = put_values(one, VALUES), put_values(two, VALUES)
        one.commit(lambda n: manifest(names[0], sequence=1))
        two.commit(lambda n: manifest(names[1], sequence=1, lineage="s2"))
    for path in files(repository.path, ".pack"):
        raw = bytearray(path.read_bytes())
        raw[100:-400] = bytes(len(raw) - 500)
        with changed(path, raw):
            assert read_all(repository.path) == VALUES


def test_a_chunk_that_was_found_damaged_is_written_again_by_the_next_save(repository):
    """A new snapshot does not rely on a copy that this process has seen to be damaged."""
    first = save(repository, VALUES, sequence=1)
    (path,) = files(repository.path, ".pack")
    raw = bytearray(path.read_bytes())
    raw[raw.index(NOISE)] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError):
        values_of(repository, first.manifest)
    second = save(repository, VALUES, sequence=2, known=first.known)
    assert everything_sound(repository.path, second.manifest) == VALUES


def test_verify_makes_the_next_save_write_damaged_chunks_again(repository):
    """The same holds for what verify --deep has found, and the damaged pack is gone after a prune."""
    first = save(repository, VALUES, sequence=1)
    (path,) = files(repository.path, ".pack")
    raw = bytearray(path.read_bytes())
    raw[raw.index(NOISE)] ^= 1
    path.write_bytes(raw)
    assert list(repository.verify(deep=True).affected) == [first.manifest.id]
    second = save(repository, VALUES, sequence=2, known=first.known)
    assert everything_sound(repository.path, second.manifest) == VALUES
    repository.prune(keep_last=1)
    assert Repository.open(repository.path, create=False).verify(deep=True).is_sound


def everything_sound(path, found):
    return values_of(Repository.open(path, create=False), found)


def test_a_missing_pack_names_what_is_lost(repository):
    """Verify says which names of which snapshots do not come back, and only those."""
    first = save(repository, {"a": b"a" * 200}, sequence=1)
    second = save(repository, {"a": b"a" * 200, "b": os.urandom(300)}, sequence=2, known=first.known)
    member_folder(repository.path, "ana").pack(second.packs[0]).unlink()
    report = Repository.open(repository.path, create=False).verify(deep=False)
    assert {own: list(names) for own, names in report.affected.items()} == {second.manifest.id: ["b"]}


# Hostile bytes: everything has a right checksum, and asks for too much.


def hostile_pack(path, plain_ids, stored, kind, plain):
    """Write a pack whose checksums are right, around one chunk."""
    own = path.stem
    header = chunks.ChunkHeader(plain_ids, kind, plain, len(stored), xxh3_64_intdigest(stored))
    fields = struct.pack("<4sB3xIIQ32s", chunks.MAGIC, kind, plain, len(stored), header.checksum, plain_ids)
    raw = pack.encode_start(own) + fields + struct.pack("<Q", xxh3_64_intdigest(fields)) + stored
    entry = pack.Entry(plain_ids, pack.HEADER_BYTES, len(stored), plain, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw + pack.encode_end(own, [entry]))


def blosc_header(
    plain, stored, flags=0x95, filters=bytes(6), codec=5, zeros=bytes(8), more=0, version=5, item=1
):
    numbers = (version, 1, flags, item, plain, plain, stored)
    return struct.pack("<BBBBiii6sB8sB", *numbers, filters, codec, zeros, more)


BOMBS = {
    "claims 2 GiB": (blosc_header(2**31 - 1, 200) + bytes(168), 1000),
    "claims less than nothing": (blosc_header(-5, 200) + bytes(168), 1000),
    "claims more than its target": (blosc_header(1 << 20, 200) + bytes(168), 1000),
    "other filters": (blosc_header(1000, 200, filters=b"\x20" + bytes(5)) + bytes(168), 1000),
    "a plugin": (blosc_header(1000, 200, zeros=b"\x01" + bytes(7)) + bytes(168), 1000),
    "lazy": (blosc_header(1000, 200, more=8) + bytes(168), 1000),
    "uninitialised": (blosc_header(1000, 32, more=0x40), 1000),
    "another codec": (blosc_header(1000, 200, flags=0x15) + bytes(168), 1000),
    "a codec of the user's": (blosc_header(1000, 200, codec=160) + bytes(168), 1000),
    "items of no size": (blosc_header(1000, 200, filters=b"\x01" + bytes(5), item=0) + bytes(168), 1000),
    "a later version": (blosc_header(1000, 200, version=6) + bytes(168), 1000),
    "copied": (blosc_header(1000, 1000, flags=0x97) + bytes(968), 1000),
    "old header": (blosc_header(1000, 200, flags=0x80) + bytes(168), 1000),
    "noise": (blosc_header(1000, 200) + NOISE[:168], 1000),
    "too short": (b"\x05\x01", 1000),
    "zeros that are not what the id says": (blosc_header(1000, 32, more=0x10), 1000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_chunk_is_refused(repository, bomb):
    """Nothing that blosc2 would follow outside of its target is handed to it."""
    stored, plain = BOMBS[bomb]
    own = blake3(b"whatever").digest()
    hostile_pack(
        member_folder(repository.path, "eve").pack("ab" * 16), own, stored, compression.BLOSC2, plain
    )
    with pytest.raises(IntegrityError):
        repository.read(Ref(plain, own), member="eve")
    report = repository.verify(deep=True, member="eve")
    assert not report.is_sound
    assert not report.affected


@pytest.mark.parametrize(
    ("kind", "plain"), [(1, 2**32 - 1), (1, (1 << 20) + 1), (1, 0), (0, 99), (7, 200), (1, 100)]
)
def test_a_chunk_of_impossible_length_is_refused(repository, kind, plain):
    """Lengths that no writer gives are refused before any memory is taken."""
    own = blake3(b"whatever").digest()
    hostile_pack(member_folder(repository.path, "eve").pack("ab" * 16), own, NOISE[:200], kind, plain)
    with pytest.raises(IntegrityError):
        repository.read(Ref(plain, own), member="eve")
    assert not repository.verify(deep=False).is_sound


def test_overlapping_or_outlying_entries_are_refused():
    """The chunks of a footer must fill the pack exactly."""
    one = pack.Entry(bytes(32), 32, 10, 10, 0)
    two = pack.Entry(bytes(32), 32 + 74, 10, 10, 0)

    def check(entries, nbytes):
        raw = pack.encode_end("00" * 16, entries)[: 56 * len(entries)]
        other = pack.encode_end("00" * 16, [one])[:56]
        pack.check_footers([other, raw, b"", other], [32 + 74 + 56 + 64, nbytes, 32 + 64, 32 + 74 + 56 + 64])

    whole = 32 + 2 * 74 + 2 * 56 + 64
    check([one, two], whole)
    for entries, nbytes in [
        ([two, one], whole),
        ([one, one], whole),
        ([one, two], whole + 1),
        ([one, two], whole - 1),
        ([one, two._replace(offset=2**63)], whole),
        ([one._replace(stored=2**32 - 1, plain=2**32 - 1), two], whole),
        ([one, two._replace(compression=7)], whole),
        ([one, two._replace(stored=0)], whole),
        ([one._replace(stored=11), two._replace(offset=32 + 75)], whole + 1),
        ([one] * (pack.MOST_ENTRIES + 1), whole),
    ]:
        with pytest.raises(IntegrityError):
            check(entries, nbytes)


LEAF = blake3(b"x" * 1000).digest()


def put_list(repository, raw):
    with repository.writer("ana") as writer:
        assert writer.put_bytes(b"x" * 1000).id == LEAF  # so that it is the list that is wrong
        ref = writer.put_bytes(raw, chunk_bytes=1 << 20)
        writer.commit(lambda n: manifest({}, sequence=1, cells=ref, own_id=os.urandom(10).hex()))
    return ref.id


def list_bytes(depth, leaf_bytes, count, length, ids):
    return struct.pack("<4sB3xIIQ8x", chunk_list.MAGIC, depth, leaf_bytes, count, length) + b"".join(ids)


def uneven(depth, length, ids, lengths):
    return list_bytes(depth, 0, len(ids), length, ids) + struct.pack(f"<{len(lengths)}Q", *lengths)


@pytest.mark.parametrize(
    ("ref", "raw"),
    [
        ((2**40, 1), list_bytes(1, 1 << 20, 1, 2**40, [LEAF])),
        ((2000, 1), list_bytes(1, 1000, 3, 2000, [LEAF] * 3)),
        ((2000, 1), list_bytes(1, 1000, 2, 2001, [LEAF] * 2)),
        ((2000, 1), list_bytes(1, 1000, 2, 2000, [LEAF])),
        ((2000, 1), list_bytes(1, 0, 2, 2000, [LEAF] * 2)),
        ((2000, 1), list_bytes(1, 2**32 - 1, 1, 2000, [LEAF])),
        ((2000, 1), list_bytes(2, 1000, 2, 2000, [LEAF] * 2)),
        ((2000, 2), list_bytes(2, 1, 2, 2000, [LEAF] * 2)),
        ((2000, 1), uneven(1, 2000, [LEAF] * 2, [1000])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 2, [1000, 1000, 0])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 2, [1000, 999])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 2, [1000, 1001])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 3, [1000, 1000, 0])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 3, [2000, 1, 2**64 - 1])),
        ((2000, 1), uneven(1, 2000, [LEAF] * 2, [999, 1001])),
        ((2000, 1), uneven(2, 2000, [LEAF] * 2, [1000, 1000])),
        ((2000, 2), uneven(2, 2000, [LEAF] * 2, [1000, 1000])),
        ((2**21, 1), uneven(1, 2**21, [LEAF], [2**21])),
        ((2000, 1), uneven(1, 2000, [], [])),
        ((2000, 1), b"kLST"),
        ((2000, 1), b"other"),
        ((2000, 0), b"x" * 1999),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_a_list_that_does_not_cover_its_ref_is_refused(repository, ref, raw):
    """Count, length and depth must agree with each other before anything is allocated."""
    own = put_list(repository, raw)
    for sound in (list_bytes(1, 1000, 2, 2000, [LEAF, LEAF]), uneven(1, 2000, [LEAF, LEAF], [1000, 1000])):
        good = put_list(repository, sound)
        assert repository.read(Ref(2000, good, 1)) == b"x" * 2000
    hostile = Ref(ref[0], own, ref[1])
    with pytest.raises(IntegrityError):
        repository.read(hostile)
    with pytest.raises(IntegrityError):
        repository.part(PartRecord(hostile, 1, True))


def test_a_list_that_lists_itself_through_levels_is_refused(repository):
    """Depth is fixed by the ref, so that no list can lead further down."""
    inner = put_list(repository, list_bytes(2, 1, 1, 5, [bytes(32)]))
    with repository.writer("ana") as writer:
        outer = writer.put_bytes(list_bytes(2, 1, 1, 5, [inner]), chunk_bytes=1 << 20)
        writer.commit(lambda n: manifest({}, sequence=2, cells=outer))
    for depth in (1, 2):
        with pytest.raises(IntegrityError):
            repository.read(Ref(5, outer.id, depth))


@pytest.mark.parametrize("ref", [Ref(5, b"", 0), Ref(0, bytes(32), 0), Ref(5, b"abc", 1), Ref(0, b"", 1)])
def test_an_impossible_ref_is_refused(repository, ref):
    """An empty id stands for no bytes, and for nothing else."""
    with pytest.raises(IntegrityError):
        repository.read(ref)


def test_groups_that_need_each_other_in_a_circle_end(repository):
    """Verify and prune follow needs, and stop where they have been.

    A real circle needs a broken hash; a record that needs itself twice over comes near.
    """
    with repository.writer("ana") as writer:
        own = writer.put_record(GroupRecord("pickle5", [], {}, "base", writer.put_bytes(b"s"), []))
        for level in range(60):  # 2**60 ways down
            needs = {"x": own, "y": own}
            own = writer.put_record(GroupRecord("pickle5", [], needs, str(level), writer.put_bytes(b"s"), []))
        names = {"a": Entry(own, "t", 1)}
        writer.commit(lambda n: manifest(names, sequence=1))
    assert repository.verify(deep=True).is_sound
    repository.prune(keep_last=1)
    assert repository.verify(deep=True).is_sound


def sealed(body, flags=0, signature=b"", magic=b"kMANI\x00\x01\n"):
    head = struct.pack("<8sIIQ8x", magic, flags, len(signature), len(body))
    return head + blake3(head + signature + body).digest() + signature + body


def good_body():
    return msgspec.msgpack.encode(manifest({"a": Entry(bytes(32), "t", 1)}, sequence=1))


@pytest.mark.parametrize(
    "raw",
    [
        sealed(b""),
        sealed(b"\x80"),
        sealed(b"\xdf\xff\xff\xff\xff"),
        sealed(b"\xc1"),
        sealed(b"\x91" * 100_000),
        sealed(good_body() + b"x"),
        sealed(good_body()[:-1]),
        sealed(good_body().replace(b"manual", b"mania!")),
        sealed(good_body().replace(b"\xc4\x20" + bytes(32), b"\xc4\x1f" + bytes(31))),
        sealed(msgspec.msgpack.encode({**msgspec.to_builtins(manifest({}, sequence=1)), "sequence": -1})),
        sealed(msgspec.msgpack.encode({**msgspec.to_builtins(manifest({}, sequence=1)), "names": ["a"]})),
        sealed(
            msgspec.msgpack.encode({**msgspec.to_builtins(manifest({}, sequence=1)), "cells": [-1, b"", 0]})
        ),
        sealed(
            msgspec.msgpack.encode({**msgspec.to_builtins(manifest({}, sequence=1)), "cells": [1, b"", 9]})
        ),
        sealed(good_body(), signature=b"x" * 5000),
        *(
            sealed(
                msgspec.msgpack.encode({**msgspec.to_builtins(manifest({}, sequence=1)), "created_at": at})
            )
            for at in ("yesterday", "2026-01-01T00:00:00", "")
        ),
    ],
    ids=lambda _: "",
)
def test_a_hostile_manifest_is_refused(raw):
    """Whatever the body holds, it is a Manifest of allowed values or an IntegrityError."""
    with pytest.raises(IntegrityError):
        decode_manifest(raw)


def test_newer_manifests_are_told_from_damaged_ones():
    """Unknown flags, another version and encryption ask for an upgrade; unknown fields are ignored."""
    assert decode_manifest(sealed(good_body())).sequence == 1
    assert decode_manifest(sealed(good_body(), flags=1)).sequence == 1
    assert decode_manifest(sealed(good_body(), signature=b"reserved")).sequence == 1
    more = {**msgspec.to_builtins(manifest({}, sequence=4)), "invented_later": [1, {"x": 2}]}
    assert decode_manifest(sealed(msgspec.msgpack.encode(more))).sequence == 4
    encrypted = msgspec.structs.replace(manifest({}, sequence=1), encryption="aes")
    for raw in (
        sealed(good_body(), flags=4),
        sealed(good_body(), flags=5),
        sealed(good_body(), magic=b"kMANI\x00\x02\n"),
        sealed(msgspec.msgpack.encode(encrypted)),
    ):
        with pytest.raises(FormatError):
            decode_manifest(raw)


def test_what_older_versions_would_misread_is_told_to_them(repository):
    """A manifest that may lead to uneven lists has a flag, so that they ask for an upgrade and prune nothing.

    They have refused every flag from the beginning; an uneven list alone they would take for damaged.
    """
    found = save(repository, {"a": b"a"}, sequence=1).manifest
    raw = member_folder(repository.path, "ana").manifest(found).read_bytes()
    assert raw[8:12] == b"\x01\0\0\0"


def test_nobody_speaks_in_another_members_name(repository):
    """A manifest counts only in the folder of the member that it names, under its own name."""
    found = save(repository, {"a": b"a" * 50}, sequence=1).manifest
    forged = encode_manifest(msgspec.structs.replace(found, sequence=9))
    eve = member_folder(repository.path, "eve")
    own = member_folder(repository.path, "ana")
    for path in (
        eve.manifest(msgspec.structs.replace(found, sequence=9)),
        own.manifest(msgspec.structs.replace(found, sequence=8)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(forged)
    assert [m.sequence for m in repository.manifests()] == [1]
    assert len(repository.damaged_manifests()) == 2


def test_random_bytes_are_never_a_manifest_nor_an_index_nor_a_pack(repository, tmp_path):
    """Noise in any file of the store is noticed, and what else is there still reads."""
    save(repository, VALUES, sequence=1)
    folder = member_folder(repository.path, "ana")
    source = random.Random(5)
    for number in range(200):
        noise = source.randbytes(source.randrange(400))
        stray = folder.pack(f"{number:032x}")
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(noise)
    (folder.manifests / "p" / "n" / "x.manifest").write_bytes(source.randbytes(99))
    (folder.manifests / "stray").write_bytes(b"")
    (folder.packs / "stray").write_bytes(b"")
    assert read_all(repository.path) == VALUES
    assert len(Repository.open(repository.path, create=False).verify(deep=True).problems) == 201


def test_a_hostile_index_cannot_hide_a_pack(repository):
    """An index that names wrong places for chunks is overruled by the packs themselves."""
    from keepstate._base.disk import SYSTEM_DISK
    from keepstate._repository import index

    for sequence in (1, 2):
        save(repository, {"a": os.urandom(100) + NOISE}, sequence=sequence)
    expected = everything(repository.path)
    folder = member_folder(repository.path, "ana")
    catalog = Catalog(folder, SYSTEM_DISK).refreshed()
    lies = {}
    for own, info in catalog.packs.items():
        entries = list(info.entries())
        ids = [entry.id for entry in entries[1:]] + [entries[0].id]
        raw = b"".join(
            pack._ENTRY.pack(own_id, *entry[1:]) for own_id, entry in zip(ids, entries, strict=True)
        )
        lies[own] = (raw, info.nbytes)
    index.write_index(SYSTEM_DISK, folder, lies, temporary=folder.temporary / "x")
    assert everything(repository.path) == expected
    assert Repository.open(repository.path, create=False).verify(deep=True).is_sound


def test_a_known_piece_that_is_gone_is_a_conflict(repository):
    """A writer never takes the word of fingerprints for a chunk that the packs do not have."""
    first = save(repository, VALUES, sequence=1)
    for path in files(repository.path, ".pack"):
        path.unlink()
    with repository.writer("ana") as writer:
        assert writer.present(first.known) == {}
        pieces = fingerprint_pieces(memoryview(NOISE), seed=SEED, known=first.known)
        with pytest.raises(ConflictError):
            writer.put(pieces)


def test_a_manifest_that_would_not_come_back_is_refused(repository):
    """Text that is no Unicode, or a number out of range, is refused before anything is published."""
    from keepstate.errors import InvalidInputError

    for more in ({"note": "\ud800"}, {"logical_bytes": -1}, {"stall_seconds": float("nan")}):
        with repository.writer("ana") as writer, pytest.raises(InvalidInputError):
            writer.commit(lambda n: manifest({}, sequence=1, **more))  # noqa: B023
    assert files(repository.path, ".manifest") == []
    assert isinstance(manifest({}, sequence=1), Manifest)
