"""``keepstate verify``."""

import shutil

import pytest
from stores import files, save, snapshot_id, spoil


@pytest.mark.parametrize("how", [[], ["--deep"]], ids=["quick", "deep"])
def test_sound(keepstate, store, how):
    """A sound store has exit code 0."""
    found = keepstate("verify", *how, "--store", store, "--json")
    assert found.code == 0
    assert found.document["is_sound"] is True
    assert found.document["deep"] is bool(how)
    assert found.document["snapshots"] == 3


def test_damaged_byte(keepstate, store, tmp_path):
    """One flipped bit in a pack has exit code 1 and is told."""
    shutil.copytree(store, tmp_path / "store")
    pack = max(files(tmp_path / "store", ".pack"), key=lambda each: each.stat().st_size)
    spoil(pack)
    found = keepstate("verify", "--deep", "--store", tmp_path / "store", "--json")
    assert (found.code, found.document["is_sound"]) == (1, False)
    assert found.document["problems"]


def test_missing_pack(keepstate, store, tmp_path):
    """A missing pack is found without --deep, and each affected snapshot and name is listed."""
    shutil.copytree(store, tmp_path / "store")
    for pack in files(tmp_path / "store", ".pack"):
        pack.unlink()
    found = keepstate("verify", "--store", tmp_path / "store")
    assert found.code == 1
    assert snapshot_id(1) in found.out
    assert "array" in found.out


def test_damaged_manifest(keepstate, store, tmp_path):
    """A damaged manifest is a problem that names the file."""
    shutil.copytree(store, tmp_path / "store")
    damaged = files(tmp_path / "store", ".manifest")[0]
    spoil(damaged)
    found = keepstate("verify", "--store", tmp_path / "store", "--json")
    assert found.code == 1
    assert damaged.name in found.document["problems"][0]["what"]


def test_one_member(keepstate, tmp_path):
    """With ``--member`` the damage of another member does not count."""
    path = tmp_path / "store"
    save(path, {"x": 1}, number=1)
    save(path, {"x": 2}, number=2, member="ben")
    for pack in files(path / "members" / "ben", ".pack"):
        pack.unlink()
    codes = [keepstate("verify", "--store", path, "--member", each).code for each in ("ana", "ben")]
    assert codes == [0, 1]


@pytest.mark.parametrize("option", ["--member", "--project"])
def test_unknown_is_not_sound(keepstate, store, option):
    """A member or project that is not there is wrong usage, not sound."""
    assert keepstate("verify", "--store", store, option, "anna").code == 2
