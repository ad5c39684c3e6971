"""What counts goes to the far side, and what a newer snapshot has superseded does not."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "repository"))

from saves import manifest

from keepstate._model.manifest import Entry
from keepstate._transfer.choosing import wanted

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def taken(sequence, *, lineage="s1", kept_in="", minutes=None, **more):
    """A snapshot that one session took each minute, in their order unless said otherwise."""
    names = {"x": Entry(group=bytes(32), type="bytes", logical_bytes=1, kept_in=kept_in)}
    created = BEGAN + timedelta(minutes=sequence if minutes is None else minutes)
    return manifest(
        names,
        sequence=sequence,
        lineage=lineage,
        own_id=f"{lineage}-{sequence}",
        created_at=created.isoformat(),
        **more,
    )


def ids(manifests):
    return [each.id for each in manifests]


def test_of_each_session_the_newest_goes():
    """Those before it do not, and one session does not stand for another."""
    near = [taken(n, lineage=lineage) for lineage in ("s1", "s2") for n in range(1, 6)]
    assert ids(wanted(near, {}, ())) == ["s1-5", "s2-5"]


def test_the_newest_of_each_consistency_goes():
    """A state from inside of an operation does not keep the last good one back."""
    levels = {1: "cell", 2: "cell", 3: "statement", 4: "operation", 5: "operation"}
    near = [taken(n, consistency=level) for n, level in levels.items()]
    assert ids(wanted(near, {}, ())) == ["s1-2", "s1-3", "s1-5"]


def test_a_snapshot_with_a_note_goes():
    """The user gave it a name."""
    near = [taken(n, note="before the split" if n in (2, 4) else "") for n in range(1, 6)]
    assert ids(wanted(near, {}, ())) == ["s1-2", "s1-4", "s1-5"]


def test_what_a_chosen_one_carries_names_from_goes():
    """Also of another session, and also if the far side has a newer one of that."""
    near = [
        taken(1),
        taken(2),
        taken(1, lineage="s2", kept_in="s1-1"),
        taken(2, lineage="s2", kept_in="s1-1"),
    ]
    assert ids(wanted(near, {"s1": 2}, {"s1-2"})) == ["s1-1", "s2-2"]


def test_what_is_nowhere_is_not_asked_for():
    """The snapshot that a name was kept in may have been pruned here."""
    assert ids(wanted([taken(1, kept_in="gone")], {}, ())) == ["s1-1"]


def test_what_the_far_side_has_is_not_sent_again():
    """Neither itself, nor what is older of its session: that had its turn, or was pruned there."""
    near = [
        taken(n, note="n" if n == 1 else "", consistency="cell" if n == 2 else "operation") for n in (1, 2, 3)
    ]
    assert wanted(near, {"s1": 3}, {"s1-3"}) == []
    assert ids(wanted([*near, taken(4)], {"s1": 3}, {"s1-3"})) == ["s1-4"]


def test_the_oldest_goes_first_by_session_and_not_by_clock():
    """A copy that is cut off must not leave a hole behind which the next one does not look."""
    near = [taken(n, note="n", minutes=-n) for n in (1, 2, 3)]
    near += [taken(1, lineage="s2", parents={"s1": 3}, minutes=-60)]
    assert ids(wanted(near, {}, ())) == ["s1-1", "s1-2", "s1-3", "s2-1"]


def test_ten_thousand_small_snapshots_come_down_to_one():
    """However many were taken while the far side was away."""
    near = [taken(n) for n in range(1, 10_001)]
    assert ids(wanted(near, {}, ())) == ["s1-10000"]
    assert ids(wanted(near, {"s1": 7000}, {"s1-7000"})) == ["s1-10000"]
