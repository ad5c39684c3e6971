"""Know what memory holds without reading it, where the kernel tells that it has not been written to.

Large buffers that several pictures in a row found unchanged are protected, in units of a huge page. The next
picture but one takes the fingerprints of what lies in units that nobody has written to from the one before.
Why that is exact, and what it costs whom: ``docs/decisions/0008-dirty-pages.md``. In short:

    protected ── hashed, and not written to until after that ── not written to still: the fingerprint holds

- The kernel is asked after the fork, so what was written before and around it counts as written.
- This copy of the process watches itself as well: what is encoded may lie in memory that only it has filled.
- Protecting hides what was written before, so what is known of a unit begins after it was protected.
- Each picture uses up what is known; it comes back with the answer of a child that saw the picture through.

All of that happens in the forked child. The user's process keeps two descriptors and does nothing.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from keepstate._capture import (
    DirtyPages,
    hindrance,
    private_mappings,
    range_of,
    unit_bytes,
    written_by_others,
)
from keepstate._repository import FINGERPRINT_BYTES, fingerprint, piece_ends

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from keepstate._model.parts import Part
    from keepstate._repository import Piece

LEAST_BYTES = 8 << 20
"""Shorter buffers are always hashed: that takes 0.3 ms."""
PATIENCE = 3
"""How many pictures in a row must find a piece as it was before it is protected. The first write to each
page of protected memory costs the user 0.2 to 0.3 s per GB, hashing it 0.04 s per GB of another core."""
PATIENCE_GROWTH = 4
MOST_PATIENCE = 255
"""What was protected and then written to must stay as it is for four times as long the next time, so that
what changes now and then costs next to nothing."""
MOST_UNITS = 512
"""How many units are protected after one picture: 1 GiB, which takes 20 ms in pages of 4 KiB."""
PROOF = 32
"""One of so many known pieces is hashed all the same, to prove that what is known is true."""

Place = tuple[int, int, int]
"""Address, length, and how far apart its rows are: this says where the pieces of a part end."""
Numbers = np.ndarray[Any, np.dtype[Any]]


class Buffer(msgspec.Struct, frozen=True, array_like=True):
    """What is known of the memory of one part; the last three have a byte for each of its pieces."""

    start: int
    length: int
    row_bytes: int
    fingerprints: bytes
    """Of the last picture."""
    calm: bytes
    """How many pictures in a row found it as it was."""
    patience: bytes
    """How many must do so before it is protected."""
    sure: bytes
    """1: the fingerprint is of what was there when the kernel was asked."""

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.start, self.length, self.row_bytes


class Knowledge(msgspec.Struct, frozen=True):
    """What one picture hands on to the next."""

    buffers: list[Buffer] = []
    protected: list[int] = []
    """Units that are protected, by number: that of a unit is its address by its size."""
    refuted: bool = False
    """Something that was known was false: nothing of the kind may be relied on any more."""
    offered: bool | None = None
    """Whether the kernel keeps a record for this process; ``None``: nothing large made anyone ask."""


class Unwritten:
    """What one picture knows of memory without reading it.

    Args:
        pages: The record of the user's process, if it has begun.
        known: What the picture before this one handed on; ``None``: everything is to be hashed.
        seed: Of the fingerprints.
    """

    def __init__(self, pages: DirtyPages | None, known: Knowledge | None, *, seed: int) -> None:
        self._pages = pages
        self._known = known or Knowledge()
        self._wanted = known is not None
        self._seed = seed
        self._begun = self._large = self._trusted = self._refuted = False
        self._unit = 0
        self._protected: frozenset[int] = frozenset()
        self._unwritten: frozenset[int] = frozenset()
        self._lost: frozenset[int] = frozenset()
        self._before: dict[Place, Buffer] = {}
        self._after: list[Buffer] = []
        self._offered: dict[Place, list[bytes | None]] = {}
        self._own: DirtyPages | None = None

    def begin(self) -> None:
        """Watch this process, a copy of the user's; comes before anything else is done in it."""
        self._begun = self._wanted
        if self._pages is None or not self._begun:
            return
        self._trusted = written_by_others(self._pages.process) is None
        self._unit = unit_bytes()
        self._lost = self._protected = frozenset(self._known.protected)
        self._before = {buffer.place: buffer for buffer in self._known.buffers}
        if self._trusted and self._protected:
            with suppress(OSError):  # it has no memory for it, perhaps; then everything is hashed
                self._own = DirtyPages.open()
        for start, end in self._ranges(self._protected):
            if self._own is not None:
                with suppress(OSError):  # what was there has been freed
                    self._own.watch(start, end)
                    self._own.protect(start, end)

    def ask(self, parts: Collection[Part]) -> None:
        """Ask which units were not written to, and prove some of what follows from that.

        Args:
            parts: All of them; nothing is encoded after this.
        """
        self._large = self._large or any(map(_is_large, parts))
        if self._pages is None or self._own is None:
            return
        inherited = self._own.unwritten(self._ranges(self._protected))
        self._unwritten = self._units_in(self._pages.unwritten(inherited))
        if not all(map(self._offer, filter(_is_large, parts))):
            self._offered, self._unwritten, self._refuted = {}, frozenset(), True
        self._lost = self._protected - self._unwritten

    def _offer(self, part: Part) -> bool:
        """Note what is known of *part*; return whether what was proved of it is true."""
        place = _place(part)
        buffer = self._before.get(place)
        if buffer is None:
            return True
        holds = np.frombuffer(buffer.sure, bool) & self._pieces(place, self._unwritten)
        offered: list[bytes | None] = [None] * len(holds)
        begins, ends = _bounds(place)
        turn = os.urandom(1)[0] % PROOF
        for index in np.flatnonzero(holds).tolist():
            known = buffer.fingerprints[index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES]
            piece = part.memory[begins[index] : ends[index]]
            if index % PROOF == turn and fingerprint(piece, seed=self._seed) != known:
                return False
            offered[index] = known
        self._offered[place] = offered
        return True

    def fingerprints(self, part: Part) -> Sequence[bytes | None]:
        """Give those of the pieces of *part* that are known; ``None``, or none at all, for the others."""
        return self._offered.get(_place(part), ()) if self._offered else ()

    def note(self, part: Part, pieces: Sequence[Piece]) -> None:
        """Remember for the next picture what *part* was found to hold."""
        if self._pages is None or not self._begun or not _is_large(part):
            return
        place = _place(part)
        found = b"".join(piece.fingerprint for piece in pieces)
        before = self._before.get(place)
        if before is None:
            none = bytes(len(pieces))
            self._after.append(Buffer(*place, found, none, bytes([PATIENCE]) * len(pieces), none))
            return
        lost = self._pieces(place, self._lost, every=False)
        same = (_halves(found) == _halves(before.fingerprints)).all(axis=1)
        calm, patience = _numbers(before.calm), _numbers(before.patience)
        calm = np.where(same & ~lost, calm + 1, 0)
        patience = np.where(lost, patience * PATIENCE_GROWTH, patience)
        sure = self._pieces(place, self._unwritten)
        self._after.append(Buffer(*place, found, _as_bytes(calm), _as_bytes(patience), sure.tobytes()))

    # -- the end ---------------------------------------------------------------------------------------

    def finish(self) -> Knowledge:
        """Protect what has long been calm, leave what was written to alone, and hand on what is known."""
        pages = self._pages
        if not self._begun:
            return self._known
        if pages is None:
            ask = self._large and self._known.offered is None
            return Knowledge(offered=hindrance() is None) if ask else self._known
        there, calm = self._units()
        kept = there & self._unwritten
        pages.unprotect(self._ranges(self._protected - kept))
        if self._trusted and not self._refuted:
            kept = self._protect(pages, kept, sorted(calm - self._protected)[:MOST_UNITS])
        return Knowledge(self._after, sorted(kept), self._refuted, offered=True)

    def _units(self) -> tuple[set[int], set[int]]:
        """Give the units inside buffers, and those of them all of whose pieces have been calm for long."""
        there: set[int] = set()
        calm: set[int] = set()
        for buffer in self._after:
            patient = _numbers(buffer.calm) >= _numbers(buffer.patience)
            units = np.arange(-(-buffer.start // self._unit), (buffer.start + buffer.length) // self._unit)
            _, ends = _bounds(buffer.place)
            first = np.searchsorted(ends, units * self._unit - buffer.start, side="right")
            last = np.searchsorted(ends, (units + 1) * self._unit - 1 - buffer.start, side="right")
            there.update(units.tolist())
            calm.update(units[_count(patient, first, last) == last - first + 1].tolist())
        return there, calm

    def _protect(self, pages: DirtyPages, kept: set[int], wanted: list[int]) -> set[int]:
        """Protect *wanted*, as far as it is private memory that is there; return all that is protected."""
        if not wanted:
            return kept
        mappings = private_mappings(pages.process)
        starts = [start for start, _ in mappings]
        present = sorted(self._units_in(pages.present(self._ranges(wanted))))
        for at, units in groupby(present, lambda unit: bisect_right(starts, unit * self._unit) - 1):
            mapping = mappings[at] if at >= 0 else (0, 0)
            inside = frozenset(units) & self._units_in([mapping])
            kept = self._protect_in(pages, kept, inside, mapping)
        return kept

    def _protect_in(
        self, pages: DirtyPages, kept: set[int], units: Collection[int], mapping: tuple[int, int]
    ) -> set[int]:
        if not pages.is_watched(mapping[0]):  # marks that are left from before must not count again
            kept = kept - self._units_in([mapping])
        try:
            pages.watch(*mapping)
            for start, end in self._ranges(units):
                pages.protect(start, end)
        except OSError:
            return kept  # somebody else watches it, perhaps
        return kept.union(units)

    # -- units and pieces ------------------------------------------------------------------------------

    def _ranges(self, units: Collection[int]) -> list[tuple[int, int]]:
        """Give the addresses ``[start, end)`` of runs of *units*."""
        runs: list[tuple[int, int]] = []
        for unit in sorted(units):
            start, end = unit * self._unit, (unit + 1) * self._unit
            if runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], end
            else:
                runs.append((start, end))
        return runs

    def _units_in(self, ranges: Iterable[tuple[int, int]]) -> frozenset[int]:
        """Give the units that lie in one of *ranges* as a whole."""
        return frozenset(
            unit for start, end in ranges for unit in range(-(-start // self._unit), end // self._unit)
        )

    def _pieces(self, place: Place, units: frozenset[int], *, every: bool = True) -> Numbers:
        """Say of each piece whether *units* hold all of it; or, unless *every*, some of it."""
        start = place[0]
        begins, ends = _bounds(place)
        base = start // self._unit
        first = (start + begins) // self._unit - base
        last = (start + ends - 1) // self._unit - base
        held = np.fromiter((unit in units for unit in range(base, base + int(last[-1]) + 1)), bool)
        count = _count(held, first, last)
        return count == last - first + 1 if every else count > 0


def _is_large(part: Part) -> bool:
    return part.memory.nbytes >= LEAST_BYTES


def _place(part: Part) -> Place:
    start, end = range_of(part.memory)
    return start, end - start, part.row_bytes


def _bounds(place: Place) -> tuple[Numbers, Numbers]:
    """Give where the pieces begin and end, counted from the beginning of the part."""
    _, length, row_bytes = place
    ends = np.array(piece_ends(length, row_bytes=row_bytes))
    return np.append(0, ends[:-1]), ends


def _count(flags: Numbers, first: Numbers, last: Numbers) -> Numbers:
    """Count the flags that are set in each of the intervals ``[first, last]``."""
    total = np.concatenate(([0], np.cumsum(flags)))
    counted: Numbers = total[last + 1] - total[first]
    return counted


def _halves(fingerprints: bytes) -> Numbers:
    return np.frombuffer(fingerprints, np.uint64).reshape(-1, 2)


def _numbers(values: bytes) -> Numbers:
    return np.frombuffer(values, np.uint8).astype(np.int64)


def _as_bytes(values: Numbers) -> bytes:
    return np.minimum(values, MOST_PATIENCE).astype(np.uint8).tobytes()
