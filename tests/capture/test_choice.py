"""Which way a picture is taken, and why."""

from __future__ import annotations

import dataclasses

import pytest

from keepstate._capture import Conditions, NotNow, choose, read_conditions

GiB = 1 << 30
GOOD = Conditions(level="cell", available_bytes=8 * GiB, resident_bytes=GiB, page_table_bytes=4 << 20)


def decide(**changes):
    return choose(dataclasses.replace(GOOD, **changes))


def test_forks_where_it_can():
    """Without anything against it, the picture is taken by a fork."""
    for level in ("cell", "statement", "operation"):
        assert decide(level=level).strategy == "fork"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mode": "stage"}, "excluded"),
        ({"platform": "darwin"}, "darwin"),
        ({"platform": "win32"}, "win32"),
        ({"numpy": "2.3.0"}, "numpy"),
        ({"numpy": "2.3.4"}, "numpy"),
        ({"numpy": "2.3.0rc1"}, "numpy"),
        ({"waits_for_children": True}, "child"),
        ({"kills_whole_group": True, "resident_bytes": 8 * GiB}, "container"),
    ],
)
def test_what_speaks_against_a_fork(changes, word):
    """Then it is copied between cells, refused inside one, and the reason says why."""
    choice = decide(**changes)
    assert choice.strategy == "stage"
    assert word in choice.reason
    inside = decide(level="statement", **changes)
    assert inside.strategy == "none"
    with pytest.raises(NotNow, match=word):
        inside.take(None)


@pytest.mark.parametrize("numpy", [None, "1.26.4", "2.1.3", "2.2.6", "2.3.5", "2.3.10", "2.4.0"])
def test_other_versions_of_numpy_may_fork(numpy):
    """Only the versions whose fork handler locks up are excluded."""
    assert decide(numpy=numpy).strategy == "fork"


def test_copies_small_states_between_cells():
    """A state that is encoded and copied sooner than a large process forks is copied, between cells only."""
    small = {"encode_seconds": 0.001, "logical_bytes": 1 << 20}
    assert decide(**small).strategy == "stage"
    assert decide(**small, mode="fork").strategy == "fork"
    assert decide(**small, level="statement").strategy == "fork"
    assert decide(encode_seconds=1.0, logical_bytes=1 << 20).strategy == "fork"
    assert decide(encode_seconds=0.001, logical_bytes=GiB).strategy == "fork"
    assert decide(encode_seconds=None, logical_bytes=0).strategy == "fork"


def test_memory_of_a_gpu_is_copied():
    """While a GPU is in use, pictures between cells are staged."""
    assert decide(gpu=True).strategy == "stage"


def test_unknown_memory_is_no_hindrance():
    """Where the system does not tell how much memory is free, the fork is tried."""
    assert decide(available_bytes=None).strategy == "fork"


def test_reads_this_machine():
    """The facts of a Linux machine are found."""
    conditions = read_conditions(level="cell", encode_seconds=1.5, logical_bytes=7)
    assert conditions.page_table_bytes > 0
    assert conditions.resident_bytes > 1 << 20
    assert conditions.available_bytes is None or conditions.available_bytes > 1 << 20
    assert (conditions.encode_seconds, conditions.logical_bytes) == (1.5, 7)
    assert not conditions.waits_for_children


def test_sees_a_thread_that_waits_for_any_child(scenario):
    """While a thread is blocked in os.wait(), which would be handed our process, there is no fork."""
    assert scenario("""
        import subprocess
        child = subprocess.Popen(["sleep", "100"])
        results = [read_conditions(level="cell").waits_for_children]
        thread = threading.Thread(target=os.wait, daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not read_conditions(level="cell").waits_for_children and time.monotonic() < end:
            time.sleep(0.01)
        results.append(choose(read_conditions(level="cell")).strategy)
        child.kill(); thread.join()
        results.append(read_conditions(level="cell").waits_for_children)
        child = subprocess.Popen(["sleep", "100"])
        thread = threading.Thread(target=child.wait, daemon=True); thread.start(); time.sleep(0.3)
        # It waits for its own child only.
        results.append(read_conditions(level="cell").waits_for_children)
        child.kill(); thread.join()
        show(results)
    """) == [False, "stage", False, False]


def test_a_handler_for_children_excludes_a_fork_from_another_thread(scenario):
    """With a handler for SIGCHLD, no fork is made while the main thread cannot put it off."""
    assert scenario("""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        levels = ("cell", "statement", "operation")
        show([read_conditions(level=level).waits_for_children for level in levels])
    """) == [False, False, True]
