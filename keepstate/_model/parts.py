"""What passes between objects and bytes: groups of names as a stream and parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from keepstate._model.facts import Facts

    Stream = bytes | bytearray | memoryview

Role = Literal["variable", "definition"]


@dataclass(frozen=True, slots=True)
class Part:
    """A buffer that a codec emits beside its stream; never copied by the codec.

    ``memory`` has shape ``(n,)``, format ``B``, and shows the live object's memory.
    """

    memory: memoryview
    itemsize: int
    """Bytes per element, for compression that shuffles by it; 1 where unknown."""
    writable: bool
    """Whether the restored memory must accept writes."""
    row_bytes: int = 0
    """How far apart the rows of the array are that it shows, or the columns of a frame; 0 where unknown."""


@dataclass(frozen=True, slots=True)
class Member:
    """One name inside a group."""

    name: str
    role: Role
    """A variable of the notebook, or a class or function that others need."""
    type: str
    """Qualified type name, for people."""
    bind: bool = True
    """Whether the name is bound in the notebook (a superseded class is kept, but not bound)."""
    source: str = ""
    """Source text of a definition, where it is known."""
    facts: Facts | None = None
    """What is recorded of a variable's value."""


@dataclass(frozen=True, slots=True)
class EncodedGroup:
    """Names that share mutable objects, encoded as one stream so that they share them again."""

    key: str
    """Unique in its snapshot and stable from one snapshot to the next, e.g. the first name."""
    members: tuple[Member, ...]
    needs: tuple[str, ...]
    """Keys of the groups that must be decoded first; never a cycle."""
    stream: bytes
    parts: tuple[Part, ...]
    unchanged: bool = False
    """Whether its stream would be the one that it had when its imprint was made; then it is not here."""
    facts: bytes | None = None
    """What the stream depends on besides memory, for an imprint; ``None``: there is none to be made."""

    @property
    def logical_bytes(self) -> int:
        """Bytes of the stream and of all parts."""
        return len(self.stream) + sum(part.memory.nbytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Encoding:
    """All groups of one picture, each after those it needs, and what could not be encoded."""

    groups: tuple[EncodedGroup, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """name → why, in a sentence a user understands."""
    packages: frozenset[str] = frozenset()
    """What must be imported for the types of these objects, by top-level name."""


class PartReader(Protocol):
    """The bytes of a stored part, checked against their ids as they are read."""

    @property
    def nbytes(self) -> int:
        """Length of the part."""
        ...

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        ...

    @property
    def writable(self) -> bool:
        """Whether the memory must accept writes."""
        ...

    def read_into(self, memory: memoryview) -> None:
        """Fill *memory* (``nbytes`` long, format ``B``); raises IntegrityError on damage."""
        ...

    def steps(self, memory: memoryview) -> Iterator[Callable[[], None]]:
        """Give what fills *memory*, in calls that any threads may make, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group as it is read back, its stream already checked."""

    key: str
    members: tuple[Member, ...]
    stream: Stream
    parts: Sequence[PartReader]
    resolve: Callable[[str], object]
    """Gives the object of a needed definition by its name within the snapshot; may decode other groups."""
    spent: Callable[[int], object] | None = None
    """Told how many bytes of the stream have been decoded: nobody reads them again."""
