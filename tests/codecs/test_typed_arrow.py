"""Arrow's types, arrays and tables are kept as data that any version can make again, without a copy."""

from __future__ import annotations

import datetime as dt
import decimal
import pickle

import numpy as np
import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.codecs import _calls
from keepstate.codecs._arrow import objects
from keepstate.codecs._arrow.memory import layout_of
from keepstate.codecs._arrow.schemas import bytes_of_type
from keepstate.codecs._reducers import reducer_for
from keepstate.errors import CodecError, KeepstateError
from tests.codecs.streams import InMemory, as_anything, as_data, calls, dumps, group_of, read
from tests.codecs.test_data_only import hostile

pa = pytest.importorskip("pyarrow")
IS_NEW = hasattr(pa, "uuid")
"""Whether it is version 18, and has views and types for this and that, or later."""
TYPES = {
    "integer": pa.int8(),
    "time with a zone": pa.timestamp("us", "Europe/Berlin"),
    "decimal": pa.decimal256(50, 3),
    "list of a named field": pa.list_(pa.field("each", pa.int8(), nullable=False, metadata={"a": "b"})),
    "struct": pa.struct([pa.field("a", pa.string(), metadata={b"k": b"\xff"}), ("b", pa.float16())]),
    "map with sorted keys": pa.map_(pa.string(), pa.int64(), keys_sorted=True),
    "ordered dictionary": pa.dictionary(pa.int16(), pa.string(), ordered=True),
    "union": pa.dense_union([pa.field("a", pa.int8()), pa.field("b", pa.string())]),
    "runs": pa.run_end_encoded(pa.int32(), pa.string()),
    "list of tensors": pa.list_(pa.fixed_shape_tensor(pa.int32(), [2, 3])),
    **({"uuid": pa.uuid()} if IS_NEW else {}),
}
NUMBERS = [1, None, 3, 4, None, 6, 7, 8, 9, 10, 11, 12, None, 14, 15, 16, 17, 18, 19, 20]
TEXTS = ["a", None, "ccc", "", "e" * 20, *(str(n) * n for n in range(15))]
LISTS = [[1, 2], None, [], [None, 4], *([n] * n for n in range(16))]
PAIRS = [[("a", 1), ("b", None)], None, [], *([(str(n), n)] for n in range(17))]
RECORDS = [{"a": n, "b": text, "c": [n, 1]} if n else None for n, text in zip(NUMBERS, TEXTS, strict=True)]
LISTED = pa.list_(pa.int64())
ARRAYS = {
    "integers": pa.array(NUMBERS),
    "without missing ones": pa.array(range(20), pa.int16()),
    "booleans": pa.array([n and n % 2 == 0 for n in NUMBERS]),
    "half floats": pa.array(np.arange(20, dtype="f2")),
    "floats": pa.array([0.5, float("nan"), None, *range(17)]),
    "decimals": pa.array([n and decimal.Decimal(n) for n in NUMBERS], pa.decimal128(5, 2)),
    "dates": pa.array([n and dt.date(2020, 1, n) for n in NUMBERS]),
    "times with a zone": pa.array(NUMBERS).cast(pa.timestamp("ns", "UTC")),
    "durations": pa.array([n and dt.timedelta(n) for n in NUMBERS]),
    "intervals": pa.array([n and pa.MonthDayNano([n, 1, 2]) for n in NUMBERS]),
    "bytes of one length": pa.array([n and bytes([n] * 3) for n in NUMBERS], pa.binary(3)),
    "texts": pa.array(TEXTS),
    "long texts": pa.array(TEXTS, pa.large_string()),
    "bytes": pa.array([text and text.encode() for text in TEXTS]),
    "no texts": pa.array([""] * 20),
    "lists": pa.array(LISTS),
    "long lists": pa.array(LISTS, pa.large_list(pa.int8())),
    "lists of texts": pa.array([each and [str(n) for n in each] for each in LISTS]),
    "lists of one length": pa.array([n and [n, None] for n in NUMBERS], pa.list_(pa.int8(), 2)),
    "maps": pa.array(PAIRS, pa.map_(pa.string(), pa.int64())),
    "structs": pa.array(RECORDS),
    "structs in structs": pa.array([{"x": each} for each in RECORDS]),
    "lists of structs": pa.array([[each, None] for each in RECORDS]),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "ordered dictionary": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None] * 6 + [1, 0], pa.int8()), pa.array(["u", "v"]), ordered=True
    ),
    "structs with dictionaries": pa.StructArray.from_arrays(
        [pa.array(TEXTS).dictionary_encode()], ["d"], mask=pa.array([n is None for n in NUMBERS])
    ),
    "nothing": pa.nulls(20),
    "large ones": pa.array(np.arange(20_000.0).tolist()),
}  # fmt: skip
if IS_NEW:
    ARRAYS |= {
        "views of lists": pa.array(LISTS, pa.list_view(pa.int8())),
        "views of texts": pa.array(TEXTS, pa.string_view()),
        "uuids": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([n and bytes([n] * 16) for n in NUMBERS], pa.binary(16))
        ),
    }
SLICES = {
    "whole": slice(None),
    "from a byte": slice(8, 12),
    "from within one": slice(3, 14),
    "to the end": slice(11, None),
    "one": slice(5, 6),
    "none": slice(4, 4),
}
SCALARS = [
    pa.scalar(5), pa.scalar("a"), pa.scalar(None), pa.scalar(True), pa.scalar(float("nan")),
    pa.scalar(b"x" * 40), pa.scalar(None, pa.string()), pa.scalar(decimal.Decimal("1.5")),
    pa.scalar(dt.datetime(2020, 1, 1, tzinfo=dt.UTC), pa.timestamp("us", "UTC")),
    *(pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())) if IS_NEW else []),
]  # fmt: skip
TABLE = pa.table(
    {
        "n": pa.chunked_array([[1, 2], [], [3, None]]),
        "text": ["a", None, "c", ""],
        "list": [[1], [2, 3], None, []],
        "word": pa.array(["x", "y", "x", "x"]).dictionary_encode(),
    }
).replace_schema_metadata({"made": "here"})


def same(one, other):
    """Whether two arrays, or what is made of them, are equal, of one type and of one structure."""
    return one.equals(other) and str(one) == str(other) and one.type.equals(other.type, check_metadata=True)


def both_ways(value, call):
    """Write *value* as that call alone; read it as data and as anything."""
    group = group_of(value)
    assert calls(value) == {"namespace", call}
    return read(group, data_only=True)["x"], read(group, data_only=False)["x"]


# --- what comes back


@pytest.mark.parametrize("kind", TYPES)
def test_types_come_back(kind):
    """With the names, the metadata and the flags of what is within them."""
    for back in both_ways(TYPES[kind], "arrow_type"):
        assert type(back) is type(TYPES[kind])
        assert back.equals(TYPES[kind], check_metadata=True)


def test_fields_and_schemas_come_back():
    """With their metadata."""
    field = pa.field("a", pa.int8(), nullable=False, metadata={"k": "v"})
    schema = pa.schema([field, ("b", TYPES["struct"])], metadata={"of": "all"})
    for back in both_ways(field, "arrow_field"):
        assert back.equals(field, check_metadata=True)
    for back in both_ways(schema, "arrow_schema"):
        assert back.equals(schema, check_metadata=True)


@pytest.mark.parametrize("part", SLICES)
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_come_back(kind, part):
    """Whole and sliced, valid to the last bit, and usable."""
    values = ARRAYS[kind][SLICES[part]]
    for back in both_ways(values, "arrow_array"):
        back.validate(full=True)
        assert type(back) is type(values)
        assert back.to_pylist() == values.to_pylist() or kind == "floats"
        assert str(back) == str(values)
        assert back.type.equals(values.type, check_metadata=True)
        assert back.null_count == values.null_count


@pytest.mark.parametrize("kind", ARRAYS)
def test_slices_of_slices_come_back(kind):
    """What has been cut is cut again, at another bit."""
    back = as_data(ARRAYS[kind][3:17])
    again = as_data(back[2:9])
    assert str(again) == str(ARRAYS[kind][5:12])


def test_chunks_come_back():
    """Each by itself, empty ones too, and those that are one in another's memory."""
    values = pa.array(range(20))
    chunked = pa.chunked_array([values[3:9], values[:0], values[5:]])
    for back in both_ways(chunked, "arrow_chunked_array"):
        assert same(back, chunked)
        assert [len(chunk) for chunk in back.chunks] == [6, 0, 15]
    empty = pa.chunked_array([], pa.string())
    assert as_data(empty).num_chunks == 0


@pytest.mark.parametrize(
    "table", [TABLE, TABLE[1:3], TABLE[:0], TABLE.select([])[:0], TABLE.select([])], ids=range(5)
)
def test_tables_come_back(table):
    """With the metadata of their schema and the chunks of their columns, or without any columns."""
    for back in both_ways(table, "arrow_table"):
        back.validate(full=True)
        assert (back.num_rows, back.schema.metadata) == (table.num_rows, table.schema.metadata)
        assert back.equals(table, check_metadata=True)
        assert [each.num_chunks for each in back.columns] == [each.num_chunks for each in table.columns]


@pytest.mark.parametrize("names", [TABLE.column_names, []], ids=["all", "none"])
def test_record_batches_come_back(names):
    """With the metadata of their schema, or without any columns."""
    batch = TABLE.combine_chunks().to_batches()[0][1:].select(names)
    for back in both_ways(batch, "arrow_record_batch"):
        back.validate(full=True)
        assert (back.num_rows, back.schema.metadata) == (batch.num_rows, batch.schema.metadata)
        assert back.equals(batch, check_metadata=True)


@pytest.mark.parametrize("scalar", SCALARS, ids=range(len(SCALARS)))
def test_single_values_come_back(scalar):
    """Of the same class and type."""
    for back in both_ways(scalar, "arrow_scalar"):
        assert type(back) is type(scalar)
        assert back.type == scalar.type
        assert str(back) == str(scalar)


# --- how they are kept


def test_memory_is_not_copied():
    """The parts of the group are the buffers of the array."""
    values = ARRAYS["large ones"]
    (part,) = group_of(values).parts
    assert np.asarray(part.memory).ctypes.data == values.buffers()[1].address
    assert not part.writable


@pytest.mark.parametrize(
    "values",
    [
        pa.array(range(1_000_000)),
        pa.array([n % 3 == 0 for n in range(1_000_000)]),
        pa.array([str(n) for n in range(100_000)]),
        pa.array([[n, n] for n in range(100_000)]),
        pa.array([{"a": n, "b": str(n)} if n % 7 else None for n in range(100_000)]),
        pa.array([[n, n] for n in range(100_000)], pa.list_(pa.int64(), 2)),
        pa.array([[(str(n), n)] for n in range(100_000)], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda values: str(values.type).partition("<")[0],
)
def test_a_slice_does_not_keep_what_it_was_cut_from(values):
    """Neither what lies before it nor what lies behind."""
    part = values[90_003:90_020]
    group = group_of(part)
    assert len(bytes(group.stream)) + sum(one.memory.nbytes for one in group.parts) < 5000
    assert read(group, data_only=True)["x"].equals(part)


def test_a_stream_does_not_tell_what_was_asked():
    """Counting what is missing, printing and computing leave no trace."""
    bits = pa.array(NUMBERS).buffers()
    values = pa.StructArray.from_arrays([pa.Array.from_buffers(pa.int64(), 20, bits)], ["a"])
    before = bytes(group_of(values).stream)
    assert values.field(0).null_count == 3
    repr(values), values.to_pylist(), hash(values.type), values.type.field(0)
    assert bytes(group_of(values).stream) == before


def test_arrow_links_no_names():
    """Tables that share memory, which never changes, are kept apart."""
    values = pa.array(range(10_000))
    encoding = codecs.encode(
        bindings := {"x": pa.table({"a": values}), "y": pa.table({"b": values})},
        namespace={"__name__": "__main__", **bindings},
    )
    assert len(encoding.groups) == 2


def test_equal_types_are_written_once():
    """A thousand arrays of one type do not tell it a thousand times."""
    alone = len(bytes(group_of(pa.array([1])).stream))
    many = len(bytes(group_of([pa.array([n]) for n in range(1000)]).stream))
    assert many < alone + 1000 * 100


def test_memory_shared_with_numpy_stays_apart():
    """An array that Arrow shows is kept by both."""
    numbers = np.arange(10_000)
    back = as_data([numbers, pa.array(numbers)])
    back[0][0] = -1
    assert back[1][0].as_py() == 0


# --- what is left to pickle


class Celsius(pa.ExtensionType):
    """A type of the user's own."""

    read = 0

    def __init__(self):
        super().__init__(pa.float64(), "test.celsius")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        cls.read += 1
        return cls()


@pytest.fixture
def celsius():
    """It is known to Arrow during the test."""
    pa.register_extension_type(Celsius())
    yield Celsius()
    pa.unregister_extension_type("test.celsius")


@pytest.mark.parametrize(
    "make",
    [
        lambda celsius: celsius,
        lambda celsius: pa.list_(celsius),
        lambda celsius: pa.schema([("a", celsius)]),
        lambda celsius: pa.ExtensionArray.from_storage(celsius, pa.array([1.5])),
        lambda celsius: pa.table({"a": pa.ExtensionArray.from_storage(celsius, pa.array([1.5]))}),
    ],
    ids=range(5),
)
def test_types_of_the_users_own_are_pickled(make, celsius):
    """Reading them runs their code, so they are no data."""
    value = make(celsius)
    assert not any(call.startswith("arrow_") for call in calls(value) - {"arrow_type"})
    assert as_anything(value) == value
    with pytest.raises(KeepstateError):
        as_data(value)


def test_a_message_does_not_call_classes_that_are_registered(celsius):
    """Not even if the stream is made by hand."""
    told = pa.schema([("a", pa.struct([("b", pa.dictionary(pa.int8(), pa.list_(celsius)))]))]).serialize()
    read_before = Celsius.read
    with pytest.raises(CodecError, match="celsius"):
        codecs.decode(hostile(body_of("arrow_schema", told.to_pybytes())), namespace={}, data_only=True)
    assert Celsius.read == read_before


@pytest.mark.parametrize(
    "value",
    [
        pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
        pa.UnionArray.from_dense(pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()),
                                 [pa.array([1]), pa.array(["a"])]),
        pa.table({"r": pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])}),
        pa.scalar([1, 2]),
        pa.scalar({"a": 1}),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_is_not_made_of_buffers_alone_is_pickled(value):
    """It comes back in the usual way."""
    assert calls(value) & {"arrow_array", "arrow_table", "arrow_scalar"} == set()
    assert as_anything(value).equals(value)


def test_a_value_that_arrow_would_not_read_is_refused_by_name():
    """Arrow pickles it, and then cannot make it again."""
    value = pa.RunEndEncodedArray.from_arrays([2], ["a"])[0]
    encoding = codecs.encode({"x": value, "y": 1}, namespace={"__name__": "__main__"})
    assert "run_end_encoded" in encoding.skipped["x"]
    assert "y" not in encoding.skipped


def test_older_streams_are_read():
    """What Arrow's own pickle made, as streams did before."""
    for value in (TABLE, TABLE.schema, ARRAYS["structs"][3:7], TABLE["n"], pa.int8(), pa.scalar("a")):
        body = pickle.dumps({"x": value}, 2)  # later ones count what they remember from the preamble on
        back = codecs.decode(hostile(body), namespace={})["x"]
        assert back == value


# --- what a hostile stream may say


class Call:
    """A call in a stream."""

    def __init__(self, name, *args):
        self.reduced = _calls.named(name), args

    def __reduce__(self):
        return self.reduced


def body_of(name, *args):
    """Write a call as the value of ``x``."""
    return dumps({"x": Call(name, *args)})


def is_refused(body, **facts):
    with pytest.raises(KeepstateError):
        codecs.decode(hostile(body, **facts), namespace={}, data_only=True)


def layout(length, *buffers, offset=0, parts=()):
    """Lay an array out."""
    return length, offset, tuple(each if each is None else bytes(each) for each in buffers), parts


def numbers(*values, kind="i4"):
    return np.array(values, kind).tobytes()


INTEGERS = layout(2, None, numbers(1, 2, kind="i8"))
ONE_MISSING = layout(2, b"\x01", bytes(16))
BAD = {
    "too few numbers": (pa.int64(), layout(3, None, numbers(1, 2, kind="i8"))),
    "too few bits": (pa.int64(), layout(9, b"\xff", bytes(72))),
    "no memory": (pa.int64(), layout(3, None, None)),
    "negative length": (pa.int64(), layout(-1, None, bytes(8))),
    "negative offset": (pa.int64(), layout(1, None, bytes(8), offset=-1)),
    "huge offset": (pa.int64(), layout(1, None, bytes(8), offset=2**62)),
    "huge length": (pa.int64(), layout(2**62, None, bytes(8))),
    "length past all numbers": (pa.int64(), layout(2**70, None, bytes(8))),
    "length of a text": (pa.int64(), layout("1", None, bytes(8))),
    "length of a float": (pa.int64(), layout(1.5, None, bytes(16))),
    "too many buffers": (pa.int64(), layout(1, None, bytes(8), bytes(8))),
    "no buffers": (pa.int64(), layout(1)),
    "a buffer that is a text": (pa.int64(), (1, 0, (None, "12345678"), ())),
    "a buffer that is a list": (pa.int64(), (1, 0, (None, [1]), ())),
    "a buffer that is an array": (pa.int64(), (1, 0, (None, bytearray(8)), ())),
    "texts past the end": (pa.string(), layout(2, None, numbers(0, 1, 100), b"ab")),
    "texts out of order": (pa.string(), layout(3, None, numbers(0, 2**30, 1, 2), b"ab")),
    "negative texts": (pa.string(), layout(2, None, numbers(-9, 0, 2), b"ab")),
    "texts that are none": (pa.string(), layout(1, None, numbers(0, 2), b"\xff\xfe")),
    "long texts past the end": (pa.large_string(), layout(1, None, numbers(0, 2**40, kind="i8"), b"ab")),
    "lists past the end": (LISTED, layout(1, None, numbers(0, 9), parts=(INTEGERS,))),
    "lists out of order": (LISTED, layout(2, None, numbers(0, 2**30, 2), parts=(INTEGERS,))),
    "lists of nothing": (LISTED, layout(1, None, numbers(0, 1))),
    "lists of two": (LISTED, layout(1, None, numbers(0, 1), parts=(INTEGERS, INTEGERS))),
    "lists of one length": (pa.list_(pa.int64(), 3), layout(1, None, parts=(INTEGERS,))),
    "lists of one length that begin later": (
        pa.list_(pa.int64(), 2), layout(1, None, offset=9, parts=(INTEGERS,))
    ),
    "short children": (pa.struct([("a", pa.int64())]), layout(3, None, parts=(INTEGERS,))),
    "codes past the end": (
        pa.dictionary(pa.int32(), pa.string()),
        layout(2, None, numbers(0, 9), parts=(layout(1, None, numbers(0, 1), b"a"),)),
    ),
    "negative codes": (
        pa.dictionary(pa.int32(), pa.string()),
        layout(2, None, numbers(0, -9), parts=(layout(1, None, numbers(0, 1), b"a"),)),
    ),
    "a dictionary of nothing": (pa.dictionary(pa.int32(), pa.string()), layout(1, None, numbers(0))),
    "keys that are missing": (
        pa.map_(pa.int64(), pa.int64()),
        layout(1, None, numbers(0, 1), parts=(layout(2, None, parts=(ONE_MISSING, INTEGERS)),)),
    ),
    "pairs that are missing": (
        pa.map_(pa.int64(), pa.int64()),
        layout(1, None, numbers(0, 1), parts=(layout(2, b"\x01", parts=(INTEGERS, INTEGERS)),)),
    ),
    "a union": (TYPES["union"], layout(1, None, b"\x05", numbers(0), parts=(INTEGERS, INTEGERS))),
    "runs": (TYPES["runs"], layout(1, parts=(INTEGERS, layout(1, None, numbers(0, 0), b"")))),
    "decimals that are long": (pa.decimal128(2, 0), layout(1, None, numbers(2**40, 0, kind="i8"))),
}  # fmt: skip
if IS_NEW:
    BAD |= {
        "views past the end": (pa.string_view(), layout(1, None, numbers(2**20, 0, 0, 0), b"ab")),
        "views of nothing": (pa.string_view(), layout(1, None, None, b"ab")),
        "views of no buffer": (pa.string_view(), layout(1, None, numbers(20, 0, 7, 0), b"ab")),
        "views of lists": (
            pa.list_view(pa.int64()),
            layout(1, None, numbers(1), numbers(2), parts=(INTEGERS,)),
        ),
        "uuids that are short": (pa.uuid(), layout(2, None, bytes(16))),
    }


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_lie_are_refused(kind):
    """In an array, in a chunk, in a table, in a batch and as a single value."""
    dtype, found = BAD[kind]
    told = bytes_of_type(pa, dtype)
    is_refused(body_of("arrow_array", told, found))
    is_refused(body_of("arrow_chunked_array", told, (found,)))
    is_refused(body_of("arrow_table", told, ((found,),)))
    is_refused(body_of("arrow_record_batch", told, (found,)))
    is_refused(body_of("arrow_scalar", told, found))


@pytest.mark.parametrize(
    "args",
    [
        (b"",), (b"\xff\xff\xff\xff\x08\x00\x00\x00",), ("schema",), (5,),
        (pa.schema([]).serialize().to_pybytes(),),
        (bytes_of_type(pa, pa.int8())[:-9],), (bytes_of_type(pa, pa.int8()).replace(b"\x10", b"\xff"),),
        (pa.schema([("a", pa.int8()), ("b", pa.int8())]).serialize().to_pybytes(),), (bytearray(9),), (),
    ],
    ids=range(10),
)  # fmt: skip
def test_schemas_that_are_none_are_refused(args):
    """Cut, of other types, empty or not one field."""
    is_refused(body_of("arrow_type", *args))
    is_refused(body_of("arrow_array", *args, INTEGERS))


def test_tables_that_do_not_fit_are_refused():
    """Too few columns, too many, of other lengths, not in chunks."""
    told = pa.schema([("a", pa.int64()), ("b", pa.int64())]).serialize().to_pybytes()
    one = layout(1, None, bytes(8))
    for columns in ((), ((INTEGERS,),), ((INTEGERS,), (one,)), ((), (), ()), "ab", 5):
        is_refused(body_of("arrow_table", told, columns))
        is_refused(body_of("arrow_record_batch", told, columns))
    is_refused(body_of("arrow_table", told, (INTEGERS, INTEGERS)))  # sound for a batch, which has no chunks
    sound = hostile(body_of("arrow_record_batch", told, (INTEGERS, INTEGERS)))
    assert codecs.decode(sound, namespace={}, data_only=True)["x"].num_columns == 2
    is_refused(body_of("arrow_record_batch", told, (INTEGERS, one)))
    is_refused(body_of("arrow_scalar", bytes_of_type(pa, pa.int64()), INTEGERS))


def test_memory_of_arrow_cannot_be_written_to_by_another_way():
    """What was checked stays so, though the stream shows the same part twice."""
    values = pa.array(range(5000))
    group = group_of(values)
    state = bytes_of_type(pa, values.type), layout_of(pa, values)
    assert type(state[1][2][1]) is pickle.PickleBuffer

    class Writable(InMemory):
        writable = True

    parts = [Writable(part) for part in group.parts]
    for part in parts:
        part.writable = True
    stored = StoredGroup("x", group.members, bytes(group.stream), parts, lambda key: None)
    back = codecs.decode(stored, namespace={}, data_only=True)["x"]
    assert back.equals(values)
    assert not back.buffers()[1].is_mutable


def test_read_only_memory_is_not_made_of_what_may_change():
    """A view of a bytearray would let the stream keep the other end."""
    is_refused(dumps({"x": 1})[:-3] + b"\x96" + (8).to_bytes(8, "little") + bytes(8) + b"\x98s.")
    dtype = bytes_of_type(pa, pa.int64())
    with pytest.raises(CodecError, match="may change"):
        objects.arrow_array(dtype, (1, 0, (None, memoryview(bytearray(8))), ()))


def test_every_class_of_arrow_has_its_reducer():
    """Also those of arrays that are made rarely."""
    assert reducer_for(type(pa.array([1]))) is objects.reduce_array
    assert reducer_for(type(pa.int8())) is objects.reduce_type
    assert reducer_for(pa.Table) is objects.reduce_table


def test_buffers_say_how_large_their_elements_are():
    """Numbers, and the places where texts begin, are compressed by that."""
    parts = group_of(pa.array(np.arange(5000))).parts
    assert [part.itemsize for part in parts] == [8]
    texts = group_of(pa.array(["ab"] * 5000)).parts
    assert [(part.itemsize, part.memory.nbytes) for part in texts] == [(4, 20_004), (1, 10_000)]
