"""Facts of a live value: shape, dtype, columns, length. Asks built-in types and known libraries only.

A method that a class of the user's has overridden is not called, and no library is imported: whoever has a
frame has imported pandas. What cannot be told is left out, and nothing raises.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._model.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_COLUMNS = 1000
"""Columns of which name and dtype are recorded: 30 kB, which are written again whenever the frame changes."""
MOST_CHARACTERS = 100
"""Of a name or dtype."""
_CONTAINERS = (list, dict, tuple, set, frozenset, str, bytes, bytearray)
_PLAIN_LABELS = (int, float, complex, bool, bytes, type(None), dt.date, dt.time, dt.timedelta)


def facts_of(value: object) -> Facts | None:
    """Give the facts of *value*; ``None`` where there are none, or they cannot be told."""
    kind = type(value)
    try:
        if issubclass(kind, np.ndarray):
            return _of_array(value)
        for base in _CONTAINERS:
            if issubclass(kind, base):
                return Facts(length=base.__len__(value))  # type: ignore[arg-type]
        for owner in kind.__mro__:
            ask = _BY_NAME.get(f"{owner.__module__}.{owner.__qualname__}")
            if ask is not None:
                return ask(value, owner)
    except Exception:  # noqa: BLE001 - facts are for reports; the value is kept without them
        return None
    return None


def has_facts(type_name: str) -> bool:
    """Say whether values of the type of this name have facts as far as its name tells."""
    return type_name in _BY_NAME or type_name in _BUILT_IN


def _of_array(value: Any) -> Facts:
    shape = np.ndarray.shape.__get__(value)
    return Facts(shape=list(shape), dtype=_text(np.ndarray.dtype.__get__(value)))


def _of_frame(frame: Any, pandas_frame: Any) -> Facts:
    shape = list(pandas_frame.shape.fget(frame))
    if shape[1] > MOST_COLUMNS:
        return Facts(shape=shape)
    return Facts(shape=shape, columns=_columns(_labels(frame._mgr.axes[0]), frame._mgr.get_dtypes()))


def _labels(index: Any) -> Iterable[Any]:
    """Give what an index holds; one of several levels keeps what it gives otherwise, in the user's object."""
    if not hasattr(index, "codes") or not hasattr(index, "levels"):
        return index  # type: ignore[no-any-return]
    pairs = list(zip(index.levels, index.codes, strict=True))
    return [
        tuple(None if codes[at] < 0 else level[int(codes[at])] for level, codes in pairs)
        for at in range(len(index))
    ]


def _of_series(series: Any, owner: Any) -> Facts:
    del owner
    return Facts(shape=[len(series)], dtype=_text(series.dtype))


def _of_tensor(tensor: Any, owner: Any) -> Facts:
    return Facts(shape=list(owner.size(tensor)), dtype=_text(tensor.dtype))


def _of_shaped(value: Any, owner: Any) -> Facts:
    """Give shape and dtype of a sparse matrix or the like."""
    del owner
    return Facts(shape=list(value.shape), dtype=_text(value.dtype))


def _of_polars(frame: Any, owner: Any) -> Facts:
    del owner
    shape = list(frame.shape)
    if shape[1] > MOST_COLUMNS:
        return Facts(shape=shape)
    return Facts(shape=shape, columns=_columns(frame.columns, frame.dtypes))


def _of_table(table: Any, owner: Any) -> Facts:
    del owner
    shape = [table.num_rows, table.num_columns]
    if shape[1] > MOST_COLUMNS:
        return Facts(shape=shape)
    return Facts(shape=shape, columns=_columns(table.schema.names, table.schema.types))


def _columns(labels: Iterable[Any], dtypes: Iterable[Any]) -> list[tuple[str, str]]:
    return [(_label(label), _text(dtype)) for label, dtype in zip(labels, dtypes, strict=True)]


def _label(label: Any) -> str:
    kind = type(label)
    if kind is str:
        return str(label)[:MOST_CHARACTERS]
    if kind is tuple:
        return f"({', '.join(map(_label, label))})"[:MOST_CHARACTERS]
    if isinstance(label, np.generic) or issubclass(kind, _PLAIN_LABELS):
        return str(label)[:MOST_CHARACTERS]
    return f"<{kind.__qualname__}>"


def _text(dtype: Any) -> str:
    return str(dtype)[:MOST_CHARACTERS]


_BY_NAME: dict[str, Callable[[Any, Any], Facts]] = {
    "pandas.core.frame.DataFrame": _of_frame,
    "pandas.DataFrame": _of_frame,
    "pandas.core.series.Series": _of_series,
    "pandas.Series": _of_series,
    "pandas.core.indexes.base.Index": _of_series,
    "pandas.Index": _of_series,
    "polars.dataframe.frame.DataFrame": _of_polars,
    "polars.series.series.Series": _of_series,
    "pyarrow.lib.Table": _of_table,
    "torch.Tensor": _of_tensor,
    "torch._tensor.Tensor": _of_tensor,
    "scipy.sparse._base._spbase": _of_shaped,
}
"""By the name of a type or of one of its bases."""
_BUILT_IN = frozenset({"numpy.ndarray", *(kind.__qualname__ for kind in _CONTAINERS)})
