"""Sparse matrices are kept as data: their very arrays, and what cannot be found out from these."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from keepstate import codecs
from keepstate.codecs import _calls
from keepstate.codecs._sparse import check_sparse, sparse_matrix
from keepstate.errors import CodecError, KeepstateError
from tests.codecs.streams import as_anything, as_data, calls, group_of, read
from tests.codecs.test_data_only import hostile

sp = pytest.importorskip("scipy.sparse")

FORMATS = (
    "csr",
    "csc",
    "coo",
    "bsr",
    "dia",
    "lil",
    *(["dok"] if hasattr(sp.dok_array((1, 1)), "_dict") else []),
)
"""A dok matrix of older versions is a dictionary, and pickled."""
DENSE = np.array([[1.5, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4], [5, 0, 0, 6]])
PLAIN = {"array", "view", "empty", "dtype", "object_array", "set_object_array", "namespace", "sparse_matrix"}
HAS_MORE = hasattr(sp.coo_array(DENSE), "coords") and sp.coo_array(np.ones(2)).ndim == 1


def made(form, kind="array", dense=DENSE):
    return getattr(sp, f"{form}_{kind}")(dense)


def both_ways(matrix):
    """Write *matrix* as data alone; read it as data and as anything."""
    group = group_of(matrix)
    assert {call for call in calls(matrix) if not call.endswith("multiarray.scalar")} <= PLAIN
    return read(group, data_only=True)["x"], read(group, data_only=False)["x"]


def facts(matrix):
    """What a matrix is made of, as texts and bytes, without what it has found out."""
    return {
        name: [
            (each.dtype.str, each.tolist()) if isinstance(each, np.ndarray) else repr(each)
            for each in (value if isinstance(value, tuple) else [value])
        ]
        for name, value in vars(matrix).items()
        if not name.startswith("_has_")
    }


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_comes_back(form, kind):
    """As the same class, made of the same things, and usable."""
    matrix = made(form, kind)
    for back in both_ways(matrix):
        assert type(back) is type(matrix)
        assert facts(back) == facts(matrix)
        assert (back.toarray() == DENSE).all()
        assert (back @ DENSE == DENSE @ DENSE).all()


@pytest.mark.parametrize("form", FORMATS)
def test_empty_ones_come_back(form):
    """With their shape."""
    for shape in ((3, 5), (0, 0), (4, 0)):
        matrix = getattr(sp, f"{form}_array")(shape, dtype="f4")
        back = as_data(matrix)
        assert (back.shape, back.dtype) == (shape, np.float32)
        assert facts(back) == facts(matrix)


@pytest.mark.skipif(not HAS_MORE, reason="this scipy has two dimensions")
def test_other_dimensions_come_back():
    """A coo array of three, and those formats that have one."""
    for matrix in (
        sp.coo_array(np.arange(24).reshape(2, 3, 4) % 5),
        sp.coo_array(np.array([0, 1, 2])),
        sp.csr_array(np.array([0, 1, 2])),
        sp.dok_array(np.array([0, 1, 2])),
    ):
        for back in both_ways(matrix):
            assert facts(back) == facts(matrix)
            assert (back.toarray() == matrix.toarray()).all()


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia"])
def test_the_type_of_indices_is_kept(form):
    """scipy's constructors would choose the narrow one."""
    matrix = made(form)
    for name in ("indices", "indptr", "offsets"):
        if hasattr(matrix, name):
            setattr(matrix, name, getattr(matrix, name).astype("i8"))
    if hasattr(matrix, "coords"):
        matrix.coords = tuple(along.astype("i8") for along in matrix.coords)
    elif form == "coo":
        matrix.row, matrix.col = matrix.row.astype("i8"), matrix.col.astype("i8")
    for back in both_ways(matrix):
        assert facts(back) == facts(matrix)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
def test_a_stream_does_not_tell_whether_indices_were_looked_at(form):
    """What scipy has found out is not part of it, and is found out again."""
    matrix = made(form)
    before = bytes(group_of(matrix).stream)
    assert matrix.has_canonical_format
    repr(matrix), str(matrix), matrix.T, matrix[0, 0] if form != "bsr" else None
    assert bytes(group_of(matrix).stream) == before
    assert as_data(matrix).has_canonical_format


def test_unsorted_indices_stay_unsorted():
    """And are known to be."""
    matrix = sp.csr_array((np.array([1.0, 2.0]), np.array([2, 0]), np.array([0, 2])), shape=(1, 3))
    back = as_data(matrix)
    assert not back.has_sorted_indices
    assert back.indices.tolist() == [2, 0]


@pytest.mark.parametrize("flag", [True, False])
def test_a_coo_matrix_says_whether_it_is_canonical(flag):
    """It is told so, and never looks."""
    matrix = made("coo")
    matrix.has_canonical_format = flag
    assert as_data(matrix).has_canonical_format is flag


def test_how_many_are_printed_is_kept():
    """It was set by the user."""
    matrix = made("csr")
    matrix.maxprint = 3
    assert as_data(matrix).maxprint == 3


def test_entries_that_are_stored_twice_or_as_zero_stay():
    """They are summed up when the user asks for it."""
    matrix = sp.coo_array((np.array([1, 2, 0]), (np.array([0, 0, 1]), np.array([1, 1, 0]))), shape=(2, 2))
    back = as_data(matrix)
    assert back.nnz == 3
    assert back.toarray().tolist() == [[0, 3], [0, 0]]


def test_arrays_that_are_longer_than_needed_stay_so():
    """scipy leaves room at the end, and looks at what the index pointer says."""
    matrix = sp.csr_array((np.arange(1.0, 6.0), np.zeros(5, "i4"), np.array([0, 2], "i4")), shape=(1, 1))
    matrix.data, matrix.indices = np.arange(1.0, 6.0), np.zeros(5, "i4")
    back = as_data(matrix)
    assert (len(back.data), back.nnz) == (5, 2)


def test_shared_arrays_are_shared_again():
    """A transposed matrix shows the memory of the first, and so do its arrays under their own names."""
    matrix = made("csr")
    back = as_data({"csr": matrix, "csc": matrix.T, "data": matrix.data, "again": matrix})
    back["data"][0] = -1
    assert back["csr"][0, 0] == back["csc"][0, 0] == -1
    assert back["again"] is back["csr"]


@pytest.mark.parametrize("form", [form for form in FORMATS if form in ("lil", "dok")])
def test_those_that_are_filled_are_filled_on(form):
    """What came back takes new entries."""
    back = as_data(made(form))
    back[1, 1] = 7
    assert back.toarray()[1, 1] == 7
    assert back.nnz == 7


class Own(sp.csr_array):
    """A class of the user's own."""


def test_others_are_pickled():
    """A class of the user's, and a matrix that was given something of its own."""
    own, given = Own(DENSE), made("csr")
    given.note = "mine"
    for matrix in (own, given):
        assert "sparse_matrix" not in calls(matrix)
        back = as_anything(matrix)
        assert type(back) is type(matrix)
        assert (back.toarray() == DENSE).all()
    assert as_anything(given).note == "mine"


@pytest.mark.parametrize("form", FORMATS)
def test_older_streams_are_read(form):
    """What scipy's own pickle made, as streams did before."""
    body = pickle.dumps({"x": made(form)}, 2)  # later ones count what they remember from the preamble on
    assert (codecs.decode(hostile(body), namespace={})["x"].toarray() == DENSE).all()


# --- what a hostile stream may say


ONES = np.ones(2)
INTS = np.array([0, 1], "i4")
LISTS = np.empty(2, object)
LISTS[:] = [[0], [1]]


def objects(*rows):
    values = np.empty(len(rows), object)
    values[:] = rows
    return values


BAD = {
    "an index too large": ("csr", (2, 2), (ONES, INTS + 1, np.array([0, 1, 2], "i4"))),
    "a negative index": ("csr", (2, 2), (ONES, INTS - 1, np.array([0, 1, 2], "i4"))),
    "too few rows": ("csr", (3, 2), (ONES, INTS, np.array([0, 1, 2], "i4"))),
    "rows in between": ("csr", (2, 2), (ONES, INTS, np.array([0, 90, 2], "i4"))),
    "rows before the first": ("csr", (2, 2), (ONES, INTS, np.array([-5, 1, 2], "i4"))),
    "rows that end before": ("csr", (2, 2), (ONES, INTS, np.array([0, 90, -2], "i4"))),
    "rows whose steps overflow": (
        "csr", (4, 2), (ONES, INTS, np.array([0, 2**63 - 1, -(2**63), -1, 2], "i8")),
    ),
    "rows that end after": ("csr", (2, 2), (ONES, INTS, np.array([0, 1, 3], "i4"))),
    "no rows": ("csr", (0, 2), (ONES, INTS, np.array([], "i4"))),
    "fewer indices than numbers": ("csr", (2, 2), (ONES, INTS[:1], np.array([0, 1, 2], "i4"))),
    "indices of floats": ("csr", (2, 2), (ONES, INTS.astype("f8"), np.array([0, 1, 2], "i4"))),
    "indices of objects": ("csr", (2, 2), (ONES, INTS.astype(object), np.array([0, 1, 2], "i4"))),
    "indices of bytes swapped": ("csr", (2, 2), (ONES, INTS.astype(">i4"), np.array([0, 1, 2], "i4"))),
    "indices in a list": ("csr", (2, 2), (ONES, [0, 1], np.array([0, 1, 2], "i4"))),
    "numbers that are objects": ("csr", (2, 2), (ONES.astype(object), INTS, np.array([0, 1, 2], "i4"))),
    "numbers that are texts": ("csr", (2, 2), (np.array(["a", "b"]), INTS, np.array([0, 1, 2], "i4"))),
    "numbers in a table": ("csr", (2, 2), (np.ones((2, 2)), INTS, np.array([0, 1, 2], "i4"))),
    "two of three": ("csr", (2, 2), (ONES, INTS)),
    "columns too large": ("csc", (1, 2), (ONES, INTS, np.array([0, 1, 2], "i4"))),
    "blocks that do not fit": ("bsr", (3, 2), (np.ones((1, 2, 2)), INTS[:1], INTS)),
    "blocks without a size": ("bsr", (2, 2), (np.ones((1, 0, 0)), INTS[:1], INTS)),
    "blocks outside": ("bsr", (2, 2), (np.ones((1, 2, 2)), INTS[1:], INTS)),
    "coordinates outside": ("coo", (2, 2), (ONES, (INTS, INTS + 1), False)),
    "coordinates that are negative": ("coo", (2, 2), (ONES, (INTS - 1, INTS), False)),
    "coordinates of one": ("coo", (2, 2), (ONES, (INTS,), False)),
    "coordinates that are fewer": ("coo", (2, 2), (ONES, (INTS, INTS[:1]), False)),
    "a flag that is a text": ("coo", (2, 2), (ONES, (INTS, INTS), "yes")),
    "diagonals outside": ("dia", (2, 2), (np.ones((1, 2)), np.array([2**31 - 1], "i4"))),
    "diagonals twice": ("dia", (2, 2), (np.ones((2, 2)), np.array([1, 1], "i4"))),
    "diagonals without numbers": ("dia", (2, 2), (np.ones((1, 2)), np.array([0, 1], "i4"))),
    "rows that are no lists": ("lil", (2, 2), (LISTS, objects(1, 2), np.dtype("f8"))),
    "rows of other lengths": ("lil", (2, 2), (objects([1.0], [1.0, 2.0]), LISTS, np.dtype("f8"))),
    "columns outside": ("lil", (2, 2), (LISTS, objects([0], [2]), np.dtype("f8"))),
    "columns not in order": ("lil", (1, 2), (objects([1.0, 2.0]), objects([1, 0]), np.dtype("f8"))),
    "columns that are texts": ("lil", (2, 2), (LISTS, objects([0], ["1"]), np.dtype("f8"))),
    "fewer rows": ("lil", (3, 2), (LISTS, LISTS, np.dtype("f8"))),
    "entries that are texts": ("lil", (2, 2), (objects(["a"], [1.0]), LISTS, np.dtype("f8"))),
    "a type of objects": ("lil", (2, 2), (LISTS, LISTS, np.dtype("O"))),
    "no type": ("lil", (2, 2), (LISTS, LISTS, "f8")),
    "places outside": ("dok", (2, 2), ({(0, 2): 1.0}, np.dtype("f8"))),
    "places that are negative": ("dok", (2, 2), ({(-1, 0): 1.0}, np.dtype("f8"))),
    "places of one": ("dok", (2, 2), ({0: 1.0}, np.dtype("f8"))),
    "places that are texts": ("dok", (2, 2), ({"ab": 1.0}, np.dtype("f8"))),
    "values that are lists": ("dok", (2, 2), ({(0, 0): [1.0]}, np.dtype("f8"))),
    "a list of places": ("dok", (2, 2), ([(0, 0)], np.dtype("f8"))),
    "a format that is none": ("eval", (2, 2), (ONES,)),
    "a format that is a list": ([], (2, 2), (ONES,)),
    "a negative shape": ("coo", (-1, 2), (ONES[:0], (INTS[:0], INTS[:0]), False)),
    "a shape of floats": ("coo", (1.5, 2), (ONES[:0], (INTS[:0], INTS[:0]), False)),
    "a huge shape": ("coo", (2**64, 2), (ONES[:0], (INTS[:0], INTS[:0]), False)),
    "a shape of three": ("csc", (1, 1, 1), (ONES, INTS, np.array([0, 2], "i4"))),
    "a shape in a list": ("coo", [1, 2], (ONES[:0], (INTS[:0], INTS[:0]), False)),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_matrices_that_lie_are_refused(kind):
    """No loop in C ever sees them."""
    form, shape, content = BAD[kind]
    with pytest.raises((CodecError, ValueError, TypeError)):
        check_sparse(sparse_matrix(form, True, shape, content, 50))


@pytest.mark.parametrize("kind", ["rows in between", "coordinates outside", "places outside"])
def test_the_look_is_taken_when_only_data_is_read(kind):
    """Whoever trusts a stream need not wait for it."""
    form, shape, content = BAD[kind]

    class Call:
        def __reduce__(self):
            return _calls.named("sparse_matrix"), (form, True, shape, content, 50)

    group = group_of(Call())
    with pytest.raises(KeepstateError, match="do not fit"):
        read(group, data_only=True)
    assert read(group, data_only=False)["x"].shape == shape


def test_how_many_are_printed_is_a_number():
    """A text would fail when it is shown."""
    with pytest.raises(CodecError):
        sparse_matrix("coo", True, (2, 2), (ONES, (INTS, INTS), False), "50")
