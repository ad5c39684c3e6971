"""Stop the main thread at lines of the notebook on Python 3.11: a trace function, where there is none yet.

Another thread cannot call ``sys.settrace`` for the main one. A pending call can, but no Python may run in
it: a Ctrl-C there would be printed and lost. So it is an iterator over C functions that does nothing but set
the trace function if there is none. That function is C as well (``getattr(frame, "call", None)`` is
``None``), so that library code which runs meanwhile pays little; lines are noticed in the notebook's frames
alone, through their own ``f_trace``.
"""

from __future__ import annotations

import ctypes
import operator
import sys
import threading
from functools import partial
from itertools import chain, compress, starmap
from typing import TYPE_CHECKING, Any

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._capture.direct_call import forget_local_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from keepstate._capture.monitoring import Visit

_global = partial(getattr)
"""The trace function: told of every call, it does nothing. An object of our own, to be told from others."""

WAIT_SECONDS = 0.002


class _Pending:
    """One change of the main thread's trace function, made by the main thread itself at its next bytecode."""

    def __init__(self, only_over: object, put: Any) -> None:
        self.seen: list[Any] = []
        """The trace function that was there, once it has run."""
        self._note: Callable[[Any], None] = self.seen.append
        self.wanted = [True]
        self._call = _C_CALL(partial(any, self._steps(only_over, put)))

    def _steps(self, only_over: object, put: Any) -> Iterator[object]:
        return chain(
            map(self._note, starmap(sys.gettrace, ((),))),
            map(
                sys.settrace,
                compress(
                    (put,),
                    map(
                        operator.and_,
                        map(operator.is_, map(self.seen.__getitem__, (0,)), (only_over,)),
                        map(bool, (self.wanted,)),
                    ),
                ),
            ),
        )

    def add(self) -> bool:
        """Hand it to the interpreter; ``False`` if its queue is full."""
        return bool(ctypes.pythonapi.Py_AddPendingCall(self._call, None) == 0)


_C_CALL = ctypes.PYFUNCTYPE(ctypes.c_int)


class _Waiting:
    """Pending calls that have not run yet: the main thread may be in C code for hours, the queue is short."""

    def __init__(self) -> None:
        self.set: _Pending | None = None
        self.unset: _Pending | None = None

    def want_set(self) -> _Pending | None:
        """Have our trace function set over none."""
        if self.set is None or self.set.seen:
            self.set = self._added(_Pending(None, _global))
        else:
            self.set.wanted[:] = [True]
        return self.set

    def want_unset(self) -> None:
        """Have it taken away, if it is there or may come to be."""
        if self.set is not None and not self.set.seen:
            self.set.wanted.clear()
            if not self.set.seen:
                return
        if self.unset is None or self.unset.seen:
            self.unset = self._added(_Pending(_global, None))

    @staticmethod
    def _added(pending: _Pending) -> _Pending | None:
        return pending if pending.add() else None


_waiting = _Waiting()


class Tracing:
    """A trace function for one request."""

    def __init__(self, visit: Visit, thread: int) -> None:
        self._visit = visit
        self._thread = thread
        self._frames: list[FrameType] = []
        self._asked: list[_Pending] = []
        self._local: Callable[..., object] = self._on_event

    def arm(self, find: Callable[[], list[FrameType]]) -> bool:
        """Have lines of the notebook noticed; ``False`` if somebody else traces the main thread."""
        if not find():
            return True
        # Each time anew: an interrupt inside a trace function takes it away.
        pending = _waiting.want_set()
        if pending is None:
            return False
        never = threading.Event()
        SYSTEM_CLOCK.wait(never, WAIT_SECONDS)
        # A main thread that sleeps, or is in C code, for longer than this wait has run the last one by now,
        # and may not run this one before the next look: what the newest that has run saw is what is known.
        self._asked.append(pending)
        seen = next((asked.seen for asked in reversed(self._asked) if asked.seen), None)
        if seen is None:
            return True  # the main thread has not run a bytecode yet; looked at again in a moment
        if seen[0] not in (None, _global):
            return False
        for frame in find():
            if frame.f_trace is None:
                frame.f_trace = self._local
                self._frames.append(frame)
        return True

    def disarm(self) -> None:
        """Take everything away; the trace function itself goes at the main thread's next bytecode."""
        for frame in self._frames:
            if frame.f_trace is self._local:
                frame.f_trace = None
            forget_local_variables(frame)
        self._frames.clear()
        _waiting.want_unset()

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> Callable[..., object] | None:
        wanted = False
        try:
            if event != "line" or threading.get_ident() != self._thread:
                wanted = True
            else:
                wanted = self._visit.at(frame, frame.f_lasti, frame.f_lineno)
        finally:
            if not wanted:
                frame.f_trace = None
                if self._visit.claimed and sys.gettrace() is _global:
                    sys.settrace(None)
        # If somebody has looked at this frame's variables, the interpreter writes them back after this: they
        # must be what they are now, for other threads may share them.
        frame.f_locals  # noqa: B018
        return None
