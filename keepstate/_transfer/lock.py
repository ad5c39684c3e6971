"""One process at a time: a lock that the operating system takes back when its holder dies, however it dies.

Knows nothing of what is done under it. ``flock`` belongs to the open file, so it must not be open in a child
that outlives us: children are started, never forked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_WORD = 1 << 16
"""Bytes that the holder says of itself."""


class Lock:
    """The lock at one path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, word: bytes) -> bool:
        """Take it unless somebody else has it; *word* says to others who has it now.

        Raises:
            OSError: The file cannot be made.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _locked(descriptor, exclusive=True) and _is_at(descriptor, self._path):
            self._descriptor = descriptor
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, word, 0)
            return True
        os.close(descriptor)
        return False

    def is_ours(self) -> bool:
        """Whether what we hold is still the lock that others would take: its file may have been removed."""
        return self._descriptor is not None and _is_at(self._descriptor, self._path)

    def give_back(self) -> None:
        """Let the next one have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Say whether somebody has the lock.

    Asking takes it for an instant; whoever wanted it then asks again soon.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(descriptor, exclusive=False)
    finally:
        os.close(descriptor)


def holders_word(path: Path) -> bytes:
    """Give what the newest holder says of itself; it may be half written, or be gone."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_WORD)
    except OSError:
        return b""


def _locked(descriptor: int, *, exclusive: bool) -> bool:
    import fcntl  # not on Windows

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
