"""A picture by copying."""

from __future__ import annotations

import pytest

from keepstate._capture import TooLarge, stage
from keepstate._capture.arena import Arena


class Copying:
    """Keeps a copy of a buffer that goes on changing."""

    def __init__(self, data, times=1):
        self.data, self.times = data, times

    def prepare(self, tools):
        assert tools.claim is None
        assert tools.release is None
        self.views = [tools.copy(tools.substitute(memoryview(self.data))) for _ in range(self.times)]
        tools.progress("data", len(self.data))

    def write(self, tools):
        return bytes(self.views[-1]) + str(tools.stall_seconds() > 0).encode()


def test_holds_the_moment():
    """What changes after the picture was taken is not in it."""
    data = bytearray(b"before")
    taken = stage.take(Copying(data), reason="a test")
    data[:] = b"after!"
    assert taken.finish() == b"beforeTrue"
    assert (taken.strategy, taken.reason) == ("stage", "a test")
    assert taken.stall_seconds > 0


def test_the_arena_is_used_again():
    """After each picture all of the arena is free for the next one."""
    arena = Arena(1000)
    for _ in range(5):
        stage.take(Copying(bytearray(900)), reason="", arena=arena).finish()
        stage.take(Copying(bytearray(900)), reason="", arena=arena).cancel()
    assert arena.used_bytes == 0


def test_too_much_is_an_error_and_leaves_the_arena_free():
    """More than the arena holds is refused, and the next picture can be taken."""
    arena = Arena(1000)
    with pytest.raises(TooLarge):
        stage.take(Copying(bytearray(600), times=2), reason="", arena=arena)
    assert stage.take(Copying(bytearray(b"x" * 900)), reason="", arena=arena).finish().startswith(b"xxx")


def test_large_copies_are_given_back():
    """What exceeds the part that is kept in memory is returned to the system, and comes back empty."""
    arena = Arena(96 << 20)
    view = arena.copy(memoryview(bytearray(b"x") * (80 << 20)))
    arena.clear()
    assert view[0] == ord("x")
    assert view[-1] == 0
