"""What a stream holds, told without decoding it: nothing in it is made, imported or called.

The C unpickler runs with stand-ins: a stand-in notes with what it was made and what was done to it. Two such
outlines are compared value by value, and memory by what the caller knows of it. So it can be said which name
of a group has changed, also where a library is missing, and whoever wrote the stream.
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from keepstate.codecs import _calls
from keepstate.codecs._dtypes import make_dtype
from keepstate.codecs._original import open_original
from keepstate.codecs._stream import layout_of, map_of

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from keepstate._model.parts import Stream
    from keepstate.codecs._stream import MemoryMap

_MEMORY = frozenset({"array", "view", "untyped_storage"})
"""Calls whose first argument is the number of a segment."""
_FILLS = frozenset({"fill_container"})
"""Calls besides ``set_…`` that do something to their first argument, and give nothing."""
_MAKES_CLASSES = frozenset({"definition", "member", "class_", "attribute"})
"""Calls whose result a stream may make instances of."""
_FLOAT = struct.Struct("<d")


class Where(NamedTuple):
    """A run of bytes of a group: of a part, or of the stream itself."""

    source: int | bytes
    """Index of the part, or the bytes."""
    start: int
    stop: int


class Bytes(Protocol):
    """Compares the memory of two groups."""

    def same(self, one: Where, other: Where) -> bool:
        """Say whether both runs, of one length, hold the same bytes."""
        ...

    def read(self, where: Where, *, first: bool) -> bytes:
        """Give the bytes of a run, of the first group or of the second."""
        ...


class Told(NamedTuple):
    """What came of a comparison."""

    same: bool
    """Whether both are equal, and built alike."""
    definitions: frozenset[str]
    """Keys of the definitions that both refer to by name."""


class _Thing:
    """Stands for whatever a stream makes."""

    __slots__ = ("args", "done")
    args: tuple[Any, ...]
    done: list[Any]
    what: Any = None
    """What was called, or of what it is an instance."""
    class_done: ClassVar[list[Any]] = []
    """What was done to this class itself."""
    made: ClassVar[int] = 0

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        made = super().__new__(cls)
        made.args = (args, tuple(kwargs.items()))
        made.done = []
        _Thing.made += 1
        return made

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return _made_by(self)(*args, **kwargs)

    def __setstate__(self, state: object) -> None:
        self.done.append(("state", state))

    def __setitem__(self, key: object, value: object) -> None:
        self.done.append(("item", key, value))

    def append(self, value: object) -> None:
        self.done.append(("value", value))

    add = append

    def extend(self, values: Any) -> None:
        self.done.extend(("value", value) for value in values)

    update = extend


def _made_by(what: Any) -> type[_Thing]:
    return type("_Made", (_Thing,), {"__slots__": (), "what": what})


class _Dtype:
    """Stands for a dtype, of which only this is needed: whether two are equal, and how long an element is.

    A real one would believe whatever state the stream gives it, and end the process.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *args: object) -> None:
        self._told: tuple[Any, ...] = args
        self._state: Any = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def __eq__(self, other: object) -> bool:
        if isinstance(other, np.dtype):
            return self._plain() == other
        if not isinstance(other, _Dtype):
            return False
        mine, theirs = self._plain(), other._plain()
        if mine is not None and theirs is not None:
            return bool(mine == theirs)
        return self._told == other._told and bool(self._state == other._state)

    def _plain(self) -> np.dtype[Any] | None:
        """Make it, if all that was told of it are numbers and texts, and the order of bytes."""
        if self._state is None:
            return make_dtype(self._told[0])
        text, order = self._told[0], self._state[1]
        if type(text) is not str or self._state != (3, order, None, None, None, -1, -1, 0):
            return None
        made: np.dtype[Any] = np.dtype(text).newbyteorder(order)
        return made

    @property
    def itemsize(self) -> int:
        """Bytes of an element.

        Raises:
            TypeError, ValueError: It is no dtype.
        """
        plain = self._plain()
        if plain is not None:
            return plain.itemsize
        size = self._state[5]
        return int(size) if size > 0 else np.dtype(self._told[0]).itemsize


_REAL: dict[tuple[str, str], Any] = {(_calls.MODULE, "dtype"): _Dtype, ("numpy", "dtype"): _Dtype}
"""What is needed to know how memory is laid out, and does nothing."""


class _Buffer(bytes):
    """Stands for the part that pickle asks for next."""

    part = -1


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file, buffers=self._next())
        self._known: dict[tuple[str, str], Any] = {}

    @staticmethod
    def _next() -> Iterator[_Buffer]:
        index = 0
        while True:
            buffer = _Buffer()
            buffer.part = index
            index += 1
            yield buffer

    def find_class(self, module: str, name: str) -> Any:
        real = _REAL.get((module, name))
        if real is not None:
            return real
        known = self._known.get((module, name))
        if known is None:
            known = self._known[module, name] = _stand_in(module, name)
        return known


def _stand_in(module: str, name: str) -> Any:
    if module == _calls.MODULE and (name.startswith("set_") or name in _FILLS):

        def set_state(thing: Any, state: object) -> None:
            # Fails where it is not one of ours: then nothing can be told.
            done = thing.class_done if isinstance(thing, type) else thing.done  # type: ignore[attr-defined]
            done.append((name, state))

        return set_state
    if module == _calls.MODULE and name in _MAKES_CLASSES:

        def make_class(*args: object) -> Any:
            made: Any = _made_by((name, args))
            made.class_done = []
            return made

        return make_class
    return _made_by((module, name))


class Outline:
    """What one stream holds.

    Args:
        stream: Of a group.

    Raises:
        IntegrityError: This is no stream.
        ValueError: It does something that a stand-in cannot.
    """

    def __init__(self, stream: Stream) -> None:
        layout = layout_of(stream)
        reader = _Reader(open_original(layout.pickles, layout.marks))
        try:
            self.map: MemoryMap = map_of(layout, load=lambda file: _Reader(file).load())
            before = _Thing.made
            self.namespace = reader.load()
            self.values: dict[str, Any] = reader.load()
        except Exception as error:
            raise ValueError(f"it cannot be told what the stream holds: {error}") from error
        self.made = _Thing.made - before
        if type(self.values) is not dict or self._reached() != self.made:
            raise ValueError("the stream makes something and drops it, so what that did is not known")

    def _reached(self) -> int:
        seen: set[int] = set()
        stack: list[Any] = [self.namespace, self.values]
        count = 0
        while stack:
            value = stack.pop()
            kind = type(value)
            if kind in _PLAIN or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, _Thing):
                count += 1
                stack += [kind, value.args, value.done]
            elif kind is type and issubclass(value, _Thing):
                stack += [value.what, value.class_done]
            elif kind is dict:
                stack += value.keys()
                stack += value.values()
            elif kind in (list, tuple, set, frozenset):
                stack += value
        return count

    def compare(self, name: str, other: Outline, memory: Bytes) -> Told:
        """Compare *name* in both outlines; what is compared is alive in both, and neither is changed."""
        comparison = _Comparison(self, other, memory)
        same = comparison.same(self.values[name], other.values[name])
        return Told(same, frozenset(comparison.definitions))


_PLAIN = frozenset({int, str, bytes, float, bool, type(None), bytearray})


class _Comparison:
    def __init__(self, one: Outline, other: Outline, memory: Bytes) -> None:
        self._maps = one.map, other.map
        self._memory = memory
        self._met: dict[int, int] = {}
        self._met_back: dict[int, int] = {}
        self._segments: dict[int, int] = {}
        self._compared: set[tuple[Any, ...]] = set()
        self.definitions: set[str] = set()

    def same(self, one: Any, other: Any) -> bool:
        stack = [(one, other)]
        while stack:
            one, other = stack.pop()
            kind = type(one)
            if isinstance(one, _Thing):
                if not isinstance(other, _Thing) or not self._push_thing(one, other, stack):
                    return False
                continue
            if kind is not type(other):
                return False
            if kind is float:
                if _FLOAT.pack(one) != _FLOAT.pack(other):
                    return False
            elif kind in _PLAIN:
                if one != other:
                    return False
            elif kind is _Buffer:
                if not self._same_part(one.part, other.part):
                    return False
            elif kind is type and issubclass(one, _Thing):
                if not issubclass(other, _Thing) or not self._push_class(one, other, stack):
                    return False
            elif not self._push(one, other, kind, stack):
                return False
        return True

    def _push(self, one: Any, other: Any, kind: type, stack: list[tuple[Any, Any]]) -> bool:
        """Compare what is neither plain nor a stand-in, as far as can be here; put the rest on *stack*."""
        if kind not in (list, tuple, dict, set, frozenset):
            return isinstance(one, _Dtype) and one == other
        if len(one) != len(other):
            return False
        if kind in (set, frozenset):
            return self._same_sets(one, other)
        if kind is not tuple and (known := self._meet(one, other)) is not None:
            return known
        if kind is dict:
            stack += zip(one.keys(), other.keys(), strict=True)
            stack += zip(one.values(), other.values(), strict=True)
        else:
            stack += zip(one, other, strict=True)
        return True

    def _meet(self, one: Any, other: Any, *, alone: bool = True) -> bool | None:
        """Say whether these are known to stand for each other; ``None``: they were not met before.

        Args:
            one: Of the first outline.
            other: Of the second.
            alone: Whether neither may stand for a second one: equal lists are not the same list.
        """
        if alone:
            known = self._met.setdefault(id(one), id(other)), self._met_back.setdefault(id(other), id(one))
            if known != (id(other), id(one)):
                return False
        key = (id(one), id(other))
        if key in self._compared:
            return True
        self._compared.add(key)
        return None

    def _push_thing(self, one: Any, other: Any, stack: list[tuple[Any, Any]]) -> bool:
        # A date that is made anew is as good as the same one; what was written to is not.
        known = self._meet(one, other, alone=bool(one.done))
        if known is not None:
            return known
        call, theirs = type(one).what, type(other).what
        if type(call) is tuple and call[0] == _calls.MODULE and call[1] in _MEMORY:
            return bool(call == theirs) and self._same_memory(call[1], one.args[0], other.args[0])
        stack += [(call, theirs), (one.args, other.args), (tuple(one.done), tuple(other.done))]
        return True

    def _push_class(self, one: Any, other: Any, stack: list[tuple[Any, Any]]) -> bool:
        known = self._meet(one, other)
        if known is not None:
            return known
        stack += [(one.what, other.what), (tuple(one.class_done), tuple(other.class_done))]
        if type(one.what) is tuple and one.what[0] == "definition" and one.what == other.what:
            self.definitions.add(one.what[1][0])
        return True

    @staticmethod
    def _same_sets(one: Any, other: Any) -> bool:
        try:
            return {_key(each) for each in one} == {_key(each) for each in other}
        except TypeError:
            return False  # stand-ins have no value by which to find the partner

    # -- memory

    def _same_part(self, one: int, other: int) -> bool:
        return self._memory.same(Where(one, 0, -1), Where(other, 0, -1))

    def _same_memory(self, call: str, one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        first, second = self._maps[0].segments[one[0]], self._maps[1].segments[other[0]]
        if self._segments.setdefault(one[0], other[0]) != other[0]:
            return False
        if call == "array":
            mine, theirs = first.whole, second.whole
            if mine is None or theirs is None or mine != theirs:
                return False
            return self._same_run(one[0], other[0], (0, 0), self._length(first))
        if call == "untyped_storage":
            return one[1:] == other[1:] and self._same_run(one[0], other[0], (0, 0), one[1])
        if one[2:] != other[2:]:
            return False
        return self._same_view(one, other)

    def _length(self, segment: Any) -> int:
        return int(self._maps[0].pieces[segment.runs[0][2]].nbytes)

    def _same_view(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        _, offset, dtype, shape, strides, _ = one
        reaches = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
        before = sum(reach for reach in reaches if reach < 0)
        length = sum(map(abs, reaches)) + dtype.itemsize
        starts = (offset + before, other[1] + before)
        if self._same_run(one[0], other[0], starts, length):
            return True
        if length == dtype.itemsize * int(np.prod(shape)):
            return False  # it shows all of these bytes
        shown = []
        for at, (number, start) in enumerate(zip((one[0], other[0]), starts, strict=True)):
            memory = self._memory.read(self._where(at, number, start, length), first=at == 0)
            if len(memory) != length:  # numpy's own look at the bounds can be made to overflow
                raise ValueError("an array lies outside the memory that was kept for it")
            values: Any = np.ndarray(shape, f"V{dtype.itemsize}", memory, -before, strides)
            shown.append(values.tobytes())
        return bool(shown[0] == shown[1])

    def _same_run(self, one: int, other: int, starts: tuple[int, int], length: int) -> bool:
        return self._memory.same(
            self._where(0, one, starts[0], length), self._where(1, other, starts[1], length)
        )

    def _where(self, at: int, number: int, start: int, length: int) -> Where:
        for low, high, piece in self._maps[at].segments[number].runs:
            if low <= start < high:
                return Where(self._maps[at].pieces[piece].source, start - low, start - low + length)
        raise ValueError("an array lies outside the memory that was kept for it")


def _key(value: Any) -> tuple[Any, ...]:
    """Give what stands for a plain value of a set: 1, 1.0 and True are three."""
    kind = type(value)
    if kind is float:
        return kind, _FLOAT.pack(value)
    if kind in _PLAIN:
        return kind, value
    if kind in (tuple, frozenset):
        parts = map(_key, value)
        return (kind, *parts) if kind is tuple else (kind, frozenset(parts))
    raise TypeError(kind)
