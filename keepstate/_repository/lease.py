"""Who is writing or pruning right now: one small file for each, announced before the index is read.

A lease protects nothing by itself; prune waits for those that were there when it condemned packs. On the
machine that wrote it, whether its process still lives is checked exactly; elsewhere it counts until it is
two hours old. Knows processes and clocks, not packs. Source: the locks of restic, made advisory.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import psutil

from keepstate._base.disk import FULL, Disk, make_directories, translating

if TYPE_CHECKING:
    from keepstate._base.clock import Clock
    from keepstate._repository.layout import MemberFolder

LIMIT_SECONDS = 2 * 3600.0
"""Age at which a lease of another machine no longer counts."""
HOLD_SECONDS = 3600.0
"""Age at which its own holder gives up; the difference is room for clocks that do not agree."""
_SUFFIX = ".lease"
_NAME = re.compile(r"([0-9a-f]{32})\.(write|prune)\.lease")
_LIMIT_BYTES = 1 << 16

UNKNOWN = "?"
"""Stands for the start of a process that is there, but belongs to somebody else and shows nothing."""

Purpose = Literal["write", "prune"]


class Place(msgspec.Struct, frozen=True):
    """A set of processes whose ids can be compared."""

    host: str
    boot: str
    """Boot id of the kernel; empty where it is not known."""
    pid_space: str
    """Namespace of process ids: containers on one machine share the boot id."""


class Lease(msgspec.Struct, frozen=True):
    """What a holder says of itself."""

    id: str
    purpose: Purpose
    place: Place
    pid: int
    process_started: str
    began_at: str
    """ISO 8601, UTC."""
    project: str = ""
    notebook: str = ""
    lineage: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it is found."""

    id: str
    purpose: Purpose
    path: Path
    lease: Lease | None
    """``None``: written so recently, or so badly, that it cannot be read; its name says the rest."""
    is_alive: bool


def take_lease(
    disk: Disk,
    folder: MemberFolder,
    *,
    purpose: Purpose,
    clock: Clock,
    project: str = "",
    notebook: str = "",
    lineage: str = "",
) -> Lease:
    """Announce the calling process.

    Raises:
        StoreError: The store does not take it.
    """
    lease = Lease(
        id=os.urandom(16).hex(),
        purpose=purpose,
        place=here(),
        pid=os.getpid(),
        process_started=process_started(os.getpid()) or UNKNOWN,
        began_at=clock.utc_now().isoformat(),
        project=project,
        notebook=notebook,
        lineage=lineage,
    )
    path = _path(folder, lease)
    with translating(path):
        for needed in (folder.leases, folder.temporary):
            make_directories(disk, needed)
        try:
            _write(disk, path, lease)
        except OSError as error:
            # On a full disk the name alone must do for prune, which is what frees space.
            if purpose != "prune" or error.errno not in FULL:
                disk.remove(path)
                raise
    return lease


def _write(disk: Disk, path: Path, lease: Lease) -> None:
    # Not synced: a power cut ends the holder as well.
    descriptor = disk.create(path)
    try:
        disk.write(descriptor, msgspec.json.encode(lease))
    finally:
        disk.close(descriptor)


def _path(folder: MemberFolder, lease: Lease) -> Path:
    return folder.leases / f"{lease.id}.{lease.purpose}{_SUFFIX}"


def drop_lease(disk: Disk, folder: MemberFolder, lease: Lease) -> bool:
    """Take the announcement back; ``False`` where it cannot be seen, as when the drive is gone with it.

    Raises:
        StoreError: The store does not let it go.
    """
    path = _path(folder, lease)
    with translating(path):
        disk.remove(path)
        return disk.is_directory(path.parent)


def leases(disk: Disk, folder: MemberFolder, *, clock: Clock, limit_seconds: float) -> list[Held]:
    """All leases of a member, alive or not."""
    found = []
    for entry in disk.entries(folder.leases):
        named = _NAME.fullmatch(entry.name)
        if named is None:
            continue
        path = folder.leases / entry.name
        try:
            lease = _decode(disk.read(path, limit_bytes=_LIMIT_BYTES), named[1])
        except FileNotFoundError:
            continue  # dropped since the listing
        age = _age(lease, entry.modified, clock)
        alive = age < limit_seconds
        if lease is not None:
            alive = is_alive(lease, age=age, limit_seconds=limit_seconds)
        purpose: Purpose = "prune" if named[2] == "prune" else "write"
        found.append(Held(named[1], purpose, path, lease, alive))
    return found


def _decode(raw: bytes, own_id: str) -> Lease | None:
    try:
        lease = msgspec.json.decode(raw, type=Lease)
    except msgspec.MsgspecError:
        return None  # being written, or torn by a power cut: counts by its age
    return lease if own_id == lease.id else None


def _age(lease: Lease | None, modified: float, clock: Clock) -> float:
    """Seconds since the lease was taken, the smaller of what it says and what its file says."""
    now = clock.utc_now()
    age = now.timestamp() - modified
    if lease is not None:
        try:
            age = min(age, (now - datetime.fromisoformat(lease.began_at)).total_seconds())
        except (ValueError, TypeError):
            return age  # not a time: the file's is enough
    return age


def is_alive(lease: Lease, *, age: float, limit_seconds: float) -> bool:
    """Say whether the holder of a lease may still commit."""
    if lease.place.boot and lease.place == here():
        started = process_started(lease.pid)
        if started != UNKNOWN:
            return started == lease.process_started
    return age < limit_seconds


def here() -> Place:
    """The place of the calling process."""
    return Place(host=platform.node(), boot=_boot_id(), pid_space=_pid_space())


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(int(psutil.boot_time()))


def _pid_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""  # not Linux: there are no such namespaces


def process_started(pid: int) -> str | None:
    """When the process of this id began, in a form to be compared; ``None`` if it is not alive."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        if not Path("/proc/self/stat").exists():
            return _process_started_elsewhere(pid)
        return UNKNOWN if psutil.pid_exists(pid) else None  # /proc may hide what other users run
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]  # in clock ticks since boot


def _process_started_elsewhere(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return UNKNOWN
