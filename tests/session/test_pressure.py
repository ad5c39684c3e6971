"""When memory calls for a picture: readings are given, nothing is measured."""

from __future__ import annotations

from itertools import pairwise

import pytest

from keepstate._capture import Room
from keepstate._session.pressure import (
    AGAIN_SECONDS,
    CALM_SECONDS,
    LONGEST_READ_SECONDS,
    PATIENCE_SECONDS,
    READ_SECONDS,
    WINDOW_SECONDS,
    Pressure,
)

MiB = 1 << 20
LIMIT = 1000 * MiB


def feed(pressure, used, *, start=0.0, every=READ_SECONDS, needed=0):
    """Give one reading after another, of MiB in use; return what was called for, by its time."""
    found = {}
    for count, amount in enumerate(used):
        now = start + count * every
        call = pressure.feed(now, Room(LIMIT - int(amount * MiB), LIMIT), needed_bytes=needed * MiB)
        if call is not None:
            found[now] = call
    return found


def growing(start, per_second, seconds):
    """Readings of a steady growth."""
    return [start + per_second * READ_SECONDS * count for count in range(int(seconds / READ_SECONDS) + 1)]


@pytest.mark.parametrize("used", [10, 500, 840, 950, 1000])
def test_without_growth_there_is_no_pressure(used):
    """A machine that is full and stays as it is calls for nothing."""
    assert feed(Pressure(), [used] * 200) == {}


def test_the_next_reading_comes_before_half_of_what_is_free_can_be_gone():
    """A machine that is nearly empty and stays so is asked seldom, one that fills or is small often."""
    pressure, large = Pressure(), 64 << 30
    pressure.feed(0.0, Room(large - (1 << 30), large))
    assert pressure.read_seconds == LONGEST_READ_SECONDS
    pressure.feed(2.0, Room(12 << 30, large))
    assert pressure.read_seconds == READ_SECONDS, "it grows"
    feed(small := Pressure(), [500] * 3)
    assert small.read_seconds == READ_SECONDS
    feed(full := Pressure(), [500], needed=600)
    assert full.read_seconds == READ_SECONDS


def test_one_reading_says_nothing():
    """Growth needs two of them."""
    assert feed(Pressure(), [990]) == {}


def test_growth_that_fills_memory_within_a_minute_is_pressure():
    """However much is free."""
    (first, *_), *_ = feed(Pressure(), growing(100, 20, 10)).items()
    assert first <= 1.0


def test_growth_that_leaves_more_than_a_minute_is_none():
    """Below the high mark a slow growth can wait."""
    assert feed(Pressure(), growing(100, 10, 30)) == {}


def test_above_the_high_mark_a_slow_growth_is_pressure():
    """With 140 MiB free, 0.4 MiB a second leave six minutes; but a part of what is left is going."""
    found = feed(Pressure(), growing(860, 0.4, 60))
    assert found
    assert "86%" in next(iter(found.values())).reason or "87%" in next(iter(found.values())).reason


def test_near_the_end_less_growth_counts():
    """A quarter of what is left is going, though it is less than a hundredth of all."""
    assert feed(Pressure(), growing(980, 0.1, 60))


def test_shrinking_is_no_pressure():
    """Memory that is given back calls for nothing, also above the high mark."""
    assert feed(Pressure(), growing(990, -2, 60)) == {}


def test_noise_is_no_growth():
    """What Python takes and gives back all the time does not count, also where little is free."""
    assert feed(Pressure(), [990, 991, 990, 991.5] * 50) == {}


def test_growth_of_long_ago_does_not_count():
    """What came about before the window is how things are now."""
    pressure = Pressure()
    feed(pressure, [700, 900])
    assert feed(pressure, [900] * 10, start=WINDOW_SECONDS + 1) == {}


def test_lasting_growth_is_called_again():
    """Pictures are never further apart than a kill may cost, by the clock of the readings."""
    times = list(feed(Pressure(), growing(880, 3, 38)))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= AGAIN_SECONDS + READ_SECONDS
    assert min(gaps[:5]) >= AGAIN_SECONDS


@pytest.mark.parametrize("speed", [5, 30, 150, 400])
def test_the_last_call_comes_just_before_the_end(speed):
    """The nearer the end, the denser the calls: the last is at most a second before it is too late."""
    start, needed = 200, 20
    end = (LIMIT / MiB - needed - start) / speed
    times = list(feed(Pressure(), growing(start, speed, end + 5), needed=needed))
    assert end - 1.0 <= times[-1] <= end


def test_where_no_picture_is_possible_none_is_called_for():
    """Less free than a fork needs."""
    assert feed(Pressure(), growing(950, 5, 10), needed=60) == {}


def test_what_a_picture_needs_brings_the_end_nearer():
    """Where one kill takes everybody a fork needs much, and the call comes while that much is free."""
    found = feed(Pressure(), growing(300, 2, 60), needed=600)
    assert found
    assert feed(Pressure(), growing(300, 2, 60)) == {}
    assert feed(Pressure(), growing(330, 0.3, 60), needed=600)


def test_a_sawtooth_is_pictured_once_a_minute():
    """A loop that takes and gives back the same memory again and again does not save all the time."""
    found = list(feed(Pressure(), [500, 700, 900] * 400))
    assert all(later - earlier >= CALM_SECONDS for earlier, later in pairwise(found[3:]))
    assert len(found) <= 400 * 3 * READ_SECONDS / CALM_SECONDS + 4


def test_patience_shrinks_with_the_time_that_is_left():
    """A safe point is waited for as long as there is time, and never longer than the most."""
    slow = feed(Pressure(), growing(900, 3, 10))
    assert next(iter(slow.values())).patience_seconds == PATIENCE_SECONDS
    fast = feed(Pressure(), growing(100, 800, 1))
    assert 0 < next(iter(fast.values())).patience_seconds < 0.3
