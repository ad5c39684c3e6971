"""How much memory a fork must find, where a kill takes the child alone and where it takes the container."""

from __future__ import annotations

import dataclasses

import pytest

from keepstate._capture import Conditions, NotNow, choose, memory
from keepstate._capture.choice import CHILD_BYTES, GROUP_ROOM_BYTES, needed_bytes, read_needed_bytes

MiB = 1 << 20
GiB = 1 << 30
FULL = Conditions(level="statement", resident_bytes=4 * GiB, page_table_bytes=8 * MiB, available_bytes=0)


def decide(**changes):
    return choose(dataclasses.replace(FULL, **changes))


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A folder in the place of /sys/fs/cgroup."""
    monkeypatch.setattr(memory, "_GROUPS", str(tmp_path))
    return tmp_path


def test_where_the_child_dies_alone_room_for_its_beginning_is_enough():
    """A fork is still made when little is free, however large the process is."""
    needed = FULL.page_table_bytes + CHILD_BYTES
    assert decide(available_bytes=needed).strategy == "fork"
    refused = decide(available_bytes=needed - 1)
    assert refused.strategy == "none"
    assert "memory" in refused.reason


def test_where_one_kill_takes_all_there_is_room_for_all_that_may_be_rewritten():
    """No fork without as much free memory as the process has, and something for the child."""
    needed = FULL.resident_bytes + FULL.page_table_bytes + GROUP_ROOM_BYTES
    assert decide(available_bytes=needed, kills_whole_group=True).strategy == "fork"
    refused = decide(available_bytes=needed - 1, kills_whole_group=True)
    assert refused.strategy == "none"
    assert "container" in refused.reason


def test_a_copy_is_not_made_where_it_does_not_fit():
    """Copying takes memory of the user's own process: it is refused rather than have the kernel killed."""
    tight = {"level": "cell", "kills_whole_group": True}
    assert decide(**tight, available_bytes=GiB).strategy == "stage"
    assert decide(**tight, available_bytes=64 * MiB, logical_bytes=MiB).strategy == "stage"
    refused = decide(**tight, available_bytes=64 * MiB, logical_bytes=100 * MiB)
    with pytest.raises(NotNow, match="can be taken now"):
        refused.take(None)


def test_what_is_needed_at_this_moment_follows_the_group_flag(groups):
    """The reading is that of this process, and grows by its size where one kill takes all."""
    alone = read_needed_bytes()
    (groups / "memory.oom.group").write_text("1")
    together = read_needed_bytes()
    assert 0 < alone < 64 * MiB
    assert together - alone > 10 * MiB
    assert needed_bytes(resident_bytes=0, page_table_bytes=0, whole_group=False) == CHILD_BYTES


def test_a_process_that_cannot_offer_itself_is_not_risked(groups, monkeypatch):
    """Where a child cannot become the first to be killed, the kill could take the user's process."""
    assert memory.kills_whole_group() is False
    monkeypatch.setattr(memory, "_ORDER_OF_KILLS", str(groups / "absent"))
    assert memory.kills_whole_group() is True


def test_the_limits_of_all_groups_above_count(groups, monkeypatch):
    """A process is bounded by the least of the groups that it is in."""
    inner = groups / "user.slice" / "session.scope"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max")
    (inner / "memory.current").write_text("5")
    (groups / "user.slice" / "memory.max").write_text(str(GiB))
    (groups / "user.slice" / "memory.current").write_text(str(GiB - 1000))
    lines = memory._lines
    monkeypatch.setattr(
        memory,
        "_lines",
        lambda path: ["0::/user.slice/session.scope"] if path == "/proc/self/cgroup" else lines(path),
    )
    assert memory.read_room() == (1000, GiB)


@pytest.mark.parametrize(("version", "total"), [("2", ""), ("1", "total_")])
def test_files_that_nobody_has_mapped_are_free(groups, version, total):
    """What was written and read again is taken back by the kernel before it kills."""
    folder = groups if version == "2" else groups / "memory"
    folder.mkdir(exist_ok=True)
    limit, usage = (
        ("memory.max", "memory.current")
        if version == "2"
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    (folder / limit).write_text(str(GiB))
    (folder / usage).write_text(str(GiB - 1000))
    mapped = "file_mapped" if version == "2" else "total_mapped_file"
    (folder / "memory.stat").write_text(f"{total}inactive_file 300\n{total}active_file 500\n{mapped} 200\n")
    assert memory.read_room() == (1600, GiB)


def test_an_object_that_needs_too_much_costs_itself_alone(scenario, tmp_path):
    """Where one kill would take all, the child is refused what it must not have, and the rest is kept."""
    assert scenario(f"""
        from pathlib import Path
        import keepstate
        from keepstate._capture import memory
        groups = Path({str(tmp_path)!r})
        memory._GROUPS = str(groups)
        small = [1]
        large = {{i: str(i) * 40 for i in range(1_000_000)}}
        free = memory.read_status()["VmRSS"] * 1024 + (190 << 20)
        (groups / "memory.oom.group").write_text("1")
        (groups / "memory.max").write_text(str(8 << 30))
        (groups / "memory.current").write_text(str((8 << 30) - free))
        keepstate.start(store=str(groups / "store"), interval=3600, capture="fork")
        keepstate.track(small, large)
        kept = keepstate.snapshot()
        show([kept.names, list(kept.skipped), "MemoryError" in str(kept.skipped)])
    """) == [["small"], ["large"], True]
