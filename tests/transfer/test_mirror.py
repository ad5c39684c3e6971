"""What was seen at the far side is remembered on this machine, and nothing else passes for it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "repository"))

from saves import manifest

from keepstate._transfer.mirror import Mirror, whose

MINE = ("p", "ana", "n")


def seen(*sequences, **more):
    return [manifest({}, sequence=sequence, **more) for sequence in sequences]


def ids(manifests):
    return sorted(each.id for each in manifests)


@pytest.fixture
def mirror(tmp_path):
    return Mirror.of(tmp_path)


def test_what_was_written_is_read_by_another_process(mirror, tmp_path):
    """Every field of it."""
    mirror.write(MINE, seen(1, 2, note="a note"))
    found = Mirror.of(tmp_path).read(MINE)
    assert sorted(found, key=lambda each: each.sequence) == seen(1, 2, note="a note")


def test_before_the_first_look_nothing_is_known(mirror):
    """And that is no error."""
    assert mirror.read(MINE) == []


def test_what_is_gone_there_is_forgotten(mirror):
    """A pruned snapshot is not offered any longer."""
    mirror.write(MINE, seen(1, 2, 3))
    mirror.write(MINE, seen(3, 4))
    assert ids(mirror.read(MINE)) == ids(seen(3, 4))


@pytest.mark.parametrize("other", [{"notebook": "m"}, {"member": "bob"}, {"project": "q"}])
def test_notebooks_are_kept_apart(mirror, other):
    """What is written for one changes nothing of another."""
    (theirs,) = seen(1, **other)
    mirror.write(MINE, seen(1, 2))
    mirror.write(whose(theirs), [theirs])
    mirror.write(MINE, seen(2))
    assert mirror.read(whose(theirs)) == [theirs]
    assert mirror.read(MINE) == seen(2)


def test_names_that_run_together_are_kept_apart(mirror):
    """``a`` and ``bc`` are not ``ab`` and ``c``."""
    for project, member in (("a", "bc"), ("ab", "c")):
        mirror.write((project, member, "n"), seen(1, project=project, member=member))
    assert mirror.read(("a", "bc", "n")) == seen(1, project="a", member="bc")


@pytest.mark.parametrize("torn", [b"", b"kMANI\x00\x01\n", bytes(400)])
def test_what_a_power_cut_has_torn_is_not_there_and_is_written_again(mirror, tmp_path, torn):
    """The next process that looks mends it."""
    mirror.write(MINE, seen(1, 2))
    path = next((tmp_path / "transfer").rglob("*.manifest"))
    path.write_bytes(torn)
    assert len(mirror.read(MINE)) == 1
    Mirror.of(tmp_path).write(MINE, seen(1, 2))
    assert ids(mirror.read(MINE)) == ids(seen(1, 2))


def test_what_is_known_to_be_whole_is_not_written_again(mirror, tmp_path):
    """A look each minute at a thousand snapshots costs the disk nothing."""
    mirror.write(MINE, seen(1, 2))
    before = {path: path.stat().st_ino for path in (tmp_path / "transfer").rglob("*.manifest")}
    for same in (mirror, Mirror.of(tmp_path)):
        same.write(MINE, seen(1, 2))
    assert before == {path: path.stat().st_ino for path in (tmp_path / "transfer").rglob("*.manifest")}


def test_no_temporary_file_stays(mirror, tmp_path):
    """Nor is one taken for a snapshot."""
    mirror.write(MINE, seen(1, 2))
    assert {path.suffix for path in (tmp_path / "transfer").rglob("*") if path.is_file()} == {".manifest"}
