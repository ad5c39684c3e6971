"""Which packs may go: those without a chunk that is needed, and those in which little is.

A plan over a catalog and the needed chunks; decides, and changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._repository import chunk
from keepstate._repository.reader import open_packs, read_copy
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection

    from keepstate._base.disk import Disk
    from keepstate._repository.catalog import Catalog, Location

MOSTLY_DEAD = 0.5
"""Share of a pack's bytes that must be needed for it to stay as it is."""
THRIFTY = 0.9
"""The same where bytes are short: nine bytes are written to free one."""
SMALL_BYTES = 4 << 20
SMALL_PACKS = 16
"""More than so many packs below SMALL_BYTES are made into few."""


@dataclass(slots=True)
class Plan:
    """What becomes of the packs."""

    dead: set[str] = field(default_factory=set)
    """Packs without any chunk that is needed and not elsewhere as well."""
    repack: dict[str, list[Location]] = field(default_factory=dict)
    """Pack id → the chunks to be copied out of it before it goes."""


def plan_garbage(catalog: Catalog, needed: Collection[bytes], *, mostly_dead: float = MOSTLY_DEAD) -> Plan:
    """Decide for every pack that is not condemned already.

    Args:
        catalog: All packs of the member.
        needed: Ids of the chunks that stay.
        mostly_dead: Share of a pack's bytes that must be needed for it to stay as it is.
    """
    homes: dict[str, list[Location]] = defaultdict(list)
    missing = False
    for chunk_id in needed:
        home = _home(catalog, chunk_id)
        if home is not None:
            homes[home.pack_id].append(home)
        missing = missing or not catalog.plain_length(chunk_id)
    plan = Plan()
    open_ids = [pack_id for pack_id in catalog.packs if pack_id not in catalog.condemned]
    small = {own for own in open_ids if own in homes and catalog.packs[own].nbytes < SMALL_BYTES}
    hurt = {pack_id for pack_id, _ in catalog.suspects}
    for pack_id in open_ids:
        torn = bool(catalog.packs[pack_id].damage)
        if torn and missing:
            continue  # what is missing may be in the part of it that cannot be read
        if pack_id not in homes:
            plan.dead.add(pack_id)
            continue
        alive = sum(chunk.HEADER_BYTES + each.entry.stored for each in homes[pack_id])
        thin = alive < mostly_dead * _chunk_bytes(catalog, pack_id)
        scattered = len(small) > SMALL_PACKS and pack_id in small
        if thin or scattered or torn or pack_id in hurt:
            plan.repack[pack_id] = sorted(homes[pack_id], key=lambda each: each.entry.offset)
    return plan


def _chunk_bytes(catalog: Catalog, pack_id: str) -> int:
    return sum(chunk.HEADER_BYTES + entry.stored for entry in catalog.packs[pack_id].entries())


def _home(catalog: Catalog, chunk_id: bytes) -> Location | None:
    """The copy of a needed chunk that stays; ``None`` if all are in condemned packs.

    Where there is more than one, the others may go with their packs, so that one is proven to be sound.
    """
    copies = [each for each in catalog.locate(chunk_id) if each.pack_id not in catalog.condemned]
    if len(copies) < 2:
        return copies[0] if copies else None
    copies.sort(key=lambda each: (-catalog.packs[each.pack_id].nbytes, each.pack_id))
    return next((each for each in copies if is_sound(catalog.disk, each)), copies[0])


def is_sound(disk: Disk, location: Location) -> bool:
    """Say whether a copy reads back as what its id says."""
    target = memoryview(bytearray(location.entry.plain))
    try:
        with open_packs(disk) as packs:
            read_copy(location, target, packs=packs)
    except IntegrityError:
        return False
    return True


def still_needed(catalog: Catalog, pack_id: str, needed: Collection[bytes]) -> bool:
    """Say whether a condemned pack holds a needed chunk of which there is no sound copy elsewhere."""
    for entry in catalog.packs[pack_id].entries():
        if entry.id not in needed:
            continue
        others = [each for each in catalog.locate(entry.id) if each.pack_id not in catalog.condemned]
        if not any(is_sound(catalog.disk, each) for each in others):
            return True
    return False
