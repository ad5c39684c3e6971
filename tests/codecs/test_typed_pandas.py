"""Frames and all that they are made of are data: read without pandas' pickles, and never out of bounds."""

from __future__ import annotations

import datetime as dt
import io
import pickle
import zoneinfo

import numpy as np
import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.codecs import _calls
from keepstate.codecs._across import text_array
from keepstate.codecs._data_only import _MAKERS, _VALUES, CALLS
from keepstate.codecs._pandas.checks import PANDAS_CHECKS
from keepstate.codecs._pandas.frames import set_frame_attributes
from keepstate.codecs._pandas.values import PANDAS_VALUES
from keepstate.codecs._stream import MemoryMap, end_of
from keepstate.errors import CodecError, KeepstateError
from tests.codecs.streams import as_anything, as_data, calls, group_of, read
from tests.codecs.test_data_only import SCALAR, Reduces

pd = pytest.importorskip("pandas")

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def labels(text: str):
    """Give labels that Python holds, whatever this pandas makes of texts."""
    return pd.Index(list(text), dtype=object)


def frame(**columns):
    """Give a frame whose labels Python holds."""
    made = pd.DataFrame(dict(enumerate(columns.values())))
    made.columns = pd.Index(list(columns), dtype=object)
    return made


def objects(*values):
    """Give a column of objects, also where pandas would have texts."""
    return pd.Series(values, dtype=object)


def marked():
    """Give a frame that says where it is from, and takes no label twice."""
    made = frame(a=[1, 2]).set_flags(allows_duplicate_labels=False)
    made.attrs = {"source": ["x"]}
    return made


FREQUENCIES = [("D", None), ("MS", "UTC"), ("2h", None), ("W-TUE", None), ("B", None), ("QS-FEB", None)]


TABLES = {
    "numbers": lambda: frame(a=[1, 2], b=[1.5, None], c=[True, False], d=[1j, 2]),
    "objects": lambda: frame(a=objects([1], {"k": 2}), b=objects(None, "x")),
    "times": lambda: frame(
        a=pd.to_datetime(["2020-01-01", None]), b=pd.to_timedelta([1, 2], "s"),
        c=pd.date_range("2020-03-28", periods=2, tz=BERLIN), d=pd.date_range("2020", periods=2, tz=dt.UTC),
        e=np.array(["2020-01-01", "NaT"], "M8[s]"),
    ),
    "periods and intervals": lambda: frame(
        a=pd.period_range("2020", periods=2, freq="M"), b=pd.interval_range(0, 2),
        c=pd.interval_range(pd.Timestamp("2020"), periods=2, closed="left"),
    ),
    "categories": lambda: frame(
        a=pd.Categorical(["x", None], labels("xyz"), ordered=True), b=pd.Categorical([3, 3]),
        c=pd.Categorical(pd.to_datetime(["2020", "2021"])),
    ),
    "nullable": lambda: frame(
        a=pd.array([1, None], "Int64"), b=pd.array([1.5, None], "Float32"),
        c=pd.array([True, None], "boolean"), d=pd.array([1, 2], "UInt8"),
    ),
    "texts of Python": lambda: frame(a=pd.array(["x", None], pd.StringDtype("python"))),
    "sparse": lambda: frame(
        a=pd.arrays.SparseArray([0, 5]), b=pd.arrays.SparseArray([1.5, np.nan]),
        c=pd.arrays.SparseArray([0, 1], kind="block"), d=pd.arrays.SparseArray([True, False]),
    ),
    "marks": marked,
    "labels that are equal": lambda: pd.DataFrame([[1, 2.5]], columns=labels("aa")),
    "two levels": lambda: pd.DataFrame(
        np.arange(8).reshape(4, 2), pd.MultiIndex.from_product([[1, 2], [None, 3]], names=["k", None]),
        pd.MultiIndex.from_tuples([(1, 2), (3, 4)]),
    ),
    "wide": lambda: pd.DataFrame(np.arange(6000.0).reshape(60, 100)),
    "fortran": lambda: pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(3, 2)), copy=False),
    "no rows": lambda: frame(a=[1], b=objects("x")).iloc[:0],
    "no columns": lambda: pd.DataFrame(index=[1, 2]),
    "nothing": lambda: pd.DataFrame(),
    "series": lambda: pd.Series([1, 2], [3, 4], name=("a", 1)),
    "series of times": lambda: pd.Series(pd.date_range("2020", periods=900, tz=BERLIN)),
    "series of nothing": lambda: pd.Series(dtype="f8"),
}  # fmt: skip
INDEXES = {
    "numbers": lambda: pd.Index([1.5, 2], name="n"),
    "few bits": lambda: pd.Index(np.array([1, 2], "u1")),
    "objects": lambda: pd.Index(["a", (1, 2)], dtype=object, name=("x", 1)),
    "range": lambda: pd.RangeIndex(0, 10, 3, name="r"),
    "levels": lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, None)], names=["x", "y"]).set_levels(
        labels("a"), level=1
    ),
    "levels of ranges and times": lambda: pd.MultiIndex.from_product(
        [pd.RangeIndex(2), pd.date_range("2020", periods=2), pd.CategoricalIndex([1, 2])]
    ).sortlevel()[0],
    "durations": lambda: pd.timedelta_range("1s", periods=3, name="t"),
    "periods": lambda: pd.period_range("2020", periods=3, freq="Q"),
    "categories": lambda: pd.CategoricalIndex([1, 2, 1], ordered=True),
    "intervals": lambda: pd.interval_range(0, 3, name="i", closed="both"),
    "intervals of times": lambda: pd.interval_range(pd.Timestamp("2020", tz="UTC"), periods=3),
    "nullable": lambda: pd.Index(pd.array([1, None], "Int64")),
    "texts of Python": lambda: pd.Index(pd.array(["a", None], pd.StringDtype("python"))),
    **{
        f"times {freq}": lambda freq=freq, zone=zone: pd.date_range("2020", periods=3, freq=freq, tz=zone)
        for freq, zone in FREQUENCIES
    },
}
VALUES = {
    "times": lambda: [pd.Timestamp("2020", tz=BERLIN), pd.Timestamp(5), pd.Timestamp("2020", tz="UTC")],
    "durations": lambda: [pd.Timedelta("1s"), pd.Timedelta(3)],
    "periods": lambda: [pd.Period("2020", "M"), pd.Period("2020-05-01", "D")],
    "intervals": lambda: [pd.Interval(0, 1.5, "left"), pd.Interval(pd.Timestamp(0), pd.Timestamp(1))],
    "offsets": lambda: [
        pd.offsets.Day(2), pd.offsets.MonthEnd(-1, normalize=True), pd.offsets.BDay(3),
        pd.offsets.Week(weekday=2), pd.offsets.QuarterEnd(startingMonth=2), pd.offsets.BusinessHour(),
        pd.offsets.CustomBusinessDay(holidays=["2020-01-01"]), pd.offsets.FY5253(), pd.offsets.Easter(),
        pd.DateOffset(months=1, hour=3), pd.DateOffset(2),
    ],
    "dtypes": lambda: [
        pd.CategoricalDtype(labels("ab"), True), pd.CategoricalDtype(), pd.DatetimeTZDtype("us", BERLIN),
        pd.PeriodDtype("M"), pd.IntervalDtype("int64", "left"), pd.IntervalDtype(),
        pd.SparseDtype("f8", 1.0), pd.Int8Dtype(), pd.BooleanDtype(), pd.Float64Dtype(),
        pd.StringDtype("python"),
    ],
    "zones": lambda: [BERLIN, dt.datetime(2020, 1, 1, tzinfo=BERLIN)],
}  # fmt: skip
ARRAYS = {
    "of an index": lambda: pd.date_range("2020", periods=3).array,
    "of an index of numbers": lambda: pd.Index([1, 2]).array,
    "of numpy's": lambda: pd.arrays.NumpyExtensionArray(np.arange(3)),
    "of categories": lambda: pd.Categorical([1, 2]),
    "of durations": lambda: pd.timedelta_range("1s", periods=3).array,
    "of intervals": lambda: pd.interval_range(0, 3).array,
    "of few values": lambda: pd.arrays.SparseArray([0, 1, 2]),
}
ALL = {
    f"{kind} {name}": make
    for kind, makes in {"t": TABLES, "i": INDEXES, "v": VALUES, "a": ARRAYS}.items()
    for name, make in makes.items()
}


def is_equal(one, other) -> bool:
    """Say whether two are equal in all that can be seen of them."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return one.attrs == other.attrs and one.flags == other.flags
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
        return getattr(one, "freq", None) == getattr(other, "freq", None)
    elif isinstance(one, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(one, other)
        facts = "_freq", "_readonly"
        return all(getattr(one, fact, None) == getattr(other, fact, None) for fact in facts)
    else:
        return type(one) is type(other) and one == other
    return type(one) is type(other)


@pytest.mark.parametrize("kind", ALL)
def test_what_pandas_has_is_data(kind):
    """It comes back equal, read as data and in the usual way."""
    value = ALL[kind]()
    for back in (as_data(value), as_anything(value)):
        assert repr(back) == repr(value)
        assert is_equal(back, value)


@pytest.mark.parametrize("kind", ALL)
def test_it_is_written_in_calls_that_are_data(kind):
    """The stream asks for nothing of pandas but the makers of single values."""
    values = {f"{module}.{name}" for module, name in [*_MAKERS, *_VALUES, *PANDAS_VALUES]}
    assert calls(ALL[kind]()) <= CALLS | values | {"namespace"}


@pytest.mark.parametrize("kind", ALL)
def test_what_was_cached_is_not_kept(kind):
    """The bytes are the same before and after it was looked at."""
    value = ALL[kind]()
    before = group_of(value).stream
    repr(value), str(getattr(value, "dtypes", "")), getattr(value, "is_unique", None)
    if isinstance(value, pd.Index) and len(value):
        value.get_loc(value[0])
    if isinstance(value, pd.DataFrame | pd.Series):
        value.isna(), value.index.get_indexer(value.index[:1]), value.columns if value.ndim == 2 else None
        [value.iloc[at : at + 1] for at in range(len(value))]
    assert group_of(value).stream == before


def test_pandas_keeps_na_and_nat_as_they_are():
    """There is one of each."""
    back = as_data([pd.NA, pd.NaT])
    assert back[0] is pd.NA
    assert back[1] is pd.NaT


def test_a_frame_that_was_read_as_data_can_be_written_to():
    """Columns are added, values set and labels found."""
    back = as_data(frame(a=[1, 2, 3], b=pd.Categorical([1, 2, 1]), c=pd.array([1, None, 3], "Int64")))
    back.loc[1, "a"] = 50
    back["d"] = back["a"] * 2
    assert back["d"].tolist() == [2, 100, 6]
    assert back.groupby("b", observed=True)["c"].sum().tolist() == [4, 0]
    assert back.sort_values("a").index.tolist() == [0, 2, 1]


def test_columns_share_memory_and_marks_as_before():
    """A column of a frame shows its memory, bears its marks, and is written to on its own only as before."""
    table = frame(a=[1, 2, 3], b=pd.date_range("2020", periods=3))
    value = {"frame": table, "column": table["a"], "time": table["b"], "copy": table["a"].copy()}
    back = as_data(value)
    for name, place in (("column", 0), ("time", 1)):
        ours = next(block for block in back["frame"]._mgr.blocks if place in block.mgr_locs)
        assert back[name]._mgr.blocks[0].refs is ours.refs
        assert np.shares_memory(back[name]._mgr.blocks[0].values, ours.values)
    assert not back["copy"]._mgr.blocks[0].refs.has_reference()


def test_a_manager_that_two_frames_have_is_one_again():
    """So is the dictionary of attributes that a name has, too."""
    table = frame(a=[1])
    table.attrs["k"] = 1
    twin = pd.DataFrame._from_mgr(table._mgr, table._mgr.axes)
    back = as_data([table, twin, table.attrs])
    assert back[0]._mgr is back[1]._mgr
    assert back[0].attrs is back[2]


def test_a_frame_that_holds_itself_comes_back():
    """In a cell, and among its attributes."""
    table, attributes = frame(a=objects(None, 1)), frame(a=[1])
    table.iloc[0, 0] = [table]
    attributes.attrs["me"] = attributes
    for kept in (as_data, as_anything):
        back = kept(table)
        assert back.iloc[0, 0][0] is back
        back = kept(attributes)
        assert back.attrs["me"] is back


def test_what_was_set_on_a_frame_comes_back():
    """As in ``df.note = "raw"``: pandas' own pickle forgets it, accessors are made again."""
    table = frame(a=["x"])
    table.note = "raw"
    vars(table).update(me=table, plain=np.arange(3))  # pandas warns of these two
    series = pd.Series([1], index=labels("m"))
    series.kind = {"of": series}
    text = pd.Series(["a"])
    assert text.str.upper().tolist() == ["A"]
    back = as_data([table, series, text, table.plain])
    assert (back[0].note, back[0].me is back[0], back[0].plain is back[3]) == ("raw", True, True)
    assert back[1].kind["of"] is back[1]
    assert "set_frame_attributes" not in calls(text)


@pytest.mark.parametrize("name", ["_mgr", "shape", "to_csv", 5])
def test_only_what_can_be_set_on_a_frame_is(name):
    """Nothing of pandas' own is put aside by a stream."""
    with pytest.raises(CodecError):
        set_frame_attributes(frame(a=[1]), {name: 1})
    with pytest.raises(CodecError):
        set_frame_attributes([], {"note": 1})


def test_indexes_link_nothing():
    """Two names with one index are kept apart, whatever it is around."""
    for make in INDEXES.values():
        index = make()
        group = group_of(pd.DataFrame(index=index), other=pd.Series(range(len(index)), index), own=index)
        assert [member.name for member in group.members] == ["x"]


class Table(pd.DataFrame):
    """A frame of a class of its own, as geopandas has."""

    _metadata = ["unit"]  # noqa: RUF012 - so pandas wants it


class Refusing:
    """As patsy sets one on each frame of a formula."""

    def __getstate__(self):
        raise NotImplementedError("not yet supported")


@pytest.mark.parametrize("kind", [pd.DataFrame, "Measured"])
def test_what_refuses_to_be_kept_does_not_cost_the_frame_that_it_was_set_on(kind):
    """It is left out, as pandas leaves it out; what was set beside it stays."""
    table = (Measured if kind == "Measured" else kind)({"a": [1, 2]})
    vars(table).update(design=Refusing(), note="raw", key=lambda row: row)
    back = as_anything(table)
    assert back.a.tolist() == [1, 2]
    assert (back.note, back.key(3), "design" in vars(back)) == ("raw", 3, False)


class Measured(pd.DataFrame):
    """One that says nothing to pandas of what it sets."""

    source = "unknown"


class Telling(pd.DataFrame):
    """One that says for itself what it is made of."""

    def __reduce__(self):
        return Telling, ({"a": [7]},)


def test_what_a_class_has_set_on_its_frame_comes_back():
    """Also where it is hidden, or stands for a default; pandas' own pickle forgets it, and so does a copy."""
    table = Measured({"a": [1, 2]})
    vars(table).update(source="here", _raw=np.arange(3), me=table)
    table.plot  # noqa: B018 - pandas keeps what this makes
    array, back = as_anything([table._raw, table])
    assert type(back) is Measured
    assert (back.source, back._raw is array, back.me is back) == ("here", True, True)
    assert "plot" not in vars(back)
    assert back.a.tolist() == [1, 2]


def test_a_class_of_frames_that_says_what_it_is_made_of_is_believed():
    """Nothing is added to that."""
    table = Telling({"a": [1]})
    vars(table).update(note=1)
    back = as_anything(table)
    assert (back.a.tolist(), "note" in vars(back)) == ([7], False)


class Labels(pd.RangeIndex):
    """An index of a class of its own."""


def test_what_is_of_another_class_is_pickled():
    """It comes back as it did before; it is no data."""
    table = Table(frame(a=[1]))
    table.unit = "m"
    group = group_of(table)
    back = read(group, data_only=False)["x"]
    assert type(back) is Table
    assert back.unit == "m"
    assert is_equal(pd.DataFrame(back), pd.DataFrame(table))
    with pytest.raises(KeepstateError):
        read(group, data_only=True)


def test_a_zone_that_only_one_has_is_pickled():
    """It comes back as another one of its own."""
    zone = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
    assert "time_zone" not in calls(zone)
    back = as_anything(zone)
    assert back is not BERLIN
    assert back.key == "Europe/Berlin"


def test_an_array_with_more_than_pandas_knows_is_pickled():
    """What somebody has put on it stays."""
    values = pd.Categorical([1, 2])
    values.note = [1]
    assert as_anything(values).note == [1]


def test_zones_of_pytz_are_data():
    """They come back as the one that all have, at the same time of year."""
    pytz = pytest.importorskip("pytz")
    zone = pytz.timezone("Europe/Berlin")
    value = [zone, pytz.UTC, pytz.FixedOffset(90), pytz.timezone("Etc/GMT+3")]
    value += [pd.Timestamp("2020-07-01", tz=zone).tzinfo]
    assert all(ours is theirs for ours, theirs in zip(as_data(value), value, strict=True))
    times = pd.Series(pd.date_range("2020", periods=2, tz=zone))
    assert is_equal(as_data(times), times)
    known = len(zone._tzinfos)
    for details in ((1, 2, "X"), (3600,), ("x", 0, "CET"), (3600, 0, "CET", 1)):
        with pytest.raises(KeepstateError):
            decode(Reduces(pytz._p, ("Europe/Berlin", *details)))
    assert len(zone._tzinfos) == known


IN_ARROW = {
    "texts": lambda: pd.Series(["x", None, "ä" * 5000], dtype="string[pyarrow]"),
    "texts with NaN": lambda: pd.Series(["x", None], dtype=NAN_TEXTS),
    "labels": lambda: pd.DataFrame([[1, 2]], columns=pd.Index(["a", "b"], dtype="string[pyarrow]")),
    "categories": lambda: pd.CategoricalIndex(pd.Index(["a", "b", "a"], dtype="string[pyarrow]")),
    "numbers": lambda: pd.Series([1, None], dtype="int64[pyarrow]"),
    "lists": lambda: pd.Series([[1], None], dtype=pd.ArrowDtype(pyarrow().list_(pyarrow().int64()))),
    "times": lambda: pd.Index([pd.Timestamp(1)], dtype="timestamp[ns, Europe/Berlin][pyarrow]"),
}
NAN_TEXTS = pd.StringDtype(na_value=np.nan) if pd.__version__ >= "2.3" else "string[pyarrow_numpy]"


def pyarrow():
    """Give the library, or skip the test."""
    return pytest.importorskip("pyarrow")


@pytest.mark.parametrize("kind", IN_ARROW)
def test_columns_of_arrow_are_data(kind):
    """Texts and others of Arrow's come back equal, read as data and in the usual way; nothing is cached."""
    pyarrow()
    value = IN_ARROW[kind]()
    group = group_of(value)
    for back in (as_data(value), as_anything(value)):
        assert repr(back) == repr(value)
        assert is_equal(back, value)
    assert not any("." in name for name in calls(value) - {"builtins.slice"})
    assert group_of(value).stream == group.stream


def test_frames_share_their_labels_of_texts_with_nothing():
    """Frames that come from each other are kept apart, as pandas has texts or as it had."""
    table = pd.DataFrame({"a": [1], "b": ["x"]}, index=["i"])
    group = group_of(table, other=table.copy())
    assert [member.name for member in group.members] == ["x"]


# --- streams of anyone's


def made(name, *args):
    """Write a call within another."""
    return Reduces(_calls.named(name), args)


def decode(value):
    """Read *value*, whose calls are written as they are, as data alone."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.dump(made("namespace"))
    pickler.dump({"x": value})
    stream = file.getvalue() + end_of(MemoryMap(0, (), ()), marks=())
    return codecs.decode(StoredGroup("x", (), stream, (), {}.get), namespace={}, data_only=True)["x"]


def numbers(*values, dtype="i8"):
    """Write an array of numbers over a text of bytes."""
    array = np.array(values, dtype)
    kind = made("dtype", array.dtype.str)
    return made("exported", bytearray(array.tobytes()), 0, kind, array.shape, array.strides, True)


def texts(*values):
    """Write an array of objects."""
    fill = _calls.named("set_object_array")
    return Reduces(
        _calls.named("object_array"), ((len(values),), "C"), (list(values), True), None, None, fill
    )


def index(*values, dtype="i8"):
    """Write an index of numbers."""
    return made("pandas_index", numbers(*values, dtype=dtype), None)


def span(stop):
    """Write an index of a range."""
    return made("range_index", 0, stop, 1, None)


def block(values, place, ndim=2):
    """Write a block."""
    return made("block", values, place, ndim, made("block_refs"))


def table(blocks, columns=2, rows=3):
    """Write a frame."""
    return made("pandas_frame", made("block_manager", tuple(blocks), (span(columns), span(rows))), {}, True)


def column(values, rows, place=None):
    """Write a series."""
    place = slice(0, rows, 1) if place is None else place
    manager = made("series_manager", block(values, place, 1), span(rows))
    return made("pandas_series", manager, None, {}, True)


def rows_of(count, width=3, dtype="f8"):
    """Write the values of a block."""
    return numbers(*[[1] * width] * count, dtype=dtype)


CATEGORIES = made("categorical_dtype", index(5, 6), False)
HOUR = pd.offsets.Hour()
INTERVALS = made("interval_dtype", made("dtype", "<i8"), "right")
PERIODS = pd.PeriodDtype("M")
UTC = made("datetime_dtype", "ns", dt.UTC)
SERIES = made("series_manager", block(numbers(1), slice(0, 1, 1), 1), span(1))


def test_such_streams_are_read_if_they_are_sound():
    """So what is refused below is refused for what is wrong with it."""
    assert decode(table([block(rows_of(2), slice(0, 2, 1))])).shape == (3, 2)
    assert decode(table([block(rows_of(1), slice(1, 2, 1)), block(rows_of(1), slice(0, 1, 1))])).shape == (
        3,
        2,
    )
    assert decode(column(numbers(1, 2, 3), 3)).tolist() == [1, 2, 3]
    assert decode(made("categorical_array", numbers(0, -1, 1, dtype="i1"), CATEGORIES))[2] == 6
    levels = (index(1, 2), index(3))
    assert decode(made("multi_index", levels, (numbers(1, 0), numbers(0, -1)), ("a", "b"), None))[0] == (2, 3)
    assert decode(made("interval_array", numbers(0, 1), numbers(1, 2), INTERVALS))[0] == pd.Interval(0, 1)
    assert len(decode(made("period_array", numbers(0, 1), PERIODS))) == 2
    assert len(decode(made("nullable_array", numbers(0, 1), numbers(False, True, dtype="?")))) == 2
    assert len(decode(made("datetime_array", numbers(0, 1, dtype="M8[us]"), None, None))) == 2
    assert decode(made("object_text_array", texts("a"), made("text_dtype", "python", "NA")))[0] == "a"
    assert decode(made("datetime_array", numbers(0, dtype="M8[ns]"), UTC, None)).tz


HOSTILE = {
    "a block beyond the columns": table([block(rows_of(2), slice(1, 3, 1))]),
    "a block before the columns": table([block(rows_of(2), numbers(-1, 0))]),
    "a column in two blocks": table([block(rows_of(1), slice(0, 1, 1)), block(rows_of(1), slice(0, 1, 1))]),
    "a column in no block": table([block(rows_of(1), slice(0, 1, 1))]),
    "a column far away": table([block(rows_of(2), numbers(0, 10**12))]),
    "fewer rows than the index": table([block(rows_of(2, 2), slice(0, 2, 1))]),
    "more rows than the index": table([block(rows_of(2, 9), slice(0, 2, 1))]),
    "fewer columns than the place": table([block(rows_of(1), slice(0, 2, 1))]),
    "an endless place": table([block(rows_of(2), slice(0, 2**60, 1))]),
    "a block of one dimension": table([block(numbers(1, 2, 3), slice(0, 1, 1))], columns=1),
    "a block of three dimensions": table([block(numbers([[[1]]]), slice(0, 1, 1), 3)], columns=1, rows=1),
    "a block of a series": table([block(numbers(1, 2, 3), slice(0, 3, 1), 1)], columns=3),
    "a block of an index": table([block(span(3), slice(0, 1, 1))], columns=1),
    "a block of a list": table([block([1, 2], slice(0, 1, 1))], columns=1),
    "a place that is a truth": column(numbers(1), 1, place=True),
    "a place of numpy's": column(
        numbers(1), 1, place=Reduces(SCALAR, (made("dtype", "<i8"), bytes(8)))
    ),
    "a block of rows of places": table([block(rows_of(2), rows_of(2, dtype="i8"))]),
    "an array of pandas' in two places": table([
        block(made("nullable_array", numbers(1, 2, 3), numbers(0, 0, 0, dtype="?")), slice(0, 2, 1))
    ]),
    "no blocks but texts": table(["ab"]),
    "marks that are none": table([made("block", rows_of(2), slice(0, 2, 1), 2, None)]),
    "axes that are none": made("pandas_frame", made("block_manager", (), ([1], [2])), {}, True),
    "one axis": made("pandas_frame", made("block_manager", (), (span(0),)), {}, True),
    "a frame of a series": made("pandas_frame", SERIES, {}, True),
    "a frame of a text": made("pandas_frame", "manager", {}, True),
    "attributes of a list": made("pandas_frame", made("block_manager", (), (span(0), span(0))), [], True),
    "a flag of a text": made("pandas_frame", made("block_manager", (), (span(0), span(0))), {}, "x"),
    "a series shorter than its index": column(numbers(1, 2), 3),
    "a series longer than its index": column(numbers(1, 2, 3, 4), 3),
    "a series elsewhere": column(numbers(1, 2, 3), 3, slice(5, 8, 1)),
    "a series of two dimensions": column(numbers([1, 2]), 1),
    "a name without a hash": made("pandas_series", SERIES, [], {}, True),
    "an index of two dimensions": index([1, 2]),
    "an index of times of numpy's": index(1, dtype="M8[us]"),
    "an index of foreign bytes": index(1, dtype=">i8"),
    "an index of a list": made("pandas_index", [1], None),
    "an index whose name has no hash": made("pandas_index", numbers(1), []),
    "an index of numbers with a frequency": made("pandas_index", numbers(1), None, HOUR),
    "a frequency that is a text": made(
        "pandas_index", made("datetime_array", numbers(0, dtype="M8[us]"), None, None), None, "h"
    ),
    "a range of texts": made("range_index", "0", "1", 1, None),
    "a range without steps": made("range_index", 0, 1, 0, None),
    "a range out of all bounds": made("range_index", 0, 2**80, 1, None),
    "a code beyond its level": made("multi_index", (index(1, 2),), (numbers(0, 2),), (None,), None),
    "a code before its level": made("multi_index", (index(1, 2),), (numbers(0, -2),), (None,), None),
    "a level twice in itself": made("multi_index", (index(1, 1),), (numbers(0, 1),), (None,), None),
    "levels of unlike lengths": made(
        "multi_index", (index(1), index(1)), (numbers(0), numbers(0, 0)), (None, None), None
    ),
    "more levels than codes": made("multi_index", (index(1), index(1)), (numbers(0),), (None,), None),
    "codes that are objects": made("multi_index", (index(1),), ([object],), (None,), None),
    "an order that is not there": made("multi_index", (index(1, 2),), (numbers(1, 0),), (None,), 1),
    "a category that is not there": made("categorical_array", numbers(0, 2, dtype="i1"), CATEGORIES),
    "a category before all": made("categorical_array", numbers(-2, dtype="i1"), CATEGORIES),
    "a category without a sign": made("categorical_array", numbers(0, 255, dtype="u1"), CATEGORIES),
    "a category of a fraction": made("categorical_array", numbers(0.5, dtype="f8"), CATEGORIES),
    "categories of no dtype": made("categorical_array", numbers(0, dtype="i1"), made("dtype", "<i8")),
    "no categories": made("categorical_array", numbers(0), made("categorical_dtype", None, None)),
    "categories twice": made("categorical_dtype", index(1, 1), None),
    "categories of a number": made("categorical_dtype", 5, None),
    "an order of a text": made("categorical_dtype", index(1), "yes"),
    "times of numbers": made("datetime_array", numbers(1), None, None),
    "times of another unit": made("datetime_array", numbers(1, dtype="M8[us]"), UTC, None),
    "times in weeks": made("datetime_array", numbers(1, dtype="M8[W]"), None, None),
    "durations of times": made("timedelta_array", numbers(1, dtype="M8[us]"), None, None),
    "a frequency of times that is a text": made("pandas_index", made(
        "timedelta_array", numbers(1, dtype="m8[us]"), None, None), None, "h"),
    "periods of fractions": made("period_array", numbers(0.5, dtype="f8"), PERIODS),
    "periods of few bits": made("period_array", numbers(1, dtype="i1"), PERIODS),
    "periods of no dtype": made("period_array", numbers(1), made("dtype", "<i8")),
    "texts of numbers": made("object_text_array", numbers(1), made("text_dtype", "python", "NA")),
    "texts that are none": made(
        "object_text_array", texts("a", 2), made("text_dtype", "python", "NA")
    ),
    "texts of no dtype": made("object_text_array", texts("a"), CATEGORIES),
    "an unknown storage": made("text_dtype", "disk", "NA"),
    "more numbers than marks": made("nullable_array", numbers(1, 2), numbers(0, dtype="?")),
    "marks that are numbers": made("nullable_array", numbers(1), numbers(0, dtype="u1")),
    "missing texts": made("nullable_array", numbers("a", dtype="U1"), numbers(0, dtype="?")),
    "missing fractions of few bits": made("nullable_array", numbers(1, dtype="f2"), numbers(0, dtype="?")),
    "sides of unlike lengths": made("interval_array", numbers(1, 2), numbers(3), INTERVALS),
    "sides the wrong way round": made("interval_array", numbers(2), numbers(1), INTERVALS),
    "sides of unlike dtypes": made("interval_array", numbers(1), numbers(2.0, dtype="f8"), INTERVALS),
    "sides of another dtype": made(
        "interval_array", numbers(1.0, dtype="f8"), numbers(2.0, dtype="f8"), INTERVALS
    ),
    "sides of lists": made("interval_array", [1], [2], INTERVALS),
    "intervals closed by nothing": made("interval_dtype", made("dtype", "<i8"), "up"),
    "intervals of a text": made("interval_dtype", "datetime64[ns, dateutil//dev/zero]", "left"),
    "a wrapper of a list": made("numpy_extension_array", [1]),
    "a zone that is a path": made("datetime_dtype", "ns", "dateutil//etc/passwd"),
    "a unit that is none": made("datetime_dtype", "h", dt.UTC),
    "a zone out of its folder": made("time_zone", "../../etc/passwd"),
    "a zone of no place": made("time_zone", "Nowhere/Else"),
    "a zone that is a number": made("time_zone", 5),
    "a dtype that is another": made("nullable_dtype", "Category"),
    "a fill that is a list": made("sparse_dtype", made("dtype", "<i8"), [0]),
    "a sparse dtype of a text": made("sparse_dtype", "int64", 0),
    "an offset of a fraction": made("date_offset", 1.5, False, {}),
    "an offset of texts": made("date_offset", 1, False, {"months": "1"}),
    "an offset in fortnights": made("date_offset", 1, False, {"fortnights": 1}),
    "an offset beyond all calendars": made("date_offset", 10**30, False, {}),
    "texts of Arrow's of numbers": made("text_array", numbers(1), made("text_dtype", "python", "NA"), {}),
    "texts of Arrow's of categories": made("text_array", numbers(1), CATEGORIES, {"_ndarray": 1}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_state_that_is_not_sound_is_refused(kind):
    """Whatever is wrong with it: an error of ours, nothing read that is not its own."""
    with pytest.raises(KeepstateError):
        decode(HOSTILE[kind])


def sparse(values, places, fill=0):
    """Write an array of few values."""
    return made("sparse_array", values, places, made("sparse_dtype", made("dtype", "<i8"), fill))


def places(*args):
    """Write places of values."""
    kind = type(pd.arrays.SparseArray([1]).sp_index)
    return Reduces(kind, args)


def runs(*args):
    """Write places of runs of values."""
    kind = type(pd.arrays.SparseArray([1], kind="block").sp_index)
    return Reduces(kind, args)


def test_places_of_few_values_are_looked_at():
    """They are in order, within the length, and as many as there are values."""

    def few(*numbers_):
        return numbers(*numbers_, dtype="i4")

    assert decode(sparse(numbers(7, 8), places(5, few(1, 3)))).to_dense().tolist() == [0, 7, 0, 8, 0]
    assert decode(sparse(numbers(7, 8), runs(5, few(1), few(2)))).to_dense().tolist() == [0, 7, 8, 0, 0]
    for wrong in (
        sparse(numbers(7, 8), places(5, few(1, 5))), sparse(numbers(7, 8), places(5, few(-1, 3))),
        sparse(numbers(7, 8), places(5, few(3, 1))), sparse(numbers(7, 8), places(5, few(1))),
        sparse(numbers(7, 8), places(1, few(1, 3))), sparse(numbers(7, 8), places("5", few(1, 3))),
        sparse(numbers(7, 8), places(5, numbers(1, 3))), sparse(numbers(7, 8), places(5, [1, 3])),
        sparse(numbers(7, 8), runs(5, few(4), few(2))), sparse(numbers(7, 8), runs(5, few(-1), few(2))),
        sparse(numbers(7, 8), runs(5, few(1, 1), few(1, 1))),
        sparse(numbers(7, 8), runs(5, few(1), few(1, 1))),
        sparse(numbers(7, 8), runs(5, few(0, 4), few(2**31 - 1, 1))),
        sparse(numbers(7, 8), places(2**70, few(1, 3))), sparse(numbers(7, 8), 5),
        sparse(numbers(7.0, 8, dtype="f8"), places(5, few(1, 3))),
        sparse(numbers([7, 8]), places(5, few(1))),
    ):  # fmt: skip
        with pytest.raises(KeepstateError):
            decode(wrong)


def test_single_values_are_looked_at():
    """Times, durations, periods, offsets and zones are made of plain values."""
    time, _ = pd.Timestamp("2020").__reduce__()
    duration, _ = pd.Timedelta(1).__reduce__()
    for wrong in (
        Reduces(time, (1, None, "dateutil//etc/passwd", 9)), Reduces(time, (1, None, None, 4)),
        Reduces(time, (1, None, None, 10**9)), Reduces(time, (2**70, None, None, 9)),
        Reduces(time, ("1", None, None, 9)), Reduces(time, (1, "h", None, 9)),
        Reduces(duration, (1, 3)), Reduces(duration, ("1", 9)), Reduces(duration, (2**70, 9)),
        Reduces(pd.Period, ("2020-01", "M", 1)), Reduces(pd.Period, (None, "M", 1)),
        Reduces(pd.Period, (None, HOUR, 2**80)), Reduces(pd.PeriodDtype, (5,)),
        Reduces(pd.Interval, ([1], [2], "left")), Reduces(pd.Interval, (2, 1, "left")),
        Reduces(pd.offsets.Day, ("1", False)), Reduces(pd.offsets.MonthEnd, (1, [])),
        Reduces(pd.offsets.CustomBusinessDay, (1, False, [], (), None, dt.timedelta(0))),
        Reduces(pd.DateOffset, (1, False)), Reduces(pd.Timestamp, ("2020",)), Reduces(pd.read_pickle, ("x",)),
        Reduces(pd.DataFrame, ([1],)), Reduces(pd.eval, ("1",)),
    ):  # fmt: skip
        with pytest.raises(KeepstateError):
            decode(wrong)


def test_columns_of_arrow_are_looked_at():
    """What is no array of Arrow's is refused, and so is what would be set besides."""
    pyarrow()
    text = made("text_dtype", "pyarrow", "NA")
    for wrong in (
        made("pandas_arrow_array", numbers(1)), made("pandas_arrow_array", [1]), made("arrow_dtype", "int64"),
        made("text_array", numbers(1), text, {}), made("text_array", ["a"], text, {"__class__": int}),
    ):  # fmt: skip
        with pytest.raises(KeepstateError):
            decode(wrong)
    words, ones = (pyarrow().chunked_array([values]) for values in (["a"], [1]))
    PANDAS_CHECKS["text_array"](text_array(words, pd.StringDtype("pyarrow"), {}))
    for data, flags in ((ones, {}), (words, {"astype": 1})):
        with pytest.raises(CodecError):
            PANDAS_CHECKS["text_array"](text_array(data, pd.StringDtype("pyarrow"), flags))


def test_the_error_says_what_is_wrong():
    """One reads which part of the stream is damaged."""
    with pytest.raises(CodecError, match="codes of no category: the stream is damaged"):
        decode(HOSTILE["a category that is not there"])
    with pytest.raises(KeepstateError):
        decode(made("pandas_frame"))


def test_periods_that_were_cut_are_data():
    """Pandas 2 notes a frequency beside such an array, though that is its dtype's, and caches the dtype."""
    series = pd.Series(pd.period_range("2020", periods=5, freq="Y")).iloc[1:-1]
    before = bytes(group_of(series).stream)
    pd.testing.assert_series_equal(as_data(series), series)
    repr(series)
    assert series.array.dtype.freq == series.array.freq
    assert bytes(group_of(series).stream) == before
