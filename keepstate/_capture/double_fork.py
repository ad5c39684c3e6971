"""Make a copy of this process that is nobody's child, without one bytecode in between.

From ``PyOS_BeforeFork`` to ``PyOS_AfterFork_*`` no Python may run: another thread that waits for the GIL has
left a request to drop it, and the copy would answer that request to a thread that it does not have (3.11 to
3.13 wait for ever); from 3.12 on the runtime's own lock is held as well. So the steps are iterators over C
functions, and one call of ``deque`` drives them all.

The copy must not be the user's child: their ``os.wait()`` would be given a process that they never started.
A usual double fork copies the page tables twice, and its intermediate process can be waited for during all
of the second copy. Here the intermediate one calls ``vfork``, which shares its memory and puts it to sleep
in the kernel; the third process then kills it in that sleep and is the sole owner of the memory. So the
intermediate process exists for some ten microseconds, in which this thread keeps the GIL and reaps it.

Source: ``Modules/posixmodule.c`` of CPython (``os_fork1_impl``), ``kernel/fork.c`` of Linux
(``wait_for_vfork_done`` is killable).
"""

from __future__ import annotations

import ctypes
import gc
import operator
import os
import select
import signal
import struct
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator

REAP_MILLISECONDS = 50
"""How long this thread waits for the intermediate process; 0.1 ms was the most seen on two idle cores."""

_FORK, _SELF, _VFORK, _DESCRIPTOR, _REAPED = range(5)


class _PollEntry(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


@dataclass(frozen=True, slots=True)
class Split:
    """Which side of the fork this is, and what is left to do there."""

    child: bool
    intermediate: int = 0
    """In the parent: its pid if it has not been reaped yet, else 0."""


def split(board: mmap.mmap) -> Split:
    """Fork. Returns once in this process and once in a copy that has no parent here.

    Args:
        board: Shared memory; the pid of the copy is written to its first 8 bytes before anything else.

    Raises:
        OSError: The system made no new process; nothing has changed.
    """
    record = [-1, 0, -1, -1, 0]
    entry = _PollEntry(-1, select.POLLIN, 0)
    collecting = gc.isenabled()
    libc = _Libc()
    try:
        deque(_steps(libc, record, entry, board), maxlen=0)
    finally:
        # In the copy garbage is not collected: it would run the user's finalizers and dirty every page.
        if record[_FORK] != 0:
            if collecting:
                gc.enable()
            if record[_DESCRIPTOR] >= 0:
                os.close(record[_DESCRIPTOR])
    if record[_FORK] < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if record[_FORK] > 0:
        return Split(child=False, intermediate=0 if record[_REAPED] == record[_FORK] else record[_FORK])
    if record[_VFORK] < 0:
        _leave_by_plain_fork(libc, board)
    return Split(child=True)


class _Libc:
    """The C functions of the chain; PyDLL keeps the GIL while they run."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None, use_errno=True)
        self.before, self.after_parent, self.after_child = (
            self._without_result(library, f"PyOS_{name}")
            for name in ("BeforeFork", "AfterFork_Parent", "AfterFork_Child")
        )
        self.fork: Callable[[], int] = library.fork
        self.vfork: Callable[[], int] = library.vfork
        self.kill: Callable[[int, int], int] = library.kill
        self.poll: Callable[..., int] = library.poll
        self.waitpid: Callable[..., int] = library.waitpid

    @staticmethod
    def _without_result(library: ctypes.PyDLL, name: str) -> Callable[[], None]:
        function = library[name]
        function.restype = None
        return function


def _steps(libc: _Libc, record: list[int], entry: _PollEntry, board: mmap.mmap) -> Iterator[object]:
    def put(slot: int) -> Callable[[int], None]:
        return partial(record.__setitem__, slot)

    def get(slot: int) -> Iterator[int]:
        return map(record.__getitem__, (slot,))

    def zero(slot: int) -> Iterator[bool]:
        return map(operator.not_, get(slot))

    def positive(slot: int) -> Iterator[bool]:
        return map(operator.lt, (0,), get(slot))

    def run(function: Callable[[], object], condition: Iterator[object]) -> Iterator[object]:
        return map(operator.call, compress((function,), condition))

    both = chain(
        run(gc.disable, iter((True,))),
        run(libc.before, iter((True,))),
        map(put(_FORK), map(operator.call, (libc.fork,))),
    )
    copy = chain(
        map(put(_SELF), run(os.getpid, zero(_FORK))),
        map(put(_VFORK), run(libc.vfork, zero(_FORK))),
        map(partial(struct.pack_into, "q", board, 0), run(os.getpid, zero(_FORK))),
        map(libc.kill, compress(get(_SELF), zero(_VFORK)), repeat(int(signal.SIGKILL))),
        run(libc.after_child, zero(_FORK)),
    )
    parent = chain(
        run(libc.after_parent, get(_FORK)),
        map(put(_DESCRIPTOR), map(_descriptor_of, compress(get(_FORK), positive(_FORK)))),
        map(partial(setattr, entry, "fd"), compress(get(_DESCRIPTOR), positive(_DESCRIPTOR))),
        run(partial(libc.poll, ctypes.byref(entry), 1, REAP_MILLISECONDS), positive(_DESCRIPTOR)),
        map(put(_REAPED), map(libc.waitpid, compress(get(_FORK), positive(_FORK)), (None,), (os.WNOHANG,))),
    )
    return chain(both, copy, parent)


def _without_descriptors(_pid: int) -> int:
    return -1  # an old kernel: whoever finishes the picture reaps it


def _find_descriptors() -> Callable[[int], int]:
    """``os.pidfd_open`` where the kernel has it (Linux 5.3; it is absent in some sandboxes)."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return _without_descriptors
    return os.pidfd_open


_descriptor_of = _find_descriptors()


def _leave_by_plain_fork(libc: _Libc, board: mmap.mmap) -> None:
    """Where ``vfork`` is forbidden: fork again and end; this process is alone, so no lock can be held."""
    if libc.fork() != 0:
        os._exit(0)
    struct.pack_into("q", board, 0, os.getpid())
