"""Bad arguments of start() are told with their name and their range."""

from pathlib import Path

import pytest

from keepstate._session.options import read_options
from keepstate.errors import InvalidInputError

GOOD = {
    "project": None,
    "store": "s",
    "member": None,
    "notebook": None,
    "restore": "auto",
    "interval": 60.0,
    "limits": None,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"interval": 0}, "interval=0"),
        ({"interval": -1.0}, "interval"),
        ({"interval": float("nan")}, "interval=nan"),
        ({"interval": True}, "interval=True"),
        ({"interval": "60"}, "interval='60'"),
        ({"restore": "maybe"}, "restore='maybe'"),
        ({"limits": {"idle": 3}}, "limits has no idle"),
        ({"limits": {"idle_seconds": -3}}, "idle_seconds"),
        ({"limits": 90}, "limits=90"),
        ({"limits": {"lifetime_seconds": 1e12}}, "lifetime_seconds"),
        ({"notify": "example.org"}, "notify"),
        ({"colour": 1}, "no argument colour"),
        ({"keep_last": 0}, "keep_last=0"),
        ({"capture": "magic"}, "capture='magic'"),
        ({"dirty_pages": 1}, "dirty_pages=1"),
        ({"budget": "5G"}, "budget='5G' is no size"),
        ({"budget": 0}, "budget=0"),
        ({"store": "ftp://bucket"}, "s3://bucket"),
        ({"store": ""}, None),
        ({"store": 5}, "store=5"),
        ({"project": " "}, "project=' '"),
    ],
)
def test_a_bad_argument_is_named(change, told, monkeypatch):
    """The message says which argument it was."""
    monkeypatch.delenv("KEEPSTATE_STORE", raising=False)
    with pytest.raises(InvalidInputError, match=told):
        read_options({**GOOD, **change})


def test_the_store_comes_from_the_environment_and_then_from_home(monkeypatch):
    """The argument is first, KEEPSTATE_STORE second, the home folder last."""
    monkeypatch.setenv("KEEPSTATE_STORE", "/somewhere")
    assert read_options({**GOOD, "store": None}).store.path == Path("/somewhere")
    monkeypatch.delenv("KEEPSTATE_STORE")
    assert read_options({**GOOD, "store": None}).store.path == Path.home() / ".keepstate"


def test_a_safe_point_is_waited_for_half_the_interval_and_at_most_thirty_seconds():
    """A later picture at a better moment is worth waiting for, but not for ever."""
    assert read_options({**GOOD, "interval": 10}).safe_point_seconds == 5
    assert read_options({**GOOD, "interval": 600}).safe_point_seconds == 30


def test_a_budget_is_a_size():
    """As people write it, or in bytes; without one there is none."""
    assert read_options({**GOOD, "budget": "5GB"}).budget_bytes == 5_000_000_000
    assert read_options({**GOOD, "budget": 4096}).budget_bytes == 4096
    assert read_options(GOOD).budget_bytes is None


def test_an_endless_limit_is_none():
    """No date is so far away that it could not be written down."""
    limits = read_options({**GOOD, "limits": {"idle_seconds": float("inf")}}).limits
    assert limits == {"idle_seconds": None}
