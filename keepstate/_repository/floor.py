"""The free space that keepstate leaves on a disk, whatever there is to save.

A full disk costs the user more than a snapshot: their own files can no longer be written. Knows bytes and
the disk, not what is written.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.table import size
from keepstate.errors import StoreFullError

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._base.disk import Disk

FLOOR_BYTES = 1 << 30
"""Enough for a kernel, pip and a browser to go on."""
FLOOR_SHARE = 0.05
"""Of a disk that is so small that FLOOR_BYTES would be most of it; file systems reserve as much for root."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a disk has, and what of it stays free."""

    free_bytes: int
    floor_bytes: int


def room_of(disk: Disk, folder: Path, *, floor_bytes: int | None = None) -> Room | None:
    """Look at a disk now; ``None`` where it cannot be told.

    Args:
        disk: Who is asked.
        folder: Where in it; must be there.
        floor_bytes: What stays free; ``None``: a twentieth of the disk, at most 1 GiB.
    """
    space = disk.space(folder)
    if space is None:
        return None
    usual = min(FLOOR_BYTES, int(space.total_bytes * FLOOR_SHARE))
    return Room(space.free_bytes, usual if floor_bytes is None else floor_bytes)


class Floor:
    """Refuses writes that would take a disk below its floor.

    The disk is asked when :meth:`look` says so, and again before anything is refused; between two looks the
    bytes that were let through are counted. Others who write to the same disk meanwhile are not seen.
    """

    def __init__(self, disk: Disk, folder: Path, *, floor_bytes: int | None = None) -> None:
        self._disk = disk
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._left: int | None = 0
        self._lock = threading.RLock()

    def look(self) -> None:
        """Ask the disk how much may be written."""
        with self._lock:
            room = room_of(self._disk, self._folder, floor_bytes=self._floor_bytes)
            self._left = None if room is None else room.free_bytes - room.floor_bytes

    def take(self, nbytes: int) -> None:
        """Let *nbytes* be written.

        Raises:
            StoreFullError: Less than the floor would be free after that.
        """
        with self._lock:
            if self._left is not None and self._left < nbytes:
                self.look()
            if self._left is None:
                return  # the disk does not say; it will when it is full
            if self._left < nbytes:
                raise self._refusal()
            self._left -= nbytes

    def _refusal(self) -> StoreFullError:
        room = room_of(self._disk, self._folder, floor_bytes=self._floor_bytes) or Room(0, 0)
        return StoreFullError(
            f"the disk of {self._folder} has {size(room.free_bytes)} free, and keepstate leaves "
            f"{size(room.floor_bytes)} of it free for other files: free some space, run keepstate prune, "
            "or choose another store"
        )
