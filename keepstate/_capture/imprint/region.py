"""Shared memory in which one child leaves an imprint for those that come after it.

Made by the user's process, which never touches a page of it: what children write there is not its own.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE_BYTES, WORD_BYTES = 4096, 8
MASK_BYTES = PAGE_BYTES // WORD_BYTES // 8
RUN_PAGES = 128
"""Pages that are hashed together: half a megabyte, which stays in the processor's cache."""
HASH_BYTES = 16
REGION_BYTES = 64 << 20
"""For 3.5 GB of objects: 72 bytes for each page of 4 KiB."""
_NORESERVE = 0x4000
_HEAD_AT = 16


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What an imprint says besides its tables."""

    names: list[str]
    roots: list[int]
    """Address of the object of each name."""
    kinds: list[tuple[int, int, bool, bool, list[tuple[str, int]]]]
    """Address and shape of each class, in the order in which they were found."""
    complex_numbers: bool
    pages: int
    facts: bytes = b""
    """What the stream depended on besides memory, for the codecs; empty: it was not encoded yet."""
    pieces: list[tuple[bytes, int]] = []
    """Fingerprint and length of each piece of the stream."""
    encode_seconds: float = 0.0
    """How long encoding took."""


class Region:
    """Room for one imprint: a head, then the tables. Empty until the head is there."""

    def __init__(self) -> None:
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _NORESERVE
        self._memory = mmap.mmap(-1, REGION_BYTES, flags=flags)

    def put_tables(self, pages: int, tables: Sequence[bytes]) -> bool:
        """Write the tables of so many pages; ``False``: there is not room enough.

        Args:
            pages: How many.
            tables: Their addresses, their masks, and the hash of each run of them.
        """
        if self._end(pages) + _HEAD_AT > REGION_BYTES:
            return False
        self.clear()
        at = REGION_BYTES - self._end(pages)
        for table in tables:
            self._memory[at : at + len(table)] = table
            at += len(table)
        return True

    def put_head(self, head: Head) -> bool:
        """Write the head, with which the imprint is whole; ``False``: there is not room enough."""
        data = msgspec.msgpack.encode(head)
        if _HEAD_AT + len(data) + self._end(head.pages) > REGION_BYTES:
            return False
        self._memory[_HEAD_AT : _HEAD_AT + len(data)] = data
        self._memory[:8] = len(data).to_bytes(8, "little")
        return True

    def clear(self) -> None:
        """Forget the imprint."""
        self._memory[:8] = bytes(8)

    @property
    def is_whole(self) -> bool:
        """Whether there is an imprint."""
        return self._memory[:8] != bytes(8)

    def head(self) -> Head | None:
        """Read the head; ``None``: there is no imprint."""
        length = int.from_bytes(self._memory[:8], "little")
        if not length:
            return None
        return msgspec.msgpack.decode(self._memory[_HEAD_AT : _HEAD_AT + length], type=Head)

    def tables(self, pages: int) -> tuple[memoryview, memoryview, memoryview]:
        """Show the tables of so many pages: their addresses, their masks, and the hashes."""
        view = memoryview(self._memory)[REGION_BYTES - self._end(pages) :]
        masks, hashes = pages * WORD_BYTES, pages * (WORD_BYTES + MASK_BYTES)
        return view[:masks], view[masks:hashes], view[hashes:]

    @staticmethod
    def used_bytes(pages: int) -> int:
        """Say about how much memory an imprint of so many pages takes."""
        return pages * (WORD_BYTES + MASK_BYTES)

    @staticmethod
    def _end(pages: int) -> int:
        length = pages * (WORD_BYTES + MASK_BYTES) + -(-pages // RUN_PAGES) * HASH_BYTES
        return -(-length // WORD_BYTES) * WORD_BYTES
