"""A file is there whole or not at all."""

import errno
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from keepstate._base.disk import Disk, make_directories, sync_upwards, translating, write_durably
from keepstate.errors import StoreError, StoreFullError


class FullAfter(Disk):
    def __init__(self, budget, error=errno.ENOSPC):
        self.budget, self.error = budget, error

    def write(self, descriptor, data):
        self.budget -= len(data)
        if self.budget < 0:
            raise OSError(self.error, os.strerror(self.error))
        super().write(descriptor, data)


def test_written_pieces_are_read_back_whole(tmp_path):
    """All pieces are at the final name, in order, and nothing else is left."""
    write_durably(Disk(), tmp_path / "a", [b"one", memoryview(b"two"), b""], temporary=tmp_path / ".t")
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("folder", ["/dev/shm", "/var/tmp"])  # memory, and mostly a disk
def test_what_goes_past_the_systems_memory_is_all_there(tmp_path, folder):
    """Whole and aligned pages, the rest of a page and memory at any address: each is written in its place."""
    where = Path(tempfile.mkdtemp(dir=folder)) if Path(folder).is_dir() else tmp_path
    disk, pages = Disk(), memoryview(mmap.mmap(-1, 5 * mmap.PAGESIZE))
    pages[:] = os.urandom(len(pages))
    try:
        for data in ([pages], [pages, pages[:77]], [pages[3:], pages], [pages[1 : 1 + mmap.PAGESIZE]]):
            descriptor = disk.create(where / "file")
            disk.bypass_cache(descriptor)
            for piece in data:
                disk.write(descriptor, piece)
            disk.sync(descriptor)
            disk.close(descriptor)
            assert (where / "file").read_bytes() == b"".join(data)
            disk.remove(where / "file")
    finally:
        shutil.rmtree(where)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreError)],
)
def test_a_failing_disk_leaves_the_old_file(tmp_path, code, kind):
    """When the disk fails in the middle, the name keeps its old bytes and no temporary file stays."""
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(kind) as raised:
        write_durably(FullAfter(4, code), tmp_path / "a", [b"abc", b"def"], temporary=tmp_path / ".t")
    assert raised.value.errno == code
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_directories_are_made_once(tmp_path):
    """Making directories again is no error."""
    for _ in range(2):
        make_directories(Disk(), tmp_path / "x" / "y" / "z")
    assert (tmp_path / "x" / "y" / "z").is_dir()


def test_the_name_comes_after_the_bytes_are_synced(tmp_path):
    """The order is bytes, sync of the file, name, sync of the directory; no other survives a power cut."""
    done = []

    class Told(Disk):
        def __getattribute__(self, name):
            if name in ("create", "write", "sync", "publish", "sync_directory"):
                done.append(name)
            return super().__getattribute__(name)

    write_durably(Told(), tmp_path / "a", [b"x"], temporary=tmp_path / ".t")
    assert done == ["create", "write", "sync", "publish", "sync_directory"]


def test_new_directories_are_synced_in_their_parents(tmp_path):
    """Each directory that is made is an entry in the one above, which is synced."""
    synced = []

    class Told(Disk):
        def sync_directory(self, path):
            synced.append(path)

    make_directories(Told(), tmp_path / "x" / "y")
    assert synced == [tmp_path, tmp_path / "x"]
    synced.clear()
    sync_upwards(Told(), [tmp_path / "x" / "y", tmp_path / "x"], top=tmp_path)
    assert sorted(synced) == [tmp_path, tmp_path / "x", tmp_path / "x" / "y"]


def test_a_directory_is_listed_with_lengths(tmp_path):
    """Files have their length, directories say that they are; one that is not there has no entries."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"12345")
    found = {each.name: (each.is_directory, each.bytes) for each in Disk().entries(tmp_path)}
    assert found["d"][0]
    assert found["f"] == (False, 5)
    assert Disk().entries(tmp_path / "none") == []


def test_reading_stops_one_byte_after_the_limit(tmp_path):
    """A file that is longer than allowed is told by that byte, without reading all of it."""
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert len(Disk().read(tmp_path / "f", limit_bytes=2_000_000)) == 2_000_001
    assert len(Disk().read(tmp_path / "f", limit_bytes=3_000_000)) == 3_000_000


def test_operating_system_errors_become_store_errors(tmp_path):
    """They keep their number; a StoreError passes as it is."""
    with pytest.raises(StoreError) as raised, translating(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    assert raised.value.errno == errno.EACCES
    with pytest.raises(StoreFullError) as raised, translating(tmp_path):
        raise StoreFullError("as it is")
    assert str(raised.value) == "as it is"
