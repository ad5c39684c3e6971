"""What a place for bytes does, and what it promises. The one Protocol that every backend and wrapper speaks.

A backend knows names and bytes, nothing else. What is written here is written once: a pack, a manifest, a
lease each have a name of their own that nobody uses again, so no backend needs to change anything in place,
and two writers can only add. Which promises differ from place to place is said by :class:`Properties`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

Operation = Literal["put", "get", "stat", "list", "delete"]

Proof = Literal["none", "checksum"]
"""What it means that ``put`` has returned.

``none``: the bytes were handed on, and nobody can say when, or whether, they arrive. ``checksum``: the far
side has answered that it keeps exactly these bytes (it compared a checksum, or refused to take others).
"""


@dataclass(frozen=True, slots=True)
class Properties:
    """What a backend can promise."""

    proof: Proof
    """What a ``put`` that returned says about the far side."""
    atomic_create: bool
    """Whether, of two that put the same new name at once, one is refused. Where it is ``False`` both may seem
    to succeed, and names must never be chosen twice."""
    atomic_replace: bool = True
    """Whether those who read an object while it is replaced find all of the old bytes or all of the new."""
    listing_delay_seconds: float = 0.0
    """How long after a ``put`` returned a ``list`` elsewhere may still miss it; 0: never."""
    far: bool = True
    """Whether it outlives this machine, and others may see it."""
    most_at_once: int = 8
    """Calls at a time that still make it faster, 1 or more."""
    puts_per_second: float | None = None
    """More than so many a second are refused or punished; ``None``: no such limit is known."""
    pack_bytes: int = 32 << 20
    """Length of objects that suits it, 8 to 64 MiB."""
    units: Mapping[Operation, float] = field(default_factory=dict)
    """What one call costs, by the far side's own measure, e.g. Drive's quota units; empty where it does not
    count."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a backend lists it."""

    name: str
    nbytes: int
    modified: datetime
    """By the clock of the far side; aware, in UTC."""


@runtime_checkable
class Backend(Protocol):
    """A place for bytes. All calls may come from any thread, several at once, and block until they are done.

    Names are relative paths: parts of ``a-z 0-9 _ - . @ + % ~`` (and ``A-F``, as in ``%2F``) joined by ``/``,
    none of them ``.`` or ``..``, at most 1024 characters; :func:`~keepstate.backends.check_name` checks them.

    Every call raises

    - ``InvalidInputError`` for a name or range that is none,
    - ``UnavailableError`` when the same call may succeed later (network, overload, a limit on the rate),
    - ``CredentialsError`` when it will not succeed until the user signs in or gives another key,
    - ``StoreFullError`` when space or quota is used up,
    - ``StoreError`` for every other failure of the far side.

    No message, repr or log record of a backend holds a credential.
    """

    @property
    def properties(self) -> Properties:
        """What this place promises."""
        ...

    @property
    def place(self) -> str:
        """Where it is, for messages: an address without credentials."""
        ...

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store *data* under *name*, all of it or nothing, and return when that has the proof promised.

        Args:
            name: Of the object.
            data: Its bytes, 0 or more; not read again after the return.
            replace: Take the place of what may be there. Readers find the old bytes or the new ones.

        Raises:
            AlreadyThereError: There is such an object, and *replace* is not set. A call that is repeated
                after a lost answer may meet its own success: compare before you believe in a conflict.
        """
        ...

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Give the bytes ``[start, start + length)`` of an object, cut off at its end; or all from *start*.

        Args:
            name: Of the object.
            start: 0 or more; at or behind the end, the answer is empty.
            length: 0 or more.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def stat(self, name: str) -> Item:
        """Look at one object.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object whose name begins with *prefix*, at any depth, in no particular order.

        Args:
            prefix: Empty, or a folder with its ``/`` at the end. One that is not there has no objects.

        Raises:
            Exception: As above, and before the first item: a listing that fails is never a short one.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object for good, where that frees its space; one that is not there is fine."""
        ...

    def close(self) -> None:
        """Give back connections and helper processes; may be called again, and no other call after it."""
        ...
