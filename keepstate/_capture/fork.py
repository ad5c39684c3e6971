"""Take a picture by forking: the copy of this process does the work, and this one goes on at once.

What it costs this process: ``DESIGN.md`` section 4 and :mod:`keepstate._capture.conditions`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import child, interrupts, kept_gil
from keepstate._capture.channel import Channel
from keepstate._capture.copies import Copies
from keepstate._capture.double_fork import split
from keepstate._capture.failures import ForkRefused
from keepstate._capture.watch import Limits, Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from keepstate._capture.mappings import Range
    from keepstate._capture.work import Work

_getpid, _exit = os.getpid, os._exit  # the user may have replaced them
_ESCAPED = 70


class Forked:
    """A picture held by a child; satisfies :class:`~keepstate._capture.work.Taken`."""

    strategy = "fork"

    def __init__(self, watch: Watch, *, intermediate: int, stall_seconds: float, reason: str) -> None:
        self.stall_seconds = stall_seconds
        self.processor_seconds = 0.0
        self.reason = reason
        self._watch = watch
        self._intermediate = intermediate
        self._owner = _getpid()

    def finish(self) -> bytes:
        """Watch the child until it has answered."""
        try:
            answer = self._watch.wait()
            self.processor_seconds = self._watch.processor_seconds()
            return answer
        finally:
            self._reap()

    def cancel(self) -> None:
        """End the child."""
        self._watch.end()
        self._reap()

    def _reap(self) -> None:
        if self._intermediate:
            with suppress(ChildProcessError):  # somebody else waited for it
                if os.waitpid(self._intermediate, os.WNOHANG)[0] == 0:
                    os.kill(self._intermediate, signal.SIGKILL)
                    os.waitpid(self._intermediate, 0)
            self._intermediate = 0

    def __del__(self) -> None:
        # A process that the user forked has a copy of this, and must not end our child with it. At the end of
        # the interpreter the child is left to commit.
        if _getpid() == self._owner and not sys.is_finalizing():
            self.cancel()


def take(
    work: Work,
    *,
    reason: str,
    copy_ranges: Iterable[Range] = (),
    descriptors: Collection[int] = (),
    limits: Limits | None = None,
    since: float | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Forked:
    """Fork on the calling thread.

    Args:
        work: What the child does.
        reason: Why this way, for the snapshot.
        copy_ranges: Memory to be copied first, as a :class:`NeedsCopy` named it.
        descriptors: Of the user's files; the child has ``os.devnull`` under their numbers.
        limits: How long the child may stand still.
        since: When the calling thread began to be held, by *clock*; ``None``: now.
        clock: Measures the stall.

    Raises:
        ForkRefused: The system made no process.
        CaptureError: The ranges could not be copied.
    """
    entered = clock.monotonic() if since is None else since
    with interrupts.deferred():
        copies = Copies.take(copy_ranges)
        channel = _open_channel()
        intermediate = _fork(work, channel, copies, descriptors)
        channel.close_for_parent()
        stall_seconds = clock.monotonic() - entered
        channel.tell_stall(stall_seconds)
        watch = Watch(channel, limits=limits or Limits(), clock=clock)
        return Forked(watch, intermediate=intermediate, stall_seconds=stall_seconds, reason=reason)


def _open_channel() -> Channel:
    try:
        return Channel.open()
    except OSError as error:
        raise ForkRefused(f"no pipe to another process could be made: {error.strerror}") from error


def _fork(work: Work, channel: Channel, copies: Copies, descriptors: Collection[int]) -> int:
    parent = _getpid()
    # SIGCHLD stays open: that of the intermediate process must have come before the handlers are back.
    mask = kept_gil.hold_signals(but=signal.SIGCHLD)
    try:
        side = split(channel.board.memory)
        if side.child:
            child.run(work, channel, copies, descriptors)
    except OSError as error:
        channel.close()
        raise ForkRefused(f"the system refused another process: {error.strerror}") from error
    finally:
        if _getpid() != parent:
            _exit(_ESCAPED)
        kept_gil.let_signals(mask)
    return side.intermediate
