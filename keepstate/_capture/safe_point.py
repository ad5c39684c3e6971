"""Moments inside a running cell at which the picture is not torn.

A safe point: the innermost Python frame of the main thread is the notebook's own and stands between two
statements, and so is every frame from it up to the cell's ``<module>`` frame, each called directly. Measured:
pictures at arbitrary bytecodes tear library code (an emptied list in every ``sort(key=)``, a frame between
two steps of its block manager); at safe points none did.

Knows frames and code; how the main thread is stopped there is the business of ``_monitoring`` and
``_tracing``, what is done there that of the caller.
"""

from __future__ import annotations

import inspect
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._base.word import Word
from keepstate._capture import interrupts
from keepstate._capture.direct_call import calls_directly, named_as_cell
from keepstate._capture.source_map import source_map
from keepstate._model.snapshot import Where

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ARM_AGAIN_SECONDS = 0.05
"""How often functions that have been entered meanwhile are looked for."""
_SHELL = ("IPython", "ipykernel", "decorator")
"""The library ``decorator`` wraps each magic of IPython 7."""
_MAGIC_CALLS = frozenset({"run_cell_magic", "run_line_magic"})


def is_safe(frame: FrameType, namespace: dict[str, object]) -> bool:
    """Whether every frame from *frame* up is the notebook's and called directly; the line is not judged."""
    return cell_frame(frame, namespace) is not None


def cell_frame(frame: FrameType, namespace: dict[str, object]) -> FrameType | None:
    """Find the ``<module>`` frame that *frame* was called from directly, or ``None`` if it is not safe."""
    if frame.f_code.co_flags & inspect.CO_GENERATOR and not named_as_cell(frame.f_code):
        return None
    while frame.f_globals is namespace:
        if _is_module(frame):
            return frame if _nothing_above(frame, namespace) else None
        caller = frame.f_back
        if caller is None or not calls_directly(caller, frame.f_code):
            return None
        frame = caller
    return None


def _is_module(frame: FrameType) -> bool:
    code = frame.f_code
    return named_as_cell(code) and not code.co_flags & inspect.CO_NEWLOCALS


def _nothing_above(frame: FrameType, namespace: dict[str, object]) -> bool:
    """Whether above a cell there are only frames that are not the notebook's, or a magic's own cell."""
    below, above = frame, frame.f_back
    shell_only = True
    while above is not None:
        if above.f_globals is namespace:
            if not (shell_only and below is not frame and _is_module(above) and _calls_magic(above)):
                return False
            frame, shell_only = above, True
        elif not _is_shell(above):
            shell_only = False
        below, above = above, above.f_back
    return True


def _is_shell(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    if isinstance(name, str) and name.partition(".")[0] in _SHELL:
        return True
    # What older versions of it generate.
    return frame.f_code.co_filename.startswith("<decorator-gen-")


def _calls_magic(frame: FrameType) -> bool:
    call = source_map(frame.f_code).call_at(frame.f_lasti)
    return getattr(getattr(call, "func", None), "attr", None) in _MAGIC_CALLS


def notebook_frames(thread: int, namespace: dict[str, object]) -> list[FrameType]:
    """All frames of that thread that are the notebook's, innermost first."""
    frames = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_globals is namespace:
            frames.append(frame)
        frame = frame.f_back
    return frames


def place_of_caller(namespace: dict[str, object], cell: int | None = None) -> Where | None:
    """Tell from where the notebook called this package, or ``None`` if library code lies in between.

    Args:
        namespace: The user's globals.
        cell: Execution count of the running cell.
    """
    inner: FrameType | None = None
    frame: FrameType | None = sys._getframe()
    while frame is not None and _is_ours(frame):
        inner, frame = frame, frame.f_back
    if inner is None or frame is None or not calls_directly(frame, inner.f_code):
        return None
    module = cell_frame(frame, namespace)
    return None if module is None else Where(cell, module.f_lineno)


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == "keepstate"


class Stop(Protocol):
    """A way of stopping the main thread at lines of the notebook."""

    def arm(self, find: Callable[[], list[FrameType]]) -> bool:
        """Have the lines of the frames that *find* finds noticed; ``False`` if that is not to be had here."""
        ...

    def disarm(self) -> None:
        """Leave no trace and no slowdown; from whichever thread."""
        ...


class SafePoints:
    """Finds safe points of one notebook.

    Args:
        namespace: The user's globals.
        clock: For deadlines.
        cell: Tells the execution count of the running cell.
        main_thread_ident: Of the thread on which cells run.
    """

    def __init__(
        self,
        namespace: dict[str, object],
        *,
        clock: Clock = SYSTEM_CLOCK,
        cell: Callable[[], int | None] = lambda: None,
        main_thread_ident: int | None = None,
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._cell = cell
        self._thread = main_thread_ident or threading.main_thread().ident or 0
        self.trouble: Exception | None = None
        """The newest error of a callback; it is never raised into the user's cell."""

    def request(
        self,
        callback: Callable[[Where], None],
        *,
        deadline_seconds: float,
        no_longer: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> bool:
        """Have *callback* run on the main thread at the next safe point; wait until it has, or the deadline.

        Args:
            callback: Given the place. What it raises is kept in :attr:`trouble`, except an interrupt.
            deadline_seconds: How long to wait, 0 or more.
            no_longer: Asked all the time whether to give up before.
            clock: Another clock for this request.

        Returns:
            Whether it ran. Either way nothing is left armed.
        """
        clock = clock or self._clock
        visit = _Visit(self, callback)
        stop = _stop(visit, self._thread)
        until = clock.monotonic() + deadline_seconds
        try:
            while (left := until - clock.monotonic()) > 0 and not (visit.claimed or no_longer()):
                if not stop.arm(self._frames):
                    break
                clock.wait(visit.done, min(ARM_AGAIN_SECONDS, left))
        finally:
            if visit.claim():
                ran = False
            else:
                self._wait_for_end(visit)
                ran = True
            stop.disarm()
        return ran

    def _frames(self) -> list[FrameType]:
        frames = notebook_frames(self._thread, self._namespace)
        for frame in frames:
            source_map(frame.f_code)  # now, while nobody waits for it
        return frames

    def _wait_for_end(self, visit: _Visit) -> None:
        # It has begun and takes milliseconds. An interrupt could still come before the word that it is over.
        while not visit.done.wait(1.0):
            frame = sys._current_frames().get(self._thread)
            while frame is not None and frame.f_code is not _Visit.run.__code__:
                frame = frame.f_back
            if frame is None:
                return

    def _run_if_safe(self, frame: FrameType, visit: _Visit) -> bool:
        """On the main thread, between two statements of *frame*: run it if the callers are safe as well."""
        module = cell_frame(frame, self._namespace)
        if module is not None and visit.claim():
            visit.run(Where(self._cell(), module.f_lineno))
        return module is not None


class _Visit:
    """One request: whoever claims it first decides what becomes of it."""

    def __init__(self, points: SafePoints, callback: Callable[[Where], None]) -> None:
        self.done = Word()
        self._points = points
        self._callback = callback
        self._token = [None]

    @property
    def claimed(self) -> bool:
        """Whether it has been decided."""
        return not self._token

    def claim(self) -> bool:
        """Win the right to decide; atomic, and without a lock that an interrupt could leave held."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True

    def at(self, frame: FrameType, offset: int, line: int | None) -> bool:
        """The main thread is about to run the instruction of *frame* at *offset*, perhaps arriving at a line.

        Returns:
            Whether more of this is wanted: not once the request is over, and not while *frame* has been
            called by C code, in which it may be called very often.
        """
        if self.claimed:
            return False
        if not source_map(frame.f_code).begins_statement(offset, line):
            return True
        return self._points._run_if_safe(frame, self) and not self.claimed

    def run(self, where: Where) -> None:
        """Run the callback, with the user's signals put off until it is done."""
        try:
            with interrupts.deferred():
                try:
                    self._callback(where)
                except Exception as error:  # noqa: BLE001 - ours, and none of the user's cell
                    self._points.trouble = error
        finally:
            self.done.say()


def _stop(visit: _Visit, thread: int) -> Stop:
    if sys.version_info >= (3, 12):
        from keepstate._capture import monitoring

        return monitoring.Monitoring(visit, thread)
    from keepstate._capture import tracing

    return tracing.Tracing(visit, thread)
