"""A picture by fork: what it holds, and what the user's process does not notice."""

from __future__ import annotations

import os
import signal
import threading

from keepstate._base.clock import SYSTEM_CLOCK


def test_holds_the_moment(each_python):
    """What is changed after the picture was taken is not in it."""
    assert each_python("""
        state = {"n": 1}
        taken = take(lambda: state)
        state["n"] = 2
        show(pickle.loads(taken.finish()))
    """) == {"n": 1}


def test_is_nobodys_child(each_python):
    """The user's os.wait() never sees a process of ours, however soon it is called."""
    assert (
        each_python("""
        seen = 0
        for _ in range(100):
            taken = take(lambda: 1)
            try:
                os.wait()
                seen += 1
            except ChildProcessError:
                pass
            taken.finish()
        show(seen)
    """)
        == 0
    )


def test_leaves_the_users_children_alone(scenario):
    """A child of the user's that ends meanwhile is waited for by the user, with its own status."""
    assert (
        scenario("""
        import subprocess
        users = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        for _ in range(20):
            take(lambda: 1).finish()
        show(users.wait())
    """)
        == 7
    )


def test_spares_a_handler_for_children(scenario):
    """A handler for SIGCHLD is called for the user's children and not for ours."""
    assert scenario(
        """
        calls = []
        def handler(number, frame):
            calls.append(os.waitpid(-1, os.WNOHANG)[0] > 0)   # raises if there is no child
        signal.signal(signal.SIGCHLD, handler)
        for _ in range(50):
            take(lambda: 1).finish()
        ours = len(calls)
        if os.fork() == 0:
            os._exit(0)
        while not calls:
            time.sleep(0.01)
        show([ours, calls])
    """,
        quiet=False,
    ) == [0, [True]]


def test_leaves_signals_as_they_were(scenario):
    """Handlers, the mask, interruptibility and the wake-up descriptor are the same afterwards."""
    assert (
        scenario("""
        import socket, ctypes
        a, b = socket.socketpair(); b.setblocking(False)
        signal.set_wakeup_fd(b.fileno())
        signal.signal(signal.SIGUSR1, lambda *_: None); signal.siginterrupt(signal.SIGUSR1, False)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        def action(number):
            data = ctypes.create_string_buffer(256); ctypes.CDLL(None).sigaction(number, None, data)
            return data.raw[:16] + data.raw[136:140]     # handler, the kernel's mask, flags
        def state():
            return ([signal.getsignal(n) for n in sorted(signal.valid_signals())],
                    [action(n) for n in range(1, 31)], signal.pthread_sigmask(signal.SIG_BLOCK, []))
        before = state()
        take(lambda: 1).finish()
        show(before == state() and signal.set_wakeup_fd(-1) == b.fileno())
    """)
        is True
    )


def test_leaves_the_interpreter_as_it_was(scenario):
    """Random streams, warning filters, tracers, garbage collection and streams are the same afterwards."""
    assert (
        scenario("""
        import gc, random
        import numpy as np
        random.seed(1); np.random.seed(1); sys.last_value = last = ValueError()
        tracer = lambda *_: None
        sys.settrace(tracer); sys.setprofile(tracer)
        def state():
            return (random.getstate(), repr(np.random.get_state()), list(warnings.filters), gc.isenabled(),
                    gc.get_freeze_count(), sys.gettrace(), sys.getprofile(), sys.stdout, sys.last_value,
                    os.nice(0), os.getsid(0), open("/proc/self/oom_score_adj").read())
        before = state()
        data = random_states.read()
        take(lambda: 1).finish()
        show(state() == before)
        sys.settrace(None); sys.setprofile(None)
    """)
        is True
    )


def test_opens_and_leaks_nothing(scenario):
    """The descriptors of the user's process are the same afterwards, also after a cancelled picture."""
    assert (
        scenario("""
        take(lambda: 1).finish()
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(20):
            take(lambda: 1).finish()
            take(lambda: time.sleep(60)).cancel()
        show(before == sorted(os.listdir("/proc/self/fd")))
    """)
        is True
    )


def test_holds_no_pipe_of_the_user(scenario):
    """The reader of a pipe sees its end when the user closes it, while a picture is still held."""
    assert scenario("""
        reader, writer = os.pipe()
        taken = take(lambda: time.sleep(30))
        time.sleep(0.3)
        os.close(writer)
        began = time.monotonic()
        data = os.read(reader, 1)
        taken.cancel()
        show([data == b"", time.monotonic() - began < 5])
    """) == [True, True]


def test_child_keeps_to_itself(each_python):
    """The child has its own session, default signals, no tracer, no output and only its own descriptors."""
    facts = each_python("""
        import logging
        logging.basicConfig()
        def facts():
            print("to nobody"); sys.stderr.write("to nobody"); os.write(1, b"to nobody"); logging.error("no")
            import gc
            return dict(
                session=os.getsid(0) == os.getpid(), nice=os.nice(0), gc=gc.isenabled(),
                oom=open("/proc/self/oom_score_adj").read().strip(),
                trace=sys.gettrace() is None and sys.getprofile() is None,
                usr1=signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL,
                interrupt=signal.getsignal(signal.SIGINT) is signal.SIG_DFL,
                mask=len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                wakeup=signal.set_wakeup_fd(-1),
                files=len(os.listdir("/proc/self/fd")),
                threads=len(os.listdir("/proc/self/task")))
        opened = [open(os.devnull) for _ in range(20)]
        signal.signal(signal.SIGUSR1, lambda *_: None)
        sys.settrace(lambda *_: None); sys.setprofile(lambda *_: None)
        found = look(facts)
        sys.settrace(None); sys.setprofile(None)
        show(found)
    """)
    assert facts == {
        "session": True, "nice": 19, "gc": False, "oom": "1000", "trace": True, "usr1": True,
        "interrupt": True, "mask": 0, "wakeup": -1, "files": 6, "threads": 1,
    }  # fmt: skip


def test_nothing_returns_to_the_users_code(scenario):
    """Whatever the work raises, the child ends, and the parent is told."""
    assert scenario("""
        mark = os.getpid()
        told = []
        for error in (ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
            def fail():
                raise error
            try:
                take(fail).finish()
            except ChildFailed as failure:
                told.append(str(failure))
        assert os.getpid() == mark
        show(told)
    """) == ["ValueError: bad", "SystemExit: 3", "KeyboardInterrupt: ", "GeneratorExit: "]


def test_a_lock_held_at_the_fork_is_told_by_name(scenario):
    """A child that waits for a lock which nobody can release is ended, and what it worked on is named."""
    assert (
        scenario("""
        lock = threading.Lock()
        class Locked:
            def __reduce__(self):
                with lock:
                    return (Locked, ())
        kept = Locked()
        lock.acquire()
        taken = take(lambda: kept, name="kept", limits=Limits(stuck_seconds=1))
        try:
            taken.finish()
        except ChildStuck as stuck:
            pid = taken._watch._channel.board.read().pid
            time.sleep(0.2)
            show([stuck.name, os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split()[2]])
    """)[0]
        == "kept"
    )


def test_computing_for_ever_is_ended_too(scenario):
    """A child that only burns processor time is given longer, but not for ever."""
    assert scenario("""
        def spin():
            while True:
                pass
        taken = take(spin, name="spin", limits=Limits(stuck_seconds=0.2, runaway_factor=5))
        began = time.monotonic()
        try:
            taken.finish()
        except ChildStuck as stuck:
            show([stuck.name, time.monotonic() - began > 0.9])
    """) == ["spin", True]


def test_slow_is_not_stuck(scenario):
    """A child that reports, or computes, for longer than the limit is left to finish."""
    assert (
        scenario("""
        class Slow(Keep):
            def prepare(self, tools):
                for done in range(8):
                    time.sleep(0.1)
                    tools.progress("slow", done)
                end = time.process_time() + 0.6
                while time.process_time() < end:
                    pass
            def write(self, tools):
                return b"done"
        show(fork.take(Slow(None), reason="", limits=Limits(stuck_seconds=0.4)).finish().decode())
    """)
        == "done"
    )


def test_a_killed_child_is_told(scenario):
    """A child that the system kills is an error that says so, at once."""
    assert "killed" in scenario("""
        taken = take(lambda: time.sleep(60))
        time.sleep(0.2)
        os.kill(taken._watch._channel.board.read().pid, signal.SIGKILL)
        try:
            taken.finish()
        except ChildFailed as failure:
            show(str(failure))
    """)


def test_cancel_ends_the_child(scenario):
    """A cancelled picture leaves no process behind."""
    assert (
        scenario("""
        taken = take(lambda: time.sleep(60))
        time.sleep(0.2)
        pid = taken._watch._channel.board.read().pid
        taken.cancel()
        end = time.monotonic() + 5
        def alive():
            try:
                return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
            except OSError:
                return False
        while alive() and time.monotonic() < end:
            time.sleep(0.01)
        show(alive())
    """)
        is False
    )


def test_outlives_the_kernel(scenario, tmp_path):
    """When the user's process is killed, group and all, the child goes on and completes its work."""
    marker = tmp_path / "written"
    process = scenario.start(
        f"""
        class Slow(Keep):
            def write(self, tools):
                time.sleep(0.5)
                tools.progress("x", 1)
                with open({str(marker)!r} + ".part", "w") as file:
                    file.write(str(tools.stall_seconds() > 0))
                os.rename({str(marker)!r} + ".part", {str(marker)!r})
                return b"x" * 1_000_000     # more than a pipe holds, and nobody reads it
        taken = fork.take(Slow(lambda: 1), reason="")
        print("taken", flush=True)
        time.sleep(60)
        """,
        start_new_session=True,
    )
    assert process.stdout.readline() == "taken\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    end = SYSTEM_CLOCK.monotonic() + 20
    while not marker.exists() and SYSTEM_CLOCK.monotonic() < end:
        SYSTEM_CLOCK.wait(threading.Event(), 0.02)
    assert marker.read_text() == "True"


def test_has_left_the_group_when_the_fork_returns(scenario):
    """At no moment after the fork does a kill of the kernel's whole group meet the child."""
    assert (
        scenario("""
        def is_still_with_us():
            taken = take(lambda: 1)
            pid = taken._watch._channel.board.read().pid
            group = os.getpgid(pid)
            taken.finish()
            return group == os.getpgrp()
        show(sum(is_still_with_us() for _ in range(30)))
    """)
        == 0
    )


def test_both_sides_know_the_stall(scenario):
    """The child is told how long the main thread was held, and it is what the parent measured."""
    parent, child = scenario("""
        class Stall(Keep):
            def write(self, tools):
                return repr(tools.stall_seconds()).encode()
        taken = fork.take(Stall(lambda: 1), reason="")
        show([taken.stall_seconds, float(taken.finish())])
    """)
    assert parent == child > 0


def test_the_parent_learns_how_long_the_child_has_computed(scenario):
    """With all its threads, since the fork: what this process had computed before is not in it."""
    before, took = scenario("""
        from keepstate._base.clock import processor_seconds
        while processor_seconds() < 0.5:
            pass
        class Busy(Keep):
            def write(self, tools):
                since = processor_seconds()
                while processor_seconds() - since < 0.05:
                    pass
                return b""
        taken = fork.take(Busy(lambda: 1), reason="")
        before = taken.processor_seconds
        taken.finish()
        show([before, taken.processor_seconds])
    """)
    assert before == 0
    assert 0.05 <= took < 0.5


def test_a_large_answer_comes_whole(scenario):
    """An answer of many megabytes comes through as it was sent."""
    assert (
        scenario("""
        data = os.urandom(5_000_000)
        class Large(Keep):
            def write(self, tools):
                return data
        show(fork.take(Large(lambda: 1), reason="").finish() == data)
    """)
        is True
    )


def test_beside_busy_threads_no_child_hangs(each_python):
    """Threads that fight for the GIL do not leave the child waiting for one of them.

    Here one child of some hundred hung when a bytecode ran between the fork and its after-fork function.
    """
    assert (
        each_python("""
        going = True
        def busy():
            while going:
                sum(range(500))
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        def load():
            import decimal, pickletools     # not loaded before: takes the lock of the dynamic loader
            return 1
        found = sum(look(load) for _ in range(80))
        going = False
        show(found)
    """)
        == 80
    )


def test_no_hang_while_threads_are_started(each_python):
    """Pictures taken at safe points of a loop that submits to a thread pool never hang."""
    assert each_python("""
        from concurrent.futures import ThreadPoolExecutor
        count = 0
        hunter = Hunter(globals(), lambda: count, 40)
        hunter.start()
        while hunter.going:
            with ThreadPoolExecutor(4) as pool:
                for _ in range(8):
                    pool.submit(int)
                    count += 1
        show([len(hunter.found), repr(hunter.points.trouble)])
    """) == [40, "None"]


def test_from_our_own_thread_at_any_moment(each_python):
    """While the main thread is in C code, a picture can be taken from another thread."""
    assert (
        each_python("""
        found = []
        def other():
            for _ in range(20):
                found.append(look(lambda: 5))
        thread = threading.Thread(target=other)
        thread.start()
        while thread.is_alive():
            sorted(range(200_000), key=str)
        show(found)
    """)
        == [5] * 20
    )


def test_threads_that_the_child_starts_never_hang(each_python):
    """Beside threads that fight for the GIL and for memory, each child starts its own, and they end."""
    assert each_python("""
        from concurrent.futures import ThreadPoolExecutor
        going = True
        def busy():
            while going:
                [bytes(n * 997) for n in range(300)]
        for _ in range(2):
            threading.Thread(target=busy, daemon=True).start()
        def work():
            import hashlib
            with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as other:
                done = list(pool.map(lambda n: len(hashlib.sha1(bytes(n * 9999)).digest()), range(40)))
                return sum(done) + other.submit(len, [threading.Thread(target=int).start()]).result()
        found = [look(work) for _ in range(15)]
        going = False
        show(sorted(set(found)) + [len(found)])
    """) == [801, 15]


def test_openmp_in_the_child_uses_one_thread(scenario):
    """After parallel work in the parent, torch works in the child instead of waiting for lost threads."""
    assert scenario("""
        try:
            import torch
        except ImportError:
            show("skip")
            raise SystemExit
        torch.set_num_threads(2)
        torch.rand(1000, 1000) @ torch.rand(1000, 1000)
        big = torch.ones(3_000_000)
        (big * 2).sum()
        show(look(lambda: float((big.clone() * 2).sum())))
    """) in ("skip", 6_000_000.0)


def test_refused_by_the_system_it_is_copied_between_cells(scenario):
    """When no process can be made, the picture is staged between cells, and an error inside one."""
    shown = scenario("""
        import resource
        take(lambda: 1).finish()
        show("skip")
        if os.getuid() == 0:
            os.setresuid(65534, 65534, 0)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        told = []
        for level in ("cell", "statement"):
            choice = Choice("fork", "a test", level)
            try:
                taken = choice.take(Keep(lambda: 1))
                told.append([taken.strategy, taken.reason, pickle.loads(taken.finish())])
            except ForkRefused as error:
                told.append(str(error))
        show(told)
    """)
    assert shown[0][0] == "stage"
    assert "refused" in shown[0][1]
    assert shown[0][2] == 1
    assert "refused" in shown[1]


def test_a_process_of_the_users_does_not_end_the_picture(scenario):
    """A forked process of the user's that ends with a copy of the picture in hand leaves the child alone."""
    assert (
        scenario(
            """
        taken = take(lambda: time.sleep(0.5) or 5)
        if os.fork() == 0:
            del taken
            os._exit(0)
        os.wait()
        show(pickle.loads(taken.finish()))
    """,
            quiet=False,
        )
        == 5
    )


def test_what_is_dropped_is_ended(scenario):
    """A picture that nobody finishes is ended with the object."""
    assert (
        scenario("""
        taken = take(lambda: time.sleep(60))
        board = taken._watch._channel.board
        before = len(os.listdir("/proc/self/fd"))
        del taken
        show(before - len(os.listdir("/proc/self/fd")))
    """)
        == 1
    )


def test_gives_up_when_memory_is_short(scenario):
    """A child that sees memory running out ends at its next report, also inside a user's except clause."""
    assert "short" in scenario("""
        from keepstate._capture import child
        class Careless(Keep):
            def prepare(self, tools):
                try:
                    tools.progress("x", 1)
                except Exception:
                    pass
            def write(self, tools):
                return b"went on"
        child.floor_bytes = lambda limit: 1 << 60     # as if the machine were full
        try:
            fork.take(Careless(None), reason="").finish()
        except MemoryShort as error:
            show(str(error))
    """)


def test_running_out_of_memory_is_told(scenario):
    """A child that cannot allocate says so."""
    assert "memory" in scenario("""
        import resource
        def much():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            return bytes(4 << 30)
        try:
            take(much).finish()
        except MemoryShort as error:
            show(str(error))
    """)
