"""Which file system a folder is on: whether its clock is this machine's, and whether events come from it."""

from __future__ import annotations

import os

ELSEWHERE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "ceph",
        "lustre",
        "afs",
        "beegfs",
        "vboxsf",
        "drvfs",
    }
)
"""File systems whose files another machine may change: no event comes then, and their clock is not ours."""
OWN_DISK = frozenset({"ext4", "xfs", "overlay"})
"""File systems of a disk of this machine that take bytes past the system's memory, or say if they do not."""
_TABLE = "/proc/self/mountinfo"


def file_system(path: str) -> str:
    """Give the type of the file system that holds *path*, or its folder; empty where it is not known."""
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as table:
            lines = table.readlines()
    except OSError:
        return ""  # not Linux
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        try:
            point, of = _plain(fields[4]), fields[fields.index("-") + 1]
        except (IndexError, ValueError):
            continue
        inside = point == "/" or path == point or path.startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind = point, of
    return kind


def is_elsewhere(kind: str) -> bool:
    """Say whether files of this type of file system may be another machine's.

    >>> is_elsewhere("ext4"), is_elsewhere("fuse.rclone"), is_elsewhere("nfs4"), is_elsewhere("fuseblk")
    (False, True, True, False)
    """
    # fuseblk is a disk of this machine; any other file system in user space may be anything, as Drive's is.
    return kind in ELSEWHERE or kind == "fuse" or kind.startswith("fuse.")


def is_mounted_elsewhere(path: os.PathLike[str]) -> bool:
    """Say whether *path* is, by the table of mounts alone, where another machine may write."""
    return is_elsewhere(file_system(os.fspath(path)))


def is_on_own_disk(path: os.PathLike[str]) -> bool:
    """Say whether *path*, all links followed, is surely on a disk of this machine: not in memory or afar."""
    return file_system(os.path.realpath(path)) in OWN_DISK


def _plain(text: str) -> str:
    """Undo the octal escapes of the table."""
    return os.fsdecode(
        os.fsencode(text)
        .replace(b"\\040", b" ")
        .replace(b"\\011", b"\t")
        .replace(b"\\012", b"\n")
        .replace(b"\\134", b"\\")
    )
