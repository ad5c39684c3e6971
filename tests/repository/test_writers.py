"""A save that fails, is killed or runs beside others leaves everything that was there."""

import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from faults import WRITES, Crashed, Crashing, Failing
from saves import everything, files, manifest, put_values, save, snapshot_id

from keepstate._base.clock import ManualClock
from keepstate._repository import ConflictError, Repository
from keepstate.errors import InvalidInputError, StoreError, StoreFullError

FIRST = {"a": os.urandom(2000), "b": b"b" * 500}
SECOND = {"a": os.urandom(2000), "b": b"b" * 500, "c": os.urandom(900_000)}


def test_a_disk_that_fails_once_costs_that_save_alone(tmp_path):
    """Whichever operation fails, the save is a StoreError, only whole files stay, and the next succeeds."""
    for number in range(100):
        path = tmp_path / str(number)
        save(Repository.open(path, create=True), FIRST, sequence=1)
        disk = Failing(number, errno.EIO)
        failing = Repository.open(path, create=True, disk=disk)
        committed = error = None
        try:
            committed = save(failing, SECOND, sequence=2)
        except StoreError as raised:
            error = raised
        found = everything(path)
        assert found[snapshot_id("s1", 1)] == FIRST
        assert found.keys() <= {snapshot_id("s1", 1), snapshot_id("s1", 2)}
        assert committed is None or found[committed.manifest.id] == SECOND
        assert Repository.open(path, create=False).verify(deep=True).is_sound
        if not disk.failed:
            assert error is None
            break
        assert error is None or error.errno == errno.EIO or isinstance(error, ConflictError)
        again = save(failing, SECOND, sequence=3)
        assert everything(path)[again.manifest.id] == SECOND
    else:
        pytest.fail("the save never ended")
    assert number > 15


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so_and_leaves_no_trace(tmp_path, code):
    """From whatever write on the disk is full, that is the error, and what was written is removed."""
    repository = Repository.open(tmp_path / "store", create=True)
    save(repository, FIRST, sequence=1)
    packs = files(repository.path, ".pack")
    for number in range(40):
        disk = Failing(number, code, from_then_on=True, only=("create", "write", "make_directory"))
        full = Repository.open(repository.path, create=True, disk=disk)
        try:
            save(full, SECOND, sequence=2)
            break
        except StoreFullError as error:
            found = error.errno
        assert found == code
        assert list(everything(repository.path)) == [snapshot_id("s1", 1)]
        assert files(repository.path / "members", ".tmp") == files(repository.path, ".lease") == []
        assert set(packs) <= set(files(repository.path, ".pack"))
    assert number > 5
    assert everything(repository.path)[snapshot_id("s1", 2)] == SECOND


def test_an_ended_process_leaves_the_last_commit_whole(tmp_path):
    """Ended before any operation, as by SIGKILL, a save has committed or left what prune sweeps."""
    for number in range(100):
        path = tmp_path / str(number)
        save(Repository.open(path, create=True), FIRST, sequence=1)
        crashing = Repository.open(path, create=True, disk=Crashing(number))
        try:
            save(crashing, SECOND, sequence=2, threads=2)
        except Crashed:
            ended = True
        else:
            ended = False
        values = {snapshot_id("s1", 1): FIRST, snapshot_id("s1", 2): SECOND}
        found = everything(path)
        assert found.items() <= values.items()
        assert snapshot_id("s1", 1) in found
        fresh = Repository.open(path, create=True)
        assert fresh.verify(deep=True).is_sound
        for lease in files(path, ".lease"):
            lease.write_bytes(lease.read_bytes().replace(b'"process_started":"', b'"process_started":"1'))
            os.utime(lease, (0, 0))  # a torn one counts by its age
        fresh.prune(keep_last=5)
        assert everything(path) == found
        assert files(path / "members", ".tmp") == files(path, ".lease") == []
        assert len(files(path, ".pack")) == len(found)
        if not ended:
            break
    assert number > 15


LOOP = """
import os, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from saves import save
from keepstate._repository import ConflictError, Repository
repository = Repository.open(Path(sys.argv[1]), create=True)
lineage, count, known = sys.argv[2], int(sys.argv[3]), {{}}
same = b"same" * 50_000
for sequence in range(1, count + 1):
    values = {{"noise": os.urandom(400_000), "same": same, "n": str(sequence).encode() * 100}}
    for _ in range(50):  # beside a prune that never rests
        try:
            commit = save(repository, values, sequence=sequence, known=known, lineage=lineage)
            break
        except ConflictError:
            known = {{}}
    known = commit.known
    print(commit.manifest.id, flush=True)
"""


def saving_process(path, lineage, count):
    here = Path(__file__).parent
    code = LOOP.format(paths=[str(here)])
    command = [sys.executable, "-c", code, str(path), lineage, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_loses_nothing_that_it_reported(repository):
    """SIGKILL at any moment: every snapshot that was reported is there, and sound."""
    reported = []
    for round_number, after in enumerate((0, 1, 3, 6)):
        process = saving_process(repository.path, f"s{round_number}", 10_000)
        for _ in range(after):
            reported.append(process.stdout.readline().strip())
        if after == 0:  # somewhere in its first save
            while not files(repository.path, ".lease") and process.poll() is None:
                pass
        process.send_signal(signal.SIGKILL)
        reported += process.stdout.read().split()
        process.wait()
        process.stdout.close()
        fresh = Repository.open(repository.path, create=False)
        report = fresh.verify(deep=True)
        assert report.is_sound, report
        assert set(reported) <= {found.id for found in fresh.manifests()}
    repository.prune(keep_last=1)  # the dead processes keep nothing from being swept
    assert files(repository.path / "members", ".tmp") == files(repository.path, ".lease") == []
    assert Repository.open(repository.path, create=False).verify(deep=True).is_sound


def test_writers_and_prune_in_processes_of_their_own(repository):
    """Two sessions save at full speed while a third prunes: the last of each is there and right."""
    processes = [saving_process(repository.path, lineage, 12) for lineage in ("one", "two")]
    pruned = 0
    while any(process.poll() is None for process in processes):
        report = Repository.open(repository.path, create=True).prune(keep_last=1)
        pruned += report.deleted_packs
    reported = [process.stdout.read().split() for process in processes]
    for process in processes:
        process.stdout.close()
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(each) for each in reported] == [12, 12]
    assert pruned
    repository.prune(keep_last=1)
    assert Repository.open(repository.path, create=False).verify(deep=True).is_sound
    found = everything(repository.path)
    assert {each[-1] for each in reported} <= found.keys()
    assert found[reported[0][-1]]["n"] == b"12" * 100
    assert len(files(repository.path, ".pack")) <= 6


def test_a_forked_child_writes_while_the_threads_of_its_parent_do_too(repository):
    """Forked in the middle of other threads' saves, a child commits and ends; it waits for nobody."""
    stop = threading.Event()

    def keep_saving(lineage):
        own = Repository.open(repository.path, create=True)
        sequence = 0
        while not stop.is_set():
            sequence += 1
            save(own, {"t": bytes(range(256)) * 3000}, sequence=sequence, lineage=lineage, itemsize=4)

    save(repository, FIRST, sequence=1, itemsize=8)
    threads = [threading.Thread(target=keep_saving, args=(f"t{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(8):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # it is what this test is about
                child = os.fork()
            if child == 0:
                code = 1
                try:
                    save(repository, SECOND, sequence=1, lineage=f"child{number}", itemsize=8)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    found = everything(repository.path)
    assert sum(values == SECOND for values in found.values()) == 8


def test_what_reads_back_wrong_is_not_committed(repository):
    """A disk that writes other bytes than it was given is found out before the manifest."""
    from keepstate._base.disk import Disk

    class Lying(Disk):
        def write(self, descriptor, data):
            data = bytes(data)
            if len(data) > 10_000:
                data = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
            super().write(descriptor, data)

    save(repository, FIRST, sequence=1)
    with pytest.raises(Exception, match="does not read back"):
        save(Repository.open(repository.path, create=True, disk=Lying()), SECOND, sequence=2)
    assert list(everything(repository.path)) == [snapshot_id("s1", 1)]


def test_a_save_that_takes_longer_than_its_lease_counts_is_refused(tmp_path):
    """After an hour others may take the writer for dead, so it does not commit."""
    clock = ManualClock()
    repository = Repository.open(tmp_path / "store", create=True, clock=clock)
    with repository.writer("ana") as writer:
        names = put_values(writer, FIRST)
        clock.advance(3601)
        with pytest.raises(ConflictError):
            writer.commit(lambda n: manifest(names, sequence=1))
    assert everything(repository.path) == {}


def test_a_snapshot_is_never_replaced(repository):
    """A second commit under the same names is refused; the first stays."""
    save(repository, FIRST, sequence=1)
    with pytest.raises(InvalidInputError):
        save(repository, SECOND, sequence=1)
    with repository.writer("bob") as writer, pytest.raises(InvalidInputError, match="member"):
        writer.commit(lambda n: manifest({}, sequence=1))
    assert everything(repository.path) == {snapshot_id("s1", 1): FIRST}


def test_a_lease_tells_who_is_saving(repository):
    """While a save is under way others can see it; afterwards, abandoned or not, they do not."""
    query = {"project": "p", "member": "ana", "notebook": "n"}
    assert repository.saving(**query) == []
    with repository.writer("ana", project="p", notebook="n", lineage="s1") as writer:
        (lease,) = Repository.open(repository.path, create=False).saving(**query)
        assert (lease.pid, lease.lineage, lease.id) == (os.getpid(), "s1", writer.lease.id)
        assert repository.saving(**(query | {"notebook": "other"})) == []
        assert repository.saving(**(query | {"member": "bob"})) == []
    assert repository.saving(**query) == []


def test_names_carried_by_reference_need_not_be_sound(repository):
    """A damaged group that is carried on keeps no other name from being saved."""
    first = save(repository, {"lost": os.urandom(500), "kept": b"k" * 300}, sequence=1)
    lost = {"lost": first.manifest.names["lost"]}
    (path,) = files(repository.path, ".pack")
    path.unlink()
    second = save(repository, {"kept": b"k" * 300}, sequence=2, carried=lost)
    fresh = Repository.open(repository.path, create=False)
    assert list(fresh.verify(deep=True).affected[second.manifest.id]) == ["lost"]
    assert "kept" not in fresh.verify(deep=True).affected[second.manifest.id]


def test_names_carried_by_reference_must_not_be_about_to_go(repository):
    """If prune condemns what a carried name needs while the save is under way, the save is refused."""
    first = save(repository, {"old": os.urandom(5000)}, sequence=1)
    save(repository, {"x": b"x" * 300}, sequence=2)
    with repository.writer("ana") as writer:
        names = put_values(writer, {"x": b"x" * 300}) | first.manifest.names
        report = Repository.open(repository.path, create=True).prune(keep_last=1)
        assert report.waiting_packs == 1
        with pytest.raises(ConflictError):
            writer.commit(lambda n: manifest(names, sequence=3))


def test_every_write_operation_is_watched():
    """The scripted disks know all operations of the real one, those that only look apart."""
    from keepstate._base.disk import Disk

    known = {name for name in vars(Disk) if not name.startswith("_")}
    looks = {"open", "exists", "is_directory", "may_write", "device", "shown", "entries", "lengths", "read"}
    facts = {"most_at_once", "lists_late", "space", "bypass_cache"}
    assert known == {*WRITES, "write_whole", *looks, *facts}
