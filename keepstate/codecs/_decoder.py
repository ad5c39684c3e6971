"""Streams back to objects: an unpickler whose calls are the methods of one running decoding.

It runs in the user's kernel and binds nothing. It knows the parts and definitions that it is handed, not
where they are kept.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
import logging
import pickle
import sys
import types
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import (
    _across,
    _array_reducers,
    _calls,
    _classes,
    _code,
    _containers,
    _dtypes,
    _errors,
    _forgotten,
    _functions,
    _generated,
    _in_process,
    _loggers,
    _moved,
    _oddities,
    _open_files,
    _registered,
    _small_reducers,
    _sparse,
    _tensors,
    _weak,
)
from keepstate.codecs._arrow import objects as arrow
from keepstate.codecs._data_only import DataUnpickler, load_data, load_plain
from keepstate.codecs._generated import Unbuilt
from keepstate.codecs._original import open_original
from keepstate.codecs._pandas import arrays, dtypes, frames, indexes
from keepstate.codecs._refusals import one_line
from keepstate.codecs._restored_memory import RestoredMemory, refuse_extended
from keepstate.codecs._source import show_source
from keepstate.codecs._stream import layout_of, map_of
from keepstate.errors import CodecError, KeepstateError, TrustError

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping, Sequence

    from keepstate._model.parts import PartReader, StoredGroup, Stream


_ZONED = frozenset({"pandas_index", "datetime_array", "datetime_dtype"})
"""Calls for things of pandas that may have a time zone."""


class MissingLibraryError(CodecError):
    """A value needs a library that cannot be imported here, or not yet.

    Args:
        library: Top-level name of the import, as in ``import <library>``.
    """

    kind = "missing-library"

    def __init__(self, library: str, message: str = "") -> None:
        super().__init__(message or f"the library {library!r} cannot be imported here; install it first")
        self.library = library


class _Decoding:
    """What one stream may ask for. Public names are those of ``_calls.NAMES``."""

    def __init__(self, stored: StoredGroup, namespace: dict[str, object], memory: RestoredMemory) -> None:
        self._resolve = stored.resolve
        self._namespace = namespace
        self._module = str(namespace.get("__name__", "__main__"))
        self._unbuilt: list[tuple[weakref.ref[Unbuilt], str]] = []
        self.array = memory.array
        self.view = memory.view
        self.untyped_storage = memory.untyped_storage

    dtype = staticmethod(_dtypes.make_dtype)
    empty = staticmethod(_array_reducers.empty)
    exported = staticmethod(_array_reducers.exported)
    object_view = staticmethod(_array_reducers.object_view)
    object_array = staticmethod(_array_reducers.object_array)
    set_object_array = staticmethod(_array_reducers.set_object_array)
    subclass_array = staticmethod(_array_reducers.subclass_array)
    row = staticmethod(_array_reducers.row)
    device_storage = staticmethod(_tensors.device_storage)
    tensor = staticmethod(_tensors.tensor_of)
    typed_storage = staticmethod(_tensors.typed_storage)
    set_tensor_state = staticmethod(_tensors.set_tensor_state)
    code = staticmethod(_code.make_code)
    set_class_state = staticmethod(_classes.set_class_state)
    own_globals = staticmethod(_functions.own_globals)
    dataclass_params = staticmethod(_generated.dataclass_params)
    enum_member = staticmethod(_classes.make_enum_member)
    type_variable = staticmethod(_oddities.type_variable)
    new_type = staticmethod(_oddities.new_type)
    type_alias = staticmethod(_oddities.type_alias)
    bit_generator = staticmethod(_across.bit_generator)
    set_bit_generator = staticmethod(_across.set_bit_generator)
    generator = staticmethod(_across.generator)
    random_state = staticmethod(_across.random_state)
    set_random_state = staticmethod(_across.set_random_state)
    text_dtype = staticmethod(_across.text_dtype)
    text_array = staticmethod(_across.text_array)
    arrow_dtype = staticmethod(_across.arrow_dtype)
    arrow_type = staticmethod(arrow.arrow_type)
    arrow_field = staticmethod(arrow.arrow_field)
    arrow_schema = staticmethod(arrow.arrow_schema)
    arrow_array = staticmethod(arrow.arrow_array)
    arrow_chunked_array = staticmethod(arrow.arrow_chunked_array)
    arrow_table = staticmethod(arrow.arrow_table)
    arrow_record_batch = staticmethod(arrow.arrow_record_batch)
    arrow_scalar = staticmethod(arrow.arrow_scalar)
    sparse_matrix = staticmethod(_sparse.sparse_matrix)
    of_one_version = staticmethod(_across.of_one_version)
    block = staticmethod(frames.block)
    block_refs = staticmethod(frames.block_refs)
    pandas_frame = staticmethod(frames.pandas_frame)
    pandas_series = staticmethod(frames.pandas_series)
    set_frame_attributes = staticmethod(frames.set_frame_attributes)
    set_state_and_attributes = staticmethod(_forgotten.set_state_and_attributes)
    block_manager = staticmethod(frames.block_manager)
    series_manager = staticmethod(frames.series_manager)
    pandas_index = staticmethod(indexes.pandas_index)
    range_index = staticmethod(indexes.range_index)
    multi_index = staticmethod(indexes.multi_index)
    categorical_array = staticmethod(arrays.categorical_array)
    datetime_array = staticmethod(arrays.datetime_array)
    timedelta_array = staticmethod(arrays.timedelta_array)
    period_array = staticmethod(arrays.period_array)
    object_text_array = staticmethod(arrays.object_text_array)
    numpy_extension_array = staticmethod(arrays.numpy_extension_array)
    nullable_array = staticmethod(arrays.nullable_array)
    interval_array = staticmethod(arrays.interval_array)
    sparse_array = staticmethod(arrays.sparse_array)
    pandas_arrow_array = staticmethod(arrays.pandas_arrow_array)
    categorical_dtype = staticmethod(dtypes.categorical_dtype)
    datetime_dtype = staticmethod(dtypes.datetime_dtype)
    interval_dtype = staticmethod(dtypes.interval_dtype)
    sparse_dtype = staticmethod(dtypes.sparse_dtype)
    nullable_dtype = staticmethod(dtypes.nullable_dtype)
    time_zone = staticmethod(dtypes.time_zone)
    date_offset = staticmethod(dtypes.date_offset)
    weak_dictionary = staticmethod(_weak.weak_dictionary)
    weak_reference = staticmethod(_weak.weak_reference)
    dead_reference = staticmethod(_weak.dead_reference)
    error = staticmethod(_errors.make_error)
    set_error_state = staticmethod(_errors.set_error_state)
    open_file = staticmethod(_open_files.open_file)
    closed_file = staticmethod(_open_files.closed_file)
    lock = staticmethod(_in_process.lock)
    reentrant_lock = staticmethod(_in_process.reentrant_lock)
    logger = staticmethod(logging.getLogger)
    set_logger_state = staticmethod(_loggers.set_logger_state)
    null_handler = staticmethod(_loggers.null_handler)
    stream_handler = staticmethod(_loggers.stream_handler)
    file_handler = staticmethod(_loggers.file_handler)
    key_wrapper = staticmethod(_small_reducers.key_wrapper)
    pairwise = staticmethod(_small_reducers.pairwise)
    set_json_decoder_state = staticmethod(_small_reducers.set_json_decoder_state)
    registered = staticmethod(_registered.decode_registered)
    set_attributes = staticmethod(_containers.set_attributes)
    fill_container = staticmethod(_containers.fill_container)
    match = staticmethod(_small_reducers.find_match)
    dictionary_view = staticmethod(_oddities.dictionary_view)
    cell = types.CellType

    @staticmethod
    def itself(thing: object) -> object:
        return thing

    def namespace(self) -> dict[str, object]:
        return self._namespace

    def definition(self, key: str) -> object:
        return self._resolve(key)

    @staticmethod
    def member(owner: object, path: str) -> object:
        found = owner
        for name in path.split("."):
            found = vars(found)[name]
            if isinstance(found, staticmethod | classmethod):
                found = found.__func__
        return found

    @staticmethod
    def module(name: str) -> types.ModuleType:
        return importlib.import_module(name)

    @staticmethod
    def attribute(module: str, path: str) -> object:
        return functools.reduce(getattr, path.split("."), importlib.import_module(module))

    @staticmethod
    def module_globals(name: str) -> dict[str, Any]:
        return vars(importlib.import_module(name))

    @staticmethod
    def set_cell(cell: types.CellType, state: tuple[object]) -> None:
        cell.cell_contents = state[0]

    @staticmethod
    def cached_function(function: Any, maxsize: int | None, typed: bool) -> Any:
        return functools.lru_cache(maxsize, typed)(function)

    def function(self, code: Any, scope: Any, name: str, cells: tuple[Any, ...]) -> Any:
        if type(code) is Unbuilt:
            code = code.as_in_library(scope)
        if type(code) is Unbuilt:
            self._unbuilt.append((weakref.ref(code), code.why))
            return code
        return _functions.make_function(code, scope, name, cells)

    @staticmethod
    def set_function_state(function: Any, state: dict[str, Any]) -> None:
        if type(function) is not Unbuilt:
            _functions.set_function_state(function, state)

    def check(self) -> None:
        """Raise if anything still holds what only stands for a function; the unpickler must be gone."""
        if self._unbuilt:
            gc.collect()
        for thing, why in self._unbuilt:
            if thing() is not None:
                raise CodecError(why)

    def class_(self, metaclass: type, name: str, bases: tuple[type, ...], shell: dict[str, object]) -> type:
        return _classes.make_class(metaclass, name, bases, shell, self._module)


class _StreamUnpickler(pickle.Unpickler):
    def __init__(
        self, file: io.BufferedReader, decoding: _Decoding, memory: RestoredMemory, *, other_machine: bool
    ) -> None:
        super().__init__(file, buffers=memory.buffers())
        self._other_machine = other_machine
        self._decoding = decoding
        self._has_pandas = False

    def find_class(self, module: str, name: str) -> Any:
        if module == _calls.MODULE:
            if name not in _calls.NAMES:
                raise CodecError(f"this version of keepstate does not know the call {name!r}: upgrade it")
            self._has_pandas |= name in _ZONED
            return getattr(self._decoding, name)
        self._has_pandas |= module.partition(".")[0] == "pandas"
        if module == "pytz" and self._has_pandas and (zone := _moved.zone_without_pytz(name)) is not None:
            return zone
        if (module, name) in _moved.INDEXES and (make := _moved.index_of_pandas_2(name)) is not None:
            return make
        if self._other_machine and name == "scalar" and module.partition(".")[0] == "numpy":
            return _scalar_of_other_machine
        try:
            return super().find_class(_moved.preferred(module), name)
        except (ModuleNotFoundError, AttributeError):
            for other in _moved.elsewhere(module, name):
                with suppress(ModuleNotFoundError, AttributeError):
                    return super().find_class(*other)
            raise


def _scalar_of_other_machine(dtype: Any, *data: Any) -> Any:
    refuse_extended(dtype)
    return np.frombuffer(data[0], dtype)[0] if isinstance(data[0], bytes) else dtype.type(*data)


def memory_of(stream: Stream, parts: Sequence[PartReader]) -> RestoredMemory:
    """Lay out the memory of a stream, so that it can be filled before :func:`decode` is called.

    Raises:
        CodecError: The layout cannot be read here.
        IntegrityError: This is no stream.
    """
    layout = layout_of(stream)
    try:
        return RestoredMemory(map_of(layout), parts)
    except Exception as error:
        raise CodecError(f"its layout cannot be read: {one_line(error)}") from error


def decode(
    stored: StoredGroup,
    *,
    namespace: dict[str, object],
    memory: RestoredMemory | None = None,
    other_machine: bool = False,
    data_only: bool = False,
) -> Mapping[str, object]:
    """Turn a stored group back into its members; nothing is bound.

    Args:
        stored: The group as it was read.
        namespace: The user's globals; they become the globals of restored functions.
        memory: What :func:`memory_of` has laid out for this group, all of it filled; for one call only.
        other_machine: Whether it was kept on another kind of processor.
        data_only: Whether to refuse whatever runs code, as for a stream that anyone may have written.

    Returns:
        Member name → value.

    Raises:
        MissingLibraryError: A library that a value needs cannot be imported here.
        CodecError: The values cannot be rebuilt here.
        TrustError: They are not data only.
        IntegrityError: A part is damaged.
    """
    try:
        layout = layout_of(stored.stream)
        if memory is None:
            memory = RestoredMemory(
                map_of(layout, load=load_plain if data_only else pickle.load), stored.parts
            )
        memory.is_of_other_machine = other_machine
        decoding = _Decoding(stored, namespace, memory)
        file = open_original(layout.pickles, layout.marks, stored.spent)
        if data_only:
            return load_data(DataUnpickler(file, buffers=memory.buffers(), decoding=decoding))
        unpickler = _StreamUnpickler(file, decoding, memory, other_machine=other_machine)
        for member in stored.members:
            if member.source:
                show_source(member.source)  # so that a class has it again in the next snapshot
        unpickler.load()  # the preamble: it puts the namespace into the memo
        values: Mapping[str, object] = unpickler.load()
        del unpickler
        decoding.check()
    except TrustError as error:
        raise TrustError(
            f"{_failure(stored, str(error))}; whoever trusts it reads it as more than data"
        ) from error
    except KeepstateError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(stored, error) from error
    except Exception as error:
        raise CodecError(_failure(stored, one_line(error))) from error
    return values


def _missing(stored: StoredGroup, error: ModuleNotFoundError) -> CodecError:
    library = (error.name or "").partition(".")[0]
    if library and library not in sys.modules and importlib.util.find_spec(library) is None:
        needing = _failure(stored, f"the library {library!r} cannot be imported; install it first")
        return MissingLibraryError(library, needing)
    return CodecError(_failure(stored, one_line(error)))


def _failure(stored: StoredGroup, why: str) -> str:
    what = ", ".join(f"{member.name} ({member.type})" for member in stored.members)
    return f"{what or stored.key} cannot be rebuilt: {why}"
