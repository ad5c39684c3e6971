"""The memory of this process as one array of words, read without touching any object.

Only for a process that holds a picture: nothing in it moves, so what is mapped stays mapped. An address is
looked up among the mappings before it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._capture.imprint.region import PAGE_BYTES, WORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

Words = np.ndarray[Any, np.dtype[np.uint64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

PAGE_WORDS = PAGE_BYTES // WORD_BYTES
ADDRESS_BITS = 48
"""Of user space, on x86-64 (47) and arm64 (48), unless a program asks for more."""
GRANULE_BITS = 26
"""Regions of 64 MiB: 4 million of them are all the addresses that there are."""
_GRANULE_WORDS = 1 << (GRANULE_BITS - 3)
_GRANULE_PAGES = _GRANULE_WORDS // PAGE_WORDS
MOST_GRANULES = 1 << 10
"""64 GiB of mapped memory; the marks of more would be a table of over 8 GiB, most of it never touched."""


class NotReadableError(Exception):
    """An address is not where memory that can be read is mapped."""


class _Exposed:
    """Shows ``[address, …)`` to numpy."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__array_interface__ = {
            "data": (address, True),
            "shape": shape,
            "typestr": "<u8",
            "version": 3,
        }


class Memory:
    """All memory of this process.

    Words are also numbered anew, those of mapped regions only: those numbers, *places*, are what tables over
    memory are indexed by. Places of one mapping follow each other.
    """

    def __init__(self) -> None:
        words: Any = np.asarray(_Exposed(WORD_BYTES, ((1 << (ADDRESS_BITS - 3)) - 1,)))
        pages: Any = np.asarray(_Exposed(PAGE_BYTES, ((1 << ADDRESS_BITS) // PAGE_BYTES - 1, PAGE_WORDS)))
        self._words: Words = words  # the first word, and the first page, are those that nothing is mapped at
        self._pages: np.ndarray[Any, np.dtype[np.uint64]] = pages
        mappings = _readable()
        granules = np.unique(
            np.concatenate(
                [np.arange(low >> GRANULE_BITS, (high - 1 >> GRANULE_BITS) + 1) for low, high in mappings]
            )
        )
        if len(granules) > MOST_GRANULES:
            raise NotReadableError("too much memory is mapped")
        self.granules = len(granules)
        self._starts = granules
        self._rank = np.zeros(1 << (ADDRESS_BITS - GRANULE_BITS), np.int32)  # hardly any of it is touched
        self._rank[granules] = np.arange(1, len(granules) + 1)
        self._readable = np.zeros(len(granules) * _GRANULE_PAGES, np.bool_)
        for low, high in mappings:
            first = (int(self._rank[low >> GRANULE_BITS]) - 1) * _GRANULE_PAGES
            first += low // PAGE_BYTES % _GRANULE_PAGES
            self._readable[first : first + (high - low) // PAGE_BYTES] = True

    @property
    def places(self) -> int:
        """How many places there are."""
        return self.granules * _GRANULE_WORDS

    def place(self, addresses: Words) -> Numbers:
        """Return the places of *addresses*.

        Raises:
            NotReadableError: One of them cannot be read, or is not that of a word.
        """
        numbers = addresses.view(np.int64)
        if len(numbers) and (int(numbers.max()) >> ADDRESS_BITS or int(numbers.min()) < PAGE_BYTES):
            raise NotReadableError("that is no address")
        if np.any(numbers & 7):
            raise NotReadableError("that is not the address of a word")
        rank = self._rank[numbers >> GRANULE_BITS].astype(np.int64)
        if not rank.all():
            raise NotReadableError("nothing is mapped there")
        found: Numbers = (rank - 1) * _GRANULE_WORDS + (numbers >> 3) % _GRANULE_WORDS
        if not self._readable[found // PAGE_WORDS].all():
            raise NotReadableError("nothing that can be read is mapped there")
        return found

    def address_of_page(self, pages: Numbers) -> Words:
        """Return the addresses of pages, given as places divided by the words of a page."""
        granules = self._starts[pages // _GRANULE_PAGES]
        return (granules * _GRANULE_PAGES + pages % _GRANULE_PAGES).astype(np.uint64) * np.uint64(PAGE_BYTES)

    def read(self, addresses: Words, offset: int = 0) -> Words:
        """Read the words at *addresses*, which must be those of objects that :meth:`place` has looked up."""
        found: Words = self._words[(addresses.view(np.int64) + (offset - WORD_BYTES)) >> 3]
        return found

    def read_one(self, address: int) -> int:
        """Read one word."""
        return int(self._words[(address >> 3) - 1])

    def span(self, first: int, count: int) -> Words:
        """Show *count* words from the address *first*."""
        at = (first >> 3) - 1
        return self._words[at : at + count]

    def at(self, indexes: Numbers) -> Words:
        """Read words, given as addresses divided by eight."""
        found: Words = self._words[indexes - 1]
        return found

    def copy_pages(self, addresses: Words, into: Words) -> None:
        """Copy whole pages."""
        self._pages.take(addresses.view(np.int64) // PAGE_BYTES - 1, axis=0, out=into, mode="clip")

    def are_readable(self, pages: Words) -> bool:
        """Say whether all pages at these addresses can be read."""
        try:
            self.place(pages)
        except NotReadableError:
            return False
        return True


def _readable() -> list[tuple[int, int]]:
    """Return what is mapped privately and can be read; a picture freezes no other memory."""
    found: list[tuple[int, int]] = []
    with open("/proc/self/maps", "rb") as table:
        for line in table:
            addresses, permissions, _, _, _, *name = line.split(None, 5)
            low, high = (int(text, 16) for text in addresses.split(b"-"))
            if (
                permissions[:1] == b"r"
                and permissions[3:4] == b"p"
                and not (name and name[0].startswith(b"[v"))
            ):
                if high >> ADDRESS_BITS:
                    continue
                found.append((low, high))
    return found


def runs(first: Numbers, count: Numbers, *, most: int = 1 << 19) -> Iterator[tuple[Numbers, Numbers]]:
    """Spell out runs of numbers, not many at a time.

    Args:
        first: First number of each run.
        count: Length of each run.
        most: About how many numbers at once.

    Yields:
        The numbers, and for each the index of its run.

    >>> [(a.tolist(), b.tolist()) for a, b in runs(np.array([5, 20]), np.array([3, 2]))]
    [([5, 6, 7, 20, 21], [0, 0, 0, 1, 1])]
    """
    done = np.cumsum(count)
    at, total, begun = 0, int(done[-1]) if len(done) else 0, 0
    while begun < total:
        # As many whole runs as fit; a long one alone, in pieces.
        end = max(at + 1, int(np.searchsorted(done, begun + most, "right")))
        length = int(done[end - 1]) - begun
        if end == at + 1:
            for start in range(0, length, most):
                piece = np.arange(start, min(start + most, length)) + first[at]
                yield piece, np.full(len(piece), at)
        else:
            owner = np.repeat(np.arange(at, end), count[at:end])
            yield np.arange(begun, begun + length) - (done - count)[owner] + first[owner], owner
        at, begun = end, int(done[end - 1])
