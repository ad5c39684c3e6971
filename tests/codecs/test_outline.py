"""Outlines tell equal values from others without decoding either."""

import datetime as dt
import io
import pickle
import random

import numpy as np
import pandas as pd
import pytest

from keepstate.codecs import Outline, _calls, encode
from keepstate.codecs._outline import _Reader
from keepstate.codecs._stream import _END, MAGIC, MemoryMap, end_of, layout_of
from tests.codecs.streams import dumps


class Memory:
    """The bytes of two groups, as they are."""

    def __init__(self, one, other):
        self.parts = one.parts, other.parts

    def _bytes(self, at, where):
        memory = where.source if isinstance(where.source, bytes) else self.parts[at][where.source].memory
        return bytes(memory[where.start : where.stop if where.stop >= 0 else None])

    def same(self, one, other):
        return self._bytes(0, one) == self._bytes(1, other)

    def read(self, where, *, first):
        return self._bytes(0 if first else 1, where)


def same(one, other, **namespace):
    space = {"__name__": "__main__", **namespace}
    groups = [encode({"x": value}, namespace=space).groups[-1] for value in (one, other)]
    outlines = [Outline(group.stream) for group in groups]
    return outlines[0].compare("x", outlines[1], Memory(*groups)).same


ALIASED = [1]
DIFFERENT = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    (1.5, "1.5"),
    ("a", b"a"),
    ([1, 2], (1, 2)),
    ({1}, {True}),
    ({0.0}, {-0.0}),
    ({1, 2}, frozenset({1, 2})),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([ALIASED, ALIASED], [[1], [1]]),
    (bytearray(b"ab"), bytearray(b"ac")),
    (dt.date(2020, 1, 1), dt.date(2020, 1, 2)),
    (random.Random(1), random.Random(2)),
    (np.arange(3), np.arange(3.0)),
    (np.arange(4).reshape(2, 2), np.arange(4)),
    (np.arange(4).reshape(2, 2), np.asfortranarray(np.arange(4).reshape(2, 2))),
    (np.arange(20_000), np.append(np.arange(19_999), 0)),
    (np.arange(20).reshape(4, 5)[:, 1], np.arange(20).reshape(4, 5)[:, 2]),
    (np.array(["a", None], object), np.array(["a", 0], object)),
    (np.zeros(2, [("a", "i4"), ("b", "f8")]), np.zeros(2, [("a", "i4"), ("c", "f8")])),
    (pd.Series([1, 2]), pd.Series([1, 2], name="n")),
    (pd.Series([1, 2]), pd.Series([1, 2], index=[1, 0])),
    (pd.DataFrame({"a": [1], "b": ["x"]}), pd.DataFrame({"a": [1], "b": ["y"]})),
    (pd.Categorical(["a", "b"]), pd.Categorical(["a", "b"], ordered=True)),
    (lambda x: x + 1, lambda x: x + 2),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_different_values_are_told_apart(one, other):
    """In both directions, whatever ``==`` says of them."""
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize("pair", DIFFERENT, ids=range(len(DIFFERENT)))
def test_a_value_is_the_same_as_itself(pair):
    """Encoded twice."""
    assert same(pair[0], pair[0])
    assert same(pair[1], pair[1])


def test_nan_is_the_same_as_itself():
    """By its bits, not by ``==``."""
    assert same(float("nan"), float("nan"))
    assert same([np.nan, np.array([np.nan])], [np.nan, np.array([np.nan])])


def test_equal_values_that_are_written_otherwise_are_the_same():
    """Texts that are one object or two; dates likewise; sets in another order."""
    text, moment = "some text that is long", dt.date(2020, 1, 1)
    assert same([text, text], [text, text[:4] + text[4:]])
    assert same([moment, moment], [moment, dt.date(2020, 1, 1)])
    assert same({"a", "b", ("c", 1)}, pickle.loads(pickle.dumps({("c", 1), "b", "a"})))


def test_a_view_of_changed_memory_is_compared_by_what_it_shows():
    """The bytes between the rows of a column do not count."""
    base = np.arange(2000.0).reshape(40, 50)
    other = base.copy()
    other[3, 8] = -1
    assert same(base[:, 7], other[:, 7])
    assert same(base[::-1, 7], other[::-1, 7])
    assert not same(base[:, 8], other[:, 8])


class Bag(list):
    """A container of the user's."""


def test_containers_of_the_users_are_compared_by_what_they_hold():
    """Which is put into them once they are there."""
    assert same(Bag([1, [2]]), Bag([1, [2]]))
    assert not same(Bag([1, [2]]), Bag([1, [3]]))


def test_cycles_end():
    """A list in itself is compared once."""
    one, other = [1], [1]
    one.append(one)
    other.append(other)
    assert same(one, other)
    other[0] = 2
    assert not same(one, other)


class Dropping:
    """Its state is set by a function of its own, whose result pickle drops."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return Dropping, (0,), self.x, None, None, set_x


def set_x(thing, x):
    thing.x = x


def test_what_cannot_be_told_is_not_called_the_same():
    """A call whose result is dropped may have changed anything: there is no outline then."""
    space = {"__name__": "__main__"}
    group = encode({"x": Dropping(1)}, namespace=space).groups[-1]
    with pytest.raises(ValueError, match="drops it"):
        Outline(group.stream)


class Runs:
    """Asks for a call when it is read."""

    def __init__(self, *reduced):
        self._reduced = reduced

    def __reduce__(self):
        return self._reduced


def test_the_layout_of_memory_runs_nothing(capsys):
    """It is a pickle of its own, and anyone may have written it."""
    stream = bytes(encode({"x": np.arange(3)}, namespace={"__name__": "__main__"}).groups[0].stream)
    layout = layout_of(stream)
    memory = pickle.dumps((Runs(print, ("it runs",)), [], []), 5)
    Outline(bytes(layout.pickles) + memory + _END.pack(len(memory), 0, 0, MAGIC))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("make", [np.dtype, _calls.named("dtype")])
def test_a_dtype_believes_nothing(make):
    """numpy would take any state, and end the process when it is looked at."""
    preamble = dumps(Runs(_calls.named("namespace"), ()))
    body = dumps({"x": Runs(make, ("i4",), (4, ">", 255, {"a": 5}, 2**31 - 1, -(2**31)))})
    outlines = [Outline(preamble + body + end_of(MemoryMap(0, (), ()), marks=())) for _ in range(2)]
    assert not isinstance(outlines[0].values["x"], np.dtype)
    assert outlines[0].compare("x", outlines[1], None).same


def test_dtypes_of_older_streams_are_told_apart():
    """They are pickles of numpy's own."""
    made = [
        _Reader(io.BytesIO(pickle.dumps(np.dtype(text), 5))).load() for text in ("<i4", "<i4", ">i4", "i4,f8")
    ]
    assert made[0] == made[1] == np.dtype("<i4") != made[2]
    assert [each.itemsize for each in made] == [4, 4, 4, 12]
    assert made[3] == _Reader(io.BytesIO(pickle.dumps(np.dtype("i4,f8"), 5))).load() != made[0]


def test_nothing_is_imported_or_called(monkeypatch):
    """Of whatever a stream names."""
    group = encode({"x": random.Random(1)}, namespace={"__name__": "__main__"}).groups[-1]
    monkeypatch.setitem(__import__("sys").modules, "random", None)
    assert list(Outline(group.stream).values) == ["x"]
