"""Prove that what was kept is still there, and name what is not.

Quick: every manifest, record, list and footer is read and checked, and every chunk that a snapshot needs is
in a pack that is whole in length. Deep: every byte of every pack is hashed as well. Changes nothing.
Garbage that a crash has left is no damage.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._repository import chunk, pack
from keepstate._repository.apart import Joiner
from keepstate._repository.bulk import sound_chunk
from keepstate._repository.catalog import Location
from keepstate._repository.compression import NONE
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate._repository.history import newest_first
from keepstate._repository.reach import Reach, Step
from keepstate._repository.reader import open_packs, read_copy
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.manifests import DamagedManifest
    from keepstate._repository.packer import Packer
    from keepstate._repository.reach import Reached

    Progress = Callable[[int, int], None]
    """Told how many bytes are behind, and how many there are in all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written."""

    what: str
    """The file, or the name within a snapshot."""
    why: str


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what is wrong with it."""

    deep: bool
    snapshots: int = 0
    packs: int = 0
    chunks: int = 0
    nbytes: int = 0
    """Bytes of all packs looked at."""
    problems: list[Problem] = field(default_factory=list)
    affected: dict[str, dict[str, str]] = field(default_factory=dict)
    """Snapshot id → name → why it does not come back. Names that are not here do."""
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether everything is there."""
        return not self.problems and not self.affected


def check_pack(disk: Disk, path: Path, *, pack_id: str) -> int:
    """Read a whole pack, decompress every chunk and compare it with its id; return how many there are.

    Raises:
        IntegrityError: Something is not as it was written.
        StoreError: The pack cannot be read.
    """
    damaged = damaged_chunks(disk, path, pack_id=pack_id)
    for why in damaged.values():
        raise IntegrityError(why)
    footer, _ = pack.read_footer(disk, path, pack_id=pack_id)
    return len(footer) // pack.ENTRY_BYTES


def check_written(disk: Disk, packer: Packer) -> None:
    """Read back what was written; if it was checked as the disk took it, its end and one chunk alone.

    What was compressed is known to be what its id says, so that its checksum is enough.

    Raises:
        IntegrityError: Something is not as it was written.
        StoreError: The pack cannot be read.
    """
    footer, _ = pack.read_footer(disk, packer.path, pack_id=packer.pack_id)
    if footer != pack.footer_of(packer.entries):
        raise IntegrityError(f"pack {packer.pack_id[:12]} is not what was written")
    entries = packer.entries
    if packer.is_checked:
        # A disk that gives back other bytes than it was given mostly does so everywhere.
        at = int.from_bytes(os.urandom(4), "little") % len(entries)
        entries = entries[at : at + 1]
    with open_packs(disk) as packs:
        file = packs.file(packer.path)
        for entry in entries:
            raw = file.read_at(entry.offset, chunk.HEADER_BYTES + entry.stored)
            stored = sound_chunk(memoryview(raw), entry)
            if stored is None or (entry.compression == NONE and chunk.chunk_id(stored) != entry.id):
                raise IntegrityError(f"chunk {entry.id.hex()[:12]} does not read back as it was written")


def damaged_chunks(
    disk: Disk, path: Path, *, pack_id: str, footer: pack.Footer | None = None
) -> dict[bytes, str]:
    """Read every chunk of a pack; give the ids of those that are damaged, with the reason."""
    found: dict[bytes, str] = {}
    footer = pack.read_footer(disk, path, pack_id=pack_id)[0] if footer is None else footer
    target = memoryview(bytearray(CHUNK_BYTES))
    with open_packs(disk) as packs:
        for number in range(len(footer) // pack.ENTRY_BYTES):
            entry = pack.entry_at(footer, number)
            try:
                read_copy(Location(pack_id, path, entry), target[: entry.plain], packs=packs)
            except (IntegrityError, StoreError) as error:
                found[entry.id] = str(error)
    return found


def verify_member(
    report: VerifyReport,
    *,
    catalog: Catalog,
    manifests: Iterable[Head],
    damaged: Iterable[DamagedManifest],
    on_progress: Progress | None,
    on_damage: Callable[[Location], None],
) -> None:
    """Add what is found in one member's folder to *report*."""
    report.problems += [Problem(str(each.path), each.why) for each in damaged]
    bad = _verify_packs(report, catalog, on_progress, on_damage)
    proof = _Proof(catalog, bad)
    for manifest in newest_first(manifests):  # neighbours share the most
        report.snapshots += 1
        affected = proof.affected(manifest)
        if affected:
            report.affected[manifest.id] = affected


def _verify_packs(
    report: VerifyReport,
    catalog: Catalog,
    on_progress: Progress | None,
    on_damage: Callable[[Location], None],
) -> Mapping[bytes, str]:
    """Check the packs and give the chunks of which no sound copy is left."""
    report.problems += [
        Problem(str(catalog.folder.pack(pack_id)), why) for pack_id, why in catalog.unreadable.items()
    ]
    disk = catalog.disk
    whole, bad = set[bytes](), dict[bytes, str]()
    total, done = sum(info.nbytes for info in catalog.packs.values()), 0
    for pack_id, info in catalog.packs.items():
        path = catalog.folder.pack(pack_id)
        broken = damaged_chunks(disk, path, pack_id=pack_id, footer=info.footer) if report.deep else {}
        if broken and not disk.exists(path):
            continue  # prune has deleted it: nothing needs it, or the snapshots below say what does
        for location in (each for own in broken for each in catalog.locate(own)):
            if location.pack_id == pack_id:
                on_damage(location)
        found = [info.damage, *broken.values()]
        report.problems += [Problem(str(path), why) for why in found if why]
        whole.update(own for own in pack.ids_of(info.footer) if own not in broken)
        bad.update(broken)
        report.packs += 1
        report.chunks += len(info.footer) // pack.ENTRY_BYTES
        report.nbytes += info.nbytes
        done += info.nbytes
        if on_progress is not None:
            on_progress(done, total)
    return {own: why for own, why in bad.items() if own not in whole}


class _Proof:
    """Looks at snapshots one after another, and at what they share once.

    Args:
        catalog: All packs.
        bad: Chunks of which no sound copy is left, with the reason.
    """

    def __init__(self, catalog: Catalog, bad: Mapping[bytes, str]) -> None:
        self._catalog = catalog
        self._bad = bad
        self._reach = Reach(catalog.reader(), remember=False)
        self._joiner = Joiner(catalog.reader().record)
        self._sound: set[Step] = set()
        """Records that are there with all that they need."""

    def affected(self, head: Head) -> dict[str, str]:
        """Give what of a snapshot does not come back, with the reason."""
        steps, _ = self._reach.roots(head)
        affected = self._names(head) if self._joiner.trouble(head) or self._wrong(steps) else {}
        for name, ref in (("random state", head.random), ("list of cells", head.cells)):
            if ref is not None and (why := self._why(self._reach.ref(ref))):
                affected[name] = why
        return affected

    def _names(self, head: Head) -> dict[str, str]:
        groups, affected = self._joiner.groups(head)
        for name, group in groups.items():
            if why := self._wrong([Step("group", group)]):
                affected[name] = why
        return affected

    def _wrong(self, steps: Iterable[Step]) -> str:
        """Say what is wrong with these records or with what they need."""
        looked: list[Step] = []
        for step, reached in self._reach.walk(steps, seen=self._sound):
            looked.append(step)
            if why := self._why(reached):
                self._sound.difference_update(looked)  # one of them leads to it
                return why
        return ""

    def _why(self, reached: Reached) -> str:
        if reached.damage:
            return reached.damage
        for own, length in reached.chunks.items():
            there = self._catalog.plain_length(own)
            if there is None or (length and there != length):
                return f"chunk {own.hex()[:12]} is missing or has another length"
            if own in self._bad:
                return self._bad[own]
        return ""
