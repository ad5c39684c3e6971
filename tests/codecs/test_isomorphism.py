"""Any graph of objects, cut up under any names, comes back as the same graph."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstate import codecs
from keepstate._model.parts import Encoding, Part, StoredGroup


class Node:
    """An instance with attributes."""


class Reader:
    def __init__(self, part: Part) -> None:
        self._bytes = bytes(part.memory)
        self.nbytes, self.itemsize, self.writable = len(self._bytes), part.itemsize, part.writable

    def read_into(self, memory: memoryview) -> None:
        memory[:] = self._bytes


def restored(encoding: Encoding) -> dict[str, object]:
    values: dict[str, object] = {}
    for group in encoding.groups:
        assert group.needs == ()
        stored = StoredGroup(
            group.key, group.members, group.stream, [Reader(part) for part in group.parts], values.__getitem__
        )
        values |= codecs.decode(stored, namespace={"__name__": "elsewhere"})
    return values


def shape_of(value: object, seen: dict[int, int], arrays: list[np.ndarray]) -> object:
    """Describe a graph so that two graphs are the same exactly if their descriptions are equal."""
    if isinstance(value, int | str | float | type(None)):
        return value
    if id(value) in seen and not isinstance(value, tuple):
        return ("seen", seen[id(value)])
    seen.setdefault(id(value), len(seen))
    if isinstance(value, np.ndarray):
        arrays.append(value)
        strides = value.strides if value.size and value.dtype != object else ()
        items = (
            [shape_of(item, seen, arrays) for item in value.ravel()]
            if value.dtype == object
            else value.tolist()
        )
        return (
            "array",
            str(value.dtype),
            value.shape,
            strides,
            value.flags.writeable,
            items,
        )
    if isinstance(value, dict):
        return ("dict", [(key, shape_of(item, seen, arrays)) for key, item in value.items()])
    if isinstance(value, Node):
        return ("node", shape_of(vars(value), seen, arrays))
    assert isinstance(value, list | tuple), value
    return (type(value).__name__, [shape_of(item, seen, arrays) for item in value])


def sharing(arrays: list[np.ndarray]) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i, first in enumerate(arrays)
        for j, second in enumerate(arrays[:i])
        if np.shares_memory(first, second)
    ]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("ldtnavrwsop"), st.integers(0, 10**6), st.integers(0, 10**6)),
    min_size=3,
    max_size=30,
)


def build(operations: list[tuple[str, int, int]]) -> list[object]:
    """Make objects, views and references among them, cycles included."""
    made: list[object] = [[0]]
    for what, first, second in operations:
        a, b = made[first % len(made)], made[second % len(made)]
        arrays = [value for value in made if isinstance(value, np.ndarray)]
        target = arrays[first % len(arrays)] if arrays else np.arange(2000.0)
        match what:
            case "l":
                made.append([a, b])
            case "d":
                made.append({"a": a, second: b})
            case "t":
                made.append((a, b, "x"))
            case "n":
                node = Node()
                node.a, node.b = a, b
                made.append(node)
            case "a":
                made.append(np.arange(second % 3000).astype(["i4", "f8", "u1", "M8[s]"][first % 4]))
            case "v":
                made.append(target[second % 7 : second % 997 : 1 + second % 3])
            case "r":
                made.append(target[::-1].T)
            case "w":
                made.append(target[: second % 50])
                made[-1].flags.writeable = False
            case "s" if isinstance(a, list):
                a.append(b)
            case "s" if isinstance(a, dict):
                a["s"] = b
            case "o":
                array = np.empty(3, object)
                array[0], array[1] = a, b
                made.append(array)
            case "p":
                made.append(target.reshape(-1, 1) if target.size else target)
    return made


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(OPERATIONS, st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.booleans())
def test_graph_comes_back_the_same(operations, chosen, hint):
    """Names for any objects of a graph have the same graph afterwards: values, sharing, cycles."""
    made = build(operations)
    bindings = {f"n{at}": made[index % len(made)] for at, index in enumerate(chosen)}
    grouped = [frozenset(bindings)] if hint else []
    encoding = codecs.encode(bindings, namespace={"__name__": "elsewhere"}, grouped=grouped)
    assert not encoding.skipped
    again = restored(encoding)
    before: list[np.ndarray] = []
    after: list[np.ndarray] = []
    names = sorted(bindings)
    expected = shape_of([bindings[name] for name in names], {}, before)
    assert shape_of([again[name] for name in names], {}, after) == expected
    assert sharing(after) == sharing(before)
    repeated = codecs.encode(bindings, namespace={"__name__": "elsewhere"}, grouped=grouped)
    assert [group.stream for group in repeated.groups] == [group.stream for group in encoding.groups]
