"""Streams that hold data alone are read without running anybody's code; all others are refused."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import datetime as dt
import decimal
import fractions
import io
import os
import pathlib
import pickle
import uuid

import numpy as np
import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.codecs import _calls
from keepstate.codecs._array_reducers import row
from keepstate.codecs._dtypes import make_dtype
from keepstate.codecs._stream import MemoryMap, Piece, Segment, Whole, end_of
from keepstate.errors import CodecError, KeepstateError, TrustError
from tests.codecs.streams import InMemory, as_data, dumps, group_of, read

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
    "ids": [uuid.UUID(int=5), uuid.UUID("a" * 32)],
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


def test_a_dictionary_with_attributes_is_data():
    """It has them again, and may be what one of them refers to."""
    thing = collections.OrderedDict(a=1)
    thing.note, thing.self = "mine", thing
    back = as_data(thing)
    assert (back, type(back), back.note) == ({"a": 1}, collections.OrderedDict, "mine")
    assert back.self is back


def test_a_row_of_records_is_data():
    """It shows its array again, and can be written to."""
    base = np.zeros(3, [("a", "i4"), ("b", "f8")])
    back = as_data([base[1], base])
    back[0]["a"] = 5
    assert back[1]["a"].tolist() == [0, 5, 0]


@pytest.mark.parametrize("values", [np.array(5), np.zeros(2, [("a", "i4")]), [1], 5])
def test_a_row_of_something_else_is_refused(values):
    """Only an array of records that is one row makes a row."""
    with pytest.raises(CodecError):
        row(values)


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
    is_refused(dumps({"x": CODE[kind]}))
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_names_what_it_is_about():
    """The user reads which variable is no data, and what it asks for."""
    from email.message import Message

    with pytest.raises(TrustError, match=r"x \(email.message.Message\) cannot be rebuilt: it asks for email"):
        as_data(Message())


def named(module: str, name: str) -> bytes:
    """Write what names something."""
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


INT, DICT, ORDERED = (
    named(*each) for each in (("builtins", "int"), ("builtins", "dict"), ("collections", "OrderedDict"))
)
ONE_BYTE = b"\x96" + (1).to_bytes(8, "little") + b"a"
INSTRUCTIONS = {
    "GLOBAL": b"cbuiltins\nint\n",
    "INST": b"(ibuiltins\ncomplex\n",
    "OBJ": b"(" + INT + b"o",
    "NEWOBJ": DICT + b")\x81",
    "NEWOBJ_EX": DICT + b")}\x92",
    "BUILD": ORDERED + b")R}\x8c\x01aK\x01sb",
    "BUILD of a function": named(_calls.MODULE, "dtype") + b"N}\x8c\x07__doc__\x8c\x01asb",
    "EXT1": b"\x82\xf0",
    "PERSID": b"Pname\n",
    "BINPERSID": b"K\x01Q",
    "REDUCE of a class that is a value": INT + b"\x8c\x0210\x85R",
    "REDUCE of a value": b"K\x01)R",
    "REDUCE without a tuple": ORDERED + b"]R",
    "SETITEM": ONE_BYTE + b"K\x00K\x01s",
    "SETITEMS": ONE_BYTE + b"(K\x00K\x01u",
    "APPEND": ONE_BYTE + b"K\x01a",
    "APPENDS": ONE_BYTE + b"(K\x01e",
    "ADDITEMS": ONE_BYTE + b"(K\x01\x90",
    "globals by number": b"h\x03",
    "globals by far number": b"j\x03\x00\x00\x00",
    "globals by old number": b"g3\n",
    "globals by what made them": b"h\x02)R",
    "globals by name": named(_calls.MODULE, "namespace") + b")R",
    "number of nothing": b"h\x77",
    "unknown": b"\xff",
    "end": b"",
}


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_that_data_does_not_need_are_refused(kind, monkeypatch):
    """All else in the stream is as it should be, so it is this one that is refused."""
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("builtins", "int"))
    body = b"}\x8c\x01x" + INSTRUCTIONS[kind] + (b"s." if kind != "end" else b"")
    document = make_dtype.__doc__
    is_refused(body)
    assert make_dtype.__doc__ == document


def test_the_way_in_which_they_are_written_is_right():
    """Without the instruction in question such a stream is read."""
    body = b"}\x8c\x01x" + ORDERED + b")R(\x8c\x01aK\x01us."
    assert codecs.decode(hostile(body), namespace={}, data_only=True) == {"x": {"a": 1}}


def call(name: str, *args: object) -> bytes:
    """Write the call *name* with these arguments as the value of ``x``."""
    return dumps({"x": Reduces(_calls.named(name), args)})


def kind(text: str) -> Reduces:
    """Write a dtype."""
    return Reduces(_calls.named("dtype"), (text,))


SCALAR = np.bool_().__reduce__()[0]
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
        # Strides at which numpy's own look at the bounds overflows.
        call("view", 0, 0, kind("?"), (3,), (-(2**63),), True),
        call("view", 0, 0, kind("?"), (5,), (2**62,), True),
        call("exported", bytearray(9), 0, kind("?"), (5,), (2**62,), True),
        call("array", 0),
        call("exported", bytearray(16), 8, kind("f8"), (2,), (8,), True),
        call("exported", bytearray(16), 0, kind("O"), (2,), (8,), True),
        call("empty", kind("f8"), (100,), "C", True),
        call("dtype", ("record", ("a",), ("f8",), (100,), (None,), 8, "")),
        call("dtype", ("record", ("a",), ("f8",), (2**31 - 1,), (None,), 16, "")),
        call("dtype", ("record", ("a",), ("O",), (-8,), (None,), 8, "")),
        call("dtype", ("eval", "1")),
        call("dtype", 5),
        dumps({"x": Reduces(SCALAR, (kind("O"), bytes(8)))}),
        dumps({"x": Reduces(SCALAR, (kind("f8"), bytes(4)))}),
        dumps({"x": Reduces(SCALAR, (kind("f8"), 3))}),
        call("subclass_array", int, 1, {}),
        call("set_attributes", {}, {"a": 1}),
        call("set_attributes", kind("f8"), {"metadata": 1}),
        call("set_attributes", collections.OrderedDict(), {1: 1}),
    ],
    ids=range(25),
)
def test_calls_check_what_they_are_given(body):
    """Nothing is read outside of what was kept, and kept bytes never pass for addresses."""
    with pytest.raises(KeepstateError):
        codecs.decode(hostile(body, layout=ROWS), namespace={}, data_only=True)


DEEP = 300_000
FUNCTIONS = b"\x8c\x08builtins\x8c\x05slice\x93q\x600" + b"".join(
    b"\x8c\x17keepstate.codecs._calls\x8c" + bytes([len(name)]) + name + b"\x93q" + at + b"0"
    for name, at in ((b"object_array", b"\x61"), (b"set_object_array", b"\x62"))
)
"""Puts what may be called where the lines below find it."""
ARRAY = b"h\x61K\x01\x85\x8c\x01C\x86R"


def numbered(at: int) -> bytes:
    """Give the place of an array among what a stream remembers."""
    return (1000 + at).to_bytes(4, "little")


@pytest.mark.parametrize(
    "line",
    [
        b"}" + b")" + b"\x85" * DEEP + b"Ns",
        b"h\x60" * DEEP + b"N" + b"\x85R" * DEEP,
        b"N" + (b"q\x630" + ARRAY + b"q\x640h\x62h\x64]h\x63a\x88\x86\x86R0h\x64") * DEEP,
        b"".join(ARRAY + b"r" + numbered(at) + b"0" for at in range(3))
        + b"".join(
            b"h\x62j" + numbered(at) + b"]j" + numbered(at - 1) + b"a\x88\x86\x86R0"
            for at in (2, 1)
        )
        + b"j" + numbered(2),
    ],
    ids=["hashed tuples", "slices", "arrays", "arrays, the last one first"],
)  # fmt: skip
def test_what_is_too_deep_is_refused(line):
    """The stack of C would overflow where Python hashes it, or lets it go."""
    body = b"\x80\x05}\x8c\x01x" + FUNCTIONS + line + b"s."
    with pytest.raises(TrustError, match="each other"):
        codecs.decode(hostile(body), namespace={}, data_only=True)


def test_what_pickle_writes_is_not_too_deep():
    """Tuples in tuples, arrays in arrays, and an array that holds itself."""
    nested, array = (), np.empty(2, object)
    for _ in range(80):
        nested = (nested, 1)
        outer = np.empty(2, object)
        outer[:] = [array, [outer]]
        array = outer
    itself = np.empty(1, object)
    itself[0] = itself
    back = as_data({"nested": nested, "array": array, "itself": itself})
    assert back["nested"] == nested
    assert back["array"][0][1][0] is back["array"][0]
    assert back["itself"][0] is back["itself"]


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


@pytest.mark.parametrize("kind", [*PLAIN, *ARRAYS])
def test_changed_bytes_are_refused_or_other_data(kind):
    """Whatever two bytes of a stream become: an error of ours or a value, and never anything else."""
    group = group_of({**PLAIN, **ARRAYS}[kind])
    stream = bytes(group.stream)
    parts = [InMemory(part) for part in group.parts]
    numbers = np.random.default_rng(7)
    for at, other in zip(*numbers.integers(0, (len(stream), 256), (100, 2)).T, strict=True):
        changed = bytearray(stream)
        changed[at] = other
        changed[at // 2] ^= 1 << int(other % 8)
        stored = StoredGroup("x", group.members, bytes(changed), parts, lambda key: None)
        with contextlib.suppress(KeepstateError):
            repr(codecs.decode(stored, namespace={}, data_only=True))


def test_the_layout_of_memory_names_each_dtype_once():
    """Where there are many arrays of one, it costs each of them two bytes."""
    stream = bytes(group_of([np.arange(600.0) for _ in range(50)]).stream)
    assert stream.count(b"<f8") == 1
