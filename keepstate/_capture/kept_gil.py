"""System calls that keep the GIL, for the moments in which the main thread is held.

Python gives the GIL away around every system call. Where the user's own threads compute, getting it back
takes up to 5 ms each time (measured: 47 ms for one picture beside four busy threads). The calls here take
microseconds and never wait, so there is nothing to give it away for.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

_READ_BYTES = 1 << 16


@cache
def libc() -> ctypes.PyDLL:
    """The C library, whose functions are called without giving the GIL away."""
    return ctypes.PyDLL(None, use_errno=True)


def pipe() -> tuple[int, int]:
    """Make a pipe that programs started from here do not inherit; returns its reading and writing end."""
    ends = (ctypes.c_int * 2)()
    _check(libc().pipe2(ends, os.O_CLOEXEC))
    return ends[0], ends[1]


def close(descriptor: int) -> None:
    """Close *descriptor*."""
    _check(libc().close(descriptor))


def write(descriptor: int, data: bytes) -> None:
    """Write *data*, less than a pipe holds."""
    _check(libc().write(descriptor, data, ctypes.c_size_t(len(data))))


def read_file(path: str) -> bytes:
    """Read a file of ``/proc`` or ``/sys``, which the kernel makes up on the spot; at most 64 KiB.

    Raises:
        OSError: There is none.
    """
    descriptor = _check(libc().open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC))
    buffer = ctypes.create_string_buffer(_READ_BYTES)
    try:
        count = _check(libc().read(descriptor, buffer, ctypes.c_size_t(_READ_BYTES)))
    finally:
        libc().close(descriptor)
    return buffer.raw[:count]


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
