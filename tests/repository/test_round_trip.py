"""What is put comes back, and what is there already is not written again."""

import os
import random
from itertools import accumulate

import msgspec
import pytest
from blake3 import blake3
from saves import SEED, everything, files, manifest, put_values, save, snapshot_id, values_of

from keepstate._model.manifest import Entry, GroupRecord, MemberRecord, PartRecord
from keepstate._repository import CHUNK_BYTES, Piece, Repository, chunk_list, fingerprint_pieces
from keepstate.errors import IntegrityError, InvalidInputError

MIB = 1 << 20


def stored_bytes(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


@pytest.mark.parametrize("length", [0, 1, 127, 128, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 77])
@pytest.mark.parametrize("kind", ["noise", "zeros", "counting"])
def test_parts_of_any_length_come_back(repository, length, kind):
    """Bytes around the borders of chunks, compressible or not, are read back equal."""
    value = {
        "noise": random.Random(1).randbytes,
        "zeros": bytes,
        "counting": lambda n: bytes(range(256)) * (n // 256 + 1),
    }[kind](length)[:length]
    found = save(repository, {"x": value}, sequence=1, itemsize=8).manifest
    assert everything(repository.path) == {found.id: {"x": value}}


@pytest.mark.parametrize("itemsize", [1, 2, 3, 4, 8, 16, 255, 256, 100_000])
def test_any_item_size_comes_back(repository, itemsize):
    """Compression by element type never changes a byte, also for sizes that blosc2 does not know."""
    value = b"".join(i.to_bytes(4, "little") for i in range(60_000))
    save(repository, {"x": value}, sequence=1, itemsize=itemsize)
    assert list(everything(repository.path).values()) == [{"x": value}]


def test_an_unchanged_save_writes_the_manifest_alone(repository):
    """With the fingerprints of the last snapshot, nothing but the new manifest is added."""
    values = {"a": os.urandom(3 * MIB), "b": b"b" * 100}
    first = save(repository, values, sequence=1)
    before = stored_bytes(repository.path)
    second = save(repository, values, sequence=2, known=first.known)
    assert second.packs == []
    assert stored_bytes(repository.path) - before == second.manifest.written_bytes < 1000
    assert everything(repository.path)[second.manifest.id] == values


def test_equal_content_is_stored_once(repository):
    """Without any fingerprint, what another name or snapshot has is found by its id."""
    value = os.urandom(2 * MIB)
    save(repository, {"a": value, "b": value}, sequence=1)
    assert stored_bytes(repository.path) < 2.1 * MIB
    assert save(repository, {"c": value}, sequence=1, lineage="s2").manifest.written_bytes < 2000


def test_a_changed_byte_writes_one_chunk_and_its_list(repository):
    """Of 40 MiB with one byte changed, one chunk and some hundred bytes are written."""
    value = bytearray(os.urandom(40 * MIB))
    first = save(repository, {"a": value}, sequence=1)
    value[17 * MIB + 5] ^= 1
    second = save(repository, {"a": value}, sequence=2, known=first.known)
    assert MIB < second.manifest.written_bytes < MIB + 5000
    assert everything(repository.path)[second.manifest.id] == {"a": bytes(value)}


def test_written_bytes_are_the_bytes_that_were_added(repository):
    """The number in the manifest counts packs with their footers, and the manifest itself."""
    before = stored_bytes(repository.path)
    found = save(repository, {"a": os.urandom(100_000)}, sequence=1, cells=b"1+1").manifest
    assert found.written_bytes == stored_bytes(repository.path) - before


def test_memory_is_released_once_it_is_not_read_again(repository):
    """Every piece with memory is given back exactly once, also those that were there already."""
    value = memoryview(os.urandom(3 * MIB + 1))
    for _ in range(2):
        with repository.writer("ana") as writer:
            released = []
            ref = writer.put(fingerprint_pieces(value, seed=SEED, known={}), release=released.append)
            assert [piece.nbytes for piece in released] == [MIB, MIB, MIB, 1]
            record = GroupRecord("pickle5", [], {}, "a", ref, [])
            entry = Entry(writer.put_record(record), "bytes", 1)
            own = os.urandom(10).hex()
            writer.commit(lambda n: manifest({"a": entry}, sequence=1, own_id=own))  # noqa: B023


@pytest.mark.parametrize("row_bytes", [0, 1000, 128 << 10, 200_000, MIB, MIB + 8, 5 * MIB])
def test_long_rows_begin_with_a_piece(row_bytes):
    """A row that is elsewhere in another array has the same pieces; short rows count for none."""
    value = random.Random(3).randbytes(4 * MIB + 12_345)
    pieces = list(fingerprint_pieces(memoryview(value), row_bytes=row_bytes, seed=SEED, known={}))
    assert b"".join(piece.memory for piece in pieces) == value
    ends = set(accumulate(piece.length for piece in pieces))
    row = row_bytes if 128 << 10 <= row_bytes < len(value) else len(value)
    assert all(piece.length <= MIB for piece in pieces)
    assert ends >= set(range(row, len(value), row))
    assert len(ends) <= -(-len(value) // row) * -(-row // MIB)


def test_lists_of_lists_come_back(repository):
    """Bytes in more than 1024 chunks have two levels of lists; a change writes one of each."""
    value = random.Random(2).randbytes(3000 * 64 + 5)
    with repository.writer("ana") as writer:
        ref = writer.put_bytes(value, chunk_bytes=64)
        assert ref.depth == 2
        writer.commit(lambda n: manifest({}, sequence=1, cells=ref))
    fresh = Repository.open(repository.path, create=False)
    assert fresh.read(ref, member="ana") == value
    with repository.writer("ana") as writer:
        again = writer.put_bytes(value[:-1] + b"!", chunk_bytes=64)
        found = writer.commit(lambda n: manifest({}, sequence=2, cells=again)).manifest
    assert found.written_bytes < 64 + 33_000 + 2_000
    assert repository.read(again) == value[:-1] + b"!"


@pytest.mark.parametrize("chunks", [1, 2, 1023, 1024, 1025, 2048, 2049])
def test_numbers_of_chunks_around_the_border_of_a_list(repository, chunks):
    """A list holds 1024 ids, one more begins another, and a part that reads them needs no copy."""
    value = random.Random(chunks).randbytes(chunks * 16 - 3)
    with repository.writer("ana") as writer:
        ref = writer.put_bytes(value, chunk_bytes=16)
        writer.commit(lambda n: manifest({}, sequence=1, cells=ref))
    part = Repository.open(repository.path, create=False).part(PartRecord(ref, 1, False))
    memory = memoryview(bytearray(len(value)))
    part.read_into(memory)
    assert memory == value
    assert ref.depth == (0 if chunks == 1 else 1 if chunks <= 1024 else 2)


def test_a_record_longer_than_a_chunk_comes_back(repository):
    """A group of very many names has a record that is itself stored as a list."""
    members = [MemberRecord(f"name_{i}", "variable", "int", True) for i in range(60_000)]
    with repository.writer("ana") as writer:
        record = GroupRecord("pickle5", members, {}, "k", writer.put_bytes(b"s"), [])
        assert len(msgspec.msgpack.encode(record)) > CHUNK_BYTES
        own = writer.put_record(record)
        names = {"name_0": Entry(own, "int", 1)}
        writer.commit(lambda n: manifest(names, sequence=1))
    assert repository.group(own, member="ana") == record
    report = repository.verify(deep=True)
    assert report.is_sound
    repository.prune(keep_last=1)
    assert repository.group(own, member="ana") == record


def test_a_save_larger_than_a_pack_fills_several(repository):
    """A large save streams through packs of bounded size."""
    commit = save(repository, {"a": os.urandom(70 * MIB)}, sequence=1)
    sizes = [p.stat().st_size for p in files(repository.path, ".pack")]
    assert len(sizes) == len(commit.packs) == 3
    assert max(sizes) < 34 * MIB


def test_other_members_chunks_are_read_but_not_relied_on(repository):
    """Two members never share packs, so that each may prune alone; any copy serves to read."""
    value = os.urandom(MIB)
    first = save(repository, {"a": value}, sequence=1, member="ana")
    second = save(repository, {"a": value}, sequence=1, member="Bob/..", lineage="s2")
    assert second.manifest.written_bytes > MIB
    assert repository.members() == ["Bob/..", "ana"]
    assert values_of(repository, first.manifest) == values_of(repository, second.manifest)
    with pytest.raises(IntegrityError):
        repository.group(first.manifest.names["a"].group, member="nobody")
    assert repository.group(first.manifest.names["a"].group).key == "a"


def test_snapshots_are_listed_by_project_member_and_notebook(repository):
    """Each filter gives exactly the snapshots that fit."""
    for number, (project, member, notebook) in enumerate(
        [("p", "ana", "n"), ("P", "ana", "n"), ("p", "bob", "n"), ("p", "ana", "N%41")]
    ):
        save(repository, {"a": b"x"}, sequence=number, project=project, member=member, notebook=notebook)
    assert len(repository.manifests()) == 4
    assert [m.sequence for m in repository.manifests(project="P")] == [1]
    assert [m.sequence for m in repository.manifests(member="bob")] == [2]
    assert [m.sequence for m in repository.manifests(project="p", member="ana", notebook="N%41")] == [3]
    assert repository.manifest(snapshot_id("s1", 2)).member == "bob"


def test_pieces_of_impossible_length_are_refused(repository):
    """A piece has at least one byte, and not more than fit into a chunk."""
    with repository.writer("ana") as writer:
        for lengths in ([0], [2, 0], [MIB + 1]):
            with pytest.raises(InvalidInputError):
                writer.put(uneven_pieces([bytes(n) for n in lengths]))


def uneven_pieces(several):
    return [Piece(blake3(each).digest(length=16), len(each), memoryview(each)) for each in several]


def noise(count, seed=1):
    generator = random.Random(seed)
    return [generator.randbytes(generator.randrange(1, 40)) for _ in range(count)]


@pytest.mark.parametrize(("count", "depth"), [(2, 1), (3, 1), (32, 1), (1025, 2), (5000, 2)])
def test_pieces_of_uneven_length_come_back(repository, count, depth):
    """Lists say the length of each piece, in one level or two, through every way of reading."""
    several = noise(count)
    value = b"".join(several)
    with repository.writer("ana") as writer:
        ref = writer.put(uneven_pieces(several))
        names = {"a": Entry(writer.put_record(GroupRecord("pickle5", [], {}, "a", ref, [])), "t", 1)}
        writer.commit(lambda n: manifest(names, sequence=1))
    assert ref.depth == depth
    fresh = Repository.open(repository.path, create=False)
    assert fresh.read(ref, member="ana") == value
    part = fresh.part(PartRecord(ref, 1, True), member="ana")
    memory = memoryview(bytearray(len(value)))
    part.read_into(memory)
    assert memory == value
    fresh.prune(keep_last=1)
    assert fresh.verify(deep=True).is_sound
    assert fresh.read(ref, member="ana") == value


def test_a_piece_more_in_a_long_list_changes_one_list(repository):
    """Of 5000 pieces, which 200 kB of lists name, one more writes itself, a list or two, and their list."""
    several = noise(5000)
    with repository.writer("ana") as writer:
        ref = writer.put(uneven_pieces(several))
        writer.commit(lambda n: manifest({}, sequence=1, cells=ref))
    with repository.writer("ana") as writer:
        ref = writer.put(uneven_pieces([*several[:2000], b"inserted", *several[2000:]]))
        found = writer.commit(lambda n: manifest({}, sequence=2, cells=ref)).manifest
    assert found.written_bytes < 25_000


def test_lists_hold_very_many_pieces(monkeypatch):
    """Where short lists would be more than one list of lists can name, they are longer."""
    monkeypatch.setattr(chunk_list, "LIST_LENGTH", 128)
    chunks = {}

    def put(plain):
        own = blake3(plain).digest()
        chunks[own] = plain
        return own

    leaves = [(blake3(bytes([n % 256, n // 256])).digest(), 1 + n % 3) for n in range(128 * 127)]
    ref = chunk_list.store_list(leaves, put=put)
    assert chunk_list.expand(ref, chunks.__getitem__).leaves == leaves
    with pytest.raises(InvalidInputError):
        chunk_list.store_list([*leaves, *leaves[:130]], put=put)


def test_an_abandoned_save_leaves_nothing(repository):
    """After abandoning, the store has the files that it had before."""
    save(repository, {"a": b"x" * 5000}, sequence=1)
    before = files(repository.path, "")
    with repository.writer("ana") as writer:
        put_values(writer, {"b": os.urandom(40 * MIB)})
    assert files(repository.path, "") == before


def test_many_packs_get_an_index_that_only_accelerates(repository):
    """After 33 small saves there is an index; with it, without it or with a damaged one, all reads."""
    for sequence in range(1, 40):
        save(repository, {"a": os.urandom(200)}, sequence=sequence)
    (index,) = files(repository.path, ".index")
    expected = everything(repository.path)
    assert len(expected) == 39
    for raw in (
        b"",
        index.read_bytes()[:-1],
        os.urandom(300),
        index.read_bytes().replace(b"\x01", b"\x02", 1),
    ):
        index.write_bytes(raw)
        assert everything(repository.path) == expected
    index.unlink()
    assert everything(repository.path) == expected


def test_another_process_learns_of_new_packs_as_it_reads(repository):
    """A reader that was opened before a save reads that save without being told."""
    save(repository, {"a": b"1" * 500}, sequence=1)
    reader = Repository.open(repository.path, create=False)
    assert len(reader.manifests()) == 1
    second = save(repository, {"a": b"2" * 500}, sequence=2)
    assert values_of(reader, reader.manifests()[0]) == {"a": b"2" * 500}
    assert reader.manifests()[0] == second.manifest
