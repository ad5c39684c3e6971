"""The thread that brings what is still coming, and what it leaves to the main thread between two cells.

It must not be noticed: it has the lowest priority, rests while a cell waits for something, reads without the
GIL, and decodes beside a running cell only what takes a moment and is harmless. Everything else is decoded by
the main thread while no cell runs: what is short at once, what takes longer when nobody has been there for a
while. What does not fit into memory is left until a cell asks for it.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from keepstate._base.word import Word
from keepstate._capture import random_states, read_room
from keepstate.errors import CodecError, IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._base.clock import Clock
    from keepstate._model.kernel import Kernel
    from keepstate._session.coming import Coming, Group
    from keepstate._session.options import RestoreMode

LATER_BYTES = 16 << 20
"""A state smaller than this is there when ``start()`` returns. Objects come back at 70 MB/s, and arrays at
0.4 GB/s where memory is new (both measured), so that it takes a quarter of a second at most."""
QUIET_SECONDS = 1.0
"""What takes longer than a moment is decoded when no cell has run for so long: never amid a "Run all"."""
SLICE_SECONDS = 0.02
"""How long the main thread is taken between two cells before it looks for the next cell."""
LOOK_SECONDS = 0.25
"""How often it is looked whether somebody is there, while something waits to be decoded."""
FREE_SHARE = 0.1
"""Of the memory, left free for what the user does meanwhile."""
STOP_SECONDS = 5.0
"""How long the end waits for the thread: a step takes milliseconds, but a disk may not answer at all."""
SMALL_BYTES = 1 << 20
"""What is brought without a look at the memory."""
LOWEST_PRIORITY = 19


def comes_later(mode: RestoreMode, kernel: Kernel, nbytes: int) -> bool:
    """Say whether so many bytes of values come after ``start()`` has returned."""
    return kernel.has_cells and (mode == "lazy" or (mode == "auto" and nbytes >= LATER_BYTES))


class Prefetch:
    """Brings all that is coming.

    Args:
        coming: What that is.
        kernel: Tells when no cell runs.
        trouble: Told what went wrong.
        clock: For waits.
    """

    def __init__(
        self, coming: Coming, kernel: Kernel, *, trouble: Callable[[BaseException], None], clock: Clock
    ) -> None:
        self._coming = coming
        self._kernel = kernel
        self._trouble = trouble
        self._clock = clock
        self._seen = clock.monotonic()
        self._stop = Word()
        self._unread = deque(coming.groups)
        self._ready: list[Group] = []
        """Read, and left to the main thread."""
        self._asked = False
        """Whether the main thread has been asked to decode something."""
        self._torch_tried = False
        self._thread = threading.Thread(target=self._run, name="keepstate-prefetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.say()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(STOP_SECONDS)

    def seen(self) -> None:
        """Somebody is there: a cell begins or has ended."""
        self._seen = self._clock.monotonic()

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            _step_back()
            while self._coming.call_one() and not self._stop.is_set():
                pass
            while not self._stop.is_set():
                while self._unread and not self._stop.is_set():
                    self._read(self._unread.popleft())
                    self._offer()
                if not (self._ready or self._asked or self._unread):
                    return
                self._clock.wait(self._stop, LOOK_SECONDS)
                self._offer()
        except Exception as error:  # noqa: BLE001 - what is not brought comes when a cell asks for it
            self._trouble(error)

    def _read(self, group: Group, *, mended: bool = False) -> None:
        if not _has_room(group.nbytes):
            return
        try:
            for _ in self._coming.read(group):
                self._coming.rest(self._stop, self._clock)
                if self._stop.is_set():
                    return
        except IntegrityError as error:
            if not mended and self._coming.mend():
                self._read(group, mended=True)
            else:
                self._coming.fail(group, error)
            return
        except CodecError:
            pass  # the main thread finds out what it lacks
        except (StoreError, MemoryError):
            return
        is_harmless = group.ahead is not None and group.ahead.is_harmless
        if not (group.done or (is_harmless and self._coming.decode_beside(group))):
            self._ready.append(group)

    def _offer(self) -> None:
        """Ask for the main thread if it has time for something that is ready."""
        if self._asked or self._kernel.running is not None or self._stop.is_set():
            return
        if any(map(self._may_decode, list(self._ready))):
            self._asked = True  # before the main thread may answer
            if not self._kernel.when_idle(self._decode_some):
                self._asked = False

    # -- between two cells ------------------------------------------------------------------------------

    def _may_decode(self, group: Group) -> bool:
        ahead = group.ahead
        takes_a_moment = group.done or (ahead is not None and ahead.is_short and not ahead.needs_torch)
        return takes_a_moment or self._clock.monotonic() - self._seen >= QUIET_SECONDS

    def _decode_some(self) -> None:
        """Decode what is ready, on the main thread."""
        try:
            # With top-level await the loop also turns in the middle of a cell.
            if self._kernel.running is None and not self._stop.is_set():
                self._decode_for(SLICE_SECONDS)
        except Exception as error:  # noqa: BLE001 - it must not reach the kernel's loop
            self._trouble(error)
        finally:
            self._asked = False
            self._offer()

    def _decode_for(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        for group in filter(self._may_decode, list(self._ready)):
            self._ready.remove(group)  # first: what fails must not be offered to the kernel's loop for ever
            ahead = group.ahead
            if ahead is not None and ahead.needs_torch and self._import_torch():
                self._coming.read_anew(group)
                self._unread.append(group)
            else:
                self._coming.bring([group])
            if self._clock.monotonic() >= until:
                return

    def _import_torch(self) -> bool:
        """Import what tensors are allocated by, once; say whether it is there."""
        if not self._torch_tried:
            self._torch_tried = True
            with random_states.undisturbed(), suppress(Exception):
                importlib.import_module("torch")
        return "torch" in sys.modules


def _has_room(nbytes: int) -> bool:
    room = None if nbytes < SMALL_BYTES else read_room()
    return room is None or room.available - nbytes >= FREE_SHARE * room.limit


def _step_back() -> None:
    """Give this thread the lowest priority, where the system has one for each thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
