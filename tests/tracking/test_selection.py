"""Names are tracked, by object, by name and by all."""

import numpy as np
import pytest

from keepstate._tracking import Selection, looks_secret, names_of
from keepstate.errors import InvalidInputError, UntrackableError


def test_an_object_is_found_under_every_name_that_holds_it():
    """Equal is not enough: it is that very object."""
    frame = [1]
    assert names_of(frame, {"a": frame, "b": frame, "c": [1], "_d": frame}) == ["a", "b"]


@pytest.mark.parametrize("value", [5, "text", None, True, 1.5, ()])
def test_a_value_that_anything_could_be_is_refused(value):
    """track(5) would track whatever happens to be 5."""
    with pytest.raises(UntrackableError, match="track\\('name'\\)"):
        names_of(value, {"x": value})


def test_an_object_without_a_name_is_refused():
    """The message says how to give it one."""
    with pytest.raises(UntrackableError, match="name=object"):
        names_of([1], {"x": [1]})


def test_a_name_follows_rebinding_and_leaves_with_deletion():
    """What is looked up is what the name holds now."""
    selection = Selection()
    selection.add(["df"])
    assert selection.bindings({"df": 1}, {})[0] == {"df": 1}
    assert selection.bindings({"df": 2}, {})[0] == {"df": 2}
    assert selection.bindings({}, {})[0] == {}


def test_all_is_every_variable_of_the_user():
    """Not the shell's own, not private ones, not what was untracked, not what looks like a secret."""
    shell_open = object()
    selection = Selection()
    selection.everything = True
    selection.remove(["temporary"])
    space = {"a": 1, "_b": 2, "open": shell_open, "temporary": 3, "api_key": "abc"}
    bound, left_out = selection.bindings(space, {"open": shell_open})
    assert bound == {"a": 1}
    assert list(left_out) == ["api_key"]


def test_a_shell_name_that_the_user_rebinds_is_the_users():
    """`open = my_open` makes it a variable like any other."""
    selection = Selection()
    selection.everything = True
    assert selection.bindings({"open": 5}, {"open": open})[0] == {"open": 5}


def test_a_secret_that_is_named_is_kept():
    """The user's word is stronger than the guess."""
    selection = Selection()
    selection.everything = True
    selection.add(["api_key"])
    assert selection.bindings({"api_key": "abc"}, {}) == ({"api_key": "abc"}, {})


@pytest.mark.parametrize("name", ["2x", "class", "a b", "__x", ""])
def test_what_no_notebook_can_bind_is_refused(name):
    """A tracked name is an identifier."""
    with pytest.raises(InvalidInputError):
        Selection().add([name])


def test_numbers_and_lists_are_never_secrets():
    """Only texts are looked at, so no user code runs."""
    assert looks_secret("token", 5) is None
    assert looks_secret("tokens", ["a"]) is None


def test_an_array_is_found_without_being_compared():
    """Equality of arrays is no truth value; identity is what counts."""
    array = np.arange(3)
    assert names_of(array, {"a": array, "b": np.arange(3)}) == ["a"]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-" + "a" * 20, "ghp_" + "a" * 30, "gho_" + "a" * 30, "ghu_" + "a" * 30, "ghs_" + "a" * 30,
        "ghr_" + "a" * 30, "github_pat_" + "a" * 20, "glpat-" + "a" * 20, "hf_" + "a" * 30, "AKIA" + "A" * 16,
        "AIza" + "a" * 35, "ya29." + "a" * 20, *("xox" + kind + "-" + "a" * 10 for kind in "abprs"),
        "KGAT_" + "a" * 20, "eyJ" + "a" * 10 + ".eyJ" + "a" * 10 + ".", "-----BEGIN RSA PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_every_form_of_a_secret_is_found_in_the_middle_of_a_text(secret):
    """Also when it is looked at again, and after a text without one."""
    assert looks_secret("x", "nothing here") is None
    for _ in range(2):
        assert looks_secret("x", f"key = {secret} # mine") == "its value looks like a secret"
        assert looks_secret("x", "nothing here") is None
