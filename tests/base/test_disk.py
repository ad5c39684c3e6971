"""A file is there whole or not at all."""

import errno
import os

import pytest

from keepstate._base.disk import Disk, make_directories, write_durably
from keepstate.errors import StoreError, StoreFullError


class FullAfter(Disk):
    def __init__(self, budget, error=errno.ENOSPC):
        self.budget, self.error = budget, error

    def write(self, descriptor, data):
        self.budget -= len(data)
        if self.budget < 0:
            raise OSError(self.error, os.strerror(self.error))
        super().write(descriptor, data)


def test_written_pieces_are_read_back_whole(tmp_path):
    """All pieces are at the final name, in order, and nothing else is left."""
    write_durably(Disk(), tmp_path / "a", [b"one", memoryview(b"two"), b""], temporary=tmp_path / ".t")
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreError)],
)
def test_a_failing_disk_leaves_the_old_file(tmp_path, code, kind):
    """When the disk fails in the middle, the name keeps its old bytes and no temporary file stays."""
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(kind) as raised:
        write_durably(FullAfter(4, code), tmp_path / "a", [b"abc", b"def"], temporary=tmp_path / ".t")
    assert raised.value.errno == code
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_directories_are_made_once(tmp_path):
    """Making directories again is no error."""
    for _ in range(2):
        make_directories(Disk(), tmp_path / "x" / "y" / "z")
    assert (tmp_path / "x" / "y" / "z").is_dir()
