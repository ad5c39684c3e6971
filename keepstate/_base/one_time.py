"""Memory for what is read once, from its beginning to its end, and is given back to the system on the way."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress

STEP_BYTES = 1 << 20
"""How much is given back at once; shorter memory is kept to its end."""
_IS_GIVEN_BACK = sys.platform == "linux"
"""Elsewhere ``MADV_DONTNEED`` may mean that the pages are only likely to be given back, or is not there."""


class OneTime:
    """So many bytes, all zero at first.

    Args:
        nbytes: 0 or more.

    Raises:
        MemoryError: There is no memory for them.
    """

    def __init__(self, nbytes: int) -> None:
        self._pages = _pages(nbytes) if _IS_GIVEN_BACK and nbytes > STEP_BYTES else None
        self._given = 0
        self.view = memoryview(bytearray(nbytes) if self._pages is None else self._pages)
        """Accepts writes; format ``B``."""

    def spent(self, end: int) -> None:
        """Give back what lies before *end*, which nobody reads again: it does not hold its bytes any more."""
        left = end - self._given
        if self._pages is not None and left >= STEP_BYTES:
            whole = left // STEP_BYTES * STEP_BYTES
            with suppress(OSError):  # the user has locked all memory: it stays until the end
                self._pages.madvise(mmap.MADV_DONTNEED, self._given, whole)
            self._given += whole


def _pages(nbytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{nbytes} bytes do not fit into memory") from error
