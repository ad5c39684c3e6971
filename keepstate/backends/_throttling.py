"""A backend that waits for its turn, so that a place that counts calls is never asked too often.

A bucket for each kind of call fills with time and is emptied by calls; who finds too little waits until it
would be there, and those who come later wait behind. What the far side asks everybody to wait for, after one
call too many, holds up all threads and not only the one that was told.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeVar

    from keepstate._base.clock import Clock, Flag
    from keepstate.backends._protocol import Backend, Item, Operation, Properties

    Result = TypeVar("Result")

BURST_SECONDS = 2.0
"""What may be saved up: a start with a few reads is not slowed down, and a minute's limit is not felt."""

LONGEST_PAUSE_SECONDS = 60.0
"""A longer pause that the far side asks for is left to the caller, who can tell the user."""


class Bucket:
    """Something that fills at a steady rate, and that callers take from. For any number of threads.

    Args:
        per_second: How fast it fills, above 0.
        most: How much it holds, above 0; it is full at first.
        clock: The time.
    """

    def __init__(self, *, per_second: float, most: float, clock: Clock) -> None:
        if not per_second > 0 or not most > 0:
            raise InvalidInputError(f"per_second={per_second}, most={most}: give more than 0")
        self._per_second = per_second
        self._most = most
        self._clock = clock
        self._level = most
        self._at = clock.monotonic()
        self._lock = threading.Lock()

    def take(self, amount: float) -> float:
        """Take *amount*, more than there is if need be; return the seconds until it will have been there."""
        with self._lock:
            now = self._clock.monotonic()
            self._level = min(self._most, self._level + (now - self._at) * self._per_second)
            self._at = now
            self._level -= amount
            return max(-self._level / self._per_second, 0.0)

    def give_back(self, amount: float) -> None:
        """Put back what was taken and not used."""
        with self._lock:
            self._level = min(self._most, self._level + amount)


class Throttled:
    """The same place, asked no more often than it bears.

    Args:
        backend: The place.
        stop: Once it is set no wait goes on, and calls that would need one raise ``UnavailableError``.
        clock: The time.
        per_second: Operation → calls a second; ``None``: puts as the place's properties say.
        units_per_second: What all calls together may cost a second, by ``properties.units``; ``None``: they
            are not counted.
        burst_seconds: For how long unused turns are saved up, above 0; one call is always saved up.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        stop: Flag,
        clock: Clock = SYSTEM_CLOCK,
        per_second: Mapping[Operation, float] | None = None,
        units_per_second: float | None = None,
        burst_seconds: float = BURST_SECONDS,
    ) -> None:
        promised = backend.properties
        if per_second is None:
            per_second = {} if promised.puts_per_second is None else {"put": promised.puts_per_second}
        self._backend = backend
        self._stop = stop
        self._clock = clock
        self._units = promised.units
        self._calls = {
            operation: Bucket(per_second=rate, most=max(1.0, rate * burst_seconds), clock=clock)
            for operation, rate in per_second.items()
        }
        self._costs = None
        if units_per_second is not None:
            most = max([units_per_second * burst_seconds, *self._units.values()])
            self._costs = Bucket(per_second=units_per_second, most=most, clock=clock)
        self._paused_until = clock.monotonic()

    def __repr__(self) -> str:
        return f"Throttled({self._backend!r})"

    @property
    def properties(self) -> Properties:
        """Those of the place."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object in its turn."""
        self._in_turn("put", lambda: self._backend.put(name, data, replace=replace))

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object in its turn."""
        return self._in_turn("get", lambda: self._backend.get(name, start=start, length=length))

    def stat(self, name: str) -> Item:
        """Look at one object in its turn."""
        return self._in_turn("stat", lambda: self._backend.stat(name))

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object in its turn; a long listing is one call, whatever it is made of."""
        return self._in_turn("list", lambda: self._backend.list(prefix))

    def delete(self, name: str) -> None:
        """Remove an object in its turn."""
        self._in_turn("delete", lambda: self._backend.delete(name))

    def close(self) -> None:
        """Close the place."""
        self._backend.close()

    def _in_turn(self, operation: Operation, call: Callable[[], Result]) -> Result:
        wanted: list[tuple[Bucket, float]] = []
        if operation in self._calls:
            wanted.append((self._calls[operation], 1.0))
        if self._costs is not None:
            wanted.append((self._costs, self._units.get(operation, 0.0)))
        wait = max([0.0, *(bucket.take(amount) for bucket, amount in wanted)])
        wait = max(wait, self._paused_until - self._clock.monotonic())
        # Asked again after it, because another thread may have been told to pause meanwhile.
        while wait > 0:
            if self._clock.wait(self._stop, wait):
                for bucket, amount in wanted:
                    bucket.give_back(amount)
                raise UnavailableError(f"{self.place}: stopped while a call waited for its turn")
            wait = self._paused_until - self._clock.monotonic()
        try:
            return call()
        except UnavailableError as error:
            if error.retry_after_seconds:
                pause = min(error.retry_after_seconds, LONGEST_PAUSE_SECONDS)
                self._paused_until = max(self._paused_until, self._clock.monotonic() + pause)
            raise
