"""The process that touches a mounted folder, so that nobody else hangs with it.

:mod:`keepstate.backends._mount_helpers` runs it as a program, ``python -I -S _mount_process.py FOLDER``. It
imports nothing of keepstate, so that it starts at once, and it ends when the process that started it does.

Standard input is its end of a socket, on which requests come and answers go. A message is the lengths of a
head and a body, the head in JSON, the body. A request whose head has ``nbytes`` is followed by so many bytes.
An answer is one or more messages; ``more`` in its head says that it goes on, ``errno`` that the operating
system refused.
"""

from __future__ import annotations

import errno
import json
import os
import select
import stat
import struct
import sys

TYPE_CHECKING = False  # not from typing, whose import takes as long as all others here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Head = dict[str, Any]
    Message = tuple[Head, bytes | memoryview]
    Operation = Callable[[Head, "Channel"], Iterator[Message]]

LENGTHS = struct.Struct("<IQ")
"""Of head and body."""

PIECE_BYTES = 1 << 20
"""Bytes that are read and written at a time: few calls, little memory, and FUSE takes no longer ones."""

BATCH_ENTRIES = 200
"""Entries of a folder in one message: each message shows that the mount still answers."""

TEMPORARY = ".keepstate=temporary"
"""Folder for files without a name; no object can be in it, because names have no ``=``. As in `_local.py`."""

TABLE = "/proc/self/mountinfo"
"""Says which file systems are mounted. Reading it asks none of them."""

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What it means that no such file is there, or can be; ``ELOOP``: it is a link, and links are no objects."""

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems in user space answer that have nothing to sync."""

_LOOK_AT_PARENT_MILLISECONDS = 30_000
"""How often to see whether the parent lives: a fork of it may hold the other end of the socket open."""


class Files:
    """The calls of the operating system, each in a method of its own, so that a test can let them fail."""

    def device(self, path: bytes) -> int:
        """Give the number of the file system that *path* is in."""
        return os.stat(path).st_dev

    def look(self, path: bytes) -> os.stat_result:
        """Look at what is there, and not through a link."""
        return os.lstat(path)

    def entries(self, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Give the names in a folder, each with a look at it."""
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed between the listing and the look at it

    def make_folder(self, path: bytes) -> None:
        """Make one folder. Who may read it is what the user's umask says: a mounted folder may be shared."""
        os.mkdir(path)

    def create(self, path: bytes) -> int:
        """Open a new file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def open(self, path: bytes) -> int:
        """Open a file for reading; not blocking, because a pipe that is there would be waited for."""
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)

    def seen(self, descriptor: int) -> os.stat_result:
        """Look at an open file."""
        return os.fstat(descriptor)

    def read(self, descriptor: int, target: memoryview, offset: int) -> int:
        """Fill *target*, or less of it; 0: the file ends here."""
        return os.preadv(descriptor, [target], offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write *data*, or less of it."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Hand the bytes on to whatever is behind the mount."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give a descriptor back; NFS and SMB may say only now that a write failed."""
        os.close(descriptor)

    def rename(self, old: bytes, new: bytes) -> None:
        """Give a file another name, taking the place of what has it."""
        os.replace(old, new)

    def empty(self, path: bytes) -> None:
        """Cut a file down to no bytes."""
        os.truncate(path, 0)

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        os.unlink(path)


class OtherSideGoneError(Exception):
    """Nobody waits for an answer any more."""


class Channel:
    """This side of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._parent = os.getppid()
        self._left = 0
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def request(self) -> Head:
        """Wait for the next request."""
        while not self._poll.poll(_LOOK_AT_PARENT_MILLISECONDS):
            if os.getppid() != self._parent:
                raise OtherSideGoneError
        head_bytes, _ = LENGTHS.unpack(self._take(LENGTHS.size))
        head: Head = json.loads(bytes(self._take(head_bytes)))
        self._left = head.get("nbytes", 0)
        return head

    def pieces(self) -> Iterator[memoryview]:
        """Give the bytes that follow the request; each piece is valid until the next is asked for."""
        while self._left:
            piece = self._take(min(self._left, PIECE_BYTES))
            self._left -= len(piece)
            yield piece

    def answer(self, head: Head, body: bytes | memoryview = b"") -> None:
        """Send one message."""
        said = json.dumps(head).encode()
        self._give(LENGTHS.pack(len(said), len(body)) + said)
        self._give(body)

    def _take(self, nbytes: int) -> memoryview:
        target = self._buffer if nbytes <= PIECE_BYTES else memoryview(bytearray(nbytes))
        done = 0
        while done < nbytes:
            try:
                count = os.readv(self._descriptor, [target[done:nbytes]])
            except ConnectionError as error:
                raise OtherSideGoneError from error
            if not count:
                raise OtherSideGoneError
            done += count
        return target[:nbytes]

    def _give(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            try:
                view = view[os.write(self._descriptor, view) :]
            except ConnectionError as error:
                raise OtherSideGoneError from error


class Folder:
    """What is asked for, made of calls of the operating system.

    Args:
        root: The folder.
        files: Makes the calls.
    """

    def __init__(self, root: bytes, files: Files) -> None:
        self._root = root
        self._files = files
        self.operations: dict[str, Operation] = {
            "where": self.where,
            "put": self.put,
            "get": self.get,
            "look": self.look,
            "entries": self.entries,
            "delete": self.delete,
            "sweep": self.sweep,
        }

    def where(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Find the point at which the file system of the folder, or of where it would be, is mounted."""
        del head, channel
        point = self._root
        while True:
            try:
                device = self._files.device(point)
                break
            except FileNotFoundError:
                if point == os.path.dirname(point):
                    raise
                point = os.path.dirname(point)
        while point != os.path.dirname(point) and self._files.device(os.path.dirname(point)) == device:
            point = os.path.dirname(point)
        own = point != os.path.dirname(point)
        yield {"mount": point.decode("latin-1") if own else None, "kind": _kind(device)}, b""

    def put(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Write a file without a name, and give it its name when it has all of its bytes."""
        self._check_mounted(head)
        path, nbytes = self._path(head), head["nbytes"]
        if not head["replace"] and self._is_there(path):
            yield {"there": True}, b""
            return
        temporary = self._path({"name": f"{TEMPORARY}/{os.urandom(16).hex()}.tmp"})
        descriptor = self._making_folders(temporary, lambda: self._files.create(temporary))
        try:
            try:
                for piece in channel.pieces():
                    self._write(descriptor, piece)
                self._sync(descriptor)
            finally:
                self._files.close(descriptor)
            self._check_length(temporary, nbytes)
            # Again: between the first look and now, a long file was written.
            if not head["replace"] and self._is_there(path):
                self._files.remove(temporary)
                yield {"there": True}, b""
                return
            self._making_folders(path, lambda: self._files.rename(temporary, path))
        except BaseException:
            try:
                self._files.remove(temporary)
            except OSError:
                pass  # the first error is the one to tell; a left-over is swept later
            raise
        try:
            self._check_length(path, nbytes)
        except OSError:
            if not head["replace"]:
                self._files.remove(path)  # so that it can be put again
            raise
        yield {}, b""

    def get(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Read a range of a file: how long it is, then its bytes in pieces."""
        del channel
        self._check_mounted(head)
        descriptor = self._files.open(self._path(head))
        try:
            seen = self._files.seen(descriptor)
            if not stat.S_ISREG(seen.st_mode):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            at, length = head["start"], head["length"]
            left = max(seen.st_size - at, 0)
            left = left if length is None else min(left, length)
            yield {"nbytes": left}, b""
            buffer = memoryview(bytearray(min(left, PIECE_BYTES)))
            while left and (count := self._files.read(descriptor, buffer[:left], at)):
                yield {}, buffer[:count]
                at += count
                left -= count
        finally:
            self._files.close(descriptor)

    def look(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Look at a file."""
        del channel
        self._check_mounted(head)
        seen = self._files.look(self._path(head))
        if not stat.S_ISREG(seen.st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        yield {"nbytes": seen.st_size, "modified": seen.st_mtime}, b""

    def entries(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Give what is right in a folder; one that is not there has nothing in it."""
        del channel
        self._check_mounted(head)
        batch: list[tuple[str, bool, int, float]] = []
        try:
            for name, seen in self._files.entries(self._path(head)):
                folder = stat.S_ISDIR(seen.st_mode)
                if folder or stat.S_ISREG(seen.st_mode):
                    batch.append((name.decode("latin-1"), folder, seen.st_size, seen.st_mtime))
                if len(batch) == BATCH_ENTRIES:
                    yield {"entries": batch}, b""
                    batch = []
        except (FileNotFoundError, NotADirectoryError):
            pass  # not there, or removed while this walk was on its way
        yield {"entries": batch}, b""

    def delete(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Remove a file. Its folder stays, for a mount that is behind may not show what others put there."""
        del channel
        self._check_mounted(head)
        path = self._path(head)
        try:
            seen = self._files.look(path)
            if not stat.S_ISDIR(seen.st_mode):
                if head["empty_first"] and stat.S_ISREG(seen.st_mode):
                    self._empty(path)
                self._files.remove(path)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
        yield {}, b""

    def sweep(self, head: Head, channel: Channel) -> Iterator[Message]:
        """Remove files without a name that were left behind before a time."""
        del channel
        self._check_mounted(head)
        folder = self._path({"name": TEMPORARY})
        try:
            for name, seen in [*self._files.entries(folder)]:
                if name.endswith(b".tmp") and seen.st_mtime < head["before"]:
                    self._files.remove(os.path.join(folder, name))
        except OSError:
            pass  # left-overs hurt nobody, and what comes next says what is wrong here
        yield {}, b""

    def _path(self, head: Head) -> bytes:
        name: str = head["name"]
        return os.path.join(self._root, name.encode()) if name else self._root

    def _check_mounted(self, head: Head) -> None:
        """Refuse to go on where a mount was, and is no more.

        What is there instead is an empty folder of this machine's disk: everything would seem to be deleted,
        and what is put would be lost with the machine.
        """
        if head["mount"] is None:
            return
        point: bytes = head["mount"].encode("latin-1")
        try:
            gone = self._files.device(point) == self._files.device(os.path.dirname(point))
        except FileNotFoundError:
            gone = True
        if gone:
            raise OSError(errno.ENOTCONN, "nothing is mounted there any more")

    def _is_there(self, path: bytes) -> bool:
        try:
            self._files.look(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _making_folders(self, path: bytes, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except FileNotFoundError:
            self._make_folder(os.path.dirname(path))
            return call()

    def _make_folder(self, path: bytes) -> None:
        try:
            self._files.make_folder(path)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._make_folder(os.path.dirname(path))
            try:
                self._files.make_folder(path)
            except FileExistsError:
                pass  # another machine was faster

    def _write(self, descriptor: int, data: memoryview) -> None:
        while len(data):
            data = data[self._files.write(descriptor, data) :]

    def _sync(self, descriptor: int) -> None:
        try:
            self._files.sync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise

    def _check_length(self, path: bytes, nbytes: int) -> None:
        seen = self._files.look(path).st_size
        if seen != nbytes:
            raise OSError(errno.EIO, f"it shows {seen} bytes where {nbytes} were written")

    def _empty(self, path: bytes) -> None:
        try:
            self._files.empty(path)
        except OSError as error:
            if error.errno in ABSENT:
                raise
            # To remove it is what was asked for.


def serve(channel: Channel, folder: Folder) -> None:
    """Answer requests until nobody is there to ask."""
    try:
        channel.answer({})
        while True:
            _answer(channel, folder)
    except OtherSideGoneError:
        pass


def _answer(channel: Channel, folder: Folder) -> None:
    head = channel.request()
    try:
        for said, body in folder.operations[head["do"]](head, channel):
            channel.answer({**said, "more": True}, body)
        last: Head = {}
    except OSError as error:
        last = {"errno": error.errno or errno.EIO, "said": error.strerror or str(error)}
    except OtherSideGoneError:
        raise
    except Exception as error:  # noqa: BLE001 - it must be told on the other side
        last = {"errno": 0, "said": f"{type(error).__name__}: {error}"}
    for _ in channel.pieces():
        pass  # what is on its way has to be taken, or the other side would never come to read the answer
    channel.answer(last)


def _kind(device: int) -> str:
    """Give the type of a file system by its number; empty where it is not known."""
    try:
        with open(TABLE, encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                fields = line.split(" ")
                if fields[2] == f"{os.major(device)}:{os.minor(device)}":
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass  # not Linux
    return ""


if __name__ == "__main__":
    serve(Channel(0), Folder(os.fsencode(sys.argv[1]), Files()))
