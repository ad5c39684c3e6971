"""Frames and series: blocks whose copy-on-write marks survive, under managers of their axes.

Blocks of pandas share a ``BlockValuesRefs`` when they show the same memory; a write looks at it to decide
whether to copy first. Frames that come back sharing memory must share those marks again, or a write to one
would silently change the other.
pandas is never imported when writing: whoever has a frame has imported it.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls
from keepstate.codecs._forgotten import can_be_kept, says_itself, with_forgotten
from keepstate.codecs._pandas.arrays import ARRAY_REDUCERS
from keepstate.codecs._pandas.dtypes import DTYPE_REDUCERS
from keepstate.codecs._pandas.indexes import INDEX_REDUCERS
from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_PANDAS_OWN = frozenset({"_attrs", "_cacher"})
"""What pandas sets on a frame besides its ``_internal_names``."""
_MANAGERS = "pandas.core.internals.managers"


def reduce_frame(_pickler: StreamPickler, frame: Any) -> Any:
    """Reduce a frame to its manager, its attributes and its flag; one of a class of its own is pickled."""
    reduced = typed(
        "pandas_frame",
        pandas_frame,
        state=lambda: (frame._mgr, *_marks_of(frame)),
        same=lambda made: type(made) is type(frame) and _same_marks(made, frame),
    )
    return _with_own_attributes(reduced, frame)


def reduce_series(_pickler: StreamPickler, series: Any) -> Any:
    """Reduce a series to its manager, its name, its attributes and its flag."""
    reduced = typed(
        "pandas_series",
        pandas_series,
        state=lambda: (series._mgr, series._name, *_marks_of(series)),
        same=lambda made: (
            type(made) is type(series) and made._name is series._name and _same_marks(made, series)
        ),
    )
    return _with_own_attributes(reduced, series)


def _with_own_attributes(reduced: Any, frame: Any) -> Any:
    """Add what the user has set on a frame, as in ``df.note = "raw"``; pandas' own pickle forgets it."""
    if reduced is NotImplemented:
        return _with_attributes_of_class(frame)
    own = {name: value for name, value in vars(frame).items() if _is_own(frame, name) and can_be_kept(value)}
    if not own:
        return reduced
    return (*reduced, own, None, None, _calls.named("set_frame_attributes"))


def _is_own(frame: Any, name: str) -> bool:
    # pandas keeps accessors, as ``df.plot``, and what begins with an underscore.
    return not name.startswith("_") and not hasattr(type(frame), name)


def _with_attributes_of_class(frame: Any) -> Any:
    """Reduce one of a class of its own as pandas does, with what that class has set besides ``_metadata``."""
    kind = type(frame)
    base = next(each for each in kind.__mro__ if each.__module__.startswith("pandas."))
    if says_itself(frame, base):
        return NotImplemented
    passed_over = _PANDAS_OWN.union(kind._internal_names, kind._metadata)
    own = {
        name: value
        for name, value in vars(frame).items()
        if name not in passed_over
        and not _is_accessor(inspect.getattr_static(kind, name, None))
        and can_be_kept(value)
    }
    return with_forgotten(frame, own) if own else NotImplemented


def _is_accessor(found: Any) -> bool:
    return hasattr(found, "_accessor")  # which pandas keeps on a frame once it was used, as df.plot


def _marks_of(frame: Any) -> tuple[Any, bool]:
    return frame._attrs, frame._flags._allows_duplicate_labels


def _same_marks(made: Any, frame: Any) -> bool:
    return (
        made._mgr is frame._mgr
        and made._attrs is frame._attrs
        and type(made._attrs) is dict
        and made._flags._allows_duplicate_labels is frame._flags._allows_duplicate_labels
    )


def reduce_manager(_pickler: StreamPickler, manager: Any) -> Any:
    """Reduce the manager of a frame to its blocks and axes; its own reduce gives no more."""
    if type(manager) is not sys.modules[_MANAGERS].BlockManager:
        return NotImplemented
    return _calls.named("block_manager"), (manager.blocks, tuple(manager.axes))


def reduce_series_manager(_pickler: StreamPickler, manager: Any) -> Any:
    """Reduce the manager of a series, whose own reduce leaves the block and its marks out."""
    kind = type(manager)
    parts = manager.blocks[0], manager.axes[0]
    if kind is not sys.modules[_MANAGERS].SingleBlockManager:
        return kind, parts
    return _calls.named("series_manager"), parts


def reduce_block(_pickler: StreamPickler, block: Any) -> tuple[object, ...]:
    """Reduce a block to its values, its place and its marks."""
    return _calls.named("block"), (block.values, block.mgr_locs.indexer, block.ndim, block.refs)


def reduce_refs(_pickler: StreamPickler, _refs: Any) -> tuple[object, ...]:
    """Reduce the marks: they are empty at first, blocks enter themselves."""
    return _calls.named("block_refs"), ()


# --- decoding


def pandas_frame(manager: Any, attrs: dict[Any, Any], duplicates: bool) -> Any:
    """Make a frame.

    Args:
        manager: Of its blocks; one that frames share is one again.
        attrs: Become those of the frame, without a copy.
        duplicates: Whether labels may occur more than once.
    """
    return _made(importlib.import_module("pandas").DataFrame, manager, attrs, duplicates)


def pandas_series(manager: Any, name: Any, attrs: dict[Any, Any], duplicates: bool) -> Any:
    """Make a series."""
    made = _made(importlib.import_module("pandas").Series, manager, attrs, duplicates)
    object.__setattr__(made, "_name", name)
    return made


def set_frame_attributes(frame: Any, own: dict[str, Any]) -> None:
    """Give a frame or series what the user had set on it."""
    pandas = importlib.import_module("pandas")
    is_frame = type(frame) in (pandas.DataFrame, pandas.Series)
    if not is_frame or not all(type(name) is str and _is_own(frame, name) for name in own):
        raise CodecError("attributes were kept that a frame or series cannot have")
    vars(frame).update(own)


def _made(kind: Any, manager: Any, attrs: dict[Any, Any], duplicates: bool) -> Any:
    made = kind._from_mgr(manager, manager.axes) if hasattr(kind, "_from_mgr") else kind(manager)  # 2.1, 2.0
    object.__setattr__(made, "_attrs", attrs)
    if duplicates is not True:
        # Set without the look at all labels that the property takes.
        flags: Any = type(made._flags)
        object.__setattr__(made, "_flags", flags(made, allows_duplicate_labels=duplicates))
    return made


def block_manager(blocks: tuple[Any, ...], axes: tuple[Any, ...]) -> Any:
    """Make the manager of a frame."""
    return importlib.import_module(_MANAGERS).BlockManager(blocks, list(axes))


def series_manager(block: Any, axis: Any) -> Any:
    """Make the manager of a series."""
    return importlib.import_module(_MANAGERS).SingleBlockManager(block, axis)


def block(values: Any, placement: Any, ndim: int, refs: Any) -> Any:
    """Make a block that bears *refs*.

    Raises:
        CodecError: Its places are told in another way than pandas does, which takes them on trust.
    """
    is_array = type(placement) is np.ndarray and placement.ndim == 1 and placement.dtype.kind == "i"
    if not is_array and type(placement) not in (int, slice):
        raise CodecError("the places of a block are no numbers")
    internals = _internals()
    made = internals._unpickle_block(values, placement, ndim)
    made.refs = refs
    refs.add_reference(made)
    return made


def block_refs() -> Any:
    """Make marks that no block bears yet."""
    return _internals().BlockValuesRefs()


def _internals() -> Any:
    importlib.import_module("pandas")  # a part of it cannot be imported first
    return sys.modules["pandas._libs.internals"]


PANDAS_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "pandas.DataFrame": reduce_frame,
    "pandas.core.frame.DataFrame": reduce_frame,
    "pandas.Series": reduce_series,
    "pandas.core.series.Series": reduce_series,
    "pandas._libs.internals.Block": reduce_block,
    "pandas._libs.internals.BlockValuesRefs": reduce_refs,
    "pandas.core.internals.managers.BlockManager": reduce_manager,
    "pandas.core.internals.managers.SingleBlockManager": reduce_series_manager,
    **INDEX_REDUCERS,
    **ARRAY_REDUCERS,
    **DTYPE_REDUCERS,
}
"""By the name of a type or of one of its bases, which pandas 2 and 3 call otherwise."""
