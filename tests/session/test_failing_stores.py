"""Stores that fail under a running session: it goes on, says so in the status, and recovers.

The file systems are real where mounting is allowed: small ones that are full, mounted for reading, or gone.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from kernels import Kernel

from keepstate._repository import Repository

TIMEOUT = 100

PRELUDE = """
import codecs, os, shutil, subprocess, sys, threading
from pathlib import Path
import psutil
import keepstate
from keepstate._session import agenda
from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import Repository

agenda.RETRY_SECONDS = 0.1  # the waits themselves are tested where the agenda is
PLACE = Path(PLACE)
STORE = PLACE / "store"
MARKER = STORE / "keepstate.json"
AWAY = PLACE / "away"
ELSEWHERE = PLACE.parent / "elsewhere"


def command(*arguments):
    subprocess.run(arguments, check=True, timeout=30)


def fill(name="others"):
    descriptor = os.open(PLACE / name, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096):
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError:
            pass
    os.close(descriptor)


def use_up_files():
    (PLACE / "many").mkdir()
    try:
        for number in range(1000):
            (PLACE / "many" / str(number)).touch()
    except OSError:
        pass


def until(true):
    ended = SYSTEM_CLOCK.monotonic() + 30
    while not true():
        if SYSTEM_CLOCK.monotonic() > ended:
            raise TimeoutError(keepstate.status().error)
        for _ in range(1000):
            pass  # a loop in plain Python has safe points


def error_of(call):
    try:
        call()
    except keepstate.KeepstateError as error:
        return error
    raise AssertionError("it was not refused")


def must_be_a_sentence(said, advice):
    assert advice in said, said
    assert "Errno" not in said and "Traceback" not in said and "\\n" not in said, said


def must_be_sound(*, swept=True):
    assert Repository.open(STORE, create=False).verify(deep=True).is_sound
    left = [path.name for path in STORE.rglob("*") if path.suffix in (".tmp", ".lease")]
    assert not swept or not left, left


def held():
    process = psutil.Process()
    return process.num_fds(), threading.active_count(), len(process.children(recursive=True))
"""


def mount(*arguments):
    """Mount, or skip the test where that is not allowed."""
    try:
        mounting = subprocess.run(["mount", *arguments], capture_output=True, timeout=30)
    except OSError:
        pytest.skip("there is no mount command here")
    if mounting.returncode:
        pytest.skip("mounting is not allowed here")


@pytest.fixture
def small(tmp_path):
    """A file system of its own, of 8 MiB and 600 files, mounted twice: the tests unmount the second place."""
    places = [tmp_path / "drive", tmp_path / "place"]
    for place in places:
        place.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m,nr_inodes=600", "tmpfs", str(places[0]))
    try:
        mount("--bind", str(places[0]), str(places[1]))
        yield places[1]
    finally:
        for place in reversed(places):
            subprocess.run(["umount", "-l", str(place)], capture_output=True, timeout=30)


@pytest.fixture
def script(tmp_path):
    """Run a script to its end and give what it printed after the greeting; nothing else may be said."""

    def run(place, code, **more):
        path = tmp_path / "script.py"
        path.write_text(f"PLACE = {str(place)!r}\n" + PRELUDE + textwrap.dedent(code))
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("KEEPSTATE", "JPY_"))}
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            **more,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    return run


GREETING = "keepstate guards"

FAILURES = {
    "a disk that others have filled": (
        "fill()",
        "os.unlink(PLACE / 'others')",
        "free some space",
    ),
    "a disk that takes no more files": (
        "use_up_files()",
        "shutil.rmtree(PLACE / 'many')",
        "free some space",
    ),
    "a disk that was mounted for reading": (
        "command('mount', '-o', 'remount,ro', str(PLACE))",
        "command('mount', '-o', 'remount,rw', str(PLACE))",
        "mount it for writing",
    ),
    "a drive that is no longer mounted": (
        "command('umount', '-l', str(PLACE))",
        "command('mount', '--bind', str(PLACE.parent / 'drive'), str(PLACE))",
        "mount it again",
    ),
    "a file in its place": (
        "STORE.rename(AWAY); STORE.touch()",
        "STORE.unlink(); AWAY.rename(STORE)",
        "name a folder",
    ),
    "a link to another disk in its place": (
        "STORE.rename(AWAY); ELSEWHERE.mkdir(); STORE.symlink_to(ELSEWHERE)",
        "STORE.unlink(); AWAY.rename(STORE)",
        "choose another store",
    ),
    "a link that leads nowhere in its place": (
        "STORE.rename(AWAY); STORE.symlink_to(PLACE / 'nowhere' / 'at all')",
        "STORE.unlink(); AWAY.rename(STORE)",
        "move that away",
    ),
    "a link to itself in its place": (
        "STORE.rename(AWAY); STORE.symlink_to('store')",
        "STORE.unlink(); AWAY.rename(STORE)",
        "set them right",
    ),
    "a file where the members were": (
        "(STORE / 'members').rename(AWAY); (STORE / 'members').touch()",
        "(STORE / 'members').unlink(); AWAY.rename(STORE / 'members')",
        "move that away",
    ),
    "a store of a newer version": (
        'MARKER.rename(PLACE / \'away\'); MARKER.write_text(\'{"format": 99, "store": "ab"}\')',
        "AWAY.rename(MARKER)",
        "upgrade",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_store_costs_a_status_line_and_saving_resumes_by_itself(small, script, failure):
    """The script goes on in silence, explicit calls say why, nothing kept is lost, a retry succeeds."""
    spoil, mend, advice = FAILURES[failure]
    full = advice == "free some space"
    out = script(
        small,
        f"""
        keepstate.start(store=STORE, interval=0.1, track=["n", "x"])
        n, x = 0, os.urandom(200_000)
        first = keepstate.snapshot()
        {spoil}
        n, x = 1, os.urandom(200_000)
        until(lambda: keepstate.status().error)
        must_be_a_sentence(keepstate.status().error, {advice!r})
        assert keepstate.status().last_snapshot == first
        error = error_of(keepstate.snapshot)
        assert isinstance(error, keepstate.errors.{"StoreFullError" if full else "StoreError"}), repr(error)
        must_be_a_sentence(str(error), {advice!r})
        try:
            assert keepstate.snapshots() == [first]
        except keepstate.errors.StoreError as error:  # never "there is none"
            must_be_a_sentence(str(error), "")
        n = 2
        {mend}
        until(lambda: keepstate.status().error is None and len(keepstate.snapshots()) > 1)
        n = 3
        keepstate.snapshot()
        assert first in keepstate.snapshots()
        assert keepstate.load("n", at=first) == 0 and keepstate.load("n") == 3
        keepstate.stop()
        must_be_sound()
        print("fine", sorted(path.name for path in PLACE.iterdir()))
        """,
    )
    assert out.startswith(GREETING)
    assert out.endswith("\nfine ['store']\n")
    assert out.count("\n") == 2, out


@pytest.mark.parametrize("capture", ["fork", "stage"])
def test_fifty_failed_saves_leave_nothing_open(small, script, capture):
    """No descriptor, thread or process is left, and nothing is in the store that was not there."""
    script(
        small,
        f"""
        keepstate.start(store=STORE, interval=3600, track="x", capture={capture!r})
        x = os.urandom(400_000); keepstate.snapshot()
        fill()
        error_of(keepstate.snapshot)
        before, files = held(), sorted(STORE.rglob("*"))
        for number in range(50):
            x = os.urandom(400_000)
            if number == 25:
                os.truncate(PLACE / "others", os.path.getsize(PLACE / "others") - 200_000)  # some of it fits
            assert isinstance(error_of(keepstate.snapshot), keepstate.errors.StoreFullError)
        os.unlink(PLACE / "others")
        assert held() == before, (held(), before)
        assert sorted(STORE.rglob("*")) == files
        keepstate.snapshot()
        must_be_sound()
        """,
    )


def test_a_notebook_goes_on_in_silence(small, tmp_path):
    """No cell has any output of ours while the store fails; a cell after that is kept at once."""
    kernel = Kernel(tmp_path)
    store = small / "store"
    try:
        kernel.run(f"import keepstate; keepstate.start(store={str(store)!r}, interval=3600)")
        kernel.run("x = 0; keepstate.track('x'); keepstate.snapshot()")
        remount = ["mount", "-o", "", str(small)]
        for number, mode in enumerate(("ro", "rw", "ro", "rw"), start=1):
            remount[2] = f"remount,{mode}"
            subprocess.run(remount, check=True, timeout=30)
            message = kernel.send(f"x = {number}")
            kinds = {each["msg_type"] for each in kernel.outputs(message)}
            assert kinds <= {"status", "execute_input"}
            if mode == "ro":
                failed = kernel.run("keepstate.snapshot()", ok=False)
                assert failed.error.startswith("StoreError: ")
                assert "mount it for writing" in kernel.run("print(keepstate.status().error)").text
            else:
                kernel.settle()
                assert kernel.run("print(keepstate.load('x'), keepstate.status().error)").text == (
                    f"{number} None\n"
                )
        assert kernel.idle_messages(0.5) == []
        kernel.kill()
        verify = [sys.executable, "-m", "keepstate", "verify", "--deep", "--store", str(store)]
        done = subprocess.run(verify, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        kernel.end()


@pytest.fixture
def open_to_all():
    """A folder that every user of this machine reaches; those of pytest are the owner's alone."""
    folder = Path(tempfile.mkdtemp(prefix="keepstate-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["0o500", "0"])
def test_permissions_that_were_taken_away_are_told(open_to_all, script, mode):
    """A store that this user may not write, or not even read, says so until the permissions are back."""
    script(
        open_to_all,
        f"""
        keepstate.start(store=STORE, interval=0.1, track="n")
        n = 0; keepstate.snapshot()
        codecs.lookup("ascii")  # this user may not be able to read the files of Python either
        if os.getuid() == 0:  # whom no permission stops
            for path in (STORE, *STORE.rglob("*")):
                os.chown(path, 65534, 65534)
            os.setgid(65534); os.setuid(65534)
        folders = [STORE, *(path for path in STORE.rglob("*") if path.is_dir())]
        for path in reversed(folders):
            path.chmod({mode})
        n = 1
        until(lambda: keepstate.status().error)
        must_be_a_sentence(keepstate.status().error, "change its permissions")
        assert isinstance(error_of(keepstate.snapshot), keepstate.errors.StoreError)
        if {mode} == 0:
            error = error_of(keepstate.snapshots)
            assert isinstance(error, keepstate.errors.StoreError)
            must_be_a_sentence(str(error), "change its permissions")
        else:
            assert keepstate.load("n") == 0
        for path in folders:
            path.chmod(0o700)
        until(lambda: keepstate.status().error is None)
        keepstate.stop()
        must_be_sound()
        """,
    )


QUOTA = """
import errno, signal
from keepstate._base.clock import SystemClock
from keepstate._base.disk import Disk
from keepstate._session.identity import Identity
from keepstate._session.script import ScriptKernel
from keepstate._session.session import Session
from keepstate._session.surroundings import look_around


def session(disk, clock=SYSTEM_CLOCK, **given):
    kernel = ScriptKernel(globals())
    around = look_around(kernel.namespace)
    options = around.options({"store": str(STORE), **given})
    repository = Repository.open(options.store.path, create=True, disk=disk, clock=clock)
    found = Session(
        kernel=kernel,
        host=around.host,
        identity=Identity("default", "me", "notebook"),
        options=options,
        repository=repository,
        clock=clock,
    )
    found.names.expect(["n", "x"])
    found.begin()
    return found
"""


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO, errno.ENOTCONN])
def test_errors_of_the_drive_are_told_and_end_with_their_cause(tmp_path, script, code):
    """A used-up quota, a broken drive and a lost connection, met in the middle of a write."""
    script(
        tmp_path,
        QUOTA
        + f"""
class Refusing(Disk):
    def write(self, descriptor, data):
        if (PLACE / "refuse").exists():
            super().write(descriptor, memoryview(data)[: len(data) // 2])
            raise OSError({code}, os.strerror({code}))
        super().write(descriptor, data)

s = session(Refusing(), interval=0.1)
n, x = 0, os.urandom(100_000)
first = s.snapshot()
(PLACE / "refuse").touch()
n, x = 1, os.urandom(100_000)
until(lambda: s.status().error)
must_be_a_sentence(s.status().error, "another store" if {code} != errno.ENOTCONN else "mount it again")
error = error_of(s.snapshot)
assert isinstance(error, keepstate.errors.StoreError), repr(error)
assert isinstance(error, keepstate.errors.StoreFullError) == ({code} == errno.EDQUOT), repr(error)
assert s.snapshots() == [first] and s.load("n") == 0
(PLACE / "refuse").unlink()
until(lambda: s.status().error is None)
s.stop()
must_be_sound()
""",
    )


def test_a_clock_that_was_set_back_a_year_changes_nothing(tmp_path, script):
    """The newest by order of saving stays the newest, for loading, for pruning and for the next session."""
    script(
        tmp_path,
        QUOTA
        + """
from datetime import timedelta

class Set(SystemClock):
    ahead = timedelta(0)

    def utc_now(self):
        return super().utc_now() + self.ahead

clock = Set()
s = session(Disk(), clock, interval=3600, restore="off", keep_last=2)
n = 0; s.snapshot()
n = 1; s.snapshot()
clock.ahead = -timedelta(days=365)
n = 2; later = s.snapshot()
assert [s.load("n", at=each) for each in s.snapshots()] == [2, 1]
s.stop()
del n
again = session(Disk(), clock, interval=3600)
assert n == 2 and again.restored.snapshot == later
n = 3
assert again.snapshot().id == again.snapshots()[0].id
again.stop()
must_be_sound()
""",
    )


def test_a_full_disk_is_pruned_to_the_budget_and_saving_goes_on(small, script):
    """A save that was refused for want of space is followed by a prune, long before one is due."""
    script(
        small,
        """
        keepstate.start(store=STORE, interval=3600, track="x", budget=3_000_000)
        refused = 0
        for number in range(12):
            x = bytes([number]) + os.urandom(1_000_000)
            try:
                keepstate.snapshot()
            except keepstate.errors.StoreFullError as error:
                refused += 1
                must_be_a_sentence(str(error), "free some space")
                keepstate.snapshot()
            assert keepstate.load("x") == x
        assert refused, "the disk was never short"
        free = shutil.disk_usage(PLACE).free
        assert free >= 8 * 1024 * 1024 // 20, free
        keepstate.stop()
        must_be_sound()
        """,
    )


def test_a_store_that_can_only_be_read_is_refused_at_the_start(small, script):
    """start() says what to do and starts nothing; another store works, and the first one when mended."""
    out = script(
        small,
        """
        keepstate.start(store=STORE, track="n"); n = 0; keepstate.stop()
        command("mount", "-o", "remount,ro", str(PLACE))
        for store in (STORE, PLACE / "new"):
            error = error_of(lambda: keepstate.start(store=store))
            assert isinstance(error, keepstate.errors.StoreError)
            must_be_a_sentence(str(error), "choose another store")
        assert isinstance(error_of(keepstate.status), keepstate.SessionError)
        assert not [t.name for t in threading.enumerate() if t.name.startswith("keepstate")]
        keepstate.start(store=PLACE.parent / "second", restore="off"); keepstate.stop()
        command("mount", "-o", "remount,rw", str(PLACE))
        del n
        keepstate.start(store=STORE)
        print(n)
        """,
    )
    assert out.endswith("\n0\n")


def test_a_store_that_is_deleted_before_the_first_save_is_made_anew(tmp_path, script):
    """What is saved then is whole, and the session after it finds it."""
    script(
        tmp_path,
        """
        keepstate.start(store=STORE, interval=3600, track="n")
        shutil.rmtree(STORE)
        must_be_a_sentence(str(error_of(keepstate.snapshots)), "is gone")
        n = 1
        keepstate.snapshot()
        keepstate.stop(); must_be_sound(); del n
        keepstate.start(store=STORE)
        assert n == 1
        """,
    )


def test_a_path_that_is_too_long_is_told(tmp_path, script):
    """A store whose own path fits, but not what is below it, says that a shorter one is needed."""
    place = tmp_path
    while len(str(place)) < 3800:
        place /= "a" * 150
    place /= "b" * (4096 - 50 - len(str(place)) - len("//store"))
    script(
        place,
        """
        keepstate.start(store=STORE, interval=3600, track="n")
        n = 1
        must_be_a_sentence(str(error_of(keepstate.snapshot)), "shorter")
        must_be_a_sentence(keepstate.status().error, "shorter")
        must_be_a_sentence(str(error_of(keepstate.stop)), "shorter")
        """,
    )


MIDST = """
import ctypes

class Spoiled(Disk):
    at = None
    count = 0


def spoiling(name):
    plain = getattr(Disk, name)

    def operation(self, *arguments):
        if self.count == self.at:
            SPOIL()
        self.count += 1
        return plain(self, *arguments)

    return operation


for name in ("create", "write", "sync", "close", "publish", "sync_directory", "make_directory", "remove"):
    setattr(Spoiled, name, spoiling(name))


def unmount():
    detach = 2
    ctypes.CDLL(None).umount2(os.fsencode(PLACE), detach)


def mount_again():
    if not PLACE.is_mount():
        command("mount", "--bind", str(PLACE.parent / "drive"), str(PLACE))


def make_room():
    (PLACE / "others").unlink(missing_ok=True)
"""


@pytest.mark.parametrize(
    ("spoil", "mend", "capture"),
    [
        ("fill", "make_room", "fork"),
        ("unmount", "mount_again", "stage"),
        pytest.param("fill", "make_room", "stage", marks=pytest.mark.torture),
        pytest.param("unmount", "mount_again", "fork", marks=pytest.mark.torture),
    ],
)
def test_a_disk_that_fails_in_the_midst_of_a_save(small, script, spoil, mend, capture):
    """At every operation of a save: all that was reported as kept is whole, nothing else is ever read."""
    script(
        small,
        QUOTA
        + MIDST
        + f"""
SPOIL = {spoil}
disk = Spoiled()
s = session(disk, interval=3600, capture={capture!r})
n, x = -1, os.urandom(1000)
kept = {{s.snapshot().id: n}}
failed = 0
for n in range(200):
    x = os.urandom(300_000)
    disk.count, disk.at = 0, n
    try:
        kept[s.snapshot().id] = n
        went_well = True
    except keepstate.KeepstateError as error:
        went_well = False
        failed += 1
        must_be_a_sentence(str(error), "")
    disk.at = None
    {mend}()
    found = s.snapshots()
    assert kept.keys() <= {{each.id for each in found}}
    for each in found:  # one whose very last step failed may be there, but then it is whole
        assert s.load("n", at=each) == kept.get(each.id, n)
        assert len(s.load("x", at=each)) in (1000, 300_000)
        kept[each.id] = s.load("n", at=each)
    if went_well and n > 20:
        break  # a save has no more operations than that
assert failed > 8, failed
assert s.load("n") == n
for own, value in kept.items():
    assert s.load("n", at=own) == value
s.stop()
must_be_sound(swept=False)
""",
    )
    repository = Repository.open(small / "store", create=True)
    report = repository.prune(keep_last=1)
    assert report.waiting_packs == 0
    left = [path.name for path in repository.path.rglob("*") if path.suffix in (".tmp", ".lease")]
    assert left == []
    assert repository.verify(deep=True).is_sound


@pytest.mark.parametrize("capture", [pytest.param("fork", marks=pytest.mark.torture), "stage"])
def test_a_drive_that_goes_in_the_midst_of_a_prune(small, script, capture):
    """At every operation: the next save is kept, and the next prune deletes, and sweeps what was left."""
    script(
        small,
        QUOTA
        + MIDST
        + f"""
SPOIL = unmount
disk = Spoiled()
s = session(disk, interval=3600, capture={capture!r}, keep_last=1)
kept, n, x = -1, -1, b""
s.snapshot()
for at in range(0, 70, 2 if {capture!r} == "fork" else 1):
    n, x = at, os.urandom(100_000)
    disk.count, disk.at = 0, at
    try:
        s.snapshot()
        kept = at
    except keepstate.KeepstateError as error:
        must_be_a_sentence(str(error), "")
    disk.at = None
    mount_again()
    assert kept <= s.load("n") <= at
assert kept == at, "the prune was never reached"
n = "last"
s.snapshot()
assert s.status().error is None, s.status().error
assert [s.load("n", at=each) for each in s.snapshots()] == ["last"]
must_be_sound()
packs = sum(path.stat().st_size for path in STORE.rglob("*.pack"))
assert packs < 250_000, packs
""",
    )


def test_a_store_that_comes_back_without_the_last_snapshot(tmp_path, script):
    """What was kept in a store that is gone is kept again in the one that is there now."""
    script(
        tmp_path,
        """
        keepstate.start(store=STORE, interval=3600, track="n")
        n = 0; keepstate.snapshot()
        STORE.rename(PLACE / "away")
        n = 1; keepstate.snapshot()
        shutil.rmtree(STORE)
        (PLACE / "away").rename(STORE)
        again = keepstate.snapshot()
        assert again in keepstate.snapshots()
        assert keepstate.load("n") == 1
        shutil.rmtree(STORE / "members" / "me" / "packs")
        again = keepstate.snapshot("a note")
        assert again.note in [each.note for each in keepstate.snapshots()]
        keepstate.stop()
        damage = Repository.open(STORE, create=False).verify(deep=True).affected
        assert again.id not in damage
        """,
    )
