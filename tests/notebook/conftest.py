"""Lets the tests here import the helpers beside them, and starts kernels for some of them."""

import sys
from pathlib import Path

import pytest
from kernels import Kernel

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def guarded(tmp_path):
    """Start guarded kernels in one folder; what still lives at the end is killed."""
    started = []

    def start(*, then="", **arguments):
        one = Kernel(tmp_path)
        started.append(one)
        given = "".join(f", {name}={value!r}" for name, value in arguments.items())
        one.said = one.run(
            f"import keepstate\ns = keepstate.start(store='store', interval=0.3{given}){then}"
        ).text
        return one

    yield start
    for one in started:
        one.end()
