"""``keepstate prune``."""

import pytest
from stores import files, save, snapshot_id, spoil

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


def test_default_keeps_twenty(keepstate, tmp_path):
    """Without a number twenty stay."""
    for number in range(1, 24):
        save(tmp_path / "store", {"x": number}, number=number)
    keepstate("prune", "--store", tmp_path / "store")
    assert len(ids(tmp_path / "store")) == 20


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
