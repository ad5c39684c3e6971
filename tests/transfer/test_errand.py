"""A process asks the far side for a call that waits; whatever becomes of either, the other is free again."""

import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "repository"))

from far_places import copy, damage, kept, random_bytes
from s3_servers import SECRET, free_ports, rclone_server, wait_until
from saves import save, snapshot_id, values_of

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.word import Word
from keepstate._repository import Repository
from keepstate._transfer import errand as errands
from keepstate._transfer.errand import errand
from keepstate._transfer.far import open_far
from keepstate._transfer.mirror import Mirror
from keepstate.backends import Credentials, read_address
from keepstate.errors import (
    CredentialsError,
    IntegrityError,
    NotAStoreError,
    NotFoundError,
    StoreError,
    UnavailableError,
)

NOTEBOOK = ("p", "ana", "n")
VALUES = {"big": random_bytes(9 << 20), "y": b"y" * 900}
OWN = snapshot_id("s1", 1)


class Way:
    """An empty repository here, and the address of a far one."""

    def __init__(self, near, address, credentials):
        self.near, self.address, self.credentials = near, address, credentials
        Repository.open(near, create=True)

    @contextlib.contextmanager
    def far(self):
        far = open_far(read_address(self.address), self.credentials, stop=Word())
        try:
            yield far.repository(create=True)
        finally:
            far.backend.close()

    def here(self):
        return Repository.open(self.near, create=False)

    @contextlib.contextmanager
    def asking(self):
        """Ask, and see that afterwards nobody does."""
        with errand(
            self.near, address=self.address, credentials=self.credentials, notebook=NOTEBOOK
        ) as asking:
            process = psutil.Process(asking._process.pid)
            try:
                yield asking
            finally:
                self.process = process
        assert not process.is_running()

    def mirrored(self):
        return sorted(each.id for each in Mirror.of(self.near).read(NOTEBOOK))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with rclone_server(tmp_path_factory.mktemp("server")) as found:
        found.create_bucket("bucket")
        yield found


@pytest.fixture
def bucket(server, tmp_path):
    """A folder of a bucket, with one snapshot in it."""
    way = Way(tmp_path / "near", server.address("bucket", tmp_path.name), Credentials(server.credentials))
    fill(way, tmp_path)
    return way


@pytest.fixture
def folder(tmp_path):
    """A folder that counts as mounted, likewise."""
    way = Way(tmp_path / "near", str(tmp_path / "mounted"), Credentials())
    fill(way, tmp_path)
    return way


def fill(way, tmp_path):
    other = Repository.open(tmp_path / "other", create=True)
    save(other, VALUES, sequence=1)
    with way.far() as far:
        copy(other, far)


@pytest.fixture
def silent():
    """The port of a server that takes what comes and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def way_to(port, tmp_path, **more):
    address = f"s3://bucket/folder?endpoint=http://127.0.0.1:{port}&region=us-east-1"
    return Way(tmp_path / "near", address, Credentials({"AWS_ACCESS_KEY_ID": "k", **more}))


def test_a_look_finds_what_is_there(bucket):
    """It is in the mirror then, and nothing of it is here yet."""
    with bucket.asking() as asking:
        asking.look()
    assert bucket.mirrored() == [OWN]
    assert bucket.here().manifests() == []


@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_a_snapshot_is_brought_whole(place, request):
    """With its progress, in the same process as the look or in another one, and only once."""
    way, said = request.getfixturevalue(place), []
    with way.asking() as asking:
        asking.look()
        assert asking.fetch(OWN, lambda *progress: said.append(progress)).finish() == ""
        assert asking.fetch(OWN, lambda *progress: said.append(progress)).finish() == ""
    assert kept(way.here()) == {OWN: VALUES}
    assert way.here().verify(deep=True).is_sound
    assert all(0 <= done <= total for done, total in said)
    assert max(total for _, total in said) > 9 << 20
    assert not list(way.near.rglob("*.lease"))


def test_a_snapshot_can_be_fetched_without_a_look_before(folder):
    """The process looks by itself."""
    with folder.asking() as asking:
        assert asking.fetch(OWN, lambda *_: None).finish() == ""
    assert kept(folder.here()) == {OWN: VALUES}


def test_a_snapshot_that_is_gone_is_told_as_gone(folder):
    """And the process can be asked for another."""
    with folder.asking() as asking:
        with pytest.raises(NotFoundError, match="not at"):
            asking.fetch("0" * 20, lambda *_: None).finish()
        asking.fetch(OWN, lambda *_: None).finish()


def test_an_empty_place_is_no_trouble(server, tmp_path):
    """Nothing is there, and that is known."""
    way = Way(tmp_path / "near", server.address("bucket", tmp_path.name), Credentials(server.credentials))
    with way.asking() as asking:
        asking.look()
    assert way.mirrored() == []


def test_what_is_damaged_there_is_told_and_the_rest_is_brought(folder):
    """The caller gets a sentence, and the names that are whole."""
    (path,) = (path for path in Path(folder.address).rglob("*.pack"))
    damage(path, path.read_bytes().index(VALUES["big"][5 << 20 : (5 << 20) + 64]))
    with folder.asking() as asking:
        assert "damaged or gone" in asking.fetch(OWN, lambda *_: None).finish()
    (found,) = folder.here().manifests()
    assert values_of(folder.here(), found, only="y") == {"y": VALUES["y"]}


def test_a_wrong_key_is_told_as_that(server, bucket):
    """The message holds neither the key nor its quoted form, and the arguments of the process no secret."""
    wrong = "wrong/key+of/the/tests"
    bucket.credentials = Credentials({**server.credentials, "AWS_SECRET_ACCESS_KEY": wrong})
    with bucket.asking() as asking:
        assert not {wrong, SECRET} & set(" ".join(psutil.Process(asking._process.pid).cmdline()).split())
        with pytest.raises(CredentialsError) as raised:
            asking.look()
    assert wrong not in str(raised.value)
    assert bucket.mirrored() == []


def test_a_folder_that_holds_something_else_is_told_as_that(tmp_path):
    """It is not written to."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.txt").write_text("mine")
    way = Way(tmp_path / "near", str(tmp_path / "docs"), Credentials())
    with way.asking() as asking, pytest.raises(NotAStoreError, match=r"thesis\.txt"):
        asking.look()
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_a_place_that_nobody_answers_at_is_told_in_bounded_time(tmp_path):
    """After some seconds of patience."""
    (port,) = free_ports(1)
    way = way_to(port, tmp_path, AWS_SECRET_ACCESS_KEY="secret-of-tests")
    began = SYSTEM_CLOCK.monotonic()
    with way.asking() as asking, pytest.raises(UnavailableError) as raised:
        asking.look()
    assert SYSTEM_CLOCK.monotonic() - began < errands.LOOK_SECONDS
    assert "secret-of-tests" not in str(raised.value)


def test_a_place_that_hangs_is_given_up(silent, tmp_path, monkeypatch):
    """Though the process goes on waiting, the call does not, and the process is ended."""
    monkeypatch.setattr(errands, "LOOK_SECONDS", 1.5)
    way = way_to(silent, tmp_path, AWS_SECRET_ACCESS_KEY="secret-of-tests")
    with way.asking() as asking, pytest.raises(UnavailableError, match=r"not answered for 1\.5 seconds"):
        asking.look()


def test_a_process_that_is_killed_is_told(folder):
    """As trouble with the store, in mid-work and at the next request."""
    with folder.asking() as asking:
        with pytest.raises(StoreError, match="has ended"):
            asking.fetch(OWN, lambda *_: asking._process.kill()).finish()
        with pytest.raises(StoreError, match="has ended"):
            asking.look()
    found = kept(folder.here())
    assert found in ({}, {OWN: VALUES})
    with folder.asking() as asking:
        asking.fetch(OWN, lambda *_: None).finish()
    assert kept(folder.here()) == {OWN: VALUES}
    assert folder.here().verify(deep=True).is_sound


def test_an_interrupt_ends_the_call_and_the_process(silent, tmp_path):
    """Ctrl-C while the place hangs: at once, and nobody of ours is left."""
    way = way_to(silent, tmp_path, AWS_SECRET_ACCESS_KEY="secret-of-tests")
    began = SYSTEM_CLOCK.monotonic()
    press = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))

    def look(asking):
        press.start()
        asking.look()

    with pytest.raises(KeyboardInterrupt), way.asking() as asking:
        look(asking)
    press.join()
    assert SYSTEM_CLOCK.monotonic() - began < 10
    assert not way.process.is_running()


def test_an_interrupt_of_the_whole_group_is_left_to_the_caller(folder):
    """The process has a session of its own and does not listen to Ctrl-C itself."""
    with folder.asking() as asking:
        asking.look()
        assert os.getsid(asking._process.pid) == asking._process.pid
        asking._process.send_signal(signal.SIGINT)
        assert asking.fetch(OWN, lambda *_: None).finish() == ""


def test_the_process_ends_with_its_caller(folder):
    """A killed kernel closes its ends of the pipes, and no lease and no process stays."""
    with folder.asking() as asking:

        def die(*_progress):
            asking._process.stdout.close()
            asking._process.stdin.close()
            raise StopIteration

        with pytest.raises(StopIteration):
            asking.fetch(OWN, die).finish()
        wait_until(lambda: asking._process.poll() is not None, "it ends", 30)
    assert not list(folder.near.rglob("*.lease"))


def test_what_the_process_does_is_done_beside_others(folder):
    """A session saves here while a snapshot is brought; both are whole."""
    with folder.asking() as asking:
        asking.look()
        numbers = iter(range(1, 1000))

        def busy(*_progress):
            save(folder.here(), {"mine": b"m"}, sequence=next(numbers), lineage="s9")

        asking.fetch(OWN, busy).finish()
    found = kept(folder.here())
    assert found.pop(OWN) == VALUES
    assert found
    assert all(values == {"mine": b"m"} for values in found.values())


def test_a_snapshot_that_was_pruned_since_the_look_is_told_as_gone(folder):
    """Not as brought: it is nowhere then."""
    with folder.asking() as asking:
        asking.look()
        for path in (*Path(folder.address).rglob("*.manifest"), *Path(folder.address).rglob("*.pack")):
            path.unlink()
        with pytest.raises(NotFoundError, match="not at"):
            asking.fetch(OWN, lambda *_: None).finish()
    assert folder.here().manifests() == []


def test_what_is_damaged_here_is_brought_where_that_is_asked_for(folder):
    """Only then is everything here read."""
    with folder.asking() as asking:
        asking.fetch(OWN, lambda *_: None).finish()
        (path,) = (path for path in folder.near.rglob("*.pack"))
        damage(path, path.read_bytes().index(VALUES["big"][5 << 20 : (5 << 20) + 64]))
        asking.fetch(OWN, lambda *_: None).finish()
        with pytest.raises(IntegrityError):
            kept(folder.here())
        assert asking.fetch(OWN, lambda *_: None, mend=True).finish() == ""
    assert kept(folder.here()) == {OWN: VALUES}


def test_where_no_process_can_be_started_the_store_counts_as_failing(folder, monkeypatch):
    """As in a program with a kernel in it, which does not say where its Python is."""
    for executable in ("", "/no/such/python", None):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(StoreError, match="no process can be started"), folder.asking():
            pass
