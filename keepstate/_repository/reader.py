"""Read chunks back, each checked against its id before anyone sees it.

Knows packs and catalogs, not what the bytes mean. If one copy of a chunk is damaged or gone, the next one
is tried; an error says why the first failed. Nothing stays open from one call to the next.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from keepstate._base.at_once import at_once
from keepstate._base.disk import translate
from keepstate._repository import chunk, compression, pack
from keepstate._repository.chunk_list import expand, ref_of_list
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from keepstate._base.disk import Disk, OpenFile
    from keepstate._model.manifest import PartRecord, Ref
    from keepstate._repository.catalog import Location

    Locate = Callable[[bytes], Iterable[Location]]


Piece = tuple[bytes, memoryview]
"""A chunk, and where its plain bytes go."""

THREADS = min(4, os.cpu_count() or 1)
"""That check and decompress. New memory is cleared by the system, page by page, as it is first written to,
which takes as long as either (0.5 to 2.5 s for 2 GiB on virtual machines), and this shares it out as well."""
AT_ONCE_BYTES = 16 << 20
"""Parts below this are read by the thread that asks for them: threads take some milliseconds to start."""
SPAN_CHUNKS = 8
"""Neighbours that one thread reads, 8 MiB of large arrays: mostly of one pack."""
STEP_CHUNKS = 2
"""Neighbours that are read in one step, 2 MiB of large arrays: others may wait for as long, milliseconds."""


class OpenPacks:
    """Keeps the pack that was read last open while a part is read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._path: Path | None = None
        self._file: OpenFile | None = None

    def file(self, path: Path) -> OpenFile:
        """Give the pack at *path*, open."""
        if self._file is None or path != self._path:
            self.close()
            self._file = self._disk.open(path)
            self._path = path
        return self._file

    def close(self) -> None:
        """Close it."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


@contextmanager
def open_packs(disk: Disk) -> Iterator[OpenPacks]:
    """Give packs that are closed at the end."""
    packs = OpenPacks(disk)
    try:
        yield packs
    finally:
        packs.close()


def read_copy(location: Location, target: memoryview, *, packs: OpenPacks) -> None:
    """Fill *target* from one copy.

    Raises:
        IntegrityError: It is damaged, or its pack is gone.
        StoreError: The store could not be read.
    """
    entry = location.entry
    if entry.plain != target.nbytes:
        raise IntegrityError(f"chunk {entry.id.hex()[:12]} has another length than what refers to it")
    try:
        file = packs.file(location.path)
        raw = pack.read_at(file, entry.offset, chunk.HEADER_BYTES)
        header = chunk.decode_header(raw)
        if header[:4] != (entry.id, entry.compression, entry.plain, entry.stored):
            raise IntegrityError(f"chunk {entry.id.hex()[:12]} is not where its pack says")
        at = entry.offset + chunk.HEADER_BYTES
        if entry.compression == compression.NONE:
            if file.read_into(at, target) != target.nbytes:
                raise IntegrityError("a file ends too early")
            if chunk.chunk_id(target) != entry.id:
                raise IntegrityError(f"chunk {entry.id.hex()[:12]} is damaged")
        else:
            chunk.open_chunk(header, pack.read_at(file, at, entry.stored), target)
    except FileNotFoundError as error:
        raise IntegrityError(f"pack {location.pack_id[:12]} is gone") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise translate(error, location.path) from error


class ChunkReader:
    """Reads chunks, refs and parts of one place.

    Args:
        disk: Where the packs are.
        locate: Gives the copies of a chunk.
        plain_length: Gives the length of a chunk, ``None`` if it is not there.
        refresh: Looks at the place again: prune moves chunks from pack to pack. Waits for what is on its way
            there, and says whether more is.
        on_damage: Told of each copy that is damaged.
    """

    def __init__(
        self,
        disk: Disk,
        locate: Locate,
        plain_length: Callable[[bytes], int | None],
        *,
        refresh: Callable[[], bool] | None = None,
        on_damage: Callable[[Location], None] | None = None,
    ) -> None:
        self._disk = disk
        self._locate = locate
        self._plain_length = plain_length
        self._refresh = refresh
        self._on_damage = on_damage

    def length(self, own_id: bytes) -> int:
        """Give the length of a chunk as its pack says."""
        length = self._plain_length(own_id)
        if length is None and self._refresh is not None:
            self._refresh()
            length = self._plain_length(own_id)
        if length is None:
            raise IntegrityError(f"chunk {own_id.hex()[:12]} is not in the repository")
        return length

    def chunk(self, own_id: bytes) -> bytes:
        """Give the bytes of one chunk."""
        why: Exception | None = None
        for _ in self._looks():
            target = bytearray(self.length(own_id))  # each time: an index may have told another
            with open_packs(self._disk) as packs:
                why = self._try_copies(own_id, memoryview(target), packs)
            if why is None:
                return bytes(target)
        raise why or AssertionError("there is a first look")

    def record(self, own_id: bytes) -> bytes:
        """Give the bytes that an id stands for: of the chunk, or of all that it lists."""
        raw = self.chunk(own_id)
        ref = ref_of_list(raw, own_id)
        return raw if ref is None else self.read(ref)

    def part(self, record: PartRecord) -> StoredPart:
        """Give a reader of a part; that all its chunks are there is checked here."""
        return StoredPart(self, self.leaves(record.ref), record)

    def read(self, ref: Ref) -> bytes:
        """Give all bytes of a ref."""
        leaves = self.leaves(ref)
        try:
            target = bytearray(ref.length)
        except MemoryError as error:
            raise StoreError(f"{ref.length} bytes do not fit into memory") from error
        self.fill(leaves, memoryview(target))
        return bytes(target)

    def leaves(self, ref: Ref) -> list[tuple[bytes, int]]:
        """Give id and length of the chunks of a ref, none of which is missing.

        Raises:
            IntegrityError: One is missing or has another length; nothing should be allocated then.
        """
        leaves = expand(ref, self.chunk).leaves
        wrong = [own_id for own_id, length in leaves if self._plain_length(own_id) != length]
        if wrong and self._refresh is not None:
            self._refresh()
            wrong = [own_id for own_id, length in leaves if self._plain_length(own_id) != length]
        if wrong:
            raise IntegrityError(
                f"chunk {wrong[0].hex()[:12]} is missing, or its length is not what it must be"
            )
        return leaves

    def fill(self, leaves: Iterable[tuple[bytes, int]], target: memoryview) -> None:
        """Read *leaves* into *target*, where they lie one after another."""
        pieces: list[Piece] = []
        at = 0
        for own_id, length in leaves:
            pieces.append((own_id, target[at : at + length]))
            at += length
        if at >= AT_ONCE_BYTES:
            pieces = self._fill_at_once(pieces)
            while pieces and self._refresh is not None and self._refresh():
                pieces = self._fill_at_once(pieces)
        with open_packs(self._disk) as packs:
            for own_id, piece in pieces:
                self._read_into(own_id, piece, packs)

    def _fill_at_once(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Read what can be read without a second look, by several threads; give what is left."""

        def read(several: Sequence[tuple[Location | None, Piece]]) -> list[Piece]:
            left = []
            with open_packs(self._disk) as packs:
                for location, piece in several:
                    try:
                        if location is None:
                            left.append(piece)
                        else:
                            read_copy(location, piece[1], packs=packs)
                    except (IntegrityError, StoreError):
                        left.append(piece)
            return left

        found = [(next(iter(self._locate(own_id)), None), (own_id, piece)) for own_id, piece in pieces]
        spans = [found[at : at + SPAN_CHUNKS] for at in range(0, len(found), SPAN_CHUNKS)]
        try:
            with compression.beside_other_threads():
                left = at_once(read, spans, most=max(THREADS, self._disk.most_at_once))
        except RuntimeError:
            return list(pieces)  # the system gives no more threads: this one reads all
        return [piece for several in left for piece in several]

    def _read_into(self, own_id: bytes, target: memoryview, packs: OpenPacks) -> None:
        """Fill *target*, whose length is that of the chunk, from the first copy that is sound.

        Raises:
            IntegrityError: No copy is; *target* holds nothing of use then.
            StoreError: The store could not be read.
        """
        why: Exception | None = None
        for _ in self._looks():
            why = self._try_copies(own_id, target, packs)
            if why is None:
                return
        raise why or AssertionError("there is a first look")

    def _looks(self) -> Iterator[None]:
        """Give once, and once more after each look at the place that may help."""
        yield
        more = self._refresh is not None
        while more and self._refresh is not None:
            more = self._refresh()
            yield

    def _try_copies(self, own_id: bytes, target: memoryview, packs: OpenPacks) -> Exception | None:
        why: Exception | None = None
        for location in self._locate(own_id):
            try:
                read_copy(location, target, packs=packs)
            except (IntegrityError, StoreError) as error:
                why = why or error
                if self._on_damage is not None:
                    self._on_damage(location)
            else:
                return None
        return why or IntegrityError(f"chunk {own_id.hex()[:12]} is not in the repository")


class StoredPart:
    """The bytes of a stored part, checked against their ids as they are read."""

    __slots__ = ("_leaves", "_reader", "_record")

    def __init__(self, reader: ChunkReader, leaves: list[tuple[bytes, int]], record: PartRecord) -> None:
        self._reader = reader
        self._leaves = leaves
        self._record = record

    @property
    def nbytes(self) -> int:
        """Length of the part."""
        return self._record.ref.length

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self._record.itemsize

    @property
    def writable(self) -> bool:
        """Whether the memory must accept writes."""
        return self._record.writable

    def read_into(self, memory: memoryview) -> None:
        """Fill *memory*, which has :attr:`nbytes` bytes, format ``B``, and accepts writes.

        Raises:
            IntegrityError: The bytes are damaged; *memory* holds nothing of use then.
        """
        self._reader.fill(self._leaves, self._checked(memory))

    def steps(self, memory: memoryview) -> Iterator[Callable[[], None]]:
        """Give what fills *memory* like :meth:`read_into`, in calls that any threads may make, in any order.

        One that has failed may be made again.
        """
        memory = self._checked(memory)
        at = 0
        for first in range(0, len(self._leaves), STEP_CHUNKS):
            leaves = self._leaves[first : first + STEP_CHUNKS]
            length = sum(length for _, length in leaves)
            yield partial(self._fill_beside_others, leaves, memory[at : at + length])
            at += length

    def _fill_beside_others(self, leaves: list[tuple[bytes, int]], memory: memoryview) -> None:
        with compression.beside_other_threads():
            self._reader.fill(leaves, memory)

    def _checked(self, memory: memoryview) -> memoryview:
        if memory.readonly or memory.nbytes != self.nbytes:
            raise ValueError("the memory for a part must be writable and as long as the part")
        return memory.cast("B") if memory.format != "B" else memory
