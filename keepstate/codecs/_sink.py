"""Takes what the C pickler writes, and leaves out what moves when a value more comes before it.

Streams are cut where their content says so, and a piece that is there already is not written again
(``_repository/cutting.py``). Two things of a pickle depend on how much came before: *frames* say the length
of each 64 KiB, and *marks* end a batch of 1000 entries of a dict, list or set and begin the next. One entry
more in a dict of a million would change a thousand places. Frames mean nothing to the unpickler and are left
out for good. Marks are noted with their places, and come back when the stream is read (``_original.py``).
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PROTO, _FRAME = 0x80, 0x95
_FRAME_HEADER_BYTES = 9
_PROTO_BYTES = 2
_LENGTH = struct.Struct("<Q")

MARKS = (b"u(", b"e(", b"\x90(")
"""SETITEMS, APPENDS and ADDITEMS, each with the MARK that begins the next batch."""
_STARTS = frozenset(b"NKMJGBCXhj]})(\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x96\x97")
"""Opcodes with which a value begins. What else stands behind those bytes is text or a number."""
_MOST_MARKS = 64
"""In one frame, of 64 KiB: a batch has 1000 bytes or more. What has more of them is something else."""
_SMALLEST = 1000
"""Bytes of a frame below which there can be no whole batch."""


class TooLongError(Exception):
    """The stream has grown beyond the limit that it was given."""


class Sink:
    """A file for one pickler, for one pickle after the other.

    The C pickler (CPython 3.11 to 3.14) calls :meth:`write` with a frame, behind it perhaps the head of a
    value of 64 KiB or more, which the next call brings as it is; a pickle of less than 4 bytes has no frame.
    Whatever else it might write one day is taken as it comes, which is always right.

    Args:
        limit: Bytes at which to give up with :class:`TooLongError`.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.marks: list[int] = []
        """For each mark that was left out: bytes since the last one, times 4, and its place in ``MARKS``."""
        self._file = io.BytesIO()
        self._last_mark = 0
        self._begins = True
        self._value = False

    @property
    def nbytes(self) -> int:
        """Bytes that were kept so far."""
        return self._file.tell()

    def kept(self) -> memoryview:
        """Show what was kept so far; to be released before more comes."""
        return self._file.getbuffer()

    def begin(self) -> None:
        """Expect another pickle."""
        self._begins, self._value = True, False

    def write(self, data: ReadableBuffer) -> int:
        """Take what the pickler gives."""
        view = memoryview(data).cast("B")
        if self._value:
            self._value = False
            self._file.write(view)
        else:
            self._take(view)
        if self.limit is not None and self.nbytes > self.limit:
            raise TooLongError
        return view.nbytes

    def _take(self, view: memoryview) -> None:
        at = _PROTO_BYTES if self._begins and view[:1] == bytes([_PROTO]) else 0
        self._begins = False
        self._file.write(view[:at])
        start = at + _FRAME_HEADER_BYTES
        stop = at
        if view.nbytes >= start and view[at] == _FRAME:
            length = _LENGTH.unpack_from(view, at + 1)[0]
            if start + length <= view.nbytes:
                stop = start + length
                self._take_frame(view[start:stop])
        self._file.write(view[stop:])
        self._value = view.nbytes - stop >= 5  # the head of a long value has 5 bytes or 9

    def _take_frame(self, frame: memoryview) -> None:
        start = 0
        for at in _marks_in(frame):
            self._file.write(frame[start:at])
            start = at + 2
            here = self._file.tell()
            self.marks.append((here - self._last_mark) * 4 + MARKS.index(frame[at:start]))
            self._last_mark = here
        self._file.write(frame[start:])

    def finish(self, end: bytes) -> bytes:
        """Add *end* and give all that was kept."""
        self._file.write(end)
        return self._file.getvalue()


def _marks_in(frame: memoryview) -> list[int]:
    if frame.nbytes < _SMALLEST:
        return []
    every = np.frombuffer(frame, np.uint8)
    ends, behind = every[:-2], every[1:-1]
    found = ((ends == MARKS[0][0]) | (ends == MARKS[1][0]) | (ends == MARKS[2][0])) & (behind == MARKS[0][1])
    places = [at for at in np.flatnonzero(found).tolist() if frame[at + 2] in _STARTS]
    return places if len(places) <= _MOST_MARKS else []
