"""What each kind of file holds exactly, and what it refuses."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from keepstate._cli.file_formats import check_suffix, encode_file
from keepstate.errors import CodecError, InvalidInputError

ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "view": np.arange(20)[::3],
    "reversed": np.arange(6)[::-1],
    "scalar": np.array(7.5),
    "empty": np.zeros((0, 3), "f4"),
    "broadcast": np.broadcast_to(np.arange(3), (2, 3)),
    "dates": np.array(["2026-01-01"], "M8[D]"),
    "fields": np.array([(1, "a")], [("größe", "i4"), ("b", "U3")]),
    "unusual_fields": np.array([(1, 2)], [("λ", "i4"), ("b", ">i2")]),
    "texts": np.array(["ä", "bc"]),
}


def written(value, suffix):
    return b"".join(encode_file("value", value, suffix))


@pytest.mark.parametrize("name", ARRAYS)
def test_every_kind_of_array(name):
    """Arrays of any layout and element come back as they were."""
    found = np.load(io.BytesIO(written(ARRAYS[name], ".npy")), allow_pickle=False)
    assert (found.dtype, found.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
    np.testing.assert_array_equal(found, ARRAYS[name])


def test_large_array_is_not_copied():
    """The memory of an array goes to the file as it is."""
    array = np.arange(1000)
    assert np.shares_memory(np.frombuffer(encode_file("array", array, ".npy")[1], np.uint8), array)


BENT = {
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "records": np.rec.array([(1,)], [("a", "i4")]),
    "objects": np.array([{}, None]),
    "variable_texts": np.array(["a"], np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else [1],
    "number": np.float64(1),
    "list": [1, 2],
}


@pytest.mark.parametrize("name", BENT)
def test_array_that_the_format_would_bend(name):
    """What ``.npy`` would give back as something else is refused."""
    with pytest.raises(InvalidInputError, match=r"\.pkl takes everything"):
        encode_file(name, BENT[name], ".npy")


@pytest.mark.parametrize("value", [None, True, 2**70, -0.5, "ü\ud800", [], {"a": [1, {"b": None}]}], ids=repr)
def test_json(value):
    """Plain values come back from JSON equal."""
    assert json.loads(written(value, ".json")) == value


LOSSY = [{1: "a"}, {"a": {1, 2}}, [float("nan")], [np.int64(3)], [np.float64(3)], {"a": b"x"}, [[object]]]


@pytest.mark.parametrize("value", LOSSY, ids=repr)
def test_json_that_would_come_back_as_something_else(value):
    """A value that JSON would change is refused."""
    with pytest.raises(InvalidInputError):
        encode_file("value", value, ".json")


def test_json_that_contains_itself():
    """A list that contains itself is an error and no endless file."""
    loop = []
    loop.append(loop)
    with pytest.raises(CodecError):
        encode_file("loop", loop, ".json")


def test_series():
    """A series becomes a CSV of one column."""
    assert written(pd.Series([1, 2], name="a"), ".csv") == b"a\n1\n2\n"


def test_value_that_cannot_be_pickled():
    """What even pickle refuses is an error that names it."""
    with pytest.raises(CodecError, match="'value' cannot be written"):
        encode_file("value", (each for each in ()), ".pkl")


def test_suffix_in_capitals():
    """Capitals in a suffix do not matter."""
    assert check_suffix(".NPY") == ".npy"
