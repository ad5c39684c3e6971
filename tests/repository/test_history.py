"""Newest is by lineage and sequence; the clock decides only among what ran side by side."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from saves import manifest

from keepstate._repository import newest_first


def at(lineage, sequence, minute, **parents):
    return manifest(
        {},
        sequence=sequence,
        lineage=lineage,
        parents=parents,
        created_at=f"2026-01-01T{minute:02d}:00:00+00:00",
    )


def names(found):
    return [f"{each.lineage}{each.sequence}" for each in found]


def test_a_later_session_is_newer_whatever_the_clocks_say():
    """A machine whose clock is behind does not make its session older."""
    found = [at("a", 1, 20), at("a", 2, 21), at("b", 1, 3, a=2), at("c", 1, 2, a=2, b=1)]
    assert names(newest_first(found)) == ["c1", "b1", "a2", "a1"]


def test_within_a_session_the_sequence_decides():
    """A clock that was set back in the middle changes nothing."""
    assert names(newest_first([at("a", 2, 1), at("a", 1, 9), at("a", 3, 5)])) == ["a3", "a2", "a1"]


def test_sessions_side_by_side_are_ordered_by_the_clock():
    """Two kernels of one notebook that know nothing of each other interleave."""
    found = [at("a", 1, 1), at("a", 2, 3), at("b", 1, 2), at("b", 2, 4)]
    assert names(newest_first(found)) == ["b2", "a2", "b1", "a1"]


def test_what_an_older_session_adds_later_is_not_older():
    """A session follows only what was there when it began; a kernel that went on competes by the clock."""
    found = [at("a", 1, 1), at("a", 2, 9), at("b", 1, 5, a=1), at("b", 2, 6, a=1)]
    assert names(newest_first(found)) == ["a2", "b2", "b1", "a1"]


def test_a_circle_of_parents_ends():
    """Hostile or mangled parents give some order with everything in it."""
    found = [at("a", 1, 1, b=9), at("b", 1, 2, c=9), at("c", 1, 3, a=9), at("a", 2, 4, a=9, nobody=1)]
    assert sorted(names(newest_first(found))) == ["a1", "a2", "b1", "c1"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_the_order_never_contradicts_what_is_known(seed, count):
    """For any histories and clocks: nothing comes after what it follows, and nothing is lost or added."""
    source = random.Random(seed)
    found, last = [], {}
    for number in range(count):
        parents = {own: source.randint(1, upto) for own, upto in last.items() if source.random() < 0.7}
        last[f"l{number}"] = source.randint(1, 4)
        found += [
            at(f"l{number}", s, source.randrange(24), **parents) for s in range(1, last[f"l{number}"] + 1)
        ]
    source.shuffle(found)
    order = newest_first(found)
    place = {(each.lineage, each.sequence): number for number, each in enumerate(order)}
    assert sorted(names(order)) == sorted(names(found))
    for each in found:
        if each.sequence > 1:
            assert place[each.lineage, each.sequence] < place[each.lineage, each.sequence - 1]
        for parent, reached in each.parents.items():
            assert place[each.lineage, each.sequence] < place[parent, reached]
