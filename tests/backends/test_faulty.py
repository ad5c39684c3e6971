"""A place goes wrong exactly as it was told to, and otherwise not at all."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keepstate._base.clock import ManualClock
from keepstate.errors import InvalidInputError, NotFoundError, UnavailableError
from keepstate.testing import BackendSuite, Fault, Faulty

BUSY = UnavailableError("busy", retry_after_seconds=3.0)


class TestWithoutFaults(BackendSuite):
    many_objects = 100

    @pytest.fixture
    def backend(self, folder):
        return Faulty(folder)


class TestWithLaggingLists(BackendSuite):
    """Objects are missing from two listings each, and the place admits that."""

    many_objects = 10

    @pytest.fixture
    def backend(self, folder):
        class Admitting(Faulty):
            @property
            def properties(self):
                return replace(super().properties, listing_delay_seconds=30.0)

        return Admitting(folder, [Fault("put", times=None, hides_from_lists=2)])


def test_an_error_comes_so_many_times(folder):
    """After the calls that go well, with the calls that it is meant for, as the error that was given."""
    faulty = Faulty(folder, [Fault("put", BUSY, after=1, times=2, name_contains=".pack")])
    faulty.put("1.pack", b"1")
    faulty.put("other", b"1")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="busy") as raised:
            faulty.put("2.pack", b"1")
        assert raised.value.retry_after_seconds == 3.0
        assert raised.value is not BUSY
    faulty.put("2.pack", b"1")
    assert [name for _, name in faulty.calls] == ["1.pack", "other", "2.pack", "2.pack", "2.pack"]


def test_a_fault_may_be_for_any_call_and_for_all(folder):
    """Until the place is repaired by a new one."""
    faulty = Faulty(folder, [Fault("any", BUSY, times=None)])
    for call in (
        lambda: faulty.put("a", b"1"),
        lambda: faulty.get("a"),
        lambda: faulty.stat("a"),
        lambda: faulty.list(),
        lambda: faulty.delete("a"),
    ):
        with pytest.raises(UnavailableError):
            call()
    assert [operation for operation, _ in faulty.calls] == ["put", "get", "stat", "list", "delete"]


@pytest.mark.parametrize("before", [True, False])
def test_a_fault_comes_before_the_effect_or_after_it(folder, before):
    """In the second case only the answer is lost."""
    folder.put("old", b"1")
    faulty = Faulty(
        folder, [Fault("put", BUSY, before_effect=before), Fault("delete", BUSY, before_effect=before)]
    )
    with pytest.raises(UnavailableError):
        faulty.put("new", b"1")
    with pytest.raises(UnavailableError):
        faulty.delete("old")
    assert {item.name for item in folder.list()} == ({"old"} if before else {"new"})


def test_an_upload_is_lost(folder):
    """The put returns, and nothing is there."""
    faulty = Faulty(folder, [Fault("put", loses=True)])
    faulty.put("a", b"1")
    with pytest.raises(NotFoundError):
        faulty.get("a")


def test_a_listing_lags_behind(folder):
    """The object can be read at once, and is missing from the first listings that would have it."""
    faulty = Faulty(folder, [Fault("put", hides_from_lists=2)])
    faulty.put("a/b", b"1")
    faulty.put("a/c", b"1")
    assert bytes(faulty.get("a/b")) == b"1"
    assert [*faulty.list("none/")] == []
    assert [sorted(item.name for item in faulty.list()) for _ in range(3)] == [
        ["a/c"],
        ["a/c"],
        ["a/b", "a/c"],
    ]


def test_an_answer_is_cut(folder):
    """It is shorter than what was asked for, and never shorter than nothing."""
    folder.put("a", b"some bytes")
    faulty = Faulty(folder, [Fault("get", cut_bytes=4), Fault("get", cut_bytes=400)])
    assert bytes(faulty.get("a")) == b"some b"
    faulty = Faulty(folder, [Fault("get", cut_bytes=400)])
    assert bytes(faulty.get("a")) == b""


@pytest.mark.parametrize("operation", ["get", "put"])
def test_a_bit_flips(folder, operation):
    """One, on the way there or back; the caller's bytes stay as they are."""
    data = bytes(1000)
    faulty = Faulty(folder, [Fault(operation, flips_bit=True)])
    faulty.put("a", data)
    found = faulty.get("a")
    assert sum(byte.bit_count() for byte in found) == 1
    assert data == bytes(1000)
    assert (bytes(folder.get("a")) == data) == (operation == "get")


def test_a_call_is_delayed(folder):
    """By the clock that was given; closing ends the delay."""
    clock = ManualClock()
    faulty = Faulty(folder, [Fault("put", delay_seconds=60.0, times=2)], clock=clock)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(faulty.put, "a", b"1")
        assert not putting.done()
        while not putting.done():
            threading.Event().wait(0.001)
            clock.advance(10)
        assert clock.monotonic() >= 60
        putting = pool.submit(faulty.put, "b", b"1")
        faulty.close()
        putting.result(60)


def test_random_faults_are_the_same_for_a_seed(folder):
    """About so many calls fail, half of them after their effect, and the user's random stream stays."""
    before = random.getstate()

    def failures(seed, prefix):
        faulty, failed = Faulty(folder, rate=0.2, seed=seed), []
        for number in range(300):
            try:
                faulty.put(f"{prefix}/{number}", b"1")
            except UnavailableError:
                failed.append(number)
        return failed

    first = failures(7, "a")
    assert failures(7, "b") == first != failures(8, "c")
    assert 30 < len(first) < 90
    there = {int(item.name[2:]) for item in folder.list("a/")}
    assert 0.25 < len(there & set(first)) / len(first) < 0.75
    assert there | set(first) == set(range(300))
    assert random.getstate() == before


def test_faults_are_added_later(folder):
    """A place may break while it is in use."""
    faulty = Faulty(folder)
    faulty.put("a", b"1")
    faulty.add(Fault("get", BUSY, times=None))
    with pytest.raises(UnavailableError):
        faulty.get("a")


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_probability(folder, rate):
    """Other numbers are a mistake."""
    with pytest.raises(InvalidInputError):
        Faulty(folder, rate=rate)
