"""A backend that remembers what it has read, for a reader that jumps about in packs.

Only what is written once may be remembered: a copy of it is never out of date, though it may outlive the
object. Bytes are kept in blocks, the ones that were not used for longest go first, and a reader that goes on
where it stopped gets several blocks by one request.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from keepstate.backends._names import check_name, check_range
from keepstate.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keepstate.backends._protocol import Backend, Item, Properties

BLOCK_BYTES = 1 << 20
"""The longest chunk of a pack: a request for one chunk brings at most its neighbours."""

AHEAD_BLOCKS = 8
"""Fetched together when a reader goes on where it stopped, one block each.
Source: Amazon, "Performance design patterns for S3", which names 8 and 16 MB as usual for ranges."""

_READERS = 64
"""Names whose last place is known; there are never more threads that read."""


class Caching:
    """The same place, with what was read from it kept in memory.

    Args:
        backend: The place.
        most_bytes: What is kept, one block or more.
        written_once: Whether the object of this name never changes, whoever else writes to that place. Of
            others nothing is kept.
    """

    def __init__(self, backend: Backend, *, most_bytes: int, written_once: Callable[[str], bool]) -> None:
        if most_bytes < BLOCK_BYTES:
            raise InvalidInputError(f"most_bytes={most_bytes}: give {BLOCK_BYTES} or more")
        self._backend = backend
        self._most_bytes = most_bytes
        self._written_once = written_once
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._held_bytes = 0
        self._ends: dict[str, int] = {}
        self._stopped_at: OrderedDict[str, int] = OrderedDict()
        self._changes = 0

    def __repr__(self) -> str:
        return f"Caching({self._backend!r})"

    @property
    def properties(self) -> Properties:
        """Those of the place."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    @property
    def held_bytes(self) -> int:
        """How much is kept now."""
        return self._held_bytes

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object, and forget the one whose place it takes."""
        try:
            self._backend.put(name, data, replace=replace)
        finally:
            if replace:
                self.forget(name)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object, from memory as far as it is there.

        What has no end that is known, or is more than half of what may be kept, is passed through.
        """
        check_name(name)
        check_range(start, length)
        with self._lock:
            changes = self._changes
            end = self._ends.get(name)
        stop = end if length is None else start + length if end is None else min(start + length, end)
        if end is not None and (stop is None or stop <= start):
            return memoryview(b"")
        if stop is None or stop <= start or stop - start > self._most_bytes // 2:
            return self._backend.get(name, start=start, length=length)
        if not self._written_once(name):
            return self._backend.get(name, start=start, length=length)
        pieces = self._pieces(name, start, stop, end, changes)
        if len(pieces) > 1 and self._changes != changes:
            # It may have been replaced meanwhile: never half of the old bytes and half of the new ones.
            return self._backend.get(name, start=start, length=length)
        joined = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
        skipped = start % BLOCK_BYTES
        answer = joined[skipped : skipped + stop - start].toreadonly()
        self._remember_stop(name, start + len(answer))
        return answer

    def stat(self, name: str) -> Item:
        """Look at one object, now."""
        return self._backend.stat(name)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object, now."""
        return self._backend.list(prefix)

    def delete(self, name: str) -> None:
        """Remove an object, and forget it."""
        try:
            self._backend.delete(name)
        finally:
            self.forget(name)

    def close(self) -> None:
        """Forget everything and close the place."""
        with self._lock:
            self._changes += 1
            self._blocks.clear()
            self._ends.clear()
            self._held_bytes = 0
        self._backend.close()

    def forget(self, name: str) -> None:
        """Read this object anew from now on: its bytes turned out to be wrong, or it was changed."""
        with self._lock:
            self._changes += 1  # what is on its way now is not kept
            self._ends.pop(name, None)
            for key in [key for key in self._blocks if key[0] == name]:
                self._held_bytes -= len(self._blocks.pop(key))

    def _pieces(
        self, name: str, start: int, stop: int, end: int | None, changes: int
    ) -> Sequence[memoryview]:
        """Give the blocks that ``[start, stop)`` lies in, fetching each run that is missing at once."""
        pieces = []
        goes_on = self._stopped_at.get(name) == start
        last = (stop - 1) // BLOCK_BYTES
        number = start // BLOCK_BYTES
        while number <= last:
            block = self._block(name, number)
            if block is not None:
                pieces.append(memoryview(block))
                number += 1
                continue
            behind = number + 1
            while behind <= last and not self._has(name, behind):
                behind += 1
            if goes_on and behind > last:
                ahead = min(AHEAD_BLOCKS, self._most_bytes // (2 * BLOCK_BYTES))
                behind = max(behind, number + ahead)
            at, until = number * BLOCK_BYTES, behind * BLOCK_BYTES
            found = self._fetch(name, at, until if end is None else min(until, end), changes)
            pieces.append(found)
            number = behind
            if len(found) < until - at:
                break  # the object ends here
        return pieces

    def _fetch(self, name: str, at: int, until: int, changes: int) -> memoryview:
        """Ask for the bytes ``[at, until)``, beginning with a block, and keep them.

        Raises:
            UnavailableError: The answer broke off; kept, it would pass for the end of the object.
        """
        found = self._backend.get(name, start=at, length=until - at)
        end: int | None = None
        if len(found) < until - at:
            end = self._backend.stat(name).nbytes
            if end > at + len(found):
                raise UnavailableError(
                    f"{self.place} gave {name!r} up to byte {at + len(found)}, and it has {end}: ask again"
                )
        with self._lock:
            if changes != self._changes:
                return found
            if end is not None:
                self._ends[name] = end
            for offset in range(0, len(found), BLOCK_BYTES):
                # A copy: a slice would hold all that was fetched with it.
                self._insert(
                    (name, (at + offset) // BLOCK_BYTES), bytes(found[offset : offset + BLOCK_BYTES])
                )
        return found

    def _insert(self, key: tuple[str, int], block: bytes) -> None:
        old = self._blocks.pop(key, None)
        self._held_bytes += len(block) - len(old or b"")
        self._blocks[key] = block
        while self._held_bytes > self._most_bytes:
            self._held_bytes -= len(self._blocks.popitem(last=False)[1])

    def _has(self, name: str, number: int) -> bool:
        with self._lock:
            return (name, number) in self._blocks

    def _block(self, name: str, number: int) -> bytes | None:
        with self._lock:
            block = self._blocks.get((name, number))
            if block is not None:
                self._blocks.move_to_end((name, number))
            return block

    def _remember_stop(self, name: str, at: int) -> None:
        with self._lock:
            self._stopped_at[name] = at
            self._stopped_at.move_to_end(name)
            while len(self._stopped_at) > _READERS:
                self._stopped_at.popitem(last=False)
