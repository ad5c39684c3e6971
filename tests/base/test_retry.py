"""What may work later is tried again, with growing waits, and not for ever."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from keepstate._base.clock import ManualClock
from keepstate._base.retry import LONGEST_ASKED_SECONDS, Backoff, keep_trying, read_retry_after
from keepstate.errors import InvalidInputError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Jumping(ManualClock):
    """A clock that moves by itself while somebody waits for it, and remembers how long that was."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, event, seconds):
        if not event.is_set():
            self.waits.append(seconds)
            self.advance(seconds)
        return event.is_set()


class Fails:
    """Fails so many times, and then works; remembers how much time it was given."""

    def __init__(self, times, error=None, clock=None, takes=0.0):
        self.times, self.error, self.clock, self.takes = times, error or OSError("no"), clock, takes
        self.given = []

    def __call__(self, seconds_left):
        self.given.append(seconds_left)
        if self.clock:
            self.clock.advance(self.takes)
        if len(self.given) <= self.times:
            raise self.error
        return "done"


def patiently(attempt, clock, **options):
    return keep_trying(
        attempt,
        **{
            "worth": lambda error: isinstance(error, OSError),
            "stop": threading.Event(),
            "clock": clock,
            "backoff": Backoff(first_seconds=1, longest_seconds=8, total_seconds=100),
            "draw": lambda: 0.5,
            **options,
        },
    )


def test_what_works_at_last_is_returned():
    """The waits are the drawn part of a bound that doubles and then stays."""
    clock = Jumping()
    assert patiently(Fails(6), clock) == "done"
    assert clock.waits == [0.5, 1, 2, 4, 4, 4]


def test_a_failure_that_is_not_worth_it_is_raised_at_once():
    """The caller's predicate decides, and no time is spent."""
    clock, attempt = Jumping(), Fails(1, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        patiently(attempt, clock)
    assert len(attempt.given) == 1
    assert clock.waits == []


def test_an_attempt_is_told_how_much_time_is_left():
    """Attempts and waits together use the total time up."""
    clock = Jumping()
    attempt = Fails(2, clock=clock, takes=10.0)
    patiently(attempt, clock)
    assert attempt.given == [100, 89.5, 78.5]


def test_no_attempt_begins_after_the_total_time():
    """The last failure is raised, and no wait goes beyond the end."""
    clock, attempt = Jumping(), Fails(10**6)
    with pytest.raises(OSError, match="no"):
        patiently(attempt, clock)
    assert clock.monotonic() < 100
    assert min(attempt.given) > 0
    assert len(attempt.given) == len(clock.waits) + 1


def test_a_wait_that_was_overslept_is_followed_by_nothing():
    """A machine that was suspended meanwhile does not begin an attempt without time."""
    clock, attempt = Jumping(), Fails(10**6)

    def overslept(event, seconds):
        clock.advance(seconds + 1000)
        return False

    clock.wait = overslept
    with pytest.raises(OSError, match="no"):
        patiently(attempt, clock)
    assert len(attempt.given) == 1


def test_the_far_side_is_given_the_time_that_it_asked_for():
    """A longer own wait counts, a shorter does not."""
    clock = Jumping()
    patiently(Fails(2), clock, asked=lambda error: 0.75)
    assert clock.waits == [0.75, 1]


def test_a_wait_too_long_to_be_kept_is_not_begun():
    """Asked to come back after the total time, nobody waits, and nobody comes too early."""
    clock, attempt = Jumping(), Fails(1)
    with pytest.raises(OSError, match="no"):
        patiently(attempt, clock, asked=lambda error: 100.0)
    assert clock.waits == []
    assert len(attempt.given) == 1


def test_a_flag_ends_the_wait_at_once():
    """With the clock standing still, the one who waits goes on when the flag is set."""
    clock, stop, waits = ManualClock(), threading.Event(), threading.Event()
    attempt, raised = Fails(10**6), []

    def worth(error):
        waits.set()
        return True

    def run():
        try:
            patiently(attempt, clock, worth=worth, stop=stop)
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert waits.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert raised == [attempt.error]
    assert len(attempt.given) == 1
    assert clock.monotonic() == 0


def test_the_first_attempt_is_made_even_when_the_flag_is_set():
    """A flag ends waits; what needs none is done."""
    stop, clock = threading.Event(), Jumping()
    stop.set()
    assert patiently(Fails(0), clock, stop=stop) == "done"
    with pytest.raises(OSError, match="no"):
        patiently(Fails(1), clock, stop=stop)
    assert clock.waits == []


def test_an_interrupt_is_never_repeated():
    """What is no Exception passes through, whatever the predicate says."""
    attempt = Fails(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        patiently(attempt, Jumping(), worth=lambda error: True)
    assert len(attempt.given) == 1


def test_waits_differ_between_callers():
    """Drawn from the operating system, they spread over the whole bound and leave the user's stream alone."""
    import random

    before = random.getstate()
    first_waits = []
    for _ in range(200):
        clock = Jumping()
        keep_trying(
            Fails(1), worth=lambda error: True, stop=threading.Event(), clock=clock, backoff=Backoff()
        )
        first_waits += clock.waits
    assert random.getstate() == before
    assert 0 <= min(first_waits) < 0.25
    assert 0.75 < max(first_waits) < 1


def test_the_bound_of_a_late_repetition_is_a_number():
    """After a million repetitions it is still the longest wait."""
    assert Backoff(longest_seconds=20).bound(10**6) == 20


@pytest.mark.parametrize(
    "seconds",
    [{"first_seconds": 0}, {"longest_seconds": 0.5}, {"total_seconds": 0}, {"total_seconds": float("nan")}],
)
def test_a_backoff_that_makes_no_sense_is_refused(seconds):
    """Waits that are 0 or shrink would hammer the far side."""
    with pytest.raises(InvalidInputError):
        Backoff(**seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("0.65", 0.65),
        ("999999999999", LONGEST_ASKED_SECONDS),
        ("Thu, 01 Jan 2026 12:02:00 GMT", 120),
        ("Thursday, 01-Jan-26 12:02:00 GMT", 120),
        ("Thu Jan  1 12:02:00 2026", 120),
        ("Thu, 01 Jan 2026 12:02:00 -0000", 120),
        ("Thu, 01 Jan 2026 14:02:00 +0200", 120),
        ("Wed, 31 Dec 2025 12:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_ASKED_SECONDS),
    ],
)
def test_a_retry_after_is_read_in_seconds_or_as_a_date(text, seconds):
    """Both forms of the standard, its old dates, and bounds from 0 to a day."""
    assert read_retry_after(text, NOON) == seconds


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "-5",
        "1e9",
        "inf",
        "nan",
        "0x10",
        "١٢",
        "5 minutes",
        "9" * 5000,
        "Thu, 41 Jan 2026 12:00:00 GMT",
        "Thu, 01 Jan 2026 12:00:00 +9999999999999",
        "\x00",
    ],
)
def test_a_retry_after_that_says_nothing_is_ignored(text):
    """Whatever a hostile server sends, it is no error and no number."""
    assert read_retry_after(text, NOON) is None


def test_a_date_is_counted_from_the_given_time():
    """The same date is nearer later."""
    text = "Thu, 01 Jan 2026 12:02:00 GMT"
    assert read_retry_after(text, NOON + timedelta(seconds=90)) == 30
