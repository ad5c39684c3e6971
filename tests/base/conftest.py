"""The operations on files are tried on a disk, not in memory."""

import pytest


@pytest.fixture
def tmp_path(on_disk):
    return on_disk
