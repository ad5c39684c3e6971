"""What a snapshot says besides its values: as a save is given it, as it is stored, as the user sees it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from keepstate._model.cells import Cell
from keepstate._model.manifest import Manifest, WhereRecord
from keepstate._model.snapshot import Consistency, Durability, Reason, Snapshot, Where
from keepstate._repository import shown_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keepstate._model.cells import Lost
    from keepstate._model.manifest import Entry, Head, ResultRecord
    from keepstate._snapshot.describing import Described

_NO_PACKAGES = frozenset({"__main__", "keepstate", *sys.builtin_module_names, *sys.stdlib_module_names})
PYTHON, PLATFORM = "python", "platform"
"""Among the versions of a manifest, besides those of packages by the name of their import."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """All that a snapshot says besides its values."""

    id: str
    project: str
    member: str
    notebook: str
    lineage: str
    sequence: int
    parents: Mapping[str, int]
    restored_from: str
    created_at: datetime
    reason: Reason
    consistency: Consistency
    started: float
    """Monotonic seconds at which the main thread was first held."""
    where: Where | None = None
    note: str = ""
    tracked: tuple[str, ...] = ()
    track_all: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Names that the selection itself left out → why."""
    carried: Mapping[str, Entry] = field(default_factory=dict)
    """Names that have not been brought back → where their last value is kept."""
    pending: Mapping[str, str] = field(default_factory=dict)
    """The same names → why they have not."""
    definitions: Mapping[str, bytes] = field(default_factory=dict)
    """Key of a group of definitions that these may use → id of its record."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of packages that are known already."""
    random: bytes = b""
    cells: tuple[Cell, ...] = ()
    """Those that had ended, and the one that runs."""
    unrecorded: tuple[Cell, ...] = ()
    """Those of them that have ended and that no snapshot has a record of."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """Names of an earlier session that could not be kept then and are still missing → what they were."""
    recipes: Mapping[str, object] = field(default_factory=dict)
    """Name → what makes its object anew where it cannot be kept."""
    described: Mapping[str, Described] = field(default_factory=dict)
    """Name → what an earlier picture has told of an object that could not be kept."""
    host: str = ""
    threads: tuple[str, ...] = ()
    strategy: str = ""
    result: ResultRecord | None = None
    """For a result of a function: of which call."""


def manifest_of(occasion: Occasion, **facts: object) -> Manifest:
    """Join what the occasion says with what the save has found; *facts* are fields of the manifest."""
    values: dict[str, object] = {
        "id": occasion.id,
        "project": occasion.project,
        "member": occasion.member,
        "notebook": occasion.notebook,
        "lineage": occasion.lineage,
        "sequence": occasion.sequence,
        "parents": dict(occasion.parents),
        "restored_from": occasion.restored_from,
        "created_at": occasion.created_at.isoformat(),
        "reason": occasion.reason,
        "consistency": occasion.consistency,
        "where": None if occasion.where is None else WhereRecord(occasion.where.cell, occasion.where.line),
        "note": occasion.note,
        "pending": dict(occasion.pending),
        "tracked": list(occasion.tracked),
        "track_all": occasion.track_all,
        "host": occasion.host,
        "threads": list(occasion.threads),
        "strategy": occasion.strategy,
        "result": occasion.result,
    }
    return msgspec.convert({**values, **facts}, Manifest)


def versions_of(packages: Iterable[str], *, known: Mapping[str, str]) -> dict[str, str]:
    """Give the versions of Python, this platform and *packages*.

    Args:
        packages: By the name of their import; what belongs to Python itself is passed over.
        known: Versions that were found in this process before.
    """
    found = {PYTHON: platform.python_version(), PLATFORM: f"{platform.system()} {platform.machine()}"}
    for name in sorted(set(packages) - _NO_PACKAGES):
        version = known.get(name) or _version_of(name)
        if version:
            found[name] = version
    return found


_CELL = msgspec.json.Decoder(Cell)


def _version_of(name: str) -> str:
    version = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(version, str):
        return str(version)  # torch has a subclass of str
    # Only where it is there: to import it in a forked child might not come to an end.
    metadata = sys.modules.get("importlib.metadata")
    try:
        return "" if metadata is None else str(metadata.version(name))
    except Exception:  # noqa: BLE001 - a package whose import is called otherwise; it goes without a version
        return ""


def encode_cells(cells: tuple[Cell, ...]) -> bytes:
    """Write the record of cells."""
    # One line a cell, so that an appended cell changes the end of the bytes alone.
    return b"\n".join(map(msgspec.json.encode, cells))


def decode_cells(data: bytes) -> list[Cell]:
    """Read the record of cells back, in the order in which they ran.

    Raises:
        msgspec.DecodeError: These are not the bytes of a record of cells.
    """
    return [_CELL.decode(line) for line in data.split(b"\n") if line]


def snapshot_of(head: Head, *, durability: Durability = "local") -> Snapshot:
    """Show a manifest as the user's snapshot."""
    where, shown = head.where, shown_of(head)
    return Snapshot(
        id=head.id,
        created_at=datetime.fromisoformat(head.created_at),
        reason=head.reason,
        consistency=head.consistency,
        names=shown.names,
        skipped=dict(shown.skipped),
        logical_bytes=head.logical_bytes,
        written_bytes=head.written_bytes,
        stall_seconds=head.stall_seconds,
        seconds=head.seconds,
        durability=durability,
        note=head.note,
        lineage=head.lineage,
        sequence=head.sequence,
        where=None if where is None else Where(where.cell, where.line),
        strategy=head.strategy,
    )
