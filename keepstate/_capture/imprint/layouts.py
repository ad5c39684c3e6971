"""Where CPython keeps what plain objects are made of. Facts only; who reads memory is :mod:`.memory`.

Offsets are in bytes from the address of the object, for builds with a GIL, 64 bits, little-endian. Each fact
is from the headers named beside it, and is looked at in this very process before it is used (:mod:`.trial`).
"""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from typing import Literal

TYPE = 8
"""``ob_type`` (``object.h``); what comes before it, the reference count, changes by looking."""
SIZE = 16
"""``ob_size`` of tuples, bytes and the like; ``length`` of text; ``lv_tag`` of whole numbers."""
FLOAT, COMPLEX = 16, (16, 24)
BYTES_DATA = 32
"""``ob_sval`` (``cpython/bytesobject.h``); between it and the size is the hash, computed when asked for."""
BYTEARRAY_START = 40
"""``ob_start`` (``cpython/bytearrayobject.h``)."""
LIST_ITEMS = 24
"""``ob_item`` (``cpython/listobject.h``)."""
TEXT_STATE = 32
"""``state`` (``cpython/unicodeobject.h``): two bits interned, three of kind, compact, ASCII."""
SET_USED, SET_MASK, SET_TABLE = 24, 32, 40
"""``used``, ``mask``, ``table`` (``cpython/setobject.h``), entries of key and hash."""
DICT_USED, DICT_KEYS, DICT_VALUES = 16, 32, 40
"""``ma_used``, ``ma_keys``, ``ma_values`` (``cpython/dictobject.h``); between them is the version."""
KEYS_KIND, KEYS_COUNT, KEYS_INDICES = 8, 24, 32
"""Of a table of keys (``internal/pycore_dict.h``): ``dk_log2_size``, ``dk_log2_index_bytes`` and ``dk_kind``
in one word, ``dk_nentries``, ``dk_indices``; the entries follow the indices."""
GENERAL = 0
"""The ``dk_kind`` whose entries are hash, key, value; those of the others are key, value."""
TYPE_DEALLOC, TYPE_GETATTR, TYPE_GETATTRO = 48, 64, 144
"""``tp_dealloc``, ``tp_getattr``, ``tp_getattro`` (``cpython/object.h``)."""
MEMBER, MEMBER_TYPE, MEMBER_OFFSET = 40, 8, 16
"""``d_member`` of the descriptor of a slot (``internal/pycore_descrobject.h``), and what it points to
(``descrobject.h``)."""
MEMBER_OBJECT = 16
"""``Py_T_OBJECT_EX``: a slot that holds an object or nothing."""
MANAGED_DICT, INLINE_VALUES = 1 << 4, 1 << 2
"""``Py_TPFLAGS_…`` (``object.h``)."""
ATTRIBUTES = -24
"""Of an instance with attributes of its own: the word before the head of the garbage collector."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs from one minor version to the next."""

    text: int
    """First character of ASCII text (``PyASCIIObject``)."""
    wide_text: int
    """First character of other text (``PyCompactUnicodeObject``)."""
    tuple_items: int
    """``ob_item`` (``cpython/tupleobject.h``)."""
    tagged_digits: bool
    """Whether the size of a whole number is in the upper bits of a tag (``cpython/longintrepr.h``)."""
    attributes: Literal["beside", "tagged", "behind"]
    """Where an instance keeps the values of its attributes (``internal/pycore_object.h``). ``beside``: the
    word at -24 is its dictionary, that at -32 its values. ``tagged``: the word at -24 is its dictionary, or
    odd and one below the values. ``behind``: the word at -24 is its dictionary, the values follow it."""
    counted_values: bool
    """Whether a table of values begins with a word of counts, and ends with the order of insertion
    (``internal/pycore_dict.h``); else the order stands before it."""
    cached_keys: int
    """``ht_cached_keys`` of a class (``cpython/object.h``): the names of its instances' attributes."""


_BY_VERSION = {
    (3, 11): Layout(48, 72, 24, False, "beside", False, 872),
    (3, 12): Layout(40, 56, 24, True, "tagged", False, 880),
    (3, 13): Layout(40, 56, 24, True, "behind", True, 880),
    (3, 14): Layout(40, 56, 32, True, "behind", True, 880),
}


def layout_here() -> Layout | None:
    """Return the layout of this interpreter; ``None`` for a build of which nothing is known."""
    usual = (
        sys.implementation.name == "cpython"
        and sys.platform == "linux"
        and sys.byteorder == "little"
        and sys.maxsize == 2**63 - 1
        and object.__basicsize__ == 16
        and not hasattr(sys, "gettotalrefcount")
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
    )
    return _BY_VERSION.get(sys.version_info[:2]) if usual else None
