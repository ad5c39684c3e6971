"""What passes between the process of the user and the one that holds the picture.

The board is shared memory: progress never blocks the child, however busy the parent is. The answer comes
through a pipe, whose end also tells that the child is gone. The stall goes the other way.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import NamedTuple

_HEAD = struct.Struct("qqqH")
"""pid of the child, bytes done, how many reports, length of the name."""
_NAME_BYTES = 512
_FRAME = struct.Struct("=cQ")
_STALL = struct.Struct("=d")

RESULT, NEEDS_COPY, FAILED, SHORT = b"R", b"N", b"F", b"M"


class Progress(NamedTuple):
    """The newest report of the child."""

    pid: int
    bytes_done: int
    reports: int
    name: str


class Board:
    """Memory that both processes see."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _HEAD.size + _NAME_BYTES)
        self._reports = 0

    def report(self, name: str, bytes_done: int) -> None:
        """Child: say what is being worked on."""
        text = name.encode(errors="replace")[:_NAME_BYTES]
        self._reports += 1
        self.memory[_HEAD.size : _HEAD.size + len(text)] = text
        struct.pack_into("qqH", self.memory, 8, bytes_done, self._reports, len(text))

    def read(self) -> Progress:
        """Parent: read the newest report; a name read while it is written may be a mixture."""
        pid, bytes_done, reports, length = _HEAD.unpack_from(self.memory)
        name = self.memory[_HEAD.size : _HEAD.size + min(length, _NAME_BYTES)]
        return Progress(pid, bytes_done, reports, name.decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Channel:
    """Two pipes and a board."""

    board: Board
    answer_in: int
    answer_out: int
    stall_in: int
    stall_out: int

    @staticmethod
    def open() -> Channel:
        """Make one; raises OSError if the process has no descriptors left."""
        answer_in, answer_out = os.pipe()
        try:
            stall_in, stall_out = os.pipe()
        except OSError:
            os.close(answer_in)
            os.close(answer_out)
            raise
        return Channel(Board(), answer_in, answer_out, stall_in, stall_out)

    def close(self) -> None:
        """Give everything back: there was no fork."""
        for descriptor in (self.answer_in, self.answer_out, self.stall_in, self.stall_out):
            os.close(descriptor)

    def close_for_parent(self) -> None:
        """Leave the child's ends to the child alone, so that its end is seen."""
        os.close(self.answer_out)
        os.close(self.stall_in)

    def tell_stall(self, seconds: float) -> None:
        """Parent: tell how long the main thread was held; a child that is gone already does not care."""
        try:
            os.write(self.stall_out, _STALL.pack(seconds))
        except BrokenPipeError:
            pass  # its end is seen, and told, when the picture is finished
        finally:
            os.close(self.stall_out)

    def hear_stall(self) -> float | None:
        """Child: wait for it; ``None`` if the parent died first."""
        data = os.read(self.stall_in, _STALL.size)
        return _STALL.unpack(data)[0] if len(data) == _STALL.size else None

    def answer(self, kind: bytes, payload: bytes) -> None:
        """Child: send the only message; that nobody is left to hear it changes nothing."""
        view = memoryview(_FRAME.pack(kind, len(payload)) + payload)
        try:
            while view:
                view = view[os.write(self.answer_out, view) :]
        except BrokenPipeError:
            pass  # the session is gone; what was written stays written


def parse_answer(data: bytes | bytearray) -> tuple[bytes, bytes] | None:
    """Split what came through the pipe into kind and payload; ``None`` if it is not whole yet."""
    if len(data) < _FRAME.size:
        return None
    kind, length = _FRAME.unpack_from(data)
    if len(data) < _FRAME.size + length:
        return None
    return kind, bytes(data[_FRAME.size : _FRAME.size + length])
