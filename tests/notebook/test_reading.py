"""What a cell may read is told from its code."""

import types

import pytest

from keepstate._notebook.reading import names_read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("a = b + c.d", {"b", "c"}),
        ("x += 1", {"x"}),
        ("del y", {"y"}),
        ("y[0] = 1", {"y"}),
        ("model = build()", {"build"}),
        ("def f():\n    return inner", {"inner"}),
        ("", set()),
    ],
)
def test_names_that_are_loaded_count_and_names_that_are_bound_do_not(source, read):
    """Binding a name anew is not reading it; changing what it holds is."""
    assert names_read(source, {}) == read


def test_functions_of_the_notebook_are_looked_into():
    """A call reads what the called function reads, through other functions too."""
    space = {}
    exec("def inner(): return deep\ndef outer(): return inner()", space)
    assert names_read("outer()", space) == {"outer", "inner", "deep"}


@pytest.mark.parametrize(
    "source", ["exec('x')", "globals()['x']", "eval(t)", "this is no python", "x = 'a\0'"]
)
def test_when_in_doubt_everything_is_read(source):
    """Roads that cannot be followed lead everywhere."""
    assert names_read(source, {}) is None


def test_reading_runs_nothing():
    """Objects with hooks of their own are not touched."""

    class Trap(types.SimpleNamespace):
        def __getattr__(self, name):
            raise AssertionError(name)

    assert names_read("trap.x", {"trap": Trap()}) == {"trap"}
