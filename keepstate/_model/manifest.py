"""What is written: the records of repository format 1.

Each is a msgspec struct, so that bytes from a disk are validated into exactly these shapes or refused.
A field may be added with a default; a reader ignores fields that it does not know.
Byte layout and order of writes: ``_repository/FORMAT.md``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from keepstate._model.cells import Lost  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._model.facts import Facts  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._model.parts import Role  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._model.snapshot import Consistency, Reason  # noqa: TC001

ID_BYTES = 32
"""Length of a blake3 id."""

Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
"""The blake3-256 of a chunk's plain bytes."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A number of bytes or things."""


class Ref(msgspec.Struct, frozen=True, array_like=True):
    """Where the bytes of one stream or part are."""

    length: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    """Bytes, 0 to 1 TiB."""
    id: Annotated[bytes, msgspec.Meta(max_length=ID_BYTES)]
    """Id of a chunk; empty if, and only if, *length* is 0."""
    depth: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    """0: the chunk is the bytes. 1: it is a list of up to 1024 chunks. 2: it is a list of such lists."""


class PartRecord(msgspec.Struct, frozen=True, array_like=True):
    """A stored part."""

    ref: Ref
    itemsize: Count
    writable: bool


class MemberRecord(msgspec.Struct, frozen=True, array_like=True):
    """A name inside a group."""

    name: str
    role: Role
    type: str
    bind: bool
    source: str = ""


class GroupRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One group: how to get its names back. Content-addressed, so an unchanged group costs nothing."""

    codec: str
    """``pickle5`` in format 1."""
    members: list[MemberRecord]
    needs: dict[str, Id]
    """Key of a needed group → id of its record."""
    key: str
    stream: Ref
    parts: list[PartRecord]
    facts: dict[str, Facts] = {}
    """Name of a variable → what is known of its value without decoding it."""


class Entry(msgspec.Struct, frozen=True):
    """One name of a snapshot."""

    group: Id
    """Id of its group record."""
    type: str
    logical_bytes: Count
    """Of its whole group."""
    kept_in: str = ""
    """For a name carried by reference: id of the snapshot whose value this is."""


class WhereRecord(msgspec.Struct, frozen=True):
    """The place inside an unfinished cell."""

    cell: int | None
    line: int | None


class Apart(msgspec.Struct, frozen=True, array_like=True):
    """What a manifest of very many names holds in their place."""

    contents: Id
    """Id of the record that says where they are."""
    shown: bytes
    """Names and what was not kept, compressed: enough to list a snapshot."""
    carried: dict[str, str]
    """Id of each snapshot from which names are carried → the first of these names."""


RESULTS = "<results>"
"""In place of a notebook: where results of functions are kept. No host calls one so, and no user may."""


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a result of a function is of. Its lineage is the key of the call."""

    function: str
    """Module and name; ``cell`` for a cell."""
    notebook: str
    """Of the session that has made it."""
    cleared: bool = False
    """Whether it only says that results of this call that came before are not to be used."""
    values: dict[str, bytes] = {}
    """Name → digest of the value, by which it is told that it has come back as it was."""
    inputs: dict[str, bytes] = {}
    """What the key was made of: what it is of → the beginning of its digest, to say what has changed. What is
    in parentheses is not in the key, and is compared: the order of sets, what a cell defines."""
    libraries: dict[str, str] = {}
    """Libraries that were used → their versions."""
    arguments: dict[str, str] = {}
    """The beginnings of their ``repr``, for people."""
    call_seconds: float = 0.0
    """How long the function ran."""
    changed: list[str] = []
    """Names of inputs that a cell has changed in place."""
    unbound: list[str] = []
    """Names that a cell has bound and that were not to be kept, or that it has unbound."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot without its names: enough to put snapshots in order, to list them, and to choose one."""

    id: str
    project: str
    member: str
    notebook: str
    lineage: str
    sequence: Count
    """Place within its lineage."""
    parents: dict[str, int]
    """Lineages that were there when this one began → their last sequence then; newest is by these, not by
    clock."""
    restored_from: str = ""
    """Id of the snapshot that this session began with."""
    created_at: str
    """ISO 8601, UTC."""
    reason: Reason
    consistency: Consistency
    where: WhereRecord | None = None
    note: str = ""
    track_all: bool = False
    random: Ref | None = None
    cells: Ref | None = None
    host: str = ""
    threads: list[str] = []
    """Names of the user's threads that ran while the picture was taken."""
    logical_bytes: Count = 0
    written_bytes: Count = 0
    """Bytes that this snapshot added to its repository, with this manifest."""
    stall_seconds: float = 0.0
    seconds: float = 0.0
    strategy: str = ""
    encryption: str = ""
    """Reserved: how the chunks are encrypted; a reader refuses anything but the empty string."""
    apart: Apart | None = None
    """Where the names are, if they are very many; in a manifest that was read whole as well."""
    result: ResultRecord | None = None
    """For a result of a function: of which call."""

    @property
    def is_result(self) -> bool:
        """Whether it is a result of a function, and no state of a notebook."""
        return self.notebook == RESULTS


class Manifest(Head, frozen=True, kw_only=True):
    """One snapshot. Its appearance is the commit."""

    names: dict[str, Entry]
    definitions: dict[str, Id] = {}
    """Key of a group that only holds definitions, or of a recipe → id of the record of its group."""
    skipped: dict[str, str] = {}
    pending: dict[str, str] = {}
    """Names carried by reference that had not been brought back → why."""
    tracked: list[str] = []
    """Names under guard, kept or not."""
    versions: dict[str, str] = {}
    lost: dict[str, Lost] = {}
    """Names that are missing because they could not be kept, now or earlier → what they were."""
