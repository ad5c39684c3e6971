"""Copy needed chunks out of packs that are about to go, as they are stored, into new packs.

Every chunk is checked before it is copied, and the new packs are read back before they get their names.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from keepstate._base.disk import make_directories, sync_upwards, translate
from keepstate._repository import chunk, pack
from keepstate._repository.crew import AtOnce
from keepstate._repository.outlet import Outlet
from keepstate._repository.packer import Packer
from keepstate._repository.reader import open_packs, read_copy
from keepstate._repository.verify import check_pack
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._repository.catalog import Catalog, Location
    from keepstate._repository.floor import Room
    from keepstate._repository.layout import MemberFolder

LEFT_SHARE = 0.1
"""Of the floor: stays free also while a pack is there twice, for what frees more than it takes."""


def that_fit(
    wanted: Mapping[str, Sequence[Location]], *, catalog: Catalog, room: Room | None
) -> dict[str, Sequence[Location]]:
    """Choose what can be copied before anything is deleted, those first that free most.

    Args:
        wanted: Pack id → what is to be copied out of it.
        catalog: Knows the packs.
        room: Of the disk; ``None``: not known.
    """
    takes = {own: taken_by(found) for own, found in wanted.items()}
    gains = {own: catalog.packs[own].nbytes - taken for own, taken in takes.items()}
    chosen: dict[str, Sequence[Location]] = {}
    taken = 0
    for own in sorted(wanted, key=lambda own: (-gains[own], own)):
        if room is not None:
            bottom = room.floor_bytes * (LEFT_SHARE if gains[own] > 0 else 1)
            if room.free_bytes - taken - takes[own] < bottom:
                continue
        taken += takes[own]
        chosen[own] = wanted[own]
    return chosen


def taken_by(locations: Iterable[Location]) -> int:
    """Bytes of a pack into which these chunks are copied, but for its beginning and end."""
    return sum(chunk.HEADER_BYTES + each.entry.stored + pack.ENTRY_BYTES for each in locations)


def copy_chunks(
    wanted: Mapping[str, Sequence[Location]],
    *,
    disk: Disk,
    folder: MemberFolder,
    temporary: Callable[[], Path],
) -> tuple[list[Packer], set[str]]:
    """Copy the chunks of every pack, all or none, and publish the new packs.

    Args:
        wanted: Pack id → what is to be copied out of it.
        disk: Where the operations go.
        folder: Of the member.
        temporary: Gives names that nobody else uses.

    Returns:
        The new packs, and the ids of those out of which everything was copied. One with a damaged chunk
        stays as it is.

    Raises:
        StoreError: The disk failed; nothing that was there has changed.
    """
    packers: list[Packer] = []
    done: set[str] = set()
    outlet = Outlet(disk, AtOnce(), direct=False)
    try:
        for pack_id, locations in wanted.items():
            try:
                stored = [_stored_bytes(disk, location) for location in locations]
            except IntegrityError:
                continue
            for location, each in zip(locations, stored, strict=True):
                _room(packers, outlet, temporary).add(_header(location, each), each)
            done.add(pack_id)
        for packer in packers:
            if not packer.is_finished:
                packer.finish()
            check_pack(disk, packer.path, pack_id=packer.pack_id)
            _publish(packer, disk, folder)
    finally:
        for packer in packers:
            packer.close()
    return packers, done


def _room(packers: list[Packer], outlet: Outlet, temporary: Callable[[], Path]) -> Packer:
    if packers and packers[-1].is_full and not packers[-1].is_finished:
        packers[-1].finish()
    if not packers or packers[-1].is_finished:
        packers.append(Packer(outlet, temporary(), pack_id=os.urandom(16).hex()))
    return packers[-1]


def _header(location: Location, stored: bytes) -> chunk.ChunkHeader:
    entry = location.entry
    return chunk.ChunkHeader(entry.id, entry.compression, entry.plain, len(stored), xxh3_64_intdigest(stored))


def _stored_bytes(disk: Disk, location: Location) -> bytes:
    target = memoryview(bytearray(location.entry.plain))
    with open_packs(disk) as packs:
        read_copy(location, target, packs=packs)
        file = packs.file(location.path)
        at = location.entry.offset + chunk.HEADER_BYTES
        return pack.read_at(file, at, location.entry.stored)


def _publish(packer: Packer, disk: Disk, folder: MemberFolder) -> None:
    path = folder.pack(packer.pack_id)
    try:
        make_directories(disk, path.parent)
        disk.publish(packer.path, path)
        sync_upwards(disk, [path.parent], top=folder.store)
    except OSError as error:
        raise translate(error, path) from error
