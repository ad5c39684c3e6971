"""Memory that a fork does not freeze, copied at the safe point.

The child finds such memory among the buffers that it is told of, and says so; the picture is then taken
again with those ranges copied first. The copy goes through ``/proc/self/mem``: what has been unmapped or
truncated meanwhile is an error there, and a dead kernel if it were read directly.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from typing import TYPE_CHECKING

from keepstate._capture.failures import MemoryShort, NotNow, TooLarge
from keepstate._capture.mappings import Mappings, Range, merge, range_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MiB = 1 << 20
COPY_LIMIT_BYTES = 512 * MiB
"""Copying holds the main thread: 10 GB/s here, so 50 ms at most."""
_PIECE_BYTES = 64 * MiB


class Copies:
    """Ranges of memory → what was in them at the moment of the picture."""

    def __init__(self, copied: Sequence[tuple[int, memoryview]] = ()) -> None:
        self._copied = sorted(copied, key=lambda item: item[0])
        self._starts = [start for start, _ in self._copied]

    @staticmethod
    def take(ranges: Iterable[Range], *, limit_bytes: int = COPY_LIMIT_BYTES) -> Copies:
        """Copy what of *ranges* is still mapped and still not frozen by a fork.

        Raises:
            TooLarge: It is more than *limit_bytes*.
            MemoryShort: There is no memory for the copies.
            NotNow: It cannot be read.
        """
        wanted = merge(ranges)
        if not wanted:
            return Copies()
        mappings = Mappings.read()
        present = merge(part for start, end in wanted for part in mappings.unfrozen(start, end))
        total = sum(end - start for start, end in present)
        if total > limit_bytes:
            raise TooLarge(
                f"{total} bytes of the tracked objects lie in memory that other processes or files share, "
                f"and at most {limit_bytes} can be copied at once: untrack what is mapped from a file"
            )
        return Copies(_copy_all(present))

    def substitute(self, memory: memoryview) -> memoryview | None:
        """Return the copy of *memory*, or ``None`` if not all of it was copied."""
        start, end = range_of(memory)
        index = bisect_right(self._starts, start) - 1
        if index < 0:
            return None
        base, copy = self._copied[index]
        if end > base + copy.nbytes:
            return None
        return copy[start - base : end - base]


def _copy_all(ranges: Sequence[Range]) -> list[tuple[int, memoryview]]:
    try:
        descriptor = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotNow(f"shared memory cannot be copied here: {error.strerror}") from error
    try:
        return [(start, _copy(descriptor, start, end - start)) for start, end in ranges]
    finally:
        os.close(descriptor)


def _copy(descriptor: int, start: int, length: int) -> memoryview:
    try:
        # Private: the fork freezes it.
        memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryShort(f"there is no memory to copy {length} bytes of shared memory") from error
    view = memoryview(memory)
    done = 0
    while done < length:
        try:
            count = os.preadv(descriptor, [view[done : done + _PIECE_BYTES]], start + done)
        except OSError as error:
            raise NotNow(f"shared memory went away while it was copied: {error.strerror}") from error
        if count == 0:
            raise NotNow("shared memory went away while it was copied")
        done += count
    return view
