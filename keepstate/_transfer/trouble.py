"""What a failed attempt means: what the user is told, and when it is tried again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.retry import Backoff
from keepstate.errors import CredentialsError, KeepstateError, StoreFullError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._transfer.report import State

PATIENCE = Backoff(first_seconds=1.0, longest_seconds=300.0)
"""Five minutes at the longest: a network that is back should not go unused for longer."""
HURRY = Backoff(first_seconds=1.0, longest_seconds=5.0)
"""While somebody waits in front of a call."""
SLOW_SECONDS = 600.0
"""Between attempts that only the user can make succeed: they may have freed space, or mended a right."""
_LONGEST_SENTENCE = 600
"""Characters. Some libraries put the whole answer of a server into an error."""
_EVEN = secrets.SystemRandom().random


@dataclass(frozen=True, slots=True)
class Trouble:
    """A row of failed attempts."""

    state: State
    sentence: str
    attempts: int
    """In a row, 1 or more."""
    since: float
    """When the first of them failed, by the monotonic clock."""
    failed_at: float
    """When the last of them did."""
    asked_seconds: float
    """How long the far side asked to wait after it, 0 or more."""
    wait_seconds: float
    """After the last of them, if nobody is in a hurry."""
    hurry_seconds: float
    """The same if somebody waits in front of a call."""

    @property
    def needs_the_user(self) -> bool:
        """Whether time alone will not help."""
        return self.state in ("credentials", "full")

    def due(self, *, hurry: bool, afresh: bool) -> float:
        """When to try again, by the monotonic clock.

        Args:
            hurry: Somebody waits for it.
            afresh: They began to wait after the last attempt.
        """
        if afresh:
            wait = 0.0
        elif hurry and not self.needs_the_user:
            wait = self.hurry_seconds
        else:
            wait = self.wait_seconds
        # What the far side asks for is never cut short: who comes back too early is sent away for longer.
        return self.failed_at + max(wait, self.asked_seconds)


def trouble_of(
    error: BaseException,
    before: Trouble | None,
    *,
    now: float,
    slow_seconds: float = SLOW_SECONDS,
    patience: Backoff = PATIENCE,
    redact: Callable[[object], str] = str,
    draw: Callable[[], float] = _EVEN,
) -> Trouble:
    """Judge one more failure.

    Args:
        error: What was raised.
        before: The row that it continues.
        now: By the monotonic clock.
        slow_seconds: Between attempts that only the user can make succeed.
        patience: For all others.
        redact: Takes secrets out of a sentence.
        draw: An even random number from [0, 1).
    """
    attempts = 1 if before is None else before.attempts + 1
    state = _state(error)
    wait = draw() * patience.bound(attempts - 1)
    hurry = draw() * min(HURRY.bound(attempts - 1), patience.longest_seconds)
    if state in ("credentials", "full"):
        wait = slow_seconds
    return Trouble(
        state=state,
        sentence=said_of(error, redact),
        attempts=attempts,
        since=now if before is None else before.since,
        failed_at=now,
        asked_seconds=(error.retry_after_seconds or 0.0) if isinstance(error, UnavailableError) else 0.0,
        wait_seconds=wait,
        hurry_seconds=hurry,
    )


def _state(error: BaseException) -> State:
    match error:
        case UnavailableError():
            return "unreachable"
        case CredentialsError():
            return "credentials"
        case StoreFullError():
            return "full"
        case _:
            return "trouble"


def said_of(error: BaseException, redact: Callable[[object], str]) -> str:
    """Say an error in a sentence without secrets."""
    said = redact(error)
    if not isinstance(error, KeepstateError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return said if len(said) <= _LONGEST_SENTENCE else said[:_LONGEST_SENTENCE] + "…"
