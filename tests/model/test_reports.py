"""What a report prints."""

from __future__ import annotations

from keepstate._model.snapshot import MOST_ROWS, RestoreReport


def _report(**given):
    empty = {"snapshot": None, "restored": (), "failed": {}, "seconds": 0.1}
    return str(RestoreReport(**empty | given))


def test_thousands_of_restored_names_take_a_screen():
    """A notebook with thousands of names does not begin with thousands of lines."""
    names = tuple(f"v{number}" for number in range(2000))
    text = _report(restored=names)
    assert f"and {2000 - MOST_ROWS + 1} more" in text
    assert len(text.splitlines()) < MOST_ROWS + 5


def test_as_many_as_fit_are_all_listed():
    """What fits on the screen is listed to its last name."""
    names = tuple(f"v{number}" for number in range(MOST_ROWS))
    assert all(name in _report(restored=names).split() for name in names)


def test_every_failure_is_listed():
    """Of what did not come back nothing is left out."""
    failed = {f"v{number}": f"reason {number}" for number in range(100)}
    text = _report(failed=failed)
    assert all(why in text for why in failed.values())
