"""One save: chunks that the repository lacks go into packs, and the manifest comes last.

Knows bytes and ids. A writer announces a lease before it looks at what is there, and looks again before it
commits; until the manifest has its name, nothing that it wrote is anyone's. It takes no lock, so a child
that was forked at any instant can write. Order of steps and why: FORMAT.md §8.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Self

import msgspec

from keepstate._base.disk import Disk, make_directories, sync_upwards, translating, write_durably
from keepstate._base.mounts import is_on_own_disk
from keepstate._model.manifest import Manifest  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._repository import index
from keepstate._repository.apart import as_stored, put_apart
from keepstate._repository.chunk_list import Leaf, expand, store_list
from keepstate._repository.compression import Compressor
from keepstate._repository.conflict import ConflictError
from keepstate._repository.filler import Filler
from keepstate._repository.fingerprint import CHUNK_BYTES, Piece, cut_by_content, cut_evenly
from keepstate._repository.floor import Floor
from keepstate._repository.lease import HOLD_SECONDS, Lease
from keepstate._repository.manifests import LIMIT_BYTES as MANIFEST_BYTES
from keepstate._repository.manifests import decode_manifest, encode_manifest
from keepstate._repository.recheck import may_rely
from keepstate.errors import FormatError, IntegrityError, InvalidInputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from keepstate._base.clock import Clock
    from keepstate._model.manifest import Apart, Ref
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.filler import Lane

RECORD_BYTES = 16 << 10
"""Length of the chunks of what grows at the end, like the list of cells."""
RECORD_LEAST_BYTES = 4 << 10
"""Shortest chunk of a record; 8 KiB on average. That of a group with 100,000 small arrays has 5 MB of ids."""

AT_ONCE_BYTES = 32 << 20
"""New bytes below which one thread does it all: each fills packs of its own, and files should be few."""
RUN_PIECES = 16
"""Neighbours that go into one pack, so that they are read back at once, and are compressed in one way."""


WHOLE_BYTES = 16 << 10
"""Longest manifest that holds its names itself, two hundred: of a longer one most is as it was before."""


class Commit(msgspec.Struct, frozen=True):
    """What a save has published; small enough to travel through a pipe."""

    manifest: Manifest
    packs: list[str]
    """Ids of the packs that it added."""
    known: dict[bytes, bytes]
    """Fingerprint → chunk id of every piece of this snapshot."""
    indexed: list[str] = []
    """Ids of the packs of which an index holds the footer since this save."""


class Writer:
    """Adds one snapshot to a member's folder; use as a context manager, or call :meth:`abandon`.

    Made by ``Repository.writer``.
    """

    def __init__(
        self,
        *,
        disk: Disk,
        clock: Clock,
        member: str,
        lease: Lease,
        catalog: Catalog,
        on_packs: Callable[[Catalog], None],
        drop: Callable[[Lease], None],
        floor_bytes: int | None = None,
        threads: int = 1,
    ) -> None:
        self.lease = lease
        self._disk = disk
        self._clock = clock
        self._member = member
        self._catalog = catalog
        self._folder = catalog.folder
        self._on_packs = on_packs
        self._drop = drop
        self._floor = Floor(disk, self._folder.root, floor_bytes=floor_bytes)
        self._began = (clock.monotonic(), clock.utc_now())
        self._filler = Filler(
            disk,
            temporary=self._temporary,
            is_there=self._is_there,
            floor=self._floor,
            threads=threads,
            direct=threads > 1 and is_on_own_disk(self._folder.root),
        )
        self._relied: set[bytes] = set()
        self._known: dict[bytes, bytes] = {}
        self._indexed: list[str] = []
        self._temporaries = itertools.count(1)
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def holds(self, manifest: Manifest) -> bool:
        """Say whether *manifest* is kept here, as it is: the folder may have been emptied or replaced."""
        path = self._folder.manifest(manifest)
        try:
            found = decode_manifest(self._disk.read(path, limit_bytes=MANIFEST_BYTES))
        except (OSError, IntegrityError, FormatError):
            return False
        return found == as_stored(manifest) and (found.apart is None or self._is_there(found.apart.contents))

    def present(self, known: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Give what of *known* may be relied on: prune may have taken the rest."""
        return {fingerprint: own for fingerprint, own in known.items() if self._catalog.has(own)}

    def put(
        self,
        pieces: Iterable[Piece],
        *,
        itemsize: int = 1,
        release: Callable[[memoryview], None] | None = None,
        lasting: bool = True,
    ) -> Ref:
        """Store the bytes that *pieces* make up, in order, and return where they are.

        Args:
            pieces: Each of 1 byte to 1 MiB.
            itemsize: Bytes per element, for compression.
            release: Called with the memory of each piece once it will not be read again.
            lasting: Whether the memory of a piece still holds its bytes when the next one is asked for.

        Raises:
            ConflictError: A piece without memory is no longer there; save again with ``known={}``.
            IntegrityError: Something was written, or compressed, that is not what it was to be.
            StoreError: The disk failed.
        """
        if lasting and len(self._filler.lanes) > 1:
            pieces = list(pieces)
            if sum(piece.length for piece in pieces if piece.memory is not None) >= AT_ONCE_BYTES:
                return self._put_at_once(pieces, itemsize, release)
        compressor = Compressor(itemsize)
        leaves = [self._put_piece(piece, compressor, release) for piece in pieces]
        return store_list(leaves, put=self._put_chunk)

    def _put_at_once(
        self, pieces: Sequence[Piece], itemsize: int, release: Callable[[memoryview], None] | None
    ) -> Ref:
        leaves: list[Leaf] = [(b"", 0)] * len(pieces)
        starts = iter(range(0, len(pieces), RUN_PIECES))
        failed = False

        def work(lane: Lane) -> None:
            nonlocal failed
            try:
                for start in starts:  # each thread takes its next one here
                    compressor = Compressor(itemsize)  # anew: who takes what must not be seen in the bytes
                    for at, piece in enumerate(pieces[start : start + RUN_PIECES], start):
                        if failed:
                            return
                        leaves[at] = self._put_piece(piece, compressor, release, lane)
            except BaseException:
                failed = True
                raise

        self._filler.at_once(work)
        return store_list(leaves, put=self._put_chunk)

    def put_bytes(self, data: bytes | memoryview, *, chunk_bytes: int = RECORD_BYTES) -> Ref:
        """Store *data* in chunks of *chunk_bytes*, 1 byte to 1 MiB; small ones suit what grows at the end."""
        if not 1 <= chunk_bytes <= CHUNK_BYTES:
            raise InvalidInputError(f"chunk_bytes is 1 to {CHUNK_BYTES}, not {chunk_bytes}")
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        return self._put_all(cut_evenly(view, chunk_bytes))

    def put_record(self, record: msgspec.Struct) -> bytes:
        """Store a record and return the id by which it is read back."""
        return self._put_encoded(msgspec.msgpack.encode(record))

    def _put_encoded(self, raw: bytes) -> bytes:
        return self._put_all(cut_by_content(memoryview(raw), least=RECORD_LEAST_BYTES)).id

    def _put_all(self, pieces: Iterable[memoryview]) -> Ref:
        compressor = Compressor(1)
        leaves = [(self._put_chunk(piece, compressor), piece.nbytes) for piece in pieces]
        return store_list(leaves, put=self._put_chunk)

    def rely(self, ref: Ref) -> bool:
        """Count on bytes that an earlier save has stored, without giving them again.

        Returns:
            ``False`` if not all of their chunks are there to stay: then they must be put.
        """
        try:
            expanded = expand(ref, self._catalog.reader().chunk)
        except (IntegrityError, StoreError):
            return False  # a list is damaged, or cannot be read today
        return all(self._filler.holds(own) for own in (*expanded.lists, *(own for own, _ in expanded.leaves)))

    def _put_piece(
        self,
        piece: Piece,
        compressor: Compressor,
        release: Callable[[memoryview], None] | None,
        lane: Lane | None = None,
    ) -> Leaf:
        _check_piece(piece)
        if piece.memory is not None:
            own = self._put_chunk(piece.memory, compressor, lane)
            if release is not None:
                release(piece.memory)
        elif piece.id is not None and self._filler.holds(piece.id):
            own = piece.id
        else:
            raise ConflictError("a part of the last snapshot is gone: save again in full")
        self._known[piece.fingerprint] = own
        return own, piece.length

    def _is_there(self, own: bytes) -> bool:
        if own in self._relied:
            return True
        if self._catalog.has(own):
            self._relied.add(own)
            return True
        return False

    def _put_chunk(
        self, plain: bytes | memoryview, compressor: Compressor | None = None, lane: Lane | None = None
    ) -> bytes:
        if not self._open:
            raise StoreError("this writer is finished")
        return self._filler.put(plain, compressor or Compressor(1), lane)

    def _temporary(self) -> Path:
        return self._folder.temporary / f"{self.lease.id}-{next(self._temporaries)}.tmp"

    def commit(self, build: Callable[[int], Manifest]) -> Commit:
        """Publish what was put, and the manifest last; the writer is finished afterwards, whatever happens.

        Args:
            build: Makes the manifest from the number of bytes that were written; may be called again.

        Raises:
            ConflictError: Something that this snapshot relies on was pruned meanwhile; save again.
            InvalidInputError: The manifest cannot be written.
            IntegrityError: What was written does not read back.
            StoreError: The disk failed. What was kept before is untouched in all cases.
        """
        try:
            with translating(self._folder.root):
                manifest, packs = self._commit(build)
        finally:
            self.abandon()
        return Commit(manifest, packs, self._known, self._indexed)

    def _commit(self, build: Callable[[int], Manifest]) -> tuple[Manifest, list[str]]:
        apart = self._put_names(build(0))
        self._filler.finish()
        manifest, raw = self._encode(build, apart, sum(packer.nbytes for packer in self._filler.packers))
        path = self._folder.manifest(manifest)
        if self._disk.exists(path):
            raise InvalidInputError(f"there is a snapshot {manifest.id} already")
        self._floor.look()
        self._floor.take(len(raw))
        packs = self._publish_packs()
        self._look_again(manifest)
        make_directories(self._disk, path.parent)
        shelves = {self._folder.pack(own).parent for own in packs}
        sync_upwards(self._disk, [*shelves, path.parent], top=self._folder.store)
        write_durably(self._disk, path, [raw], temporary=self._temporary())
        return manifest, packs

    def _publish_packs(self) -> list[str]:
        shelves = {self._folder.pack(packer.pack_id).parent for packer in self._filler.packers}
        for shelf in sorted(shelves):
            make_directories(self._disk, shelf)
        for packer in self._filler.packers:
            self._disk.publish(packer.path, self._folder.pack(packer.pack_id))
        self._catalog = self._catalog.refreshed()
        self._write_index()
        self._on_packs(self._catalog)
        return [packer.pack_id for packer in self._filler.packers]

    def _write_index(self) -> None:
        before = self._catalog
        try:
            self._catalog = index.cover(
                self._disk, before, temporary=self._temporary(), take=self._floor.take
            )
        except StoreError:
            return  # an index only accelerates; if the disk is in trouble, the manifest will tell
        if self._catalog is not before:
            packs = self._catalog.packs.items()
            self._indexed = [own for own, info in packs if info.covered and not before.packs[own].covered]

    def _put_names(self, manifest: Manifest) -> Apart | None:
        """Store the names of a long manifest apart from it; ``None``: it is short enough to hold them."""
        if len(encode_manifest(manifest)) <= WHOLE_BYTES:
            return None
        return put_apart(manifest, self._put_encoded)

    def _encode(
        self, build: Callable[[int], Manifest], apart: Apart | None, pack_bytes: int
    ) -> tuple[Manifest, bytes]:
        manifest = msgspec.structs.replace(build(pack_bytes), apart=apart)
        if manifest.member != self._member:
            raise InvalidInputError("a manifest goes into the folder of its own member only")
        raw = encode_manifest(manifest)
        # The number counts the manifest that it stands in, so it may lengthen it by a byte or two.
        while manifest.written_bytes != pack_bytes + len(raw):
            manifest = msgspec.structs.replace(manifest, written_bytes=pack_bytes + len(raw))
            raw = encode_manifest(manifest)
        return manifest, raw

    def _look_again(self, manifest: Manifest) -> None:
        """Refuse the commit if anything that it needs is gone or about to go.

        The catalog was read after all packs had their names. Prune may condemn more from then on, but finds
        the lease, which stays until the manifest is there.
        """
        passed = max(
            self._clock.monotonic() - self._began[0],
            (self._clock.utc_now() - self._began[1]).total_seconds(),
        )
        if passed > HOLD_SECONDS:
            raise ConflictError("this save took so long that its lease no longer counts: save again")
        if not may_rely(self._catalog, manifest, given=self._filler.written | self._relied):
            raise ConflictError("what this snapshot relies on was pruned meanwhile: save again")

    def abandon(self) -> None:
        """Leave nothing of what was not committed; may be called again."""
        if not self._open:
            return
        self._open = False
        self._filler.abandon()
        self._drop(self.lease)


def _check_piece(piece: Piece) -> None:
    if not 1 <= piece.length <= CHUNK_BYTES or (
        piece.memory is not None and piece.memory.nbytes != piece.length
    ):
        raise InvalidInputError(f"a piece has 1 to {CHUNK_BYTES} bytes")
