"""Find all memory that a graph of plain objects is made of, level by level, many addresses at a time.

No object is touched: types are told by the word in the head of an object, contents are followed by address.
Whatever is not of a type that is known here to the last word ends the walk.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keepstate._capture.imprint import layouts
from keepstate._capture.imprint.footprint import Footprint, Marks
from keepstate._capture.imprint.memory import NotReadableError, runs
from keepstate._capture.imprint.shapes import Shape, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keepstate._capture.imprint.layouts import Layout
    from keepstate._capture.imprint.memory import Memory, Numbers, Words

BLOCK = 1 << 18
"""Objects that are looked at together: each takes about 100 bytes then."""
MOST_CLASSES = 200
MOST_LEVELS = 5000
"""Pickle gives up long before."""


_HOOKS_BEGIN = [int.from_bytes(text, "little") for text in (b"__reduce", b"__getsta")]
"""How ``__reduce_ex__`` and ``__getstate__`` begin, which pickle asks the instance itself for."""


class UnknownMemoryError(Exception):
    """The graph holds something of which not every word is known."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a walk has found."""

    footprint: Footprint
    kinds: tuple[tuple[type, Shape], ...]
    """Classes of the instances, in the order in which they were found: the first instance of each is held by
    objects of those before it."""
    complex_numbers: bool


def trace(roots: Sequence[int], memory: Memory, layout: Layout, *, on_block: Callable[[], None]) -> Trace:
    """Walk from the objects at *roots*, which live and do not change meanwhile.

    Args:
        roots: Addresses.
        memory: Where they are.
        layout: Of this interpreter.
        on_block: Called now and then.

    Raises:
        UnknownMemoryError: Not every word is known.
        MemoryError: There is not enough for the marks.
    """
    walk = _Walk(memory, layout, on_block)
    try:
        walk.go(np.array(roots, np.uint64))
    except NotReadableError as error:
        raise UnknownMemoryError(str(error)) from error
    return Trace(walk.marks.footprint(), tuple(walk.kinds.items()), walk.complex_numbers)


class _Walk:
    def __init__(self, memory: Memory, layout: Layout, on_block: Callable[[], None]) -> None:
        self._memory = memory
        self._layout = layout
        self._on_block = on_block
        self._next: list[Words] = []
        self.marks = Marks(memory)
        self.kinds: dict[type, Shape] = {}
        self.complex_numbers = False
        self._hooks = False
        self._dummy = dummy_key(memory)
        self._looks: dict[int, Callable[[Words, Numbers], None]] = {
            id(type(None)): self._nothing,
            id(bool): self._whole_numbers,
            id(int): self._whole_numbers,
            id(float): self._floats,
            id(complex): self._complex_numbers,
            id(str): self._texts,
            id(bytes): self._bytes,
            id(bytearray): self._bytearrays,
            id(list): self._lists,
            id(tuple): self._tuples,
            id(set): self._sets,
            id(frozenset): self._sets,
            id(dict): self._dictionaries,
        }

    def go(self, roots: Words) -> None:
        self._follow(roots)
        for _ in range(MOST_LEVELS):
            level, self._next = self._next, []
            if not level:
                break
            for addresses in level:
                for begin in range(0, len(addresses), BLOCK):
                    self._on_block()
                    self._look(addresses[begin : begin + BLOCK])
        else:
            raise UnknownMemoryError("it is nested too deeply")
        if self._hooks and self.kinds:
            raise UnknownMemoryError("one of its instances may say itself how it is pickled")

    # --- objects

    def _follow(self, pointers: Words) -> None:
        """Take in objects, given by address, 0 for none; each is looked at once."""
        found = np.sort(pointers)
        found = found[np.append(True, found[1:] != found[:-1])] if len(found) else found
        found = found[found != 0]
        fresh = self.marks.new(self._memory.place(found) + 1)
        if fresh.any():
            self._next.append(found[fresh])

    def _look(self, addresses: Words) -> None:
        kinds = self._memory.read(addresses, layouts.TYPE)
        for kind in np.unique(kinds).tolist():
            mine = addresses[kinds == kind]
            look = self._looks.get(kind)
            if look is None:
                self._looks[kind] = look = self._instances_of(kind)
            look(mine, self._memory.place(mine))

    def _mark(self, places: Numbers, *offsets: int) -> None:
        for offset in offsets:
            self.marks.add(places + offset // 8)

    def _nothing(self, _addresses: Words, _places: Numbers) -> None:
        pass

    def _floats(self, _addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.FLOAT)

    def _complex_numbers(self, _addresses: Words, places: Numbers) -> None:
        self.complex_numbers = True
        self._mark(places, *layouts.COMPLEX)

    def _whole_numbers(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE)
        size = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        digits = size >> 3 if self._layout.tagged_digits else np.abs(size)
        self.marks.add_runs(addresses + np.uint64(24), digits * 4)

    def _texts(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE, layouts.TEXT_STATE)
        length = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        state = self._memory.read(addresses, layouts.TEXT_STATE).view(np.int64)
        kind, compact, ascii_ = (state >> 2) & 7, (state >> 5) & 1, (state >> 6) & 1
        if not (compact.all() and ((kind == 1) | (kind == 2) | (kind == 4)).all()):
            raise UnknownMemoryError("it holds a text of an old form")
        start = np.where(ascii_ == 1, self._layout.text, self._layout.wide_text).astype(np.uint64)
        like_hooks = addresses[(ascii_ == 1) & ((length == 12) | (length == 13))]
        if len(like_hooks):
            begins = self._memory.read(like_hooks, self._layout.text)
            self._hooks = self._hooks or bool(np.isin(begins, _HOOKS_BEGIN).any())
        self.marks.add_runs(addresses + start, length * kind)

    def _bytes(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE)
        size = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        self.marks.add_runs(addresses + np.uint64(layouts.BYTES_DATA), size)

    def _bytearrays(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE, layouts.BYTEARRAY_START)
        size = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        self.marks.add_runs(self._memory.read(addresses, layouts.BYTEARRAY_START), size)

    def _tuples(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE)
        count = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        self._follow_tables(addresses + np.uint64(self._layout.tuple_items), count)

    def _lists(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SIZE, layouts.LIST_ITEMS)
        count = self._memory.read(addresses, layouts.SIZE).view(np.int64)
        self._follow_tables(self._memory.read(addresses, layouts.LIST_ITEMS), count)

    def _sets(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.SET_USED, layouts.SET_MASK, layouts.SET_TABLE)
        count = self._memory.read(addresses, layouts.SET_MASK).view(np.int64) + 1
        self._follow_tables(self._memory.read(addresses, layouts.SET_TABLE), count, entry=2, skip=(1,))

    # --- dictionaries

    def _dictionaries(self, addresses: Words, places: Numbers) -> None:
        self._mark(places, layouts.DICT_USED, layouts.DICT_KEYS, layouts.DICT_VALUES)
        keys = self._memory.read(addresses, layouts.DICT_KEYS)
        values = self._memory.read(addresses, layouts.DICT_VALUES)
        self._keys(keys)
        split = values != 0
        if split.any():
            self._values(values[split], keys[split])

    def _keys(self, keys: Words) -> None:
        """Take in tables of keys; many dictionaries may have the same."""
        keys = np.unique(keys)
        keys = keys[self.marks.new(self._memory.place(keys) + layouts.KEYS_KIND // 8)]
        if not len(keys):
            return
        self._mark(self._memory.place(keys), layouts.KEYS_COUNT)
        facts = self._memory.read(keys, layouts.KEYS_KIND).view(np.int64)
        count = self._memory.read(keys, layouts.KEYS_COUNT).view(np.int64)
        entries = (
            keys + np.uint64(layouts.KEYS_INDICES) + (np.int64(1) << ((facts >> 8) & 255)).view(np.uint64)
        )
        general = (facts >> 16) & 255 == layouts.GENERAL
        self._follow_tables(entries[general], count[general], entry=3, skip=(0,))
        self._follow_tables(entries[~general], count[~general], entry=2)

    def _values(self, values: Words, keys: Words) -> None:
        """Take in tables of values, given with the tables of their keys."""
        count = self._memory.read(keys, layouts.KEYS_COUNT).view(np.int64)
        if self._layout.counted_values:
            places = self._memory.place(values)
            self._mark(places, 0)
            capacity = self._memory.read(values).view(np.int64) & 255
            order = values + np.uint64(8) + (capacity * 8).view(np.uint64)
            self.marks.add_runs(order, capacity)
            self._follow_tables(values + np.uint64(8), np.minimum(count, capacity))
        else:
            prefix = self._memory.read(values, -8) >> np.uint64(56)
            self.marks.add_runs(values - prefix, prefix.view(np.int64))
            self._follow_tables(values, count)

    # --- tables of pointers

    def _follow_tables(
        self, starts: Words, count: Numbers, *, entry: int = 1, skip: tuple[int, ...] = ()
    ) -> None:
        """Take in tables of entries that are pointers.

        Args:
            starts: Address of each table.
            count: Entries of each.
            entry: Words of an entry.
            skip: Which of them are no pointers.
        """
        some = count > 0
        starts, count = starts[some], count[some] * entry
        first = self._memory.place(starts)
        self._memory.place(starts + ((count - 1) * 8).view(np.uint64))
        for indexes, owner in runs(starts.view(np.int64) >> 3, count):
            at = indexes - (starts.view(np.int64)[owner] >> 3)
            self.marks.add(first[owner] + at)
            pointers = self._memory.at(indexes)
            for word in skip:
                pointers = np.where(at % entry == word, np.uint64(0), pointers)
            if entry == 2 and skip:
                pointers[pointers == self._dummy] = 0
            self._follow(pointers)

    # --- instances

    def _instances_of(self, address: int) -> Callable[[Words, Numbers], None]:
        if len(self.kinds) == MOST_CLASSES:
            raise UnknownMemoryError("it holds instances of too many classes")
        # The type of an object that lives, lives.
        kind = ctypes.cast(address, ctypes.py_object).value
        shape = shape_of(kind, self._memory)
        if shape is None:
            raise UnknownMemoryError(f"it holds an object of type {kind.__module__}.{kind.__qualname__}")
        self.kinds[kind] = shape
        names = np.array([address + self._layout.cached_keys], np.uint64)
        keys = int(self._memory.read(names)[0])
        if shape.attributes:
            self.marks.add(self._memory.place(names))
            if keys:
                self._keys(np.array([keys], np.uint64))
        return lambda addresses, places: self._instances(addresses, places, shape, keys)

    def _instances(self, addresses: Words, places: Numbers, shape: Shape, keys: int) -> None:
        for _, offset in shape.slots:
            self._mark(places, offset)
            self._follow(self._memory.read(addresses, offset))
        if not shape.attributes:
            return
        before = self._memory.place(addresses - np.uint64(-layouts.ATTRIBUTES))
        self._mark(before, 0)
        own = self._memory.read(addresses, layouts.ATTRIBUTES)
        if self._layout.attributes == "beside":
            self._memory.place(addresses - np.uint64(8 - layouts.ATTRIBUTES))
            self._mark(before, -8)
            values = self._memory.read(addresses, layouts.ATTRIBUTES - 8)
        elif self._layout.attributes == "tagged":
            tagged = own & np.uint64(1) == 1
            values = np.where(tagged, own + np.uint64(1), np.uint64(0))
            own = np.where(tagged, np.uint64(0), own)
        elif shape.inline:
            values = addresses + np.uint64(shape.size)
            self._mark(self._memory.place(values), 0)
            valid = (self._memory.read(values) >> np.uint64(24)) & np.uint64(255) == 1
            values = np.where(valid, values, np.uint64(0))
        else:
            values = np.zeros(0, np.uint64)
        values = values[values != 0]
        if len(values):
            if not keys:
                raise UnknownMemoryError("it holds values without names")
            self._values(values, np.full(len(values), keys, np.uint64))
        self._follow(own)


def dummy_key(memory: Memory) -> int:
    """Return the address that stands for a key that was taken out of a set."""
    sample = {1, 2}
    table = memory.read_one(id(sample) + layouts.SET_TABLE)
    before = {memory.read_one(table + 16 * index) for index in range(8)}
    sample.discard(2)
    (found,) = {memory.read_one(table + 16 * index) for index in range(8)} - before
    return found
