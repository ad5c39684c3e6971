"""One save at a time: who takes the picture, when, and what becomes of requests meanwhile.

A save has four phases. *Obtaining*: this thread waits for a moment at which the main thread may be held.
*Taking*: the picture is taken, on the main thread wherever that is possible. *Finishing*: a child or this
thread writes. Then it is idle again. Only the change into *taking* is contended (a cell hook, the idle
loop, a safe point, an explicit call and the deadline may all come at once), and it is made under one lock.

On the main thread, every use of that lock, and all from winning the turn to giving it back, runs with the
user's signals put off: an interrupt in between would leave the lock held, or the turn taken, for good.

This module knows threads and moments, not what a picture is.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from keepstate._base.word import Word
from keepstate._capture import interrupts
from keepstate.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._base.clock import Clock
    from keepstate._model.kernel import Kernel
    from keepstate._model.snapshot import Consistency, Reason, Snapshot, Where

Phase = Literal["idle", "obtaining", "taking", "finishing"]

SLICE_SECONDS = 0.25
"""How long a wait lasts that must notice soon what nobody tells: an interrupt, or that a cell has begun."""
RETAKES = 2
"""How often a picture is taken once more because it lacked something, before the save fails."""

URGENCY: tuple[Reason, ...] = (
    "timer", "cell", "loop", "memory", "idle", "lifetime", "signal", "exit", "manual",
)  # fmt: skip
"""Which reason a save has that serves several wishes: the last of them here."""


@dataclass(slots=True)
class Request:
    """A wish for a snapshot, and what became of it."""

    reason: Reason
    id: str
    note: str = ""
    patience_seconds: float | None = None
    """How long to wait for a safe point; ``None``: as long as the guard always does."""
    done: Word = field(default_factory=Word)
    snapshot: Snapshot | None = None
    error: BaseException | None = None
    retaken: int = 0
    """How often the picture was taken once more."""
    _absorbed: list[Request] = field(default_factory=list)

    def absorb(self, other: Request) -> None:
        """Serve *other* with this one as well; the more urgent reason speaks for both."""
        if other.reason == "manual":
            self.note = other.note or self.note
        if URGENCY.index(other.reason) > URGENCY.index(self.reason):
            self.reason = other.reason
        if other.patience_seconds is not None:
            self.patience_seconds = other.patience_seconds
        self._absorbed.append(other)

    def settle(self) -> None:
        """Let everyone who waits go on."""
        for other in self._absorbed:
            other.snapshot, other.error = self.snapshot, self.error
            other.settle()
        self.done.say()


class TakeAgain(Exception):  # noqa: N818 - not an error: the picture lacks something that is known only now
    """Raised by :meth:`Picture.finish` when the picture must be taken once more."""


class Picture(Protocol):
    """A picture that has been taken and waits to be written."""

    def finish(self) -> Snapshot | None:
        """Write it; ``None`` if there was nothing to keep. Raises KeepstateError or :class:`TakeAgain`."""
        ...


class Taker(Protocol):
    """Takes pictures; the session."""

    def make_ready(self) -> None:
        """Do beforehand what can be done while the main thread goes on; raises nothing."""
        ...

    def take(self, request: Request, level: Consistency, where: Where | None) -> Picture:
        """Hold the calling thread and take a picture; raises KeepstateError."""
        ...

    def failed(self, error: BaseException) -> None:
        """Remember why nothing was kept."""
        ...


class SafePoints(Protocol):
    """Finds moments inside a running cell."""

    def request(
        self,
        callback: Callable[[Where], None],
        *,
        deadline_seconds: float,
        no_longer: Callable[[], bool],
    ) -> bool:
        """Run *callback* on the main thread at the next safe point; return whether it ran in time."""
        ...


class Guard:
    """The thread in the background, and the only door to a save."""

    def __init__(
        self,
        taker: Taker,
        kernel: Kernel,
        safe_points: SafePoints,
        *,
        new_id: Callable[[], str],
        patience_seconds: float,
        clock: Clock,
    ) -> None:
        self._taker = taker
        self._kernel = kernel
        self._safe_points = safe_points
        self._new_id = new_id
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._phase: Phase = "idle"
        self._next: Request | None = None
        self._current: Request | None = None
        self._picture: Picture | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="keepstate-guard", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def writing(self) -> bool:
        """Whether a picture was taken that is not written yet."""
        return self._phase in ("taking", "finishing")

    @property
    def busy(self) -> bool:
        """Whether a save is under way or asked for."""
        return self.writing or self._next is not None

    def request(self, reason: Reason, note: str = "", *, patience_seconds: float | None = None) -> Request:
        """Ask for a snapshot at the next good moment; joins a request that is already waiting."""
        with interrupts.deferred(), self._changed:
            return self._enqueue(Request(reason, self._new_id(), note, patience_seconds))

    def take_here(
        self,
        reason: Reason,
        level: Consistency,
        *,
        where: Where | None = None,
        note: str = "",
        wait_for_turn: bool = False,
    ) -> Request:
        """Take the picture on the calling thread, now.

        While another save is being finished the wish is queued instead, or, with *wait_for_turn*, the
        caller waits until that one is done. A request that still waits for its moment is served by this one.
        """
        while True:
            with interrupts.deferred():
                with self._changed:
                    busy = self._current if self._phase in ("taking", "finishing") else None
                    if busy is None or not wait_for_turn:
                        request = self._enqueue(Request(reason, self._new_id(), note))
                    if busy is None:
                        self._begin(request)
                if busy is None:
                    self._take(request, level, where)
            if busy is None or not wait_for_turn:
                return request
            busy.done.wait(SLICE_SECONDS)  # in slices, so that an interrupt is seen

    def wait(
        self,
        request: Request,
        level: Consistency | None = None,
        where: Where | None = None,
        *,
        seconds: float = math.inf,
    ) -> None:
        """Wait until *request* is served, and at most *seconds*.

        Args:
            request: What was asked for.
            level: For a caller who took the picture itself and stands still since: if it must be taken once
                more, the caller takes it, as nobody finds a better moment while it waits.
            where: The place, as it was.
        """
        until = self._clock.monotonic() + seconds
        while not request.done.wait(SLICE_SECONDS) and self._clock.monotonic() < until:
            if not self._thread.is_alive():  # the interpreter ends: nobody else will finish it
                self._finish()
            if level is not None:
                self._take_if_first(request, level, where)

    def close(self, *, wait: bool = True) -> None:
        """End the thread once the save in progress is finished; waiting requests are dropped.

        Args:
            wait: Return only then. Otherwise a forked child finishes by itself, and a copy is given up.
        """
        with interrupts.deferred(), self._changed:
            self._closing = True
            waiting, self._next = self._next, None
            self._changed.notify_all()
        if waiting is not None:
            waiting.settle()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    # -- under the lock ------------------------------------------------------------------------------

    def _enqueue(self, request: Request) -> Request:
        if self._next is None:
            self._next = request
        else:
            self._next.absorb(request)
        self._changed.notify_all()
        return self._next

    def _begin(self, request: Request) -> None:
        self._phase = "taking"
        self._next = None
        self._current = request

    # -- taking --------------------------------------------------------------------------------------

    def _claim(self, request: Request) -> bool:
        """Win the right to take the picture for *request*, or find that somebody else has."""
        with self._changed:
            if self.writing or self._next is not request:
                return False
            self._begin(request)
            return True

    def _take_if_first(self, request: Request, level: Consistency, where: Where | None = None) -> None:
        with interrupts.deferred():
            if self._claim(request):
                self._take(request, level, where)

    def _take(self, request: Request, level: Consistency, where: Where | None) -> None:
        picture: Picture | None = None
        try:
            picture = self._taker.take(request, level, where)
        except Exception as error:  # noqa: BLE001 - it must not reach the user's cell
            self._taker.failed(error)
            request.error = error
        finally:  # also when the user interrupts
            with self._changed:
                self._picture = picture
                self._phase = "idle" if picture is None else "finishing"
                self._changed.notify_all()
            if picture is None:
                request.settle()

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._phase == "taking" or not (self._picture or self._next or self._closing):
                    self._changed.wait()
                picture, request = self._picture, self._next
                if picture is None and request is None:
                    return
                if picture is None:
                    self._phase = "obtaining"
            if picture is not None:
                self._finish()
            elif request is not None:
                self._obtain(request)

    def _obtain(self, request: Request) -> None:
        """Wait for the best moment that comes before patience ends."""
        began = self._clock.monotonic()
        self._taker.make_ready()
        self._kernel.when_idle(lambda: self._take_if_idle(request))

        def is_served() -> bool:
            return self._phase != "obtaining" or self._next is not request

        while (left := began + self._patience(request) - self._clock.monotonic()) > 0:
            with self._changed:
                if is_served():
                    return
            if self._kernel.running is not None:
                self._safe_points.request(
                    lambda where: self._take_if_first(request, "statement", where),
                    deadline_seconds=left,
                    no_longer=lambda: is_served() or self._kernel.running is None,
                )
            else:
                with self._changed:
                    self._changed.wait_for(is_served, min(SLICE_SECONDS, left))
        self._take_if_first(request, "operation")

    def _patience(self, request: Request) -> float:
        return self._patience_seconds if request.patience_seconds is None else request.patience_seconds

    def _take_if_idle(self, request: Request) -> None:
        # With top-level await the loop also turns in the middle of a cell; that cell's end takes the picture.
        if self._kernel.running is None:
            self._take_if_first(request, "cell")

    def _finish(self) -> None:
        """Write the picture that was taken. At the end of the interpreter the main thread does this."""
        with self._changed:
            picture, request = self._picture, self._current
            self._picture = None
        if picture is None or request is None:
            return
        again = False
        try:
            request.snapshot = picture.finish()
        except TakeAgain as error:
            again = request.retaken < RETAKES
            request.retaken += 1
            if not again:
                request.error = CaptureError(
                    f"the picture could not be completed: {error.__cause__ or error}"
                )
                self._taker.failed(request.error)
        except Exception as error:  # noqa: BLE001 - the guard outlives every error
            self._taker.failed(error)
            request.error = error
        with self._changed:
            self._phase = "idle"
            self._current = None
            again = again and not self._closing
            if again:
                if self._next is not None:
                    request.absorb(self._next)
                self._next = request
            self._changed.notify_all()
        if not again:
            request.settle()
