"""Reads a stream that anyone may have written: plain values and calls of a fixed list, or nothing.

It is Python's own unpickler in Python with most of its instructions taken out. What is left makes numbers,
texts, bytes, lists, tuples, sets and dictionaries, and calls what is listed here: our own typed calls, whose
arguments are checked, and constructors of the standard library that do nothing but make a value. There is no
instruction that changes an object (``BUILD``), makes an instance or imports by name. What it cannot prevent
is that a stream asks for more memory than there is.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import functools
import pathlib
import pickle
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from keepstate.codecs import _array_reducers, _calls
from keepstate.codecs._arrow.objects import ARROW_CHECKS
from keepstate.codecs._pandas.checks import PANDAS_CHECKS
from keepstate.codecs._pandas.values import PANDAS_MAKERS, PANDAS_VALUES
from keepstate.codecs._sparse import SPARSE_CHECKS
from keepstate.errors import CodecError, TrustError

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable

CALLS = frozenset({
    "array", "view", "empty", "exported", "object_view", "object_array", "set_object_array", "subclass_array",
    "dtype", "untyped_storage", "tensor", "arrow_type", "arrow_field", "arrow_schema", "arrow_array",
    "arrow_chunked_array", "arrow_table", "arrow_record_batch", "arrow_scalar", "sparse_matrix",
    "pandas_frame", "pandas_series", "block_manager", "series_manager", "pandas_index", "range_index",
    "multi_index", "categorical_array", "datetime_array", "timedelta_array", "period_array",
    "object_text_array", "numpy_extension_array", "nullable_array", "interval_array", "sparse_array",
    "pandas_arrow_array", "categorical_dtype", "datetime_dtype", "interval_dtype", "sparse_dtype",
    "nullable_dtype", "time_zone", "date_offset", "block", "block_refs", "text_dtype", "text_array",
    "arrow_dtype", "set_attributes", "set_frame_attributes", "row",
})  # fmt: skip
"""Calls of ours that do the same for a hostile stream: they make data of what they are given, or raise."""
CHECKS: dict[str, Callable[[Any], None]] = {**ARROW_CHECKS, **PANDAS_CHECKS, **SPARSE_CHECKS}
"""Call → what looks at its result, where a library would believe what it is told about its own memory."""


def _scalar(dtype: Any, data: Any = b"") -> Any:
    # numpy's own looks less closely: this refuses addresses, and bytes that are too few.
    return np.frombuffer(data, dtype, count=1)[0] if dtype.itemsize else dtype.type()


_numpy_scalar: Any = np.bool_().__reduce__()[0]
_MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "complex"): complex,
    ("builtins", "range"): range,
    ("builtins", "slice"): slice,
    ("builtins", "bytearray"): bytearray,
    ("collections", "Counter"): collections.Counter,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "deque"): collections.deque,
    ("datetime", "date"): dt.date,
    ("datetime", "datetime"): dt.datetime,
    ("datetime", "time"): dt.time,
    ("datetime", "timedelta"): dt.timedelta,
    ("datetime", "timezone"): dt.timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("fractions", "Fraction"): fractions.Fraction,
    ("uuid", "UUID"): uuid.UUID,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    **{
        (module, name): getattr(pathlib, name)
        for module in ("pathlib", "pathlib._local")
        for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
    },
    **PANDAS_MAKERS,
}
"""Constructors that make a value of plain values and do nothing else."""
_VALUES: dict[tuple[str, str], Any] = {
    **{
        ("builtins", kind.__name__): kind
        for kind in (bool, dict, float, frozenset, int, list, set, str, tuple)
    },
    ("builtins", "Ellipsis"): ...,
    ("builtins", "NotImplemented"): NotImplemented,
    ("numpy", "matrix"): np.matrix,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.ma", "MaskedArray"): np.ma.MaskedArray,
    ("numpy.ma.core", "MaskedArray"): np.ma.MaskedArray,
    ("numpy.rec", "recarray"): np.recarray,
}
"""What a value may refer to, as the default of a dictionary or the class of an array; none is called."""


def _checked_result(call: Callable[..., Any], check: Callable[[Any], None], *args: Any) -> Any:
    made = call(*args)
    check(made)
    return made


_NAMESPACE = (_calls.MODULE, "namespace")
_DEEPEST = 1000
"""Of what lies within what. Python hashes tuples, and lets go of slices and arrays, by C calls that nobody
counts, so that more would overflow the stack; pickle itself writes nothing deeper (its recursion limit)."""
_NESTS = (tuple, slice, np.ndarray)
_FILLED = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)


class DataUnpickler(pickle._Unpickler):
    """Makes data and nothing else.

    Args:
        file: The stream.
        buffers: Memory that is kept beside it.
        decoding: Has our own calls as its methods; ``None``: there are none.

    Raises:
        TrustError: (when it loads) The stream asks for something else.
    """

    dispatch: ClassVar[dict[int, Any]] = {}

    def __init__(
        self, file: io.BufferedReader, *, buffers: Iterable[Any] = (), decoding: object = None
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._decoding = decoding
        self.in_preamble = True
        """Whether the notebook's globals may be named, which are not given."""
        self.globals: frozenset[int] = frozenset()
        """What stands for the notebook's globals, by its number."""
        self._made: dict[int, tuple[Any, Callable[..., Any]]] = {}
        """Id → what may be called, kept alive, and what is called then."""
        self._held: dict[int, Any] = {}
        """Id → an array that is an element of another."""
        self._depths: dict[int, tuple[int, Any]] = {}
        """Id → how much lies within what has more than one such thing in it, and that thing, kept alive."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what a stream names."""
        if (module, name) in _VALUES:
            return _VALUES[module, name]
        if (module, name) in PANDAS_VALUES:
            return PANDAS_VALUES[module, name]()
        make: Callable[..., Any] | None = _MAKERS.get((module, name))
        if (module, name) == _NAMESPACE and self.in_preamble:
            make = object
        elif module == _calls.MODULE:
            make = self._checked(name)
        if make is None:
            raise TrustError(f"it asks for {module}.{name}, which is no data")
        self._made[id(make)] = make, _scalar if make is _numpy_scalar else make
        return make

    def _checked(self, name: str) -> Callable[..., Any] | None:
        if name not in CALLS or self._decoding is None:
            return None
        call: Callable[..., Any] = getattr(self._decoding, name)
        check = CHECKS.get(name)
        if check is None:
            return call

        return functools.partial(_checked_result, call, check)

    # -- instructions that are ours, because Python's would do more

    def _call(self) -> None:
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        args = stack.pop()
        known = self._made.get(id(stack[-1]))
        if known is None or type(args) is not tuple:
            raise TrustError("it calls something that is no maker of data")
        made = stack[-1] = known[1](*args)
        if isinstance(made, _NESTS):
            self._limit(made, args)
        elif known[1] is _array_reducers.set_object_array:
            self._hold(args[0], args[1][0])

    def _hold(self, values: Any, elements: Any) -> None:
        arrays = {id(each): each for each in elements if isinstance(each, np.ndarray)}
        if arrays and id(values) in self._held:
            raise TrustError("it has arrays that hold each other")  # so no depth is known too early
        self._held.update(arrays)
        self._limit(values, elements)

    def _limit(self, made: Any, within: Iterable[Any]) -> None:
        deepest = 0
        for each in within:
            if isinstance(each, _NESTS):
                deepest = max(deepest, self._depths.get(id(each), (1, each))[0])
        if deepest >= _DEEPEST:
            raise TrustError(f"it has more than {_DEEPEST} things within each other")
        if deepest:
            self._depths[id(made)] = deepest + 1, made

    def _get(self) -> None:
        self._recall(self.read(1)[0])  # type: ignore[attr-defined]

    def _get_far(self) -> None:
        self._recall(int.from_bytes(self.read(4), "little"))  # type: ignore[attr-defined]

    def _recall(self, index: int) -> None:
        memo: dict[int, Any] = self.memo  # type: ignore[attr-defined]
        if index in self.globals or index not in memo:
            raise TrustError("it refers to the notebook's globals, or to nothing")
        self.stack.append(memo[index])  # type: ignore[attr-defined]

    def _next_buffer(self) -> None:
        # Nothing else in the stream can write to it then, and what was checked stays so.
        super().load_next_buffer()  # type: ignore[misc]
        self.stack[-1] = memoryview(self.stack[-1]).toreadonly()  # type: ignore[attr-defined]

    def _read_only_buffer(self) -> None:
        memory = self.stack[-1]  # type: ignore[attr-defined]
        if type(memory) is not memoryview or not memory.readonly:
            raise TrustError("it shows what may be written to as if it never changed")

    def _append(self) -> None:
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        value = stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self.pop_mark())  # type: ignore[attr-defined]

    def _extend(self, values: list[Any]) -> None:
        filled = self.stack[-1]  # type: ignore[attr-defined]
        if type(filled) not in (list, collections.deque):
            raise TrustError("it appends to something that is no list")
        filled.extend(values)

    def _set_item(self) -> None:
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        value = stack.pop()
        key = stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        self._fill(self.pop_mark())  # type: ignore[attr-defined]

    def _fill(self, items: list[Any]) -> None:
        filled = self.stack[-1]  # type: ignore[attr-defined]
        if type(filled) not in _FILLED:
            raise TrustError("it fills something that is no dictionary")
        for at in range(0, len(items), 2):
            filled[items[at]] = items[at + 1]

    def _refuse(self) -> None:
        raise TrustError("it makes or changes an object of a class")


def _limited(load_tuple: Callable[[Any], None]) -> Callable[[DataUnpickler], None]:
    def load(unpickler: DataUnpickler) -> None:
        load_tuple(unpickler)
        made: Any = unpickler.stack[-1]  # type: ignore[attr-defined]
        unpickler._limit(made, made)

    return load


def _instructions() -> dict[int, Any]:
    base: Any = pickle._Unpickler
    left_out = (
        pickle.GLOBAL, pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.BUILD, pickle.EXT1,
        pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID, pickle.GET,
    )  # fmt: skip
    tuples = pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3
    ours = {
        pickle.REDUCE: DataUnpickler._call,
        **{code: _limited(base.dispatch[code[0]]) for code in tuples},
        pickle.BINGET: DataUnpickler._get,
        pickle.LONG_BINGET: DataUnpickler._get_far,
        pickle.NEXT_BUFFER: DataUnpickler._next_buffer,
        pickle.READONLY_BUFFER: DataUnpickler._read_only_buffer,
        pickle.APPEND: DataUnpickler._append,
        pickle.APPENDS: DataUnpickler._appends,
        pickle.SETITEM: DataUnpickler._set_item,
        pickle.SETITEMS: DataUnpickler._set_items,
        **dict.fromkeys(left_out, DataUnpickler._refuse),
    }
    return {**base.dispatch, **{code[0]: do for code, do in ours.items()}}


DataUnpickler.dispatch = _instructions()


def load_plain(file: io.BufferedReader) -> Any:
    """Read one pickle of plain values, without calls of ours.

    Raises:
        TrustError: It asks for more.
    """
    return DataUnpickler(file).load()


def load_data(unpickler: DataUnpickler) -> dict[str, object]:
    """Read preamble and body.

    Raises:
        TrustError: They ask for more than data.
        CodecError: They cannot be read.
    """
    namespace = unpickler.load()
    memo: dict[int, Any] = unpickler.memo  # type: ignore[attr-defined]
    unpickler.globals = frozenset(index for index, value in memo.items() if value is namespace)
    unpickler._made.clear()
    unpickler.in_preamble = False
    values = unpickler.load()
    if type(values) is not dict:
        raise CodecError("the stream holds no names")
    return values
