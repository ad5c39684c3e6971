"""One save at a time, and no request is lost."""

import threading

import pytest

from keepstate._base.clock import SystemClock
from keepstate._capture import Memory
from keepstate._model.kernel import Cell
from keepstate._session import saving
from keepstate._session.guard import Guard, TakeAgain
from keepstate.errors import CaptureError


class Idle:
    """A kernel between cells whose loop turns when the test says so."""

    running = None

    def __init__(self):
        self.callbacks = []
        self.asked = threading.Event()

    def when_idle(self, callback):
        self.callbacks.append(callback)
        self.asked.set()
        return True

    def turn(self):
        assert self.asked.wait(10)
        self.asked.clear()
        self.callbacks.pop(0)()


class Busy(Idle):
    running = Cell(1, "long")

    def when_idle(self, callback):
        return False


class NoSafePoint:
    def request(self, callback, *, deadline_seconds, no_longer):
        until = SystemClock().monotonic() + deadline_seconds
        while SystemClock().monotonic() < until and not no_longer():
            threading.Event().wait(0.01)
        return False


class Studio:
    """Takes pictures that are finished when the test lets them."""

    def __init__(self):
        self.taken, self.troubles = [], []
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.again = self.made_ready = 0
        self.fails = None

    def make_ready(self):
        self.made_ready += 1

    def take(self, request, level, where):
        self.taken.append((request.reason, level))
        if self.fails:
            raise self.fails
        return self

    def finish(self):
        assert self.may_finish.wait(10)
        if self.again:
            self.again -= 1
            raise TakeAgain("something is gone")
        return f"snapshot {len(self.taken)}"

    def failed(self, error):
        self.troubles.append(error)


@pytest.fixture
def make():
    made = []

    def make(kernel, studio, patience=10.0):
        ids = iter(range(100))
        guard = Guard(
            studio,
            kernel,
            NoSafePoint(),
            new_id=lambda: str(next(ids)),
            patience_seconds=patience,
            clock=SystemClock(),
        )
        guard.start()
        made.append(guard)
        return guard

    yield make
    for guard in made:
        guard.close()


def test_a_request_waits_for_the_idle_loop(make):
    """Between cells the picture is taken on the kernel's own loop."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    request = guard.request("timer")
    kernel.turn()
    assert request.done.wait(10)
    assert studio.taken == [("timer", "cell")]
    assert request.snapshot == "snapshot 1"


def test_what_can_be_read_beforehand_is_while_a_moment_is_looked_for(make):
    """It is not on the time of the main thread; who takes the picture at once reads it then."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    assert guard.take_here("cell", "cell").done.wait(10)
    assert studio.made_ready == 0
    request = guard.request("timer")
    assert kernel.asked.wait(10)
    assert (studio.made_ready, len(studio.taken)) == (1, 1)
    kernel.turn()
    assert request.done.wait(10)


def test_what_cannot_be_read_beforehand_is_no_end_of_the_guard(monkeypatch):
    """The picture is taken without it, and whoever takes it reads it then."""

    def fail():
        raise MemoryError

    own = object.__new__(saving.Saving)
    own.clock, own.kernel = SystemClock(), Idle()
    own.make_ready()
    assert own._ready is not None
    monkeypatch.setattr(saving, "read_memory", fail)
    own.make_ready()
    assert own._ready is None


def test_what_was_read_a_while_ago_is_read_anew():
    """A cell may have taken all of the memory meanwhile."""
    memory = Memory(page_tables=1, resident=2, available=3, whole_group=False)
    ready = saving.Ready(5.0, memory)
    assert ready.is_fresh(5.0 + saving.READY_SECONDS / 2)
    assert not ready.is_fresh(5.0 + saving.READY_SECONDS * 2)


def test_requests_during_a_save_become_one_more(make):
    """Ten wishes while a save is being finished are one save after it, and each of them is answered."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    studio.may_finish.clear()
    first = guard.take_here("cell", "cell")
    later = [guard.request("timer") for _ in range(9)] + [guard.take_here("cell", "cell")]
    studio.may_finish.set()
    kernel.turn()
    for request in [first, *later]:
        assert request.done.wait(10)
    assert len(studio.taken) == 2
    assert {request.snapshot for request in later} == {"snapshot 2"}


def test_an_explicit_call_serves_the_request_that_waits(make):
    """A request that still looks for its moment is served by the picture that comes first."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    waiting = guard.request("timer")
    assert kernel.asked.wait(10)
    explicit = guard.take_here("manual", "statement", wait_for_turn=True)
    assert explicit.done.wait(10)
    assert waiting.done.wait(10)
    assert [level for _, level in studio.taken] == ["statement"]
    kernel.turn()  # the loop turns too late, and takes nothing
    assert len(studio.taken) == 1


def test_without_a_safe_point_the_picture_is_taken_at_any_moment(make):
    """When patience ends, a picture in the middle of library code is better than none."""
    studio = Studio()
    guard = make(Busy(), studio, patience=0.05)
    request = guard.request("timer")
    assert request.done.wait(10)
    assert studio.taken == [("timer", "operation")]


def test_a_picture_that_lacks_something_is_taken_again(make):
    """The request is answered by the second picture."""
    kernel, studio = Idle(), Studio()
    studio.again = 1
    guard = make(kernel, studio)
    request = guard.take_here("manual", "cell")
    kernel.turn()
    assert request.done.wait(10)
    assert request.snapshot == "snapshot 2"


def test_trouble_while_taking_is_remembered_and_the_guard_goes_on(make):
    """No error leaves the hook, and the next save works."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    studio.fails = CaptureError("no way")
    request = guard.take_here("cell", "cell")
    assert request.done.wait(10)
    assert request.error is studio.fails
    assert studio.troubles == [studio.fails]
    studio.fails = None
    again = guard.take_here("cell", "cell")
    assert again.done.wait(10)
    assert again.snapshot is not None


def test_an_interrupt_while_taking_reaches_the_caller_and_frees_the_guard(make):
    """Ctrl-C in the middle of a picture is the user's, and no later save waits for the lost one."""
    kernel, studio = Idle(), Studio()
    guard = make(kernel, studio)
    studio.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        guard.take_here("manual", "cell")
    studio.fails = None
    again = guard.take_here("manual", "cell")
    assert again.done.wait(10)
    assert again.snapshot is not None


def test_a_caller_who_stands_still_takes_the_picture_again_itself(make):
    """While it waits there is no safe point and no idle loop, so nobody else could before patience ends."""
    studio = Studio()
    studio.again = 1
    guard = make(Busy(), studio, patience=3600.0)
    request = guard.take_here("manual", "statement", wait_for_turn=True)
    guard.wait(request, "statement")
    assert request.snapshot == "snapshot 2"
    assert studio.taken == [("manual", "statement"), ("manual", "statement")]


def test_a_picture_that_can_never_be_completed_ends_as_an_error(make):
    """Taken three times in all, then it is told, and the next request is served."""
    kernel, studio = Idle(), Studio()
    studio.again = 3
    guard = make(kernel, studio)
    request = guard.take_here("manual", "cell")
    guard.wait(request, "cell")
    assert isinstance(request.error, CaptureError)
    assert "something is gone" in str(request.error)
    assert studio.troubles == [request.error]
    assert len(studio.taken) == 3
    later = guard.take_here("cell", "cell")
    assert later.done.wait(10)
    assert later.snapshot == "snapshot 4"


def test_a_wait_for_a_save_that_hangs_has_an_end(make):
    """The end of the interpreter does not depend on a store that answers."""
    studio = Studio()
    studio.may_finish.clear()
    guard = make(Idle(), studio)
    request = guard.take_here("exit", "cell")
    guard.wait(request, "cell", seconds=0.3)
    assert not request.done.is_set()
    studio.may_finish.set()
