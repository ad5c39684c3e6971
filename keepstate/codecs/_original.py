"""Reads a stream as the pickler has written it: with the marks that the sink has left out in their places."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from keepstate.codecs._sink import MARKS
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import WriteableBuffer

_MARK = struct.Struct("<Q")
MARK_BYTES = _MARK.size
READ_AHEAD_BYTES = 128 << 10
"""As far as the C unpickler looks ahead; with it, what has no frames is read as fast as what has some."""


def encode_marks(marks: Iterable[int]) -> bytes:
    """Give the marks of a sink as they are stored."""
    return b"".join(map(_MARK.pack, marks))


def original_pieces(kept: memoryview, marks: memoryview | bytes) -> Iterator[memoryview | bytes]:
    """Give what the pickler wrote, piece by piece.

    Args:
        kept: What is left without the marks.
        marks: What :func:`encode_marks` gave.

    Raises:
        IntegrityError: A mark has no place there.
    """
    at = 0
    for (mark,) in _MARK.iter_unpack(marks):
        distance, kind = divmod(mark, 4)
        if kind >= len(MARKS) or distance > kept.nbytes - at:
            raise IntegrityError("a stream has a mark where there is no place for one")
        yield kept[at : at + distance]
        yield MARKS[kind]
        at += distance
    yield kept[at:]


def open_original(kept: memoryview, marks: memoryview | bytes) -> io.BufferedReader:
    """Open what the pickler wrote as a file, without making a copy of it."""
    return io.BufferedReader(_Original(original_pieces(kept, marks)), READ_AHEAD_BYTES)


class _Original(io.RawIOBase):
    def __init__(self, pieces: Iterator[memoryview | bytes]) -> None:
        self._pieces = pieces
        self._piece: memoryview = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        done = 0
        while done < target.nbytes:
            if not self._piece:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece = memoryview(piece)
                continue
            taken = self._piece[: target.nbytes - done]
            target[done : done + taken.nbytes] = taken
            self._piece = self._piece[taken.nbytes :]
            done += taken.nbytes
        return done
