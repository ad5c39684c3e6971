"""The file that makes a folder a store: written first, durably, and never changed.

It names the format, so that a version that does not know it refuses before it reads anything else.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.disk import Disk, make_directories, write_durably
from keepstate._repository.layout import MARKER
from keepstate.errors import AlreadyThereError, FormatError, NotAStoreError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
_TEMPORARY = re.compile(r"keepstate\.json\.[0-9a-f]{16}\.tmp")
_LEFT_BY_SYSTEMS = frozenset({".DS_Store", "desktop.ini", "Thumbs.db", "lost+found", "Icon\r"})
"""Names that an empty folder may have: file systems and desktops put them there."""
_LEFT_BY_US = frozenset({"transfer", ".keepstate=temporary"})
"""What the transfer to a far store, and a backend in a folder, keep beside a store."""


class NoStoreError(StoreError):
    """There could be a store, and is none."""


class Marker(msgspec.Struct, frozen=True):
    """What the file holds, as JSON."""

    format: int
    store: str
    """Random, given once."""


def read_marker(path: Path, disk: Disk) -> Marker | None:
    """Read the marker of the store at *path*; ``None`` where there could be one.

    Raises:
        NotAStoreError: It is a file, or a folder that holds something else.
        FormatError: A newer version has written it.
        OSError: It cannot be read.
    """
    if disk.exists(path) and not disk.is_directory(path):
        raise NotAStoreError(f"{disk.shown(path)} is a file: name a folder")
    try:
        raw = disk.read(path / MARKER, limit_bytes=1 << 16)
    except FileNotFoundError:
        _refuse_foreign(path, disk)
        return None
    try:
        marker = msgspec.json.decode(raw, type=Marker)
    except msgspec.MsgspecError as error:
        raise NotAStoreError(
            f"{disk.shown(path / MARKER)} is not what keepstate writes, or is damaged"
        ) from error
    if marker.format > FORMAT:
        raise FormatError(
            f"the store at {disk.shown(path)} has format {marker.format}, newer than {FORMAT}: upgrade"
        )
    if marker.format < 1:
        raise NotAStoreError(f"{disk.shown(path / MARKER)} names a format that there never was")
    return marker


def _refuse_foreign(path: Path, disk: Disk) -> None:
    names = {entry.name for entry in disk.entries(path)} - _LEFT_BY_SYSTEMS - _LEFT_BY_US
    if foreign := sorted(name for name in names if not _TEMPORARY.fullmatch(name)):
        raise NotAStoreError(
            f"{disk.shown(path)} holds {foreign[0]!r} and no store: name an empty folder, or a new one"
        )


def make_store(path: Path, disk: Disk) -> Marker:
    """Make a store of an empty or missing folder."""
    make_directories(disk, path)
    disk.sync_directory(path.parent)  # whoever made the folder may have ended before it did this
    marker = Marker(FORMAT, os.urandom(16).hex())
    temporary = path / f"{MARKER}.{os.urandom(8).hex()}.tmp"
    try:
        write_durably(disk, path / MARKER, [msgspec.json.encode(marker)], temporary=temporary)
    except AlreadyThereError:
        pass  # somebody else has just made it
    found = read_marker(path, disk)  # of two that make it at once, the later wins
    return marker if found is None else found
