"""Wait for the process that holds a picture, and end it if it stands still.

It is judged by what it does, not by the clock: processor time, bytes done and the name at hand. A machine
under load makes it slow, and slow is fine; a lock that was held at the fork makes it stand still for ever.
"""

from __future__ import annotations

import json
import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import channel as answers
from keepstate._capture.failures import ChildFailed, ChildStuck, MemoryShort, Misread, NeedsCopy
from keepstate._capture.mappings import merge

if TYPE_CHECKING:
    from keepstate._capture.channel import Channel

STUCK_SECONDS = 30.0
"""Without processor time, bytes or a new name for so long, it is stuck."""
RUNAWAY_FACTOR = 20
"""It may compute, or wait for a disk, so many times longer without bytes or a new name."""
LOOK_SECONDS = 0.1
_READ_BYTES = 1 << 20


@dataclass(slots=True)
class Limits:
    """How long a child may stand still."""

    stuck_seconds: float = STUCK_SECONDS
    runaway_factor: float = RUNAWAY_FACTOR


class Watch:
    """The parent's view of one child."""

    def __init__(self, channel: Channel, *, limits: Limits, clock: Clock = SYSTEM_CLOCK) -> None:
        self._channel = channel
        self._limits = limits
        self._clock = clock
        self._open = True

    def wait(self) -> bytes:
        """Return the child's message.

        Raises:
            ChildStuck, ChildFailed, Misread, NeedsCopy, MemoryShort: There is none.
        """
        try:
            kind, payload = self._answer()
        except (ChildFailed, ChildStuck) as error:
            if self._channel.board.read().looking:
                raise Misread("the saving process ended while it read memory") from error
            raise
        finally:
            self.end()
        if kind == answers.RESULT:
            return payload
        if kind == answers.NEEDS_COPY:
            raise NeedsCopy(merge((start, end) for start, end in json.loads(payload)))
        if kind == answers.SHORT:
            raise MemoryShort(payload.decode(errors="replace"))
        raise ChildFailed(payload.decode(errors="replace"))

    def processor_seconds(self) -> float:
        """Say how long the child had computed when it answered."""
        return self._channel.board.read().processor_seconds

    def end(self) -> None:
        """End the child if it still runs, and close this side."""
        if not self._open:
            return
        self._open = False
        self._kill()
        os.close(self._channel.answer_in)

    def _answer(self) -> tuple[bytes, bytes]:
        data = bytearray()
        poll = select.poll()
        poll.register(self._channel.answer_in, select.POLLIN | select.POLLHUP)
        progress = _Progress(self._channel, self._limits, self._clock)
        while True:
            if poll.poll(LOOK_SECONDS * 1000):
                piece = os.read(self._channel.answer_in, _READ_BYTES)
                if not piece:
                    raise ChildFailed(
                        "the saving process ended without an answer: something killed it, as the system does "
                        "when memory is short"
                    )
                data += piece
                if (answer := answers.parse_answer(data)) is not None:
                    return answer
            progress.check()

    def _kill(self) -> None:
        pid = self._channel.board.read().pid
        if pid <= 0 or not _alive(self._channel.answer_in):
            return
        # It lives, for it holds its end of the pipe; so this pid is its own, and so is the session.
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # an orphan is init's; if we are init, it is ours
            os.waitpid(pid, os.WNOHANG)


def _alive(answer_in: int) -> bool:
    poll = select.poll()
    poll.register(answer_in, 0)
    return not any(events & select.POLLHUP for _, events in poll.poll(0))


class _Progress:
    """Notices when nothing moves any more."""

    def __init__(self, channel: Channel, limits: Limits, clock: Clock) -> None:
        self._channel = channel
        self._limits = limits
        self._clock = clock
        self._ticks = -1
        self._reported: tuple[int, int] = (-1, -1)
        self._moved = self._advanced = clock.monotonic()

    def check(self) -> None:
        """Raise ChildStuck if the child has stood still for too long."""
        now = self._clock.monotonic()
        board = self._channel.board.read()
        ticks, waits_for_disk = _processor_time(board.pid)
        if (board.bytes_done, board.reports) != self._reported:
            self._reported = (board.bytes_done, board.reports)
            self._moved = self._advanced = now
        elif ticks != self._ticks or waits_for_disk:
            self._moved = now
        self._ticks = ticks
        stuck = self._limits.stuck_seconds
        if now - self._moved > stuck or now - self._advanced > stuck * self._limits.runaway_factor:
            what = f"saving {board.name!r}" if board.name else "saving"
            raise ChildStuck(
                board.name, f"{what} made no progress for {now - self._advanced:.0f} s and was ended"
            )


def _processor_time(pid: int) -> tuple[int, bool]:
    """Return its user and system time in ticks, and whether it waits for a disk; (-1, False) if unknown."""
    try:
        fields = _stat(f"/proc/{pid}")
        waits = any(_stat(f"/proc/{pid}/task/{each}")[0] == b"D" for each in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return -1, False  # not begun yet, or gone: then the pipe tells
    return int(fields[11]) + int(fields[12]), waits


def _stat(folder: str) -> list[bytes]:
    """Read the fields of a process or thread from its state on."""
    with open(f"{folder}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
