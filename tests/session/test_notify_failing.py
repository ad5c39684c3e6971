"""Failing saves are told at the right moments: not at once, not always, and once when it is over."""

import itertools

from keepstate._base.clock import ManualClock
from keepstate._session.notify_failing import LONGEST_DISTANCE_SECONDS, Failing
from keepstate._session.notify_messages import SaveWorksAgain

MINUTE = 60.0


def test_the_third_failure_in_a_row_is_told():
    """With the number, the moment of the first and the newest sentence."""
    clock = ManualClock()
    failing = Failing("p", clock)
    began = clock.utc_now()
    assert failing.failed("one") is None
    clock.advance(1)
    assert failing.failed("two") is None
    clock.advance(1)
    told = failing.failed("three")
    assert (told.identity, told.since, told.times, told.sentence) == ("p", began, 3, "three")


def test_a_success_begins_the_count_anew():
    """Two failures, a success and two more are never told."""
    failing = Failing("p", ManualClock())
    for _ in range(2):
        assert failing.failed("no") is None
        assert failing.failed("no") is None
        assert failing.succeeded() is None


def test_ten_minutes_of_failing_are_told_even_if_saves_are_rare():
    """The second failure is enough if the first is ten minutes old."""
    clock = ManualClock()
    failing = Failing("p", clock)
    assert failing.failed("no") is None
    clock.advance(10 * MINUTE)
    assert failing.failed("no").times == 2


def test_the_distance_between_messages_doubles_up_to_a_day():
    """One failure a minute for five days is told a dozen times."""
    clock = ManualClock()
    failing = Failing("p", clock)
    told = []
    for _ in range(5 * 24 * 60):
        if failing.failed("no"):
            told.append(clock.monotonic())
        clock.advance(MINUTE)
    distances = [late - early for early, late in itertools.pairwise(told)]
    doubling = [10 * MINUTE * 2**n for n in range(8)]
    assert distances[:8] == doubling
    assert distances[8:] == [LONGEST_DISTANCE_SECONDS] * len(distances[8:])
    assert len(distances) > 9


def test_the_end_is_told_once_and_only_if_the_beginning_was():
    """The message says how long it lasted; the next success is silent, and the next row is counted anew."""
    clock = ManualClock()
    failing = Failing("p", clock)
    for _ in range(3):
        clock.advance(5)
        failing.failed("no")
    clock.advance(10)
    assert failing.succeeded() == SaveWorksAgain("p", 20.0)
    assert failing.succeeded() is None
    assert [failing.failed("no") is None for _ in range(3)] == [True, True, False]
