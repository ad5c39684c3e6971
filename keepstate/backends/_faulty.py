"""A backend that goes wrong as it is told to, to see what those who use it make of that.

The faults are those of real places: a connection that breaks before a request arrives or before its answer
does, an upload that was accepted and is lost, a listing that lags behind, an answer that ends too early, a
bit that flips.
Source: kopia ``internal/blobtesting/faulty.go``, where faults are scripted for each method.
"""

from __future__ import annotations

import copy
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keepstate._base.clock import Clock
    from keepstate.backends._protocol import Backend, Item, Operation, Properties


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, with which calls."""

    operation: Operation | Literal["any"]
    error: Exception | None = None
    """Raised, a copy each time."""
    times: int | None = 1
    """With so many calls; ``None``: with all of them."""
    after: int = 0
    """So many calls that fit go well before."""
    before_effect: bool = True
    """Whether *error* comes instead of the effect; ``False``: after it, so that only the answer is lost."""
    name_contains: str = ""
    """Only with names, or prefixes of a listing, that have this in them."""
    delay_seconds: float = 0.0
    """Before anything else happens."""
    loses: bool = False
    """A put returns, and the object is not there."""
    hides_from_lists: int = 0
    """The object of a put is missing from so many listings that would have it."""
    cut_bytes: int = 0
    """A get gives so many bytes less than it should, without saying so."""
    flips_bit: bool = False
    """One bit of what a get gives, or of what a put stores, is another."""


class Faulty:
    """The same place, with faults.

    Args:
        backend: The place.
        script: Of several faults that fit a call, the first happens.
        rate: With this probability a call that no fault of the script fits raises ``UnavailableError``; one
            half of them after its effect.
        seed: Makes the random faults the same for the same calls in the same order.
        clock: The time that delays take.
    """

    def __init__(
        self,
        backend: Backend,
        script: Sequence[Fault] = (),
        *,
        rate: float = 0.0,
        seed: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not 0 <= rate <= 1:
            raise InvalidInputError(f"rate={rate}: give a probability, from 0 to 1")
        self._backend = backend
        self._script = [*script]
        self._fitting = [0] * len(self._script)
        self._rate = rate
        self._random = random.Random(seed)
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._hidden: dict[str, int] = {}
        self.calls: list[tuple[Operation, str]] = []
        """Every call in the order of their beginnings: the operation, and the name or prefix."""

    def __repr__(self) -> str:
        return f"Faulty({self._backend!r})"

    @property
    def properties(self) -> Properties:
        """Those of the place, as if it were sound."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    def add(self, fault: Fault) -> None:
        """Let one more thing go wrong from now on."""
        with self._lock:
            self._script.append(fault)
            self._fitting.append(0)

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object, or not."""
        fault = self._begin("put", name)
        if fault.loses:
            return
        if fault.flips_bit:
            data = self._with_flipped_bit(memoryview(data))
        self._backend.put(name, data, replace=replace)
        if fault.hides_from_lists:
            with self._lock:
                self._hidden[name] = fault.hides_from_lists
        self._end(fault)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object, or something like it."""
        fault = self._begin("get", name)
        found = self._backend.get(name, start=start, length=length)
        self._end(fault)
        if fault.flips_bit:
            found = memoryview(self._with_flipped_bit(found))
        return found[: max(len(found) - fault.cut_bytes, 0)]

    def stat(self, name: str) -> Item:
        """Look at one object."""
        fault = self._begin("stat", name)
        found = self._backend.stat(name)
        self._end(fault)
        return found

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object, or those that this listing knows of."""
        fault = self._begin("list", prefix)
        found = [item for item in self._backend.list(prefix) if not self._hides(item.name)]
        self._end(fault)
        return iter(found)

    def delete(self, name: str) -> None:
        """Remove an object, or not."""
        fault = self._begin("delete", name)
        self._backend.delete(name)
        self._end(fault)

    def close(self) -> None:
        """End all delays and close the place."""
        self._closed.set()
        self._backend.close()

    def _begin(self, operation: Operation, name: str) -> Fault:
        with self._lock:
            self.calls.append((operation, name))
            fault = self._choose(operation, name)
        if fault.delay_seconds:
            self._clock.wait(self._closed, fault.delay_seconds)
        if fault.error is not None and fault.before_effect:
            raise copy.copy(fault.error)
        return fault

    def _choose(self, operation: Operation, name: str) -> Fault:
        chosen = None
        for number, fault in enumerate(self._script):
            if fault.operation not in (operation, "any") or fault.name_contains not in name:
                continue
            turn = self._fitting[number] - fault.after
            self._fitting[number] += 1
            if chosen is None and turn >= 0 and (fault.times is None or turn < fault.times):
                chosen = fault
        if chosen is not None:
            return chosen
        if self._rate and self._random.random() < self._rate:
            before = self._random.random() < 0.5
            said = f"{operation} of {name!r}: a random fault {'before' if before else 'after'} its effect"
            return Fault(operation, UnavailableError(said), before_effect=before)
        return Fault(operation)

    def _end(self, fault: Fault) -> None:
        if fault.error is not None:
            raise copy.copy(fault.error)

    def _hides(self, name: str) -> bool:
        with self._lock:
            left = self._hidden.get(name, 0)
            if left:
                self._hidden[name] = left - 1
            return left > 0

    def _with_flipped_bit(self, data: memoryview) -> bytearray:
        changed = bytearray(data)
        if changed:
            with self._lock:
                changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return changed
