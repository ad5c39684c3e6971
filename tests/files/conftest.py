"""Lets the tests here import the helpers beside them and those of ``tests``."""

import sys
from pathlib import Path

import pytest

for path in (Path(__file__).parent, Path(__file__).parents[1]):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))

from folder_saves import FolderSaver  # noqa: E402

from keepstate._repository import Repository  # noqa: E402


@pytest.fixture
def repository(tmp_path):
    """An empty store."""
    return Repository.open(tmp_path / "store", create=True)


@pytest.fixture
def outputs(tmp_path):
    """A folder of a notebook, empty."""
    path = tmp_path / "outputs"
    path.mkdir()
    return path


@pytest.fixture
def saver(repository, outputs):
    """Saves that folder, again and again."""
    return FolderSaver(repository, outputs)
