"""Take a picture by copying: what has changed goes into an arena now, and the rest is done later.

Only between cells: encoding runs the user's ``__reduce__`` on their own thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import interrupts
from keepstate._capture.arena import Arena
from keepstate._capture.work import Tools

if TYPE_CHECKING:
    from keepstate._capture.work import Work

_arena = Arena()
"""One for the process, because one save runs at a time and memory that was touched is worth keeping."""


class Staged:
    """A picture in the arena; satisfies :class:`~keepstate._capture.work.Taken`."""

    strategy = "stage"

    def __init__(self, work: Work, arena: Arena, *, reason: str) -> None:
        self.reason = reason
        self.stall_seconds = 0.0
        self.processor_seconds = 0.0
        self._work = work
        self._arena = arena
        self._tools = Tools(
            substitute=_itself,
            progress=_nobody_watches,
            stall_seconds=lambda: self.stall_seconds,
            copy=arena.copy,
        )

    def prepare(self, clock: Clock, since: float | None) -> None:
        """Do what needs the objects to stand still."""
        entered = clock.monotonic() if since is None else since
        try:
            self._work.prepare(self._tools)
        except BaseException:
            self._arena.clear()
            raise
        self.stall_seconds = clock.monotonic() - entered

    def finish(self) -> bytes:
        """Write on the calling thread."""
        try:
            return self._work.write(self._tools)
        finally:
            self._arena.clear()

    def cancel(self) -> None:
        """Forget the copies."""
        self._arena.clear()


def take(
    work: Work,
    *,
    reason: str,
    arena: Arena | None = None,
    since: float | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Staged:
    """Prepare on the calling thread, copying what has changed.

    Raises:
        TooLarge: More has changed than the arena holds.
        MemoryShort: The system gave no memory.
    """
    staged = Staged(work, arena or _arena, reason=reason)
    with interrupts.deferred():
        staged.prepare(clock, since)
    return staged


def _itself(memory: memoryview) -> memoryview:
    return memory


def _nobody_watches(_name: str, _bytes_done: int) -> None:
    """The user's own thread does the work."""
