"""One call whose result is kept: it runs, and what came of it is kept if that is safe.

A result is kept only if the call has done nothing but give it: it has changed none of its inputs, drawn no
random number, and given nothing back that something else holds as well. What stands in the way of keeping one
stands in the way of nothing else: the call runs as if nobody had wanted to keep it.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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


@dataclass(slots=True)
class Work:
    """What is to be done, as the two kinds of it see it: a function that is called, and a cell."""

    name: str
    """For people, and to find its results."""
    look: Callable[[], Inputs]
    """Looks at the inputs as they are now; raises NoKeyError."""
    run: Callable[[], dict[str, object]]
    """Runs it; gives the values to keep."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    may_change_inputs: bool = False


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


@dataclass(slots=True)
class Effects:
    """What a call did besides giving a result, told by what was there before and after."""

    inputs: Inputs
    random: dict[str, object]

    @classmethod
    def before(cls, inputs: Inputs) -> Effects:
        """Note how things are."""
        return cls(inputs, _states())

    def found(self, work: Work, given: Digester) -> str:
        """Say why the result must not be kept; empty: there is no reason.

        Args:
            work: What was done.
            given: What has looked at the values that it gave.
        """
        after = _states()
        if drawn := sorted(key for key, state in self.random.items() if after.get(key) != state):
            return f"it draws from the global random numbers of {', '.join(drawn)}, or seeds them"
        if loaded := sorted(after.keys() - self.random.keys()):
            return (
                f"it has imported {', '.join(loaded)} and may have drawn random numbers: the next one is kept"
            )
        try:
            now = work.look()
        except NoKeyError as error:
            return f"it has changed what it uses: {error}"
        changed = self.inputs.changed_to(now.parts)
        if not work.may_change_inputs and (changed or now.key != self.inputs.key):
            return f"it changes {', '.join(changed) or 'what it uses'}, which its result would not do again"
        common = given.shared.keys() & self.inputs.digester.shared.keys()
        if common:
            kind = type(given.shared[next(iter(common))]).__name__
            return f"what it gives holds a {kind} that it was given, and a kept one would be another"
        return ""


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
    effects = Effects.before(inputs)
    began = results.clock.monotonic()
    values = work.run()
    seconds = results.clock.monotonic() - began
    try:
        given = look_at_values(values)
        why = effects.found(work, given)
        if not why:
            record = ResultRecord(
                function=work.name,
                notebook=results.notebook,
                values={name: given.inputs[name] for name in values},
                inputs={**inputs.parts, ORDER: order_of(inputs.digester)},
                libraries=modules.versions_of(inputs.digester.libraries),
                arguments=dict(work.arguments),
                call_seconds=seconds,
            )
            why = results.put(inputs.key, values, record)
        head = None if why else results.find(inputs.key)
    except NoKeyError as error:
        return values, f"whether it would come back as it was cannot be told: {error}", None
    except (KeepstateError, OSError, MemoryError, RecursionError) as error:
        return values, str(error) or type(error).__name__, None
    return values, why, head


_said: set[tuple[str, str]] = set()


def warn_once(name: str, why: str, say: Callable[[str], None]) -> None:
    """Say why something is not kept, once in a process; a warning never becomes an error of the call."""
    if (name, why) in _said:
        return
    _said.add((name, why))
    text = f"keepstate: the result of {name} is not kept, so it runs each time: {why}"
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
