"""Runs the real command in a process of its own, away from the variables and the home of whoever tests."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

from stores import save

CLEARED = ("KEEPSTATE", "JPY_", "COLAB", "KAGGLE", "JUPYTERHUB", "VERTEX", "CODESPACES")
"""Beginnings of variables that tell the command where it is; besides, those that change how it prints."""
CLEARED += ("COLUMNS", "FORCE_COLOR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


LOOKS = frozenset({"log", "show", "verify", "usage", "doctor"})
_seen = {}


@pytest.fixture
def keepstate(tmp_path):
    """Call the command line: ``keepstate("log", "--json")``.

    What only looks at a store that no test changes is run once, and its result is given again.
    """

    def call(*arguments, **variables):
        arguments = tuple(map(str, arguments))
        key = (arguments, *sorted(variables.items()))
        mine = any(str(tmp_path) in each for each in arguments)
        if mine or arguments[:1] not in {(each,) for each in LOOKS} or "--store" not in arguments:
            return run(arguments, variables, tmp_path)
        if key not in _seen:
            _seen[key] = run(arguments, variables, tmp_path)
        return _seen[key]

    return call


def run(arguments, variables, home):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(CLEARED)}
    done = subprocess.run(
        [sys.executable, "-m", "keepstate", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=home,
        env={**kept, "HOME": str(home), "PYTHONIOENCODING": "utf-8", **variables},
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Three snapshots of one notebook; tests only look at it."""
    path = tmp_path_factory.mktemp("cli") / "store"
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "ü", "z"]})
    held = threading.Lock()
    held.acquire()
    for number in (1, 2, 3):
        values = {
            "frame": frame,
            "holder": {"frame": frame},
            "array": np.arange(6.0) * number,
            "settings": {"rate": 0.5, "layers": [1, 2], "name": "größe", "none": None},
            "text": f"état {number}\r\n",
            "lock": held,
        }
        cells = [(1, "import numpy as np\nnp.arange(3)"), (2, "# [red]second")]
        note = "before the merge" if number == 2 else ""
        save(path, values, number=number, cells=cells, note=note)
    return path


@pytest.fixture(scope="session")
def team(tmp_path_factory):
    """Two members, of whom one has two projects; tests only look at it."""
    path = tmp_path_factory.mktemp("cli") / "team"
    save(path, {"x": 1}, number=1)
    save(path, {"x": 2}, number=2, project="q", lineage="session-2")
    save(path, {"x": 3}, number=3, member="ben", notebook="m", lineage="session-3")
    return path
