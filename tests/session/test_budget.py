"""What saves cost the user's code, and how long there is rest after one."""

import mmap

import psutil
import pytest

from keepstate._base.clock import ManualClock
from keepstate._session.budget import (
    FAULT_SECONDS,
    LEAST_REST_SECONDS,
    LONGEST_REST_SECONDS,
    SHARE,
    Cost,
    Faults,
    Usage,
    crowded_seconds,
    rest_after,
)
from keepstate._session.limits import Limits
from keepstate._session.lookout import Lookout

GIB = 1 << 30


def periods(faults, *uses):
    """Go through saves: the growth of faults and user seconds to the halfway mark, and from there on."""
    now = Usage(1000, 5.0, 0.0)
    faults.begin(now)
    for first, then in uses:
        faults.end(GIB)
        now = Usage(now.faults + first[0], now.user_seconds + first[1], 0.0)
        faults.halfway(now)
        now = Usage(now.faults + then[0], now.user_seconds + then[1], 0.0)
        faults.begin(now)
    return faults.of_a_save


def test_what_the_code_does_anyway_is_not_counted():
    """A step that takes memory anew each time makes as many faults in both halves."""
    assert periods(Faults(), ((50_000, 5.0), (50_000, 5.0))) == 0


def test_what_comes_after_the_child_has_gone_is_counted():
    """The pages stay protected until they are written to, one time each."""
    assert periods(Faults(), ((250_000, 5.0), (50_000, 5.0))) == 200_000


def test_code_that_is_slowed_down_makes_fewer_of_its_own():
    """What is usual is told by the work that was done, not by the clock."""
    assert periods(Faults(), ((240_000, 4.0), (50_000, 5.0))) == 200_000


def test_the_newest_two_saves_count():
    """Once the cell rewrites less for two of them, saves are dear no more."""
    dear, cheap = ((250_000, 5.0), (50_000, 5.0)), ((60_000, 5.0), (50_000, 5.0))
    assert periods(Faults(), dear, cheap) == 200_000
    assert periods(Faults(), dear, cheap, cheap) == 10_000


@pytest.mark.parametrize("then", [(0, 0.0), (100, 1.0)])
def test_a_second_half_that_does_something_else_tells_nothing(then):
    """A cell that took much memory and ended has not paid for a save; what was known stays."""
    faults = Faults()
    assert periods(faults, ((2_000_000, 5.0), then)) == 0
    known = periods(faults, ((250_000, 5.0), (50_000, 5.0)))
    assert periods(faults, ((2_000_000, 5.0), then)) == known == 200_000


@pytest.mark.parametrize("reaches_half", [True, False])
def test_a_quiet_time_makes_saves_cheap_again(reaches_half):
    """There cannot have been more than there were at all: two such saves forget a dear one."""
    faults = Faults()
    assert periods(faults, ((250_000, 5.0), (50_000, 5.0))) == 200_000
    now = Usage(10_000_000, 100.0, 0.0)
    faults.begin(now)
    for _ in range(2):
        now = Usage(now.faults + 300, now.user_seconds + 0.01, 0.0)
        if reaches_half:
            faults.halfway(now)
        faults.begin(now)
    assert faults.of_a_save == 300


def test_no_more_pages_than_there_were():
    """Faults of memory that came later are not for a save, whatever the halves look like."""
    assert periods(Faults(), ((2_000_000, 5.0), (1000, 5.0))) == GIB / mmap.PAGESIZE


def test_a_save_before_the_halfway_mark_leaves_what_is_known():
    """Saves at the end of short cells are too near to one another to tell anything."""
    faults = Faults()
    assert periods(faults, ((250_000, 5.0), (50_000, 5.0))) == 200_000
    faults.begin(Usage(10_000_000, 100.0, 0.0))
    faults.begin(Usage(90_000_000, 101.0, 0.0))
    assert faults.of_a_save == 200_000


def test_rest_keeps_the_share():
    """Stall and faults together are at most the share of the time between two saves, within bounds."""
    cost = Cost(stall_seconds=0.05, faults=200_000, seconds=0.6)
    lost = 0.05 + 200_000 * FAULT_SECONDS
    assert cost.foreground_seconds == pytest.approx(lost)
    assert lost / (rest_after(cost) + lost) == pytest.approx(SHARE)
    assert rest_after(Cost(0.001, 0, 0.01)) == LEAST_REST_SECONDS
    assert rest_after(Cost(100.0, 0, 0.01)) == LONGEST_REST_SECONDS


def test_a_child_takes_nothing_where_a_processor_is_idle():
    """It is charged for what it computes beyond the processors that the user's code leaves."""
    assert crowded_seconds(0.8, 1.0, busy=1.1, processors=2) == 0
    assert crowded_seconds(0.8, 1.0, busy=2.0, processors=2) == pytest.approx(0.4)
    assert crowded_seconds(0.8, 1.0, busy=1.0, processors=1) == pytest.approx(0.8)


def test_how_busy_the_code_is_is_told_by_the_time_between_two_saves():
    """12 seconds of processor time in 6 seconds are two processors."""
    faults = Faults()
    faults.begin(Usage(0, 100.0, 50.0))
    assert faults.busy == 0
    faults.begin(Usage(0, 112.0, 56.0))
    assert faults.busy == 2.0


def test_half_of_the_time_to_the_next_save_is_noticed():
    """The look-out has an alarm for it after each save, which rings once."""

    class Guard:
        busy = False

    class Kernel:
        running = None

        def background(self):
            return ()

    clock = ManualClock()
    lookout = Lookout(
        kernel=Kernel(),
        identity="me",
        limits=Limits(),
        age_seconds=0.0,
        interval_seconds=20.0,
        tracked=lambda: (),
        owed=lambda: False,
        files_changed=lambda: False,
        far=None,
        trouble=pytest.fail,
        notifier=None,
        clock=clock,
    )
    assert "halfway" not in lookout._plan()
    lookout.save_began()
    lookout.save_ended(stall_seconds=0.001, seconds=0.1, processor_seconds=0.1)
    clock.advance(5.0)
    assert lookout._plan()["halfway"] == pytest.approx(5.0)
    lookout._guard = Guard()  # the timer is not started: this test rings
    clock.advance(15.0)
    lookout._ring("halfway")
    assert "halfway" not in lookout._plan()
    assert lookout._faults._halfway is not None
    lookout._faults.of_a_save = 400_000.0
    lookout.save_ended(stall_seconds=0.001, seconds=0.1, processor_seconds=0.1)
    cost = Cost(0.001, 400_000.0, 0.1)
    assert lookout.agenda.cadence_seconds == pytest.approx(rest_after(cost))
    lookout._faults.busy = 64.0 * (psutil.cpu_count() or 1)
    lookout.save_ended(stall_seconds=0.001, seconds=0.1, processor_seconds=6400.0)
    crowded = 6400.0 / lookout._faults.busy
    assert lookout.agenda.cadence_seconds == pytest.approx(rest_after(Cost(0.001, 400_000.0, 0.1, crowded)))
