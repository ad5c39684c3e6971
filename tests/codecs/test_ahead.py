"""Memory that is filled before a stream is decoded, and what can be told of a stream without decoding it."""

import collections
import datetime as dt
import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup


class KeptPart:
    """A part in memory, read in two steps."""

    def __init__(self, part):
        self._data = bytes(part.memory)
        self.nbytes, self.itemsize, self.writable = part.memory.nbytes, part.itemsize, part.writable
        self.read = 0

    def read_into(self, memory):
        for step in self.steps(memory):
            step()

    def steps(self, memory):
        half = self.nbytes // 2

        def fill(begin, end):
            self.read += end - begin
            memory[begin:end] = self._data[begin:end]

        yield lambda: fill(0, half)
        yield lambda: fill(half, self.nbytes)


def kept(values):
    """Encode the values, and give the group of the first."""
    space = {"__name__": "__main__", **values}
    groups = codecs.encode(values, namespace=space).groups
    group = next(each for each in groups if min(values) in {member.name for member in each.members})
    parts = [KeptPart(part) for part in group.parts]
    return StoredGroup(group.key, group.members, group.stream, parts, lambda key: None)


def decoded_ahead(stored, *, tensors=False):
    memory = codecs.memory_of(stored.stream, stored.parts)
    for step in reversed(list(memory.ahead(tensors=tensors))):
        step()
    read = [part.read for part in stored.parts]
    values = codecs.decode(stored, namespace={"__name__": "__main__"}, memory=memory)
    assert [part.read for part in stored.parts] == read
    return values


def arrays():
    base = np.arange(12_000.0).reshape(100, 120)
    frozen = np.arange(5_000)
    frozen.flags.writeable = False
    read_only = np.frombuffer(bytes(8_000), np.uint8)
    views = [base, base[10:50:2, ::3], base.T, np.asfortranarray(base), frozen, read_only, base[:0]]
    return {"a": [*views, bytearray(9_000), np.zeros(3, "i4")], "c": base}


def test_memory_that_was_filled_ahead_comes_back_as_it_would_have():
    """Values, shapes, strides, ownership, sharing and the right to write; no part is read twice."""
    values = decoded_ahead(kept(arrays()))
    expected = codecs.decode(kept(arrays()), namespace={"__name__": "__main__"})
    for one, other in zip(values["a"], expected["a"], strict=True):
        assert type(one) is type(other)
        assert np.array_equal(one, other)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.strides) == (other.dtype, other.strides)
            assert one.flags.writeable == other.flags.writeable
            assert one.flags.owndata == other.flags.owndata
    assert values["c"] is values["a"][0]
    assert np.shares_memory(values["a"][1], values["c"])


def test_frames_that_were_filled_ahead_come_back():
    """Blocks, text columns, indexes."""
    frame = pd.DataFrame({"x": np.arange(2_000.0), "y": np.arange(2_000), "t": ["a", "b"] * 1_000})
    back = decoded_ahead(kept({"f": frame, "g": [frame["x"]]}))
    pd.testing.assert_frame_equal(back["f"], frame)


def test_two_owners_of_one_memory_come_back_sharing_it():
    """Whichever of them is asked for first."""
    shared = bytearray(16_000)
    one, other = np.frombuffer(shared, "i8"), np.frombuffer(shared, "f4")
    back = decoded_ahead(kept({"v": [one, other, one[3:]]}))["v"]
    back[0][5] = 7
    assert np.shares_memory(back[0], back[1])
    assert back[2][2] == 7


def test_tensors_that_were_filled_ahead_can_be_resized():
    """Torch has allocated what belongs to no array."""
    torch = pytest.importorskip("torch")
    tensor = torch.arange(10_000.0)
    stored = kept({"t": tensor, "v": [tensor[5:], tensor.reshape(100, 100)]})
    back = decoded_ahead(stored, tensors=True)
    assert torch.equal(back["t"], tensor)
    back["t"][6] = -1
    assert back["v"][0][1] == -1
    del back["v"]
    back["t"].resize_(20_000)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(10_000), {"a": [1, 2.0, "x", None, {3}]}, pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pd.Series(pd.date_range("2026-01-01", periods=3)), np.array([1, "x", None], object),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC), collections.OrderedDict(a=1), np.random.default_rng(0),
    ],
)  # fmt: skip
def test_data_is_harmless(value):
    """It is made by libraries that are imported, and runs nothing of the user's."""
    calls = codecs.calls_of(kept({"v": value}).stream)
    assert calls is not None
    assert codecs.is_harmless(calls)


def test_what_runs_code_or_imports_is_not_harmless():
    """Classes and functions of the notebook, modules, other libraries, and what is not imported yet."""
    space = {"__name__": "__main__"}
    exec("class A: pass\ndef f(): return 1\na = A()", space)
    for value in (space["A"], space["f"], space["a"], np, types.SimpleNamespace(x=1), print):
        calls = codecs.calls_of(kept({"v": value}).stream)
        assert calls is None or not codecs.is_harmless(calls), value
    name = "numpy.a_module_that_is_not_there"
    assert name not in sys.modules
    assert not codecs.is_harmless(frozenset({(name, "x")}))
    assert not codecs.is_harmless(frozenset({("builtins", "eval")}))


def test_a_dry_run_makes_nothing():
    """Neither calls nor classes of the stream are looked up."""
    made = []

    class Loud:
        def __reduce__(self):
            return made.append, (1,)

    assert codecs.calls_of(kept({"v": Loud()}).stream)
    assert made == []


def test_a_stream_may_be_forgotten_while_it_is_decoded():
    """What is spent can be overwritten at once: memory never holds a long stream and all that it makes."""
    value = {number: f"text {number} " * 20 for number in range(5_000)}
    stored = kept({"v": value})
    stream, told = bytearray(stored.stream), []

    def forget(end):
        stream[:end] = bytes(end)
        told.append(end)

    stored = replace(stored, stream=stream, spent=forget)
    assert codecs.decode(stored, namespace={"__name__": "__main__"})["v"] == value
    assert told == sorted(told)
    assert 0.9 * len(stream) < told[-1] < len(stream)
