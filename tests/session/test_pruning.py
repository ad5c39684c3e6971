"""What a running session deletes of its own accord, and what it says about space."""

import pytest

from keepstate._base.disk import Disk, Space
from keepstate._repository import Repository

START = "import os, keepstate\nkeepstate.start(store='store', interval=3600, restore='off'{})\n"


@pytest.fixture
def script(run_script):
    """Run a script under guard, with these options of start(), and give what it printed."""
    return lambda code, options="": run_script(code, start=START.format(options)).stdout


CHANGE = """
    for i in range(6):
        x = os.urandom(200_000); keepstate.track("x"); keepstate.snapshot()
    print(len(keepstate.snapshots()), keepstate.status().error)
"""


def test_a_young_history_is_left_alone(script):
    """Without a budget nothing goes that is younger than an hour."""
    assert script(CHANGE).endswith("\n6 None\n")


def test_a_session_over_its_budget_prunes_at_once(script, tmp_path):
    """And not with every save: the second time may come five minutes later."""
    out = script(CHANGE, ", budget='500 kB'")
    assert out.endswith("\n5 None\n"), "one went when three were there, and three came since"
    assert Repository.open(tmp_path / "store", create=False).verify(deep=True).is_sound


def test_a_budget_that_cannot_be_met_is_on_display(script):
    """It is said with numbers, also after the next save, while everything is kept that must be."""
    out = script(CHANGE, ", budget=1000")
    assert "more than the budget of 1.0 kB" in out


def test_a_budget_takes_from_no_other_notebook(script, tmp_path):
    """Its bytes count, and its snapshots stay."""
    script(CHANGE, ", notebook='a'")
    script(CHANGE, ", notebook='b', budget=1000")
    assert len(Repository.open(tmp_path / "store", create=False).manifests(notebook="a")) == 6


class NearlyFull(Disk):
    """A disk with a little more than its floor free."""

    def space(self, path):
        return Space(1_100_000_000, 10**12)


def test_room_near_the_floor_is_seen(tmp_path):
    """The store tells free space and floor as its disk does."""
    repository = Repository.open(tmp_path / "store", create=True, disk=NearlyFull())
    room = repository.room("ana")
    assert room.free_bytes < 2 * room.floor_bytes
