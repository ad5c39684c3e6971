"""Footers of many packs in one file, so that opening a store does not open every pack.

An index only accelerates: what it says is used for packs that are there with the very length it names, and a
damaged or missing one costs time alone, because every pack carries its own footer.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from blake3 import blake3

from keepstate._base.disk import Disk, make_directories, write_durably
from keepstate._repository import pack
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from keepstate._base.disk import DirectoryEntry
    from keepstate._repository.catalog import Catalog, PackInfo
    from keepstate._repository.layout import MemberFolder

UNCOVERED_PACKS = 32
"""Packs without an index that are borne before one is written."""

_MAGIC = b"kINDX\x00\x01\n"
_HEADER = struct.Struct("<8sQ16x32s")
_PACK = struct.Struct("<16sQI4x")
_SUFFIX = ".index"
_LIMIT_BYTES = 1 << 30


def encode_index(footers: Mapping[str, tuple[pack.Footer, int]]) -> bytes:
    """Pack id → footer and length of the pack, as the bytes of an index file."""
    body = b"".join(
        piece
        for pack_id, (footer, size) in footers.items()
        for piece in (_PACK.pack(bytes.fromhex(pack_id), size, len(footer)), footer)
    )
    return _HEADER.pack(_MAGIC, len(body), blake3(body).digest()) + body


def decode_index(raw: bytes) -> dict[str, tuple[pack.Footer, int]]:
    """Read an index file.

    Raises:
        IntegrityError: It is damaged.
    """
    if len(raw) < _HEADER.size:
        raise IntegrityError("an index is too short")
    magic, length, digest = _HEADER.unpack_from(raw)
    body = memoryview(raw)[_HEADER.size :]
    if magic != _MAGIC or length != len(body) or digest != blake3(body).digest():
        raise IntegrityError("an index is damaged")
    footers: dict[str, tuple[pack.Footer, int]] = {}
    at = 0
    while at < length:
        if at + _PACK.size > length:
            raise IntegrityError("an index is cut off")
        own, size, footer_bytes = _PACK.unpack_from(body, at)
        at += _PACK.size
        footer = body[at : at + footer_bytes]
        footers[own.hex()] = (footer, size)
        at += footer_bytes
    pack.check_footers([footer for footer, _ in footers.values()], [size for _, size in footers.values()])
    return footers


def index_files(disk: Disk, folder: MemberFolder) -> list[DirectoryEntry]:
    """The index files, oldest first."""
    found = [entry for entry in disk.entries(folder.index) if entry.name.endswith(_SUFFIX)]
    return sorted(found, key=lambda entry: (entry.modified, entry.name))


def read_index(disk: Disk, path: Path) -> dict[str, tuple[pack.Footer, int]]:
    """Read an index file; a damaged or missing one is empty, because the packs say the same."""
    try:
        return decode_index(disk.read(path, limit_bytes=_LIMIT_BYTES))
    except (IntegrityError, FileNotFoundError):
        return {}


def write_index(
    disk: Disk, folder: MemberFolder, footers: Mapping[str, tuple[pack.Footer, int]], *, temporary: Path
) -> str:
    """Write an index of these packs and return its name."""
    make_directories(disk, folder.index)
    name = os.urandom(16).hex() + _SUFFIX
    write_durably(disk, folder.index / name, [encode_index(footers)], temporary=temporary)
    return name


def cover(
    disk: Disk, catalog: Catalog, *, temporary: Path, take: Callable[[int], None] = lambda _: None
) -> Catalog:
    """Write an index once many packs have none; give the catalog that knows of it.

    It takes in the files that are no longer than itself. So they are few, and a footer is written once for
    each time that the history doubles.

    Args:
        disk: Where it goes.
        catalog: What is there.
        temporary: A name that nobody else uses.
        take: Asked for the bytes, and raises if there is no room for them.

    Raises:
        StoreError: The disk failed; the catalog is as good as before.
    """
    chosen = {own: info for own, info in catalog.packs.items() if not info.covered and not info.damage}
    if len(chosen) <= UNCOVERED_PACKS:
        return catalog
    nbytes, merged = index_bytes(chosen.values()), []
    for file in sorted(index_files(disk, catalog.folder), key=lambda file: file.bytes):
        if file.bytes > nbytes:
            break
        merged.append(file)
        there = read_index(disk, catalog.folder.index / file.name).keys() & catalog.packs.keys()
        chosen |= {own: catalog.packs[own] for own in there if not catalog.packs[own].damage}
        nbytes = index_bytes(chosen.values())
    take(nbytes)
    footers = {own: (info.footer, info.nbytes) for own, info in chosen.items()}
    write_index(disk, catalog.folder, footers, temporary=temporary)
    for file in merged:
        disk.remove(catalog.folder.index / file.name)  # whoever is about to read it finds the packs
    return catalog.covered(chosen)


def index_bytes(packs: Iterable[PackInfo]) -> int:
    """Say how long an index of these packs is."""
    return _HEADER.size + sum(_PACK.size + len(info.footer) for info in packs)
