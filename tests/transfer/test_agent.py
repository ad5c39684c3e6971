"""The process that transfers, for real: started, killed, starved, replaced, and always telling the truth."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import agent_work
import pytest

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import SYSTEM_DISK
from keepstate._repository.layout import member_folder
from keepstate._repository.lease import drop_lease, take_lease
from keepstate._transfer import Options, Transfer
from keepstate._transfer.folder import Folder
from keepstate._transfer.lock import is_held
from keepstate._transfer.succession import holder
from keepstate.backends import Credentials
from keepstate.errors import InvalidInputError

PATIENCE = 60
"""Seconds for what comes soon; only a test that fails takes so long."""
LATER = 3600.0
SECRET = "s3cr3t-of-the-test-"
QUICK = Options(
    look_seconds=0.02,
    settle_seconds=0.05,
    longest_settle_seconds=0.2,
    first_backoff_seconds=0.02,
    longest_backoff_seconds=0.1,
    slow_seconds=LATER,
    orphan_patience_seconds=LATER,
    linger_seconds=0.05,
    progress_seconds=0.0,
    heartbeat_seconds=0.05,
    first_upkeep_seconds=LATER,
)


def wait_until(holds):
    until = SYSTEM_CLOCK.monotonic() + PATIENCE
    while not (found := holds()):
        assert SYSTEM_CLOCK.monotonic() < until
        threading.Event().wait(0.01)
    return found


class Bench:
    """A repository here, a folder that stands for the far side, and all sessions that a test opens."""

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.near = tmp_path / "near"
        self.far = tmp_path / "far"
        self.control = tmp_path / "control"
        self.near.mkdir(exist_ok=True)
        self.far.mkdir(exist_ok=True)
        self.folder = Folder.of(self.near)
        self.opened = []
        self.processes = []

    def session(self, *, key="A", options=QUICK, far=None):
        transfer = Transfer.start(
            self.near,
            address=str(far or self.far),
            credentials=Credentials({"KEY": SECRET + key}),
            settings={"control": str(self.control)},
            options=options,
            work=agent_work.MAKE,
        )
        self.opened.append(transfer)
        return transfer

    def foreign_session(self, code, **options):
        """Run a session in a process of its own, which can be killed."""
        script = "\n".join(
            [
                "import sys, threading",
                f"sys.path[:0] = {sys.path!r}",
                "from pathlib import Path",
                "import agent_work, test_agent",
                f"bench = test_agent.Bench(Path({str(self.tmp)!r}))",
                code,
                "print('ready', flush=True)",
                "threading.Event().wait()",
            ]
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, **options
        )
        self.processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    def commit(self, *ids, nbytes=10):
        for one in ids:
            agent_work.commit(self.near, one, nbytes)

    def behave(self, way):
        temporary = self.control.with_suffix(".new")
        temporary.write_text(way)
        temporary.replace(self.control)

    def journal(self):
        """What was done: (pid, what, last character of the key)."""
        path = self.far / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(line.split(" ")) for line in lines]

    def count(self, what):
        return sum(done == what for _, done, _ in self.journal())

    def there(self):
        return {path.stem for path in self.far.glob("*.manifest")}

    def running(self):
        """Pids of all processes of this repository, whether they transfer or wait."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"keepstate._transfer" in words and str(self.near).encode() in words:
                found.append(int(path.parent.name))
        return found

    def is_over(self, pid):
        """Whether a process has ended and given back its files: its name goes before them."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state in "ZX"

    def agent(self):
        """Wait for the process that has the lock."""
        return wait_until(lambda: holder(self.folder)).process.pid

    def ended(self):
        wait_until(lambda: not self.running())


@pytest.fixture
def bench(tmp_path):
    """Everything that was started is gone in the end."""
    one = Bench(tmp_path)
    yield one
    one.behave("")
    for process in one.processes:
        process.kill()
        process.wait()
        process.stdout.close()
    for transfer in one.opened:
        transfer.close()
    for pid in one.running():
        os.kill(pid, signal.SIGKILL)
    one.ended()
    assert one.count("TWICE") == 0


def wait_for_state(transfer, state):
    return wait_until(lambda: (report := transfer.report()).state == state and report)


def test_what_is_committed_is_sent_and_told(bench):
    """Levels, bytes and the moment of the last success are in the report; nothing is pending."""
    transfer = bench.session()
    bench.commit("a1", "a2")
    report = wait_until(lambda: len((report := transfer.report()).levels) == 2 and report)
    report = wait_for_state(transfer, "idle")
    assert bench.there() == {"a1", "a2"}
    assert report.levels == {"a1": "verified", "a2": "verified"}
    assert (report.pending_ids, report.pending_bytes, report.error) == ((), 0, None)
    assert (report.sent_bytes, report.place) == (20, str(bench.far))
    assert report.last_success.endswith("+00:00")
    assert report.pid == bench.agent()


def test_what_was_committed_before_it_began_is_sent_too(bench):
    """The process of a new session looks at all there is."""
    bench.commit("a1")
    wait_for_state(bench.session(), "idle")
    assert bench.there() == {"a1"}


def test_snapshots_that_come_close_together_are_sent_in_one_round(bench):
    """It waits until they have settled."""
    transfer = bench.session(options=replaced(settle_seconds=LATER, longest_settle_seconds=1.0))
    wait_for_state(transfer, "idle")
    for number in range(5):
        bench.commit(f"a{number}")
    report = wait_for_state(transfer, "waiting")
    wait_until(lambda: len(bench.there()) == 5)
    assert bench.count("run") == 1
    assert report.levels == {}


def replaced(**times):
    return Options(**{**{name: getattr(QUICK, name) for name in QUICK.__struct_fields__}, **times})


def test_a_wish_does_not_wait_for_more_snapshots(bench):
    """It is sent at once, as urgent, and the answer comes when it is there."""
    transfer = bench.session(options=replaced(settle_seconds=LATER, longest_settle_seconds=LATER))
    bench.commit("a1")
    assert transfer.flush(["a1"], deadline_seconds=PATIENCE)
    assert bench.there() == {"a1"}
    assert bench.count("urgent") == 1
    assert transfer.flush(deadline_seconds=PATIENCE)
    assert not transfer.flush(["no-such"], deadline_seconds=PATIENCE)
    assert bench.folder.wishes() == []


def test_a_wish_that_cannot_be_fulfilled_in_time_says_so(bench):
    """And each new report was shown meanwhile."""
    transfer = bench.session()
    bench.behave("hold")
    bench.commit("a1")
    shown = []
    assert not transfer.flush(deadline_seconds=1.0, on_progress=shown.append)
    assert not transfer.flush(["a1"], deadline_seconds=0)
    assert [report.pending_ids for report in shown][-1] == ("a1",)
    bench.behave("")
    assert transfer.flush(["a1"], deadline_seconds=PATIENCE)


def test_a_flush_that_is_interrupted_ends_at_once(bench):
    """Ctrl-C reaches whoever waits, and the wish is taken back."""
    transfer = bench.session()
    bench.behave("hold")
    bench.commit("a1")
    wait_until(lambda: bench.count("request:a1") == 1)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        transfer.flush(deadline_seconds=PATIENCE)
    timer.join()
    assert bench.folder.wishes() == []


def test_five_sessions_at_once_have_one_process(bench):
    """Four of the processes see that a later one cares; what two would do at a time is done by none."""
    threads = [threading.Thread(target=bench.session) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.commit("a1")
    for transfer in bench.opened:
        assert transfer.flush(["a1"], deadline_seconds=PATIENCE)
    wait_until(lambda: len(bench.running()) == 1)
    assert bench.running() == [bench.agent()]
    assert bench.count("request:a1") == 1


def test_a_process_that_was_killed_is_started_again(bench):
    """Its handle sees it when it is asked, and what was being sent arrives."""
    transfer = bench.session()
    bench.behave("hold")
    bench.commit("a1", "a2")
    wait_until(lambda: bench.count("request:a1") == 1)
    first = bench.agent()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: bench.is_over(first))
    report = transfer.report()
    assert (report.state, report.levels) == ("trouble", {})
    assert "killed" in report.error
    bench.behave("")
    wait_until(lambda: transfer.alive and bench.there() == {"a1", "a2"})
    assert bench.agent() != first
    wait_for_state(transfer, "idle")


def test_a_process_that_dies_again_and_again_is_not_started_in_a_row(bench):
    """Each start waits longer; the handle says that nobody is there."""
    bench.behave("dead")
    bench.commit("a1")
    transfer = bench.session()
    wait_until(lambda: not transfer.alive)
    wait_until(lambda: transfer.alive and bench.count("dead") == 2)
    wait_until(lambda: transfer.report().state == "trouble")
    bench.behave("")
    wait_until(lambda: transfer.alive and bench.there() == {"a1"})
    assert bench.count("dead") <= 4


def test_a_killed_kernel_leaves_its_snapshots_to_the_process(bench):
    """What it had committed is sent, then the process ends and says so."""
    bench.behave("hold")
    kernel = bench.foreign_session("bench.session()")
    bench.commit("a1", "a2")
    wait_until(lambda: bench.count("request:a1") == 1)
    kernel.kill()
    kernel.wait()
    bench.commit("a3")
    wait_until(lambda: not bench.folder.sessions())
    threading.Event().wait(0.5)  # 25 looks
    bench.behave("")
    bench.ended()
    assert bench.there() == {"a1", "a2", "a3"}
    report = bench.folder.read_report()
    assert (report.state, report.pending_ids, len(report.levels)) == ("ended", (), 3)
    assert bench.folder.sessions() == []


def test_what_a_killed_kernel_has_left_is_tried_for_a_while(bench):
    """Then the process gives up, and the report says what is missing and why."""
    bench.behave("unavailable")
    bench.commit("a1")
    kernel = bench.foreign_session("bench.session(options=test_agent.replaced(orphan_patience_seconds=0.5))")
    wait_until(lambda: bench.count("unavailable") > 5)
    kernel.kill()
    bench.ended()
    report = bench.folder.read_report()
    assert report.state == "ended"
    assert "look at the network" in report.error
    assert bench.there() == set()


def test_it_outlives_its_last_session_for_a_while(bench):
    """A kernel that is started again finds it, and what comes late is sent."""
    kernel = bench.foreign_session("bench.session(options=test_agent.replaced(linger_seconds=3.0))")
    pid = bench.agent()
    wait_until(lambda: (report := bench.folder.read_report()) and report.state == "idle")
    kernel.kill()
    wait_until(lambda: not bench.folder.sessions())
    threading.Event().wait(agent_work.TICK_SECONDS + 0.5)
    assert bench.running() == [pid]
    bench.commit("a1")
    bench.ended()
    assert bench.there() == {"a1"}


def test_what_a_killed_kernel_is_still_writing_is_waited_for(bench):
    """The process that holds its last picture may outlive it, and commit later."""
    member = member_folder(bench.near, "me")
    lease = take_lease(SYSTEM_DISK, member, purpose="write", clock=SYSTEM_CLOCK)
    kernel = bench.foreign_session("bench.session()")
    pid = bench.agent()
    kernel.kill()
    wait_until(lambda: not bench.folder.sessions())
    threading.Event().wait(agent_work.TICK_SECONDS + 0.5)  # sure that there is nothing, and 25 looks
    assert bench.running() == [pid]
    bench.commit("a1")
    drop_lease(SYSTEM_DISK, member, lease)
    bench.ended()
    assert bench.there() == {"a1"}


def test_it_ends_with_its_last_session(bench):
    """Not with the first; and nothing of the sessions stays behind."""
    one, other = bench.session(), bench.session()
    wait_for_state(other, "idle")
    one.close()
    bench.commit("a1")
    wait_until(lambda: other.report().levels)
    assert other.close(wait=True)
    bench.ended()
    left = sorted(path.name for path in bench.folder.root.iterdir())
    assert left == ["agent.log", "lock", "report.json"]
    assert other.report().state == "ended"
    assert not other.alive


def test_a_new_session_takes_over_with_its_own_credentials(bench):
    """The request in hand is finished by the old process; no other is, and nothing is sent twice."""
    bench.session(key="A")
    bench.behave("hold")
    bench.commit("a1", "a2")
    wait_until(lambda: bench.count("request:a1") == 1)
    first = bench.agent()
    new = bench.session(key="B")
    wait_until(lambda: len(bench.running()) == 2 and bench.folder.successors())
    assert bench.agent() == first
    bench.behave("")
    assert new.flush(["a1", "a2"], deadline_seconds=PATIENCE)
    assert bench.agent() != first
    assert bench.journal()[0] == (str(first), "made", "A")
    assert {key for pid, _, key in bench.journal() if key and pid != str(first)} == {"B"}
    assert bench.count("request:a1") == bench.count("request:a2") == 1


def test_credentials_that_are_not_accepted_wait_for_others(bench):
    """A wish is refused early, and a handle that is given new ones goes on at once."""
    bench.behave("credentials")
    bench.commit("a1")
    transfer = bench.session(key="A")
    report = wait_for_state(transfer, "credentials")
    assert "give another" in report.error
    assert not transfer.flush(deadline_seconds=LATER)
    bench.behave("")
    transfer.renew(Credentials({"KEY": SECRET + "B"}))
    wait_until(lambda: bench.there() == {"a1"})
    report = wait_for_state(transfer, "idle")
    assert report.error is None
    assert bench.journal()[-2][0] != bench.journal()[0][0]


@pytest.mark.parametrize(
    ("way", "state", "told"),
    [
        ("unavailable", "unreachable", "look at the network"),
        ("broken", "trouble", "ZeroDivisionError: while using"),
    ],
)
def test_what_may_pass_is_tried_again_by_itself(bench, way, state, told):
    """Whatever fails is a sentence in the report, and gone from it after a success."""
    bench.behave(way)
    bench.commit("a1")
    transfer = bench.session()
    report = wait_for_state(transfer, state)
    assert told in report.error
    wait_until(lambda: bench.count(way) >= 3)
    bench.behave("")
    report = wait_for_state(transfer, "idle")
    assert report.error is None
    assert bench.there() == {"a1"}


def test_rounds_that_move_nothing_are_no_success(bench):
    """They are told as trouble, and are further and further apart."""
    bench.behave("nothing")
    bench.commit("a1")
    transfer = bench.session(options=replaced(longest_backoff_seconds=LATER, first_backoff_seconds=LATER))
    report = wait_for_state(transfer, "trouble")
    assert "has not taken 1 snapshots" in report.error
    assert report.last_success is None
    threading.Event().wait(0.5)  # 25 looks
    assert bench.count("run") == 1


def test_a_full_place_is_not_tried_in_a_row(bench):
    """A wish tries it once more, and is told that the user must do something."""
    bench.behave("full")
    bench.commit("a1")
    transfer = bench.session()
    report = wait_for_state(transfer, "full")
    assert (report.pending_ids, report.error) == (("a1",), "no space is left: free some")
    assert bench.count("full") == 1
    assert not transfer.flush(deadline_seconds=LATER)
    assert bench.count("full") == 2
    bench.behave("")
    assert transfer.flush(deadline_seconds=PATIENCE)


def test_a_wait_that_the_far_side_asked_for_is_not_cut_short(bench):
    """Not even by somebody in a hurry."""
    bench.behave("busy")
    bench.commit("a1")
    transfer = bench.session()
    wait_for_state(transfer, "unreachable")
    assert not transfer.flush(deadline_seconds=0.5)
    assert bench.count("busy") == 1


def test_secrets_are_nowhere(bench):
    """Not in arguments, not in a file, not in the log, whatever an error or a library says."""
    with_key = SECRET.encode()
    transfer = bench.session()
    for way in ("broken", "unavailable", "credentials"):
        before = bench.count(way)
        bench.behave(way)
        bench.commit(f"a-{way}")
        wait_until(lambda way=way, before=before: bench.count(way) > before)
        wait_until(lambda: transfer.report().error)
        assert SECRET not in transfer.report().error
    for pid in bench.running():
        assert with_key not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert Path(f"/proc/{pid}/fd/0").resolve() == Path("/dev/null")
    transfer.close()
    log = bench.folder.log.read_text()
    assert "a library prints <secret>" in log
    assert "a library logs <secret>" in log
    assert "ZeroDivisionError: while using <secret>" in log
    for path in bench.near.rglob("*"):
        assert path.is_dir() or with_key not in path.read_bytes(), path
    assert SECRET not in repr(transfer) + repr(vars(transfer))


def test_a_torn_report_is_no_trouble(bench):
    """What was known before stands, and the next report of the process is read again."""
    transfer = bench.session()
    bench.commit("a1")
    wait_until(lambda: transfer.report().levels)
    wait_for_state(transfer, "idle")
    for left in (b"", b'{"state":"idle","lev', b"\xff\xfe", b"[]", b'{"state":"nonsense"}', None):
        if left is None:
            bench.folder.report.unlink()
        else:
            bench.folder.report.write_bytes(left)
        assert transfer.report().levels == {"a1": "verified"}
        assert transfer.report().error is None
    bench.commit("a2")
    wait_until(lambda: len(transfer.report().levels) == 2)
    bench.folder.report.write_bytes(b"")
    fresh = bench.session()
    assert fresh.flush(deadline_seconds=PATIENCE)
    both = {"a1": "verified", "a2": "verified"}
    assert wait_until(lambda: transfer.report().answered == () and transfer.report().levels) == both


def test_an_interrupt_of_the_group_is_not_ours(bench):
    """Ctrl-C and a terminal that is closed end neither the process nor its work; its session is its own."""
    kernel = bench.foreign_session("bench.session()", start_new_session=True)
    pid = bench.agent()
    assert os.getsid(pid) == pid
    os.killpg(kernel.pid, signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    kernel.wait()
    bench.commit("a1")
    bench.ended()
    assert bench.there() == {"a1"}


def test_it_is_no_child_of_the_kernel(bench):
    """A program that waits for its own children is not given one of ours."""
    waiting = """
import os
transfer = bench.session()
test_agent.wait_for_state(transfer, "idle")
try:
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
except ChildProcessError:
    pass
else:
    sys.exit("there is one")
"""
    # In a process of its own: that of the tests may still have children of other tests.
    bench.foreign_session(waiting)


def test_told_to_end_it_finishes_the_request_in_hand(bench):
    """SIGTERM is not the power cut: what is half sent is sent, and the report says what is left."""
    bench.session()
    bench.behave("hold")
    bench.commit("a1", "a2")
    wait_until(lambda: bench.count("request:a1") == 1)
    os.kill(bench.agent(), signal.SIGTERM)
    threading.Event().wait(0.2)
    bench.behave("")
    bench.ended()
    report = bench.folder.read_report()
    assert bench.there() == {"a1"}
    assert (report.state, report.pending_ids, report.levels) == ("ended", ("a2",), {"a1": "verified"})


def test_a_request_that_does_not_end_is_not_waited_for_for_ever(bench):
    """A process that was told to end does so, whatever the far side does."""
    bench.session(options=replaced(finish_seconds=0.2))
    bench.behave("hold")
    bench.commit("a1")
    wait_until(lambda: bench.count("request:a1") == 1)
    os.kill(bench.agent(), signal.SIGTERM)
    bench.ended()
    assert bench.there() == set()
    assert bench.folder.read_report().pending_ids == ("a1",)


def test_two_places_for_one_repository_are_told_apart(bench):
    """The second waits until nobody needs the first, says so, and never takes its levels for its own."""
    other = bench.tmp / "other"
    first = bench.session()
    bench.commit("a1")
    wait_until(lambda: first.report().levels)
    second = bench.session(far=other)
    wait_until(lambda: len(bench.running()) == 2)
    report = second.report()
    assert (report.state, report.levels, report.place) == ("trouble", {}, str(other))
    assert str(bench.far) in report.error
    threading.Event().wait(0.5)  # 25 looks
    bench.commit("a2")
    wait_until(lambda: len(first.report().levels) == 2)
    first.close()
    wait_until(lambda: len(second.report().levels) == 2)
    assert wait_for_state(second, "idle").error is None


def test_a_folder_that_is_removed_ends_the_process(bench):
    """Nobody could know of it any more; the handle begins anew."""
    transfer = bench.session()
    wait_for_state(transfer, "idle")
    first = bench.agent()
    subprocess.run(["rm", "-rf", str(bench.folder.root)], check=True)
    wait_until(lambda: bench.is_over(first))
    bench.commit("a1")
    wait_until(lambda: transfer.alive and bench.there() == {"a1"})


def test_a_lock_that_is_removed_ends_the_process(bench):
    """Another one could begin beside it."""
    transfer = bench.session()
    wait_for_state(transfer, "idle")
    first = bench.agent()
    bench.folder.lock.unlink()
    wait_until(lambda: bench.is_over(first))
    wait_until(lambda: transfer.alive and bench.running())


def test_nothing_is_written_or_asked_while_nothing_happens(bench):
    """Idle means idle: no report, no question, next to no time of the processor."""
    transfer = bench.session(options=Options(look_seconds=0.05, settle_seconds=0.05))
    bench.commit("a1")
    wait_until(lambda: transfer.report().levels)
    wait_for_state(transfer, "idle")
    threading.Event().wait(1.5)  # until no change can hide in the same tick of the file system's clock
    before = bench.folder.report.stat().st_mtime_ns, len(bench.journal()), processor_seconds(bench.agent())
    threading.Event().wait(2.0)
    after = bench.folder.report.stat().st_mtime_ns, len(bench.journal()), processor_seconds(bench.agent())
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 0.2  # 40 looks


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_far_side_is_tidied_when_nothing_else_is_to_be_done(bench):
    """Seldom, and a failure of it disturbs nothing."""
    bench.behave("untidy")
    transfer = bench.session(options=replaced(first_upkeep_seconds=0.0))
    bench.commit("a1")
    wait_until(lambda: transfer.report().last_upkeep)
    bench.commit("a2")
    wait_until(lambda: bench.there() == {"a1", "a2"})
    wait_for_state(transfer, "idle")
    assert bench.count("upkeep") == 1


def test_the_speed_is_measured_where_enough_was_sent(bench):
    """And the process that takes over goes on from it."""
    transfer = bench.session()
    bench.commit("a1", nbytes=10)
    wait_for_state(transfer, "idle")
    wait_until(lambda: transfer.report().levels)
    assert transfer.report().bytes_per_second is None
    bench.commit("a2", nbytes=3 << 20)
    speed = wait_until(lambda: transfer.report().bytes_per_second)
    assert speed > 1000
    next_one = bench.session()
    first = transfer.report().pid
    wait_until(lambda: next_one.report().pid != first)
    assert next_one.report().bytes_per_second == speed


def test_a_place_that_is_none_is_refused_at_once(bench):
    """The only error of a handle, in the call that gives it."""
    with pytest.raises(InvalidInputError):
        Transfer.start(bench.near, address="ftp://x", credentials=Credentials())


def test_a_folder_that_takes_no_files_is_trouble_and_no_error(bench):
    """The session still guards; every call of the handle returns, and says so."""
    (bench.near / "transfer").write_text("in the way")
    transfer = bench.session()
    assert transfer.report().state == "trouble"
    assert "cannot be started" in transfer.report().error
    assert not transfer.flush(deadline_seconds=0)
    transfer.poke()
    assert not transfer.close()


def test_a_report_is_a_document_that_others_can_read(bench):
    """Plain JSON, with the process that wrote it."""
    transfer = bench.session()
    wait_for_state(transfer, "idle")
    found = json.loads(bench.folder.report.read_text())
    assert found["state"] == "idle"
    assert found["pid"] == bench.agent()
    assert is_held(bench.folder.lock)
