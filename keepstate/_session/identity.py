"""Whose state this is: project, member and notebook, from the call or from the host, never by a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from keepstate.errors import IdentityError

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._hosts import Host

PROJECT, NOTEBOOK, MEMBER = "default", "notebook", "me"
"""What is used on this machine's own disk when nobody says otherwise; the same on every machine."""

_SHARED = ("fuse", "nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "davfs", "sshfs")
"""Beginnings of the file system types that more than one machine may see (``/proc/mounts``)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The three names under which a session's snapshots are found again."""

    project: str
    member: str
    notebook: str

    def __str__(self) -> str:
        return f"project {self.project!r}, notebook {self.notebook!r}, member {self.member!r}"


def identify(
    *, project: str | None, member: str | None, notebook: str | None, host: Host, shared: bool
) -> Identity:
    """Settle the identity of a session.

    Args:
        project: As given in the call; ``None`` leaves it to the host.
        member: Likewise.
        notebook: Likewise.
        host: What the host says of itself.
        shared: Whether other people or machines may write to the same store.

    Raises:
        IdentityError: The store is shared and something is neither given nor named by the host. Two people
            with the same constant would restore each other's state.
    """
    known = {
        "project": project,
        "member": member or host.member,
        "notebook": notebook or host.notebook,
    }
    missing = [what for what, name in known.items() if not name]
    if shared and missing:
        example = ", ".join(f"{what}='…'" for what in missing)
        raise IdentityError(
            f"the store may be shared with others, and nobody says the {' and the '.join(missing)}: "
            f"call keepstate.start({example}) so that nobody restores somebody else's state"
        )
    return Identity(known["project"] or PROJECT, known["member"] or MEMBER, known["notebook"] or NOTEBOOK)


def is_shared(path: Path) -> bool:
    """Tell whether *path* lies on a file system that other machines may see, by its mount alone."""
    best, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        if len(mount.mountpoint) > len(best) and path.is_relative_to(mount.mountpoint):
            best, kind = mount.mountpoint, mount.fstype
    return kind.startswith(_SHARED)
