"""The pickler: standard pickle, with our own ways for arrays, functions, classes and a few libraries.

``reducer_override`` is asked about every object that is not a plain container or scalar; which reducer a type
has is looked up once per type. ``persistent_id`` is not defined: it would cost a call for every object.
Idea and dispatch table: cloudpickle.
"""

from __future__ import annotations

import copyreg
import gc
import io
import pickle
import re
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from keepstate._model.parts import Part
from keepstate.codecs import _calls
from keepstate.codecs._arrays import INLINE_BYTES, Memory
from keepstate.codecs._notebook_globals import global_of
from keepstate.codecs._open_files import NO_POSITIONS, Positions
from keepstate.codecs._original import encode_marks, original_pieces
from keepstate.codecs._reducers import reducer_for
from keepstate.codecs._sink import Sink
from keepstate.codecs._stream import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from keepstate.codecs._definitions import Definitions


Ids = np.ndarray[Any, np.dtype[np.uint64]]


class _Buffers:
    """Takes the buffers that pickle offers; apart from the pickler, which must be in no reference cycle."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        memory = buffer.raw()
        if memory.nbytes < INLINE_BYTES:
            return True  # stays in the stream
        self.parts.append(Part(memory, memoryview(buffer).itemsize, not memory.readonly))
        return False


class _NamespaceToken:
    """Stands for the notebook's namespace while the preamble is written."""

    def __reduce__(self) -> tuple[object, ...]:
        return _calls.named("namespace"), ()


class StreamPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles the members of one group into one stream.

    Args:
        definitions: Tells what is a definition of the notebook.
        inline: Keys of the definitions that are part of this very group.
        aliased: Ids of the roots of object arrays whose views must stay views.
        limit: Bytes of stream at which to give up with :class:`TooLongError`.
        positions: Where the user's open files stood.
        weakly: Whether what is referred to weakly is part of the stream.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        inline: Collection[str],
        aliased: Collection[int] = (),
        limit: int | None = None,
        positions: Positions = NO_POSITIONS,
        weakly: bool = True,
    ) -> None:
        self._sink = Sink(limit)
        self._buffers = _Buffers()
        # A plain dictionary: cloudpickle's own, of two, is a call in Python for every object (1 us).
        self.dispatch_table = {**copyreg.dispatch_table, **cloudpickle.Pickler._dispatch_table}
        super().__init__(self._sink, protocol=5, buffer_callback=self._buffers)
        self.definitions = definitions
        self.inline = inline
        self.aliased = aliased
        self.positions = positions
        self.weakly = weakly
        self.memory = Memory()
        self.needs: dict[str, None] = {}
        """Keys of definitions that this stream refers to."""
        self.calls: dict[str, None] = {}
        """Global names that its functions use."""
        self.links: set[int] = set()
        """Ids of objects that are shared though pickle does not see them (globals of their own)."""
        self.weak: dict[int, object] = {}
        """Id → what the stream refers to weakly."""
        self.on_devices: dict[int, Any] = {}
        """Device and address as one number → the copy of what is there."""
        self.schemas: dict[bytes, bytes] = {}
        """Bytes of a schema of Arrow → the same: pickle writes an object once."""
        self.code_specs: dict[int, object] = {}
        self.filled_cells: set[int] = set()
        self.deferred_cells: set[int] = set()
        self._reducers: dict[type, Callable[[Any, Any], Any] | None] = {}
        self.own = frozenset((id(definitions.namespace), *map(id, gc.get_referents(self))))
        """Ids of what it refers to besides objects of the stream."""

    def reducer_override(self, obj: Any) -> Any:
        """Give the reduce tuple of *obj*, or leave it to pickle."""
        kind = type(obj)
        try:
            reducer = self._reducers[kind]
        except KeyError:
            reducer = self._reducers[kind] = reducer_for(kind)
        return NotImplemented if reducer is None else reducer(self, obj)

    def write(self, values: Mapping[str, object]) -> None:
        """Pickle *values* after the preamble; whatever a reducer raises comes through."""
        token = _NamespaceToken()
        self.dump(token)
        memo = self.remembered()
        index, _ = memo.pop(id(token))
        namespace = self.definitions.namespace
        memo[id(namespace)] = (index, namespace)
        self.memo = memo
        self._sink.begin()
        self.dump(dict(values))

    def packages(self) -> set[str]:
        """Return the top-level names of the modules that the types of its objects are of."""
        return {str(kind.__module__).partition(".")[0] for kind in self._reducers}

    def finish(self) -> tuple[bytes, tuple[Part, ...]]:
        """Return the stream and its parts."""
        layout, parts = self.memory.finish(self._buffers.parts)
        return self._sink.finish(end_of(layout, marks=self._sink.marks)), parts

    def remembered(self) -> dict[int, tuple[int, object]]:
        """Return id → (index, object) of all that pickle has remembered; slow (0.5 s for a million)."""
        memo: dict[int, tuple[int, object]] = self.memo.copy()
        return memo

    def notebook_global(self) -> str | None:
        """Return a name of the notebook that the stream refers to as a global; nothing would resolve it."""
        with self._sink.kept() as kept:
            # A mark is never within a name, so what is kept of the stream holds it whole.
            if re.search(re.escape(self.definitions.module.encode()), kept) is None:
                return None
            marks = encode_marks(self._sink.marks)
            stream = b"".join(original_pieces(kept, marks)) if marks else kept
            return global_of(stream, self.definitions.module, self.remembered)

    def shared_ids(self) -> Ids:
        """Return the ids of all objects that the stream holds, without a Python loop, and of :attr:`own`."""
        _, ids = self.held()
        return np.append(ids, np.array(list(self.links), np.uint64)) if self.links else ids

    def held(self) -> tuple[list[object], Ids]:
        """Return all objects that pickle has remembered, and keeps alive, in no order, and their ids.

        Those of :attr:`own` are among them.
        """
        things = gc.get_referents(self) if _SHOWS_MEMO else [thing for _, thing in self.remembered().values()]
        return things, np.fromiter(map(id, things), np.uint64, len(things))


def _shows_memo() -> bool:
    """Say whether the collector is shown what a pickler has remembered (Python 3.11.2 does not)."""
    inner: list[object] = []
    pickler = pickle.Pickler(io.BytesIO(), 5)
    pickler.dump([inner])
    return any(thing is inner for thing in gc.get_referents(pickler))


_SHOWS_MEMO = _shows_memo()
"""Ten times as fast as a copy of the memo, which makes three objects of each."""
