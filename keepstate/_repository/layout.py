"""Where things are inside a store.

Knows names of files only. Names that people choose (members, projects, notebooks) are encoded so that they
are plain ASCII, differ on file systems that ignore case or normalise Unicode, are no device of Windows, never
climb out of their folder and never exceed what a file system takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._model.manifest import Head

MARKER = "keepstate.json"
"""Written first; says that a folder is a store."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.@+")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_PACK_NAME = re.compile(r"[0-9a-f]{32}\.pack")
_LONGEST = 100
"""Characters of an encoded name; four of them and a suffix stay below 255 bytes of every file system."""


@lru_cache(maxsize=1024)
def encode_name(text: str, *, longest: int = _LONGEST) -> str:
    """Turn any text into a file name that stands for it alone.

    >>> encode_name("ana"), encode_name("Ana"), encode_name("a/../b"), encode_name("")
    ('ana', '%41na', 'a%2F..%2Fb', '%')
    """
    raw = text.encode("utf-8", "surrogatepass")
    encoded = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if encoded.startswith(".") or _DEVICES.match(encoded):
        encoded = f"%{raw[0]:02X}{encoded[1:]}"
    if encoded.endswith("."):
        encoded = f"{encoded[:-1]}%2E"  # Windows drops a dot at the end
    if len(encoded) > longest:
        beginning = re.sub(r"%[0-9A-F]?$", "", encoded[: longest - 33])
        return f"{beginning}~{blake3(raw).hexdigest()[:32]}"
    return encoded or "%"


def decode_name(encoded: str) -> str:
    """Give back the text of :func:`encode_name`; of a shortened name, what is left of it.

    >>> decode_name("%41na"), decode_name("%")
    ('Ana', '')
    """
    raw = re.sub(rb"%([0-9A-F]{2})", lambda hit: bytes([int(hit[1], 16)]), encoded.encode("ascii", "replace"))
    return "" if encoded == "%" else raw.decode("utf-8", "replace")


def is_pack_name(name: str) -> bool:
    """Say whether a file of this name is a pack."""
    return _PACK_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class MemberFolder:
    """The paths of everything that one member has written."""

    root: Path
    """``members/<encoded name>``."""

    @property
    def store(self) -> Path:
        """The store that it is in."""
        return self.root.parent.parent

    @property
    def packs(self) -> Path:
        """Packs, in folders by the first two digits of their id."""
        return self.root / "packs"

    @property
    def manifests(self) -> Path:
        """Manifests, in folders by project and notebook."""
        return self.root / "manifests"

    @property
    def index(self) -> Path:
        """Consolidated indexes."""
        return self.root / "index"

    @property
    def leases(self) -> Path:
        """Who is writing or pruning."""
        return self.root / "leases"

    @property
    def condemned(self) -> Path:
        """Which packs are about to be deleted."""
        return self.root / "condemned"

    @property
    def temporary(self) -> Path:
        """Files that have not got their name yet."""
        return self.root / "temporary"

    def pack(self, pack_id: str) -> Path:
        """Where the pack of this id is."""
        return self.root.joinpath("packs", pack_id[:2], f"{pack_id}.pack")

    def manifest(self, manifest: Head) -> Path:
        """Where this manifest belongs; a manifest found elsewhere is not what it says it is."""
        folder = self.manifests / encode_name(manifest.project) / encode_name(manifest.notebook)
        lineage, own = encode_name(manifest.lineage, longest=60), encode_name(manifest.id, longest=60)
        return folder / f"{lineage}-{manifest.sequence:010d}-{own}.manifest"


def member_folder(store: Path, member: str) -> MemberFolder:
    """Give the folder of *member* in *store*."""
    return MemberFolder(store / "members" / encode_name(member))
