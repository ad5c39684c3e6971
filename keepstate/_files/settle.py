"""Whether a file is finished: nobody has it open for writing, and it has been quiet for a while.

A file that is taken in the middle of being written is worse than none: it comes back as a checkpoint that
cannot be loaded. Quiet is judged by comparing a file with itself, or where the file system's clock is this
machine's, by the age of its last change. A file that is open for appending is a log: whole at every moment,
up to its end.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base.mounts import file_system, is_elsewhere
from keepstate._base.word import Word
from keepstate._files.scan import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keepstate._base.clock import Clock

SETTLED_SECONDS = 2.0
"""Libraries write a file in one go, with pauses far below a second; FAT keeps times in steps of 2 s."""
BEING_WRITTEN = "it is being written"
_NANOSECONDS = 1e9


@dataclass(slots=True)
class Settled:
    """What became of files that are new or changed; one that has gone meanwhile is in none of these."""

    ready: dict[str, Seen] = field(default_factory=dict)
    """To be read now."""
    logs: set[str] = field(default_factory=set)
    """Those of them that are open for appending and may grow meanwhile."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Path → why it is not read now."""


def settle(top: str, changed: Mapping[str, Seen], *, owner: int, patient: bool, clock: Clock) -> Settled:
    """Tell finished files from others; waits :data:`SETTLED_SECONDS` at most, and only if that may help.

    Args:
        top: The folder.
        changed: Path from there → how it was seen just now.
        owner: Process id of the kernel; its memory maps count as well.
        patient: Whether to wait for files that have changed just now. Otherwise those that nobody on this
            machine has open are taken as they are: an end is near, and most are written in one go.
        clock: For the wait, and the date.
    """
    settled = Settled()
    if not changed:
        return settled
    held, gone = open_for_writing(top, owner=owner), set[str]()
    restless = _restless(top, {path: seen for path, seen in changed.items() if path not in held}, clock)
    if not patient and not is_elsewhere(file_system(top)):
        restless = {}
    if restless and patient:
        clock.wait(Word(), SETTLED_SECONDS)
        held = open_for_writing(top, owner=owner)
        now = {path: look(top, path) for path in restless}
        gone = {path for path, seen in now.items() if seen is None}
        restless = {path: seen for path, seen in restless.items() if now[path] != seen}
    for path, seen in changed.items():
        if path in gone:
            continue
        if held.get(path):
            settled.ready[path] = seen
            settled.logs.add(path)
        elif path in held:
            settled.waiting[path] = "it is open for writing"
        elif path in restless:
            settled.waiting[path] = BEING_WRITTEN
        else:
            settled.ready[path] = seen
    return settled


def _restless(top: str, files: Mapping[str, Seen], clock: Clock) -> dict[str, Seen]:
    """Files of which one look does not tell that they are quiet."""
    if is_elsewhere(file_system(top)):
        return dict(files)
    now = clock.utc_now().timestamp() * _NANOSECONDS
    quiet_until = now - SETTLED_SECONDS * _NANOSECONDS
    return {path: seen for path, seen in files.items() if max(seen.mtime_ns, seen.ctime_ns) > quiet_until}


def look(top: str, path: str) -> Seen | None:
    """See how a file is now; ``None`` if it is not there, or is no plain file."""
    try:
        found = os.lstat(os.path.join(top, path))
    except OSError:
        return None
    return Seen.of(found) if stat.S_ISREG(found.st_mode) else None


def open_for_writing(top: str, *, owner: int) -> dict[str, bool]:
    """Find the files below *top* that some process writes to: path from there → whether it only appends.

    Sees the processes that this user may look at: the kernel, and what a notebook or a terminal has started.
    """
    held: dict[str, bool] = {}
    with suppress(OSError):  # no such table on this system: then only quiet tells
        for process in filter(str.isdecimal, os.listdir("/proc")):
            for path, appends in _descriptors(process, top + os.sep):
                held[path] = held.get(path, True) and appends
        for path in _maps(owner, top + os.sep):
            held[path] = False
    return held


def _descriptors(process: str, prefix: str) -> Iterator[tuple[str, bool]]:
    try:
        numbers = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return  # gone, or somebody else's
    for number in numbers:
        with suppress(OSError, ValueError, StopIteration):
            target = os.readlink(f"/proc/{process}/fd/{number}")
            if not target.startswith(prefix):
                continue
            with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii") as table:
                flags = int(next(line for line in table if line.startswith("flags:")).split()[1], 8)
            if flags & os.O_ACCMODE != os.O_RDONLY:
                yield target.removeprefix(prefix), bool(flags & os.O_APPEND)


def _maps(owner: int, prefix: str) -> Iterator[str]:
    """Files that the kernel may write to through its memory, without a descriptor."""
    try:
        with open(f"/proc/{owner}/maps", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                fields = line.rstrip("\n").split(None, 5)
                if (
                    len(fields) == 6
                    and fields[1][1] == "w"
                    and fields[1][3] == "s"
                    and fields[5].startswith(prefix)
                ):
                    yield fields[5].removeprefix(prefix)
    except OSError:
        return
