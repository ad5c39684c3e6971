"""What the table of mounts says of a folder."""

import pytest

from keepstate._base import mounts

TABLE = """\
22 1 253:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / {0}/memory rw,nosuid - tmpfs tmpfs rw
31 22 0:26 / {0}/drive rw,nosuid - fuse.drive drive rw
"""


@pytest.mark.parametrize(
    ("folder", "own"),
    [("store", True), ("memory/store", False), ("drive/store", False), ("link/store", False)],
)
def test_only_what_is_on_a_disk_of_this_machine_is_called_so(tmp_path, monkeypatch, folder, own):
    """Memory is none, what is mounted from afar is none, and neither is a link that leads there."""
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text(TABLE.format(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "drive")
    assert mounts.is_on_own_disk(tmp_path / folder) is own
