"""A folder of this machine is a place for bytes that survives a power cut."""

import contextlib
import errno
import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from keepstate._base.clock import SYSTEM_CLOCK, ManualClock
from keepstate._base.disk import Disk
from keepstate.backends._local import TEMPORARY, LocalBackend
from keepstate.errors import AlreadyThereError, NotFoundError, StoreError, StoreFullError, UnavailableError
from keepstate.testing import BackendSuite


class TestLocal(BackendSuite):
    @pytest.fixture
    def backend(self, folder):
        return folder


class TestWithoutLinks(BackendSuite):
    """A memory stick, whose file system has one name for each file."""

    many_objects = 10

    @pytest.fixture
    def backend(self, folder, monkeypatch):
        def refuse(*paths, **options):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
        return folder


class Failing(Disk):
    """A disk on which one operation fails."""

    def __init__(self, operation, code):
        self.operation, self.code = operation, code

    def __getattribute__(self, name):
        if name != "operation" and name == self.operation:
            raise OSError(self.code, os.strerror(self.code))
        return super().__getattribute__(name)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir())


def test_nothing_is_made_before_something_is_put(tmp_path):
    """Looking at a place does not make it."""
    backend = LocalBackend(tmp_path / "store")
    assert [*backend.list()] == []
    with pytest.raises(NotFoundError):
        backend.get("a")
    backend.delete("a")
    backend.close()
    assert not (tmp_path / "store").exists()


def test_an_object_is_a_file(folder):
    """Its bytes are at its name, and nothing else stays, not even an empty folder."""
    folder.put("members/me/a.pack", b"bytes")
    folder.put("gone/deep/b", b"")
    folder.delete("gone/deep/b")
    folder.close()
    assert files(folder.place) == ["members/me/a.pack"]
    assert os.listdir(folder.place) == ["members"]
    assert Path(folder.place, "members/me/a.pack").read_bytes() == b"bytes"


def test_bytes_are_synced_before_they_have_a_name(tmp_path, monkeypatch):
    """The order is bytes, sync of the file, name, sync of every folder above; no other survives a cut."""
    done = []

    class Told(Disk):
        def sync(self, descriptor):
            done.append("sync")
            super().sync(descriptor)

        def sync_directory(self, path):
            done.append(path)
            super().sync_directory(path)

        def publish(self, temporary, path):
            done.append("name")
            super().publish(temporary, path)

    link = os.link
    monkeypatch.setattr(os, "link", lambda *paths: (done.append("name"), link(*paths)))
    store = tmp_path / "store"
    backend = LocalBackend(store, disk=Told())
    for replace in (False, True):
        done.clear()
        backend.put("a/b/c", b"1", replace=replace)
        assert done[done.index("sync") :][-4:] == ["name", store / "a" / "b", store / "a", store]
        assert done.index("sync") < done.index("name")
        assert done.count("name") == 1
    done.clear()
    backend.put("a/other", b"1")
    backend.delete("a/other")
    assert done[-1] == store / "a"


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory", "make_directory"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EIO, UnavailableError),
        (errno.ENOTCONN, UnavailableError),
        (errno.ESTALE, UnavailableError),
        (errno.ETIMEDOUT, UnavailableError),
        (errno.EACCES, StoreError),
        (errno.EROFS, StoreError),
    ],
)
def test_what_the_disk_says_is_said_in_our_words(tmp_path, operation, code, kind):
    """The kind of error says what helps, its number stays, and no file without a name is left."""
    backend = LocalBackend(tmp_path / "store", disk=Failing(operation, code))
    with pytest.raises(StoreError) as raised:
        backend.put("a/b", b"bytes")
    assert type(raised.value) is kind
    assert raised.value.errno == code
    assert str(tmp_path / "store") in str(raised.value)
    assert [name for name in files(tmp_path) if name != "store/a/b"] == []


def test_reading_says_it_too(folder, monkeypatch):
    """A disk that does not answer is no missing object, and a listing that fails is no short one."""
    folder.put("a/b", b"1")

    def refuse(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnavailableError):
        folder.get("a/b")
    with pytest.raises(UnavailableError):
        folder.list()


def test_a_disk_that_keeps_other_bytes_is_found_out(tmp_path):
    """What was written is read back before it gets a name."""

    class Lying(Disk):
        def write(self, descriptor, data):
            changed = bytearray(data)
            changed[5_000_000] ^= 1
            super().write(descriptor, changed)

    class Shortening(Disk):
        def write(self, descriptor, data):
            super().write(descriptor, data[:-1])

    for disk in (Lying(), Shortening()):
        backend = LocalBackend(tmp_path / "store", disk=disk)
        with pytest.raises(StoreError, match="other bytes"):
            backend.put("a", bytes(6_000_000))
        with pytest.raises(NotFoundError):
            backend.get("a")
    assert backend.properties.proof == "checksum"


def test_links_and_pipes_are_no_objects(tmp_path, folder):
    """They are not followed, not read, not waited for, and not listed."""
    (tmp_path / "secret").write_bytes(b"of somebody else")
    folder.put("a/real", b"1")
    store = Path(folder.place)
    (store / "link").symlink_to(tmp_path / "secret")
    (store / "around").symlink_to(store, target_is_directory=True)
    os.mkfifo(store / "pipe")
    assert [item.name for item in folder.list()] == ["a/real"]
    for name in ("link", "pipe", "around"):
        with pytest.raises(NotFoundError):
            folder.get(name)
        with pytest.raises(NotFoundError):
            folder.stat(name)
    with pytest.raises(AlreadyThereError):
        folder.put("link", b"1")
    folder.put("link", b"1", replace=True)
    assert (tmp_path / "secret").read_bytes() == b"of somebody else"


def test_what_others_left_in_the_folder_is_no_object(folder):
    """Files whose names no object has are passed over."""
    folder.put("a/b", b"1")
    for name in (".DS_Store", "Thumbs.db", "a/Notes (1).txt"):
        Path(folder.place, name).write_bytes(b"x")
    assert [item.name for item in folder.list()] == ["a/b"]


def test_what_a_power_cut_left_is_removed_after_a_day(tmp_path):
    """Files without a name are never listed; old ones go with the next put, and young ones may be in use."""
    clock = ManualClock(now=SYSTEM_CLOCK.utc_now())
    left = tmp_path / TEMPORARY
    left.mkdir()
    (left / "0a.tmp").write_bytes(b"half of someth")
    backend = LocalBackend(tmp_path, clock=clock)
    backend.put("a", b"1")
    assert [item.name for item in backend.list()] == ["a"]
    assert files(tmp_path) == [f"{TEMPORARY}/0a.tmp", "a"]
    clock.advance(timedelta(days=1, minutes=1).total_seconds())
    backend = LocalBackend(tmp_path, clock=clock)
    backend.put("b", b"1")
    assert files(tmp_path) == ["a", "b"]


def test_a_process_that_is_killed_leaves_whole_objects(tmp_path):
    """Whatever it was in the middle of, each object has all its bytes, and none that was put is missing."""
    code = """
import hashlib, os, sys
from pathlib import Path
from keepstate.backends._local import LocalBackend
backend = LocalBackend(Path(sys.argv[1]))
while True:
    data = os.urandom(3_000_000)
    name = "a/" + hashlib.sha256(data).hexdigest()
    backend.put(name, data)
    print(name, flush=True)
"""
    said = []
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True
        ) as child:
            said += [child.stdout.readline().strip() for _ in range(3)]
            child.kill()
            said += child.stdout.read().split()
    backend = LocalBackend(tmp_path)
    there = {item.name for item in backend.list()}
    assert there >= set(said)
    for name in there:
        assert name == f"a/{hashlib.sha256(backend.get(name)).hexdigest()}"


def test_a_folder_that_is_emptied_while_it_is_written_to(folder):
    """Deleting the last object of a folder does not make a put into it fail."""

    def put_and_delete(number):
        for turn in range(40):
            folder.put(f"a/b/{number}-{turn}", b"1")
            folder.delete(f"a/b/{number}-{turn}")

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(put_and_delete, range(4))]
    assert [*folder.list()] == []


def test_processes_that_put_one_name_do_not_both_win(tmp_path):
    """Where the file system has no links, a lock between processes takes their place."""
    code = """
import errno, os, sys
from pathlib import Path
from keepstate.backends._local import LocalBackend
from keepstate.errors import AlreadyThereError
def refuse(*paths):
    raise PermissionError(errno.EPERM, "no links")
os.link = refuse
backend = LocalBackend(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    try:
        backend.put(line.strip(), sys.argv[2].encode())
    except AlreadyThereError:
        print("lost", flush=True)
    else:
        print("won", flush=True)
"""
    with contextlib.ExitStack() as ends:
        children = [
            ends.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, tmp_path, str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            for number in range(3)
        ]
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
        for turn in range(30):
            for child in children:
                child.stdin.write(f"a/{turn}\n")
            said = [child.stdout.readline().strip() for child in children]
            assert sorted(said) == ["lost", "lost", "won"]
            assert Path(tmp_path, "a", str(turn)).read_text() == str(said.index("won"))


def test_a_disk_that_was_pulled_out_is_not_an_empty_one(tmp_path):
    """When another file system is at the path, nothing is called missing, and nothing written to it."""
    here, there = tmp_path / "here", Path("/dev/shm") / f"keepstate-{os.getpid()}"
    here.mkdir()
    path = tmp_path / "stick"
    try:
        there.mkdir()
        if there.stat().st_dev == here.stat().st_dev:
            pytest.skip("there is one file system only")
        path.symlink_to(there)
        backend = LocalBackend(path)
        backend.put("a", b"1")
        path.unlink()
        path.symlink_to(here)
        for call in (lambda: backend.get("a"), lambda: backend.list(), lambda: backend.put("b", b"1")):
            with pytest.raises(UnavailableError, match="another disk"):
                call()
        assert os.listdir(here) == []
        path.unlink()
        path.symlink_to(there)
        assert bytes(backend.get("a")) == b"1"
    finally:
        for file in there.rglob("*"):
            if file.is_file():
                file.unlink()
        for each in (there / TEMPORARY, there):
            if each.is_dir():
                each.rmdir()


def test_readers_see_no_part_of_a_put_in_a_folder_of_this_machine(folder):
    """The name appears once, with all bytes, although the bytes were being written for a while."""
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            seen.update(item.nbytes for item in folder.list())

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for number in range(10):
            folder.put(f"a/{number}", bytes(3_000_000))
        stop.set()
        looking.result()
    assert seen <= {3_000_000}
