"""Manifests as files: an envelope with a checksum around a msgpack body, written once, never changed.

Knows files and their checks, not what becomes of a snapshot. Unreadable manifests are listed beside the
others and never hide them. The envelope has room for a signature; format 1 leaves it empty.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from keepstate._base.at_once import at_once
from keepstate._base.disk import translate
from keepstate._model.manifest import Head, Manifest
from keepstate._repository.apart import as_stored, shown_of
from keepstate._repository.layout import MemberFolder, encode_name
from keepstate.errors import FormatError, IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keepstate._base.disk import DirectoryEntry, Disk

_MAGIC = b"kMANI\x00\x01\n"
_HEADER = struct.Struct("<8sIIQ8x32s")
"""Magic, flags, signature length, body length, blake3 of all that is before and after it; 64 bytes."""
_UNEVEN_LISTS = 1
"""Flag: it may lead to lists that say the length of each chunk. Who does not know those must neither take
them for damaged nor prune what they list."""
_APART = 2
"""Flag: its names are in records apart. Who does not know those must not take it for one without names."""
LIMIT_BYTES = 64 << 20
"""Longest manifest."""
_SIGNATURE_LIMIT = 4096
_SUFFIX = ".manifest"
_WHOLE: msgspec.msgpack.Decoder[Head] = msgspec.msgpack.Decoder(Manifest)
_HEAD = msgspec.msgpack.Decoder(Head)
"""Made here once: several threads that decode a type for the first time at once crash msgspec 0.22."""


@dataclass(frozen=True, slots=True)
class DamagedManifest:
    """A file that should be a manifest and cannot be used as one."""

    path: Path
    why: str
    member_folder: str
    """The folder of ``members`` that it is in."""
    newer: bool = False
    """Whether it is of a newer format rather than damaged."""
    transient: bool = False
    """Whether the store failed to read it; it may be whole."""


def encode_manifest(manifest: Head) -> bytes:
    """Give the bytes of the file.

    Args:
        manifest: With its names in it, or one that has them apart.

    Raises:
        InvalidInputError: It holds something that would not come back as it is.
    """
    held = as_stored(manifest)
    flags = _UNEVEN_LISTS | (0 if held.apart is None else _APART)
    try:
        body = msgspec.msgpack.encode(held)
        same = _decoder(flags).decode(body) == held
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"this cannot be written as a manifest: {error}") from error
    if not same or len(body) + _HEADER.size > LIMIT_BYTES:
        raise InvalidInputError("this would not come back from a manifest as it is, or is too long")
    covered = _HEADER.pack(_MAGIC, flags, 0, len(body), bytes(32))[:32]
    return covered + blake3(covered + body).digest() + body


def decode_manifest(raw: bytes) -> Head:
    """Read the bytes of a manifest file: whole, or the head of one whose names are apart.

    Raises:
        IntegrityError: They are damaged.
        FormatError: They were written in a format newer than this version reads.
    """
    if len(raw) < _HEADER.size or len(raw) > LIMIT_BYTES:
        raise IntegrityError("it is too short or too long for a manifest")
    magic, flags, signature_bytes, body_bytes, digest = _HEADER.unpack_from(raw)
    if magic[:5] != _MAGIC[:5] or digest != blake3(raw[:32] + raw[_HEADER.size :]).digest():
        raise IntegrityError("it is damaged: its checksum does not fit")
    if magic != _MAGIC or flags & ~(_UNEVEN_LISTS | _APART):
        raise FormatError("it is of a newer format: upgrade keepstate")
    start = _HEADER.size + signature_bytes
    if signature_bytes > _SIGNATURE_LIMIT or start + body_bytes != len(raw):
        raise IntegrityError("its lengths do not fit")
    try:
        manifest = _decoder(flags).decode(memoryview(raw)[start:])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise IntegrityError(f"it holds something else: {error}") from error
    if (manifest.apart is None) != (not flags & _APART):
        raise IntegrityError("it does not say where its names are, or says so twice")
    if manifest.encryption:
        raise FormatError("it is encrypted, which this version cannot read: upgrade keepstate")
    if not _is_moment(manifest.created_at):
        raise IntegrityError(f"it says that it was made at {manifest.created_at!r}, which is no moment")
    if manifest.apart is not None:
        shown_of(manifest)
    return manifest


def _decoder(flags: int) -> msgspec.msgpack.Decoder[Head]:
    return _HEAD if flags & _APART else _WHOLE


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


class ManifestFolder:
    """The manifests of one member; files seen before are not read again."""

    def __init__(self, disk: Disk, folder: MemberFolder) -> None:
        self._disk = disk
        self._folder = folder
        self._seen: dict[Path, tuple[DirectoryEntry, Head]] = {}

    def read(
        self, *, project: str | None = None, notebook: str | None = None, lineage: str | None = None
    ) -> tuple[list[Head], list[DamagedManifest]]:
        """Give all manifests, in no particular order, and the files that are none."""
        sound: list[Head] = []
        damaged: list[DamagedManifest] = []
        seen = {} if project is None and notebook is None and lineage is None else dict(self._seen)
        files = list(self._files(project, notebook, damaged))
        if lineage is not None:
            beginning = f"{encode_name(lineage, longest=60)}-"
            files = [(path, entry) for path, entry in files if path.name.startswith(beginning)]
        found = at_once(lambda file: self._seen_or_read(*file), files, most=self._disk.most_at_once)
        for (path, entry), manifest in zip(files, found, strict=True):
            if isinstance(manifest, Head):
                seen[path] = (entry, manifest)
                sound.append(manifest)
            elif manifest is not None:
                damaged.append(manifest)
        self._seen = seen
        return sound, damaged

    def _seen_or_read(self, path: Path, entry: DirectoryEntry) -> Head | DamagedManifest | None:
        known = self._seen.get(path)
        if known is not None and known[0] == entry:
            return known[1]
        try:
            return self._read(path)
        except FileNotFoundError:
            return None  # prune has deleted it since the listing
        except (IntegrityError, FormatError, OSError) as error:
            return self._damaged(path, error)

    def _files(
        self, project: str | None, notebook: str | None, damaged: list[DamagedManifest]
    ) -> Iterator[tuple[Path, DirectoryEntry]]:
        for shelf, _ in self._entries(self._folder.manifests, project, damaged):
            for folder, _ in self._entries(shelf, notebook, damaged):
                for path, entry in self._entries(folder, None, damaged):
                    if path.name.endswith(_SUFFIX) and not entry.is_directory:
                        yield path, entry

    def _entries(
        self, folder: Path, only: str | None, damaged: list[DamagedManifest]
    ) -> list[tuple[Path, DirectoryEntry]]:
        try:
            found = self._disk.entries(folder)
        except NotADirectoryError as error:
            if folder == self._folder.manifests:  # else a stray file beside the folders
                damaged.append(self._damaged(folder, error))
            return []
        except OSError as error:
            damaged.append(self._damaged(folder, error))
            return []
        return [
            (folder / each.name, each) for each in found if only is None or each.name == encode_name(only)
        ]

    def _read(self, path: Path) -> Head:
        manifest = decode_manifest(self._disk.read(path, limit_bytes=LIMIT_BYTES))
        # A manifest counts only in its member's folder: nobody can speak in another's name.
        if encode_name(manifest.member) != self._folder.root.name or self._folder.manifest(manifest) != path:
            raise IntegrityError("it says that it belongs to another place")
        return manifest

    def _damaged(self, path: Path, error: Exception) -> DamagedManifest:
        return DamagedManifest(
            path=path,
            why=str(translate(error, path) if isinstance(error, OSError) else error),
            member_folder=self._folder.root.name,
            newer=isinstance(error, FormatError),
            transient=isinstance(error, OSError),
        )
