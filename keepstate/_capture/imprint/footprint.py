"""Which words of memory a graph of objects is made of: a mark for each, packed into a mask for each page."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._capture.imprint.memory import GRANULE_BITS, PAGE_WORDS, runs
from keepstate._capture.imprint.region import MASK_BYTES, PAGE_BYTES, WORD_BYTES

if TYPE_CHECKING:
    from keepstate._capture.imprint.memory import Mask, Memory, Numbers, Words

_NORESERVE = 0x4000
"""``MAP_NORESERVE``: memory that is never touched is not counted. Source: ``asm-generic/mman-common.h``."""
_GRANULE_PAGES = 1 << (GRANULE_BITS - 12)
_FEW_WORDS = 8


class Marks:
    """A mark for each word of memory; a byte each, an eighth of what is marked at most."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        self._marks = np.frombuffer(mmap.mmap(-1, max(memory.places, 1), flags=flags), np.uint8)
        self._touched = np.zeros(memory.granules, np.bool_)

    def new(self, places: Numbers) -> Mask:
        """Mark words, each given once; return which of them had no mark."""
        fresh: Mask = self._marks[places] == 0
        self.add(places)
        return fresh

    def add(self, places: Numbers) -> None:
        """Mark words."""
        self._marks[places] = 1
        self._touched[places >> (GRANULE_BITS - 3)] = True

    def add_runs(self, addresses: Words, nbytes: Numbers) -> None:
        """Mark every word in which some of so many bytes from each address lie."""
        some = nbytes > 0
        if not some.all():
            addresses, nbytes = addresses[some], nbytes[some]
        lows = addresses.view(np.int64)
        first = self._memory.place((lows & ~7).view(np.uint64))
        last = self._memory.place(((lows + nbytes - 1) & ~7).view(np.uint64))
        count = last - first + 1
        for step in range(_FEW_WORDS):  # most texts and numbers are short
            reach = count > step
            if not reach.any():
                return
            self.add(first[reach] + step)
        rest = count > _FEW_WORDS
        for places, _ in runs(first[rest] + _FEW_WORDS, count[rest] - _FEW_WORDS):
            self.add(places)

    def footprint(self) -> Footprint:
        """Pack the marks."""
        pages, masks = [], []
        for granule in np.flatnonzero(self._touched).tolist():
            first = granule * _GRANULE_PAGES
            table = self._marks[first * PAGE_WORDS : (first + _GRANULE_PAGES) * PAGE_WORDS].reshape(
                -1, PAGE_WORDS
            )
            found = np.flatnonzero(table.view(np.uint64).any(axis=1))
            pages.append(self._memory.address_of_page(found + first))
            masks.append(np.packbits(table[found], axis=1, bitorder="little"))
        return Footprint(
            np.concatenate(pages) if pages else np.zeros(0, np.uint64),
            np.concatenate(masks) if masks else np.zeros((0, MASK_BYTES), np.uint8),
        )


@dataclass(frozen=True, slots=True)
class Footprint:
    """The words that count."""

    pages: Words
    """Addresses of the pages in which they lie, ascending."""
    masks: np.ndarray[Any, np.dtype[np.uint8]]
    """Shape ``(pages, 64)``: a bit for each word of a page."""

    def holds(self, addresses: Words) -> Mask:
        """Say which of *addresses* are those of words that count; they need not be those of memory."""
        if not len(self.pages):
            return np.zeros(len(addresses), np.bool_)
        at = np.searchsorted(self.pages, addresses & np.uint64(~(PAGE_BYTES - 1) & (1 << 64) - 1))
        at[at == len(self.pages)] = 0
        word = (addresses.view(np.int64) % PAGE_BYTES) // WORD_BYTES
        same = self.pages[at] == addresses - addresses % np.uint64(PAGE_BYTES)
        found: Mask = same & ((self.masks[at, word >> 3] >> (word & 7).astype(np.uint8)) & 1).astype(np.bool_)
        return found
