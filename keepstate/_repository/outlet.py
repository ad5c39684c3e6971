"""The way of packs out of this process: gathered in blocks of memory, which somebody else writes.

Knows bytes and the disk, not what they mean. Blocks are whole and aligned pages, so that a disk may take
them straight from here; the system's own copies would cost a quarter of the processor time of a save, and 3 s
for each GB where memory has to come from a host first (measured on a virtual machine).

What a disk has taken so is in no other memory, so it is checked here, once the disk has taken it: against the
checksums of what was to be written, and where that is a chunk as it was, against its id. Anything else is to
be read back from the file. After the first failure nothing can be finished.
"""

from __future__ import annotations

import mmap
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3
from xxhash import xxh3_64

from keepstate._base.disk import translate
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._repository.floor import Floor

BLOCK_BYTES = 1 << 20
"""What a disk is given at once; with 2 and 4 MiB it was no faster here."""
BLOCKS = 3
"""In memory at a time: one is filled, one is written, and one makes up for both being uneven."""


class Outlet:
    """Blocks, and who writes them; for files that are written one after another by one thread.

    Args:
        disk: Where the operations go.
        writer: Does one thing after another.
        direct: Whether to go past the system's memory, where the disk allows it.
    """

    def __init__(self, disk: Disk, writer: Executor, *, direct: bool) -> None:
        self.disk = disk
        self.direct = direct
        self._writer = writer
        self._free: list[memoryview] = []
        self._made = 0
        self._pending: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Take nothing more: a file that has a gap, or other bytes, must never be finished."""
        self._failure = self._failure or error

    def check(self) -> None:
        """Raise the first failure again, if there was one."""
        if self._failure is not None:
            raise self._failure

    def take_block(self) -> memoryview:
        """Give memory that nobody uses; waits for a write if need be.

        Raises:
            MemoryError: There is none.
        """
        while not self._free:
            if self._made < BLOCKS:
                self._made += 1
                return _new_block()
            self._wait()
        return self._free.pop()

    def give_back(self, block: memoryview) -> None:
        """Take memory back that was given by :meth:`take_block`."""
        self._free.append(block)

    def submit(self, task: Callable[[], None], then: Callable[[], None]) -> None:
        """Have *task* done after all others, and call *then* on this thread some time later.

        Raises what an earlier one raised.
        """
        self.check()
        self._pending.append((self._writer.submit(task), then))
        while self._pending and self._pending[0][0].done():
            self._wait()

    def settle(self) -> None:
        """Return when everything is done.

        Raises:
            StoreError: The disk failed.
            IntegrityError: Something else was written than what was to be.
        """
        while self._pending:
            self._wait()
        self.check()

    def _wait(self) -> None:
        future, then = self._pending.popleft()
        try:
            future.result()
            then()
        except BaseException as error:
            self.fail(error)
            raise


def _new_block() -> memoryview:
    try:
        if sys.platform == "win32":
            return memoryview(mmap.mmap(-1, BLOCK_BYTES))
        return memoryview(mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError as error:
        raise MemoryError from error


class OutFile:
    """A new file that is being written.

    Args:
        outlet: How it is written.
        path: A temporary name that nobody else uses.
        floor: What every write has to ask; ``None``: nobody.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(self, outlet: Outlet, path: Path, *, floor: Floor | None) -> None:
        self._outlet = outlet
        self._path = path
        self._floor = floor
        self._block: memoryview | None = None
        self._filled = 0
        self._check = _Check()
        try:
            self._descriptor: int | None = outlet.disk.create(path)
        except OSError as error:
            raise translate(error, path) from error
        self.is_checked = outlet.direct and outlet.disk.bypass_cache(self._descriptor)
        """Whether what is written is checked here; else it must be read back."""

    def append(self, data: bytes | memoryview, checksum: int, own: bytes = b"") -> None:
        """Add *data*; it will not be read again after the return.

        Args:
            data: What is written next.
            checksum: Its xxh3-64.
            own: Its BLAKE3 hash; empty: not to be checked.

        Raises:
            IntegrityError: Something else was written than what was to be.
            MemoryError: There is none to gather it in.
            StoreError: The disk failed, now or before.
        """
        self._outlet.check()
        try:
            self._gather(data, checksum, own)
        except BaseException as error:
            self._outlet.fail(error)  # some of it may be on its way
            raise

    def _gather(self, data: bytes | memoryview, checksum: int, own: bytes) -> None:
        if self.is_checked:
            self._check.expect(_Expected(len(data), checksum, own))
        left = memoryview(data)
        while left:
            block = self._block = self._block or self._outlet.take_block()
            part = left[: len(block) - self._filled]
            block[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            left = left[len(part) :]
            if self._filled == len(block):
                self._hand_over()

    def finish(self) -> None:
        """Have the file closed when all of it is on stable storage; not before the outlet has settled."""
        if self._filled:
            self._hand_over()
        self._outlet.submit(self._seal, _nothing)

    def close(self) -> None:
        """Give the descriptor back; the file stays. Nobody may be writing to it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._outlet.disk.close(descriptor)
            except OSError as error:
                raise translate(error, self._path) from error

    def discard(self) -> None:
        """Take back descriptor and file; what is left then is swept by the next prune."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            self._outlet.disk.remove(self._path)

    def _hand_over(self) -> None:
        block, length = self._block, self._filled
        self._block, self._filled = None, 0
        if block is None:
            return
        if self._floor is not None:
            self._floor.take(length)
        self._outlet.submit(lambda: self._write(block[:length]), lambda: self._written(block, length))

    def _write(self, data: memoryview) -> None:
        try:
            self._outlet.disk.write(self._now(), data)
        except OSError as error:
            raise translate(error, self._path) from error

    def _written(self, block: memoryview, length: int) -> None:
        if self.is_checked:
            self._check.see(block[:length])
        self._outlet.give_back(block)

    def _seal(self) -> None:
        try:
            self._outlet.disk.sync(self._now())
        except OSError as error:
            raise translate(error, self._path) from error
        self.close()

    def _now(self) -> int:
        if self._descriptor is None:
            raise StoreError(f"{self._path.name} is closed")
        return self._descriptor


def _nothing() -> None:
    """There is nothing left to do."""


class _Expected(NamedTuple):
    """What is to be written next."""

    length: int
    checksum: int
    own: bytes


class _Check:
    """Compares what was written with what was to be."""

    def __init__(self) -> None:
        self._waiting: deque[_Expected] = deque()
        self._left = 0
        self._now = _Expected(0, 0, b"")
        self._sum = xxh3_64()
        self._hash = blake3()

    def expect(self, what: _Expected) -> None:
        """This comes next."""
        if what.length:
            self._waiting.append(what)

    def see(self, data: memoryview) -> None:
        """Look at the bytes that were written next.

        Raises:
            IntegrityError: They are others than expected.
        """
        while data:
            if not self._left:
                self._now = self._waiting.popleft()
                self._left = self._now.length
                self._sum.reset()
                self._hash = blake3()
            part = data[: self._left]
            self._sum.update(part)
            if self._now.own:
                self._hash.update(part)
            self._left -= len(part)
            data = data[len(part) :]
            if not self._left:
                self._compare()

    def _compare(self) -> None:
        if self._sum.intdigest() != self._now.checksum or (
            self._now.own and self._hash.digest() != self._now.own
        ):
            raise IntegrityError("the disk was given other bytes than those that were to be written")
