"""The timer follows its plan on the real APScheduler, whatever the plan, the clock or the user does."""

import queue
import subprocess
import sys
import textwrap
import threading
from datetime import datetime, timedelta

import apscheduler.schedulers.base
import pytest

from keepstate._base.clock import SYSTEM_CLOCK, SystemClock
from keepstate._session import timer as module
from keepstate._session.timer import THREAD, TOLERANCE_SECONDS, Timer

HOUR = 3600.0
PATIENCE = 30
"""Seconds for what comes at once; only a test that fails takes so long."""


class Bench:
    """A timer with a plan of moments, which a test may change, and all that it did."""

    def __init__(self, clock=SYSTEM_CLOCK):
        self.moments = {}
        self.rung = queue.Queue()
        self.told = queue.Queue()
        self.asked = 0
        self.on_plan = lambda: None
        self.on_ring = lambda name: None
        self.timer = Timer(self._plan, self._ring, trouble=self.told.put, clock=clock)

    def at(self, **seconds):
        """Plan alarms in so many seconds from now, ``None``: no such alarm; then poke."""
        now = SYSTEM_CLOCK.monotonic()
        for name, left in seconds.items():
            if left is None:
                self.moments.pop(name, None)
            else:
                self.moments[name] = now + left
        self.timer.poke()

    def _plan(self):
        self.asked += 1
        self.on_plan()
        now = SYSTEM_CLOCK.monotonic()
        return {name: moment - now for name, moment in dict(self.moments).items()}

    def _ring(self, name):
        moment = self.moments.pop(name, None)
        late = None if moment is None else SYSTEM_CLOCK.monotonic() - moment
        self.rung.put((name, late))
        self.on_ring(name)

    def next(self):
        """Wait for an alarm and give its name."""
        return self.rung.get(timeout=PATIENCE)[0]

    def sleeps(self, seconds=None):
        """Tell whether its thread waits, for a poke or so many *seconds* (``None``: for ever)."""
        frame = sys._current_frames().get(self.thread.ident)
        in_wait = frame is not None and frame.f_code.co_filename == threading.__file__
        while frame is not None and frame.f_code.co_name != "_main_loop":
            frame = frame.f_back
        return in_wait and frame is not None and frame.f_locals["wait_seconds"] == seconds

    @property
    def thread(self):
        (found,) = [thread for thread in threading.enumerate() if thread.name == THREAD]
        return found


@pytest.fixture
def bench():
    """Start timers; all are stopped, and their threads gone, in the end."""
    made = []

    def make(**options):
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        one.timer.stop()
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def wait_until(holds):
    until = SYSTEM_CLOCK.monotonic() + PATIENCE
    while not holds():
        assert SYSTEM_CLOCK.monotonic() < until
        threading.Event().wait(0.005)


def test_alarms_ring_in_their_order_and_not_before_their_time(bench):
    """Each once, on the timer's own thread, which is a daemon of a name that says whose it is."""
    one = bench()
    one.at(third=0.3, first=0.1, second=0.2, never=HOUR)
    one.timer.start()
    threads = []
    one.on_ring = lambda name: threads.append(threading.current_thread())
    rung = [one.rung.get(timeout=PATIENCE) for _ in range(3)]
    assert [name for name, _ in rung] == ["first", "second", "third"]
    assert min(late for _, late in rung) >= -TOLERANCE_SECONDS
    wait_until(lambda: len(threads) == 3)
    assert set(threads) == {one.thread}
    assert one.thread.daemon
    assert one.rung.empty()


def test_an_alarm_that_was_moved_rings_at_its_new_time(bench):
    """Nearer, farther, or not at all: the plan that was asked last is followed."""
    one = bench()
    one.timer.start()
    one.at(nearer=HOUR, farther=1.0, gone=1.0)
    wait_until(lambda: len(one.timer._jobs) == 3)
    one.at(nearer=0.2, farther=HOUR, gone=None, last=1.3)
    assert [one.next(), one.next()] == ["nearer", "last"]
    assert one.rung.empty()


def test_an_alarm_may_plan_the_next_one(bench):
    """The plan is asked again after each of them, without a poke."""
    one = bench()
    one.timer.start()
    left = ["b", "c"]

    def again(name):
        if left:
            one.moments[left.pop(0)] = SYSTEM_CLOCK.monotonic()

    one.on_ring = again
    one.at(a=0.0)
    assert [one.next() for _ in range(3)] == ["a", "b", "c"]


def test_without_an_alarm_its_thread_sleeps_until_it_is_poked(bench):
    """No time limit on its wait, so no wakeup: a quiet notebook costs nothing."""
    one = bench()
    one.timer.start()
    wait_until(one.sleeps)
    one.at(a=0.0)
    assert one.next() == "a"
    wait_until(one.sleeps)


def test_with_an_alarm_far_away_it_wakes_seldom(bench):
    """The wait is the longest one that is allowed, and nothing spins."""
    one = bench()
    one.moments["far"] = SYSTEM_CLOCK.monotonic() + HOUR
    one.timer.start()
    wait_until(lambda: one.sleeps(module.LONGEST_SLEEP_SECONDS))
    assert one.asked <= 3


def test_an_error_of_an_alarm_is_told_and_the_next_one_rings(bench):
    """Whatever an alarm raises, the thread lives."""
    one = bench()
    one.timer.start()

    def fail(name):
        if name != "fine":
            raise {"a": ValueError, "b": MemoryError}[name](name)

    one.on_ring = fail
    one.at(a=0.0, b=0.1, fine=0.2)
    assert [one.next() for _ in range(3)] == ["a", "b", "fine"]
    assert [str(one.told.get(timeout=PATIENCE)) for _ in range(2)] == ["a", "b"]
    assert one.told.empty()


def test_an_error_of_the_plan_is_told_and_it_is_asked_again_by_itself(bench, monkeypatch):
    """A variable may be bound in the very moment in which they are looked through: no cell need poke it."""
    monkeypatch.setattr(module, "LONGEST_SLEEP_SECONDS", 0.05)
    one = bench()
    failing = [RuntimeError("dictionary changed size during iteration")] * 3

    def fail():
        if failing:
            raise failing.pop()

    one.on_plan = fail
    one.moments["a"] = SYSTEM_CLOCK.monotonic()
    one.timer.start()
    one.timer.poke()
    assert one.next() == "a"
    assert "changed size" in str(one.told.get(timeout=PATIENCE))


def test_an_error_of_the_plan_leaves_the_alarms_that_stand(bench):
    """What was planned before rings at its time, although nobody can say now whether it should."""
    one = bench()
    one.timer.start()
    one.at(a=0.3)
    wait_until(lambda: one.timer._jobs)
    one.on_plan = lambda: {}["no plan"]
    one.timer.poke()
    assert one.next() == "a"


def test_stop_does_not_wait_long_for_an_alarm_that_is_under_way(bench):
    """A server that hangs must not hold up the end of a kernel; what was due after it rings no more."""
    one = bench()
    one.timer.start()
    freed = threading.Event()
    one.on_ring = lambda name: freed.wait(PATIENCE)
    one.at(a=0.0, b=0.0)
    one.next()
    thread = one.thread
    one.timer.stop()
    assert thread.is_alive()
    assert not freed.is_set()
    freed.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert one.rung.empty()


def test_an_alarm_may_stop_the_timer(bench):
    """Its own thread is not waited for, and no error is told."""
    one = bench()
    one.timer.start()
    one.on_ring = lambda name: one.timer.stop()
    thread = one.thread
    one.at(a=0.0, b=0.01)
    one.next()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert one.rung.empty()
    assert one.told.empty()


def test_a_stop_while_a_job_is_run_ends_its_thread_in_silence(bench, monkeypatch):
    """The scheduler is stopped by another thread between a job and its removal: nothing reaches stderr."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    one = bench()

    class Due(list):
        def append(self, name):
            super().append(name)
            one.timer._scheduler.shutdown(wait=False)  # what a stop elsewhere has done by now

    one.timer._due = Due()
    one.at(now=0)
    one.timer.start()
    thread = one.timer._scheduler.thread
    thread.join(PATIENCE)
    assert (raised, thread.is_alive()) == ([], False)


def test_after_its_end_nothing_rings_and_nothing_is_refused(bench):
    """stop() leaves no thread; it and poke() may be called again, or without a start."""
    one = bench()
    one.timer.stop()
    one.timer.poke()
    one.timer.start()
    one.at(a=HOUR)
    one.timer.stop()
    assert THREAD not in [thread.name for thread in threading.enumerate()]
    one.at(a=0.0)
    one.timer.stop()
    assert one.rung.empty()


def test_an_alarm_that_came_nearer_unnoticed_rings_before_long(bench, monkeypatch):
    """After a machine was suspended, much less is left than when the wait began, and nobody has poked."""
    monkeypatch.setattr(module, "LONGEST_SLEEP_SECONDS", 0.05)
    one = bench()
    one.timer.start()
    one.at(a=HOUR)
    wait_until(lambda: one.timer._jobs)
    one.moments["a"] -= HOUR
    assert one.next() == "a"


class Settable(SystemClock):
    """The machine's clocks, of which a test sets the wall clock."""

    def __init__(self):
        self.ahead = timedelta(0)

    def utc_now(self):
        return super().utc_now() + self.ahead


@pytest.fixture
def settable(monkeypatch):
    """A wall clock that APScheduler reads as well."""
    clock = Settable()

    class Wall(datetime):
        @classmethod
        def now(cls, tz=None):
            return clock.utc_now().astimezone(tz)

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Wall)
    return clock


def test_a_wall_clock_that_is_set_back_delays_no_alarm(bench, settable):
    """A machine may learn the time late; the plan is in seconds from now, whatever the date."""
    one = bench(clock=settable)
    one.timer.start()
    one.at(a=0.5)
    wait_until(lambda: one.timer._jobs)
    settable.ahead = timedelta(hours=-5)
    name, late = one.rung.get(timeout=PATIENCE)
    assert name == "a"
    assert late >= -TOLERANCE_SECONDS


def test_a_wall_clock_that_is_set_forward_makes_no_alarm_ring_again_and_again(bench, settable, monkeypatch):
    """One may ring early; then it is planned anew, by the seconds that are left."""
    monkeypatch.setattr(module, "LONGEST_SLEEP_SECONDS", 0.05)
    one = bench(clock=settable)
    one.timer.start()
    moment = SYSTEM_CLOCK.monotonic() + HOUR
    one.on_ring = lambda name: one.moments.setdefault("far", moment)
    one.moments["far"] = moment
    one.at(soon=0.2)
    wait_until(lambda: len(one.timer._jobs) == 2)
    settable.ahead = timedelta(hours=5)
    rung = [one.next()]
    while rung[-1] != "last":
        one.at(last=0.2)
        rung.append(one.next())
    assert rung.count("far") <= 1
    assert rung.count("soon") == 1


def test_a_plan_that_always_has_something_due_does_not_spin(bench):
    """Between two rounds the thread rests, however often it is told that now is the time."""
    one = bench()
    one.on_plan = lambda: one.moments.update(always=0.0)
    began = SYSTEM_CLOCK.monotonic()
    one.timer.start()
    assert [one.next() for _ in range(10)] == ["always"] * 10
    assert SYSTEM_CLOCK.monotonic() - began >= 9 * module.SHORTEST_SLEEP_SECONDS


def test_nothing_is_logged_or_printed(tmp_path):
    """Not at any level, not by APScheduler, not when everything fails: it would stand in the user's cell."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import logging, sys, threading
            if sys.argv[1] == "chatty":
                logging.basicConfig(level=logging.DEBUG)
            from keepstate._session.timer import Timer
            told, done = [], threading.Event()
            def plan():
                if len(told) >= 3: raise ValueError("the plan")
                return {"a": 0.0}
            def ring(name):
                raise ValueError("the alarm")
            def trouble(error):
                told.append(str(error))
                if told[-1] == "the plan": done.set()
            timer = Timer(plan, ring, trouble=trouble)
            timer.start()
            assert done.wait(60)
            timer.stop()
            assert told[:3] == ["the alarm"] * 3, told
            """
        )
    )
    for how in ("chatty", "quiet"):
        done = subprocess.run(
            [sys.executable, str(script), how], capture_output=True, text=True, timeout=120, check=True
        )
        assert (done.stdout, done.stderr) == ("", "")
