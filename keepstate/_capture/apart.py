"""Texts that the user's code makes, in a process of their own: it may raise, print, hang or die there.

Called in the process that holds a picture, which nobody else may hold up or end.
"""

from __future__ import annotations

import os
import select
import signal
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture.memory import MiB, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EACH_SECONDS = 1.0
"""How long one text may take; a save in the background is not held up for what only explains."""
ALL_SECONDS = 5.0
MOST_PROCESSES = 8
"""Each text that hangs or dies costs one; then the rest go without."""
LONGEST_BYTES = 4096
GROWTH_BYTES = 256 * MiB
"""What making them may allocate."""
_HEAD = struct.Struct("=II")


def make_texts(makers: Sequence[Callable[[], str]], *, clock: Clock = SYSTEM_CLOCK) -> list[str | None]:
    """Call *makers* one after the other, in another process.

    Returns:
        What each gave, of at most 4 KiB; ``None`` if it raised, hung or ended the process.
    """
    found: list[str | None] = [None] * len(makers)
    until = clock.monotonic() + ALL_SECONDS
    begin = 0
    for _ in range(MOST_PROCESSES):
        if begin >= len(makers) or clock.monotonic() >= until:
            break
        begin = _run(makers, begin, found, until, clock) + 1
    return found


def _run(
    makers: Sequence[Callable[[], str]], begin: int, found: list[str | None], until: float, clock: Clock
) -> int:
    """Make texts from *begin* on; return the last that was tried."""
    incoming, outgoing = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(incoming)
        os.close(outgoing)
        return len(makers)
    if pid == 0:
        _make(makers, begin, outgoing)
    os.close(outgoing)
    try:
        return _read(incoming, begin, len(makers), found, until, clock)
    finally:
        os.close(incoming)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _make(makers: Sequence[Callable[[], str]], begin: int, outgoing: int) -> None:
    try:
        _bound_growth()
        for number in range(begin, len(makers)):
            try:
                text = str(makers[number]()).encode(errors="replace")[:LONGEST_BYTES]
            except BaseException:  # noqa: BLE001 - it is the user's code, and this process ends
                continue
            os.write(outgoing, _HEAD.pack(number, len(text)) + text)  # fits into the pipe as a whole
    finally:
        os._exit(0)


def _bound_growth() -> None:
    import resource  # not on every platform; this process lives on Linux only

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):  # there is a lower one already
        resource.setrlimit(resource.RLIMIT_DATA, (read_status().get("VmData", 0) * 1024 + GROWTH_BYTES, most))


def _read(incoming: int, begin: int, count: int, found: list[str | None], until: float, clock: Clock) -> int:
    data = bytearray()
    last = begin - 1
    poll = select.poll()
    poll.register(incoming, select.POLLIN | select.POLLHUP)
    while last < count - 1:
        wait = min(EACH_SECONDS, until - clock.monotonic())
        if wait <= 0 or not poll.poll(wait * 1000):
            return last + 1  # it hangs
        piece = os.read(incoming, 1 << 16)
        if not piece:
            return last + 1 if last + 1 < count else last  # it has died, or the rest raised
        data += piece
        while len(data) >= _HEAD.size:
            number, length = _HEAD.unpack_from(data)
            if len(data) < _HEAD.size + length:
                break
            found[number] = data[_HEAD.size : _HEAD.size + length].decode(errors="replace")
            del data[: _HEAD.size + length]
            last = number
    return last
