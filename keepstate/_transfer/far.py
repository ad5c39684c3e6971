"""The far side: a repository over a backend that tries again, keeps to the place's rates, and counts."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.retry import Backoff
from keepstate._repository import Repository
from keepstate._repository.far_disk import TOP, FarDisk
from keepstate.backends import Caching, Retrying, Throttled, open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate._base.clock import Clock, Flag
    from keepstate._model.snapshot import Durability
    from keepstate.backends import Address, Backend, Credentials, Item, Properties

Result = TypeVar("Result")

PATIENT = Backoff(first_seconds=0.5, longest_seconds=8.0, total_seconds=20.0)
"""For one call. What lasts longer is told to the user, and the round begins again, from what is there."""
HURRIED = Backoff(first_seconds=0.5, longest_seconds=4.0, total_seconds=10.0)
"""Where a user waits for ``start()``."""


class Counting:
    """The same place; every call is counted."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._guard = threading.Lock()
        self.requests = 0
        """Calls so far, those that failed among them."""

    @property
    def properties(self) -> Properties:
        """Those of the place."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    def _one(self) -> Backend:
        with self._guard:
            self.requests += 1
        return self._backend

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """See :class:`~keepstate.backends.Backend`."""
        self._one().put(name, data, replace=replace)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """See :class:`~keepstate.backends.Backend`."""
        return self._one().get(name, start=start, length=length)

    def stat(self, name: str) -> Item:
        """See :class:`~keepstate.backends.Backend`."""
        return self._one().stat(name)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """See :class:`~keepstate.backends.Backend`."""
        return self._one().list(prefix)

    def delete(self, name: str) -> None:
        """See :class:`~keepstate.backends.Backend`."""
        self._one().delete(name)

    def close(self) -> None:
        """See :class:`~keepstate.backends.Backend`."""
        self._backend.close()


@dataclass(frozen=True, slots=True)
class Far:
    """One far side, ready to be used."""

    backend: Counting
    level: Durability
    """What a snapshot is that is there: ``verified`` where the place acknowledges bytes, else ``queued``."""
    _disk: FarDisk
    _clock: Clock

    def repository(self, *, create: bool) -> Repository:
        """Open the store there.

        Raises:
            StoreError: There is none and none shall be made; or the place fails.
        """
        return Repository.open(TOP, create=create, disk=self._disk, clock=self._clock)

    @contextmanager
    def strictly(self) -> Iterator[None]:
        """Raise what a look inside the block could not read now, where the repository goes on without it.

        What cannot be read today is there all the same, and must not pass for gone. Besides, a repository
        says that it cannot be read, and not that the network is away, or the key no longer accepted.
        """
        self._disk.trouble = None
        try:
            yield
        finally:
            trouble, self._disk.trouble = self._disk.trouble, None
            if trouble is not None:
                raise trouble


def open_far(
    address: Address,
    credentials: Credentials,
    *,
    stop: Flag,
    backoff: Backoff = PATIENT,
    cached_bytes: int = 0,
    clock: Clock = SYSTEM_CLOCK,
) -> Far:
    """Get ready to speak with a place; nothing is asked of it yet.

    Args:
        address: Of the place.
        credentials: What it wants to see.
        stop: Ends all waits.
        backoff: How patient to be with one call.
        cached_bytes: Memory for bytes of packs that may be read again; 0 for those who read each once.
        clock: The time.

    Raises:
        CredentialsError: It wants credentials that are not there.
    """
    return far_at(
        open_backend(address, credentials, clock=clock),
        stop=stop,
        backoff=backoff,
        cached_bytes=cached_bytes,
        clock=clock,
    )


def far_at(
    backend: Backend,
    *,
    stop: Flag,
    backoff: Backoff = PATIENT,
    cached_bytes: int = 0,
    clock: Clock = SYSTEM_CLOCK,
) -> Far:
    """Get ready to speak with a place through its backend; see :func:`open_far`."""
    counting = Counting(backend)
    patient: Backend = Retrying(
        Throttled(counting, clock=clock, stop=stop), clock=clock, stop=stop, backoff=backoff
    )
    if cached_bytes:
        patient = Caching(patient, most_bytes=cached_bytes, written_once=lambda name: name.endswith(".pack"))
    return Far(backend=counting, level=level_of(counting.properties), _disk=FarDisk(patient), _clock=clock)


def level_of(properties: Properties) -> Durability:
    """Say what a snapshot is that a place has taken."""
    return "verified" if properties.proof == "checksum" else "queued"
