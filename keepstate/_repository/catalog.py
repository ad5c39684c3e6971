"""Which chunks a member's packs hold, and where: learned from indexes and footers, kept in memory.

A catalog never changes; :meth:`Catalog.refreshed` gives a new one. So a thread that reads, and a child
forked at any instant, sees one whole catalog, without a lock. A million chunks take 80 MB: their footers, as
they are read, and 16 bytes each to find them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from keepstate._base.at_once import at_once
from keepstate._repository import index, pack
from keepstate._repository.condemned import read_rounds
from keepstate._repository.layout import MemberFolder, is_pack_name
from keepstate._repository.places import Places
from keepstate._repository.reader import ChunkReader
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from keepstate._base.disk import Disk


_ID_DIGITS = 32
_NOWHERE = Places()


class Location(NamedTuple):
    """One copy of a chunk."""

    pack_id: str
    path: Path
    entry: pack.Entry

    @property
    def folder_name(self) -> str:
        """The folder of ``members`` that the pack is in."""
        return self.path.parents[2].name


@dataclass(frozen=True, slots=True)
class PackInfo:
    """What is known of one pack."""

    footer: pack.Footer
    nbytes: int
    covered: bool
    """Whether an index holds the footer."""
    damage: str = ""
    """Why its own footer cannot be used; what is listed was found by scanning then."""

    def entries(self) -> Iterator[pack.Entry]:
        """All chunks of the pack, in order."""
        count = len(self.footer) // pack.ENTRY_BYTES
        return (pack.entry_at(self.footer, number) for number in range(count))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The packs of one member at one moment."""

    folder: MemberFolder
    disk: Disk
    packs: Mapping[str, PackInfo] = field(default_factory=dict)
    condemned: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Pack id → why nothing of it can be used."""
    suspects: frozenset[tuple[str, bytes]] = frozenset()
    """Pack and chunk ids of copies that were found damaged: read last, and never relied on."""
    _numbers: tuple[str, ...] = ()
    """Packs in the order in which they became known; one has the numbers of :data:`pack.MOST_ENTRIES`
    chunks."""
    _places: Places = _NOWHERE

    def reader(self) -> ChunkReader:
        """Read chunks as this catalog has them."""
        return ChunkReader(self.disk, self.locate, self.plain_length)

    def locate(self, chunk_id: bytes) -> Iterator[Location]:
        """Every copy of a chunk, the most trusted first."""
        found = [self._location(*place) for place in self._find(chunk_id)]
        yield from sorted(found, key=lambda each: (self._is_suspect(each), each.pack_id in self.condemned))

    def has(self, chunk_id: bytes) -> bool:
        """Say whether a writer may rely on a chunk: not on a condemned pack, nor on a damaged copy."""
        if not self.condemned and not self.suspects:
            return any(self._find(chunk_id))
        return any(
            each.pack_id not in self.condemned and not self._is_suspect(each)
            for each in self.locate(chunk_id)
        )

    def _is_suspect(self, location: Location) -> bool:
        return bool(self.suspects) and (location.pack_id, location.entry.id) in self.suspects

    def plain_length(self, chunk_id: bytes) -> int | None:
        """Length of a chunk as its pack says; ``None`` for one that is not there."""
        for pack_id, number in self._find(chunk_id):
            return pack.entry_at(self.packs[pack_id].footer, number).plain
        return None

    def _find(self, chunk_id: bytes) -> Iterator[tuple[str, int]]:
        """Give pack and number in that pack of every copy, those that became known first before others."""
        for place in self._places.find(chunk_id):
            pack_id, number = self._numbers[place // pack.MOST_ENTRIES], place % pack.MOST_ENTRIES
            if pack.id_at(self.packs[pack_id].footer, number) == chunk_id:
                yield pack_id, number

    def _location(self, pack_id: str, number: int) -> Location:
        entry = pack.entry_at(self.packs[pack_id].footer, number)
        return Location(pack_id, self.folder.pack(pack_id), entry)

    def refreshed(self, *, trust_indexes: bool = True) -> Catalog:
        """Look at the store again.

        Condemned packs are read before the packs are listed: one that is condemned, deleted and forgotten in
        between is then missing in the list, and never taken for one that may be relied on.

        Args:
            trust_indexes: Whether footers may come from an index instead of the packs themselves, and the
                lengths of packs that are known need not be looked at: they are written once.
        """
        disk = self.disk
        condemned = frozenset(pack_id for each in read_rounds(disk, self.folder) for pack_id in each.packs)
        sizes = _list_packs(disk, self.folder, self.packs if trust_indexes else {})
        kept = {
            pack_id: info
            for pack_id, info in self.packs.items()
            if sizes.get(pack_id) == info.nbytes and trust_indexes and not info.damage
        }
        wanted = {pack_id: size for pack_id, size in sizes.items() if pack_id not in kept}
        if len(kept) == len(self.packs) and not wanted and not self.unreadable:
            return self if condemned == self.condemned else replace(self, condemned=condemned)
        added = _from_indexes(disk, self.folder, wanted) if trust_indexes and len(wanted) > 1 else {}
        unreadable = _read_packs(disk, self.folder, wanted, added)
        base = self if len(kept) == len(self.packs) else Catalog(self.folder, disk, suspects=self.suspects)
        if base is not self:
            added = {**kept, **added}
        return replace(base._with(added), condemned=condemned, unreadable=unreadable)

    def marked(self, pack_id: str, chunk_id: bytes) -> Catalog:
        """Give the same catalog, with one copy no longer trusted."""
        return replace(self, suspects=self.suspects | {(pack_id, chunk_id)})

    def covered(self, pack_ids: Iterable[str]) -> Catalog:
        """Give the same catalog, in which an index holds the footers of these packs."""
        found = {pack_id: replace(self.packs[pack_id], covered=True) for pack_id in pack_ids}
        return replace(self, packs={**self.packs, **found})

    def with_packs(self, added: Mapping[str, PackInfo]) -> Catalog:
        """Give the same catalog, with packs that were just written and that no listing shows yet."""
        return self._with({own: info for own, info in added.items() if own not in self.packs})

    def _with(self, added: Mapping[str, PackInfo]) -> Catalog:
        if not added:
            return self
        footers = [
            (number * pack.MOST_ENTRIES, info.footer)
            for number, info in enumerate(added.values(), len(self._numbers))
        ]
        return replace(
            self,
            packs={**self.packs, **added},
            _numbers=(*self._numbers, *added),
            _places=self._places.plus(footers),
        )


def _list_packs(disk: Disk, folder: MemberFolder, known: Mapping[str, PackInfo]) -> dict[str, int]:
    """Give id and length of each pack; of those that are *known*, the length is not looked at again."""

    def length(name: str) -> int | None:
        info = known.get(name[:_ID_DIGITS])
        return None if info is None else info.nbytes

    packs = str(folder.packs)  # two hundred paths take longer to make than to list
    return {
        name[:_ID_DIGITS]: nbytes
        for shelf in disk.entries(packs)
        if shelf.is_directory
        for name, nbytes in disk.lengths(f"{packs}/{shelf.name}", known=length).items()
        if is_pack_name(name) and name.startswith(shelf.name)
    }


def _from_indexes(disk: Disk, folder: MemberFolder, wanted: Mapping[str, int]) -> dict[str, PackInfo]:
    found: dict[str, PackInfo] = {}
    for file in reversed(index.index_files(disk, folder)):
        if len(found) == len(wanted):
            break
        for pack_id, (footer, size) in index.read_index(disk, folder.index / file.name).items():
            if wanted.get(pack_id) == size:
                found[pack_id] = PackInfo(footer, size, covered=True)
    return found


def _read_packs(
    disk: Disk, folder: MemberFolder, wanted: Mapping[str, int], kept: dict[str, PackInfo]
) -> dict[str, str]:
    """Add the packs that no index covers to *kept*; give those that cannot be read at all."""
    unreadable: dict[str, str] = {}

    def read(pack_id: str) -> PackInfo | str | None:
        path = folder.pack(pack_id)
        try:
            footer, size = pack.read_end(disk, path, pack_id=pack_id)
            return PackInfo(footer, size, covered=False)
        except FileNotFoundError:
            return None  # prune has deleted it since the listing
        except IntegrityError as error:
            return scanned(pack_id, error)
        except OSError as error:
            return str(error)

    def scanned(pack_id: str, error: IntegrityError) -> PackInfo:
        found = pack.scan(disk, folder.pack(pack_id))
        return PackInfo(found, wanted[pack_id], covered=False, damage=str(error))

    missing = sorted(set(wanted) - set(kept))
    for pack_id, found in zip(missing, at_once(read, missing, most=disk.most_at_once), strict=True):
        if isinstance(found, PackInfo):
            kept[pack_id] = found
        elif found is not None:
            unreadable[pack_id] = found
    for pack_id, error in _with_wrong_footers(kept, missing):
        kept[pack_id] = scanned(pack_id, error)
    return unreadable


def _with_wrong_footers(
    infos: Mapping[str, PackInfo], among: Iterable[str]
) -> Iterator[tuple[str, IntegrityError]]:
    """Give those whose footers list what cannot be, although their checksums are right."""
    whole = [own for own in among if own in infos and not infos[own].damage]

    def check(several: Sequence[str]) -> None:
        pack.check_footers([infos[own].footer for own in several], [infos[own].nbytes for own in several])

    try:
        check(whole)
    except IntegrityError:
        for pack_id in whole:
            try:
                check([pack_id])
            except IntegrityError as error:
                yield pack_id, error
