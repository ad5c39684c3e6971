"""A backend that tries again what may pass by itself, so that patience lives in one place.

Repeating a call is safe because of what it repeats: reads change nothing, a deletion of what is gone is
fine, and a name is written once. Only a put whose answer was lost needs a second look: it may meet its own
success, and takes equal bytes for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.retry import Backoff, keep_trying
from keepstate.errors import AlreadyThereError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from keepstate._base.clock import Clock, Flag
    from keepstate.backends._protocol import Backend, Item, Operation, Properties

    OnWait = Callable[[Operation, Exception, float], None]

Result = TypeVar("Result")

BACKOFF = Backoff(first_seconds=1.0, longest_seconds=32.0, total_seconds=300.0)
"""Google asks for waits that double from 1 s up to 32 or 64 s (Drive, "Resolve errors"); five minutes outlast
a network that is gone for one, and whoever waits longer should say so to the user."""

_PIECE_BYTES = 8 << 20
"""Bytes that are compared at a time."""


class Retrying:
    """The same place, asked again after :class:`~keepstate.UnavailableError` and after nothing else.

    Args:
        backend: The place; one call of it is one attempt.
        stop: Once it is set no wait goes on, and what the last attempt raised is raised.
        clock: The time.
        backoff: How patient to be with one call.
        on_wait: Told of every wait before it begins: the operation, why, and for how many seconds. It may
            be called from any thread, and must not raise.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        stop: Flag,
        clock: Clock = SYSTEM_CLOCK,
        backoff: Backoff = BACKOFF,
        on_wait: OnWait | None = None,
    ) -> None:
        self._backend = backend
        self._stop = stop
        self._clock = clock
        self._backoff = backoff
        self._on_wait = on_wait

    def __repr__(self) -> str:
        return f"Retrying({self._backend!r})"

    @property
    def properties(self) -> Properties:
        """Those of the place."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object; equal bytes that are there after a lost answer are taken for its own."""
        failed = False

        def attempt() -> None:
            nonlocal failed
            try:
                self._backend.put(name, data, replace=replace)
            except UnavailableError:
                failed = True  # or it worked, and only the answer was lost
                raise
            except AlreadyThereError:
                if not failed or not self._holds(name, memoryview(data)):
                    raise

        self._patiently("put", attempt)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object."""
        return self._patiently("get", lambda: self._backend.get(name, start=start, length=length))

    def stat(self, name: str) -> Item:
        """Look at one object."""
        return self._patiently("stat", lambda: self._backend.stat(name))

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object; a listing that breaks off is begun again, and its beginning forgotten."""
        return iter(self._patiently("list", lambda: [*self._backend.list(prefix)]))

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._patiently("delete", lambda: self._backend.delete(name))

    def close(self) -> None:
        """Close the place."""
        self._backend.close()

    def _holds(self, name: str, data: memoryview) -> bool:
        """Say whether the object there has these very bytes."""
        data = data.cast("B") if data.nbytes else memoryview(b"")
        try:
            if self._backend.stat(name).nbytes != len(data):
                return False
            for at in range(0, len(data), _PIECE_BYTES):
                expected = data[at : at + _PIECE_BYTES]
                if self._backend.get(name, start=at, length=len(expected)) != expected:
                    return False
        except NotFoundError as error:
            raise UnavailableError(
                f"{self.place} says of {name!r} that it is there and that it is not: ask again later"
            ) from error
        return True

    def _patiently(self, operation: Operation, attempt: Callable[[], Result]) -> Result:
        telling = _TellingClock(self._clock, operation, self._on_wait)

        def worth(error: Exception) -> bool:
            telling.error = error
            return isinstance(error, UnavailableError)

        return keep_trying(
            lambda _seconds_left: attempt(),
            worth=worth,
            asked=lambda error: error.retry_after_seconds if isinstance(error, UnavailableError) else None,
            stop=self._stop,
            clock=telling,
            backoff=self._backoff,
        )


class _TellingClock:
    """The clock of one call, which says why it is asked to wait."""

    def __init__(self, clock: Clock, operation: Operation, on_wait: OnWait | None) -> None:
        self._clock = clock
        self._operation = operation
        self._on_wait = on_wait
        self.error = Exception()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def utc_now(self) -> datetime:
        return self._clock.utc_now()

    def wait(self, event: Flag, seconds: float) -> bool:
        if self._on_wait is not None and not event.is_set():
            self._on_wait(self._operation, self.error, seconds)
        return self._clock.wait(event, seconds)
