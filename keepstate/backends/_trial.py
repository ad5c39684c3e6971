"""Try a place out for real: write, read back, list, delete, and see how fast that is.

Nothing that a place does wrong ends the trial; each step says what it saw. What was written is removed again
in any case.
"""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.table import as_text, duration, size
from keepstate.errors import AlreadyThereError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keepstate._base.clock import Clock
    from keepstate.backends._protocol import Backend, Proof

TRIAL_BYTES = 4 << 20
"""Long enough that a slow line shows, short enough that nobody waits for it: 30 s at 1 Mbit/s."""

LONGEST_LISTING_SECONDS = 20.0
"""Waited at most for the object to appear in a listing; a mounted folder may take minutes, and say so."""

_BETWEEN_LISTINGS_SECONDS = 1.0

HEADINGS = ("step", "went well", "seconds", "what was seen")
"""Of the columns of :attr:`Trial.rows`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried."""

    name: str
    """``write``, ``read back``, ``read a range``, ``list``, ``refuse to overwrite``, ``delete``."""
    is_ok: bool
    why: str
    """What was seen instead, in a sentence; or a remark. May be empty."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What a place did when it was tried."""

    place: str
    proof: Proof
    """What a ``put`` that returns says there; see :class:`~keepstate.backends.Properties`."""
    nbytes: int
    """Length of the object that was written."""
    steps: tuple[Step, ...]
    upload_bytes_per_second: float | None
    """``None``: nothing was written."""
    download_bytes_per_second: float | None

    @property
    def is_fine(self) -> bool:
        """Whether all of it went well."""
        return all(step.is_ok for step in self.steps)

    @property
    def rows(self) -> Sequence[tuple[str, str, str, str]]:
        """A row of a table for each step; see :data:`HEADINGS`."""
        return [
            (step.name, "yes" if step.is_ok else "no", f"{step.seconds:.2f}", step.why) for step in self.steps
        ]

    def __str__(self) -> str:
        speeds = [
            f"{what} {size(speed)}/s"
            for what, speed in (
                ("up", self.upload_bytes_per_second),
                ("down", self.download_bytes_per_second),
            )
            if speed is not None
        ]
        first = f"{self.place}: {', '.join(speeds) or 'nothing could be written'}"
        return f"{first}\n{as_text(HEADINGS, self.rows)}"


def try_out(backend: Backend, *, clock: Clock = SYSTEM_CLOCK, nbytes: int = TRIAL_BYTES) -> Trial:
    """Write an object of random bytes below ``trial/``, do everything with it that keepstate does, remove it.

    Args:
        backend: The place; it stays open.
        clock: The time.
        nbytes: Length of the object, 1 or more.
    """
    if nbytes < 1:
        raise InvalidInputError(f"nbytes={nbytes}: give 1 or more")
    name = f"trial/{secrets.token_hex(16)}"
    tried = _Tried(backend, clock, name, os.urandom(nbytes))
    try:
        if tried.step("write", tried.write):
            tried.step("read back", tried.read_back)
            tried.step("read a range", tried.read_a_range)
            tried.step("list", tried.list)
            tried.step("refuse to overwrite", tried.overwrite)
            tried.step("delete", tried.delete)
    finally:
        tried.clean_up()
    seconds = {step.name: step.seconds for step in tried.steps if step.is_ok}
    return Trial(
        place=backend.place,
        proof=backend.properties.proof,
        nbytes=nbytes,
        steps=tuple(tried.steps),
        upload_bytes_per_second=_speed(nbytes, seconds.get("write")),
        download_bytes_per_second=_speed(nbytes, seconds.get("read back")),
    )


class _Tried:
    """One trial on its way; each of the steps gives a remark, or raises what went wrong."""

    def __init__(self, backend: Backend, clock: Clock, name: str, data: bytes) -> None:
        self._backend = backend
        self._clock = clock
        self._name = name
        self._data = data
        self.steps: list[Step] = []

    def step(self, name: str, attempt: Callable[[], str]) -> bool:
        """Make one step; whatever it raises is what was seen."""
        began = self._clock.monotonic()
        is_ok = False
        try:
            why = attempt()
            is_ok = True
        except _WrongError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - a backend of somebody else's may raise anything
            why = f"{type(error).__name__}: {error}"
        self.steps.append(Step(name, is_ok, why, self._clock.monotonic() - began))
        return is_ok

    def write(self) -> str:
        self._backend.put(self._name, self._data)
        return ""

    def read_back(self) -> str:
        self._compare(self._backend.get(self._name), self._data)
        return ""

    def read_a_range(self) -> str:
        start, length = len(self._data) // 3, len(self._data) // 3 + 1
        found = self._backend.get(self._name, start=start, length=length)
        self._compare(found, self._data[start : start + length])
        if len(behind := self._backend.get(self._name, start=len(self._data), length=1)):
            raise _WrongError(f"{len(behind)} bytes came from behind the end")
        return ""

    def list(self) -> str:
        allowed = self._backend.properties.listing_delay_seconds
        until = self._clock.monotonic() + min(allowed, LONGEST_LISTING_SECONDS)
        while True:
            found = {item.name: item.nbytes for item in self._backend.list("trial/")}
            left = until - self._clock.monotonic()
            if self._name in found:
                break
            if left <= 0 and allowed > LONGEST_LISTING_SECONDS:
                return (
                    f"it may take {duration(allowed)} until listings have a new object; it was not waited for"
                )
            if left <= 0:
                raise _WrongError("the object is not in the listing of its folder")
            self._clock.wait(threading.Event(), min(left, _BETWEEN_LISTINGS_SECONDS))
        if found[self._name] != len(self._data):
            raise _WrongError(
                f"the listing says {found[self._name]} bytes, and {len(self._data)} were written"
            )
        return ""

    def overwrite(self) -> str:
        try:
            self._backend.put(self._name, b"other bytes")
        except AlreadyThereError:
            self._compare(self._backend.get(self._name), self._data)
            return ""
        raise _WrongError("a second object of that name was accepted without being told to replace the first")

    def delete(self) -> str:
        self._backend.delete(self._name)
        try:
            self._backend.stat(self._name)
        except NotFoundError:
            return ""
        raise _WrongError("the object is still there")

    def clean_up(self) -> None:
        """Remove the object, also after a write of which nobody knows whether it worked."""
        try:
            self._backend.delete(self._name)
        except Exception:  # noqa: BLE001 - the step that failed before says why
            pass

    def _compare(self, found: memoryview, expected: bytes) -> None:
        if len(found) != len(expected):
            raise _WrongError(f"{len(found)} bytes came back, and {len(expected)} were asked for")
        if found != expected:
            raise _WrongError("other bytes came back than were written")


class _WrongError(Exception):
    """The place answered, and not what it should have."""


def _speed(nbytes: int, seconds: float | None) -> float | None:
    return None if seconds is None else nbytes / max(seconds, 1e-9)
