"""Attributes that a library's own pickle forgets without a word: they are kept beside what it tells."""

from __future__ import annotations

import copyreg
import sys
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_OPTIMIZER = "torch.optim.optimizer.Optimizer"
_TELLING = ("__reduce__", "__reduce_ex__", "__getstate__")


def says_itself(value: object, base: type) -> bool:
    """Say whether the class of *value* has its own way of telling what it is made of, other than *base*."""
    return any(getattr(type(value), name) is not getattr(base, name) for name in _TELLING)


def can_be_kept(value: Any) -> bool:
    """Say whether there is a way to keep what somebody has set on an object, as far as its class tells.

    What there is none for is left out, as by the library: it must not cost the object. patsy sets on each
    frame of a formula what refuses to be pickled.
    """
    from keepstate.codecs._reducers import reducer_for  # which knows this module, too

    if reducer_for(type(value)) is not None or type(value) in copyreg.dispatch_table:
        return True
    try:
        value.__reduce_ex__(5)
    except Exception:  # noqa: BLE001 - whatever it raises, it has refused
        return False
    return True


def with_forgotten(value: Any, forgotten: dict[str, Any]) -> Any:
    """Reduce *value* as its class does, with these attributes beside its state.

    Args:
        value: Of a class that is made empty and given a state, as pickle's protocol 2 does.
        forgotten: What the state lacks; may be empty.
    """
    reduced = value.__reduce_ex__(5)
    if not forgotten or not isinstance(reduced, tuple) or len(reduced) < 3 or any(reduced[3:]):
        return reduced
    return (*reduced[:2], (reduced[2], forgotten), None, None, _calls.named("set_state_and_attributes"))


def reduce_optimizer(_pickler: StreamPickler, optimizer: Any) -> Any:
    """Reduce an optimizer with its hooks and what its class set on it; LBFGS cannot step without."""
    base = sys.modules["torch"].optim.Optimizer
    if says_itself(optimizer, base):
        return NotImplemented
    told = optimizer.__getstate__()
    own = {
        name: value
        for name, value in vars(optimizer).items()
        # A scheduler puts a step of its own there, and does so again; of most hooks there are none.
        if name not in told
        and name != "step"
        and not (name.endswith("_hooks") and not value)
        and can_be_kept(value)
    }
    return with_forgotten(optimizer, own)


def set_state_and_attributes(made: Any, told: tuple[Any, dict[str, Any]]) -> None:
    """Give an object its state as its class does, and what that lacks."""
    state, forgotten = told
    made.__setstate__(state)
    vars(made).update(forgotten)
    torch = sys.modules.get("torch")
    numbers = [n for name, each in forgotten.items() if name.endswith("_hooks") for n in each]
    if torch is not None and numbers:
        count_on_from(torch, numbers)


def count_on_from(torch: Any, numbers: Any) -> None:
    """Have the next hook take a number that none of those that came back has."""
    handles = torch.utils.hooks.RemovableHandle
    handles.next_id = max([handles.next_id, *(number + 1 for number in numbers)])


OPTIMIZER_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {_OPTIMIZER: reduce_optimizer}
"""By the name of a type or of one of its bases."""
