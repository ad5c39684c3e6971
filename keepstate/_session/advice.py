"""What a user should know at the first start on a host: what is kept where, what that survives, what to do.

Three lines, and none where the state outlives the machine. What it needs to know is found without a risk for
the kernel: from the mount table and not from the mount, from the network within a second.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING

from keepstate._base.mounts import file_system
from keepstate._base.word import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keepstate._hosts import Host
    from keepstate.backends import Address

DRIVE_POINTS = ("/content/drive", "/content/gdrive")
"""Where Colab's examples mount Drive, the present one first."""
_DRIVE = "fuse.drive"
"""The type that Colab's Drive has in the mount table."""

LOOK_UP_SECONDS = 1.0
"""A resolver that answers does so in milliseconds; ``start()`` waits no longer for one that does not."""
_A_NAME = "pypi.org"
"""Of a place that is found wherever pip works."""

_FAR = "hf://buckets/owner/name"
"""The far store that is named: free, without a browser, from everywhere."""
_WORKING = "/kaggle/working"
"""The one folder of a session that Kaggle may keep."""
_RESTART = "That survives a restart of the kernel, not the end of the machine."


def looks_mounted_drive(path: str | os.PathLike[str]) -> bool:
    """Say whether *path* lies on Colab's mounted Drive, by the mount table alone: a dead mount would hang."""
    return file_system(os.path.abspath(path)) == _DRIVE


def mounted_drive() -> str | None:
    """Give the folder of the user's own files on Colab's mounted Drive; ``None``: it is not mounted."""
    return next((f"{point}/MyDrive" for point in DRIVE_POINTS if looks_mounted_drive(point)), None)


def has_internet(
    host: Host,
    *,
    seconds: float = LOOK_UP_SECONDS,
    look_up: Callable[[str, int], object] = socket.getaddrinfo,
) -> bool | None:
    """Say whether the internet can be reached; ``None`` where nobody switches it off, or nothing answers.

    Only Kaggle has such a switch, and no variable says how it stands. Where it is off, no name is found.

    Args:
        host: Where this runs.
        seconds: To wait at most, 0 or more.
        look_up: What finds the address of a name and a port, and raises ``OSError`` where there is none.
    """
    if host.name != "kaggle":
        return None
    answers: list[bool] = []
    answered = Word()

    def ask() -> None:
        try:
            look_up(_A_NAME, 443)
            answers.append(True)
        except OSError:
            answers.append(False)
        finally:
            answered.say()

    threading.Thread(target=ask, name="keepstate-internet", daemon=True).start()
    answered.wait(seconds)
    return answers[0] if answers else None


def first_run_help(
    host: Host,
    *,
    store: Address,
    shared: bool,
    near: str | None = None,
    drive: str | None = None,
    given: Mapping[str, str | None] | None = None,
    internet: bool | None = None,
) -> str | None:
    """Say it in three lines; ``None``: what is kept outlives the machine, or nothing better is known.

    Args:
        host: Where this runs.
        store: Where the state shall end up.
        shared: Whether that is a mounted folder, which is not this machine's own.
        near: The folder of this machine that is filled first, where *store* is a far one.
        drive: What :func:`mounted_drive` says.
        given: ``project``, ``member`` and ``notebook``, each if the call, the settings or the host names it.
        internet: What :func:`has_internet` says.
    """
    if not store.is_folder:
        return _unreachable(host, store, near) if internet is False else None
    if shared:
        return None
    names = _names(given or {})
    match host.name:
        case "colab":
            lines = _colab(drive, names)
        case "kaggle":
            lines = _kaggle(host, store, internet, names)
        case "binder":
            lines = ("Nothing on mybinder.org outlives the session.", f"To outlive it: {_call(_FAR, names)}")
        case "colab-enterprise":
            lines = (
                "That survives a restart, not the runtime: by default it is deleted after 18 hours.",
                f"To outlive it: {_call('gs://bucket/keepstate', names)}",
            )
        case "databricks" if not _is_within(store.folder, "/Workspace", "/Volumes"):
            lines = (
                _RESTART,
                "To outlive it: keepstate.start(store=…) with a folder in /Volumes or /Workspace",
            )
        case "deepnote" if not _is_within(store.folder, "/work"):
            lines = (_RESTART, "To outlive it: keepstate.start(store='/work/keepstate')")
        case _:
            return None
    where = "" if _is_within(store.folder, _WORKING) else ", on this machine's disk"
    return "\n".join([f"keepstate: what you track is kept in {store}{where}.", *lines])


def _names(given: Mapping[str, str | None]) -> str:
    """What a call must say beside the store, since others may use that, too."""
    return "".join(f", {name}='…'" for name in ("project", "member", "notebook") if not given.get(name))


def _call(store: str, names: str) -> str:
    return f"keepstate.start(store='{store}'{names})"


def _is_within(folder: str, *tops: str) -> bool:
    return any(PurePath(folder).is_relative_to(top) for top in tops)


def _colab(drive: str | None, names: str) -> tuple[str, str]:
    if drive is not None:
        return _RESTART, f"To keep it on Drive: {_call(f'{drive}/keepstate', names)}"
    mount = "from google.colab import drive; drive.mount('/content/drive')"
    return _RESTART, f"To outlive it, mount Drive and start again: {mount}"


def _kaggle(host: Host, store: Address, internet: bool | None, names: str) -> tuple[str, str]:
    if not _is_within(store.folder, _WORKING):
        return _RESTART, f"To let Kaggle keep it: keepstate.start(store='{_WORKING}/keepstate')"
    if host.profile.variant == "batch":
        stays = (
            "That becomes the output of this version, if the run comes to its end; the next begins without."
        )
        offline = f"To go on from it, add that output as input, and copy it to {_WORKING} before start()."
    else:
        stays = (
            "That is kept if Persistence is on: Settings, Persistence, Files only (or Variables and Files)."
        )
        offline = "No other place can be reached, since the internet is switched off (Settings)."
    return stays, offline if internet is False else f"Kept in any case: {_call(_FAR, names)}"


def _unreachable(host: Host, store: Address, near: str | None) -> str:
    lines = [f"keepstate: {store} cannot be reached, since the internet is switched off (Settings)."]
    if near is not None:
        stays = _is_within(near, _WORKING) and host.profile.variant != "batch"
        kept = "is kept if Persistence is on" if stays else "ends with the session"
        lines.append(f"What you track is kept in {near}, which {kept}, and sent on once there is a way.")
    return "\n".join(lines)
