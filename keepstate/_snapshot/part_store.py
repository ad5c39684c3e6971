"""What a save offers to groups that store themselves; satisfies ``PartStore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._base.disk import SYSTEM_DISK
from keepstate._repository import fingerprint_pieces, fingerprint_stream
from keepstate._repository.floor import room_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from keepstate._model.manifest import GroupRecord, Ref
    from keepstate._repository import Writer

SPARE_BYTES = 64 << 20
"""Besides what is left free on every disk: what the rest of the save may need, two packs."""


class RepositoryPartStore:
    """Puts bytes beside those of the objects.

    Every piece is hashed in full: files are read again only if they have changed, and what is read is not
    trusted to be what it was.
    """

    def __init__(
        self, writer: Writer, path: Path, *, seed: int, progress: Callable[[str, int], None]
    ) -> None:
        self._writer = writer
        self._path = path
        self._seed = seed
        self._progress = progress

    def put(self, pieces: Iterable[memoryview]) -> Ref:
        """Store bytes given in pieces of 1 MiB, the last may be shorter; each is done with at the next."""
        return self._writer.put(
            (piece for memory in pieces for piece in fingerprint_pieces(memory, seed=self._seed, known={})),
            lasting=False,
        )

    def put_stream(self, stream: bytes) -> Ref:
        """Store the stream of a group."""
        return self._writer.put(fingerprint_stream(stream, seed=self._seed, known={}))

    def put_record(self, record: GroupRecord) -> bytes:
        """Store the record of a group and return its id."""
        return self._writer.put_record(record)

    def rely(self, ref: Ref) -> bool:
        """Count on bytes that an earlier save has stored; ``False``: not all are there any more."""
        return self._writer.rely(ref)

    def has_room(self, nbytes: int) -> bool:
        """Say whether so many more bytes fit above the floor of the disk."""
        room = room_of(SYSTEM_DISK, self._path)
        return room is None or room.free_bytes - room.floor_bytes - SPARE_BYTES >= nbytes

    def progress(self, name: str, nbytes: int) -> None:
        """Tell what is being worked on, and how many bytes are behind."""
        self._progress(name, nbytes)
