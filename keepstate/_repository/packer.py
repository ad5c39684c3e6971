"""Fill one pack: chunks go into a temporary file, which gets its name only when the snapshot is committed.

Knows the layout of packs, not what chunks mean, nor how bytes come to the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._repository import chunk, compression, pack
from keepstate._repository.outlet import OutFile

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._repository.floor import Floor
    from keepstate._repository.outlet import Outlet


class Packer:
    """One pack that is being written.

    Args:
        outlet: How it is written.
        path: A temporary name that nobody else uses.
        pack_id: 32 hexadecimal digits, new.
        floor: What every write has to ask; ``None``: nobody.

    Raises:
        StoreError: The file cannot be made, or the outlet has failed before.
    """

    def __init__(self, outlet: Outlet, path: Path, *, pack_id: str, floor: Floor | None = None) -> None:
        self.path = path
        self.pack_id = pack_id
        self.entries: list[pack.Entry] = []
        self.is_finished = False
        """Whether it takes no more."""
        self._end = 0
        self._file = OutFile(outlet, path, floor=floor)
        try:
            self._append(pack.encode_start(pack_id))
        except BaseException:
            self._file.discard()
            raise

    @property
    def nbytes(self) -> int:
        """Length so far; after :meth:`finish`, of the whole pack."""
        return self._end

    @property
    def is_full(self) -> bool:
        """Whether the next chunk should go into another pack."""
        return self._end >= pack.TARGET_BYTES or len(self.entries) >= pack.MOST_ENTRIES

    @property
    def is_checked(self) -> bool:
        """Whether the chunks were checked as they were written; else they must be read back."""
        return self._file.is_checked

    def add(self, header: chunk.ChunkHeader, stored: bytes | memoryview) -> None:
        """Append a chunk; *stored* will not be read again after the return.

        Raises:
            StoreError: The disk failed, now or before.
        """
        self.entries.append(pack.Entry(header.id, self._end, header.stored, header.plain, header.compression))
        self._append(chunk.encode_header(header))
        self._append(stored, header.checksum, header.id if header.compression == compression.NONE else b"")

    def finish(self) -> None:
        """Append footer and trailer; all is on stable storage when the outlet has settled.

        Raises:
            StoreError: The disk failed, now or before.
        """
        self.is_finished = True
        self._append(pack.encode_end(self.pack_id, self.entries))
        self._file.finish()

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        self.is_finished = True
        self._file.close()

    def discard(self) -> None:
        """Take back descriptor and file."""
        self.is_finished = True
        self._file.discard()

    def _append(self, data: bytes | memoryview, checksum: int | None = None, own: bytes = b"") -> None:
        self._file.append(data, xxh3_64_intdigest(data) if checksum is None else checksum, own)
        self._end += len(data)
