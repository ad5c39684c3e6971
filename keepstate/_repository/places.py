"""Where chunks are, told by the beginning of their ids: sorted arrays, and beside them what came since.

A million chunks take 16 bytes each, no object that the user's garbage collector must look at, and are put in
order in a tenth of a second. What is added later goes into a small dictionary, so that learning of one pack
does not cost what all the others do. Knows footers and numbers, not packs and disks.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from keepstate._repository import pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST_RECENT = 1 << 14
"""Chunks in the dictionary before they are sorted into the arrays: to copy it takes 0.3 ms, and to sort a
million chunks anew 0.1 s, once in so many."""

_KEY = struct.Struct(">Q")


class Places:
    """Chunk id → numbers that were given for it, the first given first; never changes.

    Ids that only begin alike are not told apart: whoever asks compares the rest.
    """

    __slots__ = ("_keys", "_numbers", "_recent")

    def __init__(
        self,
        keys: NDArray[Any] | None = None,
        numbers: NDArray[Any] | None = None,
        recent: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        # Views give plain integers; what numpy gives takes five times as long to compare.
        self._keys = memoryview(b"") if keys is None else keys.data
        self._numbers = memoryview(b"") if numbers is None else numbers.data
        self._recent = recent or {}

    def find(self, chunk_id: bytes) -> tuple[int, ...]:
        """Give the numbers of all chunks whose ids begin as this one does."""
        (key,) = _KEY.unpack_from(chunk_id)
        keys = self._keys
        first = last = bisect_left(keys, key)
        while last < len(keys) and keys[last] == key:
            last += 1
        recent = self._recent.get(key, ())
        return (*sorted(self._numbers[first:last]), *recent) if last > first else recent

    def plus(self, added: Sequence[tuple[int, pack.Footer]]) -> Places:
        """Give the same with more.

        Args:
            added: Number of the first chunk of a pack, its others follow on it; footer of the pack.
        """
        count = sum(len(footer) for _, footer in added) // pack.ENTRY_BYTES
        if count + len(self._recent) > MOST_RECENT:
            return self._sorted(added)
        recent = dict(self._recent)
        for first, footer in added:
            for number, at in enumerate(range(0, len(footer), pack.ENTRY_BYTES), first):
                (key,) = _KEY.unpack_from(footer, at)
                recent[key] = (*recent.get(key, ()), number)
        found = Places(recent=recent)
        found._keys, found._numbers = self._keys, self._numbers
        return found

    def _sorted(self, added: Sequence[tuple[int, pack.Footer]]) -> Places:
        import numpy as np

        recent = [(key, number) for key, numbers in self._recent.items() for number in numbers]
        keys = [
            np.asarray(self._keys, np.uint64),
            np.array([key for key, _ in recent], np.uint64),
            pack.keys_of([footer for _, footer in added]),
        ]
        counts = np.array([len(footer) // pack.ENTRY_BYTES for _, footer in added], np.int64)
        before = np.cumsum(counts) - counts
        firsts = np.array([first for first, _ in added], np.int64)
        numbers = [
            np.asarray(self._numbers, np.int64),
            np.array([number for _, number in recent], np.int64),
            np.arange(counts.sum()) + np.repeat(firsts - before, counts),
        ]
        all_keys, all_numbers = np.concatenate(keys), np.concatenate(numbers)
        order = np.argsort(all_keys)
        return Places(all_keys[order], all_numbers[order])
