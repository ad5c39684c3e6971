"""The same for many things at a time, where waiting is what takes time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def at_once(function: Callable[[Thing], Result], things: Sequence[Thing], *, most: int) -> list[Result]:
    """Call *function* with each of *things*, and give what it returned, in their order.

    Args:
        function: May be called from other threads if *most* is above 1.
        things: Any number.
        most: Calls at a time; 1: one after another on this thread.

    Raises:
        Exception: What the first call that failed raised, once those that run have ended.

    >>> at_once(len, ["a", "bc"], most=4)
    [1, 2]
    """
    if most <= 1 or len(things) <= 1:
        return [function(thing) for thing in things]
    with ThreadPoolExecutor(min(most, len(things)), thread_name_prefix="keepstate-at-once") as pool:
        futures = [pool.submit(function, thing) for thing in things]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
