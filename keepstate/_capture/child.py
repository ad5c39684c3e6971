"""The process that holds a picture: it does the work, answers, and ends.

Nothing in here may use what other threads owned: they are gone, their locks are not. So no logging, no zmq,
no thread pool, no CUDA. It never returns to the user's code.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from keepstate._base.clock import SYSTEM_CLOCK, process_seconds
from keepstate._capture import channel as answers
from keepstate._capture.apart import make_texts
from keepstate._capture.copies import COPY_LIMIT_BYTES
from keepstate._capture.dirty_pages import DirtyPages
from keepstate._capture.mappings import Mappings, Range, merge, range_of
from keepstate._capture.memory import MiB, kills_whole_group, read_room, read_status
from keepstate._capture.pages import Pages
from keepstate._capture.work import Tools

if TYPE_CHECKING:
    from collections.abc import Collection

    from keepstate._capture.channel import Channel
    from keepstate._capture.copies import Copies
    from keepstate._capture.work import Work

LOOK_AT_MEMORY_SECONDS = 0.1
"""One look takes 0.2 ms."""
LEAST_FLOOR_BYTES = 4 * MiB
MOST_FLOOR_BYTES = 256 * MiB
GROUP_FLOOR_BYTES = 64 * MiB
"""Added where one kill takes both processes: what both may allocate between two looks."""
LEAST_GROWTH_BYTES = 48 * MiB
"""What a child may allocate in any case: about twice what two threads take for arrays."""
THREADS = 2
"""A child that is done sooner costs the user fewer page faults; more would leave a small machine nothing."""
_REWRITTEN_BYTES_PER_SECOND = 2.1e9
"""How fast the user's process can make pages its own again: 1.9 microseconds per 4 KiB, measured here."""
_LOWEST_PRIORITY = 19
_FIRST_TO_BE_KILLED = b"1000"
_IO_PRIORITY_IDLE = 3 << 13
"""``IOPRIO_CLASS_IDLE``. Source: ``linux/ioprio.h``."""

_kept: list[object] = []
"""What is replaced here is kept alive: its finalizers belong to the user's process."""


class _GiveUp(BaseException):
    """End the work early; no ``except Exception`` around a user's object may stop it."""

    def __init__(self, kind: bytes, payload: bytes) -> None:
        super().__init__()
        self.kind = kind
        self.payload = payload


def run(work: Work, channel: Channel, copies: Copies, descriptors: Collection[int]) -> NoReturn:
    """Do the work and end the process, whatever happens."""
    try:
        _settle(channel, descriptors)
        kind, payload = _answer(work, channel, copies)
        channel.board.put_processor_seconds(process_seconds())
        channel.answer(kind, payload)
    finally:
        os._exit(0)


def _answer(work: Work, channel: Channel, copies: Copies) -> tuple[bytes, bytes]:
    try:
        tools = _tools(channel, copies)
        work.prepare(tools)
        return answers.RESULT, work.write(tools)
    except _GiveUp as end:
        return end.kind, end.payload
    except MemoryError:
        return answers.SHORT, b"there was not enough memory to save"
    except BaseException as error:  # noqa: BLE001 - the process ends in any case; this is how it is told
        return answers.FAILED, f"{type(error).__name__}: {error}".encode(errors="replace")


# -- tools ---------------------------------------------------------------------------------------------


def _tools(channel: Channel, copies: Copies) -> Tools:
    mappings = Mappings.read()
    pages = Pages(mappings)
    watch = _Memory()

    def progress(name: str, bytes_done: int) -> None:
        channel.board.report(name, bytes_done)
        watch.look()

    def claim(buffers: list[memoryview]) -> None:
        missing = [part for buffer in buffers for part in _not_in_picture(buffer, mappings, copies)]
        if missing:
            raise _needs_copy(missing)
        pages.claim(buffers)

    def substitute(memory: memoryview) -> memoryview:
        start, end = range_of(memory)
        if not mappings.unfrozen(start, end):
            return memory
        copy = copies.substitute(memory)
        if copy is None:
            raise _needs_copy([(start, end)])
        return copy

    stall: list[float] = []

    def stall_seconds() -> float:
        if not stall:
            stall.append(channel.hear_stall() or 0.0)
        return stall[0]

    return Tools(
        substitute=substitute,
        progress=progress,
        stall_seconds=stall_seconds,
        release=pages.release,
        claim=claim,
        unfrozen_bytes=lambda memory: sum(end - start for start, end in mappings.unfrozen(*range_of(memory))),
        copy_limit_bytes=COPY_LIMIT_BYTES,
        looking=channel.board.looking,
        apart=make_texts,
        threads=THREADS,
    )


def _not_in_picture(buffer: memoryview, mappings: Mappings, copies: Copies) -> list[Range]:
    start, end = range_of(buffer)
    if not mappings.unfrozen(start, end) or copies.substitute(buffer) is not None:
        return []
    return [(start, end)]


def _needs_copy(missing: list[Range]) -> _GiveUp:
    return _GiveUp(answers.NEEDS_COPY, json.dumps(merge(missing)).encode())


class _Memory:
    """Gives up before the machine has to kill somebody."""

    def __init__(self) -> None:
        self._looked = -LOOK_AT_MEMORY_SECONDS
        self._whole_group = kills_whole_group()
        if self._whole_group:
            _bound_growth()

    def look(self) -> None:
        now = SYSTEM_CLOCK.monotonic()
        if now - self._looked < LOOK_AT_MEMORY_SECONDS:
            return
        self._looked = now
        room = read_room()
        if room is not None and room.available < floor_bytes(room.limit) + self._for_others():
            free = room.available // MiB
            raise _GiveUp(answers.SHORT, f"memory became short while saving: {free} MiB are free".encode())

    def _for_others(self) -> int:
        if not self._whole_group:
            return 0
        return group_floor_bytes(read_status().get("VmRSS", 0) * 1024)


def _bound_growth() -> None:
    """Have the system refuse what this process must not take, between two looks as well.

    Pages that are shared now are not counted by this limit; room for all of them is left, because whoever
    writes to one first needs another. An object that asks for more costs itself alone.
    """
    import resource  # not on every platform; this process lives on Linux only

    room, status = read_room(), read_status()
    if room is None:
        return
    growth = room.available - status.get("VmRSS", 0) * 1024 - LEAST_FLOOR_BYTES
    limit = status.get("VmData", 0) * 1024 + max(growth, LEAST_GROWTH_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):  # there is a lower one already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def floor_bytes(limit: int) -> int:
    """Say how much memory the child leaves to others.

    1 % of the limit, which on a whole machine leaves some cache to those who run, and in a small container
    next to nothing: the child is killed first there, and the picture in hand may be the last.

    >>> [floor_bytes(limit << 20) >> 20 for limit in (100, 1000, 10_000, 100_000)]
    [4, 10, 100, 256]
    """
    return min(max(limit // 100, LEAST_FLOOR_BYTES), MOST_FLOOR_BYTES)


def group_floor_bytes(shared: int) -> int:
    """Say how much more it leaves where a kill takes everybody: what is used until it looks again.

    Args:
        shared: Bytes that the user's process may have to make its own.

    >>> [group_floor_bytes(shared << 20) >> 20 for shared in (10, 10_000)]
    [74, 264]
    """
    return GROUP_FLOOR_BYTES + min(shared, int(LOOK_AT_MEMORY_SECONDS * _REWRITTEN_BYTES_PER_SECOND))


# -- leaving everything behind -------------------------------------------------------------------------


def _settle(channel: Channel, descriptors: Collection[int]) -> None:
    gc.disable()
    _offer_itself()
    _leave_signals()
    _leave_descriptors({channel.answer_out, channel.stall_in, *DirtyPages.descriptors()}, descriptors)
    _leave_hooks()
    gc.freeze()
    _step_back()
    _use_one_thread()


def _leave_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # A pipe whose reader is gone is an error to handle, not a reason to die.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _leave_descriptors(ours: set[int], held: Collection[int]) -> None:
    # At once: the user's own reader of a pipe must see its end when the user closes it.
    edges = [2, *sorted(ours), os.sysconf("SC_OPEN_MAX")]
    for before, after in pairwise(edges):
        os.closerange(before + 1, after)
    nothing = os.open(os.devnull, os.O_RDWR)
    # What is opened later must not pass for a file of the user's by its number.
    for number in {0, 1, 2, *held} - ours:
        os.dup2(nothing, number)
    if nothing > 2 and nothing not in held:
        os.close(nothing)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        _kept.append((getattr(sys, name), getattr(sys, f"__{name}__")))
        silent = io.StringIO() if mode == "r" else _Silence()
        setattr(sys, name, silent)
        setattr(sys, f"__{name}__", silent)


class _Silence(io.TextIOBase):
    """What a user's ``__reduce__`` prints goes nowhere."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def _leave_hooks() -> None:
    sys.settrace(None)
    sys.setprofile(None)
    _leave_monitoring()
    sys.unraisablehook = _ignore
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if (logging := sys.modules.get("logging")) is not None:
        logging.disable(sys.maxsize)


def _ignore(_unraisable: object) -> None:
    """There is nobody to tell."""


def _leave_monitoring() -> None:
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is None:
        return
    for tool in range(6):
        if monitoring.get_tool(tool) is not None:
            for event in range(20):  # more than any version has; callbacks gone, nothing of the tool can run
                with suppress(ValueError):
                    monitoring.register_callback(tool, 1 << event, None)


def _offer_itself() -> None:
    """Be the first to be killed; at once, for until then the kernel would take the user's process as well."""
    with suppress(OSError):  # not allowed in some sandboxes; kills_whole_group() has told so
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, _FIRST_TO_BE_KILLED)
        os.close(descriptor)


def _step_back() -> None:
    """Leave processor and disk to the user first."""
    with suppress(OSError):
        os.nice(_LOWEST_PRIORITY)
    numbers = {"x86_64": 251, "aarch64": 30}
    number = numbers.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None).syscall(number, 1, 0, _IO_PRIORITY_IDLE)


def _use_one_thread() -> None:
    """Keep a parallel region from waiting for threads that were not copied (libgomp: GCC bug 52303)."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as table:
        files = {line.split(None, 5)[5].strip() for line in table if "omp" in line and "/" in line}
    for path in files:
        if any(part in os.path.basename(path) for part in ("libgomp", "libomp", "libiomp")):
            with suppress(OSError, AttributeError):
                openmp = ctypes.CDLL(path)
                openmp.omp_set_num_threads(1)
                openmp.omp_set_max_active_levels(0)  # also where a library says itself how many it wants
    torch = sys.modules.get("torch")
    if (set_threads := getattr(torch, "set_num_threads", None)) is not None:
        set_threads(1)
