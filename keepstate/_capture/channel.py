"""What passes between the process of the user and the one that holds the picture.

The board is shared memory: progress never blocks the child, however busy the parent is. The answer comes
through a pipe, whose end also tells that the child is gone. The other pipe carries nothing: its end tells
the child that the stall has been noted, or that the parent has died.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from keepstate._capture import kept_gil

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = struct.Struct("qqqHdd?")
"""pid of the child, bytes done, how many reports, length of the name, stall in seconds (-1: not told),
processor time of the child in seconds, whether it reads memory by address."""
_REPORT_AT, _STALL_AT = 8, struct.calcsize("qqqH0d")
_PROCESSOR_AT, _LOOKING_AT = struct.calcsize("qqqHd"), struct.calcsize("qqqHdd")
_NAME_BYTES = 512
_FRAME = struct.Struct("=cQ")

RESULT, NEEDS_COPY, FAILED, SHORT = b"R", b"N", b"F", b"M"


class Progress(NamedTuple):
    """The newest report of the child."""

    pid: int
    bytes_done: int
    reports: int
    name: str
    looking: bool
    """Whether it reads memory by address, which may kill it."""
    processor_seconds: float
    """How long it had computed when it answered; 0 before."""


class Board:
    """Memory that both processes see."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _HEAD.size + _NAME_BYTES)
        self._reports = 0
        self.put_stall(-1.0)

    def put_stall(self, seconds: float) -> None:
        """Parent: note how long the main thread was held."""
        struct.pack_into("d", self.memory, _STALL_AT, seconds)

    def get_stall(self) -> float | None:
        """Child: read it; ``None`` if it has not been noted."""
        (seconds,) = struct.unpack_from("d", self.memory, _STALL_AT)
        return None if seconds < 0 else seconds

    def report(self, name: str, bytes_done: int) -> None:
        """Child: say what is being worked on."""
        text = name.encode(errors="replace")[:_NAME_BYTES]
        self._reports += 1
        self.memory[_HEAD.size : _HEAD.size + len(text)] = text
        struct.pack_into("qqH", self.memory, _REPORT_AT, bytes_done, self._reports, len(text))

    def put_processor_seconds(self, seconds: float) -> None:
        """Child: note how long it has computed, with all its threads."""
        struct.pack_into("d", self.memory, _PROCESSOR_AT, seconds)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Child: say that memory is read by address."""
        struct.pack_into("?", self.memory, _LOOKING_AT, True)
        try:
            yield
        finally:
            struct.pack_into("?", self.memory, _LOOKING_AT, False)

    def read(self) -> Progress:
        """Parent: read the newest report; a name read while it is written may be a mixture."""
        pid, bytes_done, reports, length, _, processor_seconds, looking = _HEAD.unpack_from(self.memory)
        name = self.memory[_HEAD.size : _HEAD.size + min(length, _NAME_BYTES)]
        return Progress(pid, bytes_done, reports, name.decode(errors="replace"), looking, processor_seconds)


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
        answer_in, answer_out = kept_gil.pipe()
        try:
            stall_in, stall_out = kept_gil.pipe()
        except OSError:
            kept_gil.close(answer_in)
            kept_gil.close(answer_out)
            raise
        return Channel(Board(), answer_in, answer_out, stall_in, stall_out)

    def close(self) -> None:
        """Give everything back: there was no fork."""
        for descriptor in (self.answer_in, self.answer_out, self.stall_in, self.stall_out):
            kept_gil.close(descriptor)

    def close_for_parent(self) -> None:
        """Leave the child's ends to the child alone, so that its end is seen."""
        kept_gil.close(self.answer_out)
        kept_gil.close(self.stall_in)

    def tell_stall(self, seconds: float) -> None:
        """Parent: tell how long the main thread was held."""
        # Written to the board and announced by closing: writing to a pipe could bring a SIGPIPE to the user.
        self.board.put_stall(seconds)
        kept_gil.close(self.stall_out)

    def hear_stall(self) -> float | None:
        """Child: wait for it; ``None`` if the parent died first."""
        os.read(self.stall_in, 1)
        return self.board.get_stall()

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
