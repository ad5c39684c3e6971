"""The tests that every codec passes: what is promised of one, as far as it can be seen from outside.

Subclass :class:`CodecSuite` in a test module, under a name that begins with ``Test``::

    class TestTableCodec(CodecSuite):
        type_name = "tables.Table"
        codec = TableCodec()
        samples = {"empty": lambda: Table(), "rows": lambda: Table([1, 2])}

The samples must differ from one another. Each is made by a call without arguments, equal each time.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, ClassVar

import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keepstate._model.parts import EncodedGroup
    from keepstate.codecs import Codec

_CALL = ("keepstate.codecs._calls", "registered")


class _Part:
    """Memory as it is read from a repository."""

    def __init__(self, memory: bytes, itemsize: int, *, writable: bool) -> None:
        self._memory = memory
        self.itemsize, self.writable, self.nbytes = itemsize, writable, len(memory)

    def read_into(self, memory: memoryview) -> None:
        """Fill *memory* with it."""
        memory[:] = self._memory

    def steps(self, memory: memoryview) -> Iterator[Callable[[], None]]:
        """Give what fills *memory*."""
        yield lambda: self.read_into(memory)


class CodecSuite:
    """Tests of one codec; see the module's docstring for how to use it."""

    type_name: ClassVar[str]
    codec: ClassVar[Codec]
    samples: ClassVar[Mapping[str, Callable[[], object]]]

    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        codecs.register(self.type_name, self.codec)
        yield
        codecs.unregister(self.type_name)

    def kept(self, thing: object) -> EncodedGroup:
        """Return what would be stored of *thing*."""
        encoding = codecs.encode({"x": thing}, namespace={"x": thing, "__name__": "__main__"})
        assert not encoding.skipped, encoding.skipped
        (group,) = encoding.groups
        return group

    def restored(self, group: EncodedGroup) -> object:
        """Return what comes back from it."""
        parts = [_Part(bytes(p.memory), p.itemsize, writable=p.writable) for p in group.parts]
        stored = StoredGroup(group.key, group.members, group.stream, parts, resolve=lambda key: key)
        return codecs.decode(stored, namespace={"__name__": "__main__"})["x"]

    def every(self) -> dict[str, object]:
        """Make all samples."""
        assert len(self.samples) >= 2, "give two samples or more"
        return {name: make() for name, make in self.samples.items()}

    def test_samples_come_back_equal(self) -> None:
        """By the codec's own word, and of the same type."""
        for name, thing in self.every().items():
            made = self.restored(self.kept(thing))
            assert type(made) is type(thing), name
            assert self.codec.same(thing, made), name

    def test_samples_are_kept_by_the_codec(self) -> None:
        """Not by pickle, because a proof failed."""
        for name, thing in self.every().items():
            calls = codecs.calls_of(self.kept(thing).stream)
            assert calls is not None, name
            assert _CALL in calls, name

    def test_different_samples_are_not_the_same(self) -> None:
        """Otherwise the proof at each write would prove nothing."""
        for one, other in itertools.permutations(self.every().items(), 2):
            assert not self.codec.same(one[1], other[1]), (one[0], other[0])

    def test_what_comes_back_shares_nothing(self) -> None:
        """Two copies of what is kept are two objects."""
        for name, thing in self.every().items():
            group = self.kept(thing)
            assert self.restored(group) is not self.restored(group), name

    def test_encoding_leaves_the_object_as_it_is(self) -> None:
        """Seen by its equality with one that was never encoded, and draws from no random stream."""
        for name, thing in self.every().items():
            before = random.getstate()
            self.kept(thing)
            assert random.getstate() == before, name
            assert self.codec.same(thing, self.samples[name]()), name

    def test_equal_objects_have_equal_states(self) -> None:
        """Otherwise an unchanged object would be written again with each snapshot."""
        for name, thing in self.every().items():
            one, other = self.kept(thing), self.kept(self.samples[name]())
            assert one.stream == other.stream, name
            assert [bytes(p.memory) for p in one.parts] == [bytes(p.memory) for p in other.parts], name

    def test_its_version_is_a_number(self) -> None:
        """States of older versions are told from those of today."""
        assert isinstance(self.codec.version, int)
        assert self.codec.version >= 0
