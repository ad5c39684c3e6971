"""What there is to tell, and in which words: names and sizes, never values.

A message is read on a locked phone: the title says all that matters, the text has the rest. Both are bounded
so that every service takes them whole, however it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, ClassVar, Literal

from keepstate._base.table import duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

TITLE_LIMIT = 80
TEXT_LIMIT = 900
"""Characters. If each is escaped, or takes two of 16 bits, title and text fit into the 2,000 of Discord,
and a text into the 4,096 bytes of ntfy, which sends a longer one as a file."""

NAMES_SHOWN = 8
"""A phone shows about four lines."""

_LONGEST_NAME = 40
_LONGEST_IDENTITY = 200
_LONGEST_SENTENCE = 400
"""Characters; texts of the user's and of libraries may have any length."""

URGENT_SECONDS = 300.0
"""An end so near, with something unsaved, is worth a sound that cannot be missed."""


@dataclass(frozen=True, slots=True)
class DeadlineAhead:
    """The host is going to end the session."""

    event: ClassVar[str] = "deadline-ahead"

    identity: str
    kind: Literal["idle", "lifetime"]
    at: datetime
    """Aware."""
    seconds_left: float
    safe: bool
    """Whether everything tracked is where it must be."""
    unsaved: tuple[str, ...] = ()
    pending_bytes: int = 0
    """Not yet proven at the durable store."""
    needs_seconds: float | None = None
    """How long these bytes will take; ``None``: not known."""


@dataclass(frozen=True, slots=True)
class SaveFailing:
    """Saves fail, again and again."""

    event: ClassVar[str] = "save-failing"

    identity: str
    since: datetime
    """Aware; the first failure in this row."""
    times: int
    sentence: str
    """What the newest failure said."""


@dataclass(frozen=True, slots=True)
class SaveWorksAgain:
    """Saves had failed, and that was told."""

    event: ClassVar[str] = "save-works-again"

    identity: str
    failed_for_seconds: float


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The guard has ended."""

    event: ClassVar[str] = "session-ended"

    identity: str
    reason: str
    snapshot: str | None
    """Id of the last one; ``None``: there is none."""
    kept: tuple[str, ...] = ()
    logical_bytes: int = 0


Message = DeadlineAhead | SaveFailing | SaveWorksAgain | SessionEnded

KINDS: tuple[type[Message], ...] = (DeadlineAhead, SaveFailing, SaveWorksAgain, SessionEnded)


@dataclass(frozen=True, slots=True)
class Words:
    """A message as people read it."""

    title: str
    """Printable ASCII, so that it may be a header."""
    text: str
    urgency: int
    """1 to 5 as ntfy counts: 3 is normal, 5 cannot be missed."""
    tag: str
    """Name of a picture, as ntfy and GitHub call it."""


def words_of(message: Message) -> Words:
    """Say it."""
    match message:
        case DeadlineAhead():
            title, lines, urgency, tag = _deadline_ahead(message)
        case SaveFailing():
            title, lines, urgency, tag = _save_failing(message)
        case SaveWorksAgain():
            title = f"keepstate: saving works again after {span(message.failed_for_seconds)}"
            lines, urgency, tag = ["The newest state is kept."], 3, "white_check_mark"
        case SessionEnded():
            title, lines, urgency, tag = _session_ended(message)
    text = "\n".join([*lines, one_line(message.identity, _LONGEST_IDENTITY)])
    return Words(title[:TITLE_LIMIT], cut(text, TEXT_LIMIT), urgency, tag)


def _deadline_ahead(message: DeadlineAhead) -> tuple[str, list[str], int, str]:
    state = "all is saved" if message.safe else "NOT all is saved"
    title = f"keepstate: the session ends in {span(message.seconds_left)}, {state}"
    if message.kind == "idle":
        lines = [f"The host ends idle sessions: this one {_moment(message.at)}, if it stays unused."]
    else:
        lines = [f"The host ends sessions after some hours: this one {_moment(message.at)}."]
    if message.unsaved:
        lines.append(f"Not saved yet: {name_list(message.unsaved)}.")
    if message.pending_bytes:
        lines.append(_pending(message))
    if message.safe:
        return title, lines, 3, "hourglass"
    return title, lines, 5 if message.seconds_left <= URGENT_SECONDS else 4, "warning"


def _pending(message: DeadlineAhead) -> str:
    waiting = f"{size(message.pending_bytes)} are not yet proven to be at the durable store"
    if message.needs_seconds is None:
        return f"{waiting}."
    if message.needs_seconds > message.seconds_left:
        return f"{waiting}; they need about {span(message.needs_seconds)}, more than is left."
    return f"{waiting}; they need about {span(message.needs_seconds)}."


def _save_failing(message: SaveFailing) -> tuple[str, list[str], int, str]:
    title = f"keepstate: nothing could be saved, {message.times} times in a row"
    lines = [
        one_line(message.sentence, _LONGEST_SENTENCE),
        f"First failure {_moment(message.since)}.",
    ]
    return title, lines, 4, "warning"


def _session_ended(message: SessionEnded) -> tuple[str, list[str], int, str]:
    reason = f"Reason: {one_line(message.reason, _LONGEST_NAME)}."
    if message.snapshot is None:
        return "keepstate: the session ended, nothing is kept", [reason], 4, "warning"
    what = f"{len(message.kept)} {'name' if len(message.kept) == 1 else 'names'}"
    kept = f"Kept: {name_list(message.kept)}; {size(message.logical_bytes)}." if message.kept else ""
    where = f"Snapshot {one_line(message.snapshot, _LONGEST_NAME)}."
    lines = [line for line in (kept, where, reason) if line]
    return f"keepstate: the session ended, {what} kept", lines, 3, "checkered_flag"


def _moment(at: datetime) -> str:
    return f"at {at.astimezone(UTC):%H:%M UTC on %Y-%m-%d}"


def span(seconds: float) -> str:
    """Say a time in one unit or two, rounded down: nobody is promised a minute that is not there.

    >>> span(-3), span(59), span(119), span(899), span(7_384)
    ('0 s', '59 s', '119 s', '14 min', '2 h 3 min')
    """
    whole = max(0, int(min(seconds, 1e9)))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else duration(whole)


def name_list(names: Sequence[str]) -> str:
    """Name the first few and count the rest.

    >>> name_list(["a"]), name_list([f"x{n}" for n in range(20)])
    ('a', 'x0, x1, x2, x3, x4, x5, x6, x7 and 12 more')
    """
    first = ", ".join(one_line(name, _LONGEST_NAME) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{first} and {more} more" if more > 0 else first


def one_line(text: str, limit: int) -> str:
    """Put *text* on one line without control characters or halves of characters, cut to *limit*.

    >>> one_line("a\\nb\\ud800c", 9)
    'a b c'
    """
    return cut("".join(each if each.isprintable() else " " for each in text[: limit + 1]), limit)


def cut(text: str, limit: int) -> str:
    """Cut *text* to *limit* characters, 1 or more, and show that it was."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
