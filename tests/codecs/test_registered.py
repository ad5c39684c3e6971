from __future__ import annotations

import fractions
import subprocess
import sys
import textwrap
from typing import ClassVar

import numpy as np
import pytest

from keepstate import codecs
from keepstate.errors import InvalidInputError
from keepstate.testing import CodecSuite


class Grid:
    """Something with a buffer and a pickle of its own that forgets a unit."""

    def __init__(self, values, unit):
        self.values, self.unit = values, unit

    def __reduce__(self):
        return Grid, (self.values, "forgotten")


class GridCodec:
    """Keeps grids whole."""

    version = 2

    def encode(self, thing):
        return {"values": thing.values, "unit": thing.unit}

    def decode(self, state, version):
        return Grid(state["values"], state["unit"] if version >= 2 else "none")

    def same(self, one, other):
        return one.unit == other.unit and np.array_equal(one.values, other.values)


NAME = f"{Grid.__module__}.Grid"


class TestGridCodec(CodecSuite):
    type_name = NAME
    codec = GridCodec()
    samples: ClassVar = {
        "small": lambda: Grid(np.arange(3), "m"),
        "large": lambda: Grid(np.arange(100_000), "m"),
        "other unit": lambda: Grid(np.arange(3), "s"),
    }


class Forgetting(GridCodec):
    """Does not round-trip."""

    def decode(self, state, version):
        return Grid(state["values"], "lost")


class Failing(GridCodec):
    """Raises."""

    def encode(self, thing):
        raise RuntimeError("no")


@pytest.fixture
def registered(monkeypatch):
    """Register codecs for the length of a test."""
    names = []

    def register(name, codec):
        codecs.register(name, codec)
        names.append(name)

    yield register
    for name in names:
        codecs.unregister(name)


def calls_for(thing):
    encoding = codecs.encode({"x": thing}, namespace={"x": thing, "__name__": "__main__"})
    return {name for _, name in codecs.calls_of(encoding.groups[0].stream)}


@pytest.mark.parametrize("codec", [Forgetting(), Failing()])
def test_what_is_not_proven_is_left_to_pickle(registered, codec):
    """A codec that does not give back what it was given is not believed."""
    registered(NAME, codec)
    assert "registered" not in calls_for(Grid(np.arange(3), "m"))


def test_a_subclass_is_kept_by_the_codec_of_its_base_if_that_gives_its_type(registered):
    """Here it does not, and the subclass would have come back as its base."""
    registered(NAME, GridCodec())
    sub = type("Sub", (Grid,), {})
    assert codecs._registered.registered_reducer(sub) is not None
    assert codecs._registered.registered_reducer(sub)(None, sub(np.arange(2), "m")) is NotImplemented


@pytest.mark.parametrize("name", ["Grid", "", "a.", "a b.C", ".C", "a.1"])
def test_a_name_without_a_module_is_refused(name):
    """It would never be found."""
    with pytest.raises(InvalidInputError, match="no name of a type"):
        codecs.register(name, GridCodec())


def test_a_codec_that_lacks_something_is_refused():
    """At once, and not when a notebook is to be kept."""
    with pytest.raises(InvalidInputError, match="has no same"):
        codecs.register("a.B", type("Half", (), {"version": 0, "encode": 0, "decode": 0})())


def test_a_second_codec_is_refused(registered):
    """The same again is not, as when a cell runs twice."""
    registered("fractions.Fraction", GridCodec())
    codecs.register("fractions.Fraction", GridCodec())
    with pytest.raises(InvalidInputError, match="already"):
        codecs.register("fractions.Fraction", Failing())
    assert "registered" not in calls_for(fractions.Fraction(1, 2))


def test_the_codec_is_found_in_a_new_process(tmp_path):
    """Its module is imported where it is needed, and registers it."""
    (tmp_path / "grids.py").write_text(
        textwrap.dedent("""
        from keepstate import codecs
        class Grid:
            def __init__(self, v): self.v = v
            def __reduce__(self): raise RuntimeError('not by pickle')
        class GridCodec:
            version = 0
            def encode(self, thing): return thing.v
            def decode(self, state, version): return Grid(state)
            def same(self, one, other): return one.v == other.v
        codecs.register('grids.Grid', GridCodec())
        """)
    )
    kept = "import keepstate, grids; x = grids.Grid([1, 2]); keepstate.start(store='s', track='x')"
    seen = "import keepstate; keepstate.start(store='s'); print(x.v)"
    said = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for code in (kept, seen)
    ]
    assert said[1].splitlines()[-1] == "[1, 2]"
