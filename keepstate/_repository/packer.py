"""Fill one pack: chunks go into a temporary file, which gets its name only when the snapshot is committed.

Knows the disk and the layout of packs, not what chunks mean. After its first failure it takes no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._base.disk import Disk, translate
from keepstate._repository import chunk, pack
from keepstate.errors import StoreError, StoreFullError

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._repository.floor import Floor

_BUFFER_BYTES = 1 << 18
"""Small chunks are gathered up to this many bytes, so that a thousand of them are not two thousand writes."""


class Packer:
    """One pack that is being written.

    Args:
        disk: Where the operations go.
        path: A temporary name that nobody else uses.
        pack_id: 32 hexadecimal digits, new.
        floor: What every write has to ask; ``None``: nobody.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(self, disk: Disk, path: Path, *, pack_id: str, floor: Floor | None = None) -> None:
        self.path = path
        self.pack_id = pack_id
        self.entries: list[pack.Entry] = []
        self._disk = disk
        self._floor = floor
        self._buffer = bytearray(pack.encode_start(pack_id))
        self._end = pack.HEADER_BYTES
        self._broken = False
        try:
            self._descriptor: int | None = disk.create(path)
        except OSError as error:
            raise translate(error, path) from error

    @property
    def nbytes(self) -> int:
        """Length so far; after :meth:`finish`, of the whole pack."""
        return self._end

    @property
    def is_full(self) -> bool:
        """Whether the next chunk should go into another pack."""
        return self._end >= pack.TARGET_BYTES or len(self.entries) >= pack.MOST_ENTRIES

    @property
    def is_finished(self) -> bool:
        """Whether it takes no more."""
        return self._descriptor is None

    def add(self, own_id: bytes, kind: int, plain_length: int, stored: bytes | memoryview) -> None:
        """Append a chunk; *stored* will not be read again after the return.

        Raises:
            StoreError: The disk failed, now or before.
        """
        header = chunk.ChunkHeader(own_id, kind, plain_length, len(stored), xxh3_64_intdigest(stored))
        self._buffer += chunk.encode_header(header)
        if len(stored) < _BUFFER_BYTES // 2:
            self._buffer += stored
            if len(self._buffer) >= _BUFFER_BYTES:
                self._flush()
        else:
            self._flush()
            self._write(stored)
        self.entries.append(pack.Entry(own_id, self._end, len(stored), plain_length, kind))
        self._end += chunk.HEADER_BYTES + len(stored)

    def finish(self) -> None:
        """Append footer and trailer and return when all is on stable storage.

        Raises:
            StoreError: The disk failed, now or before.
        """
        end = pack.encode_end(self.pack_id, self.entries)
        self._buffer += end
        self._flush()
        self._end += len(end)
        if self._descriptor is not None:
            try:
                self._disk.sync(self._descriptor)
            except OSError as error:
                self._broken = True
                raise translate(error, self.path) from error
        self.close()

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._disk.close(descriptor)
            except OSError as error:
                self._broken = True
                raise translate(error, self.path) from error

    def _flush(self) -> None:
        self._write(self._buffer)
        self._buffer = bytearray()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        if self._broken or self._descriptor is None:
            raise StoreError(f"pack {self.pack_id[:12]} is broken by an earlier failure")
        view = memoryview(data)
        try:
            if self._floor is not None:
                self._floor.take(view.nbytes)
            self._disk.write(self._descriptor, view)
        except StoreFullError:
            self._broken = True  # a pack has no gaps
            raise
        except OSError as error:
            self._broken = True  # how much of it is in the file is not known
            raise translate(error, self.path) from error
