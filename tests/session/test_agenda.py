"""What is due when, in simulated time: hours of a notebook in a second."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World

from keepstate._hosts import profile_named
from keepstate._session.limits import Limits, settle_limits

HOUR = 3600.0


def world(host, **options):
    return World(settle_limits(profile_named(host), {}), **options)


def test_an_idle_session_with_nothing_changed_is_not_touched():
    """Two hours alone after one cell on Colab: a save after the cell, looks ahead of the end, and no more."""
    colab = world("colab/free")
    colab.cell()
    colab.run(2 * HOUR)
    assert colab.saves == [(0.2, "cell")]
    assert colab.looks == [(1800, "idle"), (900, "idle"), (300, "idle"), (60, "idle")]


def test_twelve_hours_of_one_cell_on_colab():
    """A save a minute, one more at each look ahead of the twelve hours, and no idle deadline in between."""
    colab = world("colab/free")
    colab.begin_cell()
    colab.run(12 * HOUR)
    assert [kind for _, kind in colab.looks] == ["lifetime"] * 4
    assert {reason for _, reason in colab.saves} == {"timer", "lifetime"}
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(colab.saves)]
    assert max(gaps) < 61
    assert 719 <= len(colab.saves) <= 724


def test_kaggle_ends_an_idle_session_after_twenty_minutes():
    """The lead times are parts of so short a limit: 10, 5, 2 minutes and 1 minute."""
    kaggle = world("kaggle/interactive")
    kaggle.cell()
    kaggle.run(20 * 60)
    assert [left for left, _ in kaggle.looks] == [600, 300, 120, 60]
    assert kaggle.saves == [(0.2, "cell")]


def test_a_hub_with_a_ten_minute_culler():
    """A cell at an awkward moment, one second before the end, moves all of it."""
    hub = world("jupyterhub")
    hub.cell()
    hub.run(599)
    assert [left for left, _ in hub.looks] == [300, 150, 60, 30]
    hub.cell()
    assert hub.deadline_in() == pytest.approx(600, abs=1)
    hub.run(599)
    assert [left for left, _ in hub.looks] == [300, 150, 60, 30] * 2
    assert [reason for _, reason in hub.saves] == ["cell", "cell"]


def test_batch_on_kaggle_knows_no_idle_time():
    """There, only the twelve hours end it."""
    batch = world("kaggle/batch", age=11 * HOUR)
    batch.cell()
    batch.run(HOUR)
    assert batch.looks == [(1800, "lifetime"), (900, "lifetime"), (300, "lifetime"), (60, "lifetime")]


def test_a_burst_of_cells_is_saved_at_its_beginning_and_once_at_its_end():
    """Cells that end while a save rests share the next one."""
    plain = world("plain")
    for _ in range(20):
        plain.cell(0.01)
    plain.run(10)
    assert [reason for _, reason in plain.saves] == ["cell", "cell"]
    assert plain.kept == plain.version


def test_a_save_of_forty_seconds_is_not_made_every_minute():
    """It rests three times as long as it worked."""
    plain = world("plain", save_seconds=40.0)
    plain.begin_cell()
    plain.run(HOUR)
    starts = [start for start, _ in plain.saves]
    assert min(b - a for a, b in itertools.pairwise(starts)) >= 160
    assert plain.agenda.stretched
    assert plain.agenda.cadence_seconds == 120


def test_a_save_that_holds_the_main_thread_long_is_rare():
    """One second of holding in forty is what the user is charged at most."""
    plain = world("plain", save_seconds=1.0, stall_seconds=5.0)
    plain.begin_cell()
    plain.run(HOUR)
    assert len(plain.saves) == pytest.approx(HOUR / 200, abs=2)


def test_what_is_owed_when_nobody_is_there_need_not_wait_for_its_rest():
    """The last of many cells is safe a second after it, however dear the saves are."""
    plain = world("plain", save_seconds=40.0)
    for _ in range(3):
        plain.cell(0.1)
    plain.run(100)
    assert plain.kept == plain.version
    assert plain.longest_unsaved < 45  # the rest of the first save, and the second one


def test_a_long_save_begins_early_enough():
    """Half as much again as the last one took, and ten seconds, is one more lead time."""
    plain = World(settle_limits(profile_named("plain"), {"lifetime_seconds": 2 * HOUR}), save_seconds=1200.0)
    plain.cell()
    plain.begin_cell()
    plain.run(2 * HOUR)
    assert 1810 in [left for left, _ in plain.looks]
    finished = [start + 1200 for start, _ in plain.saves if start + 1200 <= 2 * HOUR]
    assert max(finished) > 2 * HOUR - 1200


def test_a_store_that_fails_is_tried_again_with_growing_distance_and_ahead_of_every_deadline():
    """After 5, 10, 20 … seconds and at most five minutes, also while nobody is there."""
    kaggle = world("kaggle/interactive", store_works=False)
    kaggle.cell()
    kaggle.run(1000)
    gaps = [round(b - a) for a, b in itertools.pairwise(kaggle.failed)]
    assert gaps[:5] == [5, 10, 20, 40, 80]
    kaggle.store_works = True
    kaggle.run(200)
    assert kaggle.kept == kaggle.version


def test_a_cell_tries_a_store_again_that_has_failed_for_long():
    """Whoever works sees it recover at once, not after five minutes."""
    plain = world("plain", store_works=False)
    plain.cell()
    plain.run(600)
    plain.store_works = True
    plain.run(20)
    plain.cell()
    assert plain.kept == plain.version


def test_a_clean_state_is_not_tried_again():
    """A failed save of unchanged state, as a note may be, owes nothing."""
    plain = world("plain")
    plain.cell()
    plain.agenda.save_failed()
    plain.run(HOUR)
    assert len(plain.saves) == 1


@pytest.mark.parametrize("jump", [-7200, 7200, -300, 300])
def test_a_wall_clock_that_jumps_makes_nothing_late(jump):
    """Saves in a long cell go on a minute apart, whichever way it was set."""
    colab = world("colab/free")
    colab.begin_cell()
    colab.run(HOUR)
    colab.jump(jump)
    before = len(colab.saves)
    colab.run(600)
    assert len(colab.saves) - before >= 10


def test_a_machine_that_slept_finds_the_deadline_nearer():
    """Its monotonic clock stood still; the host's did not."""
    kaggle = world("kaggle/interactive")
    kaggle.cell()
    kaggle.jump(1000)  # what a suspended machine sees
    assert kaggle.deadline_in() == pytest.approx(200, abs=1)
    kaggle.run(1)
    assert kaggle.looks[0][1] == "idle"


def test_alarms_that_were_missed_are_one():
    """After a sleep across several lead times there is one look, for the nearest."""
    kaggle = world("kaggle/interactive")
    kaggle.cell()
    kaggle.jump(1150)
    kaggle.run(0.1)
    assert kaggle.looks == [(50, "idle")]


def test_a_deadline_that_passed_is_no_longer_foreseen():
    """A host that does not keep to its limit is not waited for with alarms."""
    plain = World(settle_limits(profile_named("plain"), {"idle_seconds": 1000.0}))
    plain.cell()
    plain.run(HOUR)
    assert plain.deadline_in() is None
    assert len(plain.looks) == 4
    plain.cell()
    assert plain.deadline_in() == pytest.approx(1000, abs=1)


def test_a_changed_limit_moves_the_alarms():
    """Looks are made anew for the new end."""
    plain = world("plain")
    plain.cell()
    plain.agenda.change(settle_limits(profile_named("plain"), {"idle_seconds": 600.0}), age_seconds=0.0)
    plain.run(600)
    assert [left for left, _ in plain.looks] == [300, 150, 60, 30]


def test_activity_that_only_the_host_saw_moves_the_idle_deadline():
    """A completion request is activity for a Jupyter server, and no cell."""
    from keepstate._base.clock import instant

    hub = world("jupyterhub")
    hub.cell()
    hub.run(290)
    hub.agenda.seen(instant(hub.clock))
    assert hub.deadline_in() == pytest.approx(600)


EVENT = st.tuples(
    st.sampled_from(["cell", "long", "look", "wait", "fail", "work", "jump"]), st.floats(0.01, 900)
)


@settings(max_examples=150, deadline=None)
@given(
    host=st.sampled_from(["colab/free", "kaggle/interactive", "jupyterhub", "binder"]),
    events=st.lists(EVENT, max_size=25),
    save_seconds=st.floats(0.01, 20),
)
def test_no_idle_deadline_passes_with_unsaved_changed_state(host, events, save_seconds):
    """Whatever the user does and when: after the limit without activity, all is kept if the store worked."""
    here = world(host, save_seconds=save_seconds)
    for kind, seconds in events:
        if kind == "cell":
            here.cell(min(seconds, 2.0))
        elif kind == "long":
            here.cell(seconds)
        elif kind == "look":
            here.cell(min(seconds, 2.0), changes=False)
        elif kind == "wait":
            here.run(seconds)
        elif kind in ("fail", "work"):
            here.store_works = kind == "work"
        else:
            here.jump(seconds - 450)
    here.store_works = True
    idle = here.agenda.limits.idle
    assert idle is not None
    here.run(idle.seconds)
    assert here.kept == here.version
    saved = len(here.saves)
    here.run(HOUR)
    assert len(here.saves) == saved  # and nothing is saved that need not be


def test_no_limits_no_deadlines():
    """A machine of one's own is never about to be taken."""
    own = World(Limits())
    own.cell()
    own.run(24 * HOUR)
    assert own.deadline_in() is None
    assert own.looks == []
