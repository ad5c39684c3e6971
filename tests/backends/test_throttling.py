"""A place that counts calls is never asked more often than it bears."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keepstate._base.clock import SYSTEM_CLOCK, ManualClock
from keepstate.backends._throttling import LONGEST_PAUSE_SECONDS, Bucket, Throttled
from keepstate.errors import InvalidInputError, UnavailableError
from keepstate.testing import BackendSuite, Fault, Faulty


class TestThrottled(BackendSuite):
    many_objects = 100

    @pytest.fixture
    def backend(self, folder, jumping):
        return Throttled(
            folder, stop=threading.Event(), clock=jumping, per_second={"put": 2, "get": 3, "list": 0.5}
        )


class Promising:
    """A place that promises something else."""

    def __init__(self, backend, **promises):
        self.backend, self.properties = backend, replace(backend.properties, **promises)

    def __getattr__(self, name):
        return getattr(self.backend, name)


def throttled(backend, clock, **options):
    return Throttled(backend, stop=threading.Event(), clock=clock, **options)


def test_what_was_saved_up_is_spent_first(folder, jumping):
    """Then each call waits for its turn, and time without calls saves up again, but not more."""
    backend = throttled(folder, jumping, per_second={"put": 2.0}, burst_seconds=1.5)
    for number in range(6):
        backend.put(f"a/{number}", b"1")
    assert jumping.waits == [0.5, 0.5, 0.5]
    jumping.advance(1000)
    jumping.waits.clear()
    for number in range(6, 11):
        backend.put(f"a/{number}", b"1")
    assert jumping.waits == [0.5, 0.5]


def test_each_operation_has_its_own_turns(folder, jumping):
    """Those that nobody limits never wait."""
    backend = throttled(folder, jumping, per_second={"put": 1.0, "get": 1.0}, burst_seconds=1)
    backend.put("a", b"1")
    backend.get("a")
    for _ in range(100):
        backend.stat("a")
        backend.list()
        backend.delete("b")
    assert jumping.waits == []
    backend.put("b", b"1")
    backend.get("a")
    backend.get("a")
    assert jumping.waits == [1.0, 1.0]


def test_a_rate_below_one_lets_the_first_call_through(folder, jumping):
    """One call is always saved up."""
    backend = throttled(folder, jumping, per_second={"list": 0.1}, burst_seconds=1)
    backend.list()
    assert jumping.waits == []
    backend.list()
    assert jumping.waits == [10.0]


def test_the_rate_is_what_the_place_promises(folder, jumping):
    """Without other words, puts are as many as its properties say."""
    backend = throttled(Promising(folder, puts_per_second=4.0), jumping, burst_seconds=0.25)
    for number in range(3):
        backend.put(f"a/{number}", b"1")
        backend.get(f"a/{number}")
    assert jumping.waits == [0.25, 0.25]
    backend = throttled(folder, jumping)
    for number in range(100):
        backend.put(f"b/{number}", b"1")
    assert jumping.waits == [0.25, 0.25]


def test_calls_cost_units(folder, jumping):
    """All kinds of calls empty one bucket, each by its cost; it holds the dearest call at least."""
    place = Promising(folder, units={"put": 50, "get": 200})
    backend = throttled(place, jumping, units_per_second=100.0, burst_seconds=1)
    backend.put("a", b"1")
    backend.stat("a")
    assert jumping.waits == []
    backend.get("a")
    assert jumping.waits == [0.5]
    backend.get("a")
    backend.put("b", b"1")
    assert jumping.waits == [0.5, 2.0, 0.5]


def test_all_threads_together_keep_to_the_rate(folder):
    """On a real clock, too: 4 threads that make 40 calls at 200 a second, 10 of them saved up."""
    began = SYSTEM_CLOCK.monotonic()
    backend = throttled(folder, SYSTEM_CLOCK, per_second={"stat": 200.0}, burst_seconds=0.05)
    folder.put("a", b"1")
    with ThreadPoolExecutor(4) as pool:
        [*pool.map(lambda _: backend.stat("a"), range(40))]
    assert SYSTEM_CLOCK.monotonic() - began >= 30 / 200


def test_a_flag_ends_the_wait(folder):
    """With the clock standing still, the one who waits is told, and its turn is not lost."""
    clock, stop = ManualClock(), threading.Event()
    backend = Throttled(folder, stop=stop, clock=clock, per_second={"put": 1.0}, burst_seconds=1)
    backend.put("a", b"1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backend.put, "b", b"1")
        stop.set()
        with pytest.raises(UnavailableError, match="stopped"):
            waiting.result(60)
    clock.advance(1)
    backend.put("c", b"1")
    assert sorted(item.name for item in folder.list()) == ["a", "c"]


def test_what_one_is_asked_to_wait_holds_up_all(folder, jumping):
    """After an answer that names seconds, no call of any kind is made before they are over."""
    faulty = Faulty(folder, [Fault("put", UnavailableError("too many", retry_after_seconds=7.0))])
    backend = throttled(faulty, jumping)
    with pytest.raises(UnavailableError):
        backend.put("a", b"1")
    assert jumping.waits == []
    backend.list()
    backend.delete("a")
    assert jumping.waits == [7.0]


def test_a_long_pause_is_left_to_the_caller(folder, jumping):
    """Nobody is held up for a day."""
    faulty = Faulty(folder, [Fault("put", UnavailableError("tomorrow", retry_after_seconds=86400.0))])
    backend = throttled(faulty, jumping)
    with pytest.raises(UnavailableError):
        backend.put("a", b"1")
    backend.list()
    assert jumping.waits == [LONGEST_PAUSE_SECONDS]


@pytest.mark.parametrize(("per_second", "most"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_a_bucket_that_never_fills_is_refused(per_second, most):
    """Whoever took from it would wait for ever."""
    with pytest.raises(InvalidInputError):
        Bucket(per_second=per_second, most=most, clock=ManualClock())
