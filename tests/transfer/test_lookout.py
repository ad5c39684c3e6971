"""News of a repository are seen by the times of its folders, and none is missed."""

import os
from datetime import UTC, datetime

import agent_work

from keepstate._base.clock import ManualClock
from keepstate._transfer.lookout import TICK_SECONDS, Lookout


def test_what_comes_and_what_goes_is_seen_once(tmp_path):
    """A first snapshot, one more, one that is removed, another notebook."""
    lookout = Lookout(tmp_path, ManualClock())
    assert lookout.look() == "nothing"
    folder = tmp_path / agent_work.FOLDER
    stamps = iter(range(1, 100))

    def changed():
        # Each change at a second of its own: what one tick hides is another test's.
        os.utime(folder, ns=(0, next(stamps) * 10**9))
        found = lookout.look()
        assert lookout.look() == "perhaps"  # by a clock of 2026, 1970 is no tick ago
        return found

    agent_work.commit(tmp_path, "a1")
    assert changed() == "something"
    assert lookout.look() == "nothing"
    agent_work.commit(tmp_path, "a2")
    assert changed() == "something"
    (folder / "a1.manifest").unlink()
    assert changed() == "something"
    (folder.parent / "another").mkdir()
    assert lookout.look() == "something"


def test_what_comes_in_the_same_tick_is_not_missed(tmp_path):
    """A change that left no trace in the times is looked for once more, and only once."""
    agent_work.commit(tmp_path, "a1")
    folder = tmp_path / agent_work.FOLDER
    before = folder.stat().st_mtime_ns
    clock = ManualClock(now=datetime.fromtimestamp(before / 1e9, UTC))
    lookout = Lookout(tmp_path, clock)
    assert lookout.look() == "something"
    agent_work.commit(tmp_path, "a2")
    os.utime(folder, ns=(before, before))
    assert lookout.look() == "nothing"
    assert not lookout.is_sure
    clock.advance(2 * TICK_SECONDS)
    assert lookout.look() == "perhaps"
    assert lookout.is_sure
    assert lookout.look() == "nothing"
