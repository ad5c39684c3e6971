"""What failed is tried again neither too soon nor too late."""

import pytest

from keepstate._base.retry import Backoff
from keepstate._transfer.trouble import HURRY, trouble_of
from keepstate.backends import Credentials
from keepstate.errors import CredentialsError, IntegrityError, StoreFullError, UnavailableError

PATIENCE = Backoff(first_seconds=1.0, longest_seconds=300.0)


def row(*errors, draw=lambda: 1.0, **options):
    """Let one after the other fail, a second apart."""
    found = None
    for now, error in enumerate(errors):
        found = trouble_of(error, found, now=float(now), patience=PATIENCE, draw=draw, **options)
    return found


def test_waits_double_up_to_five_minutes():
    """And are drawn evenly below that."""
    waits = [row(*[UnavailableError("")] * n).wait_seconds for n in (1, 2, 3, 9, 10, 100)]
    assert waits == [1, 2, 4, 256, 300, 300]
    assert row(UnavailableError(""), draw=lambda: 0.5).wait_seconds == 0.5


def test_somebody_who_waits_makes_it_sooner():
    """At once for one who has just come, within seconds for one who was there."""
    found = row(*[UnavailableError("")] * 20)
    assert found.due(hurry=False, afresh=False) == found.failed_at + 300
    assert found.due(hurry=True, afresh=False) == found.failed_at + HURRY.longest_seconds
    assert found.due(hurry=True, afresh=True) == found.failed_at


@pytest.mark.parametrize("hurry", [False, True])
def test_what_was_asked_for_is_kept(hurry):
    """By everyone."""
    found = row(UnavailableError("", retry_after_seconds=77))
    assert found.due(hurry=hurry, afresh=hurry) == 77


@pytest.mark.parametrize(
    ("error", "state"), [(CredentialsError("x"), "credentials"), (StoreFullError("x"), "full")]
)
def test_what_only_the_user_can_mend_is_tried_seldom(error, state):
    """Except when they ask anew, since they may have mended it."""
    found = row(error, slow_seconds=600)
    assert (found.state, found.needs_the_user) == (state, True)
    assert found.due(hurry=True, afresh=False) == 600
    assert found.due(hurry=True, afresh=True) == 0


def test_a_row_of_failures_began_with_its_first():
    """That is since when it is counted for sessions that have died."""
    found = row(UnavailableError("a"), IntegrityError("b"), UnavailableError("c"))
    assert (found.since, found.failed_at, found.attempts) == (0, 2, 3)


def test_sentences_have_no_secret_and_an_end():
    """Our own errors are sentences; others are told with their name."""
    redact = Credentials({"KEY": "abcdefgh"}).redact
    assert row(UnavailableError("with abcdefgh"), redact=redact).sentence == "with <secret>"
    assert row(ValueError("with abcdefgh"), redact=redact).sentence == "ValueError: with <secret>"
    assert row(KeyboardInterrupt()).sentence == "KeyboardInterrupt"
    assert len(row(ValueError("x" * 10_000)).sentence) < 700
