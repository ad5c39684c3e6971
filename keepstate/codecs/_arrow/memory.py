"""Memory of Arrow arrays: taken apart into plain tuples and buffers, and made of them again.

A layout is ``(length, offset, buffers, parts)``: of an array, or of one within another. Parts are the layouts
of its children, or of its dictionary. Buffers are cut to what the array shows, without being copied, so that
a slice does not keep what it was cut from. How many values are missing is never in it: Arrow counts them
when it is first asked and remembers the number, and a layout must not depend on whether it was asked.
"""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate.codecs._arrays import Array

Layout = tuple[int, int, tuple[Any, ...], tuple[Any, ...]]
_BITS = 8
"""A row of validity bits can be cut at every eighth, and the other buffers are cut at the same row."""
_NOTHING = b""
_FORMATS: dict[int, Any] = {2: "H", 4: "I", 8: "Q"}
"""Bytes of an element → how memory says that."""
_UNKNOWN = -1
"""Arrow's number of missing values that nobody has counted."""


class _Form(NamedTuple):
    """How arrays of a type are laid out."""

    kind: str
    width: int
    """Bytes of one element of the second buffer; elements of a list, for ``fixed_list``."""


_KINDS = {
    **dict.fromkeys(
        (
            "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "HALF_FLOAT", "FLOAT",
            "DOUBLE", "DATE32", "DATE64", "TIME32", "TIME64", "TIMESTAMP", "DURATION",
            "INTERVAL_MONTH_DAY_NANO", "DECIMAL32", "DECIMAL64", "DECIMAL128", "DECIMAL256",
            "FIXED_SIZE_BINARY",
        ),
        ("fixed", 0),
    ),
    "NA": ("null", 0), "BOOL": ("bits", 0), "STRING": ("bytes", 4), "BINARY": ("bytes", 4),
    "LARGE_STRING": ("bytes", 8), "LARGE_BINARY": ("bytes", 8), "STRING_VIEW": ("views", 16),
    "BINARY_VIEW": ("views", 16), "LIST": ("list", 4), "MAP": ("map", 4), "LARGE_LIST": ("list", 8),
    "LIST_VIEW": ("list_view", 4), "LARGE_LIST_VIEW": ("list_view", 8), "FIXED_SIZE_LIST": ("fixed_list", 0),
    "STRUCT": ("struct", 0), "DICTIONARY": ("dictionary", 0),
}  # fmt: skip
"""Name of a type → kind and width (Arrow's columnar format); 0 where the type itself tells, if it has any."""


_COUNTED = ("bytes", "list", "map")
"""Kinds whose second buffer says where each element begins, and the last one ends."""


@functools.cache
def _kinds(pa: Any) -> dict[int, tuple[str, int]]:
    numbers = ((getattr(pa.lib, f"Type_{name}", None), found) for name, found in _KINDS.items())
    return {number: found for number, found in numbers if number is not None}


def _form(pa: Any, dtype: Any) -> _Form:
    """Tell how arrays of a type are laid out.

    Raises:
        CodecError: Not in a way that is known here.
    """
    kind, width = _kinds(pa).get(dtype.id, ("", 0))
    if isinstance(dtype, pa.lib.BaseExtensionType):
        return _Form("extension", 0)
    if not kind:
        raise CodecError(f"arrays of {dtype} are kept by Arrow's own pickle")
    if kind == "fixed":
        width = dtype.bit_width // 8
    elif kind == "dictionary":
        width = dtype.index_type.bit_width // 8
    elif kind == "fixed_list":
        width = dtype.list_size
    return _Form(kind, width)


# --- taking apart


def layout_of(pa: Any, values: Any, before: int = 0) -> Layout:
    """Take an array apart.

    Args:
        pa: The library.
        values: The array.
        before: How many of the elements that lie before its first are to be taken along.

    Raises:
        CodecError: Its memory is not as its type says, or that type is not known here.
    """
    form = _form(pa, values.type)
    if form.kind == "extension":
        return layout_of(pa, values.storage, before)
    start = values.offset - before
    offset = start % _BITS
    first, stop = start - offset, values.offset + len(values)
    validity, *others = _own(form, values)
    if start == stop:
        return 0, 0, (None, *(_NOTHING for _ in others)), _parts(pa, form, values, 0, 0, 0)
    cut: list[Any] = [None if validity is None else _cut(validity, first // _BITS, -(-stop // _BITS))]
    low, high = first, stop
    if form.kind == "bits":
        cut.append(_cut(others[0], first // _BITS, -(-stop // _BITS)))
    elif form.kind in _COUNTED:
        offsets, low, high = _offsets(others[0], form, first, stop)
        cut.append(offsets)
        cut += [_NOTHING if data is None else _cut(data, low, high) for data in others[1:]]
    else:
        sized = 2 if form.kind == "list_view" else 1
        cut += [_cut(other, first, stop, form.width) for other in others[:sized]]
        cut += [_cut(other, 0, other.size) for other in others[sized:]]
    return stop - start, offset, tuple(cut), _parts(pa, form, values, low, high, before + offset)


def _own(form: _Form, values: Any) -> list[Any]:
    """Give the buffers of an array without those of its children."""
    buffers: list[Any] = values.buffers()
    counts = {"null": 1, "fixed_list": 1, "struct": 1, "list": 2, "map": 2, "list_view": 3, "bytes": 3}
    return buffers if form.kind == "views" else buffers[: counts.get(form.kind, 2)]


def _parts(pa: Any, form: _Form, values: Any, low: int, high: int, before: int) -> tuple[Layout, ...]:
    """Take apart what lies within an array: elements ``[low, high)``, or so many more than its own."""
    if form.kind == "dictionary":
        return (layout_of(pa, values.dictionary),)
    if form.kind == "struct":  # its fields begin where it begins
        return tuple(layout_of(pa, values.field(at), before) for at in range(values.type.num_fields))
    if form.kind == "list_view":
        return (layout_of(pa, values.values),)
    if form.kind == "map":
        return (_pairs(pa, values, low, high),)
    if form.kind == "fixed_list":
        low, high = low * form.width, high * form.width
    return (layout_of(pa, _between(values.values, low, high)),) if form.kind.endswith("list") else ()


def _pairs(pa: Any, values: Any, low: int, high: int) -> Layout:
    # Arrow looks for keys without regard to where their pairs begin, so these begin at once. None is missing.
    if values.values.buffers()[0] is not None:
        raise CodecError("pairs of a map of Arrow have bits that say which are missing")
    fields = tuple(layout_of(pa, _between(each, low, high)) for each in (values.keys, values.items))
    return high - low, 0, (None,), fields


def _between(values: Any, low: int, high: int) -> Any:
    if not 0 <= low <= high <= len(values):
        raise CodecError("an array of Arrow shows more than it holds")
    return values.slice(low, high - low)


def _offsets(buffer: Any, form: _Form, first: int, stop: int) -> tuple[pickle.PickleBuffer, int, int]:
    """Cut the buffer that says where elements begin; tell what of their memory it refers to.

    It refers to all before them as well. If that is more than the buffer has entries, they are counted anew,
    which copies them, and costs less than to keep what they do not show.
    """
    width = form.width
    numbers = np.frombuffer(buffer, f"i{width}", stop - first + 1, first * width)
    high = int(numbers[-1])
    low = int(numbers[0]) // _BITS * _BITS  # so that what lies within begins as it did, at no bit of a byte
    if low <= len(numbers) * (width if form.kind == "bytes" else 1):
        return _cut(buffer, first, stop + 1, width), 0, high
    anew: Any = numbers - low
    return _exposed(memoryview(anew)), low, high


def _cut(buffer: Any, start: int, stop: int, width: int = 1) -> pickle.PickleBuffer:
    """Cut a buffer to elements ``[start, stop)`` of *width* bytes; whoever compresses it is told."""
    start, stop = start * width, stop * width
    if stop > buffer.size:
        raise CodecError("an array of Arrow has less memory than its length needs")
    memory = memoryview(buffer.slice(start, stop - start)).cast("B")
    return _exposed(memory.cast(_FORMATS[width]) if width in _FORMATS and memory.nbytes else memory)


def _exposed(memory: memoryview) -> pickle.PickleBuffer:
    return pickle.PickleBuffer(memory.toreadonly())  # what Arrow shows never changes


# --- making


def array_of(pa: Any, dtype: Any, layout: Layout) -> Any:
    """Make an array; what its memory says is not looked at.

    Raises:
        CodecError, TypeError, ValueError: It is not laid out as its type says.
    """
    length, offset, buffers, parts = layout
    form = _form(pa, dtype)
    if form.kind == "extension":
        return pa.ExtensionArray.from_storage(dtype, array_of(pa, dtype.storage_type, layout))
    found = [None if each is None else _buffer(pa, each) for each in buffers]
    if form.kind == "dictionary":
        (words,) = parts
        _refuse_short(form, length, offset, found, ())
        indices = pa.Array.from_buffers(dtype.index_type, length, found, _UNKNOWN, offset)
        return pa.DictionaryArray.from_arrays(
            indices, array_of(pa, dtype.value_type, words), ordered=dtype.ordered, safe=False
        )
    if len(parts) != dtype.num_fields:
        raise CodecError(f"an array of {dtype} was kept with {len(parts)} children")
    children = [array_of(pa, dtype.field(at).type, part) for at, part in enumerate(parts)]
    _refuse_short(form, length, offset, found, children)
    if form.kind == "map":
        _refuse_missing_keys(pa, dtype, children[0], parts[0])
    return pa.Array.from_buffers(dtype, length, found, _UNKNOWN, offset, children)


def _refuse_short(form: _Form, length: int, offset: int, buffers: list[Any], children: Sequence[Any]) -> None:
    """Refuse an array whose memory ends before it does; Arrow's own check lets some of them pass."""
    if type(length) is not int or type(offset) is not int or length < 0 or offset < 0:
        raise CodecError("an array of Arrow was kept with an impossible length")
    stop = offset + length
    validity, *others = buffers
    sizes = [each.size for each in others]
    if form.kind == "bits":
        needed = [-(-stop // 8)]
    elif form.kind in _COUNTED:
        needed = [(stop + 1) * form.width if stop else 0]
    elif form.kind == "list_view":
        needed = [stop * form.width] * 2
    else:
        needed = [stop * form.width] if others else []
    per_element = {"fixed_list": form.width, "struct": 1}.get(form.kind, 0)
    if (
        (validity is not None and validity.size < -(-stop // 8))
        or any(size < least for size, least in zip(sizes, needed, strict=False))
        or any(len(child) < stop * per_element for child in children)
    ):
        raise CodecError("an array of Arrow was kept with less memory than its length needs")


def _refuse_missing_keys(pa: Any, dtype: Any, pairs: Any, layout: Layout) -> None:
    # Arrow would end the process.
    if pairs.null_count or array_of(pa, dtype.key_type, layout[3][0]).null_count:
        raise CodecError("a map of Arrow was kept with keys that are missing")
    if layout[1]:
        raise CodecError(
            "a map of Arrow was kept with pairs that begin later, which Arrow takes no notice of"
        )


def _buffer(pa: Any, memory: Any) -> Any:
    if type(memory) not in (bytes, memoryview, pickle.PickleBuffer) or not memoryview(memory).readonly:
        raise CodecError("memory of Arrow was kept as something that may change")
    return pa.py_buffer(memory)


# --- comparing


def same_array(pa: Any, one: Any, other: Any) -> bool:
    """Say whether two arrays are of the same type and show the same memory.

    Only offsets that were counted anew are compared by value.
    """
    if type(one) is not type(other) or len(one) != len(other) or not same_type(one.type, other.type):
        return False
    form = _form(pa, one.type)
    if form.kind == "extension":
        return same_array(pa, one.storage, other.storage)
    if form.kind == "dictionary" and not same_array(pa, one.dictionary, other.dictionary):
        return False
    if form.kind == "struct" and not all(
        same_array(pa, one.field(at), other.field(at)) for at in range(one.type.num_fields)
    ):
        return False
    mine, theirs = _own(form, one), _own(form, other)
    if len(one) == 0:
        return not hasattr(one, "values") or same_array(pa, one.values.slice(0, 0), other.values.slice(0, 0))
    if _bit(one, mine[0]) != _bit(other, theirs[0]):
        return False
    if form.kind == "bits":
        return _bit(one, mine[1]) == _bit(other, theirs[1])
    if form.kind == "fixed_list":
        return same_array(pa, _shown(one, form.width), _shown(other, form.width))
    if form.kind in _COUNTED:
        return _same_offsets(pa, form, one, other)
    sized = 2 if form.kind == "list_view" else 1
    return (
        [_place(each, one.offset * form.width) for each in mine[1 : 1 + sized]]
        == [_place(each, other.offset * form.width) for each in theirs[1 : 1 + sized]]
        and [(each.address, each.size) for each in mine[1 + sized :]]
        == [(each.address, each.size) for each in theirs[1 + sized :]]
        and (form.kind != "list_view" or same_array(pa, one.values, other.values))
    )


def same_type(one: Any, other: Any) -> bool:
    """Say whether two types are one, with the metadata of their fields."""
    return type(one) is type(other) and bool(one.equals(other, check_metadata=True))


def _bit(values: Any, bits: Any) -> int | None:
    return None if bits is None else bits.address * 8 + values.offset


def _place(buffer: Any, start: int) -> int:
    return int(buffer.address) + start


def _shown(values: Any, width: int) -> Any:
    return values.values.slice(values.offset * width, len(values) * width)


def _same_offsets(pa: Any, form: _Form, one: Any, other: Any) -> bool:
    mine, theirs = (_offsets_of(values, form.width) for values in (one, other))
    if mine.ctypes.data != theirs.ctypes.data and not np.array_equal(mine - mine[0], theirs - theirs[0]):
        return False
    (low, high), (their_low, their_high) = ((int(each[0]), int(each[-1])) for each in (mine, theirs))
    if form.kind in ("list", "map"):
        return all(
            same_array(
                pa,
                _between(getattr(one, name), low, high),
                _between(getattr(other, name), their_low, their_high),
            )
            for name in (("values", "keys", "items") if form.kind == "map" else ("values",))
        )
    if low == high:
        return their_low == their_high
    return _place(one.buffers()[2], low) == _place(other.buffers()[2], their_low)


def _offsets_of(values: Any, width: int) -> Array:
    return np.frombuffer(values.buffers()[1], f"i{width}", len(values) + 1, values.offset * width)
