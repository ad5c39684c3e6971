"""Changes are noticed, by whatever way there is, and nobody is disturbed."""

import errno
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading

import pytest

from keepstate._base.clock import ManualClock
from keepstate._files import Folder, Watcher, watcher
from keepstate._files import events as events_module
from keepstate._files.events import Events, NoEventsError

SOON = 20
"""Seconds after which a change that was not told never will be."""


@pytest.fixture
def changes():
    return queue.Queue()


@pytest.fixture
def settles_soon(monkeypatch):
    """For tests that really wait; those that take the watcher's turns by hand have the usual time."""
    monkeypatch.setattr(watcher, "SETTLED_SECONDS", 0.4)


@pytest.fixture
def watching(changes, outputs, settles_soon):
    """Watches *outputs* for real."""
    watching = Watcher(changes.put)
    watching.add(Folder.of(outputs))
    watching.start()
    yield watching
    watching.stop()


def wait_for_events(watching):
    """Return when events are on."""
    until = threading.Event()
    for _ in range(200):
        if set(watching.ways().values()) == {"events"}:
            return
        until.wait(0.05)
    pytest.fail(f"no events: {watching.ways()}")


def test_a_written_file_is_told_once_it_is_quiet(watching, changes, outputs):
    """One change is told for many writes."""
    wait_for_events(watching)
    for number in range(20):
        (outputs / str(number)).write_bytes(b"x")
    assert changes.get(timeout=SOON) == f"{outputs}/"
    with pytest.raises(queue.Empty):
        changes.get(timeout=1.5)


def test_a_file_in_a_new_folder_is_told(watching, changes, outputs):
    """Folders that are made later are watched as well."""
    wait_for_events(watching)
    (outputs / "deep/er").mkdir(parents=True)
    changes.get(timeout=SOON)
    (outputs / "deep/er/a").write_bytes(b"x")
    changes.get(timeout=SOON)


def test_what_is_left_out_is_not_told(watching, changes, outputs):
    """Else our own files and those of other tools would have the folder saved again and again."""
    wait_for_events(watching)
    (outputs / "__pycache__").mkdir()
    (outputs / "__pycache__/a.pyc").write_bytes(b"x")
    (outputs / ".keepstate-0.tmp").write_bytes(b"x")
    with open(outputs / ".keepstate-0.tmp", "rb") as file:
        file.read()
    with pytest.raises(queue.Empty):
        changes.get(timeout=1.5)


def test_reading_is_no_change(changes, outputs, settles_soon):
    """A save reads the files; it must not bring about the next one."""
    (outputs / "a").write_bytes(b"x")
    watching = Watcher(changes.put)
    watching.add(Folder.of(outputs))
    watching.start()
    wait_for_events(watching)
    (outputs / "a").read_bytes()
    list(os.scandir(outputs))
    with pytest.raises(queue.Empty):
        changes.get(timeout=1.5)
    watching.stop()


def test_all_threads_have_our_name_and_end(watching, outputs):
    """Whoever lists threads sees whose they are; after stop() there is none."""
    before = set(threading.enumerate())
    wait_for_events(watching)
    ours = [thread for thread in threading.enumerate() if "keepstate" in thread.name]
    others = {thread.name for thread in threading.enumerate()} - {thread.name for thread in ours}
    assert len(ours) >= 3
    assert all(thread.name.startswith("keepstate-files") and thread.daemon for thread in ours)
    assert not any("Thread-" in name for name in others)
    watching.stop()
    assert not [thread for thread in threading.enumerate() if "keepstate-files" in thread.name]
    assert before


class ByHand:
    """A watcher whose turns the test takes."""

    def __init__(self, folder):
        self.told, self.clock = [], ManualClock()
        self.watcher = Watcher(self.told.append, clock=self.clock)
        self.watcher.add(folder)

    def turn(self, seconds=0.0):
        self.clock.advance(seconds)
        told = len(self.told)
        self.watcher.turn()
        return self.told[told:]


def without_events(monkeypatch, code):
    """Have the system refuse watches."""
    from watchdog.observers import inotify_c

    monkeypatch.setattr(inotify_c, "inotify_init", lambda: -1)
    monkeypatch.setattr(inotify_c.ctypes, "get_errno", lambda: code)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
def test_without_watches_the_folder_is_looked_at(outputs, monkeypatch, code):
    """A change is found at the next look, and told when things are quiet."""
    by_hand = ByHand(Folder.of(outputs))
    without_events(monkeypatch, code)
    assert by_hand.turn() == []
    assert "no more watches" in by_hand.watcher.ways()[f"{outputs}/"]
    (outputs / "a").write_bytes(b"x")
    assert by_hand.turn(watcher.LOOK_SECONDS) == []
    assert by_hand.turn(2.0) == [f"{outputs}/"]
    assert by_hand.turn(watcher.LOOK_SECONDS) == []
    (outputs / "a").unlink()
    by_hand.turn(watcher.LOOK_SECONDS)
    assert by_hand.turn(2.0) == [f"{outputs}/"]


def test_real_limits_are_no_trouble(outputs):
    """With the user's instances used up for real, the folder is looked at and nothing is printed."""
    code = f"""
import ctypes, os, sys
sys.path.insert(0, {os.getcwd()!r})
from keepstate._files import Folder, Watcher
libc = ctypes.CDLL(None)
while libc.inotify_init() >= 0: pass
from keepstate._base.clock import SYSTEM_CLOCK
import threading
watcher = Watcher(print)
watcher.add(Folder.of({str(outputs)!r}))
watcher.start()
for _ in range(100):
    if "no more watches" in str(watcher.ways()): break
    threading.Event().wait(0.05)
else: sys.exit(str(watcher.ways()))
watcher.stop()
assert not [t for t in threading.enumerate() if "keepstate" in t.name]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["fuse.drivefs", "nfs4", "cifs", "9p"])
def test_mounts_are_looked_at(outputs, monkeypatch, kind, tmp_path):
    """What another machine writes gives no event here."""
    table = tmp_path / "mounts"
    lines = f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {outputs} rw,relatime shared:1 - {kind} far rw\n"
    table.write_text(lines)
    monkeypatch.setattr("keepstate._base.mounts._TABLE", str(table))
    with pytest.raises(NoEventsError, match=kind):
        Events(Folder.of(outputs), lambda: None)


def test_events_that_were_lost_are_made_up_for(outputs, monkeypatch):
    """The folder is looked at all the same, only less often."""
    by_hand = ByHand(Folder.of(outputs))

    class Deaf:
        are_coming = True

        def __init__(self, folder, on_event):
            pass

        def stop(self):
            pass

    monkeypatch.setattr(watcher, "Events", Deaf)
    by_hand.turn()
    (outputs / "a").write_bytes(b"x")
    by_hand.turn(watcher.LOOK_SECONDS)
    assert by_hand.turn(watcher.LOOK_SECONDS) == []
    by_hand.turn(watcher.LOOK_BESIDE_EVENTS_SECONDS)
    assert by_hand.turn(2.0) == [f"{outputs}/"]


def test_a_folder_that_is_removed_and_made_anew_is_watched_on(outputs):
    """Its events end with it, and those of the new one are asked for."""
    by_hand = ByHand(Folder.of(outputs))
    by_hand.turn()
    (outputs / "a").write_bytes(b"x")
    shutil.rmtree(outputs)
    by_hand.turn(watcher.LOOK_SECONDS)
    by_hand.turn(2.0)
    assert "not there" in by_hand.watcher.ways()[f"{outputs}/"]
    outputs.mkdir()
    (outputs / "b").write_bytes(b"x")
    by_hand.turn(watcher.LOOK_SECONDS)
    assert by_hand.turn(2.0) == [f"{outputs}/"]
    assert by_hand.watcher.ways()[f"{outputs}/"] == "events"
    by_hand.watcher.stop()


def test_a_thread_of_watchdogs_that_dies_is_replaced(outputs, monkeypatch, capfd):
    """Silently, and what happened meanwhile is found by a look."""
    from watchdog.observers import inotify_c

    if not hasattr(inotify_c, "InotifyFD"):
        pytest.skip("this version of watchdog reads events elsewhere")
    died = threading.Event()

    def die(_self, _event):
        died.set()
        raise RuntimeError("boom")

    by_hand = ByHand(Folder.of(outputs))
    by_hand.turn()
    with monkeypatch.context() as patch:
        patch.setattr(inotify_c.InotifyFD, "handle_event", die)
        (outputs / "a").write_bytes(b"x")
        assert died.wait(SOON)
        for thread in threading.enumerate():
            if type(thread).__name__ == "InotifyFD":
                thread.join(SOON)
    by_hand.turn(watcher.LOOK_SECONDS)
    assert by_hand.watcher.ways()[f"{outputs}/"] == "events"
    assert by_hand.turn(2.0) == [f"{outputs}/"]
    by_hand.watcher.stop()
    assert capfd.readouterr() == ("", "")


def test_folders_made_inside_each_other_are_told_silently(watching, changes, outputs, capfd):
    """However the making and the watching of them meet."""
    wait_for_events(watching)
    for number in range(100):
        (outputs / f"{number}/a/b/c/d").mkdir(parents=True)
    changes.get(timeout=SOON)
    (outputs / "99/a/b/c/d/file").write_bytes(b"x")
    changes.get(timeout=SOON)
    assert capfd.readouterr() == ("", "")


def test_a_callback_that_fails_ends_nothing(outputs, changes, settles_soon, capfd):
    """Nor does it print."""
    calls = []

    def fail(name):
        calls.append(name)
        changes.put(name)
        raise RuntimeError("boom")

    watching = Watcher(fail)
    watching.add(Folder.of(outputs))
    watching.start()
    wait_for_events(watching)
    (outputs / "a").write_bytes(b"x")
    changes.get(timeout=SOON)
    (outputs / "b").write_bytes(b"x")
    changes.get(timeout=SOON)
    watching.stop()
    assert capfd.readouterr() == ("", "")


def test_what_watchdog_logs_in_our_threads_goes_nowhere(watching, capfd):
    """And what it logs in threads of the user's goes where they want."""
    wait_for_events(watching)
    logger = logging.getLogger(events_module._LOGGERS[0])
    heard = []

    class Hear(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    handler = Hear()
    logger.addHandler(handler)
    thread = threading.Thread(target=logger.error, args=("ours",), name="keepstate-files-x")
    thread.start()
    thread.join()
    logger.error("theirs")
    logger.removeHandler(handler)
    assert heard == ["theirs"]
