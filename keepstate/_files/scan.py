"""One walk through a folder: which files are there, which are left out and why, what could not be looked at.

Reads no file and follows no link. A folder that cannot be listed is not taken for an empty one.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.table import size as size_text

if TYPE_CHECKING:
    from keepstate._files.folder import Folder

MOST_FILES = 100_000
"""Files of one folder. Their table is 12 MB then, and a walk takes a second; a folder with more holds data,
not results."""
_STORE_MARKS = frozenset({"keepstate.json", "members"})
"""What lies at the top of a store of ours, FORMAT.md §2; a store never goes into a store."""


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What tells one state of a file from another without reading it.

    The change time is in it because, unlike the other one, no program can set it back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    mode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Seen:
        """Pick it from what the system says."""
        return cls(
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_ino,
            found.st_dev,
            stat.S_IMODE(found.st_mode),
        )


@dataclass(slots=True)
class Found:
    """What a walk has found; paths from the top, ``/`` between, the top itself empty."""

    files: dict[str, Seen] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Path → why it is not kept."""
    too_large: dict[str, str] = field(default_factory=dict)
    """Likewise, for files that are only too long."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Folder that could not be listed, or file that could not be looked at → why."""
    is_there: bool = True
    """Whether the folder itself is."""

    def is_unknown(self, path: str) -> bool:
        """Say whether *path* lies where nothing could be seen."""
        return any(not above or path == above or path.startswith(f"{above}/") for above in self.unreadable)


def scan(folder: Folder) -> Found:
    """Walk through *folder*, in the order of names."""
    found = Found()
    waiting = [""]
    device = _device(folder.path)
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(folder.path, below) if below else folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except FileNotFoundError:
            found.is_there = found.is_there and bool(below)
            continue
        except OSError as error:
            found.unreadable[below] = error.strerror or str(error)
            continue
        if _STORE_MARKS.issubset(entry.name for entry in entries):
            continue
        for entry in reversed(entries):
            _look(folder, found, waiting, entry, f"{below}/{entry.name}" if below else entry.name, device)
    return found


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None  # the walk will say why


def _look(
    folder: Folder,
    found: Found,
    waiting: list[str],
    entry: os.DirEntry[str],
    path: str,
    device: int | None,
) -> None:
    try:
        seen = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return  # removed between the listing and the look at it
    except OSError as error:
        found.unreadable[path] = error.strerror or str(error)
        return
    is_folder = stat.S_ISDIR(seen.st_mode)
    if folder.rules.names(path, is_folder=is_folder) or entry.path in folder.apart:
        return
    if is_folder and seen.st_dev != device:
        # All of a drive that is mounted below the working directory, as Colab's is, was not meant.
        found.skipped[path] = "another disk or drive is mounted there: watch it by its own path"
    elif is_folder:
        waiting.append(path)
    elif stat.S_ISLNK(seen.st_mode):
        found.skipped[path] = "it is a link, and links are not followed"
    elif not stat.S_ISREG(seen.st_mode):
        found.skipped[path] = "it is neither a file nor a folder"
    elif seen.st_size > folder.max_bytes:
        found.too_large[path] = (
            f"it is longer than {size_text(folder.max_bytes)}: watch(…, max_bytes=…) allows more"
        )
    elif len(found.files) >= MOST_FILES:
        found.skipped[""] = f"it has more than {MOST_FILES} files, of which only so many are kept"
    else:
        found.files[path] = Seen.of(seen)
