"""Reads a stream as the pickler has written it: with the marks that the sink has left out in their places."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from keepstate.codecs._sink import MARKS
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


def open_original(
    kept: memoryview, marks: memoryview | bytes, spent: Callable[[int], object] | None = None
) -> io.BufferedReader:
    """Open what the pickler wrote as a file, without making a copy of it.

    Args:
        kept: What is left without the marks.
        marks: What :func:`encode_marks` gave.
        spent: Told now and then how many bytes of *kept* have been read, none of which is read again.
    """
    return io.BufferedReader(_Original(original_pieces(kept, marks), spent), READ_AHEAD_BYTES)


class _Original(io.RawIOBase):
    def __init__(self, pieces: Iterator[memoryview | bytes], spent: Callable[[int], object] | None) -> None:
        self._pieces = pieces
        self._spent = spent
        self._piece: memoryview = memoryview(b"")
        self._is_kept = False
        self._kept_bytes = 0

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
                self._is_kept = isinstance(piece, memoryview)
                continue
            taken = self._piece[: target.nbytes - done]
            target[done : done + taken.nbytes] = taken
            self._piece = self._piece[taken.nbytes :]
            done += taken.nbytes
            self._kept_bytes += taken.nbytes * self._is_kept
        if self._spent is not None:
            self._spent(self._kept_bytes)
        return done
