"""States of a given size, as cells that build them and cells that change a little of them.

Contents are cheap to compress where it is not said otherwise: a stall does not depend on them.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

PIECES = 8
"""Variables among which a state is divided."""


@dataclass(frozen=True, slots=True)
class State:
    """A state, as cells."""

    name: str
    build: str
    change: str
    """Changes something else each time that *turn* is another number."""
    tracked: tuple[str, ...]


def has_torch() -> bool:
    """Whether torch is installed here; what needs it has a stand-in or is left out."""
    return importlib.util.find_spec("torch") is not None


def arrays(gigabytes: float) -> State:
    """Arrays of 8-byte floats; large ones have huge pages."""
    rows = int(gigabytes * 1e9 / 8 / PIECES)
    build = "import numpy as np\n" + "\n".join(
        f"a{i} = np.arange({i}, {i + rows}, dtype='float64')" for i in range(PIECES)
    )
    return State("arrays", build, "a0[turn] += 1", tuple(f"a{i}" for i in range(PIECES)))


def frames(gigabytes: float) -> State:
    """Frames of ten columns of 8-byte floats."""
    rows = int(gigabytes * 1e9 / 80 / PIECES)
    build = "import numpy as np, pandas as pd\n" + "\n".join(
        f"f{i} = pd.DataFrame({{f'c{{j}}': np.arange(j, j + {rows}, dtype='float64') for j in range(10)}})"
        for i in range(PIECES)
    )
    return State("frames", build, "f0.iloc[turn, 0] += 1", tuple(f"f{i}" for i in range(PIECES)))


def model(gigabytes: float) -> State:
    """A model and its Adam: three tensors a parameter, on 4 KiB pages; without torch as many small arrays."""
    side = 1024
    layers = max(1, int(gigabytes * 1e9 / 3 / 4 / side**2))
    if not has_torch():
        build = f"""
import numpy as np
model, first, second = ([np.zeros(({side}, {side}), "float32") for _ in range({layers})] for _ in range(3))
"""
        return State("arrays of a model", build, "model[0][0, turn] += 1", ("model", "first", "second"))
    build = f"""
import torch
model = torch.nn.Sequential(*[torch.nn.Linear({side}, {side}, bias=False) for _ in range({layers})])
opt = torch.optim.Adam(model.parameters(), lr=1e-4)
for parameter in model.parameters():
    parameter.grad = torch.zeros_like(parameter)
opt.step()
opt.zero_grad(set_to_none=True)
del parameter
"""
    change = "with torch.no_grad(): model[0].weight[0, turn] += 1"
    return State("torch model, Adam", build, change, ("model", "opt"))


def entries(count: int) -> State:
    """A dict of so many short lists."""
    build = f"d = {{f'key_{{i:08d}}': [i, i % 7] for i in range({count})}}"
    return State(f"dict of {count:,} lists", build, "d['key_00000007'].append(turn)", ("d",))


def records(count: int) -> State:
    """A list of so many instances of a dataclass of the notebook."""
    build = f"""
from dataclasses import dataclass
@dataclass
class Record:
    id: int
    name: str
    score: float
    tags: list
records = [Record(i, f"n{{i}}", i * 0.5, ["a", i % 3]) for i in range({count})]
"""
    return State(f"{count:,} dataclass instances", build, "records[turn].score = -1.0", ("records",))
