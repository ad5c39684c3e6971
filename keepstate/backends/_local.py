"""A folder of a disk of this machine, also one that is plugged in, as a place for bytes.

An object is a file. Its bytes go into a file without a name first, are synced, read back from the disk, and
only then get their name; so a name is never there with half of its bytes, whenever the power goes. A folder
on a network or of Drive may hang for ever and needs the backend for mounted folders instead.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import SYSTEM_DISK, device_of, make_directories, sync_upwards, translate
from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._protocol import Item, Properties
from keepstate.errors import AlreadyThereError, InvalidInputError, NotFoundError, StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate._base.clock import Clock
    from keepstate._base.disk import Disk

TEMPORARY = ".keepstate=temporary"
"""Folder for files without a name; no object can be in it, because names have no ``=``."""

_LEFT_OVER_AFTER = timedelta(days=1)
"""No put takes so long: a file that has been without a name since then was left by a power cut or a kill."""

_TRIES = 10
"""Times that the folder of an object is made again because the last other object in it was just deleted."""

_PIECE_BYTES = 4 << 20
"""Bytes that are read back at a time: few calls, little memory."""

_PASSES = frozenset(
    {
        errno.EIO,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENODEV,
        errno.EHOSTDOWN,
        errno.EBUSY,
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""Failures that a disk plugged in again, or some time, may mend."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""No such file is there, or can be; or it is a folder or (``ELOOP``) a link, and these are no objects."""

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems answer that cannot give a file a second name, like those of most memory sticks."""

_READS_BACK = hasattr(os, "posix_fadvise")
"""Whether the system can be made to forget the bytes in memory, so that they are read from the disk."""


class LocalBackend:
    """A folder. It is made when the first object is put.

    Args:
        path: The folder.
        clock: Tells which files without a name are left-overs.
        disk: Does the writing.
    """

    def __init__(self, path: Path, *, clock: Clock = SYSTEM_CLOCK, disk: Disk = SYSTEM_DISK) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._disk = disk
        self._device: int | None = None
        self._swept = False

    def __repr__(self) -> str:
        return f"LocalBackend({self.place!r})"

    @property
    def properties(self) -> Properties:
        """The proof is that the disk gave back the bytes that it was told to sync."""
        return Properties(
            proof="checksum" if _READS_BACK else "none", atomic_create=True, far=False, most_at_once=4
        )

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._path)

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object; a power cut leaves all of it or nothing."""
        path = self._file(name)
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        with self._translating(path):
            self._check_disk()
            if not replace and os.path.lexists(path):
                raise self._already_there(name)
            temporary = self._write(view)
            try:
                self._read_back(temporary, view)
                self._publish(temporary, path, name, replace=replace)
            finally:
                self._drop(temporary)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object."""
        path = self._file(name)
        check_range(start, length)
        with self._translating(path, absent=name):
            self._check_disk()
            # Not blocking: a pipe that somebody put there would be waited for.
            flags = os.O_RDONLY | _flag("O_CLOEXEC") | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK")
            descriptor = os.open(path, flags | _flag("O_BINARY"))
            with open(descriptor, "rb", buffering=0) as file:
                seen = os.fstat(descriptor)
                if not stat.S_ISREG(seen.st_mode):
                    raise self._not_found(name)
                there = max(seen.st_size - start, 0)
                target = memoryview(bytearray(there if length is None else min(there, length)))
                file.seek(min(start, seen.st_size))
                done = 0
                while done < len(target) and (count := file.readinto(target[done:])):
                    done += count
        if done < len(target):
            raise UnavailableError(f"{path} became shorter while it was read: read it again")
        return target.toreadonly()

    def stat(self, name: str) -> Item:
        """Look at one object."""
        path = self._file(name)
        with self._translating(path, absent=name):
            self._check_disk()
            seen = os.stat(path, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode):
            raise self._not_found(name)
        return _item(name, seen)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Walk through the folders; links and files that no object can be are passed over."""
        prefix = check_prefix(prefix)
        found: list[Item] = []
        folders = [prefix]
        with self._translating(self._path / prefix):
            self._check_disk()
            while folders:
                folder = folders.pop()
                try:
                    for entry in os.scandir(self._path / folder):
                        _look_at(entry, folder + entry.name, folders, found)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # not there, or removed while this walk was on its way
                except PermissionError:
                    if folder != "lost+found/":  # of the file system itself, and root's
                        raise
        return iter(found)

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that are empty then."""
        path = self._file(name)
        with self._translating(path):
            self._check_disk()
            try:
                os.unlink(path)
            except OSError as error:
                if error.errno in _ABSENT or os.path.isdir(path):  # not every system says EISDIR
                    return
                raise
            try:
                self._disk.sync_directory(path.parent)
            except FileNotFoundError:
                pass  # someone else removed it because it was empty
            for folder in path.parents:
                if folder == self._path or not _remove_empty(folder):
                    break

    def close(self) -> None:
        """Remove the folder for files without a name, unless somebody uses it."""
        _remove_empty(self._path / TEMPORARY)

    def _file(self, name: str) -> Path:
        return self._path / check_name(name)

    def _write(self, view: memoryview) -> Path:
        """Put the bytes into a file without a name, synced."""
        folder = self._path / TEMPORARY
        self._sweep(folder)
        temporary = folder / f"{secrets.token_hex(16)}.tmp"
        try:
            for left in reversed(range(_TRIES)):
                make_directories(self._disk, folder)
                try:
                    descriptor = self._disk.create(temporary)
                    break
                except FileNotFoundError:
                    if not left:  # each time, another process closed and took the empty folder away
                        raise
            try:
                self._disk.write(descriptor, view)
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except BaseException:
            self._drop(temporary)
            raise
        return temporary

    def _drop(self, temporary: Path) -> None:
        try:
            self._disk.remove(temporary)
        except OSError:
            pass  # what was raised before is the one to tell; a left-over is swept later

    def _read_back(self, temporary: Path, view: memoryview) -> None:
        """Compare what the disk has with what it was given: sticks are sold that keep less than they say."""
        if not _READS_BACK:
            return
        buffer = memoryview(bytearray(min(_PIECE_BYTES, len(view)) + 1))
        at = 0
        with open(temporary, "rb", buffering=0) as file:
            try:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError:
                pass  # then the bytes come from memory, and the comparison says less
            while count := file.readinto(buffer):
                if buffer[:count] != view[at : at + count]:
                    break
                at += count
        if at != len(view) or count:
            raise StoreError(
                f"the disk behind {self._path} gave back other bytes than it was given: "
                "do not trust it, and choose another store"
            )

    def _publish(self, temporary: Path, path: Path, name: str, *, replace: bool) -> None:
        for left in reversed(range(_TRIES)):
            try:
                make_directories(self._disk, path.parent)
                if replace:
                    self._disk.publish(temporary, path)
                elif not self._name_new(temporary, path):
                    raise self._already_there(name)
                # Whoever made one of the folders may have ended before it could sync the entry.
                sync_upwards(self._disk, [path.parent], top=self._path)
                break
            except FileNotFoundError:
                if not left:  # each time, the last other object of the folder was deleted in between
                    raise

    def _name_new(self, temporary: Path, path: Path) -> bool:
        """Give the file its name if nobody has it; return whether that is so.

        A second name for the file is refused where the first of that name exists, in one step of the file
        system; ``rename`` would replace it. An exclusive creation under the final name would be as strict,
        but the name would be there before its bytes.
        """
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return True
        with _locked(temporary.parent / "lock"):
            if os.path.lexists(path):
                return False
            os.rename(temporary, path)
            return True

    def _sweep(self, folder: Path) -> None:
        """Remove what power cuts and kills left, once."""
        if self._swept:
            return
        self._swept = True
        before = (self._clock.utc_now() - _LEFT_OVER_AFTER).timestamp()
        for entry in self._disk.entries(folder):
            if entry.name.endswith(".tmp") and not entry.is_directory and entry.modified < before:
                self._disk.remove(folder / entry.name)

    def _check_disk(self) -> None:
        """Refuse to go on beside a disk that was pulled out, as if everything on it were deleted."""
        device = device_of(self._path)
        if self._device is not None and device is not None and device != self._device:
            raise UnavailableError(
                f"{self._path} is on another disk than before: if it was unplugged or unmounted, "
                "bring it back; otherwise start anew"
            )
        if self._device is None and self._path.is_dir():
            self._device = device

    def _already_there(self, name: str) -> AlreadyThereError:
        return AlreadyThereError(f"{self._path} has an object {name!r} already, and it is not to be replaced")

    def _not_found(self, name: str) -> NotFoundError:
        return NotFoundError(f"{self._path} has no object {name!r}")

    @contextmanager
    def _translating(self, path: Path, *, absent: str | None = None) -> Iterator[None]:
        """Say what the operating system says in the words of this package."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if absent is not None and error.errno in _ABSENT:
                raise self._not_found(absent) from error
            found = translate(error, path)
            if error.errno in _PASSES:
                found = UnavailableError(str(found))
                found.errno = error.errno
            raise found from error


def _flag(name: str) -> int:
    """Give a flag of ``open`` that not every system has."""
    return int(getattr(os, name, 0))


def _item(name: str, seen: os.stat_result) -> Item:
    return Item(name, seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC))


def _look_at(entry: os.DirEntry[str], name: str, folders: list[str], found: list[Item]) -> None:
    """Add an entry to the folders to be looked into, or to the objects that were found."""
    try:
        check_name(name)
    except InvalidInputError:
        return  # of the file system, of somebody else, or without a name yet
    try:
        if entry.is_dir(follow_symlinks=False):
            folders.append(f"{name}/")
        elif entry.is_file(follow_symlinks=False):
            found.append(_item(name, entry.stat(follow_symlinks=False)))
    except FileNotFoundError:
        pass  # removed between the listing and the look at it


def _remove_empty(folder: Path) -> bool:
    """Remove a folder if nothing is in it; return whether it is gone."""
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one at a time through, of all threads and processes of this machine; death gives it free."""
    if os.name != "posix":  # there, a rename never replaces anything
        yield
        return
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
