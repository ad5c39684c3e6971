"""How much memory is free for this process: the machine's, and what its control group still allows.

Source: kernel ``Documentation/admin-guide/cgroup-v2.rst`` and ``cgroup-v1/memory.rst``. File pages count
as free unless a program has them mapped, because the kernel takes them back before it kills anything: after a
save, what was written and read again is most of them. A group is bounded by every group that it is in, so all
of them are read.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from keepstate._capture import kept_gil

MiB = 1 << 20
_GROUPS = "/sys/fs/cgroup"
_NO_LIMIT = 1 << 60
_ORDER_OF_KILLS = "/proc/self/oom_score_adj"


class Memory(NamedTuple):
    """What of this process and of the machine decides whether a fork may be tried; sizes in bytes."""

    page_tables: int
    resident: int
    available: int | None
    """What can be used before somebody is killed; ``None`` if the system does not tell."""
    whole_group: bool
    """Whether one kill may take this process along with its child."""


class Room(NamedTuple):
    """Bytes."""

    available: int
    """What can still be used before somebody is killed."""
    limit: int
    """Of the machine or the control group, whichever is less."""


def read_memory() -> Memory:
    """Read all of it; takes 0.2 ms, and 0.5 ms after a while of other work (measured beside a kernel)."""
    status, room = read_status(), read_room()
    return Memory(
        page_tables=status.get("VmPTE", 0) * 1024,
        resident=status.get("VmRSS", 0) * 1024,
        available=None if room is None else room.available,
        whole_group=kills_whole_group(),
    )


def read_room() -> Room | None:
    """Read both; ``None`` where the system does not tell (not Linux)."""
    machine = _fields("/proc/meminfo")
    if "MemAvailable" not in machine:
        return None
    room = Room(machine["MemAvailable"] * 1024, machine["MemTotal"] * 1024)
    for group in _group_folders():
        if (allowed := _room_in(group)) is not None:
            room = Room(min(room.available, allowed.available), min(room.limit, allowed.limit))
    return room


def kills_whole_group() -> bool:
    """Whether one out-of-memory kill may take this process along with its child.

    That is so where one kill takes every process of the container (``memory.oom.group``), and where the child
    cannot offer itself to be killed first.
    """
    if sys.platform != "linux":
        return False
    if kept_gil.libc().access(os.fsencode(_ORDER_OF_KILLS), os.W_OK) != 0:
        return True
    return any(_number(f"{group}/memory.oom.group") == 1 for group in _group_folders())


def read_status(process: str = "self") -> dict[str, int]:
    """Read the numbers of ``/proc/<process>/status``; sizes are in KiB. Empty where there is none."""
    return _fields(f"/proc/{process}/status")


def _group_folders() -> list[str]:
    folders = [_GROUPS, f"{_GROUPS}/memory"]
    for line in _lines("/proc/self/cgroup"):
        _, controllers, name = line.split(":", 2)
        if not controllers:
            folders += _with_those_above(_GROUPS, name)
        elif "memory" in controllers.split(","):
            folders += _with_those_above(f"{_GROUPS}/memory", name)
    return list(dict.fromkeys(folders))


def _with_those_above(root: str, name: str) -> list[str]:
    parts = [part for part in name.split("/") if part]
    return ["/".join([root, *parts[:count]]) for count in range(1, len(parts) + 1)]


def _room_in(group: str) -> Room | None:
    for limit_file, usage_file in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, usage = _number(f"{group}/{limit_file}"), _number(f"{group}/{usage_file}")
        if limit is not None and usage is not None and limit < _NO_LIMIT:
            statistics = _fields(f"{group}/memory.stat")
            return Room(max(0, limit - usage + _unused_files(statistics)), limit)
    return None


def _unused_files(statistics: dict[str, int]) -> int:
    def number(*names: str) -> int:
        return next((statistics[name] for name in names if name in statistics), 0)

    # Version 1 counts the groups below under a name of its own, version 2 always.
    mapped = number("total_mapped_file", "file_mapped")
    active = number("total_active_file", "active_file")
    return number("total_inactive_file", "inactive_file") + max(0, active - mapped)


def _number(path: str) -> int | None:
    try:
        return int(kept_gil.read_file(path))
    except (OSError, ValueError):
        return None  # absent in this version of control groups, or "max": no limit


def _fields(path: str) -> dict[str, int]:
    words = (line.replace(":", " ").split() for line in _lines(path))
    return {word[0]: int(word[1]) for word in words if len(word) >= 2 and word[1].isdigit()}


def _lines(path: str) -> list[str]:
    if sys.platform != "linux":
        return []
    try:
        return kept_gil.read_file(path).decode(errors="replace").splitlines()
    except OSError:
        return []  # not mounted in this sandbox
