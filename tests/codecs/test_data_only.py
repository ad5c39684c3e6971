"""Streams that hold data alone are read without running anybody's code; all others are refused."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import io
import os
import pathlib
import pickle

import numpy as np
import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.codecs import _calls
from keepstate.codecs._stream import MemoryMap, Piece, Segment, Whole, end_of
from keepstate.errors import CodecError, KeepstateError, TrustError
from tests.codecs.streams import as_data, group_of, read

PLAIN = {
    "json": {"a": [1, -(2**70), 2.5, None, True, "ä", b"y", (1, {2, 3}, frozenset([1]))], "": {}},
    "numbers": [1j, decimal.Decimal("1.50"), fractions.Fraction(1, 3), range(1, 9, 2), slice(1, None)],
    "bytes": bytearray(b"x" * 9),
    "classes of values": [int, bytearray, complex, dt.datetime],
    "times": [
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.date(2020, 1, 2), dt.time(3, 4), dt.timedelta(1, 2, 3),
        dt.timezone(dt.timedelta(hours=2), "two"),
    ],
    "collections": [
        collections.OrderedDict(b=1, a=2), collections.defaultdict(list, a=[1]), collections.Counter("abca"),
        collections.deque([1, 2], maxlen=3),
    ],
    "paths": [pathlib.PurePosixPath("a/b"), pathlib.Path("c")],
    "numbers of numpy": [
        np.float64(3.5), np.int8(1), np.bool_(True), np.datetime64("2020-01-01"), np.str_("x"), np.str_(""),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])[0],
    ],
}  # fmt: skip
ARRAYS = {
    "plain": np.arange(5000),
    "view": np.arange(10_000)[::-3],
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "read-only": np.arange(3).view(),
    "big-endian": np.arange(3, dtype=">i4"),
    "text": np.array(["ab", "c"]),
    "time": np.array(["2020-01-01", "NaT"], "M8[ns]"),
    "records": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "titled": np.zeros(2, np.dtype([(("title", "a"), "i1")])),
    "nested": np.zeros(2, np.dtype([("a", [("b", "f4", (2, 3))])])),
    "rec": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked": np.ma.masked_array([1.0, 2.0], [False, True], fill_value=7.0),
    "matrix": np.array([[1, 2]]).view(np.matrix),
    "objects": np.array(["a", None, 1.5, [1]], object),
    "empty": np.empty((0, 3), "f4"),
}
ARRAYS["read-only"].flags.writeable = False


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_values_are_data(kind):
    """They come back equal and of the same types."""
    back = as_data(PLAIN[kind])
    assert repr(back) == repr(PLAIN[kind])
    assert back == PLAIN[kind]


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_data(kind):
    """They come back with dtype, order, flags and class."""
    values, back = ARRAYS[kind], as_data(ARRAYS[kind])
    assert type(back) is type(values)
    assert back.dtype == values.dtype
    assert back.dtype.type is values.dtype.type
    assert back.dtype.isalignedstruct == values.dtype.isalignedstruct
    assert back.flags.writeable == values.flags.writeable
    assert back.flags.f_contiguous == values.flags.f_contiguous
    assert repr(back) == repr(values)
    assert back.dtype.hasobject or back.tobytes() == values.tobytes()


def test_a_dtype_that_cannot_be_told_is_pickled():
    """Its metadata is not lost; it is no data then."""
    dtype = np.dtype("f8", metadata={"unit": "m"})
    assert read(group_of(dtype), data_only=False)["x"].metadata == {"unit": "m"}
    with pytest.raises(TrustError):
        as_data(dtype)


def test_views_share_memory_as_before():
    """What is data comes back sharing what it shared."""
    base = np.arange(5000)
    pair = as_data({"base": base, "view": base[10:20]})
    pair["view"][0] = -1
    assert pair["base"][10] == -1


class Plain:
    """An object of a class of the user's."""


class Reduces:
    """Asks for any call when it is read."""

    def __init__(self, *reduced):
        self._reduced = reduced

    def __reduce__(self):
        return self._reduced


def hostile(body: bytes, *, layout: MemoryMap | None = None, parts=()) -> StoredGroup:
    """Give a group whose body is what somebody has written."""

    class Namespace:
        def __reduce__(self):
            return _calls.named("namespace"), ()

    file = io.BytesIO()
    pickle.Pickler(file, 5).dump(Namespace())
    stream = file.getvalue() + body + end_of(layout or MemoryMap(0, (), ()), marks=())
    return StoredGroup("x", (), stream, parts, lambda key: None)


def is_refused(body: bytes, **facts) -> None:
    with pytest.raises(KeepstateError):
        codecs.decode(hostile(body, **facts), namespace={}, data_only=True)


CODE = {
    "instance": Plain(),
    "class": Plain,
    "function": len,
    "generator of random numbers": np.random.default_rng(1),
    "exception": ValueError("x"),
    "system": Reduces(os.system, ("touch ran",)),
    "eval": Reduces(eval, ("1",)),
    "getattr": Reduces(getattr, (1, "real")),
    "exec": Reduces(exec, ("open('ran', 'w')",)),
    "a list that is called": Reduces(list, ([1],), None, iter([1])),
}


@pytest.mark.parametrize("kind", CODE)
def test_what_runs_code_is_refused(kind, tmp_path, monkeypatch):
    """Nothing of it has happened."""
    monkeypatch.chdir(tmp_path)
    is_refused(pickle.dumps({"x": CODE[kind]}, 5))
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_names_what_it_is_about():
    """The user reads which variable is no data, and what it asks for."""
    from email.message import Message

    with pytest.raises(TrustError, match=r"x \(email.message.Message\) cannot be rebuilt: it asks for email"):
        as_data(Message())


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b"(S'touch ran'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch ran'\no.",
        b"cbuiltins\ndict\n)\x81.",
        b"Pname\n.",
        b"\x82\x01.",
        b"(lp0\n0g0\n.",
        pickle.dumps([], 2)[:-1] + b"}b.",
        pickle.dumps(dict(collections.OrderedDict(a=1)), 5)[:-1] + b"}(\x8c\x01ak\x01ub.",
        b"]K\x01a.",
        b"}" + b"]]s.",
        b"\x8c\x08builtins\x8c\x04dict\x93)R.",
        b"\x8c\x08builtins\x8c\x03int\x93\x8c\x0210\x85R.",
        b"K\x01]e.",
        b"h\x00.",
        b"",
    ],
    ids=range(16),
)
def test_instructions_that_data_does_not_need_are_refused(body, tmp_path, monkeypatch):
    """Whatever the bytes are: an error of ours, nothing run, nothing changed."""
    monkeypatch.chdir(tmp_path)
    is_refused(body)
    assert list(tmp_path.iterdir()) == []


def test_data_cannot_write_to_the_notebook():
    """The globals are not given to it, neither by the preamble nor by the call."""
    namespace = {"own": 1}
    memo = b"\x94}(\x8c\x03own\x94K\x02u."
    for body in (b"h\x02(\x8c\x03ownK\x02u.", b"\x8c" + bytes([len(_calls.MODULE)]) + _calls.MODULE.encode()
                 + b"\x8c\x09namespace\x93)R(\x8c\x03ownK\x02u.", memo):  # fmt: skip
        try:
            codecs.decode(hostile(body), namespace=namespace, data_only=True)
        except KeepstateError:
            pass
        assert namespace == {"own": 1}


def call(name: str, *args: object) -> bytes:
    """Write the call *name* with these arguments as the value of ``x``."""
    return pickle.dumps({"x": Reduces(_calls.named(name), args)}, 5)


def kind(text: str) -> Reduces:
    """Write a dtype."""
    return Reduces(_calls.named("dtype"), (text,))


ROWS = MemoryMap(0, (Piece(16, bytes(16)),), (Segment(((0, 16, 0),), None),))


@pytest.mark.parametrize(
    "body",
    [
        call("view", 0, 0, kind("O"), (2,), (8,), True),
        call("view", 0, 0, "O", (2,), (8,), True),
        call("view", 0, 8, kind("f8"), (2,), (8,), True),
        call("view", 0, 0, kind("f8"), (2,), (-8,), True),
        call("view", 9, 0, kind("f8"), (2,), (8,), True),
        call("view", -5, 0, kind("f8"), (2,), (8,), True),
        call("array", 0),
        call("exported", bytearray(16), 8, kind("f8"), (2,), (8,), True),
        call("exported", bytearray(16), 0, kind("O"), (2,), (8,), True),
        call("empty", kind("f8"), (100,), "C", True),
        call("dtype", ("record", ("a",), ("f8",), (100,), (None,), 8, "")),
        call("dtype", ("record", ("a",), ("O",), (-8,), (None,), 8, "")),
        call("dtype", ("eval", "1")),
        call("dtype", 5),
        call("subclass_array", int, 1, {}),
    ],
    ids=range(15),
)
def test_calls_check_what_they_are_given(body):
    """Nothing is read outside of what was kept, and kept bytes never pass for addresses."""
    with pytest.raises(KeepstateError):
        codecs.decode(hostile(body, layout=ROWS), namespace={}, data_only=True)


def test_an_array_of_objects_is_not_filled_from_bytes():
    """The layout of memory may name any dtype; one with addresses is refused."""
    layout = MemoryMap(
        0, (Piece(16, bytes(16)),), (Segment(((0, 16, 0),), Whole(np.dtype("O"), (2,), "C", True)),)
    )
    with pytest.raises(CodecError, match="damaged"):
        codecs.decode(hostile(call("array", 0), layout=layout), namespace={}, data_only=True)


def test_a_layout_that_names_anything_is_refused():
    """It is a pickle as well."""
    layout = MemoryMap(0, (Piece(16, bytes(16)),), (Segment(((0, 16, Reduces(os.getpid, ())),), None),))
    with pytest.raises(TrustError):
        codecs.decode(hostile(call("array", 0), layout=layout), namespace={}, data_only=True)
