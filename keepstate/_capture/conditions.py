"""What machine, libraries and state are like at this moment, as far as it decides how to capture."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keepstate._capture import kept_gil
from keepstate._capture.memory import read_memory

if TYPE_CHECKING:
    from keepstate._capture.memory import Memory
    from keepstate._model.snapshot import Consistency

CaptureMode = Literal["auto", "fork", "stage"]

_WAIT_CALLS = {"x86_64": ("61", "247"), "aarch64": ("260", "95")}
"""Numbers of ``wait4`` and ``waitid``. Source: ``asm/unistd.h``."""


_OURS = "keepstate-"
"""How the names of our own threads begin, which wait for no child that is not theirs."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Facts for :func:`~keepstate._capture.choice.choose`; sizes in bytes, times in seconds."""

    level: Consistency
    mode: CaptureMode = "auto"
    platform: str = "linux"
    numpy: str | None = None
    """Version, if it is imported."""
    gpu: bool = False
    """Whether a device is in use whose memory a forked process cannot read."""
    waits_for_children: bool = False
    """Whether code of the user's might be handed a process of ours by ``os.wait()``."""
    page_table_bytes: int = 0
    resident_bytes: int = 0
    available_bytes: int | None = None
    """What can be used before somebody is killed; ``None`` if the system does not tell."""
    kills_whole_group: bool = False
    encode_seconds: float | None = None
    """How long encoding took the last time; ``None`` before the first."""
    logical_bytes: int = 0
    """How much was encoded the last time."""


def read_conditions(
    *,
    level: Consistency,
    mode: CaptureMode = "auto",
    encode_seconds: float | None = None,
    logical_bytes: int = 0,
    memory: Memory | None = None,
) -> Conditions:
    """Read them, in well under a millisecond: the main thread may be waiting.

    Args:
        level: What a picture would be of.
        mode: What the user allows.
        encode_seconds: As in :class:`Conditions`.
        logical_bytes: Likewise.
        memory: Read a moment ago, while nobody waited; ``None``: it is read now.
    """
    if memory is None:
        memory = read_memory()
    return Conditions(
        level=level,
        mode=mode,
        platform=sys.platform,
        numpy=getattr(sys.modules.get("numpy"), "__version__", None),
        gpu=_gpu_in_use(),
        waits_for_children=_waits_for_children(level),
        page_table_bytes=memory.page_tables,
        resident_bytes=memory.resident,
        available_bytes=memory.available,
        kills_whole_group=memory.whole_group,
        encode_seconds=encode_seconds,
        logical_bytes=logical_bytes,
    )


def _gpu_in_use() -> bool:
    initialized = getattr(getattr(sys.modules.get("torch"), "cuda", None), "is_initialized", None)
    return bool(initialized is not None and initialized())


def _waits_for_children(level: Consistency) -> bool:
    """Whether a thread is blocked in a wait for any child, or a handler might make one.

    The intermediate process of the fork lives for microseconds, and no Python runs in them; but a thread
    that is in the kernel's wait already would be handed it. A handler for SIGCHLD is put off and spared
    only when the main thread itself forks.
    """
    if sys.platform != "linux":
        return False
    if level == "operation" and callable(signal.getsignal(signal.SIGCHLD)):
        return True
    return any(
        _thread_waits(f"/proc/self/task/{thread.native_id}/syscall")
        for thread in threading.enumerate()
        if thread is not threading.current_thread() and not thread.name.startswith(_OURS)
    )


def _thread_waits(path: str) -> bool:
    try:
        number, *arguments = kept_gil.read_file(path).decode("ascii").split()
    except (OSError, ValueError):
        return False  # the thread has ended, or the system does not tell
    wait4, waitid = _WAIT_CALLS.get(os.uname().machine, ("61", "247"))
    first = int(arguments[0], 16) if arguments else 1
    # wait4: -1 any child, 0 or below -1 a process group. waitid: 0 any child, 2 a process group.
    signed = first & 0xFFFFFFFF
    return (number == wait4 and (signed == 0 or signed >= 1 << 31)) or (number == waitid and first in (0, 2))
