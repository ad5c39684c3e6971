"""A folder on a disk to be wrapped, and a clock that does not make anybody wait."""

import contextlib

import pytest

from keepstate._base.clock import ManualClock
from keepstate.backends._local import LocalBackend


class JumpingClock(ManualClock):
    """A clock that moves by itself while somebody waits for it, and remembers how long that was."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, event, seconds):
        if not event.is_set():
            self.waits.append(seconds)
            self.advance(seconds)
        return event.is_set()


@pytest.fixture
def jumping():
    return JumpingClock()


@pytest.fixture
def tmp_path(on_disk):
    """A folder in memory would be below a mount of its own, and some of the tests are about mounts."""
    return on_disk


@pytest.fixture
def folder(tmp_path):
    """Give an empty place."""
    with contextlib.closing(LocalBackend(tmp_path / "store")) as backend:
        yield backend
