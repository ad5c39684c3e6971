"""The bytes of one group, read in steps before anybody decodes it.

Reading leaves the GIL alone; decoding holds it. Whoever calls sees to it that one thread reads at a time.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

from keepstate import codecs
from keepstate._base.at_once import at_once
from keepstate._base.one_time import OneTime
from keepstate._model.manifest import PartRecord
from keepstate._repository.reader import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._model.manifest import GroupRecord
    from keepstate._repository import Repository

SHORT_STREAM_BYTES = 48 << 10
"""What is decoded within 5 ms, which the interpreter lets any thread run before it asks for the GIL.
Measured: 10 MB/s for empty lists, 25 for instances of a dataclass, 70 for dicts, 400 for texts."""


class Ahead:
    """What has been read of a group.

    Args:
        repository: Where the bytes are.
        record: Of the group.
        member: Whose it is.

    Raises:
        IntegrityError: A chunk is missing.
        StoreError: The store cannot be read.
    """

    def __init__(self, repository: Repository, record: GroupRecord, *, member: str) -> None:
        self._repository = repository
        self._record = record
        self._member = member
        self.room = OneTime(record.stream.length)
        """For the stream, which is whole once all is read."""
        self._todo: deque[Callable[[], None]] = deque()
        if record.stream.length:
            stream = repository.part(PartRecord(record.stream, 1, writable=True), member=member)
            self._todo.extend(stream.steps(self.room.view))
        self._laid_out = False
        self.memory: codecs.RestoredMemory | None = None
        """Filled once all is read."""
        self.is_short = record.stream.length <= SHORT_STREAM_BYTES
        self.is_harmless = False
        """Whether decoding takes a moment and runs only code of known libraries; known once all is read."""
        self.needs_torch = False
        """Whether it holds tensors and torch is not imported, so that they cannot be read ahead yet."""

    def step(self) -> bool:
        """Read some milliseconds long, or find out what there is; ``False``: all has been read.

        One that has failed or was interrupted can be made again.

        Raises:
            IntegrityError: Bytes are damaged.
            CodecError: The stream cannot be understood here.
            StoreError: The store cannot be read.
        """
        if not self._todo and not self._laid_out:
            self._lay_out()
            self._laid_out = True
        if not self._todo:
            return False
        self._todo[0]()
        self._todo.popleft()
        return True

    def rest(self) -> None:
        """Read all that is left, by several threads; raises like :meth:`step`."""
        while not self._laid_out:
            self.step()
        at_once(lambda step: step(), list(self._todo), most=THREADS)
        self._todo.clear()

    def _lay_out(self) -> None:
        calls = codecs.calls_of(self.room.view) if self.is_short else None
        tensors = None if calls is None else codecs.TENSORS in calls
        self.needs_torch = bool(tensors) and "torch" not in sys.modules
        parts = [self._repository.part(part, member=self._member) for part in self._record.parts]
        self.memory = codecs.memory_of(self.room.view, parts)
        if not self.needs_torch:
            self._todo.extend(self.memory.ahead(tensors=tensors))
        self.is_harmless = calls is not None and codecs.is_harmless(calls)
