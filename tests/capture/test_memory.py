"""How much memory is free, as control groups of both versions tell it."""

from __future__ import annotations

import pytest

from keepstate._capture import memory

GiB = 1 << 30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A folder in the place of /sys/fs/cgroup."""
    monkeypatch.setattr(memory, "_GROUPS", str(tmp_path))

    def write(folder, **files):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name, text in files.items():
            (place / name.replace("__", ".")).write_text(text)

    return write


def test_without_a_limit_it_is_the_machines():
    """Memory that is available is part of the machine's."""
    room = memory.read_room()
    assert 0 < room.available <= room.limit


def test_version_2(groups):
    """The limit less what is used, with the file cache that can be dropped counted as free."""
    groups(
        ".", memory__max=f"{GiB}", memory__current=f"{GiB - 1000}", memory__stat="anon 5\ninactive_file 300\n"
    )
    assert memory.read_room() == (1300, GiB)


def test_version_1(groups):
    """The older names mean the same."""
    groups(
        "memory",
        memory__limit_in_bytes=f"{GiB}",
        memory__usage_in_bytes=f"{GiB - 1000}",
        memory__stat="inactive_file 1\ntotal_inactive_file 200\n",
    )
    assert memory.read_room() == (1200, GiB)


def test_no_limit(groups):
    """A group without a limit leaves the machine's memory."""
    groups(".", memory__max="max", memory__current="5")
    groups("memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="5")
    assert memory.read_room().limit > GiB


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False)])
def test_whether_one_kill_takes_all(groups, text, expected):
    """The group flag of version 2 is seen."""
    groups(".", memory__oom__group=text)
    assert memory.kills_whole_group() is expected
