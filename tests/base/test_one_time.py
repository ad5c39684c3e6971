"""Memory that is given back while it is read."""

import ctypes
import sys

import pytest

from keepstate._base.one_time import STEP_BYTES, OneTime


@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux alone")
def test_what_is_spent_is_given_back_and_the_rest_stays():
    """Whole steps before the end that was told are gone; not a byte after it is."""
    room = OneTime(3 * STEP_BYTES + 5)
    room.view[:] = b"x" * len(room.view)
    room.spent(2 * STEP_BYTES - 1)
    assert bytes(room.view[:STEP_BYTES]) == bytes(STEP_BYTES)
    assert bytes(room.view[STEP_BYTES:]) == b"x" * (2 * STEP_BYTES + 5)
    room.spent(3 * STEP_BYTES)
    assert bytes(room.view) == bytes(3 * STEP_BYTES) + b"x" * 5


@pytest.mark.parametrize("nbytes", [0, 1, STEP_BYTES])
def test_short_memory_is_kept_to_its_end(nbytes):
    """There would be nothing gained."""
    room = OneTime(nbytes)
    room.view[:] = b"x" * nbytes
    room.spent(nbytes)
    assert bytes(room.view) == b"x" * nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux alone")
def test_memory_that_is_locked_stays_and_nothing_is_raised():
    """Whoever has locked all memory restores as well; it takes more of it."""
    room = OneTime(2 * STEP_BYTES)
    room.view[:] = b"x" * len(room.view)
    place = ctypes.c_char.from_buffer(room.view)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlock(ctypes.byref(place), ctypes.c_size_t(len(room.view))) != 0:
        pytest.skip("no memory may be locked here")
    room.spent(2 * STEP_BYTES)
    assert bytes(room.view) == b"x" * 2 * STEP_BYTES


def test_what_does_not_fit_is_a_memory_error():
    """Not an error of the system, which would be taken for one of the disk."""
    with pytest.raises(MemoryError):
        OneTime(1 << 60)
