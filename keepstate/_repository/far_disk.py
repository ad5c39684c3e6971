"""A backend as a disk, so that the same repository code works at a place on a network.

There are no folders there, nothing to sync and nothing to rename: a file is put whole, under its name, when
it is published. What is written before waits in an unnamed file of this machine. One listing of a whole
folder answers for the folders in it, each once: asking the far side for each of two hundred would cost more
than the bytes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from keepstate._base.disk import DirectoryEntry, Disk, OpenFile
from keepstate.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keepstate._base.disk import Space
    from keepstate.backends import Backend, Item

TOP = Path("/")
"""The folder that the store is in, as paths of the repository have it."""

_REPLACED = "condemned"
"""The one folder of a member whose files are ever replaced: FORMAT.md §2."""
_MEMBER_DEPTH = 3
"""Parts of the path of a member's folder: ``/``, ``members`` and a name."""
_TEMPORARY = ".tmp"
_TAIL_BYTES = 128 << 10
"""Read at once at the end of a file: footer and trailer of a pack of 2,300 chunks."""
_BLOCK_BYTES = 64 << 10
"""Read at once where less is asked for: records lie side by side, and a request costs more than its bytes."""
_SHORT_BYTES = 4 << 10


class FarFile(OpenFile):
    """A file at a backend that is being read; what it is has been written once and for all."""

    __slots__ = ("_at", "_backend", "_block", "_name", "_nbytes")

    def __init__(self, backend: Backend, name: str, nbytes: int) -> None:
        self._backend = backend
        self._name = name
        self._nbytes = nbytes
        self._at = 0
        self._block = memoryview(b"")

    @property
    def nbytes(self) -> int:
        """Length, as it was listed."""
        return self._nbytes

    def read_at(self, offset: int, length: int) -> bytes | memoryview:
        """Give the bytes ``[offset, offset + length)``, fewer where the file ends before."""
        start = offset - self._at
        if not 0 <= start <= len(self._block) - length:
            if length > _SHORT_BYTES or offset == 0:
                return self._get(offset, length)
            tail = max(self._nbytes - _TAIL_BYTES, 0)
            self._at = min(tail, offset)
            self._block = self._get(self._at, _TAIL_BYTES if offset >= tail else _BLOCK_BYTES)
            start = offset - self._at
        return self._block[start : start + length]

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill *target* from *offset* on; return how many bytes were there."""
        found = self.read_at(offset, target.nbytes)
        target[: len(found)] = found
        return len(found)

    def _get(self, start: int, length: int) -> memoryview:
        try:
            return self._backend.get(self._name, start=start, length=length)
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error

    def close(self) -> None:
        """Forget what was read."""
        self._block = memoryview(b"")


class FarDisk(Disk):
    """The operations of a disk at a backend.

    Args:
        backend: One that waits and tries again by itself.
    """

    def __init__(self, backend: Backend) -> None:
        self.most_at_once = backend.properties.most_at_once
        self.lists_late = backend.properties.listing_delay_seconds > 0
        self._backend = backend
        self._waiting: dict[Path, BinaryIO] = {}
        self._paths: dict[int, Path] = {}
        self._listed: dict[Path, list[Item]] = {}
        self._nbytes: dict[str, int] = {}
        self.trouble: StoreError | None = None
        """What the newest listing or reading of a whole file that failed has raised: callers that go on
        without one file lose it. Set to ``None`` by whoever wants to know what comes."""

    # Reading

    def open(self, path: Path) -> OpenFile:
        """Open a file for reading."""
        waiting = self._waiting.get(path)
        if waiting is not None:
            return OpenFile(os.dup(waiting.fileno()))
        name = _name(path)
        if name not in self._nbytes:
            try:
                self._nbytes[name] = self._backend.stat(name).nbytes
            except NotFoundError as error:
                raise FileNotFoundError(str(error)) from error
        return FarFile(self._backend, name, self._nbytes[name])

    def read(self, path: Path, *, limit_bytes: int) -> bytes:
        """Read a whole file of at most *limit_bytes*; of a longer one, one byte more than that."""
        try:
            return bytes(self._backend.get(_name(path), length=limit_bytes + 1))
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error
        except StoreError as error:
            self.trouble = error
            raise

    def exists(self, path: Path) -> bool:
        """Say whether a file is there; a folder always is."""
        if path == TOP:
            return True
        try:
            self._backend.stat(_name(path))
        except NotFoundError:
            return False
        return True

    def is_directory(self, path: Path) -> bool:
        """Say yes: a folder is made by what is in it."""
        del path
        return True

    def may_write(self, path: Path) -> bool:
        """Say yes: only a write tells."""
        del path
        return True

    def entries(self, path: Path | str) -> list[DirectoryEntry]:
        """List what is right below *path*, in no particular order."""
        folder = Path(path)
        items = self._listed.pop(folder, None)
        if items is None:
            prefix = _name(folder)
            try:
                items = list(self._backend.list(f"{prefix}/" if prefix else ""))
            except StoreError as error:
                self.trouble = error
                raise
        return self._below(folder, items)

    def lengths(self, path: Path | str, *, known: Callable[[str], int | None]) -> dict[str, int]:
        """Give name and length of each file right below *path*: a listing tells both."""
        del known
        return {each.name: each.bytes for each in self.entries(path) if not each.is_directory}

    def _below(self, folder: Path, items: Iterable[Item]) -> list[DirectoryEntry]:
        depth = len(folder.parts)
        found: dict[str, DirectoryEntry] = {}
        inside: dict[str, list[Item]] = {}
        for item in items:
            parts = (TOP / item.name).parts
            name = parts[depth]
            if len(parts) > depth + 1:
                inside.setdefault(name, []).append(item)
                found[name] = DirectoryEntry(name, True, 0, 0.0)
            else:
                self._nbytes[item.name] = item.nbytes
                found[name] = DirectoryEntry(name, False, item.nbytes, item.modified.timestamp())
        if depth > _MEMBER_DEPTH:
            # Not from further up: packs must be listed after what is condemned, and not together with it.
            self._listed.update((folder / name, held) for name, held in inside.items())
        return list(found.values())

    def space(self, path: Path) -> Space | None:
        """Say nothing: what the far side takes is told when it takes no more."""
        del path
        return None

    def device(self, path: Path) -> int | None:
        """Say nothing: it is not part of this machine."""
        del path
        return None

    def shown(self, path: Path) -> str:
        """Say where *path* is, for a message."""
        return "/".join(filter(None, (self._backend.place.rstrip("/"), _name(path))))

    # Writing

    def create(self, path: Path) -> int:
        """Begin a new file, which nobody sees before it is published, or closed if that is its name."""
        file = tempfile.TemporaryFile(prefix="keepstate-")  # noqa: SIM115 - closed when it is published
        self._waiting[path] = file
        descriptor = os.dup(file.fileno())
        self._paths[descriptor] = path
        return descriptor

    def bypass_cache(self, descriptor: int) -> bool:
        """Say no: what is written here is read again to be put."""
        del descriptor
        return False

    def sync(self, descriptor: int) -> None:
        """Do nothing: the far side's answer is what counts."""

    def close(self, descriptor: int) -> None:
        """Give the descriptor back; a file that has its name already is put now."""
        os.close(descriptor)
        path = self._paths.pop(descriptor)
        if not path.name.endswith(_TEMPORARY):
            self._put(path, path)

    def publish(self, temporary: Path, path: Path) -> None:
        """Put what was written under its name."""
        self._put(temporary, path)

    def write_whole(self, path: Path, pieces: Iterable[bytes | memoryview], *, temporary: Path) -> None:
        """Put a file under its name, which makes it durable and seen at once."""
        del temporary
        held = list(pieces)
        self._put_bytes(path, held[0] if len(held) == 1 else b"".join(held))

    def _put(self, temporary: Path, path: Path) -> None:
        with self._waiting.pop(temporary) as file:
            file.seek(0)
            self._put_bytes(path, file.read())

    def _put_bytes(self, path: Path, data: bytes | memoryview) -> None:
        name = _name(path)
        self._backend.put(name, data, replace=path.parts[_MEMBER_DEPTH:-1] == (_REPLACED,))
        self._nbytes[name] = len(data)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        waiting = self._waiting.pop(path, None)
        if waiting is not None:
            waiting.close()
        elif not path.name.endswith(_TEMPORARY):
            self._backend.delete(_name(path))
            self._nbytes.pop(_name(path), None)

    def sync_directory(self, path: Path) -> None:
        """Do nothing: names at the far side are as durable as what they name."""

    def make_directory(self, path: Path) -> None:
        """Do nothing: see :meth:`is_directory`."""


def _name(path: Path) -> str:
    return path.relative_to(TOP).as_posix() if path != TOP else ""
