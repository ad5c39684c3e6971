"""Lets the tests here import the helpers beside them: ``saves`` and ``powercut``."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1]):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from keepstate._repository import Repository  # noqa: E402


@pytest.fixture
def repository(tmp_path):
    """An empty store."""
    return Repository.open(tmp_path / "store", create=True)
