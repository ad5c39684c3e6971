"""One call whose result is kept: it runs, and what came of it is kept if that is safe.

A result is kept only if the call has done nothing but give it: it has changed none of its inputs, drawn no
random number, and given nothing back that something else holds as well. What stands in the way of keeping one
stands in the way of nothing else: the call runs as if nobody had wanted to keep it.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from keepstate._capture import random_states
from keepstate._model.manifest import ResultRecord
from keepstate._results import modules
from keepstate._results.digest import Digester, NoKeyError
from keepstate.errors import KeepstateError, NotKeptWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from keepstate._model.manifest import Head
    from keepstate._results.key import Inputs
    from keepstate._results.store import Results

VALUE = "result"
"""Name under which what a function has returned is kept."""
ARGUMENT_CHARACTERS = 200


class Work(Protocol):
    """What is to be run: a call of a function, or a cell."""

    @property
    def name(self) -> str:
        """What its results are found by, and people know it by."""
        ...

    def run(self) -> dict[str, object]:
        """Run it; give the values to keep."""
        ...

    def harm(self, inputs: Inputs, given: Digester) -> str:
        """Say what it did besides giving these values that they would not do again; empty: nothing.

        Args:
            inputs: As they were before.
            given: What has looked at the values that it gave.

        Raises:
            NoKeyError: That cannot be told.
        """
        ...

    def said(self) -> dict[str, Any]:
        """Give what a record says of it: fields of ``ResultRecord``, and what goes among its ``inputs``."""
        ...


def order_of(digester: Digester) -> bytes:
    """Give what tells the order of sets, and in which kind of process: elsewhere it is another by chance."""
    return digester.orders + (hash("keepstate") & (2**64 - 1)).to_bytes(8, "little")


def usable(head: Head, inputs: Inputs) -> str:
    """Say why a result may not be used for these inputs; empty: it may."""
    result = head.result
    if result is None or result.cleared:
        return "it is cleared"
    if why := modules.changed_versions(result.libraries):
        return why
    now, then = order_of(inputs.digester), result.inputs.get(ORDER, b"")
    if now != then and now[16:] == then[16:]:
        return "a set has another order"
    return ""


ORDER = "(order of sets)"


def common_of(given: Digester, inputs: Digester) -> dict[int, object]:
    """Give what values hold that was an input, and that somebody could change: id → object, outermost first.

    Two frames may hold the same memory, which each copies before it changes it; a frame and an array may not.
    """
    common = {
        number: value
        for number, value in given.shared.items()
        if number in inputs.shared or number in inputs.framed
    }
    return common | {number: value for number, value in given.framed.items() if number in inputs.shared}


def shared_with(given: Digester, inputs: Digester) -> str:
    """Say what values hold that was an input; empty: nothing that anybody could change."""
    common = common_of(given, inputs)
    if not common:
        return ""
    kind = type(next(iter(common.values()))).__name__
    return f"what it gives holds a {kind} that it was given, and a kept one would be another"


def _drawn(before: Mapping[str, object]) -> str:
    """Say whether random numbers were drawn since; empty: none."""
    after = _states()
    if drawn := sorted(key for key, state in before.items() if after.get(key) != state):
        return (
            f"it draws from the global random numbers of {', '.join(drawn)}, or seeds them: give it a "
            "generator of its own, or random_state="
        )
    if loaded := sorted(after.keys() - before.keys()):
        return f"it has imported {', '.join(loaded)} and may have drawn random numbers: the next one is kept"
    return ""


def _make_numpy_ready() -> None:
    """Have numpy's random numbers loaded, as numpy does when they are first asked for: else nobody could tell
    whether a call that asks for them has drawn any."""
    if "numpy" in sys.modules and "numpy.random" not in sys.modules:
        with random_states.undisturbed():
            importlib.import_module("numpy.random")


def look_at_values(values: Mapping[str, object]) -> Digester:
    """Look at values that are to be kept, or that came back; their digests are under their names.

    Raises:
        NoKeyError: Whether such a value comes back as it was cannot be told.
    """
    digester = Digester(exact=False)
    for name in sorted(values):
        digester.add(name, values[name])
    return digester


def _states() -> dict[str, object]:
    return dict(json.loads(random_states.read())["states"])


def run_kept(results: Results, work: Work, inputs: Inputs) -> tuple[dict[str, object], str, Head | None]:
    """Run, and keep the result if that is safe.

    Returns:
        The values; why they were not kept, or nothing; and the result as it was kept.
    """
    random = None
    why = "its random numbers cannot be watched"
    try:
        _make_numpy_ready()
        random = _states()
    except Exception as error:  # noqa: BLE001 - whatever a library does, the call must run
        why = f"{why}: {type(error).__name__}: {error}"
    began = results.clock.monotonic()
    values = work.run()
    seconds = results.clock.monotonic() - began
    if random is None:
        return values, why, None
    try:
        given = look_at_values(values)
        why = _drawn(random) or work.harm(inputs, given)
        if not why:
            said = work.said()
            marks = said.pop("inputs", {})
            facts = {
                "function": work.name,
                "notebook": results.notebook,
                "values": {name: given.inputs[name] for name in values},
                "inputs": {**inputs.parts, ORDER: order_of(inputs.digester), **marks},
                "libraries": modules.versions_of(inputs.digester.libraries),
                "call_seconds": seconds,
            }
            why = results.put(inputs.key, values, msgspec.convert({**facts, **said}, ResultRecord))
        head = None if why else results.find(inputs.key)
    except NoKeyError as error:
        return values, f"whether it would come back as it was cannot be told: {error}", None
    except (KeepstateError, OSError) as error:
        return values, str(error) or type(error).__name__, None
    except Exception as error:  # noqa: BLE001 - what was computed must be returned, whatever keeping it raises
        return values, f"{type(error).__name__}: {error}", None
    return values, why, head


_said: set[tuple[str, str]] = set()


def warn_once(name: str, why: str, say: Callable[[str], None]) -> None:
    """Say something of a function, once in a process; a warning never becomes an error of the call.

    Args:
        name: Of the function.
        why: Goes on from there.
        say: Says it to a user who has warnings raised.
    """
    if (name, why) in _said:
        return
    _said.add((name, why))
    text = f"keepstate: {name} {why}"
    try:
        warnings.warn(text, NotKeptWarning, stacklevel=_levels_to_user())
    except NotKeptWarning:  # the user has warnings raised
        say(text)


def _levels_to_user() -> int:
    """Say how far up the code stands that has called what calls us."""
    frame: FrameType | None = sys._getframe(1)
    levels = 1
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(("keepstate.", "joblib.")):
        frame, levels = frame.f_back, levels + 1
    return levels - 1
