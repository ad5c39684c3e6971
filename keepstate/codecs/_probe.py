"""What a stream will call when it is decoded, told by a dry run: nothing in it is made, imported or called.

For short streams only: it takes as long as decoding them.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.codecs._original import open_original
from keepstate.codecs._stream import layout_of

if TYPE_CHECKING:
    import io

    from keepstate._model.parts import Stream

_HARMLESS = frozenset({
    "array", "view", "empty", "exported", "object_view", "object_array", "set_object_array", "subclass_array",
    "untyped_storage", "typed_storage", "device_storage", "itself", "set_tensor_state", "namespace", "dtype",
    "set_attributes", "row", "set_state_and_attributes",
})  # fmt: skip
"""Calls of ours that run no code of the user's, import nothing and draw from no random stream."""
_HARMLESS_WITH = {
    "bit_generator": "numpy.random", "set_bit_generator": "numpy.random", "generator": "numpy.random",
    "random_state": "numpy.random", "set_random_state": "numpy.random", "text_dtype": "pandas",
    "text_array": "pandas", "arrow_dtype": "pandas", "arrow_type": "pyarrow", "arrow_field": "pyarrow",
    "arrow_schema": "pyarrow", "arrow_array": "pyarrow", "arrow_chunked_array": "pyarrow",
    "arrow_table": "pyarrow", "arrow_record_batch": "pyarrow", "arrow_scalar": "pyarrow",
    "sparse_matrix": "scipy.sparse", "time_zone": "zoneinfo", "tensor": "torch",
    **dict.fromkeys((
        "pandas_frame", "pandas_series", "set_frame_attributes", "block_manager", "series_manager",
        "pandas_index", "range_index", "multi_index", "categorical_array", "datetime_array",
        "timedelta_array", "period_array", "object_text_array", "numpy_extension_array",
        "nullable_array", "interval_array", "sparse_array", "pandas_arrow_array", "categorical_dtype",
        "datetime_dtype", "interval_dtype", "sparse_dtype", "nullable_dtype", "date_offset", "block",
        "block_refs",
    ), "pandas"),
}  # fmt: skip
"""Calls of ours that are so once this module has been imported."""
_LIBRARIES = frozenset({
    "numpy", "pandas", "torch", "scipy", "pyarrow", "collections", "datetime", "decimal", "fractions",
    "pathlib", "uuid", "zoneinfo",
})  # fmt: skip
"""Whose objects come back likewise."""
_BUILTINS = frozenset({
    "bytearray", "complex", "dict", "frozenset", "list", "object", "range", "set", "slice", "tuple",
})  # fmt: skip
_COPYREG = frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"})
TENSORS = (_calls.MODULE, "untyped_storage")


class _Anything:
    """Stands for whatever a stream names, and for whatever that makes."""

    def __new__(cls, *_args: object, **_kwargs: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __call__(self, *_args: object, **_kwargs: object) -> _Anything:
        return self

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    append = extend = add = update = __setstate__


class _Probe(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file, buffers=itertools.repeat(b""))
        self.found: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.found.add((module, name))
        return _Anything


def calls_of(stream: Stream) -> frozenset[tuple[str, str]] | None:
    """Give module and name of all that decoding *stream* looks up; ``None`` if it cannot be told.

    Raises:
        IntegrityError: This is no stream.
    """
    layout = layout_of(stream)
    probe = _Probe(open_original(layout.pickles, layout.marks))
    try:
        probe.load()
        probe.load()
    except Exception:  # noqa: BLE001 - a stand-in was no good; the objects themselves may be
        return None
    return frozenset(probe.found)


def is_harmless(calls: frozenset[tuple[str, str]]) -> bool:
    """Say whether making these calls runs only code of known libraries, all of them imported."""
    return all(_is_harmless(module, name) for module, name in calls)


def _is_harmless(module: str, name: str) -> bool:
    if module == _calls.MODULE:
        return name in _HARMLESS or _is_imported(_HARMLESS_WITH.get(name, ""))
    if module == "builtins":
        return name in _BUILTINS
    if module == "copyreg":
        return name in _COPYREG
    if module == "_codecs":
        return name == "encode"
    return module.partition(".")[0] in _LIBRARIES and _is_imported(module)


def _is_imported(module: str) -> bool:
    found = sys.modules.get(module)
    initializing = getattr(getattr(found, "__spec__", None), "_initializing", False)
    return found is not None and not initializing
