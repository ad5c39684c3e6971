"""Who owns how many bytes of a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._repository import chunk
from keepstate._repository.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from keepstate._base.disk import Disk
    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """One project of one member."""

    snapshots: int
    nbytes: int
    """Stored bytes of the chunks that its snapshots need; what two projects share counts in both."""
    results: int = 0
    """Results of functions, whose chunks count as well."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One member."""

    member: str
    nbytes: int
    """Bytes of all files in the member's folder."""
    unused_bytes: int
    """Stored bytes of chunks that no snapshot needs; prune can free most of them."""
    projects: dict[str, ProjectUsage] = field(default_factory=dict)


def usage_of_member(disk: Disk, member: str, catalog: Catalog, manifests: Iterable[Head]) -> Usage:
    """Add up one member's folder."""
    by_project: dict[str, list[Head]] = {}
    for manifest in manifests:
        by_project.setdefault(manifest.project, []).append(manifest)
    reach = Reach(catalog.reader(), remember=False)
    needed: set[bytes] = set()
    projects = {}
    for project, own in sorted(by_project.items()):
        chunks, _ = reach.chunks(own)
        needed |= chunks.keys()
        nbytes = sum(_stored(catalog, each) for each in chunks)
        results = sum(each.is_result for each in own)
        projects[project] = ProjectUsage(snapshots=len(own) - results, nbytes=nbytes, results=results)
    unused = sum(
        chunk.HEADER_BYTES + entry.stored
        for info in catalog.packs.values()
        for entry in info.entries()
        if entry.id not in needed
    )
    return Usage(member, _bytes_below(disk, catalog.folder.root), unused, projects)


def _stored(catalog: Catalog, chunk_id: bytes) -> int:
    return sum(chunk.HEADER_BYTES + location.entry.stored for location in catalog.locate(chunk_id))


def _bytes_below(disk: Disk, path: Path) -> int:
    total = 0
    for entry in disk.entries(path):
        total += _bytes_below(disk, path / entry.name) if entry.is_directory else entry.bytes
    return total
