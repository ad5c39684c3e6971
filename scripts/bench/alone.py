"""Run a function in a process of its own, so that nothing of the last measurement is left in it.

Virtual machines give free memory back to their host within seconds, and get it again page by page: here 2 GiB
took up to 5 s to be written to for the first time, and 0.3 s for the second. So who is compared with somebody
begins after the same pause (*cold*, as on a new machine), or follows at once upon a process of the same size
(*warm*, as after a restart of the kernel).
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from threading import Event
from typing import TYPE_CHECKING, Any

from bench.section import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COLD_SECONDS = 6.0
"""Measured here: 2 s after it was freed, memory came back at 2 GB/s, after 10 s at 0.6, after 30 s at 0.5.
What counts is that everyone waits for the same time."""


def pause(seconds: float) -> None:
    """Let the machine come to rest."""
    Event().wait(seconds)


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds that *call* takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a process that is measured: nothing of the user's settings of keepstate."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KEEPSTATE", "JPY_"))}
    return {**kept, "PYTHONPATH": str(ROOT / "scripts"), **more}


def alone(
    function: Callable[..., object],
    given: Mapping[str, object],
    *,
    cold: bool = False,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Any:
    """Give what *function* returns in a process of its own.

    Args:
        function: Of the top level of a module; takes and returns what JSON can hold.
        given: What it is called with, by name.
        cold: Pause first.
        env: More of its environment.
        python: Its interpreter.

    Raises:
        RuntimeError: It failed; with its output.
    """
    if cold:
        pause(COLD_SECONDS)
    command = [python, "-m", "bench.alone", function.__module__, function.__name__, json.dumps(given)]
    done = subprocess.run(command, env=surroundings(**(env or {})), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{function.__module__}.{function.__name__} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    module, name, given = sys.argv[1:]
    found = getattr(importlib.import_module(module), name)(**json.loads(given))
    print("\n" + json.dumps(found), flush=True)
    os._exit(0)  # nothing at exit: what is measured is over


if __name__ == "__main__":
    _main()
