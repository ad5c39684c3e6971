"""Manifests of the far side as they were seen last, in files of this machine.

A session reads them instead of asking the network. Each is checked when it is read, so a torn file is one
that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from keepstate._repository.manifests import decode_manifest, encode_manifest
from keepstate._transfer.folder import replace
from keepstate.errors import FormatError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from keepstate._model.manifest import Head

Notebook = tuple[str, str, str]
"""Project, member and notebook."""


def whose(manifest: Head) -> Notebook:
    """Say which notebook a snapshot is of."""
    return manifest.project, manifest.member, manifest.notebook


@dataclass(frozen=True, slots=True)
class Mirror:
    """The files below one folder."""

    folder: Path
    _sound: set[Path] = field(default_factory=set, repr=False, compare=False)
    """Files that were written or read as a whole by this process."""

    @classmethod
    def of(cls, near: Path) -> Mirror:
        """Give the mirror of the far side of a repository."""
        return cls(near / "transfer" / "far")

    def read(self, notebook: Notebook) -> list[Head]:
        """Give what was seen of one notebook, in no particular order."""
        found = map(_read, self._files(notebook))
        return [manifest for manifest in found if manifest is not None and whose(manifest) == notebook]

    def write(self, notebook: Notebook, manifests: Iterable[Head]) -> None:
        """Remember what is there now, and forget what is gone.

        Raises:
            OSError: The disk of this machine fails.
        """
        there = {self._path(manifest): manifest for manifest in manifests}
        before = set(self._files(notebook))
        for path, manifest in there.items():
            if path not in before or (path not in self._sound and _read(path) != manifest):
                path.parent.mkdir(parents=True, exist_ok=True)
                replace(path, encode_manifest(manifest))
            self._sound.add(path)
        for path in before - there.keys():
            path.unlink(missing_ok=True)
            self._sound.discard(path)

    def _files(self, notebook: Notebook) -> list[Path]:
        return list((self.folder / _name(*notebook)).glob("*.manifest"))

    def _path(self, manifest: Head) -> Path:
        return self.folder / _name(*whose(manifest)) / f"{_name(manifest.lineage, manifest.id)}.manifest"


def _read(path: Path) -> Head | None:
    """Give one; ``None`` if it was removed meanwhile, or a power cut has torn it."""
    try:
        return decode_manifest(path.read_bytes())
    except (OSError, IntegrityError, FormatError):
        return None


def _name(*said: str) -> str:
    return blake3("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:32]
