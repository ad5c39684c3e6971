"""A lease counts while its holder may still commit, and no longer."""

import os
import subprocess
import sys

import msgspec
import pytest
from saves import files

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import SYSTEM_DISK
from keepstate._repository.layout import member_folder
from keepstate._repository.lease import LIMIT_SECONDS, drop_lease, leases, take_lease


@pytest.fixture
def folder(repository):
    return member_folder(repository.path, "ana")


def take(folder):
    return take_lease(SYSTEM_DISK, folder, purpose="write", clock=SYSTEM_CLOCK, project="p", notebook="n")


def look(folder):
    return leases(SYSTEM_DISK, folder, clock=SYSTEM_CLOCK, limit_seconds=LIMIT_SECONDS)


def rewrite(folder, **changes):
    (path,) = files(folder.leases, ".lease")
    found = msgspec.json.decode(path.read_bytes())
    found.update(changes)
    path.write_bytes(msgspec.json.encode(found))
    return path


def test_a_lease_of_a_living_process_counts_however_old(folder):
    """On this machine only the process decides."""
    lease = take(folder)
    path = rewrite(folder, began_at="2001-01-01T00:00:00+00:00")
    os.utime(path, (0, 0))
    (held,) = look(folder)
    assert held.is_alive
    assert held.purpose == "write"
    drop_lease(SYSTEM_DISK, folder, lease)
    assert look(folder) == []


def test_a_lease_of_an_ended_process_does_not_count(folder):
    """Neither one that is gone, nor a zombie, nor another process that has got its number since."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    take(folder)
    while True:  # until it is a zombie: nobody has waited for it
        with open(f"/proc/{process.pid}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
    rewrite(folder, pid=process.pid)
    assert not look(folder)[0].is_alive
    process.wait()
    assert not look(folder)[0].is_alive
    rewrite(folder, pid=os.getpid(), process_started="1")
    assert not look(folder)[0].is_alive


@pytest.mark.parametrize("field", ["host", "boot", "pid_space"])
def test_a_lease_of_another_place_counts_by_its_age(folder, field):
    """For two hours, by what it says or by its file, whichever is younger."""
    place = msgspec.to_builtins(take(folder).place)
    path = rewrite(folder, place=place | {field: "another"}, pid=999_999_999)
    assert look(folder)[0].is_alive
    os.utime(path, (0, 0))
    assert look(folder)[0].is_alive
    path = rewrite(folder, began_at="2001-01-01T00:00:00+00:00")
    assert look(folder)[0].is_alive
    os.utime(path, (0, 0))
    assert not look(folder)[0].is_alive


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b'{"id": "other"}'])
def test_a_torn_lease_counts_by_its_age(folder, raw):
    """What a power cut has torn is taken for a save until it is two hours old."""
    take(folder)
    (path,) = files(folder.leases, ".lease")
    path.write_bytes(raw)
    (held,) = look(folder)
    assert held.is_alive
    assert held.lease is None
    os.utime(path, (0, 0))
    assert not look(folder)[0].is_alive
