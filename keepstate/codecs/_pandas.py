"""Frames and series: blocks whose copy-on-write marks survive, and indexes that are linked with nothing.

Blocks of pandas share a ``BlockValuesRefs`` when they show the same memory; a write looks at it to decide
whether to copy first. Frames that come back sharing memory must share those marks again, or a write to one
would silently change the other. Indexes never change, so their memory is kept with each of them.
pandas is never imported here: whoever has a frame has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reduce_block(_pickler: StreamPickler, block: Any) -> tuple[object, ...]:
    """Reduce a block to its values, its place and its marks."""
    return _calls.named("block"), (block.values, block.mgr_locs.indexer, block.ndim, block.refs)


def reduce_refs(_pickler: StreamPickler, _refs: Any) -> tuple[object, ...]:
    """Reduce the marks: they are empty at first, blocks enter themselves."""
    return _calls.named("block_refs"), ()


def reduce_series_manager(_pickler: StreamPickler, manager: Any) -> tuple[object, ...]:
    """Reduce the manager of a series, whose own reduce leaves the block and its marks out."""
    return type(manager), (manager.blocks[0], manager.axes[0])


def reduce_index(pickler: StreamPickler, index: Any) -> Any:
    """Reduce an index; its memory is linked with nothing."""
    make, arguments, *rest = index.__reduce__()
    if len(arguments) == 2 and isinstance(arguments[1], dict):
        facts = {name: _detached(pickler, value) for name, value in arguments[1].items()}
        arguments = arguments[0], facts
    return (make, arguments, *rest)


def reduce_dtype(_pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce a dtype without what it has cached, which grows as it is used."""
    reduced = dtype.__reduce_ex__(5)
    if isinstance(reduced, str) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    state = {name: value for name, value in reduced[2].items() if name != "_cache"}
    return (*reduced[:2], state, *reduced[3:])


def _detached(pickler: StreamPickler, value: Any) -> Any:
    if type(value) is list and any(type(item) is np.ndarray for item in value):
        return [_detached(pickler, item) for item in value]
    if type(value) is np.ndarray:
        return pickler.memory.detach(value)
    if type(value).__module__.partition(".")[0] == "pandas":
        return _detached_extension(pickler, value)
    return value


def _detached_extension(pickler: StreamPickler, values: Any) -> Any:
    """Give an extension array a wrapper of its own around detached arrays."""
    if isinstance(getattr(values, "_ndarray", None), np.ndarray):
        made = values._from_backing_data(pickler.memory.detach(values._ndarray))
        if getattr(values, "_freq", None) is not None:
            made._freq = values._freq  # pandas 2 keeps an index's frequency here
        return made
    if hasattr(values, "_pa_array"):  # texts of pandas 3: frames that come from each other share their labels
        kind: Any = type(values)
        made = kind.__new__(kind)
        made.__setstate__(values.__getstate__())
        return made
    data, mask = getattr(values, "_data", None), getattr(values, "_mask", None)
    if isinstance(data, np.ndarray) and isinstance(mask, np.ndarray):
        return type(values)._simple_new(pickler.memory.detach(data), pickler.memory.detach(mask))
    return values


# --- decoding


def block(values: Any, placement: Any, ndim: int, refs: Any) -> Any:
    """Make a block that bears *refs*."""
    internals = sys.modules["pandas._libs.internals"]
    made = internals._unpickle_block(values, placement, ndim)
    made.refs = refs
    refs.add_reference(made)
    return made


def block_refs() -> Any:
    """Make marks that no block bears yet."""
    return sys.modules["pandas._libs.internals"].BlockValuesRefs()


PANDAS_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "pandas._libs.internals.Block": reduce_block,
    "pandas._libs.internals.BlockValuesRefs": reduce_refs,
    "pandas.core.internals.managers.SingleBlockManager": reduce_series_manager,
    "pandas.core.indexes.base.Index": reduce_index,
    "pandas.Index": reduce_index,
    "pandas.core.dtypes.base.ExtensionDtype": reduce_dtype,
    "pandas.api.extensions.ExtensionDtype": reduce_dtype,
}
"""By the name of a type or of one of its bases."""
