"""One kept value as the bytes of an ordinary file, by the suffix of its name.

Knows values and bytes, not stores and not disks. What a format cannot hold exactly is refused, not bent:
a value that is read back as another one is worse than no file. CSV alone is text for people and other
programs; it has no types to keep.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from keepstate.errors import CodecError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Pieces = Sequence[bytes | memoryview]


def check_suffix(suffix: str) -> str:
    """Give the suffix in lower case.

    Raises:
        InvalidInputError: No format has it; the message lists those that are there.
    """
    if suffix.lower() not in _FORMATS:
        known = ", ".join(f"{each} ({what})" for each, (what, _) in _FORMATS.items())
        raise InvalidInputError(f"no format has the suffix {suffix!r}: use one of {known}")
    return suffix.lower()


def encode_file(name: str, value: object, suffix: str) -> Pieces:
    """Give the bytes of the file in pieces.

    Args:
        name: Of the value, for messages.
        value: What was kept.
        suffix: As :func:`check_suffix` gives it.

    Raises:
        InvalidInputError: A file of this kind cannot hold that value.
        CodecError: The library that writes such files is missing, or failed.
    """
    what, write = _FORMATS[suffix]
    try:
        return write(value)
    except _UnfitError as error:
        raise InvalidInputError(
            f"{name!r} is a {_type_of(value)}, and {suffix} is for {what}: {error}; .pkl takes everything"
        ) from error
    except ImportError as error:
        raise CodecError(
            f"{suffix} needs a library that is not installed here: {_first_line(error)}"
        ) from error
    except Exception as error:  # a library's own, of any kind
        why = f"{type(error).__name__}: {_first_line(error)}"
        raise CodecError(f"{name!r} cannot be written as {suffix}: {why}") from error


class _UnfitError(Exception):
    """The value is not what the format is for."""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _type_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _npy(value: object) -> Pieces:
    # Subclasses have more than the format holds: a masked array would lose its mask.
    if type(value) is not np.ndarray:
        raise _UnfitError("it is no plain array")
    array: np.ndarray[Any, Any] = value
    if array.dtype.hasobject or np.lib.format.descr_to_dtype(_described(array.dtype)) != array.dtype:
        raise _UnfitError(f"the format does not hold elements of {array.dtype}")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy()
    head = io.BytesIO()
    try:
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    except ValueError:  # names of fields that need a newer version of the format
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy's, that older versions do not read it
            np.save(head, array, allow_pickle=False)
        return [head.getbuffer()]
    # The memory goes to the file as it is, so that a large array is not copied.
    memory = array.reshape(-1, order="A").view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    return [head.getvalue(), memory.data]


def _described(dtype: np.dtype[Any]) -> Any:
    return np.lib.format.dtype_to_descr(dtype)


def _csv(value: object) -> Pieces:
    if _is(value, "polars", "DataFrame"):
        return [str(_any(value).write_csv()).encode()]
    frame = _frame(value)
    return [str(frame.to_csv(index=not _is_counted(frame))).encode()]


def _parquet(value: object) -> Pieces:
    target = io.BytesIO()
    if _is(value, "polars", "DataFrame"):
        _any(value).write_parquet(target)
    else:
        _frame(value).to_parquet(target)
    return [target.getbuffer()]


def _frame(value: object) -> Any:
    if _is(value, "pandas", "Series"):
        return _any(value).to_frame()
    if not _is(value, "pandas", "DataFrame"):
        raise _UnfitError("it is no frame")
    return value


def _is_counted(frame: Any) -> bool:
    """Whether the index only counts the rows, so that a column of it would say nothing."""
    index = frame.index
    return bool(
        type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1
    )


def _is(value: object, library: str, name: str) -> bool:
    # A value of a library's type exists only where that library has been imported.
    kind = getattr(sys.modules.get(library), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _any(value: Any) -> Any:
    return value


def _json(value: object) -> Pieces:
    _check_json(value, "it")
    return [json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"]


def _check_json(value: object, place: str) -> None:
    """Refuse what would come back as something else: keys that are no texts, sets, subclasses."""
    if type(value) is dict:
        for key, each in value.items():
            if type(key) is not str:
                raise _UnfitError(f"{place} has the key {key!r:.40}, which is no text")
            _check_json(each, f"{place}[{key!r:.40}]")
    elif type(value) in (list, tuple):
        for number, each in enumerate(_any(value)):
            _check_json(each, f"{place}[{number}]")
    elif value is not None and type(value) not in (str, int, float, bool):
        raise _UnfitError(f"{place} is a {_type_of(value)}")
    elif type(value) is float and not np.isfinite(value):
        raise _UnfitError(f"{place} is {value}, which JSON does not have")


def _txt(value: object) -> Pieces:
    if type(value) is not str:
        raise _UnfitError("it is no text")
    return [value.encode()]


def _pkl(value: object) -> Pieces:
    return [cloudpickle.dumps(value)]


_FORMATS: dict[str, tuple[str, Callable[[object], Pieces]]] = {
    ".npy": ("arrays", _npy),
    ".csv": ("frames", _csv),
    ".parquet": ("frames", _parquet),
    ".json": ("dicts, lists, texts and numbers", _json),
    ".txt": ("texts", _txt),
    ".pkl": ("everything", _pkl),
}
