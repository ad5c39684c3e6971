"""Whose state this is: project, member and notebook, from the call or from the host, never by a guess."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._base.mounts import is_mounted_elsewhere
from keepstate._model.manifest import RESULTS
from keepstate.errors import IdentityError

if TYPE_CHECKING:
    from keepstate._hosts import Host

PROJECT, NOTEBOOK, MEMBER = "default", "notebook", "me"
"""What is used on this machine's own disk when nobody says otherwise; the same on every machine."""


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
            with the same constant would restore each other's state. Or a name is one that is not to be had.
    """
    known = {
        "project": project,
        "member": member or host.member,
        "notebook": notebook or host.notebook,
    }
    if known["notebook"] == RESULTS:
        raise IdentityError(
            f"{RESULTS} is where results of functions are kept: give the notebook another name"
        )
    missing = [what for what, name in known.items() if not name]
    if shared and missing:
        example = ", ".join(f"{what}='…'" for what in missing)
        raise IdentityError(
            f"the store may be shared with others, and nobody says the {' and the '.join(missing)}: "
            f"call keepstate.start({example}) so that nobody restores somebody else's state"
        )
    return Identity(known["project"] or PROJECT, known["member"] or MEMBER, known["notebook"] or NOTEBOOK)


def is_shared(path: Path) -> bool:
    """Tell whether *path* lies on a file system that other machines may see, by its mount alone.

    The table of mounts is read; the path itself is touched only if that says nothing, because a drive that
    hangs holds up whoever touches it.
    """
    return is_mounted_elsewhere(path) or is_mounted_elsewhere(Path(os.path.realpath(path)))
