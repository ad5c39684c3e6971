"""Put a file into the user's folder: whole under its name or not there, and never over one that is there.

The bytes go into a temporary file beside it, which gets its name by a hard link: that fails at the same
instant if the name is taken. ``renameat2`` could refuse as well, but Python does not have it, and what lacks
hard links mostly lacks it too. There (FAT, Drive's mount) the name is looked at and then renamed to; in the
microseconds between, only code that makes that very file could lose it.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from keepstate._base.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_LINKS = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EMLINK}
)
"""How file systems say that they have no hard links. Source: link(2), and FUSE's answer to what it lacks."""


class FolderDisk(Disk):
    """A disk on which the user's files are written: with their permissions, and never replaced unasked."""

    def make_directory(self, path: Path) -> None:
        """Make one folder as the user's own programs would."""
        path.mkdir(exist_ok=True)

    def publish_new(self, temporary: Path, path: Path) -> None:
        """Give *temporary* a name that nobody has.

        Raises:
            FileExistsError: Somebody has it.
        """
        try:
            os.link(temporary, path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            os.rename(temporary, path)
        else:
            self.remove(temporary)

    def dress(self, path: Path, *, mode: int, mtime_ns: int) -> None:
        """Give a file its permissions and date."""
        os.chmod(path, mode)
        os.utime(path, ns=(mtime_ns, mtime_ns))


FOLDER_DISK = FolderDisk()


@contextmanager
def temporary_in(folder: Path, disk: Disk) -> Iterator[tuple[Path, int]]:
    """Give a new temporary file in *folder*, held by a lock while it is written; gone afterwards."""
    path = folder / f".keepstate-{secrets.token_hex(8)}.tmp"
    descriptor = disk.create(path)
    try:
        _lock(descriptor)
        yield path, descriptor
    finally:
        disk.close(descriptor)
        with suppress(OSError):  # swept by the next restoration
            disk.remove(path)


def sweep(folder: Path, disk: Disk) -> None:
    """Remove what a restoration that was cut off left in *folder*."""
    with suppress(OSError):
        for entry in disk.entries(folder):
            if (
                entry.name.startswith(".keepstate-")
                and entry.name.endswith(".tmp")
                and not entry.is_directory
            ):
                _remove_if_nobody_writes(folder / entry.name, disk)


def _remove_if_nobody_writes(path: Path, disk: Disk) -> None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if _lock(descriptor):
            disk.remove(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Hold a file until it is closed; ``False``: somebody else does, or the file system has no locks."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
