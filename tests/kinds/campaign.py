"""The kinds of one library in real kernels: build, snapshot, change, snapshot, kill, restore, compare."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kernels import Kernel

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one kind."""

    kind: object
    outcome: str
    detail: str = ""
    """Why it is reported, or what is wrong."""
    is_data: bool = False
    """Whether no code runs when it is read."""

    @property
    def as_expected(self):
        """Whether it is what the kind says, and, if it is not kept, for the reason given there."""
        return self.outcome == self.kind.expected and self.kind.why.lower() in self.detail.lower()


def run(library, place):
    """Return the result of each kind of the library."""
    place.mkdir(parents=True, exist_ok=True)
    names = {f"kind_{number}": kind for number, kind in enumerate(library.kinds)}
    table = {name: (kind.build, kind.change, kind.comparison, kind.use) for name, kind in names.items()}
    inside = f"import sys; sys.path.insert(0, {str(HERE)!r}); import inside, keepstate"
    store = str(place / "store")

    def judge(names, load):
        return f"inside.judge(globals(), {library.imports!r}, {table!r}, {names!r}, {load})"

    looked_at = [name for name, kind in names.items() if kind.expected == "kept" or kind.same]
    with Kernel(place) as kernel:
        kernel.run(f"{library.imports}\nanchor = 1")  # there is a snapshot if nothing else can be kept
        kernel.run(inside)
        kernel.run(
            f"keepstate.start(store={store!r}, notebook='kinds', interval=3600, restore='off', "
            f"track={['anchor', *names]!r})"
        )
        for name, kind in names.items():
            kernel.run(f"{kind.build}\n{name} = x")
        kernel.run("del x\nkeepstate.snapshot()")
        for name, kind in names.items():
            if kind.change:
                kernel.run(f"x = {name}\n{kind.change}\n{name} = x\ndel x")
        kernel.run("taken = keepstate.snapshot()")
        skipped = kernel.evaluate("dict(taken.skipped)")
        unharmed = json.loads(kernel.evaluate(judge(looked_at, None)))  # no cell: it is not kept
        kernel.kill()
    with Kernel(place) as kernel:
        kernel.run(inside)
        kernel.run(
            f"session = keepstate.start(store={store!r}, notebook='kinds', interval=3600, restore='eager')"
        )
        failed = kernel.evaluate("dict(session.restored.failed)")
        bound = [name for name in names if name not in skipped and name not in failed]
        wrong = json.loads(kernel.evaluate(judge(bound, "keepstate.load")))
        data = json.loads(
            kernel.evaluate(
                f"inside.read_as_data(globals(), {library.imports!r}, {table!r}, {bound!r}, "
                "lambda name: keepstate.load(name, data_only=True), keepstate.errors.TrustError)"
            )
        )
        wrong |= {name: why for name, why in data.items() if why}
        lost = [name for name, kind in names.items() if kind.expected == "rebuilt" and name not in bound]
        kernel.run(f"{library.imports}\nrebuilt = keepstate.rebuild(*{lost!r}).run() if {lost!r} else None")
        made = [name for name in lost if kernel.evaluate(f"{name!r} in globals()")]
        wrong |= json.loads(kernel.evaluate(judge(made, None)))
    why = {**failed, **skipped}
    return [
        _result(kind, name, why.get(name), unharmed, wrong, name in made, name in data)
        for name, kind in names.items()
    ]


def _result(kind, name, why, unharmed, wrong, rebuilt, is_data):
    if unharmed.get(name):
        return Result(kind, "wrong", f"capturing has changed it: {unharmed[name]}")
    if wrong.get(name):
        return Result(kind, "wrong", wrong[name])
    if why is None:
        return Result(kind, "kept", is_data=is_data)
    return Result(kind, "rebuilt" if rebuilt else "reported", why)
