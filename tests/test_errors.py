"""The error tree keeps its promises."""

import keepstate.errors as errors


def test_every_error_derives_from_the_root_and_has_a_kind_of_its_own():
    """One except clause catches all, and programs can tell them apart."""
    every = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    found = [e for e in every if not issubclass(e, Warning)]
    assert all(issubclass(e, errors.KeepstateError) for e in found)
    assert len({e.kind for e in found}) == len(found)


def test_not_found_shows_its_sentence():
    """KeyError would show the repr with quotes."""
    assert str(errors.NotFoundError("no snapshot ab")) == "no snapshot ab"
