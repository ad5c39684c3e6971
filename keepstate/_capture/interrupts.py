"""Put the user's signal handlers off while the main thread does our work, and run them right after it.

Ctrl-C runs a Python handler at the next bytecode of the main thread, whatever that is. Inside an
``os.register_at_fork`` hook the ``KeyboardInterrupt`` is printed and lost (and on 3.11 may leave the lock of
``logging`` held for good); inside our own code it would leave work half done. So for these milliseconds a
recorder stands in for every handler written in Python, and what came is delivered before the user's next
line, in the same thread, with the user's frame.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keepstate._capture.kept_gil import libc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

_POSIX = os.name == "posix"
_SIGNALS = sorted(map(int, signal.valid_signals()), key=lambda number: number != signal.SIGINT)
"""SIGINT first: from then on no interrupt can fall between two steps of standing in."""
_deferring: list[bool] = []
"""Not empty while the main thread is in such a body."""
_ACTION_BYTES = 256
"""More than ``struct sigaction`` has on any platform (152 on x86-64 glibc)."""


@contextmanager
def deferred() -> Iterator[None]:
    """Run the body without signal handlers of the user; what came is delivered at the end.

    On any thread but the main one nothing is to be done: Python runs handlers on the main one only. Nor is
    there inside another such body, which delivers them.
    """
    if not _POSIX or threading.get_ident() != threading.main_thread().ident or _deferring:
        yield
        return
    arrived: list[int] = []
    standing: dict[int, tuple[Handler, ctypes.Array[ctypes.c_char]]] = {}
    try:
        _stand_in(standing, arrived)
        _deferring.append(True)
        yield
    finally:
        _deferring.clear()
        try:
            _put_back(standing)
        finally:
            _deliver(arrived, standing)


def _stand_in(standing: dict[int, tuple[Handler, ctypes.Array[ctypes.c_char]]], arrived: list[int]) -> None:
    def record(number: int, _frame: FrameType | None) -> None:
        if number not in arrived:  # as the kernel does: a signal that waits does not wait twice
            arrived.append(number)

    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            standing[number] = (handler, _action(number))
            signal.signal(number, record)


def _put_back(standing: dict[int, tuple[Handler, ctypes.Array[ctypes.c_char]]]) -> None:
    # SIGINT last. A handler that is back already may raise out of any step; all others follow all the same.
    raised: BaseException | None = None
    waiting = list(standing.items())
    while waiting:
        number, (handler, action) = waiting[-1]
        try:
            signal.signal(number, handler)
        except BaseException as error:  # noqa: BLE001 - it is the user's, and raised below
            raised = raised or error
            continue
        waiting.pop()
        # signal.signal() forgets what siginterrupt() set; the saved action is exactly what was there.
        libc().sigaction(number, action, None)
    if raised is not None:
        raise raised


def _deliver(arrived: list[int], standing: dict[int, tuple[Handler, ctypes.Array[ctypes.c_char]]]) -> None:
    """Run each handler once, also when an earlier one raises; the last exception wins, as it would have."""
    while arrived:
        number = arrived.pop(0)
        if number == signal.SIGCHLD and not _child_waits():
            continue  # it was our own process that ended, and that one is none of the user's business
        try:
            standing[number][0](number, _users_frame())
        finally:
            _deliver(arrived, standing)


def _users_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("keepstate.", "contextlib")):
        frame = frame.f_back
    return frame


def _child_waits() -> bool:
    """Whether a child of the user's has ended and was not waited for; it is left as it is."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _action(number: int) -> ctypes.Array[ctypes.c_char]:
    action = ctypes.create_string_buffer(_ACTION_BYTES)
    libc().sigaction(number, None, action)
    return action
