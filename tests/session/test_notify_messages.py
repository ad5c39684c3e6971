"""A message says what matters in its title, is bounded, and has names but no values."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest

from keepstate._session.notify_messages import (
    KINDS,
    TEXT_LIMIT,
    TITLE_LIMIT,
    DeadlineAhead,
    SaveFailing,
    SaveWorksAgain,
    SessionEnded,
    words_of,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AHEAD = DeadlineAhead("project 'p'", "idle", NOON, 900.0, safe=True)


def test_a_deadline_with_everything_safe_is_calm():
    """The title has the time left and the state; the urgency is normal."""
    words = words_of(AHEAD)
    assert words.title == "keepstate: the session ends in 15 min, all is saved"
    assert words.text == (
        "The host ends idle sessions: this one at 12:00 UTC on 2026-01-01, if it stays unused.\nproject 'p'"
    )
    assert words.urgency == 3


def test_a_deadline_with_something_unsaved_is_loud_and_near_its_end_louder():
    """Names, bytes and the time that they need are said; five minutes before the end it cannot be missed."""
    ahead = dataclasses.replace(
        AHEAD,
        kind="lifetime",
        safe=False,
        unsaved=("df", "model"),
        pending_bytes=2_000_000,
        needs_seconds=60.0,
    )
    words = words_of(ahead)
    assert words.title == "keepstate: the session ends in 15 min, NOT all is saved"
    assert words.text.splitlines() == [
        "The host ends sessions after some hours: this one at 12:00 UTC on 2026-01-01.",
        "Not saved yet: df, model.",
        "2.0 MB are not yet proven to be at the durable store; they need about 60 s.",
        "project 'p'",
    ]
    assert words.urgency == 4
    late = words_of(dataclasses.replace(ahead, seconds_left=50.0))
    assert late.urgency == 5
    assert "they need about 60 s, more than is left." in late.text


def test_failing_saves_are_told_with_their_newest_reason():
    """How often, since when, and why."""
    words = words_of(SaveFailing("project 'p'", NOON, 3, "the disk is full:\nfree some space"))
    assert words.title == "keepstate: nothing could be saved, 3 times in a row"
    assert words.text.splitlines() == [
        "the disk is full: free some space",
        "First failure at 12:00 UTC on 2026-01-01.",
        "project 'p'",
    ]


def test_the_end_of_trouble_is_told_with_its_length():
    """Whoever was alarmed knows that it is over."""
    words = words_of(SaveWorksAgain("project 'p'", 7_384.0))
    assert words.title == "keepstate: saving works again after 2 h 3 min"


def test_an_ended_session_says_what_is_kept():
    """The names, the size and the snapshot; or, loudly, that there is nothing."""
    words = words_of(SessionEnded("project 'p'", "exit", "abc123", ("df", "model"), 1_500))
    assert words.title == "keepstate: the session ended, 2 names kept"
    assert words.text.splitlines() == [
        "Kept: df, model; 1.5 kB.",
        "Snapshot abc123.",
        "Reason: exit.",
        "project 'p'",
    ]
    nothing = words_of(SessionEnded("project 'p'", "signal", None))
    assert nothing.title == "keepstate: the session ended, nothing is kept"
    assert nothing.urgency > words.urgency


def test_moments_are_told_in_utc():
    """Whatever zone the given moment has."""
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert words_of(dataclasses.replace(AHEAD, at=there)) == words_of(AHEAD)


def test_a_long_list_of_names_is_shortened():
    """The first eight, and the number of the others."""
    words = words_of(SessionEnded("p", "exit", "abc", tuple(f"x{n}" for n in range(1000)), 1))
    assert words.text.startswith("Kept: x0, x1, x2, x3, x4, x5, x6, x7 and 992 more; 1 B.")


LONG = "\U0001f600" * 10_000
HOSTILE = "a\r\nX-Header: b\x00\x1b[31m\ud800" * 1000


@pytest.mark.parametrize("text", [LONG, HOSTILE])
def test_no_text_makes_a_message_long_or_breaks_a_header(text):
    """Both stay within their bounds; the title is printable ASCII, the text has no control characters."""
    names = (text,) * 1000
    huge = 1e300
    messages = [
        DeadlineAhead(text, "idle", NOON, huge, False, names, 10**30, huge),
        SaveFailing(text, NOON, 10**30, text),
        SaveWorksAgain(text, huge),
        SessionEnded(text, text, text, names, 10**30),
    ]
    assert {type(message) for message in messages} == set(KINDS)
    for message in messages:
        words = words_of(message)
        assert len(words.title) <= TITLE_LIMIT
        assert words.title.isascii()
        assert words.title.isprintable()
        assert len(words.text) <= TEXT_LIMIT
        assert all(line.isprintable() for line in words.text.split("\n"))
        words.text.encode()
