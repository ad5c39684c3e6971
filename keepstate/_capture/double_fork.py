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
Before that the third one leaves the process group: once the fork has returned here, whatever kills this
process with its whole group (a notebook server does, on a restart) no longer meets the copy.

The C library notes each thread's id in memory, for the owners of its recursive locks. The kernel would set
that note to zero when the intermediate process dies (measured: one child of a thousand then waited for ever
for a lock of the dynamic loader that it held itself), so it is told not to, and the note is set right.
Where this cannot be arranged, it is a usual double fork.

Source: ``Modules/posixmodule.c`` of CPython (``os_fork1_impl``); ``kernel/fork.c`` of Linux
(``wait_for_vfork_done`` is killable, ``mm_release`` clears the note); prctl(2), set_tid_address(2).
"""

from __future__ import annotations

import ctypes
import gc
import operator
import os
import select
import signal
import struct
import threading
from collections import deque
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator

REAP_MILLISECONDS = 1000
"""How long this thread waits for the intermediate process, at most; 0.1 ms was the most seen on idle cores.
On two loaded ones 50 ms were not enough once in some thousand forks, and the user's ``os.wait()`` was given
it: a longer stall, seldom, is the lesser evil."""

YIELD_MILLISECONDS = 1
"""How long the copy sleeps first: the intermediate process often waits for the same processor to die on, and
this thread waits for that. It was 3 to 4 ms, a slice of the scheduler, in most forks beside other work."""

_FORK, _SELF, _AGAIN, _DESCRIPTOR, _REAPED = range(5)
_PR_GET_TID_ADDRESS = 40
"""Source: ``linux/prctl.h``."""
_SET_TID_ADDRESS = {"x86_64": 218, "aarch64": 96}
"""Source: ``asm/unistd.h``."""
_LOST = 71


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
        board: Shared memory; the pid of the copy is in its first 8 bytes once this has returned here.

    Raises:
        OSError: The system made no new process; nothing has changed.
    """
    record = [-1, 0, 0, -1, 0]
    entry = _PollEntry(-1, select.POLLIN, 0)
    collecting = gc.isenabled()
    libc = _Libc.find()
    try:
        deque(_steps(libc, record, entry, board), maxlen=0)
    finally:
        # In the copy garbage is not collected: it would run the user's finalizers and dirty every page.
        if record[_FORK] != 0:
            if collecting:
                gc.enable()
            if record[_DESCRIPTOR] >= 0:
                libc.close(record[_DESCRIPTOR])
    if record[_FORK] < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if record[_FORK] == 0:
        return Split(child=True)
    return Split(child=False, intermediate=0 if record[_REAPED] == record[_FORK] else record[_FORK])


class _Libc:
    """The C functions of the chain; PyDLL keeps the GIL while they run."""

    @staticmethod
    @cache
    def find() -> _Libc:
        """Look them up, once: it takes 0.1 ms."""
        return _Libc(ctypes.PyDLL(None, use_errno=True))

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._library = library
        self.before, self.after_parent, self.after_child = (
            self._without_result(library, f"PyOS_{name}")
            for name in ("BeforeFork", "AfterFork_Parent", "AfterFork_Child")
        )
        self.fork: Callable[[], int] = library.fork
        self.vfork: Callable[[], int] = library.vfork
        self.setsid: Callable[[], int] = library.setsid
        self.kill: Callable[[int, int], int] = library.kill
        self.poll: Callable[..., int] = library.poll
        self.waitpid: Callable[..., int] = library.waitpid
        self.close: Callable[[int], int] = library.close
        self.end: Callable[[int], object] = library._exit
        self.syscall: Callable[..., int] = library.syscall

    def note(self) -> ctypes.c_int | None:
        """Find where the id of this thread is noted; ``None`` if that is not to be found."""
        return _note_of_thread_id(self._library)

    @staticmethod
    def _without_result(library: ctypes.PyDLL, name: str) -> Callable[[], None]:
        function = library[name]
        function.restype = None
        return function


def _note_of_thread_id(library: ctypes.PyDLL) -> ctypes.c_int | None:
    """Find where the C library notes the id of this thread, or ``None`` if that is not to be found."""
    address = ctypes.c_void_p()
    found = library.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0 and address.value
    if not found or os.uname().machine not in _SET_TID_ADDRESS:
        return None
    note = ctypes.c_int.from_address(found)
    return note if note.value == threading.get_native_id() else None


def _steps(libc: _Libc, record: list[int], entry: _PollEntry, board: mmap.mmap) -> Iterator[object]:
    def put(slot: int) -> Callable[[Any], None]:
        return partial(record.__setitem__, slot)

    def get(slot: int) -> Iterator[int]:
        return map(record.__getitem__, (slot,))

    def zero(slot: int) -> Iterator[bool]:
        return map(operator.not_, get(slot))

    def positive(slot: int) -> Iterator[bool]:
        return map(operator.lt, (0,), get(slot))

    def run(function: Callable[[], object], condition: Iterator[object]) -> Iterator[object]:
        return map(operator.call, compress((function,), condition))

    def settle() -> Iterator[object]:
        pid_to_board = map(partial(struct.pack_into, "q", board, 0), run(os.getpid, zero(_FORK)))
        return chain(pid_to_board, run(libc.setsid, zero(_FORK)))

    both = chain(
        run(gc.disable, iter((True,))),
        run(libc.before, iter((True,))),
        map(put(_FORK), run(libc.fork, iter((True,)))),
        # From here on in the copy and in this process alike; each step says for which it is.
        map(put(_SELF), run(os.getpid, zero(_FORK))),
    )
    note = libc.note()
    if note is None:
        again = chain(
            map(put(_AGAIN), run(libc.fork, zero(_FORK))),
            run(partial(libc.end, 0), get(_AGAIN)),
            settle(),
        )
    else:
        number = _SET_TID_ADDRESS[os.uname().machine]
        again = chain(
            run(partial(libc.syscall, number, None), zero(_FORK)),
            map(put(_AGAIN), run(libc.vfork, zero(_FORK))),
            run(partial(libc.end, _LOST), get(_AGAIN)),  # vfork failed; if it had not, we would be asleep
            map(partial(setattr, note, "value"), run(os.getpid, zero(_FORK))),
            settle(),
            map(libc.kill, compress(get(_SELF), zero(_FORK)), repeat(int(signal.SIGKILL))),
            run(partial(libc.poll, None, 0, YIELD_MILLISECONDS), zero(_FORK)),
        )
    copy = run(libc.after_child, zero(_FORK))
    parent = chain(
        run(libc.after_parent, get(_FORK)),
        map(put(_DESCRIPTOR), map(_descriptor_of, compress(get(_FORK), positive(_FORK)))),
        map(partial(setattr, entry, "fd"), compress(get(_DESCRIPTOR), positive(_DESCRIPTOR))),
        run(partial(libc.poll, ctypes.byref(entry), 1, REAP_MILLISECONDS), positive(_DESCRIPTOR)),
        map(put(_REAPED), map(libc.waitpid, compress(get(_FORK), positive(_FORK)), (None,), (os.WNOHANG,))),
    )
    return chain(both, again, copy, parent)


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
