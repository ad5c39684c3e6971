"""Which snapshot is meant."""

from datetime import datetime, timedelta

import pytest
from standing_still import Saver

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import Repository
from keepstate._snapshot import best_of, find, remarks_on, snapshot_of
from keepstate.errors import AmbiguousError, InvalidInputError, NotFoundError


@pytest.fixture
def repository(tmp_path):
    return Repository.open(tmp_path / "store", create=True)


def history(repository):
    return repository.manifests(project="p", member="me", notebook="n")


def test_a_picture_of_any_moment_never_displaces_a_better_one(repository):
    """The newest of a better level is restored, and the report says that a newer one is there."""
    saver = Saver(repository)
    saver.save({"x": 1})
    saver.save({"x": 2}, consistency="operation")
    newest = history(repository)
    assert best_of(newest).sequence == 1
    assert "newer snapshot" in remarks_on(best_of(newest), newest)[0]


def test_a_picture_of_any_moment_is_better_than_none(repository):
    """It is restored with a warning."""
    Saver(repository).save({"x": 2}, consistency="operation")
    newest = history(repository)
    assert best_of(newest).sequence == 1
    assert "half updated" in remarks_on(best_of(newest), newest)[0]


def test_a_session_that_ran_beside_is_told(repository):
    """An old tab that wrote on after a new session had begun is mentioned, and neither hides the other."""
    old = Saver(repository, lineage="0" * 16)
    old.save({"x": 1})
    new = Saver(repository, lineage="1" * 16, parents={"0" * 16: 1})
    new.save({"x": 2})
    assert remarks_on(history(repository)[0], history(repository)) == []
    old.save({"x": 3})
    newest = history(repository)
    assert len(newest) == 3
    chosen = next(m for m in newest if m.lineage == new.lineage)
    assert "same time" in remarks_on(chosen, newest)[0]


def test_cell_means_the_newest_between_cells(repository):
    """at='cell' goes back over states inside cells."""
    saver = Saver(repository)
    saver.save({"x": 1})
    saver.save({"x": 2}, consistency="statement")
    assert find(history(repository), "cell").sequence == 1
    assert find(history(repository), None).sequence == 2


def test_a_snapshot_is_found_by_itself_by_its_id_and_by_a_beginning_of_it(repository):
    """Any beginning that only one has will do."""
    saver = Saver(repository)
    first = saver.save({"x": 1}).commit.manifest
    saver.save({"x": 2})
    newest = history(repository)
    assert find(newest, snapshot_of(first)).id == first.id
    assert find(newest, first.id).id == first.id
    assert find(newest, "0001").id == first.id


def test_a_time_means_the_newest_until_then(repository):
    """An aware time after the last one finds the last one; one before the first finds nothing."""
    saver = Saver(repository)
    saver.save({"x": 1})
    now = SYSTEM_CLOCK.utc_now()
    assert find(history(repository), now).sequence == 1
    with pytest.raises(NotFoundError):
        find(history(repository), now - timedelta(days=1))


@pytest.mark.parametrize(
    ("at", "error"),
    [
        ("ffff", NotFoundError),
        ("000", AmbiguousError),
        (datetime(2026, 1, 1), InvalidInputError),  # noqa: DTZ001 - a naive one is the point
        (5, InvalidInputError),
        ("", InvalidInputError),
    ],
)
def test_what_fits_nothing_or_too_much_is_told(repository, at, error):
    """The error says what to give instead."""
    saver = Saver(repository)
    saver.save({"x": 1})
    saver.save({"x": 2})
    with pytest.raises(error):
        find(history(repository), at)
