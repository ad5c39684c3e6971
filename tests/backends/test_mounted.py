"""A mounted folder is a place for bytes that may hang, fail or lie, and never holds up whoever uses it."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psutil
import pytest
from backends.fuse_folder import CannotMountError, fuse_folder
from backends.mount_faults import Faults, upload

from keepstate._base.clock import SYSTEM_CLOCK, SystemClock
from keepstate._base.retry import Backoff
from keepstate._base.word import Word
from keepstate.backends._mount_helpers import (
    MOST_PROCESSES,
    MOST_STUCK,
    MOST_TRANSFERS,
    PAUSE_SECONDS,
    PROGRAM,
    TimeLimits,
)
from keepstate.backends._mount_process import TEMPORARY
from keepstate.backends._mounted import open_mounted
from keepstate.backends._retrying import Retrying
from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from keepstate.testing import BackendSuite

SHORT = TimeLimits(call_seconds=0.3, slowest_bytes_per_second=1 << 30)
"""For calls that all hang."""
LONG = TimeLimits(call_seconds=120)
"""Longer than any test waits."""
AT_ONCE = Backoff(first_seconds=0.001, longest_seconds=0.001, total_seconds=100)

CALLS = {
    "put": lambda backend: backend.put("a/new", os.urandom(3 << 20)),
    "get": lambda backend: backend.get("a/old"),
    "stat": lambda backend: backend.stat("a/old"),
    "list": lambda backend: backend.list(),
    "delete": lambda backend: backend.delete("a/old"),
}

STEPS = [
    *(("put", step) for step in ("look", "create", "write", "sync", "close", "rename")),
    *(("get", step) for step in ("open", "seen", "read", "close")),
    ("stat", "look"),
    ("list", "entries"),
    ("delete", "look"),
    ("delete", "remove"),
]
"""Each call, and what it asks the operating system for."""


@pytest.fixture
def opened():
    """Open folders that are closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def opened(path, **options):
            return stack.enter_context(contextlib.closing(open_mounted(path, **options)))

        yield opened


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


@pytest.fixture
def fuse(tmp_path):
    try:
        with fuse_folder(tmp_path) as folder:
            yield folder
    except CannotMountError as error:
        pytest.skip(str(error))


class TestMounted(BackendSuite):
    @pytest.fixture
    def backend(self, tmp_path, opened):
        return opened(tmp_path / "store")


class TestTroubled(BackendSuite):
    """Every call takes some time, and one in twenty fails as Drive's mount does, or says that it is gone."""

    many_objects = 20

    @pytest.fixture
    def backend(self, tmp_path, opened, faults):
        rules = {
            step: {"delay": 0.002, "errno": number, "share": 0.05}
            for step, number in (
                *(("look", 5), ("entries", 5), ("write", 5), ("rename", 5), ("remove", 5)),
                *(("device", 107), ("create", 107), ("sync", 107), ("close", 107), ("read", 107)),
            )
        }
        # A long object is made of a hundred.
        rules["write"] |= {"piece": 300_000, "share": 0.01}
        faults.set(**rules)
        backend = opened(tmp_path / "store", program=faults.program)
        return Retrying(backend, stop=Word(), backoff=AT_ONCE)


class TestFuse(BackendSuite):
    """A file system in user space, really mounted."""

    many_objects = 20

    @pytest.fixture
    def backend(self, fuse, opened):
        return opened(fuse.path / "store")


def test_it_promises_no_proof(tmp_path, opened):
    """Nobody can say when the bytes have left this machine; packs are few and long."""
    promised = opened(tmp_path).properties
    assert (promised.proof, promised.atomic_create, promised.far) == ("none", False, True)
    assert promised.listing_delay_seconds >= 60
    assert promised.pack_bytes == 32 << 20


def test_opening_touches_nothing(fuse, opened):
    """Neither the backend's start nor its place, promises and end ask the mount for anything."""
    before = fuse.calls()
    backend = opened(fuse.path / "store")
    assert backend.place == str(fuse.path / "store")
    assert repr(backend)
    assert backend.properties
    backend.close()
    assert fuse.calls() == before


def test_only_helpers_touch_the_mount(fuse, opened):
    """No call of the operating system on the folder is made by the process that uses it."""
    backend = opened(fuse.path / "store")
    backend.put("a/b", b"1")
    assert [*backend.list()]
    backend.stat("a/b")
    backend.get("a/b")
    backend.delete("a/b")
    with pytest.raises(NotFoundError):
        backend.get("a/b")
    backend.close()
    # On behalf of nobody, 0, the kernel itself asks.
    assert {pid for pid, _ in fuse.calls()} - {0}
    assert os.getpid() not in {pid for pid, _ in fuse.calls()}


# --- hanging


@pytest.mark.parametrize(
    ("call", "step", "fault"),
    [*((*each, "hang") for each in STEPS), ("put", "write", "stop"), ("get", "read", "stop")],
)
def test_a_call_that_hangs_is_given_up(tmp_path, opened, faults, call, step, fault):
    """Wherever it hangs, the caller is told, and how to heal it; the next call works if the mount does."""
    clock = _Impatient(faults)
    backend = opened(tmp_path / "store", limits=LONG, clock=clock, program=faults.program)
    backend.put("a/old", b"old bytes")
    faults.set(**{step: {fault: True}})
    with pytest.raises(
        UnavailableError, match=r"1[23][02] seconds: the mount there hangs.*drive\.mount"
    ) as raised:
        CALLS[call](backend)
    assert str(tmp_path / "store") in str(raised.value)
    faults.set()
    CALLS[call](backend)


def test_a_mount_that_hangs_is_given_up_in_time(tmp_path, opened, faults):
    """By the clock of the machine, and nobody has to help."""
    faults.set(look={"hang": True})
    backend = opened(tmp_path / "store", limits=SHORT, program=faults.program)
    with pytest.raises(UnavailableError, match=r"hangs"):
        backend.stat("a/old")


def test_a_first_look_that_hangs_is_given_up(tmp_path, opened, faults):
    """What is mounted there is asked in a helper, too."""
    clock = _Impatient(faults)
    backend = opened(tmp_path / "store", limits=LONG, clock=clock, program=faults.program)
    for call in CALLS.values():
        faults.set(device={"hang": True})
        with pytest.raises(UnavailableError, match="hangs"):
            call(backend)


def test_a_look_at_the_mount_that_hangs_is_given_up(tmp_path, opened, faults):
    """Every call asks whether it is still mounted, and may hang there."""
    clock = _Impatient(faults)
    backend = opened(tmp_path / "store", limits=LONG, clock=clock, program=faults.program)
    faults.set(device={"of": {str(tmp_path): 1, str(tmp_path / "store"): 1}})
    backend.put("a/old", b"old bytes")
    for call in CALLS.values():
        faults.set(device={"hang": True})
        with pytest.raises(UnavailableError, match="hangs"):
            call(backend)


def test_a_long_object_has_more_time(tmp_path, opened, faults):
    """A slow mount that goes on is not one that hangs."""
    limits = TimeLimits(call_seconds=1.0, slowest_bytes_per_second=1 << 20)
    backend = opened(tmp_path / "store", limits=limits, program=faults.program)
    data = os.urandom(3 << 20)
    faults.set(write={"delay": 0.4}, read={"delay": 0.4})
    backend.put("a", data)
    assert backend.get("a") == data


def test_a_long_listing_has_more_time(tmp_path, opened, faults):
    """Each folder, and each batch of entries, shows that the mount still answers."""
    for number in range(7):
        folder = tmp_path / "store" / f"folder{number}"
        folder.mkdir(parents=True)
        (folder / "a").touch()
    backend = opened(tmp_path / "store", limits=TimeLimits(call_seconds=1.0), program=faults.program)
    faults.set(entries={"delay": 0.2})
    assert len([*backend.list()]) == 7


def test_many_calls_on_a_wedged_mount_leave_few_helpers(tmp_path, opened, faults):
    """However many threads ask, the helpers that were killed are gone, and few work at a time."""
    faults.set(look={"hang": True}, create={"hang": True})
    backend = opened(tmp_path / "store", limits=SHORT, program=faults.program)
    most = 0

    def ask(number):
        nonlocal most
        with pytest.raises(UnavailableError):
            CALLS["put" if number % 2 else "stat"](backend)
        most = max(most, len(_helpers()))

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(ask, range(16))]
    # Those that were killed a moment ago may be seen yet.
    assert most <= MOST_PROCESSES
    backend.close()
    _wait(lambda: {*_states()} <= {psutil.STATUS_ZOMBIE})


def test_helpers_that_cannot_be_killed_stay_few(fuse, opened):
    """After a few of them the mount is left in peace for a while; once it is mounted anew, all goes on."""
    clock = _Impatient(fuse)
    backend = opened(fuse.path / "store", limits=LONG, clock=clock)
    backend.put("a/old", b"old bytes")

    def hangs(message):
        fuse.set(hang=["lookup", "getattr"])
        with pytest.raises(UnavailableError, match=message) as raised:
            backend.stat("a/old")
        return raised.value.retry_after_seconds

    for _ in range(MOST_STUCK):
        hangs("has not answered")
    for _ in range(50):
        pause = hangs(r"cannot be ended.*drive\.mount")
    assert 0 < pause <= PAUSE_SECONDS
    _wait(lambda: _states() == [psutil.STATUS_DISK_SLEEP] * MOST_STUCK)
    clock.advance(PAUSE_SECONDS)
    hangs("has not answered")
    _wait(lambda: _states() == [psutil.STATUS_DISK_SLEEP] * (MOST_STUCK + 1))
    for _ in range(20):
        clock.advance(PAUSE_SECONDS * 1000)
        hangs("hang|not answered")
    _wait(lambda: _states() == [psutil.STATUS_DISK_SLEEP] * MOST_PROCESSES)
    fuse.unmount()
    fuse.set()
    fuse.mount()
    _wait(lambda: {*_states()} == {psutil.STATUS_ZOMBIE})
    assert bytes(backend.get("a/old")) == b"old bytes"
    assert len(_states()) == 1


def test_closing_does_not_wait_for_what_cannot_be_killed(fuse, opened):
    """It returns while a call hangs in another thread, which is told at once."""
    backend = opened(fuse.path / "store", limits=LONG)
    backend.put("a/old", b"old bytes")
    fuse.set(hang=["lookup", "getattr"])
    before = len(fuse.calls())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(backend.stat, "a/old")
        try:
            _wait(lambda: len(fuse.calls()) > before)
        finally:
            backend.close()
        with pytest.raises(UnavailableError, match="ended"):
            asked.result(60)
        with pytest.raises(StoreError, match="closed"):
            backend.stat("a/old")
    _wait(lambda: _states() == [psutil.STATUS_DISK_SLEEP])


def test_long_uploads_do_not_hold_up_a_listing(tmp_path, opened, faults):
    """One helper is kept for short calls."""
    backend = opened(tmp_path / "store", limits=LONG, program=faults.program)
    backend.put("a/old", b"old bytes")
    faults.set(write={"hang": True})
    with ThreadPoolExecutor(MOST_TRANSFERS + 1) as pool:
        puts = [
            pool.submit(backend.put, f"a/{number}", bytes(5 << 20)) for number in range(MOST_TRANSFERS + 1)
        ]
        calls = []
        _wait(
            lambda: (
                calls.extend(faults.calls()) or [name for name, _ in calls].count("write") == MOST_TRANSFERS
            )
        )
        assert [item.name for item in backend.list()] == ["a/old"]
        assert backend.stat("a/old").nbytes == 9
        backend.close()
        for put in puts:
            with pytest.raises(StoreError):
                put.result(60)


# --- failing


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOTCONN, UnavailableError, r"mount it again.*drive\.mount.*force_remount"),
        (errno.ESTALE, UnavailableError, r"mount it again.*drive\.mount"),
        (errno.EIO, UnavailableError, "folders with many files.*quota.*try again later"),
        (errno.ETIMEDOUT, UnavailableError, "try again later"),
        (errno.ENOSPC, StoreFullError, "empty the bin"),
        (errno.EDQUOT, StoreFullError, "empty the bin"),
        (errno.EACCES, StoreError, "permissions"),
        (errno.EROFS, StoreError, "mount it for writing"),
        (errno.EKEYEXPIRED, CredentialsError, "sign in"),
    ],
)
@pytest.mark.parametrize(
    ("call", "step"), [("put", "write"), ("put", "close"), ("get", "read"), ("list", "entries")]
)
def test_what_the_mount_says_is_said_in_our_words(tmp_path, opened, faults, call, step, number, kind, advice):
    """With where it was and what to do, and the same helper goes on working."""
    backend = opened(tmp_path / "store", program=faults.program)
    backend.put("a/old", b"old bytes")
    faults.set(**{step: {"errno": number}})
    with pytest.raises(StoreError, match=advice) as raised:
        CALLS[call](backend)
    assert type(raised.value) is kind
    assert raised.value.errno == number
    assert str(tmp_path / "store") in str(raised.value)
    before = {helper.pid for helper in _helpers()}
    faults.set()
    assert [item.name for item in backend.list()] == ["a/old"]
    assert {helper.pid for helper in _helpers()} == before


def test_a_file_server_that_is_gone_is_named_with_its_mount(fuse, opened):
    """Where what is behind the mount has died, the point to mount again is in the message."""
    backend = opened(fuse.path / "store")
    backend.put("a/old", b"old bytes")
    fuse.die()
    for call in CALLS.values():
        with pytest.raises(UnavailableError, match=f"{fuse.path} is gone.*drive.mount"):
            call(backend)
    fuse.unmount()
    fuse.mount()
    assert bytes(backend.get("a/old")) == b"old bytes"


def test_a_folder_whose_mount_was_taken_away_is_not_empty(fuse, opened):
    """What is there instead is a folder of this machine, which seems empty and must not be written to."""
    backend = opened(fuse.path / "store")
    backend.put("a/old", b"old bytes")
    fuse.unmount()
    for call in CALLS.values():
        with pytest.raises(UnavailableError, match=f"{fuse.path} is gone"):
            call(backend)
    assert [*fuse.path.iterdir()] == []
    fuse.mount()
    assert [item.name for item in backend.list()] == ["a/old"]


def test_a_helper_that_was_killed_while_idle_is_replaced(tmp_path, opened):
    """The system may take it for its memory; nobody notices."""
    backend = opened(tmp_path / "store")
    backend.put("a/old", b"old bytes")
    [helper] = _helpers()
    helper.kill()
    _wait(lambda: helper.status() == psutil.STATUS_ZOMBIE)
    assert bytes(backend.get("a/old")) == b"old bytes"


def test_a_defect_of_the_helper_is_told(tmp_path, opened, faults):
    """An error that is none of the operating system costs that call alone."""
    backend = opened(tmp_path / "store", program=faults.program)
    backend.put("a/old", b"old bytes")
    faults.set(look={"delay": "long"})
    with pytest.raises(StoreError, match=r"helper process.*TypeError"):
        backend.stat("a/old")
    faults.set()
    assert backend.stat("a/old").nbytes == 9


# --- half written, and lost


@pytest.mark.parametrize("step", ["create", "write", "sync", "close", "look", "rename"])
def test_a_put_that_was_cut_off_leaves_no_object(tmp_path, opened, faults, step):
    """Neither a listing nor a look sees a part of it, and it can be put again."""
    clock = _Impatient(faults)
    backend = opened(tmp_path / "store", limits=LONG, clock=clock, program=faults.program)
    backend.put("a/old", b"old bytes")
    data = os.urandom(3 << 20)
    faults.set(**{step: {"hang": True}})
    with pytest.raises(UnavailableError):
        backend.put("a/new", data)
    faults.set()
    assert [item.name for item in backend.list()] == ["a/old"]
    with pytest.raises(NotFoundError):
        backend.stat("a/new")
    backend.put("a/new", data)
    assert backend.get("a/new") == data


def test_a_put_whose_answer_was_lost_is_known_again(tmp_path, opened, faults):
    """It has its name, and the repeated put takes the equal bytes for its own."""
    clock = _Impatient(faults)
    backend = opened(tmp_path / "store", limits=LONG, clock=clock, program=faults.program)
    faults.set(rename={"after": True, "hang": True})
    patient = Retrying(backend, stop=Word(), backoff=AT_ONCE, on_wait=lambda *told: faults.set())
    patient.put("a/new", b"some bytes")
    assert bytes(backend.get("a/new")) == b"some bytes"
    with pytest.raises(AlreadyThereError):
        patient.put("a/new", b"other bytes")


@pytest.mark.parametrize("named", [".tmp", "new"])
def test_a_file_that_shows_another_length_is_not_put(tmp_path, opened, faults, named):
    """Before it gets its name or after, it is removed, so that it can be put again."""
    backend = opened(tmp_path / "store", program=faults.program)
    faults.set(look={"size": 0, "named": named})
    with pytest.raises(UnavailableError, match="0 bytes where 9 were written"):
        backend.put("a/new", b"new bytes")
    faults.set()
    assert [*backend.list()] == []
    assert [*(tmp_path / "store" / TEMPORARY).iterdir()] == []
    backend.put("a/new", b"new bytes")
    assert bytes(backend.get("a/new")) == b"new bytes"


def test_left_overs_are_swept_the_next_day(tmp_path, opened):
    """Files without a name that a kill left go when they are old, and nothing else does."""
    folder = tmp_path / "store" / TEMPORARY
    folder.mkdir(parents=True)
    now = SYSTEM_CLOCK.utc_now()
    for name, age in (
        ("old.tmp", timedelta(days=2)),
        ("young.tmp", timedelta()),
        ("old.txt", timedelta(days=9)),
    ):
        (folder / name).touch()
        os.utime(folder / name, times=((now - age).timestamp(),) * 2)
    opened(tmp_path / "store").put("a", b"1")
    assert sorted(file.name for file in folder.iterdir()) == ["old.txt", "young.tmp"]


def test_what_another_machine_sees_is_whole_or_told(tmp_path, opened, faults):
    """Files that did not arrive are not there, empty ones are short, a listing that is behind lacks some."""
    here, there = tmp_path / "here", tmp_path / "there"
    ours = opened(here)
    for name in ("a/1", "a/2", "a/3", "a/4"):
        ours.put(name, name.encode() * 1000)
    upload(here, there, lost=["a/1"], empty=["a/2"])
    theirs = opened(there, program=faults.program)
    assert {item.name: item.nbytes for item in theirs.list()} == {"a/2": 0, "a/3": 3000, "a/4": 3000}
    with pytest.raises(NotFoundError):
        theirs.get("a/1")
    assert bytes(theirs.get("a/2")) == b""
    faults.set(entries={"hide": ["3"]})
    assert {item.name for item in theirs.list("a/")} == {"a/2", "a/4"}
    assert bytes(theirs.get("a/3")) == b"a/3" * 1000
    upload(here, there)
    assert bytes(theirs.get("a/1")) == b"a/1" * 1000
    assert bytes(theirs.get("a/2")) == b"a/2" * 1000


def test_an_object_is_written_once_and_never_touched_again(tmp_path, opened, faults):
    """A file gets its bytes before its name, and only looks follow; a second put writes nothing."""
    backend = opened(tmp_path / "store", program=faults.program)
    backend.put("a/1", b"some bytes")
    calls = [(name, last) for name, last in faults.calls() if name not in ("device", "look", "make_folder")]
    assert [name for name, _ in calls if name != "entries"] == [
        "create",
        "create",
        "write",
        "sync",
        "close",
        "rename",
        "rename",
    ]
    assert {last for name, last in calls if name == "rename"} == {"1"}
    with pytest.raises(AlreadyThereError):
        backend.put("a/1", b"other bytes")
    assert {name for name, _ in faults.calls()} == {"look"}


# --- deleting


def test_on_drive_an_object_is_emptied_before_it_is_removed(fuse, opened):
    """Its bin keeps nothing then that would count against the quota."""
    backend = opened(fuse.path / "store")
    backend.put("a/1", b"some bytes")
    backend.delete("a/1")
    names = [name for _, name in fuse.calls() if name in ("setattr", "unlink")]
    assert names == ["setattr", "unlink"]


def test_elsewhere_an_object_is_removed_as_it_is(tmp_path, opened, faults):
    """There is no bin, and no moment at which it is there without its bytes."""
    backend = opened(tmp_path / "store", program=faults.program)
    backend.put("a/1", b"some bytes")
    backend.delete("a/1")
    assert "empty" not in {name for name, _ in faults.calls()}


def test_a_folder_stays_when_it_is_empty(tmp_path, opened):
    """To remove it could remove what another machine has just put there."""
    backend = opened(tmp_path / "store")
    backend.put("a/1", b"some bytes")
    backend.delete("a/1")
    assert (tmp_path / "store" / "a").is_dir()


# --- the helper as a process


def test_helpers_end_when_their_parent_is_killed(tmp_path):
    """Nobody closes the backend; its end of the socket is closed by the system."""
    script = f"""
import os, pathlib, psutil, signal
from keepstate.backends._mounted import open_mounted
backend = open_mounted(pathlib.Path({str(tmp_path)!r}))
backend.put("a", b"1")
print(*(child.pid for child in psutil.Process().children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    [pid] = [int(each) for each in done.stdout.split()]
    _wait(lambda: not psutil.pid_exists(pid))


def test_helpers_end_when_a_fork_keeps_the_socket_open(tmp_path):
    """They look from time to time whether their parent lives."""
    faults = Faults(tmp_path, _LOOK_AT_PARENT_MILLISECONDS=20)
    script = f"""
import os, pathlib, psutil, sys
from keepstate.backends._mounted import open_mounted
backend = open_mounted(pathlib.Path({str(tmp_path / "store")!r}), program={faults.program!r})
backend.put("a", b"1")
print(*(child.pid for child in psutil.Process().children()), flush=True)
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
os._exit(0)
"""
    fork = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with fork:
        [pid] = [int(each) for each in fork.stdout.read().split()]
        _wait(lambda: not psutil.pid_exists(pid))


def test_a_helper_has_nothing_of_its_parent(tmp_path, opened):
    """No descriptor but its socket, not the session, so no Ctrl-C, and not the folder that is worked in."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(ours.fileno(), True)
        backend = opened(tmp_path / "store")
        backend.put("a", b"1")
        [helper] = _helpers()
        assert {int(name) for name in os.listdir(f"/proc/{helper.pid}/fd")} == {0, 1, 2}
        assert os.getsid(helper.pid) == helper.pid
        assert helper.cwd() == "/"


def test_closing_ends_a_helper_that_is_starting(tmp_path, opened):
    """Who has asked for it is told that the backend is closed, and nothing is done any more."""
    go, late = tmp_path / "go", tmp_path / "late_mount_process.py"
    late.write_text(f"""
import os, runpy, sys, threading
while not os.path.exists({str(go)!r}):
    threading.Event().wait(0.01)
runpy.run_path({PROGRAM[0]!r}, run_name="__main__")
""")
    backend = opened(tmp_path / "store", program=(str(late),))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(backend.put, "a", b"1")
        try:
            _wait(lambda: len(_helpers()) == 1)
            backend.close()
        finally:
            go.touch()
        with pytest.raises(StoreError, match="closed"):
            asked.result(60)
    assert not (tmp_path / "store").exists()
    _wait(lambda: {*_states()} <= {psutil.STATUS_ZOMBIE})


def test_closing_leaves_no_process(tmp_path, opened):
    """Idle helpers are ended and reaped."""
    backend = opened(tmp_path / "store")
    with ThreadPoolExecutor(4) as pool:
        [*pool.map(lambda number: backend.put(f"a/{number}", b"1"), range(20))]
    backend.close()
    assert _helpers() == []


def test_a_helper_imports_nothing_of_keepstate():
    """A start that imports the package would take ten times as long."""
    script = f"""
import runpy, sys
runpy.run_path({PROGRAM[0]!r})
print([name for name in sys.modules if "keepstate" in name])
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"[]\n"


class _Impatient(SystemClock):
    """A clock that waits no longer once a call hangs, so that no test depends on how fast the machine is.

    Its time can be moved.
    """

    def __init__(self, faults):
        self._faults = faults
        self._moved = 0.0

    def monotonic(self):
        return super().monotonic() + self._moved

    def advance(self, seconds):
        self._moved += seconds

    def wait(self, event, seconds):
        until = self.monotonic() + seconds
        # Helpers that start, which have less time, do not hang.
        while not event.wait(0.01) and not (self._faults.is_stuck() and seconds > LONG.start_seconds):
            assert self.monotonic() < until
        return event.is_set()


_PROGRAMS = ("mount_process.py", "mount_faults.py")


def _helpers():
    """Give the helper processes that this process has started and not reaped."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            # One that is a zombie has no arguments any more.
            if child.status() == psutil.STATUS_ZOMBIE or any(
                each.endswith(_PROGRAMS) for each in child.cmdline()
            ):
                found.append(child)
    return found


def _states():
    return [helper.status() for helper in _helpers()]


def _wait(condition):
    """Wait until something is so."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come to that")
