"""Which packs are about to be deleted: one small file for each round of prune.

A writer that finds a pack named here treats its chunks as absent. Knows nothing of why a pack was condemned.
The protocol is in FORMAT.md §8.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.disk import Disk, make_directories, write_durably
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._repository.layout import MemberFolder

_SUFFIX = ".json"
_LIMIT_BYTES = 64 << 20


class Round(msgspec.Struct, frozen=True):
    """Packs that one run of prune condemned."""

    id: str
    packs: list[str]
    condemned_at: str
    """ISO 8601, UTC."""
    waits_for: list[str] | None = None
    """Leases that were there just after the condemnation was published; ``None``: not known yet."""


def read_rounds(disk: Disk, folder: MemberFolder) -> list[Round]:
    """All rounds that are open.

    Raises:
        IntegrityError: One is damaged; it would not be safe to go on as if it were not there.
    """
    rounds = []
    for entry in disk.entries(folder.condemned):
        if not entry.name.endswith(_SUFFIX):
            continue
        path = folder.condemned / entry.name
        try:
            raw = disk.read(path, limit_bytes=_LIMIT_BYTES)
        except FileNotFoundError:
            continue  # prune has closed this round since the listing
        rounds.append(_decode(raw, path))
    return rounds


def _decode(raw: bytes, path: Path) -> Round:
    try:
        found = msgspec.json.decode(raw, type=Round)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the list of condemned packs {path} is damaged: remove it") from error
    if path.name != found.id + _SUFFIX:
        raise IntegrityError(f"the list of condemned packs {path} has another name: remove it")
    return found


def age_seconds(found: Round, now: datetime) -> float:
    """Say how long ago a round was published, by the wall clock.

    Raises:
        IntegrityError: Its date is damaged.
    """
    try:
        return (now - datetime.fromisoformat(found.condemned_at)).total_seconds()
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"the list of condemned packs {found.id} is damaged: remove it") from error


def write_round(disk: Disk, folder: MemberFolder, found: Round, *, temporary: Path) -> None:
    """Publish a round, or what has become known of it since."""
    make_directories(disk, folder.condemned)
    path = folder.condemned / (found.id + _SUFFIX)
    write_durably(disk, path, [msgspec.json.encode(found)], temporary=temporary)


def remove_round(disk: Disk, folder: MemberFolder, found: Round) -> None:
    """Close a round whose packs are all deleted or rescued."""
    disk.remove(folder.condemned / (found.id + _SUFFIX))
    disk.sync_directory(folder.condemned)
