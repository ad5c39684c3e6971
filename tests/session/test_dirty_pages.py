"""Sessions that ask the kernel what memory was written to: the same snapshots, with or without it."""

import errno

import pytest
from forbidden_calls import FORBID

from keepstate._capture import hindrance

HINDRANCE = hindrance()
offered = pytest.mark.skipif(HINDRANCE is not None, reason=f"the kernel does not offer it: {HINDRANCE}")

START = """
import keepstate, numpy as np, os
options = {}
def begin(**more):
    return keepstate.start(store="store", interval=3600, **{"capture": "fork", **options, **more})
def descriptors():
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name != "x"
             and os.path.islink(f"/proc/self/fd/{name}")]
    return sum("userfaultfd" in link or "pagemap" in link for link in links)
big = np.arange(3 << 19, dtype=float)          # 12 MiB
other = np.ones(3 << 19)
"""
WORK = """
session = begin(track=["big", "other"])
protected = 0
for number in range(9):
    keepstate.snapshot()
    protected = max(protected, len(session._saving._unwritten.protected)) if session._saving._unwritten else 0
big[1_000_000] = -1
changed = keepstate.snapshot()
other[5:10] = 7
keepstate.snapshot()
print(protected, changed.written_bytes < 3 << 20, descriptors())
keepstate.stop()
print(descriptors())
"""
AGAIN = """
import keepstate
session = keepstate.start(store="store", interval=3600)
print(big[1_000_000], big[999_999], other[4:11].tolist(), sorted(session.restored.restored))
"""
BACK = "-1.0 999999.0 [1.0, 7.0, 7.0, 7.0, 7.0, 7.0, 1.0] ['big', 'other']"


@offered
def test_what_was_changed_is_kept(run_script):
    """Arrays that stay as they are are protected; each write is in the next snapshot; nothing stays open."""
    first, last = run_script(WORK, start=START).stdout.splitlines()[-2:]
    protected, small, opened = first.split()
    assert (int(protected) > 6, small, opened, last) == (True, "True", "2", "0")
    assert run_script(AGAIN).stdout.splitlines()[-1] == BACK


@pytest.mark.parametrize("by", ["option", "EPERM", "ENOSYS", "deadly", "stage"])
def test_without_it_all_is_the_same(run_script, by):
    """Where it is switched off, forbidden or unknown, memory is hashed, and nobody is told."""
    begin = {
        "option": "options = {'dirty_pages': False}\n",
        "stage": "options = {'capture': 'stage'}\n",
        "EPERM": f"{FORBID}\nforbid({errno.EPERM})\noptions = {{}}\n",
        "deadly": f"{FORBID}\nforbid(0, action=KILL)\noptions = {{}}\n",
        "ENOSYS": f"{FORBID}\nforbid({errno.ENOSYS})\noptions = {{}}\n",
    }
    script = START.replace("options = {}\n", begin[by])
    first, last = run_script(WORK, start=script).stdout.splitlines()[-2:]
    protected, small, opened = first.split()
    assert (protected, small, opened, last) == ("0", "True", "0", "0")
    assert run_script(AGAIN).stdout.splitlines()[-1] == BACK


@offered
def test_a_child_that_died_took_all_that_was_known_along(run_script):
    """After a save that came to nothing everything is hashed, and kept."""
    run_script(
        """
        import signal
        class Deadly:
            def __reduce__(self):
                if os.getpid() != parent:
                    os.kill(os.getpid(), signal.SIGKILL)
                return list, ()
        parent = os.getpid()
        session = begin(track=["big", "other"])
        for _ in range(8):
            keepstate.snapshot()
        assert session._saving._unwritten.protected
        big[1_000_000] = -1
        deadly = Deadly()
        keepstate.track("deadly")
        try:
            keepstate.snapshot()
        except keepstate.KeepstateError:
            pass
        else:
            raise SystemExit("it was kept")
        assert not session._saving._unwritten.protected
        keepstate.untrack("deadly")
        other[5:10] = 7
        keepstate.stop()
        """,
        start=START,
    )
    assert run_script(AGAIN).stdout.splitlines()[-1] == BACK


@offered
def test_what_proves_wrong_is_told_and_used_no_more(run_script):
    """A kernel that errs is found out; the snapshot holds what is there, and the status says so."""
    done = run_script(
        """
        import msgspec
        from keepstate._snapshot import unwritten
        unwritten.PROOF = 1
        session = begin(track=["big", "other"])
        for _ in range(8):
            keepstate.snapshot()
        known = session._saving._unwritten
        false = [
            msgspec.structs.replace(each, fingerprints=bytes(len(each.fingerprints)))
            for each in known.buffers
        ]
        session._saving._unwritten = msgspec.structs.replace(known, buffers=false)
        big[1_000_000] = -1
        other[5:10] = 7
        keepstate.snapshot()
        keepstate.snapshot("a save that goes well does not hide it")
        print(keepstate.status().error)
        print(descriptors())
        keepstate.stop()
        """,
        start=START,
    )
    error, opened = done.stdout.splitlines()[-2:]
    assert "record" in error
    assert opened == "0"
    assert run_script(AGAIN).stdout.splitlines()[-1] == BACK


@offered
def test_a_process_that_the_user_forked_watches_itself(run_script):
    """What it inherits belongs to its parent; a session of its own begins anew."""
    done = run_script(
        """
        session = begin(track=["big", "other"])
        for _ in range(8):
            keepstate.snapshot()
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on: of threads that a child does not have
        child = os.fork()
        if not child:
            big[:] = 5
            os.chdir("child")
            own = begin(track=["big", "other"])
            for _ in range(8):
                keepstate.snapshot()
            assert own._saving._unwritten.protected and own._saving._pages.process == os.getpid()
            keepstate.stop()
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        big[1_000_000] = -1
        other[5:10] = 7
        keepstate.stop()
        """,
        start=START + "os.makedirs('child', exist_ok=True)\n",
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert run_script(AGAIN).stdout.splitlines()[-1] == BACK


def test_small_states_ask_for_nothing(run_script):
    """Whoever keeps little has no descriptors of ours open."""
    done = run_script(
        """
        big, other = big[:1000].copy(), 1
        begin(track=["big", "other"])
        for _ in range(3):
            keepstate.snapshot()
        print(descriptors())
        """,
        start=START,
    )
    assert done.stdout.splitlines()[-1] == "0"
