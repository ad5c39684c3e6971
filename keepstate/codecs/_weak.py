"""Weak references and containers.

They come back only with what they refer to, so that must be held by something else that is kept:
:func:`loose` tells what is not, by pickling once more without any of them.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

LOOSE = "it holds a weak reference to something that nothing else holds which is kept with it"


def reduce_weak_reference(pickler: StreamPickler, reference: weakref.ref[Any]) -> Any:
    """Keep a reference with what it refers to."""
    target = reference()
    if target is None or not pickler.weakly:
        return _calls.named("dead_reference"), ()
    pickler.weak[id(target)] = target
    return _calls.named("weak_reference"), (target, reference.__callback__)


def reduce_weak_dictionary(pickler: StreamPickler, values: Any) -> Any:
    """Keep what a weak dictionary holds now."""
    held = dict(values) if pickler.weakly else {}
    targets = held.keys() if type(values) is weakref.WeakKeyDictionary else held.values()
    pickler.weak.update((id(target), target) for target in targets)
    return _calls.named("weak_dictionary"), (type(values), held)


def reduce_weak_set(pickler: StreamPickler, values: weakref.WeakSet[Any]) -> Any:
    """Keep what a weak set holds now."""
    held = list(values) if pickler.weakly else []
    pickler.weak.update((id(target), target) for target in held)
    return weakref.WeakSet, (held,)


def loose(pickler: StreamPickler, again: Callable[[], StreamPickler]) -> set[int]:
    """Return the ids of what the stream refers to weakly and nothing in it holds.

    Args:
        pickler: Has written the stream.
        again: Writes it once more, without what is referred to weakly.
    """
    targets = np.fromiter(pickler.weak, np.uint64, len(pickler.weak))
    if not len(targets):
        return set()
    held = again().shared_ids()
    return set(targets[~np.isin(targets, held)].tolist())


WEAK_REDUCERS: dict[type, Callable[[Any, Any], Any]] = {
    weakref.ref: reduce_weak_reference,
    weakref.WeakKeyDictionary: reduce_weak_dictionary,
    weakref.WeakValueDictionary: reduce_weak_dictionary,
    weakref.WeakSet: reduce_weak_set,
}


# --- decoding


def weak_dictionary(kind: type, values: dict[Any, Any]) -> Any:
    """Make a weak dictionary."""
    return kind(values)


def weak_reference(target: Any, callback: Any) -> Any:
    """Make a weak reference."""
    return weakref.ref(target) if callback is None else weakref.ref(target, callback)


class _Gone:
    """What a dead reference referred to."""


def dead_reference() -> Any:
    """Make a weak reference to what is no longer there."""
    return weakref.ref(_Gone())
