"""When a session prunes."""

import pytest

from keepstate._session.space import FIRST_PRUNE_SECONDS, LEAST_SECONDS, PRUNE_SECONDS, when_to_prune

CALM = {
    "now": 10_000.0,
    "last_prune": 9_000.0,
    "used_bytes": 10,
    "budget_bytes": 100,
    "free_bytes": 1000,
    "floor_bytes": 100,
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"now": 9_000 + PRUNE_SECONDS}, "1 h 0 min ago"),
        ({"now": 8_999 + PRUNE_SECONDS}, None),
        ({"last_prune": None}, "nothing was pruned yet"),
        ({"used_bytes": 100}, None),
        ({"used_bytes": 101}, "101 B are used of a budget of 100 B"),
        ({"used_bytes": 101, "budget_bytes": None}, None),
        ({"used_bytes": None}, None),
        ({"used_bytes": 101, "now": 8_999 + LEAST_SECONDS}, None),
        ({"used_bytes": 101, "now": 9_000 + LEAST_SECONDS}, "budget"),
        ({"free_bytes": 200}, None),
        ({"free_bytes": 199}, "199 B free"),
        ({"free_bytes": 199, "now": 8_999 + LEAST_SECONDS}, None),
        ({"free_bytes": None}, None),
        ({"floor_bytes": None}, None),
    ],
)
def test_a_prune_comes_hourly_or_when_bytes_run_short(change, reason):
    """Only after a save; at once when over budget or near the floor, but never twice within five minutes."""
    said = when_to_prune(**{**CALM, **change})
    assert said is None if reason is None else reason in said


def test_a_short_session_prunes_as_well():
    """The first prune does not wait for an hour that a session on a free account may not have."""
    assert FIRST_PRUNE_SECONDS < PRUNE_SECONDS / 4
