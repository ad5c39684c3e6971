"""A save with several threads: what was put is there, and what goes wrong is told in time."""

import errno
import os
import threading

import pytest
from faults import Failing, Watched
from saves import everything, files, manifest, put_values, snapshot_id
from xxhash import xxh3_64_intdigest

from keepstate._base.disk import Disk
from keepstate._repository import Repository, filler, fingerprint_pieces, outlet, pack, writer
from keepstate._repository.chunk import ChunkHeader, chunk_id
from keepstate._repository.compression import BLOSC2, NONE, Compressor
from keepstate._repository.crew import AtOnce, Crew
from keepstate._repository.outlet import BLOCK_BYTES, BLOCKS, OutFile, Outlet
from keepstate._repository.packer import Packer
from keepstate._repository.verify import check_written
from keepstate.errors import IntegrityError, StoreError, StoreFullError

MIB = 1 << 20
FIRST = {"a": os.urandom(2000)}
LARGE = {"noise": os.urandom(9 * MIB + 5), "text": b"item " * MIB, "same": bytes(3 * MIB), **FIRST}
"""More than a pack, in which chunks are stored plain, compressed, and once for several."""


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Have little data keep two threads busy with several packs."""
    monkeypatch.setattr(writer, "AT_ONCE_BYTES", MIB)
    monkeypatch.setattr(writer, "RUN_PIECES", 2)
    monkeypatch.setattr(pack, "TARGET_BYTES", 3 * MIB)
    monkeypatch.setattr(writer, "is_on_own_disk", lambda _: True)  # where tests write is often memory


class Buffered(Disk):
    """Has no way past the system's memory."""

    def bypass_cache(self, descriptor):
        return False


def put(repository, values, *, sequence, threads=2):
    with repository.writer("ana", threads=threads) as open_writer:
        names = put_values(open_writer, values, itemsize=4)
        return open_writer.commit(lambda written: manifest(names, sequence=sequence, written_bytes=written))


@pytest.mark.parametrize("disk", [Disk, Buffered])
def test_what_several_threads_put_is_what_one_puts(tmp_path, disk):
    """Plain, compressed and repeated chunks of several packs are there, each once, and sound."""
    found = {}
    for threads in (1, 2):
        repository = Repository.open(tmp_path / str(threads), create=True, disk=disk())
        commit = put(repository, LARGE, sequence=1, threads=threads)
        assert everything(repository.path) == {snapshot_id("s1", 1): LARGE}
        report = Repository.open(repository.path, create=False).verify(deep=True)
        assert report.is_sound
        assert len(commit.packs) > 1
        found[threads] = report.chunks, commit.known, commit.manifest.names
    assert found[1] == found[2]


def test_memory_is_given_back_once_and_after_it_was_read(repository):
    """Each piece is released in its turn, and may be overwritten then."""
    value = os.urandom(10 * MIB)
    memory = bytearray(value)
    released = []

    def release(piece):
        released.append(piece.nbytes)
        piece[:] = bytes(piece.nbytes)

    with repository.writer("ana", threads=2) as open_writer:
        ref = open_writer.put(fingerprint_pieces(memoryview(memory), seed=1, known={}), release=release)
        open_writer.commit(lambda _: manifest({}, sequence=1, random=ref))
    assert sum(released) == len(value)
    assert memory == bytes(len(value))
    assert repository.read(ref) == value


def test_pieces_that_do_not_last_are_read_before_the_next_is_asked_for(repository):
    """One buffer that is filled again and again, as files are read, comes back as all that was in it."""
    values = [os.urandom(MIB) for _ in range(12)]
    buffer = bytearray(MIB)

    def pieces():
        for value in values:
            buffer[:] = value
            yield from fingerprint_pieces(memoryview(buffer), seed=1, known={})

    with repository.writer("ana", threads=2) as open_writer:
        ref = open_writer.put(pieces(), lasting=False)
        open_writer.commit(lambda _: manifest({}, sequence=1, random=ref))
    assert repository.read(ref) == b"".join(values)


def test_a_put_that_failed_half_way_leaves_nothing_that_is_not_there(repository):
    """After an error on one thread or the other, the same bytes are put again and are all there."""
    value = os.urandom(10 * MIB)

    def fail(piece):
        raise ValueError("no more")

    with repository.writer("ana", threads=2) as open_writer:
        with pytest.raises(ValueError, match="no more"):
            open_writer.put(fingerprint_pieces(memoryview(value), seed=1, known={}), release=fail)
        ref = open_writer.put(fingerprint_pieces(memoryview(value), seed=1, known={}))
        open_writer.commit(lambda _: manifest({}, sequence=1, random=ref))
    assert Repository.open(repository.path, create=False).read(ref) == value


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("bypass", [True, False])
def test_a_disk_that_fails_on_another_thread_is_told(tmp_path, code, bypass):
    """Whichever write, sync or close fails, it is a StoreError, and what was there before stays, alone."""
    path = tmp_path / "store"
    put(Repository.open(path, create=True), FIRST, sequence=1)
    values = {"noise": os.urandom(6 * MIB), "text": b"item " * MIB}
    for number in range(60):
        disk = Failing(number, code)
        disk.watched = ("write", "sync", "close")
        if not bypass:
            disk.bypass_cache = Buffered().bypass_cache
        repository = Repository.open(path, create=True, disk=disk)
        try:
            put(repository, values, sequence=2)
        except StoreError as raised:
            error = raised
        else:
            assert not disk.failed
            break
        assert error.errno == code
        assert isinstance(error, StoreFullError) == (code == errno.ENOSPC)
        assert everything(path) == {snapshot_id("s1", 1): FIRST}
        assert not files(path, ".tmp"), (number, error)
    else:
        pytest.fail("the save never ended")
    assert number > 6


class Rewriting(Disk):
    """Somebody else writes into the memory that the disk takes a file from."""

    def write(self, descriptor, data):
        if len(data) >= MIB:
            data[len(data) // 2] ^= 1
        super().write(descriptor, data)


class Lying(Disk):
    """Writes other bytes than it was given, everywhere."""

    def write(self, descriptor, data):
        if len(data) >= MIB:
            data = bytearray(data)
            data[::4000] = bytes(byte ^ 1 for byte in data[::4000])
        super().write(descriptor, data)


class LyingBuffered(Buffered):
    """Has no way past the system's memory, and writes one bit wrong."""

    def write(self, descriptor, data):
        if len(data) >= MIB:
            data = bytearray(data)
            data[len(data) // 2] ^= 1
        super().write(descriptor, data)


@pytest.mark.parametrize("disk", [Rewriting, Lying, LyingBuffered])
def test_what_was_not_written_as_it_was_to_be_is_not_committed(tmp_path, disk):
    """Whether memory or the disk is at fault, it is found out before the manifest."""
    repository = Repository.open(tmp_path / "store", create=True)
    put(repository, FIRST, sequence=1)
    with pytest.raises(IntegrityError):
        put(Repository.open(repository.path, create=True, disk=disk()), LARGE, sequence=2)
    assert everything(repository.path) == {snapshot_id("s1", 1): FIRST}


class RewritingOnce(Rewriting):
    """They do so once, which one chunk that is read back would seldom show."""

    done = False

    def write(self, descriptor, data):
        if self.done or len(data) < MIB:
            Disk.write(self, descriptor, data)
        else:
            self.done = True
            super().write(descriptor, data)


@pytest.mark.parametrize("kind", [NONE, BLOSC2])
def test_one_block_that_is_not_what_it_was_is_found_each_time(tmp_path, monkeypatch, kind):
    """Every block is hashed once more when the disk has taken it, not only what is read back."""
    monkeypatch.setattr(pack, "TARGET_BYTES", 64 * MIB)
    value = os.urandom(12 * MIB)
    if kind == BLOSC2:  # a few kinds of bytes only: half as many are stored
        value = value.translate(bytes(byte & 7 for byte in range(256)))
    assert Compressor(4).compress(memoryview(value)[:MIB])[0] == kind
    for attempt in range(4):
        repository = Repository.open(tmp_path / str(attempt), create=True, disk=RewritingOnce())
        with pytest.raises(IntegrityError, match="other bytes"):
            put(repository, {"noise": value}, sequence=1)


def test_an_end_that_does_not_list_what_was_written_is_found(tmp_path):
    """A pack whose footer lacks a chunk would be one without it."""
    path = tmp_path / "pack"
    out = Outlet(Disk(), AtOnce(), direct=False)
    packer = Packer(out, path, pack_id="0" * 32)
    for value in (b"one" * 50, b"two" * 50):
        length, checksum = len(value), xxh3_64_intdigest(value)
        packer.add(ChunkHeader(chunk_id(value), NONE, length, length, checksum), value)
    packer.finish()
    out.settle()
    check_written(Disk(), packer)
    packer.entries.pop()
    with pytest.raises(IntegrityError, match="not what was written"):
        check_written(Disk(), packer)


def test_memory_that_runs_out_in_the_midst_of_a_chunk_is_told_at_the_end(repository, monkeypatch):
    """Half a chunk may be on its way: who passes over the error gets no snapshot."""
    blocks = iter([outlet._new_block()])

    def new_block():
        try:
            return next(blocks)
        except StopIteration:
            raise MemoryError from None

    with repository.writer("ana", threads=2) as open_writer:
        monkeypatch.setattr(outlet, "_new_block", new_block)
        with pytest.raises(MemoryError):
            open_writer.put_bytes(os.urandom(4 * MIB), chunk_bytes=700_000)
        monkeypatch.undo()
        with pytest.raises(MemoryError):
            open_writer.commit(lambda _: manifest({}, sequence=1))
    assert everything(repository.path) == {}


def test_how_a_chunk_is_stored_does_not_depend_on_which_thread_took_it(repository):
    """Each run of neighbours is compressed by itself, as if no other had come before."""
    text = b"item " * MIB
    runs = [text[number : number + 2 * MIB] if number % 3 else os.urandom(2 * MIB) for number in range(18)]
    whole = memoryview(b"".join(runs))
    with repository.writer("ana", threads=2) as open_writer:
        ref = open_writer.put(fingerprint_pieces(whole, seed=1, known={}), itemsize=4)
        open_writer.commit(lambda _: manifest({}, sequence=1, random=ref))
    expected = {}
    for start in range(0, len(whole), 2 * MIB):
        compressor = Compressor(4)
        for at in (start, start + MIB):
            piece = whole[at : at + MIB]
            expected[chunk_id(piece)] = compressor.compress(piece)[0]
    stored = {}
    for path in files(repository.path, ".pack"):
        footer, _ = pack.read_footer(Disk(), path, pack_id=path.stem)
        entries = (pack.entry_at(footer, number) for number in range(len(footer) // pack.ENTRY_BYTES))
        stored |= {entry.id: entry.compression for entry in entries}
    assert {own: stored[own] for own in expected} == expected
    assert set(expected.values()) == {NONE, BLOSC2}


@pytest.mark.parametrize("disk", [Disk, Buffered])
@pytest.mark.parametrize("value", [os.urandom(2 * MIB), b"item " * MIB])
def test_memory_that_changes_after_it_was_hashed_is_not_committed(tmp_path, monkeypatch, disk, value):
    """Nothing is stored under an id that it does not have, plain or compressed, past the cache or not."""
    hashed = filler.chunk_id

    def hash_and_change(plain):
        own = hashed(plain)
        if len(plain) == MIB:
            plain[MIB // 2] ^= 1
        return own

    monkeypatch.setattr(filler, "chunk_id", hash_and_change)
    repository = Repository.open(tmp_path / "store", create=True, disk=disk())
    with pytest.raises(IntegrityError):
        put(repository, {"a": bytearray(value)}, sequence=1)
    assert everything(repository.path) == {}


def test_a_failure_that_was_passed_over_is_told_at_the_end(repository):
    """Who goes on after an error of the disk, as with the next folder, gets no snapshot."""
    disk = Failing(0, errno.EIO)
    disk.watched = ()
    with Repository.open(repository.path, create=True, disk=disk).writer("ana", threads=2) as open_writer:
        disk.watched = ("write",)
        with pytest.raises(StoreError):
            put_values(open_writer, {"noise": os.urandom(20 * MIB)})
        with pytest.raises(StoreError) as told:
            open_writer.commit(lambda _: manifest({}, sequence=1))
    assert told.value.errno == errno.EIO
    assert everything(repository.path) == {}


def test_no_more_blocks_are_held_than_it_says(tmp_path):
    """A disk that is slower than what it is given makes the caller wait."""
    crew, going = Crew(2), threading.Event()

    class Slow(Watched):
        watched = ("write",)

        def at(self, operation, number):
            going.wait()

    out = Outlet(Slow(), crew.writers[0], direct=True)
    file = OutFile(out, tmp_path / "file", floor=None)
    data = os.urandom(BLOCK_BYTES)

    def fill():
        for _ in range(3 * BLOCKS):
            file.append(data, xxh3_64_intdigest(data))
        file.finish()
        out.settle()

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    going.set()
    thread.join()
    crew.end()
    assert out._made == BLOCKS
    assert (tmp_path / "file").read_bytes() == data * 3 * BLOCKS
