"""What the transfer says of itself: a report that it writes, and anybody reads.

Frozen values. What is not known stays at its default; nothing here is ever a guess.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from keepstate._model.snapshot import Durability  # noqa: TC001 - msgspec reads the annotations

State = Literal["waiting", "idle", "sending", "unreachable", "credentials", "full", "trouble", "ended"]
"""``waiting``: something is to be sent, or it is not known yet. ``idle``: everything is there.

``unreachable``, ``credentials``, ``full`` and ``trouble`` say why the last attempt failed; it is tried again.
``ended``: no session needs it any more.
"""


class Pending(msgspec.Struct, frozen=True):
    """What the far side lacks and should have."""

    ids: tuple[str, ...] = ()
    """Of snapshots. Those that newer ones have superseded are not wanted, and not among them."""
    nbytes: int = 0
    """An estimate of what is to be sent for them."""


class Progress(msgspec.Struct, frozen=True):
    """How far a round has come."""

    done_bytes: int = 0
    all_bytes: int = 0
    """An estimate, which may grow."""
    requests: int = 0
    """To the far side, in this round."""


class Round(msgspec.Struct, frozen=True):
    """What one round of the transfer has done."""

    ids: tuple[str, ...] = ()
    """Of the snapshots that are there now, and were not before."""
    sent_bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    """How long it was sending."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How the transfer stands."""

    state: State = "waiting"
    levels: dict[str, Durability] = {}
    """Snapshot → ``queued`` or ``verified``; one that is missing is not at the far side, or not wholly."""
    pending_ids: tuple[str, ...] = ()
    pending_bytes: int = 0
    """What is left to be sent, estimated."""
    sent_bytes: int = 0
    """By the process that wrote this, with what the present round has sent so far."""
    requests: int = 0
    """The same for requests."""
    bytes_per_second: float | None = None
    """How fast the way to the far side is; ``None`` until enough was sent to tell."""
    error: str | None = None
    """Why the last attempt failed, in a sentence without secrets; ``None`` if it did not."""
    last_success: str | None = None
    """When it was last seen that everything was there; ISO 8601, UTC."""
    last_upkeep: str | None = None
    """When the far side was last tidied; ISO 8601, UTC."""
    place: str = ""
    """Address of the far side."""
    pid: int = 0
    """Of the process that wrote this; 0: none has."""
    process_started: str = ""
    updated_at: str = ""
    """ISO 8601, UTC."""
    answered: tuple[str, ...] = ()
    """Names of wishes for which nothing is left to do."""
    refused: tuple[str, ...] = ()
    """Names of wishes that will not be fulfilled until the user does something."""


MiB = 1 << 20
LEAST_TELLING_BYTES = 1 * MiB
"""A round that sent less was waiting for answers more than sending."""
NEWEST_WEIGHT = 0.3
"""Of a round in the average: three rounds tell a new network from an old one."""


def measured(before: float | None, done: Round) -> float | None:
    """Give the bytes a second after one more round.

    >>> measured(None, Round(sent_bytes=10 * MiB, seconds=5.0)) == 2 * MiB
    True
    >>> measured(4.0, Round(sent_bytes=100, seconds=100.0))
    4.0
    """
    if done.sent_bytes <= LEAST_TELLING_BYTES or done.seconds <= 0:
        return before
    rate = done.sent_bytes / done.seconds
    return rate if before is None else before + NEWEST_WEIGHT * (rate - before)
