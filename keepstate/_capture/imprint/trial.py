"""Try the layout on objects of our own before it is relied on: every change to one of them must be seen.

A build of Python may differ from the headers that the layout is from; then there are no imprints, and nothing
else is different. Only for a process that holds a picture: it writes into its own texts and numbers.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._capture.imprint.hashes import hashes
from keepstate._capture.imprint.layouts import TYPE, layout_here
from keepstate._capture.imprint.memory import Memory
from keepstate._capture.imprint.walk import UnknownMemoryError, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keepstate._capture.imprint.layouts import Layout

_kept: list[object] = []
"""What was written into is never freed."""


class _Ordinary:
    pass


class _Slotted:
    __slots__ = ("__weakref__", "first", "second")


class _Both(_Slotted):
    pass


def tried_layout() -> Layout | None:
    """Return the layout of this interpreter; ``None`` if it does not stand the trial. Takes 25 ms.

    Raises:
        OSError: The system does not tell what is mapped.
    """
    layout = layout_here()
    if layout is None:
        return None
    samples: list[Any] = []
    changes = list(_cases(samples))
    _kept.append(samples)
    memory = Memory()  # as it is with the samples
    try:
        footprint = trace([id(samples)], memory, layout, on_block=_nothing).footprint
    except UnknownMemoryError:
        return None
    reached = np.array([id(thing) for thing in _reached(samples)], np.uint64)
    if not footprint.holds(reached + np.uint64(TYPE)).all():
        return None
    before = list(hashes(footprint, memory, seed=0, on_block=_nothing))
    for change in changes:
        change()
        after = list(hashes(footprint, memory, seed=0, on_block=_nothing))
        if after == before:
            return None
        before = after
    return layout


def _nothing() -> None:
    pass


def _reached(samples: list[Any]) -> Iterator[object]:
    """Yield all objects that samples are made of."""
    pending: list[object] = [samples]
    while pending:
        thing = pending.pop()
        yield thing
        if isinstance(thing, list | tuple | set | frozenset):
            pending += thing
        elif isinstance(thing, dict):
            pending += [*thing, *thing.values()]
        elif isinstance(thing, _Ordinary | _Slotted):
            names = [name for name in ("first", "second", "third", "fourth") if hasattr(thing, name)]
            pending += [getattr(thing, name) for name in names]


def _cases(samples: list[Any]) -> Iterator[Callable[[], object]]:
    """Fill *samples*, and yield a change to each of them."""

    def new(thing: Any) -> Any:
        samples.append(thing)
        return thing

    def some(index: int) -> list[int]:
        return [index]  # an object of its own, of which nothing else knows

    # What cannot be changed is written to: into its first and its last item, told by its size alone.
    for value, item, after in (
        (2**200 + 1, 4, 0),
        (-(2**100), 4, 0),
        (1.25, 8, 0),
        (1.25 + 2.5j, 8, 0),
        (bytes(range(100)), 1, 1),
        ("plain " * 9, 1, 1),
        ("caf\u00e9 " * 9, 1, 1),
        ("\u20ac " * 9, 2, 1),
        ("\U0001d11e " * 9, 4, 1),
        (tuple(some(1) for _ in range(9)), 8, 0),
    ):
        thing: Any = new(value)
        count = _items_of(thing)
        end = id(thing) + thing.__sizeof__()
        yield _writing(end - item * (count + after))
        yield _writing(end - item * (1 + after))
    new(frozenset(f"key {index}" for index in range(3)))
    array = new(bytearray(range(200)))
    yield partial(array.__setitem__, 150, 0)
    yield partial(array.append, 1)
    items = new([some(index) for index in range(9)])
    yield partial(items.__setitem__, 8, None)
    yield items.pop
    for count in (20, 3):
        group = new({f"key {index}" for index in range(count)})
        yield partial(group.discard, "key 1")
        yield partial(group.add, "key 1" * 2)
    keys: list[Any]
    for keys in list(range(20)), [f"key {index}" for index in range(20)], [(1, index) for index in range(20)]:
        table: Any = new({key: some(index) for index, key in enumerate(keys)})
        yield partial(table.__setitem__, keys[4], None)
        yield partial(_put_back, table, keys[5])
        yield table.popitem
    for kind in (_Ordinary, _Slotted, _Both):
        for looked_into in (False, True):
            made: Any = new(kind())
            made.first, made.second = some(1), some(2)
            if kind is not _Slotted:
                made.third, made.fourth = some(3), some(4)
                if looked_into:
                    new(made.__dict__)
                yield partial(_put_last, made, "third")
                yield partial(setattr, made, "fourth", None)
            yield partial(setattr, made, "second", None)
            yield partial(delattr, made, "second")
    turned: Any = new(_Ordinary())
    turned.first = some(1)
    yield partial(setattr, turned, "__class__", _Other)
    bare: Any = new(_Ordinary())
    yield partial(setattr, bare, "first", some(1))


class _Other(_Ordinary):
    pass


def _items_of(thing: Any) -> int:
    if isinstance(thing, int):
        return -(-abs(thing).bit_length() // 30)
    return len(thing) if hasattr(thing, "__len__") else 1 + isinstance(thing, complex)


def _put_last(thing: object, name: str) -> None:
    """Change nothing but the order of attributes."""
    value = getattr(thing, name)
    delattr(thing, name)
    setattr(thing, name, value)


def _put_back(table: dict[object, object], key: object) -> None:
    """Change nothing but the order of keys."""
    table[key] = table.pop(key)


def _writing(address: int) -> Callable[[], object]:
    def write() -> None:
        cell = ctypes.c_uint8.from_address(address)
        cell.value ^= 64

    return write
