"""What is known of each member's folder: its packs and its manifests, learned once and looked at again on
demand.

Knows where to look, not what for. Each catalog is replaced as a whole, so that threads and forked children
see a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from keepstate._base.disk import Disk, translating
from keepstate._repository.catalog import Catalog, Location
from keepstate._repository.layout import MemberFolder, decode_name, encode_name, member_folder
from keepstate._repository.manifests import ManifestFolder
from keepstate._repository.reader import ChunkReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class Coming(Protocol):
    """Packs that somebody is putting here, as seen by whoever needs them."""

    @property
    def lengths(self) -> Mapping[bytes, int]:
        """Id and plain length of each chunk that comes or has come."""
        ...

    def more(self) -> bool:
        """Wait until another pack is here; ``False``: all are.

        Raises:
            StoreError: It has failed, and no more will come.
        """
        ...


class Members:
    """The folders of all members of one store."""

    def __init__(self, store: Path, disk: Disk) -> None:
        self._store = store
        self._disk = disk
        self._catalogs: dict[str, Catalog] = {}
        self._manifests: dict[str, ManifestFolder] = {}
        self.coming: Coming | None = None

    def folders(self, member: str | None) -> list[MemberFolder]:
        """Give the folder of *member*, or those of all who have written here."""
        if member is not None:
            return [member_folder(self._store, member)]
        with translating(self._store):
            entries = self._disk.entries(self._store / "members")
        names = sorted(entry.name for entry in entries if entry.is_directory)
        return [self._folder(name) for name in names]

    def _folder(self, name: str) -> MemberFolder:
        return MemberFolder(self._store / "members" / name)

    def name(self, folder: MemberFolder) -> str:
        """Say whose folder it is."""
        name = decode_name(folder.root.name)
        if encode_name(name) != folder.root.name:  # shortened: only what is inside says it all
            for manifest in self.manifests(folder).read()[0]:
                return manifest.member
        return name

    def manifests(self, folder: MemberFolder) -> ManifestFolder:
        """Give the manifests of a folder; those that were read before are not read again."""
        return self._manifests.setdefault(folder.root.name, ManifestFolder(self._disk, folder))

    def known(self, folder: MemberFolder) -> Catalog:
        """Give what is known of the packs of a folder, which may be nothing."""
        return self._catalogs.get(folder.root.name) or Catalog(folder, self._disk)

    def catalog(self, folder: MemberFolder) -> Catalog:
        """Give the packs of a folder as they were looked at last."""
        return self._catalogs.get(folder.root.name) or self.refreshed(folder)

    def refreshed(self, folder: MemberFolder, *, trust_indexes: bool = True) -> Catalog:
        """Look at the packs of a folder again."""
        with translating(folder.root):
            catalog = self.known(folder).refreshed(trust_indexes=trust_indexes)
        self.learn(catalog)
        return catalog

    def fresh_catalog(self, folder: MemberFolder) -> Catalog:
        """Read everything anew, without trusting what was read before or what an index says."""
        with translating(folder.root):
            return Catalog(folder, self._disk).refreshed(trust_indexes=False)

    def refresh(self) -> None:
        """Look at all packs again that were looked at before."""
        for name in list(self._catalogs):
            self.refreshed(self._folder(name))

    def forget(self) -> None:
        """Forget everything: this is another store now."""
        self._catalogs.clear()
        self._manifests.clear()

    def learn(self, catalog: Catalog) -> None:
        """Remember what a save has found."""
        self._catalogs[catalog.folder.root.name] = catalog

    def cover(self, folder: MemberFolder, pack_ids: Iterable[str]) -> None:
        """Remember of which packs an index holds the footers."""
        catalog = self._catalogs.get(folder.root.name)
        if catalog is not None:
            self.learn(catalog.covered(own for own in pack_ids if own in catalog.packs))

    def mark(self, location: Location) -> None:
        """Remember a damaged copy: the next save writes that chunk again if it still has it."""
        folder = self._folder(location.folder_name)
        self.learn(self.catalog(folder).marked(location.pack_id, location.entry.id))

    def reader(self, member: str | None) -> ChunkReader:
        """Read from the folder of *member*, or from all."""
        folders = self.folders(member)

        def locate(chunk_id: bytes) -> Iterator[Location]:
            for folder in folders:
                yield from self.catalog(folder).locate(chunk_id)

        def plain_length(chunk_id: bytes) -> int | None:
            lengths = (self.catalog(folder).plain_length(chunk_id) for folder in folders)
            known = next((length for length in lengths if length is not None), None)
            return self.coming.lengths.get(chunk_id) if known is None and self.coming else known

        def refresh() -> bool:
            more = self.coming is not None and self.coming.more()
            folders[:] = self.folders(member)
            for folder in folders:
                # While packs come one after another, those that are known are not read again.
                self.refreshed(folder, trust_indexes=more)
            return more

        return ChunkReader(self._disk, locate, plain_length, refresh=refresh, on_damage=self.mark)
