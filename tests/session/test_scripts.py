"""Plain scripts under guard, each a process of its own."""

import functools
import signal
import subprocess
import sys

import pytest

START = "import keepstate\ns = keepstate.start(store='store', interval=3600)\n"


@pytest.fixture
def script(run_script):
    """Run a script under guard and return what it printed."""
    return functools.partial(run_script, start=START)


def test_a_script_that_ends_leaves_its_state(script):
    """The last snapshot is taken when the interpreter ends."""
    script("x = [1]; keepstate.track(x); x.append(2)")
    assert script("print(x)").stdout.endswith("[1, 2]\n")


def test_a_script_that_is_killed_leaves_its_last_snapshot(script):
    """What was committed before kill -9 is there."""
    died = script(
        """
        import os, signal
        x = [1]; keepstate.track(x); keepstate.snapshot(); x.append(2)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        fails=True,
    )
    assert died.returncode == -signal.SIGKILL
    assert script("print(x)").stdout.endswith("[1]\n")


def test_a_snapshot_says_what_it_is(script):
    """All facts of the contract, in a script between two statements."""
    out = script(
        """
        import numpy as np
        x = np.zeros(1000); keepstate.track(x)
        k = keepstate.snapshot("a note")
        assert k.reason == "manual" and k.consistency == "statement" and k.names == ("x",)
        assert k.note == "a note" and k.durability == "local" and k.skipped == {}
        assert k.logical_bytes >= 8000 and k.written_bytes > 0
        assert 0 < k.stall_seconds < k.seconds < 60
        assert k.created_at.utcoffset().total_seconds() == 0
        assert keepstate.snapshots()[0] == k
        assert keepstate.snapshot() == k
        print("fine")
        """
    )
    assert out.stdout.endswith("fine\n")


def test_a_snapshot_that_is_not_waited_for_is_listed_once_it_is_committed(script):
    """It is pending at first, and later it is there under the same id."""
    out = script(
        """
        x = [1]; keepstate.track(x)
        k = keepstate.snapshot(wait=False)
        assert k.durability == "pending"
        keepstate.snapshot()
        assert k.id in [s.id for s in keepstate.snapshots()]
        print("fine")
        """
    )
    assert out.stdout.endswith("fine\n")


def test_a_snapshot_that_library_code_asks_for_is_marked(script):
    """From a key function inside sort() no picture is taken on the main thread; the whole of it is marked."""
    out = script(
        """
        taken = []
        def key(v):
            if not taken: taken.append(keepstate.snapshot())
            return v
        x = [3, 1, 2]; keepstate.track(x)
        x.sort(key=key)
        print(taken[0].consistency)
        """
    )
    assert out.stdout.endswith("operation\n")


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("keepstate.track(5)", "UntrackableError", "name=object"),
        ("keepstate.track([1, 2])", "UntrackableError", "no name"),
        ("keepstate.track('unknown')", "NotFoundError", "unknown"),
        ("keepstate.track(x=[5])", "InvalidInputError", "another object"),
        ("keepstate.untrack('unknown')", "NotFoundError", "x"),
        ("keepstate.restore('unknown')", "NotFoundError", "unknown"),
        ("keepstate.restore(at='ffffffffff')", "NotFoundError", "snapshots()"),
        ("keepstate.restore(at='')", "InvalidInputError", "cell"),
        ("keepstate.load('unknown')", "NotFoundError", "unknown"),
        ("keepstate.load('x', member='ana')", "InvalidInputError", "ana"),
        ("keepstate.get('not a name', list)", "InvalidInputError", "identifier"),
        ("keepstate.start(store='other')", "SessionError", "stop()"),
        (
            "keepstate.restore(at=__import__('datetime').datetime(2026, 1, 1))",
            "InvalidInputError",
            "time zone",
        ),
    ],
)
def test_bad_input_is_told_and_nothing_is_lost(script, call, error, told):
    """The error says what happened and what to do; the session goes on."""
    out = script(
        f"""
        x = [1]; keepstate.track(x); keepstate.snapshot()
        try:
            {call}
        except keepstate.KeepstateError as e:
            print(type(e).__name__, e)
        assert keepstate.snapshot().names == ("x",)
        """
    ).stdout
    assert error in out
    assert told in out


@pytest.mark.parametrize(
    ("start", "error"),
    [
        ("store='file'", "NotAStoreError"),
        ("store='foreign'", "NotAStoreError"),
        ("store='newer'", "FormatError"),
        ("store='file/below'", "StoreError"),
        ("interval=0", "InvalidInputError"),
        ("colour='red'", "InvalidInputError"),
    ],
)
def test_a_bad_start_says_what_is_wrong_and_starts_nothing(script, tmp_path, start, error):
    """After it, a right start works."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "keepstate.json").write_text('{"format": 99, "store": "ab"}')
    out = script(
        f"""
        import keepstate
        try:
            keepstate.start({start})
        except keepstate.KeepstateError as e:
            print(type(e).__name__)
        x = 1
        keepstate.start(store='store', track=['x'])
        print(keepstate.snapshot().names)
        """,
        start="",
    ).stdout
    assert error in out
    assert out.endswith("('x',)\n")
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "foreign" / "thesis.txt").read_text() == "mine"


def test_without_a_session_every_call_says_so(script):
    """The error names start()."""
    out = script(
        """
        import keepstate
        for call in (keepstate.snapshots, keepstate.status, keepstate.stop, keepstate.snapshot):
            try: call()
            except keepstate.SessionError as e: print(e)
        """,
        start="",
    ).stdout
    assert out.count("keepstate.start()") == 4


def test_stop_takes_a_last_snapshot_and_ends_the_guard(script):
    """After it no thread of ours is left, and a new session can begin."""
    out = script(
        """
        import threading
        x = [1]; keepstate.track(x); keepstate.stop()
        print([t.name for t in threading.enumerate() if t.name.startswith(("keepstate", "APS"))])
        x = [2]
        t = keepstate.start(store='store', interval=3600)
        print(keepstate.load('x'), x, len(keepstate.snapshots()))
        """
    ).stdout
    assert "[]\n" in out
    assert out.endswith("[1] [2] 1\n")


def test_importing_costs_little_and_brings_no_heavy_library(tmp_path):
    """`import keepstate` brings neither pandas, torch nor IPython, nor what only start() needs."""
    code = (
        "import sys, numpy; before = set(sys.modules); import keepstate\nnew = set(sys.modules) - before\n"
        "print(sorted({m.split('.')[0] for m in new} & {'pandas', 'torch', 'IPython', 'apscheduler',"
        " 'blosc2', 'rich', 'typer', 'cloudpickle', 'psutil', 'msgspec'}))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"


def test_limits_of_the_call_are_shown_with_the_deadline_they_make(script):
    """The nearest foreseen end is a time in UTC."""
    out = script(
        """
        keepstate.stop(snapshot=False)
        keepstate.start(store='store', limits={'idle_seconds': 600, 'lifetime_seconds': 3600})
        s = keepstate.status()
        print(s.idle_limit_seconds, s.lifetime_limit_seconds, s.deadline.utcoffset(), s.host)
        """
    ).stdout
    assert out.endswith("600.0 3600.0 0:00:00 plain\n")


def test_one_object_that_cannot_be_kept_costs_itself_alone(script):
    """What cannot be kept is skipped by name with the reason."""
    out = script(
        """
        import socket
        x, sock = [1], socket.socket()
        keepstate.track(x, sock)
        k = keepstate.snapshot()
        print(k.names, sorted(k.skipped), k.skipped['sock'])
        sock.close()
        """
    ).stdout
    assert "('x',) ['sock']" in out
    assert "socket" in out


def test_histories_of_sessions_stand_side_by_side(script):
    """Each start is a session of its own; the newest of the newest session comes back, all are listed."""
    script("x = 1; keepstate.track('x'); keepstate.snapshot(); x = 2; keepstate.snapshot()")
    script("x = 3")
    out = script(
        "print(x, len(keepstate.snapshots()), len({k.lineage for k in keepstate.snapshots()}))"
    ).stdout
    assert out.endswith("3 3 2\n")


def test_a_process_that_the_user_forks_off_leaves_the_history_alone(script):
    """Its end takes no snapshot in the name of its parent, and its calls say why."""
    out = script(
        """
        import os, sys, warnings
        x = ["parent"]; keepstate.track(x); keepstate.snapshot()
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from 3.12 on
        pid = os.fork()
        if not pid:
            x.append("child")
            try: keepstate.snapshot()
            except keepstate.SessionError: pass
            sys.exit(0)
        os.waitpid(pid, 0)
        print(len(keepstate.snapshots()), keepstate.load("x"))
        """
    ).stdout
    assert out.endswith("1 ['parent']\n")


def test_the_users_random_numbers_are_those_they_would_have_been(script):
    """Neither starting nor saving draws from random or numpy.random."""
    out = script(
        """
        import random, numpy as np
        random.seed(1); np.random.seed(1)
        before = random.getstate(), np.random.get_state()[1].tolist()
        import keepstate
        keepstate.start(store='store', interval=0.1)
        x = [1]; keepstate.track(x); keepstate.snapshot(); x.append(2); keepstate.snapshot(wait=False)
        keepstate.stop()
        print(before == (random.getstate(), np.random.get_state()[1].tolist()))
        """,
        start="",
    ).stdout
    assert out.endswith("True\n")


def test_a_damaged_random_state_costs_the_random_state_alone(script, tmp_path):
    """The names come back, and the report says that the random numbers do not go on."""
    script(
        "import random; x = [1]; keepstate.track(x); keepstate.snapshot()\n"
        "random.random(); keepstate.snapshot()"
    )
    newest = max(tmp_path.rglob("*.pack"), key=lambda pack: pack.stat().st_mtime_ns)
    newest.unlink()  # it holds what the second snapshot added: the random state
    out = script("print(x); r = keepstate.restore(); print(r.restored, 'andom' in str(r))").stdout
    assert "andom" in out.partition("[1]")[0]
    assert out.endswith("('x',) True\n")


def test_keeping_the_last_ones_of_a_notebook_leaves_other_notebooks_alone(script):
    """keep_last is about this notebook, not about the project."""
    begin = "import keepstate\nkeepstate.start(store='store', interval=3600, notebook={!r}{})\n"
    change = "for i in range(3):\n    x = [i]; keepstate.track('x'); keepstate.snapshot()\n"
    script(change, start=begin.format("a", ""))
    assert script(
        change + "print(len(keepstate.snapshots()))", start=begin.format("b", ", keep_last=1")
    ).stdout.endswith("1\n")
    assert script("print(len(keepstate.snapshots()))", start=begin.format("a", "")).stdout.endswith("3\n")


def test_a_mapped_file_that_is_too_large_to_copy_costs_itself_alone(script):
    """A fork does not freeze it and it cannot be copied at once: it is skipped by name, the rest is kept."""
    out = script(
        """
        import numpy as np
        x, m = [1], np.memmap("data", dtype="u1", mode="w+", shape=(600 << 20,))
        keepstate.track(x, m)
        k = keepstate.snapshot()
        print(k.names, k.skipped["m"], keepstate.status().error)
        """
    ).stdout
    assert "('x',)" in out
    assert "mapped" in out
    assert out.endswith("None\n")


def test_the_last_good_generation_of_what_was_not_kept_is_offered(script):
    """A name that could not be kept the last time says how to get its older value."""
    script(
        """
        import socket
        x, y = [1], 2; keepstate.track('x', 'y'); keepstate.snapshot()
        x = socket.socket(); keepstate.snapshot(); x.close()
        """
    )
    out = script("print(y); exec(s.restored.failed['x'].rpartition(': ')[2]); print(x)").stdout
    assert out.endswith("2\n[1]\n")


def test_interrupts_beside_saves_are_the_users_and_leave_the_guard_at_work(script):
    """Each Ctrl-C is one KeyboardInterrupt, wherever in our code it falls; afterwards saving works."""
    out = script(
        """
        import os, signal, threading, time
        x = [0]; keepstate.track(x)
        sent = caught = 0
        inside = -1
        def storm():
            global sent
            for number in range(150):
                while inside < number:
                    time.sleep(0.0002)
                time.sleep(0.0007 * (number % 40))
                sent += 1
                os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=storm); thread.start()
        while caught < 150:
            try:
                inside = caught
                while True:
                    x[0] += 1
                    keepstate.snapshot(wait=x[0] % 3 == 0)
            except KeyboardInterrupt:
                caught += 1
        thread.join()
        x[0] = "after"
        print(sent, caught, keepstate.snapshot().names, keepstate.load("x"), keepstate.status().error)
        """
    ).stdout
    assert out.endswith("150 150 ('x',) ['after'] None\n")


def test_a_better_picture_of_the_same_state_replaces_one_at_any_moment(script):
    """Restoring prefers an older value to one that was read inside library code; so this one must be kept."""
    out = script(
        """
        x = [0]; keepstate.track(x); keepstate.snapshot()
        x = [1]
        sorted([1, 2], key=lambda n: keepstate.snapshot() and n)
        levels = [s.consistency for s in keepstate.snapshots()]
        keepstate.snapshot()
        print(levels[0], keepstate.snapshots()[0].consistency, keepstate.load("x"))
        """
    ).stdout
    assert out.endswith("operation statement [1]\n")


def test_a_thing_that_is_no_list_is_refused_by_start(run_script):
    """With the argument's name; no session is left behind."""
    out = run_script(
        """
        import keepstate
        try: keepstate.start(store='store', track=5)
        except keepstate.InvalidInputError as error: print(error)
        print(len(keepstate.start(store='store').names.guarded()))
        """
    ).stdout
    assert out.startswith("track=5: give a name")
    assert out.endswith("0\n")
