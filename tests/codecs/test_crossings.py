"""Streams of other Pythons and libraries, kept in ``tests/data/crossings``, decoded under this one.

They were written by ``scripts/crossings/inside.py keep``; ``make crossings`` crosses all stacks for real.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data/crossings"
STACKS = ("py311-np126-pd22", "py313-newest")
MAY_BE_REPORTED = {
    "generic_function": "syntax of Python 3.12",
    "nested_quotes_in_an_fstring": "syntax of Python 3.12",
    "grouped_frame": "internals of pandas 3 under pandas 2",
    "string_dtype_array": "numpy 2 has that dtype, 1.26 has not",
    "interpolator": "internals of scipy",
}
MAY_FAIL_IN_USE = {"interpolator": "an older scipy takes the attributes of a newer one, and misses its own"}
"""That the versions differ is told when it is restored."""


@pytest.fixture(scope="module", params=STACKS)
def crossed(request, tmp_path_factory):
    """What each case was like, and what it is like here; decoded in a process of its own."""
    for library in ("pandas", "sklearn", "scipy"):
        pytest.importorskip(library)
    answer = tmp_path_factory.mktemp("crossings") / "answer.json"
    inside = ROOT / "scripts/crossings/inside.py"
    subprocess.run(
        [sys.executable, str(inside), "check", str(DATA / f"{request.param}.zlib"), str(answer)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return json.loads((DATA / f"{request.param}.json").read_text()), json.loads(answer.read_text())


def test_nothing_comes_back_as_something_else(crossed):
    """What was decoded is what was kept, by all that is looked at."""
    was, found = crossed
    del found["numbers_of_the_global_generators"]  # a snapshot has them beside its streams
    wrong = {
        kind: (was[kind], told)
        for kind, told in found.items()
        if "look" in told and told["look"] != was[kind]["look"]
    }
    assert wrong == {}
    assert len(found) > 100


def test_only_what_cannot_be_is_reported(crossed):
    """With a reason; a library that is not installed here is one."""
    _, found = crossed
    reported = {kind: told for kind, told in found.items() if "look" not in told}
    missing = {kind for kind, told in reported.items() if "cannot be imported" in str(told.get("failed"))}
    assert reported.keys() - MAY_BE_REPORTED.keys() - missing == set(), reported
    failing = {kind for kind, told in reported.items() if "error" in told}
    assert failing - MAY_FAIL_IN_USE.keys() == set(), reported
