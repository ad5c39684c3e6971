"""``keepstate log``."""

import dataclasses
import shutil
from datetime import timedelta

from stores import files, save, snapshot_id, spoil

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._model.snapshot import Snapshot


def test_newest_first(keepstate, store):
    """The list begins with the newest snapshot."""
    found = keepstate("log", "--store", store, "--json")
    assert [each["id"] for each in found.document] == [snapshot_id(3), snapshot_id(2), snapshot_id(1)]


def test_fields_of_snapshot(keepstate, store):
    """Every field of ``Snapshot`` is in the document under its own name."""
    document = keepstate("log", "--store", store, "--json").document[0]
    assert {field.name for field in dataclasses.fields(Snapshot)} <= document.keys()


def test_time_is_utc(keepstate, store):
    """Times are ISO 8601 in UTC."""
    assert (
        keepstate("log", "--store", store, "--json").document[0]["created_at"] == "2026-01-01T12:00:03+00:00"
    )


def test_whole_store(keepstate, team):
    """Without options the snapshots of all members and projects are listed."""
    found = keepstate("log", "--store", team, "--json").document
    assert {(each["member"], each["project"]) for each in found} == {("ana", "p"), ("ana", "q"), ("ben", "p")}


def test_one_member(keepstate, team):
    """``--member`` restricts the list."""
    found = keepstate("log", "--store", team, "--member", "ben", "--json").document
    assert [each["id"] for each in found] == [snapshot_id(3)]


def test_one_project(keepstate, team):
    """``--project`` restricts the list."""
    found = keepstate("log", "--store", team, "--project", "q", "--json").document
    assert [each["id"] for each in found] == [snapshot_id(2)]


def test_one_notebook(keepstate, team):
    """``--notebook`` restricts the list."""
    found = keepstate("log", "--store", team, "--notebook", "m", "--json").document
    assert [each["id"] for each in found] == [snapshot_id(3)]


def test_nothing_is_an_empty_list(keepstate, team):
    """A project of which nothing is kept has no snapshots, and that is fine."""
    found = keepstate("log", "--store", team, "--project", "later", "--json")
    assert (found.code, found.document) == (0, [])


def test_store_from_environment(keepstate, store):
    """``KEEPSTATE_STORE`` names the store where no option does."""
    assert len(keepstate("log", "--json", KEEPSTATE_STORE=str(store)).document) == 3


def test_store_of_home(keepstate, store, tmp_path):
    """The store is ``~/.keepstate`` where nothing names another."""
    shutil.copytree(store, tmp_path / ".keepstate")
    assert len(keepstate("log", "--json").document) == 3


def test_damaged_manifest_is_mentioned(keepstate, store, tmp_path):
    """A damaged manifest is told beside the list of the others."""
    shutil.copytree(store, tmp_path / "store")
    damaged = files(tmp_path / "store", ".manifest")[0]
    spoil(damaged)
    found = keepstate("log", "--store", tmp_path / "store", "--json")
    assert (found.code, len(found.document)) == (0, 2)
    assert damaged.name in found.err


def test_last_ones(keepstate, store):
    """With --last only so many are listed, of the newest ones; none is wrong usage."""
    found = keepstate("log", "--store", store, "--last", "2", "--json")
    assert [each["id"] for each in found.document] == [snapshot_id(3), snapshot_id(2)]
    assert snapshot_id(2) not in keepstate("log", "--store", store, "--last", "1").out
    assert keepstate("log", "--store", store, "--last", "0").code == 2


def test_note_is_shown(keepstate, store):
    """A note stands beside its snapshot."""
    assert "before the merge" in " ".join(keepstate("log", "--store", store).out.split())


def test_state_inside_a_cell_is_marked(keepstate, tmp_path):
    """A state that was taken inside a cell is told from one between cells."""
    save(tmp_path / "store", {"x": 1}, consistency="statement")
    assert "inside a cell" in " ".join(keepstate("log", "--store", tmp_path / "store").out.split())


def test_says_what_each_is_kept_for(keepstate, tmp_path):
    """All reasons are in the document; in the table, what the next prune would take is marked."""
    for number, days in ((1, 90), (2, 80), (3, 0)):
        taken = SYSTEM_CLOCK.utc_now() - timedelta(days=days)
        save(tmp_path / "store", {"x": number}, number=number, created_at=taken, note="a" * (number == 2))
    found = keepstate("log", "--store", tmp_path / "store", "--json").document
    assert [each["kept_for"] for each in found][1:] == [["it has a note"], []]
    assert "taken within the last hour" in found[0]["kept_for"]
    assert "the last of its session" in found[0]["kept_for"]
    out = " ".join(keepstate("log", "--store", tmp_path / "store").out.split())
    assert out.count("goes at a prune") == 1
