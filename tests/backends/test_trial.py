"""A place is tried out for real, and says of each step what was seen."""

from dataclasses import replace

import pytest

from keepstate.backends._read_only import ReadOnly
from keepstate.backends._trial import HEADINGS, try_out
from keepstate.errors import CredentialsError, InvalidInputError, UnavailableError
from keepstate.testing import Fault, Faulty

STEPS = ["write", "read back", "read a range", "list", "refuse to overwrite", "delete"]
BUSY = UnavailableError("the place is busy")


def outcome(trial):
    return {step.name: step.why for step in trial.steps if not step.is_ok}


def test_a_sound_place_is_fine(folder):
    """Each step went well, with a speed up and down; nothing stays there."""
    trial = try_out(folder, nbytes=100_000)
    assert trial.is_fine
    assert [step.name for step in trial.steps] == STEPS
    assert all(step.why == "" and step.seconds >= 0 for step in trial.steps)
    assert trial.upload_bytes_per_second > 0
    assert trial.download_bytes_per_second > 0
    assert (trial.place, trial.proof, trial.nbytes) == (folder.place, "checksum", 100_000)
    assert [*folder.list()] == []


def test_it_is_shown_as_a_table(folder):
    """One row for each step below the headings, and the speeds above."""
    trial = try_out(folder, nbytes=1000)
    assert [row[0] for row in trial.rows] == STEPS
    assert all(len(row) == len(HEADINGS) for row in trial.rows)
    text = str(trial)
    assert text.startswith(f"{folder.place}: up ")
    assert all(step in text for step in STEPS)


@pytest.mark.parametrize(
    ("fault", "step", "why"),
    [
        (Fault("get", BUSY), "read back", "busy"),
        (Fault("get", flips_bit=True), "read back", "other bytes"),
        (Fault("get", cut_bytes=1), "read back", "999 bytes came back"),
        (Fault("get", cut_bytes=1, after=1), "read a range", "bytes came back"),
        (Fault("list", BUSY), "list", "busy"),
        (Fault("put", hides_from_lists=1), "list", "not in the listing"),
        (Fault("put", ValueError("a bug"), after=1), "refuse to overwrite", "ValueError: a bug"),
        (Fault("put", after=1, loses=True), "refuse to overwrite", "accepted"),
        (Fault("delete", BUSY), "delete", "busy"),
        (Fault("delete", CredentialsError("may not delete")), "delete", "may not delete"),
    ],
)
def test_what_goes_wrong_is_recorded(folder, fault, step, why):
    """Only in the step where it happened; the others go on, and nothing stays there."""
    trial = try_out(Faulty(folder, [fault]), nbytes=1000)
    assert not trial.is_fine
    assert list(outcome(trial)) == [step]
    assert why in outcome(trial)[step]
    assert [*folder.list()] == []


def test_after_a_write_that_failed_nothing_else_is_tried(folder):
    """The rest would say the same; what may be there after all is removed."""
    faulty = Faulty(folder, [Fault("put", BUSY, before_effect=False)])
    trial = try_out(faulty, nbytes=1000)
    assert [step.name for step in trial.steps] == ["write"]
    assert "the place is busy" in outcome(trial)["write"]
    assert (trial.upload_bytes_per_second, trial.download_bytes_per_second) == (None, None)
    assert "nothing could be written" in str(trial)
    assert [*folder.list()] == []
    assert not try_out(ReadOnly(folder)).is_fine


def test_an_upload_that_is_lost_is_found_out(folder):
    """Reading, listing and refusing fail each for that reason."""
    trial = try_out(Faulty(folder, [Fault("put", loses=True)]), nbytes=1000)
    assert list(outcome(trial)) == ["read back", "read a range", "list", "refuse to overwrite"]
    assert [*folder.list()] == []


def test_a_place_that_keeps_what_was_deleted(folder):
    """Nothing that is there still is gone."""

    class Keeping(Faulty):
        def delete(self, name):
            pass

    assert outcome(try_out(Keeping(folder), nbytes=1000)) == {"delete": "the object is still there"}


class Admitting(Faulty):
    """A place that says how long its listings may lag behind."""

    delay = 0.0

    @property
    def properties(self):
        return replace(super().properties, listing_delay_seconds=self.delay)


def test_a_listing_has_the_time_that_the_place_admits(folder, jumping):
    """It is asked again until then."""
    place = Admitting(folder, [Fault("put", hides_from_lists=3)])
    place.delay = 10.0
    assert try_out(place, nbytes=1000, clock=jumping).is_fine
    assert jumping.waits == [1.0] * 3
    place = Admitting(folder, [Fault("put", hides_from_lists=30)])
    place.delay = 10.0
    assert list(outcome(try_out(place, nbytes=1000, clock=jumping))) == ["list"]


def test_nobody_waits_minutes_for_a_listing(folder, jumping):
    """Where it may take so long, that is what the trial says, and no fault."""
    place = Admitting(folder, [Fault("put", hides_from_lists=3000)])
    place.delay = 300.0
    trial = try_out(place, nbytes=1000, clock=jumping)
    assert trial.is_fine
    [step] = [step for step in trial.steps if step.why]
    assert (step.name, "5 min" in step.why) == ("list", True)
    assert jumping.monotonic() < 30


def test_an_interrupt_leaves_nothing_there(folder):
    """Ctrl-C ends the trial, and the object is removed all the same."""
    with pytest.raises(KeyboardInterrupt):
        try_out(Faulty(folder, [Fault("list", KeyboardInterrupt())]), nbytes=1000)
    assert [*folder.list()] == []


def test_a_trial_of_nothing_is_refused(folder):
    """Without a byte nothing is proven."""
    with pytest.raises(InvalidInputError):
        try_out(folder, nbytes=0)
