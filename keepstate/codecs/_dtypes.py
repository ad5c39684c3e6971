"""Types of array elements, told in texts and numbers, which every version of numpy reads alike.

numpy's own pickle gives a dtype its layout after it was made, unchecked; a hostile one reads foreign memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.errors import CodecError

if TYPE_CHECKING:
    from keepstate.codecs._arrays import Dtype

Description = str | tuple[Any, ...]
"""A text as ``dtype.str``, or ``("of", element, shape)``, or ``("record", names, elements, offsets, …)``."""
_OF, _RECORD = "of", "record"


def describe(dtype: Dtype) -> Description | None:
    """Tell what *dtype* is; ``None`` if that cannot be told without losing something."""
    found = _describe(dtype)
    try:
        return found if found is not None and _same(dtype, make_dtype(found)) else None
    except (TypeError, ValueError, CodecError):
        return None


def _describe(dtype: Dtype) -> Description | None:
    if dtype.metadata is not None or dtype.isbuiltin == 2:  # 2: a type of another library's
        return None
    if dtype.subdtype is not None:
        element = _describe(dtype.subdtype[0])
        return None if element is None else (_OF, element, dtype.subdtype[1])
    if dtype.fields is None:
        return dtype.str
    names = tuple(dtype.names or ())
    fields: Any = [dtype.fields[name] for name in names]
    elements = tuple(_describe(field[0]) for field in fields)
    titles = tuple(field[2] if len(field) > 2 else None for field in fields)
    if None in elements or any(type(title) not in (str, type(None)) for title in titles):
        return None
    offsets = tuple(int(field[1]) for field in fields)
    marks = ("aligned" if dtype.isalignedstruct else "") + (" rows" if dtype.type is np.record else "")
    return _RECORD, names, elements, offsets, titles, int(dtype.itemsize), marks


def make_dtype(description: Description) -> Dtype:
    """Make a dtype.

    Raises:
        CodecError: That is no description of one.
        TypeError, ValueError: numpy refuses it.
    """
    if isinstance(description, str):
        return np.dtype(description)
    kind, *facts = description
    if kind == _OF:
        element, shape = facts
        return np.dtype((make_dtype(element), shape))
    if kind != _RECORD:
        raise CodecError(f"{kind!r} is no kind of dtype")
    names, elements, offsets, titles, size, marks = facts
    formats = [make_dtype(element) for element in elements]
    # numpy's own look at the bounds can be made to overflow.
    if any(not 0 <= at <= size - each.itemsize for at, each in zip(offsets, formats, strict=True)):
        raise CodecError("a field lies outside of its record")
    made = np.dtype(
        {  # type: ignore[call-overload, unused-ignore]
            "names": list(names),
            "formats": formats,
            "offsets": list(offsets),
            "itemsize": size,
            **({"titles": list(titles)} if any(title is not None for title in titles) else {}),
        },
        align="aligned" in marks,
    )
    return np.dtype((np.record, made)) if "rows" in marks else made


def _same(one: Dtype, other: Dtype) -> bool:
    return (
        bool(one == other)
        and one.type is other.type
        and one.itemsize == other.itemsize
        and one.isalignedstruct == other.isalignedstruct
        and one.fields == other.fields
        and one.names == other.names
    )
