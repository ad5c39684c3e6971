"""Files that survive a power cut.

Everything that keepstate writes goes through one :class:`Disk`, so that a test can record the operations
and replay them into every state a power cut may leave: unsynced bytes missing, short or zeroed, unsynced
directory entries absent.

A write is durable in this order and no other: the bytes into a temporary file, ``fsync`` of the file,
``rename`` to its name, ``fsync`` of the directory. Until the last step the name may be absent after a
power cut; it is never there with other bytes.
Source: the recipe of restic ``backend/local`` and of the rename discussion in LWN 457667.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate.errors import StoreError, StoreFullError

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_ADVICE = {
    errno.EROFS: "it can only be read: choose another store, or mount it for writing",
    errno.EACCES: "this user may not write or read it: change its permissions, or choose another store",
    errno.EPERM: "this user may not change it: change its permissions, or choose another store",
    errno.ENOENT: "it is gone, or the folder that it was in is: the next save begins anew there",
    errno.ENOTCONN: "the drive behind it is no longer connected: mount it again",
    errno.ESTALE: "the drive behind it has lost it: mount it again",
    errno.ENODEV: "the drive behind it is no longer connected: mount it again",
    errno.ETIMEDOUT: "the drive behind it does not answer: look at its state, or choose another store",
    errno.EIO: "the drive behind it does not answer as it should: look at its state, or choose another store",
    errno.EEXIST: "something else is in its place: move that away, or choose another store",
    errno.ENOTDIR: "a file is where a folder should be: move it away, or choose another store",
    errno.EISDIR: "a folder is where a file should be: move it away, or choose another store",
    errno.ELOOP: "its links lead back to themselves: set them right, or choose another store",
    errno.ENAMETOOLONG: "its path is too long for this disk: choose another store with a shorter one",
    errno.EFBIG: "this disk, or a limit of this process, allows no file so long: choose another store",
    errno.EMFILE: "this process has too many files open: close some",
    errno.ENFILE: "this machine has too many files open: close some",
}
"""What a person can do about it."""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in a directory."""

    name: str
    is_directory: bool
    bytes: int
    """Length of a file; of no meaning for a directory."""
    modified: float
    """Seconds since 1970 by the clock of the file system."""


@dataclass(frozen=True, slots=True)
class Space:
    """How much room a file system has."""

    free_bytes: int
    """What this user may still take."""
    total_bytes: int


class OpenFile:
    """A file that is being read. Given by :meth:`Disk.open`."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def nbytes(self) -> int:
        """Length, as the file has it now."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """Give the bytes ``[offset, offset + length)``, fewer where the file ends before."""
        pieces: list[bytes] = []
        while length and (piece := os.pread(self._descriptor, length, offset)):
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill *target* from *offset* on; return how many bytes were there."""
        done = 0
        while done < target.nbytes and (count := os.preadv(self._descriptor, [target[done:]], offset + done)):
            done += count
        return done

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


class Disk:
    """The operations on files that keepstate needs, each named for its promise."""

    most_at_once = 1
    """Calls at a time that make it faster: more than one where waiting is what costs."""
    lists_late = False
    """Whether a listing may miss what was written just before."""

    def open(self, path: Path) -> OpenFile:
        """Open a file for reading."""
        return OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def exists(self, path: Path) -> bool:
        """Say whether a file or directory is there."""
        return path.exists()

    def is_directory(self, path: Path) -> bool:
        """Say whether a directory is there."""
        return path.is_dir()

    def may_write(self, path: Path) -> bool:
        """Say whether this user may write to what is there."""
        return os.access(path, os.W_OK)

    def device(self, path: Path) -> int | None:
        """Give the number of the file system that *path* is in; see :func:`device_of`."""
        return device_of(path)

    def shown(self, path: Path) -> str:
        """Say where *path* is, for a message."""
        return str(path)

    def create(self, path: Path) -> int:
        """Open a new file for writing and return its descriptor; an existing one is an error."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def bypass_cache(self, descriptor: int) -> bool:
        """Have what is written from now on go straight to the disk, if it lies in whole and aligned pages.

        Returns:
            Whether that is to be had: not of every file system, and of memory only in name. What is written
            is not in the system's memory afterwards, and takes none of it from others.
        """
        if sys.platform != "linux":
            return False
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
        except OSError:
            return False
        return True

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of *data*; ``os.write`` alone may stop at 2 GiB or at a signal."""
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        while len(view):
            try:
                view = view[os.write(descriptor, view) :]
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP) or not _stop_bypassing(descriptor):
                    raise

    def sync(self, descriptor: int) -> None:
        """Return when the file's bytes are on stable storage."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        os.close(descriptor)

    def publish(self, temporary: Path, path: Path) -> None:
        """Give *temporary* its name, replacing what is there; atomic within one file system."""
        os.replace(temporary, path)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in this directory are on stable storage (POSIX; elsewhere nothing)."""
        if os.name != "posix":
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_whole(self, path: Path, pieces: Iterable[bytes | memoryview], *, temporary: Path) -> None:
        """Write a file as :func:`write_durably` says, without its errors."""
        descriptor = self.create(temporary)
        try:
            for piece in pieces:
                self.write(descriptor, piece)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        self.publish(temporary, path)
        self.sync_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        """Make one directory whose parent exists; it may be there already."""
        path.mkdir(mode=0o700, exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def entries(self, path: Path | str) -> list[DirectoryEntry]:
        """List a directory in no particular order; one that is not there has no entries."""
        found = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    try:
                        seen = entry.stat()
                        found.append(DirectoryEntry(entry.name, entry.is_dir(), seen.st_size, seen.st_mtime))
                    except FileNotFoundError:
                        continue  # removed between the listing and the look at it
        except FileNotFoundError:
            return []
        return found

    def lengths(self, path: Path | str, *, known: Callable[[str], int | None]) -> dict[str, int]:
        """Give name and length of each file in a directory; one that is not there has none.

        Args:
            path: The directory.
            known: Gives the length of a file that need not be looked at, by its name; else ``None``.
        """
        found = {}
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    nbytes = known(entry.name)
                    if nbytes is None:
                        try:
                            if entry.is_dir():
                                continue
                            nbytes = entry.stat().st_size
                        except FileNotFoundError:
                            continue  # removed between the listing and the look at it
                    found[entry.name] = nbytes
        except FileNotFoundError:
            return {}
        return found

    def read(self, path: Path, *, limit_bytes: int) -> bytes:
        """Read a whole file of at most *limit_bytes*; of a longer one, one byte more than that."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces = []
            missing = limit_bytes + 1
            expected = os.fstat(descriptor).st_size + 1
            while missing and (piece := os.read(descriptor, min(missing, expected))):
                pieces.append(piece)
                missing -= len(piece)
        finally:
            os.close(descriptor)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def space(self, path: Path) -> Space | None:
        """Ask for the room of the file system that *path* is in; ``None`` where it cannot be told."""
        try:
            found = shutil.disk_usage(path)
        except OSError:
            return None  # some mounted folders do not say
        return Space(found.free, found.total) if found.total > 0 else None


SYSTEM_DISK = Disk()


def _stop_bypassing(descriptor: int) -> bool:
    """Let the system's memory take what cannot go straight to the disk: the end of a file, mostly."""
    if sys.platform != "linux":
        return False
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & os.O_DIRECT:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return True


def device_of(path: Path) -> int | None:
    """Give the number of the file system that *path* is in, or would be; ``None`` where it is not told.

    It holds until that file system is mounted anew.
    """
    while True:
        try:
            return os.stat(path).st_dev or None
        except FileNotFoundError:
            if path == path.parent:
                return None
            path = path.parent
        except OSError:
            return None


def make_directories(disk: Disk, path: Path) -> None:
    """Make *path* and what it needs above it, each new entry synced in its parent."""
    missing = []
    while not disk.is_directory(path):
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        disk.make_directory(directory)
        disk.sync_directory(directory.parent)


def sync_upwards(disk: Disk, directories: Iterable[Path], *, top: Path) -> None:
    """Sync *directories* and all above them, up to and with *top*.

    Whoever made one of them may have ended before it could sync the entry. A directory with nothing to sync
    costs some microseconds.
    """
    above: set[Path] = set()
    for directory in directories:
        while directory not in above and directory.is_relative_to(top):
            above.add(directory)
            directory = directory.parent
    for directory in sorted(above, reverse=True):
        disk.sync_directory(directory)


def write_durably(disk: Disk, path: Path, pieces: Iterable[bytes | memoryview], *, temporary: Path) -> None:
    """Put *pieces* at *path* so that after a power cut it holds all of them or is not there.

    Args:
        disk: Where the operations go.
        path: The final name; its directory must exist.
        pieces: The bytes, in order.
        temporary: A name in the same file system that nobody else uses; gone afterwards.

    Raises:
        StoreFullError: The disk or the quota is used up.
        StoreError: Any other failure of the file system. In both cases *path* is as it was, except when
            the very last step failed: then all bytes are there, but a power cut may take the name back.
    """
    try:
        disk.write_whole(path, pieces, temporary=temporary)
    except OSError as error:
        try:
            disk.remove(temporary)
        except OSError:
            pass  # the first error is the one to tell; a left-over temporary file is swept by prune
        raise translate(error, path) from error


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn an operating system error inside the block into a :class:`StoreError` that names *path*."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise translate(error, path) from error


def translate(error: OSError, path: Path) -> StoreError:
    """Say an operating system error in the words of this package, keeping its ``errno``."""
    if isinstance(error, StoreError):
        return error  # it is said already
    if error.errno in FULL:
        kind: type[StoreError] = StoreFullError
        said = f"no space is left for {path}: free some space or choose another store"
    else:
        kind = StoreError
        advice = _ADVICE.get(error.errno or 0)
        said = f"the store failed at {path}: {error.strerror or error}" + (f" ({advice})" if advice else "")
    found = kind(said)  # with more arguments, an OSError shows them and not the sentence alone
    found.errno = error.errno
    return found
