"""What a session tells the process that it starts: one JSON document, through a pipe for its secrets."""

from __future__ import annotations

import msgspec

from keepstate._transfer.trouble import SLOW_SECONDS


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The times by which the transfer works, in seconds."""

    look_seconds: float = 0.5
    """Between two looks for news."""
    settle_seconds: float = 2.0
    """Without a new snapshot before a round begins: of several, only the newest need be sent."""
    longest_settle_seconds: float = 15.0
    """After the first of them a round begins all the same."""
    first_backoff_seconds: float = 1.0
    """Bound of the first wait after a failure; it doubles."""
    longest_backoff_seconds: float = 300.0
    slow_seconds: float = SLOW_SECONDS
    """Between attempts that only the user can make succeed."""
    orphan_patience_seconds: float = 1800.0
    """How long what cannot be sent is tried after the last session has died."""
    linger_seconds: float = 15.0
    """How long to stay after the last session has died: what a killed kernel was writing may still come."""
    finish_seconds: float = 60.0
    """What the request in hand may take once the process is told to end: 64 MiB at 1 MiB/s."""
    first_upkeep_seconds: float = 600.0
    """After the start; the machine and its user are busy before."""
    upkeep_seconds: float = 6 * 3600.0
    """Between two upkeeps: retention is by hours and days."""
    heartbeat_seconds: float = 5.0
    """Between two reports while something is done."""
    progress_seconds: float = 0.25
    """The least between two reports of which only the second says how far it has come."""


class Commission(msgspec.Struct, frozen=True, kw_only=True):
    """What to transfer where, by whose right."""

    session: str
    order: int
    address: str
    work: str
    """``module:function`` that makes the :class:`~keepstate._transfer.work.Work`."""
    credentials: dict[str, str]
    settings: dict[str, object] = {}
    """For the work; no secrets."""
    options: Options = Options()
    search: tuple[str, ...] = ()
    """Where the session looks for modules: a package that the user has put aside must be found here too."""

    def __repr__(self) -> str:
        return f"Commission({self.session}, {self.address})"


def read_commission(said: bytes) -> Commission:
    """Read the document.

    Raises:
        msgspec.MsgspecError: It is none.
    """
    return msgspec.json.decode(said, type=Commission)
