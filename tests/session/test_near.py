"""The repository for a far store has a folder of its own on this machine, in which nobody else may write."""

import os
import tempfile
from pathlib import Path

import pytest

from keepstate._session.near import known_near_folder, near_folder
from keepstate.backends import read_address
from keepstate.errors import StoreError

ADDRESS = read_address("s3://bucket/team?region=eu-1")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder without anything in it; gives where the folders of far stores go then."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("KEEPSTATE_LOCAL", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def mode(path):
    return path.stat().st_mode & 0o7777


def test_it_is_below_the_state_folder_of_the_user(home, monkeypatch, tmp_path):
    """Where programs keep what survives a restart and is no document."""
    assert near_folder(ADDRESS).parent == home / ".local" / "state" / "keepstate" / "near"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert near_folder(ADDRESS).parent == tmp_path / "state" / "keepstate" / "near"


def test_the_user_may_name_another_place(monkeypatch, tmp_path):
    """Also one to which a link leads."""
    (tmp_path / "fast").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "fast")
    for said in ("fast", "link"):
        monkeypatch.setenv("KEEPSTATE_LOCAL", str(tmp_path / said))
        assert near_folder(ADDRESS).parent == tmp_path / "fast"


def test_each_address_has_one():
    """The same each time; two that differ in anything have two, and what they are can be read."""
    said = [
        "s3://bucket/team?region=eu-1",
        "s3://bucket/team?region=eu-2",
        "s3://bucket/team",
        "s3://bucket-team",
        "s3://bucket/TEAM",
        "gs://bucket/team",
        "gdrive://bucket/team",
        "/bucket/team",
    ]
    found = [near_folder(read_address(each)) for each in said]
    assert len({path.name.lower() for path in found}) == len(said)
    assert found == [near_folder(read_address(each)) for each in said]
    assert found[0].name.startswith("s3-bucket-team-")


def test_an_address_in_any_script_makes_a_name_that_every_disk_takes():
    """Short, and of plain letters."""
    name = near_folder(read_address(f"gdrive://Füße und Hände/{'長い' * 100}")).name
    assert len(name) < 80
    assert name.isascii()
    assert "/" not in name


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o000, 0o077])
def test_it_is_for_this_user_alone_whatever_others_are_made_like(mask):
    """Many systems make new folders writable by a group; that is not taken for somebody else's doing."""
    before = os.umask(mask)
    try:
        folder = near_folder(ADDRESS)
    finally:
        os.umask(before)
    assert mode(folder) == mode(folder.parent) == 0o700
    assert near_folder(ADDRESS) == folder
    assert known_near_folder(ADDRESS) == folder


def test_before_it_was_used_it_is_not_known():
    """And asking makes nothing."""
    assert known_near_folder(ADDRESS) is None
    assert list(Path.home().iterdir()) == []


@pytest.mark.parametrize("open_to", [0o770, 0o702, 0o777])
@pytest.mark.parametrize("above", [False, True])
def test_one_that_others_may_write_to_is_refused(open_to, above):
    """They could have put their code there; restoring would run it."""
    folder = near_folder(ADDRESS)
    (folder.parent if above else folder).chmod(open_to)
    with pytest.raises(StoreError, match="others may write") as raised:
        near_folder(ADDRESS)
    assert "KEEPSTATE_LOCAL" in str(raised.value)
    assert known_near_folder(ADDRESS) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("above", [False, True])
def test_one_that_belongs_to_another_user_is_refused(above):
    """However it may be written to."""
    folder = near_folder(ADDRESS)
    os.chown(folder.parent if above else folder, 12345, 12345)
    with pytest.raises(StoreError, match="belongs to another user"):
        near_folder(ADDRESS)
    assert known_near_folder(ADDRESS) is None


@pytest.mark.parametrize("above", [False, True])
def test_a_link_in_its_place_is_refused(tmp_path, above):
    """It leads where its owner wants."""
    folder = near_folder(ADDRESS)
    elsewhere = tmp_path / "elsewhere"
    replaced = folder.parent if above else folder
    replaced.rename(elsewhere)
    replaced.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="belongs to another user"):
        near_folder(ADDRESS)
    assert known_near_folder(ADDRESS) is None


def test_a_file_in_its_place_is_told(home):
    """In a sentence that says what to do."""
    (home / ".local").write_text("mine")
    with pytest.raises(StoreError, match="KEEPSTATE_LOCAL"):
        near_folder(ADDRESS)
    assert (home / ".local").read_text() == "mine"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of root's")
def test_below_the_folder_of_everybody_it_may_be(tmp_path, monkeypatch):
    """Others can add names to a folder like /tmp, and not take the place of ours."""
    everybodys = tmp_path / "everybodys"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    monkeypatch.setenv("KEEPSTATE_LOCAL", str(everybodys))
    folder = near_folder(ADDRESS)
    assert mode(folder) == 0o700
    folder.chmod(0o1777)
    with pytest.raises(StoreError, match="others may write"):
        near_folder(ADDRESS)


def test_a_home_folder_on_a_network_is_no_disk_of_this_machine(home, tmp_path, monkeypatch):
    """What is kept first is kept in the folder for temporary files, under the user's number."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / {home} rw - nfs4 server:/home rw\n")
    monkeypatch.setattr("keepstate._base.mounts._TABLE", str(table))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = near_folder(ADDRESS)
    assert folder.parent == tmp_path / f"keepstate-{os.getuid()}"
    assert mode(folder.parent) == mode(folder) == 0o700
    assert list(home.iterdir()) == []


def test_a_user_without_a_home_folder_has_one_all_the_same(tmp_path, monkeypatch):
    """A container may run under a number that no table names."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def no_home(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(no_home))
    assert near_folder(ADDRESS).parent == tmp_path / f"keepstate-{os.getuid()}"
