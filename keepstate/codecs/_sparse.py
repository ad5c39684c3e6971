"""Sparse matrices of scipy, kept as their format, their shape and the very arrays that they are made of.

Whether the indices of a compressed matrix are sorted or unique is left out: scipy finds that out when it is
first asked, and remembers it, so a stream would depend on whether anything has asked. What it found is in the
arrays. A coo matrix is told it by whoever makes it and never looks, so there it is part of the state.
Constructors choose the type of indices anew, so the arrays are put in place after one. scipy is imported only
to decode.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_CONTENT = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "coords", "has_canonical_format"),
    "dia": ("data", "offsets"),
    "lil": ("data", "rows", "dtype"),
    "dok": ("_dict", "dtype"),
}
"""Format → the attributes that hold what is in a matrix, in the order in which they are kept."""
_FOUND_OUT = ("_has_sorted_indices", "_has_canonical_format")
_SIZES = range(2**63)
"""Of a dimension."""


def reduce_sparse(_pickler: StreamPickler, matrix: Any) -> Any:
    """Reduce a matrix or an array in one of scipy's own formats."""
    return typed(
        "sparse_matrix",
        sparse_matrix,
        state=lambda: _told(matrix),
        same=lambda made: type(made) is type(matrix) and _same(vars(made), vars(matrix)),
    )


def _told(matrix: Any) -> tuple[Any, ...]:
    form = matrix.format
    is_array = isinstance(matrix, sys.modules["scipy.sparse"].sparray)
    facts = vars(matrix)
    if form == "coo" and "coords" not in facts:  # scipy before 1.13
        facts = {**facts, "coords": (facts["row"], facts["col"])}
    return form, is_array, matrix.shape, tuple(facts[name] for name in _CONTENT[form]), facts["maxprint"]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    kept = [name for name in other if name not in _FOUND_OUT]
    return len(one) == len(kept) and all(one.get(name, one) is other[name] for name in kept)


SPARSE_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {"scipy.sparse._base._spbase": reduce_sparse}
"""By the name of a type or of one of its bases."""


# --- decoding


def sparse_matrix(
    form: str, is_array: bool, shape: tuple[int, ...], content: tuple[Any, ...], maxprint: int
) -> Any:
    """Make a sparse matrix or array; what its arrays say is not looked at.

    Raises:
        CodecError: There is none of that format, or not in so many dimensions.
    """
    sparse = importlib.import_module("scipy.sparse")
    names = _CONTENT.get(form)
    if names is None or len(names) != len(content) or type(maxprint) is not int or type(shape) is not tuple:
        raise CodecError(f"{form!r} is no format of a sparse matrix that is known here")
    if not all(type(length) is int and length in _SIZES for length in shape):
        raise CodecError(f"a sparse matrix cannot have the shape {shape!r}")
    try:
        made = getattr(sparse, f"{form}_{'array' if is_array else 'matrix'}")((1,) * len(shape))
    except (TypeError, ValueError) as error:
        version = importlib.import_module("scipy").__version__
        raise CodecError(f"scipy {version} has no {form} array of {len(shape)} dimensions") from error
    made._shape = shape
    made.maxprint = maxprint
    for name, value in zip(names, content, strict=True):
        _put(made, name, value)
    if made.shape != shape:
        raise CodecError(f"a sparse matrix of the shape {shape} came back as {made.shape}")
    return made


def _put(made: Any, name: str, value: Any) -> None:
    if name == "coords" and not hasattr(made, "coords"):  # scipy before 1.13
        made.row, made.col = value
    elif name == "_dict" and not hasattr(made, "_dict"):  # likewise: the matrix is the dictionary
        dict.update(made, value)
    else:
        setattr(made, name, value)


# --- data only


def check_sparse(made: Any) -> None:
    """Look through the arrays of a matrix, which scipy's loops in C believe.

    Raises:
        CodecError: An index lies outside, or the arrays are of other kinds or lengths than they should be.
    """
    if not _LOOKS[made.format](made):
        raise CodecError(f"the arrays of a {made.format} matrix do not fit its shape")
    if made.format in ("csr", "csc", "bsr"):
        copy.copy(made).check_format(full_check=True)  # it may cast the arrays of the copy


def _are_numbers(values: Any, dimensions: int) -> bool:
    return type(values) is np.ndarray and values.ndim == dimensions and values.dtype.kind in "biufc"


def _are_indices(values: Any, below: int) -> bool:
    return _are_integers(values) and (not values.size or bool(values.min() >= 0 and values.max() < below))


def _are_integers(values: Any) -> bool:
    return type(values) is np.ndarray and values.ndim == 1 and values.dtype in (np.int32, np.int64)


def _is_compressed(made: Any) -> bool:
    rows, columns = made.shape if len(made.shape) == 2 else (1, *made.shape)
    if made.format == "csc":
        rows, columns = columns, rows
    if not _are_numbers(made.data, 3 if made.format == "bsr" else 1):
        return False
    if made.format == "bsr":
        high, wide = made.data.shape[1:]
        if not high or not wide or rows % high or columns % wide:
            return False
        rows, columns = rows // high, columns // wide
    starts = made.indptr
    return (
        _are_integers(starts)
        and len(starts) == rows + 1
        and starts[0] == 0
        and bool((starts[1:] >= starts[:-1]).all())  # not their difference, which may overflow
        and int(starts[-1]) <= len(made.data)
        and len(made.indices) == len(made.data)
        and _are_indices(made.indices, columns)
    )


def _is_coo(made: Any) -> bool:
    coordinates = made.coords if hasattr(made, "coords") else (made.row, made.col)
    return (
        _are_numbers(made.data, 1)
        and type(made.has_canonical_format) is bool
        and type(coordinates) is tuple
        and len(coordinates) == len(made.shape)
        and all(
            _are_indices(along, length) and len(along) == len(made.data)
            for along, length in zip(coordinates, made.shape, strict=True)
        )
    )


def _is_dia(made: Any) -> bool:
    rows, columns = made.shape
    offsets = made.offsets
    return (
        _are_numbers(made.data, 2)
        and _are_integers(offsets)
        and len(offsets) == len(made.data) == len(np.unique(offsets))
        and (not offsets.size or bool(offsets.min() >= -rows and offsets.max() <= columns))
    )


def _is_lil(made: Any) -> bool:
    length, columns = made.shape
    shown = made.rows, made.data
    return (
        _is_dtype(made.dtype)
        and all(
            type(each) is np.ndarray and each.dtype == object and each.shape == (length,) for each in shown
        )
        and all(_is_row(row, data, columns) for row, data in zip(*shown, strict=True))
    )


def _is_row(row: Any, data: Any, columns: int) -> bool:
    return (
        type(row) is list
        and type(data) is list
        and len(row) == len(data)
        and all(_is_index(at, columns) for at in row)
        and all(one < other for one, other in itertools.pairwise(row))
        and all(map(_is_number, data))
    )


def _is_dok(made: Any) -> bool:
    held = made._dict if hasattr(made, "_dict") else dict(dict.items(made))
    return (
        _is_dtype(made.dtype)
        and type(held) is dict
        and all(_is_place(key, made.shape) for key in held)
        and all(map(_is_number, held.values()))
    )


def _is_place(key: Any, shape: tuple[int, ...]) -> bool:
    if len(shape) == 1:
        return _is_index(key, shape[0])
    return type(key) is tuple and len(key) == len(shape) and all(map(_is_index, key, shape))


def _is_index(at: Any, below: int) -> bool:
    return (type(at) is int or isinstance(at, np.integer)) and 0 <= int(at) < below


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float, complex) or (
        isinstance(value, np.generic) and _is_dtype(value.dtype)
    )


def _is_dtype(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biufc"


_LOOKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("csr", "csc", "bsr"), _is_compressed),
    "coo": _is_coo,
    "dia": _is_dia,
    "lil": _is_lil,
    "dok": _is_dok,
}
SPARSE_CHECKS: dict[str, Callable[[Any], None]] = {"sparse_matrix": check_sparse}
"""By the call whose result it looks at."""
