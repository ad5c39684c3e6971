"""A budget of bytes: what goes for it, what does not, and what is said when it cannot be met."""

import os

import pytest
from faults import Quick
from saves import everything, files, save, snapshot_id

from keepstate._base.clock import ManualClock
from keepstate._repository import Repository, Retention
from keepstate.errors import InvalidInputError

KILO = 10_000
"""Bytes of noise in each snapshot here, which is nearly all that it takes."""


def history(path, count=8, **more):
    """Snapshots of one session, each with bytes of its own; all within the last hour of the clock."""
    repository = Repository.open(path, create=True, disk=Quick(), clock=ManualClock())
    for sequence in range(1, count + 1):
        save(repository, {"own": os.urandom(KILO)}, sequence=sequence, **more)
    return repository


def bytes_there(repository):
    """What is on the disk."""
    return sum(
        each.stat().st_size for suffix in (".pack", ".manifest") for each in files(repository.path, suffix)
    )


def own(*numbers):
    return {snapshot_id("s1", number) for number in numbers}


def test_the_oldest_go_until_the_rest_fits(tmp_path):
    """No more than is needed, also of those that the rules would keep; what stays is whole."""
    repository = history(tmp_path / "store")
    each = bytes_there(repository) / 8
    report = repository.prune(budget_bytes=int(each * 5.5))
    assert set(report.removed) == own(1, 2, 3)
    assert bytes_there(repository) <= each * 5.5
    assert report.short_bytes == 0
    assert "3 snapshots go for the budget" in report.remarks[0]
    assert everything(repository.path).keys() == own(4, 5, 6, 7, 8)
    assert repository.verify(deep=True).is_sound
    again = repository.prune(budget_bytes=int(each * 5.5))
    assert (again.removed, again.remarks) == ([], [])


def test_a_budget_that_is_met_changes_nothing(tmp_path):
    """Nothing goes that the rules keep, and nothing is said."""
    repository = history(tmp_path / "store")
    report = repository.prune(budget_bytes=bytes_there(repository))
    assert report.removed == report.remarks == []


def test_what_must_stay_does_and_the_numbers_are_said(tmp_path):
    """The newest of each level, the last of a session that runs, a note, and what was asked for."""
    repository = history(tmp_path / "store", 3, consistency="statement")
    for number, more in ((4, {"note": "x"}), (5, {}), (6, {}), (7, {"consistency": "operation"})):
        save(repository, {"own": os.urandom(KILO)}, sequence=number, **more)
    for number in (1, 2):
        save(
            repository,
            {"own": os.urandom(KILO)},
            sequence=number,
            lineage="s2",
            created_at="2025-05-05T00:00:00Z",
        )
    report = repository.prune(budget_bytes=3 * KILO, keep=own(1), running=["s2"])
    stays = own(1, 3, 4, 6, 7) | {snapshot_id("s2", 2)}
    assert everything(repository.path).keys() == report.kept.keys() == stays
    assert "its session goes on" in report.kept[snapshot_id("s2", 2)]
    assert report.short_bytes == bytes_there(repository) - 3 * KILO
    assert "the budget of 30.0 kB" in report.remarks[-1]
    assert f"{report.short_bytes / 1000:.1f} kB more" in report.remarks[-1]


def test_the_last_of_a_session_that_is_over_goes_in_the_end(tmp_path):
    """Only the newest of the notebook is sacred; without a budget each session keeps its last."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick())
    for number in range(4):
        values = {"own": os.urandom(KILO)}
        save(repository, values, sequence=1, lineage=f"s{number}", parents={f"s{number - 1}": 1})
    assert repository.prune(keep_last=1).removed == []
    assert len(repository.prune(keep_last=1, budget_bytes=2 * KILO).removed) == 3
    assert everything(repository.path).keys() == {snapshot_id("s3", 1)}


def test_a_session_that_saves_right_now_keeps_its_last(tmp_path):
    """Its lease says so: what it holds may equal what it has saved, and then it saves nothing."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick())
    for number in range(4):
        values = {"own": os.urandom(KILO)}
        save(repository, values, sequence=1, lineage=f"s{number}", parents={f"s{number - 1}": 1})
    with repository.writer("ana", lineage="s0"):
        repository.prune(budget_bytes=1)
    assert everything(repository.path).keys() == {snapshot_id("s3", 1), snapshot_id("s0", 1)}


def test_what_names_are_carried_from_goes_after_what_carries(tmp_path):
    """An old snapshot that a newer one needs outlives one that is younger than it, but not that newer one."""
    repository = history(tmp_path / "store", 4)
    entry = repository.manifest(snapshot_id("s1", 1)).names["own"]
    carried = {"lost": type(entry)(entry.group, entry.type, entry.logical_bytes, snapshot_id("s1", 1))}
    save(repository, {"own": os.urandom(KILO)}, sequence=5, carried=carried)
    save(repository, {"own": os.urandom(KILO)}, sequence=6)
    repository.prune(budget_bytes=int(3.6 * KILO))
    assert {each.id for each in repository.manifests()} == own(1, 5, 6)
    repository.prune(budget_bytes=int(2.6 * KILO))
    assert everything(repository.path).keys() == own(1, 6)
    repository.prune(budget_bytes=int(1.6 * KILO))
    assert everything(repository.path).keys() == own(6)


def test_dead_bytes_are_freed_before_a_snapshot_goes(tmp_path):
    """A pack that is two thirds alive stays as a rule; for a budget it is written anew instead."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick(), clock=ManualClock())
    first = save(repository, {"a": os.urandom(2 * KILO), "b": os.urandom(KILO)}, sequence=1)
    values = everything(repository.path)[first.manifest.id]
    for sequence in (2, 3):
        save(repository, {"a": values["a"]}, sequence=sequence, known=first.known)
    assert repository.prune(keep_last=2).repacked_packs == 0
    report = repository.prune(keep_last=2, budget_bytes=int(2.5 * KILO))
    assert (report.removed, report.repacked_packs, report.short_bytes) == ([], 1, 0)
    assert bytes_there(repository) <= 2.5 * KILO
    assert repository.verify(deep=True).is_sound


def test_shared_bytes_count_once(tmp_path):
    """Twenty snapshots of one large value cost little more than one, so none goes."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick(), clock=ManualClock())
    same, known = os.urandom(10 * KILO), {}
    for sequence in range(1, 21):
        known = save(repository, {"same": same}, sequence=sequence, known=known).known
    assert repository.prune(budget_bytes=13 * KILO).removed == []


def test_only_the_notebook_that_was_asked_about_gives(tmp_path):
    """The bytes of others count, and stay; that it is not enough is said."""
    repository = history(tmp_path / "store", 4)
    for sequence in range(1, 5):
        save(repository, {"own": os.urandom(KILO)}, sequence=sequence, lineage="s2", notebook="m")
    report = repository.prune(notebook="n", project="p", budget_bytes=3 * KILO)
    assert set(report.removed) == own(1, 2, 3)
    assert report.short_bytes > KILO
    assert len(repository.manifests(notebook="m")) == 4
    assert report.kept.keys() == own(4)


def test_a_named_snapshot_goes_when_it_is_dropped(tmp_path):
    """A note keeps it until it is told to go; the newest cannot be told; an unknown one is said."""
    repository = history(tmp_path / "store", 2, note="x")
    save(repository, {"own": b"x" * 50}, sequence=3)
    assert repository.prune(retention=Retention.newest(1)).removed == []
    report = repository.prune(drop=[*own(2), *own(3), "feed"])
    assert set(report.removed) == own(2)
    assert f"snapshot {snapshot_id('s1', 3)} stays although it was to go: the newest" in report.remarks[0]
    assert "no snapshot feed" in report.remarks[1]


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path):
    """Not a file is made, changed or deleted, and the real run does what was said."""
    repository = history(tmp_path / "store")
    first = save(repository, {"big": os.urandom(9 * KILO), "a": b"a" * 900}, sequence=9, note="x")
    save(repository, {"a": b"a" * 900}, sequence=10, known=first.known)
    before = {path: path.read_bytes() for path in files(repository.path, "")}
    wishes = {"budget_bytes": int(3.5 * KILO), "drop": [first.manifest.id]}
    said = repository.prune(**wishes, dry_run=True)
    assert {path: path.read_bytes() for path in files(repository.path, "")} == before
    done = repository.prune(**wishes)
    assert (said.removed, said.kept, said.remarks) == (done.removed, done.kept, done.remarks)
    assert (said.deleted_packs, said.repacked_packs) == (done.deleted_packs, done.repacked_packs) != (0, 0)
    assert abs(said.freed_bytes - done.freed_bytes) < 100


@pytest.mark.parametrize(
    "wrong", [{"budget_bytes": 0}, {"keep_last": 0}, {"keep_last": 2, "retention": Retention()}]
)
def test_senseless_wishes_are_refused(tmp_path, wrong):
    """Before anything is deleted."""
    repository = history(tmp_path / "store", 3)
    with pytest.raises(InvalidInputError):
        repository.prune(**wrong)
    assert len(everything(repository.path)) == 3


def test_the_usual_rules_are_by_age(tmp_path):
    """Without any wish: of a morning's snapshots one an hour is left the next evening, and the last."""
    clock = ManualClock()
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick(), clock=clock)
    for minute in range(0, 240, 20):
        created = f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00+00:00"
        save(repository, {"own": bytes([minute]) * 99}, sequence=minute + 1, created_at=created)
    clock.advance(10 * 3600)
    repository.prune()
    assert everything(repository.path).keys() == own(41, 101, 161, 221)
    clock.advance(24 * 3600)
    report = repository.prune()
    assert set(report.kept.values()) == {
        "the newest of its day; the last of its session; the newest that was taken between cells"
    }


def test_a_session_knows_what_it_takes(tmp_path):
    """Packs and manifests are added up without reading them."""
    repository = history(tmp_path / "store", 3)
    assert Repository.open(repository.path, create=False).held_bytes("ana") == bytes_there(repository)
    assert repository.held_bytes("nobody") == 0
