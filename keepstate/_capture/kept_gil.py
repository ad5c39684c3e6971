"""System calls that keep the GIL, for the moments in which the main thread is held.

Python gives the GIL away around every system call. Where the user's own threads compute, getting it back
takes up to 5 ms each time (measured: 47 ms for one picture beside four busy threads). The calls here take
microseconds and never wait, so there is nothing to give it away for.
"""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache

_READ_BYTES = 1 << 12
"""At once: all of most of these files, and little to clear."""
_LONGEST_BYTES = 1 << 16
_SET_BYTES = 128
"""Of a ``sigset_t`` on Linux, with glibc and with musl; less elsewhere."""


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


def hold_signals(*, but: int) -> ctypes.Array[ctypes.c_char]:
    """Have no signal but that one interrupt this thread; returns what :func:`let_signals` needs.

    The one of :mod:`signal` makes an object for each of 64 signals, on both ways: 0.2 ms.
    """
    held, before = (ctypes.create_string_buffer(_SET_BYTES) for _ in range(2))
    libc().sigfillset(held)
    libc().sigdelset(held, but)
    libc().pthread_sigmask(int(signal.SIG_BLOCK), held, before)
    return before


def let_signals(before: ctypes.Array[ctypes.c_char]) -> None:
    """Have those interrupt this thread that did before."""
    libc().pthread_sigmask(int(signal.SIG_SETMASK), before, None)


def read_file(path: str) -> bytes:
    """Read a file of ``/proc`` or ``/sys``, which the kernel makes up on the spot; at most 64 KiB.

    Raises:
        OSError: There is none.
    """
    library = libc()
    descriptor = _check(library.open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC))
    buffer = ctypes.create_string_buffer(_READ_BYTES)
    found, count = b"", _READ_BYTES
    try:
        while count == _READ_BYTES and len(found) < _LONGEST_BYTES:
            count = _check(library.read(descriptor, buffer, ctypes.c_size_t(_READ_BYTES)))
            found += buffer.raw[:count]
    finally:
        library.close(descriptor)
    return found


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
