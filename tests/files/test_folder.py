"""What may be watched, and which of its files count."""

import os

import pytest

from keepstate._base.mounts import file_system, is_elsewhere
from keepstate._files import MOST_BYTES, Folder
from keepstate._files.ignore import Ignore
from keepstate._files.scan import scan
from keepstate._repository import Repository
from keepstate.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("outputs", "outputs/"),
        ("outputs/", "outputs/"),
        ("./outputs//fig/../", "outputs/"),
        ("a/b", "a/b/"),
        ("../shared", "../shared/"),
        (".", "./"),
    ],
)
def test_a_folder_is_called_as_the_user_wrote_it(tmp_path, monkeypatch, given, name):
    """Normalised, with a slash at the end, so that no variable can have its name."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = Folder.of(given)
    assert folder.name == name
    assert folder.path == os.path.realpath(given)
    assert folder.max_bytes == MOST_BYTES


def test_a_tilde_is_the_home_folder_of_this_machine(tmp_path, monkeypatch):
    """The name stays the same where the home folder is another one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Folder.of("~/outputs")
    assert (folder.name, folder.path) == ("~/outputs/", str(tmp_path / "outputs"))


def test_a_link_to_a_folder_may_be_watched(tmp_path):
    """The user named it, as a link to a mounted drive often is."""
    (tmp_path / "drive").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "drive")
    assert Folder.of(tmp_path / "outputs").path == str(tmp_path / "drive")


@pytest.mark.parametrize("given", ["/", "//", "~", "~/..", "", " ", "a\0b", "file"])
def test_what_is_no_folder_of_results_is_refused(tmp_path, monkeypatch, given):
    """The disk, the home folder, what is above it, a file, nothing at all."""
    (tmp_path / "home/me").mkdir(parents=True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home/me"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="watch"):
        Folder.of(given)


def test_the_store_itself_is_refused_and_left_out_where_it_lies_inside(tmp_path):
    """Each save would change it again."""
    Repository.open(tmp_path / "outputs/store", create=True)
    with pytest.raises(InvalidInputError, match="store"):
        Folder.of(tmp_path / "outputs/store/members", store=tmp_path / "outputs/store")
    folder = Folder.of(tmp_path / "outputs", store=tmp_path / "outputs/store")
    assert folder.covers(str(tmp_path / "outputs/a"))
    assert not folder.covers(str(tmp_path / "outputs/store/keepstate.json"))
    assert not folder.covers(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "rules", [{"max_bytes": 0}, {"max_bytes": True}, {"max_bytes": 1.5}, {"ignore": ["!a"]}]
)
def test_rules_that_make_no_sense_are_refused(tmp_path, rules):
    """With the rule in the message."""
    with pytest.raises(InvalidInputError):
        Folder.of(tmp_path / "outputs", **rules)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.tmp", "a.tmp", True),
        ("*.tmp", "deep/er/a.tmp", True),
        ("*.tmp", "a.tmp.txt", False),
        ("cache/", "cache/a", True),
        ("cache/", "deep/cache/er/a", True),
        ("cache/", "cache", False),
        ("cache", "cache", True),
        ("runs/*.log", "runs/a.log", True),
        ("runs/*.log", "runs/deep/a.log", False),
        ("runs/*.log", "deep/runs/a.log", False),
        ("/notes.txt", "notes.txt", True),
        ("/notes.txt", "deep/notes.txt", False),
        ("**/old/*", "a/b/old/c", True),
        ("runs/**", "runs/a/b", True),
        ("[ab].txt", "b.txt", True),
        ("A.TXT", "a.txt", False),
    ],
)
def test_patterns(pattern, path, fits):
    """As in a ``.gitignore``, as far as it goes."""
    assert Ignore([pattern]).covers(path) is fits


@pytest.mark.parametrize(
    "path", [".git/config", "sub/__pycache__/a.pyc", ".ipynb_checkpoints/a", ".keepstate-1.tmp"]
)
def test_what_is_never_kept(path):
    """Files of other tools, and our own."""
    assert Ignore([]).covers(path)


def test_the_file_system_of_a_folder(tmp_path):
    """Told also for one that is not there yet."""
    assert file_system("/proc/self") == "proc"
    assert file_system("/proc/not/there") == "proc"
    assert not is_elsewhere(file_system(str(tmp_path)))


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no file system is mounted below another here")
def test_another_file_system_below_is_named_and_not_walked_through():
    """All of a mounted drive was not meant by watching the folder that it is mounted in."""
    found = scan(Folder("dev/", "/dev"))
    assert "mounted" in found.skipped["shm"]
    assert not any(path.startswith("shm/") for path in (*found.files, *found.skipped))


def test_what_cannot_be_listed_is_not_empty(tmp_path, monkeypatch):
    """A folder that fails is told apart from one that holds nothing."""
    (tmp_path / "in/er").mkdir(parents=True)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("er"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan(Folder("in/", str(tmp_path / "in")))
    assert found.unreadable == {"er": "Input/output error"}
    assert found.is_unknown("er/a")
    assert not found.is_unknown("error")
