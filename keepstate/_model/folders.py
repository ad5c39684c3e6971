"""What passes between a save and a group that stores itself, as a watched folder of files does.

The files of a folder are not objects of the notebook: no codec encodes them and no picture freezes them. They
enter a snapshot as one name, written like a path, whose group holds a table of files beside their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keepstate._model.manifest import Entry, GroupRecord, Ref

FOLDER_CODEC = "files1"
"""How the group of a watched folder says what it is."""
FOLDER_TYPE = "folder"
"""What people read as the type of such a name."""


def is_folder_name(name: str) -> bool:
    """Say whether a name of a snapshot is that of a watched folder; no variable can be called so.

    >>> is_folder_name("outputs/"), is_folder_name("outputs")
    (True, False)
    """
    return name.endswith("/")


class PartStore(Protocol):
    """The side of a save that takes bytes; errors of the store itself must be let through."""

    def put(self, pieces: Iterable[memoryview]) -> Ref:
        """Store bytes given in pieces of 1 MiB, the last may be shorter; each is done with at the next."""
        ...

    def put_stream(self, stream: bytes) -> Ref:
        """Store the stream of a group."""
        ...

    def put_record(self, record: GroupRecord) -> bytes:
        """Store the record of a group and return its id."""
        ...

    def rely(self, ref: Ref) -> bool:
        """Count on bytes that an earlier save has stored; ``False``: not all are there any more."""
        ...

    def has_room(self, nbytes: int) -> bool:
        """Say whether so many more bytes fit into the store."""
        ...

    def progress(self, name: str, nbytes: int) -> None:
        """Tell what is being worked on, and how many bytes are behind; call it often."""
        ...


@dataclass(frozen=True, slots=True)
class SelfStored:
    """What became of a group that stored itself."""

    entry: Entry
    """Where it is."""
    memory: bytes
    """To be given to the group of the next save; of no meaning to anyone else. Empty: what this one was given
    still holds."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Path, beginning with the name of the group → why it is not kept as it is now."""
    unfinished: bool = False
    """Whether another save soon would keep more."""


class SelfStoring(Protocol):
    """A group that a save stores beside those that a codec has encoded."""

    @property
    def name(self) -> str:
        """Its name in the snapshot."""
        ...

    @property
    def relies(self) -> bool:
        """Whether it may count on what an earlier save has stored."""
        ...

    def store(self, store: PartStore) -> SelfStored:
        """Store what there is now; runs in a forked child or in a thread, after the objects."""
        ...
