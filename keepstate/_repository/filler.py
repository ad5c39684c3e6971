"""Fill packs with the chunks of one save, each once, on the calling thread or on several.

Knows chunks and packs, not what is made of them. Each thread fills packs of its own, so that nobody waits for
another and what a processor has in its cache stays there.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._repository import compression
from keepstate._repository.chunk import ChunkHeader, chunk_id, open_chunk
from keepstate._repository.crew import Crew
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate._repository.outlet import Outlet
from keepstate._repository.packer import Packer
from keepstate._repository.verify import check_written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._repository.compression import Compressor
    from keepstate._repository.floor import Floor


class Lane:
    """What one thread writes: one pack after another."""

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.packer: Packer | None = None
        self.scratch = memoryview(bytearray(CHUNK_BYTES))


class Filler:
    """Takes chunks in.

    Args:
        disk: Where the operations go.
        temporary: Gives names that nobody else uses.
        is_there: Says whether the repository has a chunk already; asked by one thread at a time.
        floor: What every write has to ask.
        threads: That hash and compress; with more than one, others write.
        direct: Whether to write past the system's memory where the disk allows it.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        temporary: Callable[[], Path],
        is_there: Callable[[bytes], bool],
        floor: Floor,
        threads: int,
        direct: bool,
    ) -> None:
        self.written: set[bytes] = set()
        """Ids of the chunks that are in the packs, or on their way."""
        self.packers: list[Packer] = []
        """All packs, finished or not."""
        self._disk = disk
        self._temporary = temporary
        self._is_there = is_there
        self._floor = floor
        self._crew = Crew(threads)
        self.lanes = [Lane(Outlet(disk, writer, direct=direct)) for writer in self._crew.writers]
        """One for each thread that may be busy at a time."""
        self._lock = threading.Lock()

    def put(self, plain: bytes | memoryview, compressor: Compressor, lane: Lane | None = None) -> bytes:
        """Store a chunk that may be there already, and return its id.

        What is to be stored compressed has been decompressed, and is what the id says.

        Args:
            plain: 1 byte to 1 MiB; will not be read again after the return.
            compressor: Of the thread that calls.
            lane: Likewise; ``None``: the first.

        Raises:
            IntegrityError: Something was compressed or written that is not what it was to be.
            StoreError: The disk failed.
        """
        own, lane = chunk_id(plain), lane or self.lanes[0]
        if self._claim(own):
            try:
                kind, stored = compressor.compress(memoryview(plain))
                header = ChunkHeader(own, kind, len(plain), len(stored), xxh3_64_intdigest(stored))
                if kind != compression.NONE:
                    open_chunk(header, stored, lane.scratch[: len(plain)])
                self._room(lane).add(header, stored)
            except BaseException:
                self.written.discard(own)
                raise
        return own

    def at_once(self, work: Callable[[Lane], None]) -> None:
        """Call *work* with each lane, each on a thread of its own; raises what one of them raised."""
        futures = [self._crew.helpers.submit(work, lane) for lane in self.lanes[1:]]
        try:
            work(self.lanes[0])
        finally:
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def finish(self) -> None:
        """Return when everything is on stable storage and has been checked.

        Raises:
            IntegrityError: Something was written that is not what it was to be.
            StoreError: The disk failed.
        """
        for lane in self.lanes:
            self._finish_pack(lane)
        for lane in self.lanes:
            lane.outlet.settle()
        for packer in self.packers:
            check_written(self._disk, packer)

    def abandon(self) -> None:
        """End all threads and remove what still has no other name."""
        self._crew.end()
        for packer in self.packers:
            packer.discard()

    def holds(self, own: bytes) -> bool:
        """Say whether a chunk is there, or on its way; any thread may ask."""
        with self._lock:
            return own in self.written or self._is_there(own)

    def _claim(self, own: bytes) -> bool:
        """Say whether the caller has to write this chunk; nobody else will then."""
        with self._lock:
            if own in self.written or self._is_there(own):
                return False
            self.written.add(own)
            return True

    def _room(self, lane: Lane) -> Packer:
        if lane.packer is not None and lane.packer.is_full:
            self._finish_pack(lane)
        if lane.packer is None:
            self._floor.look()
            own_id = os.urandom(16).hex()
            lane.packer = Packer(lane.outlet, self._temporary(), pack_id=own_id, floor=self._floor)
            self.packers.append(lane.packer)
        return lane.packer

    @staticmethod
    def _finish_pack(lane: Lane) -> None:
        packer, lane.packer = lane.packer, None
        if packer is not None:
            packer.finish()
