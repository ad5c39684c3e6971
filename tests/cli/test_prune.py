"""``keepstate prune``."""

import os
from datetime import timedelta

import pytest
from stores import files, save, snapshot_id, spoil

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import Repository


@pytest.fixture
def path(tmp_path):
    """Five snapshots of one session."""
    for number in range(1, 6):
        save(tmp_path / "store", {"x": bytes([number]) * 1000}, number=number)
    return tmp_path / "store"


def ids(path):
    return [each.id for each in Repository.open(path, create=False).manifests()]


def test_keeps_the_newest(keepstate, path):
    """So many of the newest stay, the others are gone, and the document says which is which."""
    done = keepstate("prune", "--keep-last", 2, "--store", path, "--json")
    assert done.code == 0, done.err
    assert sorted(done.document["removed"]) == [snapshot_id(1), snapshot_id(2), snapshot_id(3)]
    assert sorted(done.document["kept"]) == [snapshot_id(4), snapshot_id(5)]
    assert ids(path) == [snapshot_id(5), snapshot_id(4)]


def test_says_what_went(keepstate, path):
    """Nothing is deleted in silence: what went and what stays is printed, with the reason."""
    done = keepstate("prune", "--keep-last", 1, "--store", path)
    assert all(snapshot_id(number) in done.out for number in range(1, 6))
    assert "one of the newest 1" in done.out


def test_default_goes_by_age(keepstate, tmp_path):
    """Without a number: all of the last hour, the newest of each day, and what has a note."""
    now, path = SYSTEM_CLOCK.utc_now(), tmp_path / "store"
    ages = {1: 90, 2: 80, 3: 20.0001, 4: 20, 5: 0.01, 6: 0.005}
    for number, days in ages.items():
        note = "first" if number == 1 else ""
        save(path, {"x": number}, number=number, created_at=now - timedelta(days=days), note=note)
    done = keepstate("prune", "--store", path, "--json")
    assert snapshot_id(2) in done.document["removed"]
    assert {snapshot_id(number) for number in (1, 4, 5, 6)} <= set(ids(path))
    assert "taken within the last hour; " in done.document["kept"][snapshot_id(6)]
    assert done.document["kept"][snapshot_id(1)] == "it has a note"


def test_budget(keepstate, tmp_path):
    """The oldest go until the rest fits, which is said; what must stay is said with numbers."""
    path = tmp_path / "store"
    for number in range(1, 6):
        save(path, {"x": os.urandom(20_000)}, number=number, created_at=SYSTEM_CLOCK.utc_now())
    done = keepstate("prune", "--budget", "60 kB", "--store", path, "--json")
    assert (done.code, sorted(done.document["removed"])) == (
        0,
        [snapshot_id(1), snapshot_id(2), snapshot_id(3)],
    )
    done = keepstate("prune", "--budget", "1kB", "--store", path)
    assert done.code == 0
    assert "more than the budget of 1.0 kB" in " ".join(done.out.split())
    assert ids(path) == [snapshot_id(5)]


@pytest.mark.parametrize("size", ["5G", "much", "-1", "0"])
def test_budget_that_is_none(keepstate, path, size):
    """A size that cannot be read is wrong usage, with an example, and nothing is deleted."""
    done = keepstate("prune", f"--budget={size}", "--store", path)
    assert done.code == 2
    assert "'5GB'" in done.err
    assert len(ids(path)) == 5


def test_drop(keepstate, path):
    """A snapshot with a note goes when it is named by the beginning of its id; the option may be repeated."""
    for number in (6, 7, 8):
        save(path, {"x": number}, number=number, note="named")
    done = keepstate("prune", "--drop", "06", "--drop", "07", "--keep-last", 9, "--store", path, "--json")
    assert sorted(done.document["removed"]) == [snapshot_id(6), snapshot_id(7)]
    done = keepstate("prune", "--drop", "08", "--keep-last", 9, "--store", path, "--json")
    assert (done.document["removed"], done.code) == ([], 0)
    assert "stays although it was to go: the newest" in done.document["remarks"][0]


def test_drop_of_nothing(keepstate, path):
    """An id that is not there, or that fits several, is wrong usage, and nothing is deleted."""
    for beginning in ("ff", "0"):
        assert keepstate("prune", "--drop", beginning, "--keep-last", 1, "--store", path).code == 2
    assert len(ids(path)) == 5


def test_dry_run(keepstate, path):
    """What would go and what would stay is said, and not a byte changes."""
    before = {each: each.read_bytes() for each in files(path, "")}
    done = keepstate("prune", "--keep-last", 2, "--dry-run", "--store", path)
    assert done.code == 0
    assert "would go" in done.out
    assert all(snapshot_id(number) in done.out for number in range(1, 6))
    said = keepstate("prune", "--keep-last", 2, "--dry-run", "--store", path, "--json").document
    assert said["dry_run"]
    assert {each: each.read_bytes() for each in files(path, "")} == before
    done = keepstate("prune", "--keep-last", 2, "--store", path, "--json").document
    assert (said["removed"], said["kept"]) == (done["removed"], done["kept"])


def test_frees_space(keepstate, path):
    """Packs that nothing needs any more are deleted at once, and what stays is sound."""
    before = len(files(path, ".pack"))
    done = keepstate("prune", "--keep-last", 1, "--store", path, "--json")
    assert done.document["freed_bytes"] > 0
    assert len(files(path, ".pack")) < before
    assert Repository.open(path, create=False).verify(deep=True).is_sound


def test_at_least_one(keepstate, path):
    """Fewer than one is wrong usage, and nothing is deleted."""
    assert keepstate("prune", "--keep-last", 0, "--store", path).code == 2
    assert len(ids(path)) == 5


def test_damaged_manifest_stops_it(keepstate, path):
    """A damaged manifest stops the prune before anything is deleted, and the option that goes on is named."""
    spoil(files(path, ".manifest")[0])
    done = keepstate("prune", "--keep-last", 1, "--store", path, "--json")
    assert (done.code, done.document["kind"], done.document["removed"]) == (1, "integrity", [])
    assert len(ids(path)) == 4
    assert "--drop-damaged" in done.document["error"]


def test_drop_damaged(keepstate, path):
    """``--drop-damaged`` deletes damaged manifests, names them and goes on."""
    spoil(files(path, ".manifest")[0])
    damaged = str(files(path, ".manifest")[0])
    done = keepstate("prune", "--keep-last", 1, "--drop-damaged", "--store", path, "--json")
    assert (done.code, done.document["removed_damaged"]) == (0, [damaged])
    assert len(files(path, ".manifest")) == 1


def test_what_went_before_it_failed_is_told(keepstate, path):
    """Where the prune fails half way, what it had removed by then is printed all the same."""
    save(path, {"x": 1}, number=9, member="ben")
    spoil(files(path / "members" / "ben", ".manifest")[0])
    done = keepstate("prune", "--keep-last", 1, "--store", path)
    assert done.code == 1
    assert snapshot_id(1) in done.out


def test_one_project(keepstate, path):
    """With ``--project`` the snapshots of another project stay."""
    for number in (7, 8):
        save(path, {"x": number}, number=number, project="q", lineage="session-2")
    keepstate("prune", "--keep-last", 1, "--project", "q", "--store", path)
    assert len(ids(path)) == 6
