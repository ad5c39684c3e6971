"""Where on this machine the repository of a far store is kept: on its own disk, in a folder of this user's.

It survives the kernel, and need not survive the machine: that is what the far side is for. Restoring runs
code from it, so nobody else may have written there.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from keepstate._session.identity import is_shared
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from keepstate.backends import Address

VARIABLE = "KEEPSTATE_LOCAL"
"""Names the folder in which repositories of far stores are kept here."""


def near_folder(address: Address) -> Path:
    """Give the folder of the repository for a far store, made if it is not there, for this user alone.

    Raises:
        StoreError: It cannot be made, or belongs to somebody else.
    """
    folder = _folder(address)
    try:
        # Each by itself: folders that are made on the way take no mode, and may be open to a group.
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        _must_be_safe(folder)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"the state cannot be kept on this machine first, at {folder}: {error.strerror or error}; "
            f"name another folder in {VARIABLE}"
        ) from error
    return folder


def known_near_folder(address: Address) -> Path | None:
    """Give that folder if it is there and this user's; nothing is made."""
    folder = _folder(address)
    try:
        _must_be_safe(folder)
    except OSError:
        return None
    return folder if folder.is_dir() else None


def _folder(address: Address) -> Path:
    return _top() / f"{_readable(address)}-{blake3(str(address).encode()).hexdigest()[:16]}"


def _top() -> Path:
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().resolve()  # whoever names a link means where it leads
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        if not is_shared(state):
            return state / "keepstate" / "near"
    except RuntimeError:
        pass  # this user has no home folder
    # A home folder on a network is no disk of this machine.
    owner = os.getuid() if hasattr(os, "getuid") else 0
    return Path(tempfile.gettempdir()) / f"keepstate-{owner}"


def _must_be_safe(folder: Path) -> None:
    """Refuse a folder in which somebody else may have put files, or may take the place of this one."""
    if not hasattr(os, "getuid"):
        return
    inside, around = os.lstat(folder), os.lstat(folder.parent)
    # In a folder of the system with the sticky bit, like /tmp, others may add names and not take ours.
    is_everybodys = around.st_uid == 0 and around.st_mode & stat.S_ISVTX
    for found in (inside,) if is_everybodys else (around, inside):
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise StoreError(
                f"{folder} belongs to another user, or others may write to it: restoring from it would run "
                f"their code; remove it, or name another folder in {VARIABLE}"
            )


def _readable(address: Address) -> str:
    said = f"{address.scheme}-{address.container}-{address.folder}".lower()
    return re.sub(r"[^a-z0-9]+", "-", said).strip("-")[:40].strip("-")
