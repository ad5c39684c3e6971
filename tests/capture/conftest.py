"""Scenarios run in processes of their own, so that a deadlock is that process's timeout."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = [path for path in os.environ.get("KEEPSTATE_TEST_PYTHONS", "").split(":") if path]

STILL = '''
import json, os, pickle, signal, sys, threading, time, warnings
from keepstate._capture import *
from keepstate._capture import fork, random_states, stage
from keepstate._capture.watch import Limits


class Keep:
    """Pickles what *get* gives at the moment of the picture."""

    def __init__(self, get, name="it"):
        self.get, self.name = get, name

    def prepare(self, tools):
        tools.progress(self.name, 0)
        self.data = pickle.dumps(self.get())

    def write(self, tools):
        return self.data


def take(get, name="it", **options):
    return fork.take(Keep(get, name), reason="a test", **options)


def look(get):
    return pickle.loads(take(get).finish())


class Hunter(threading.Thread):
    """Asks for pictures at safe points until it has *count* of them; *found* is what each of them held."""

    def __init__(self, namespace, get, count, by_fork=True):
        super().__init__(daemon=True)
        self.namespace, self.get, self.count, self.by_fork = namespace, get, count, by_fork
        self.points = SafePoints(namespace)
        self.found, self.places, self.missed = [], [], 0
        self.going = True

    def run(self):
        try:
            while len(self.found) < self.count:
                taken = []
                def here(where):
                    self.places.append(where.line)
                    taken.append(take(self.get) if self.by_fork else self.get())
                if not self.points.request(here, deadline_seconds=5):
                    self.missed += 1
                    if self.missed > 3:
                        break
                    continue
                if self.points.trouble:
                    break
                if taken:
                    self.found.append(pickle.loads(taken[0].finish()) if self.by_fork else taken[0])
        finally:
            self.going = False


def show(value):
    print("RESULT " + json.dumps(value), flush=True)
'''


class Scenario:
    """Runs scripts with one interpreter."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python = python
        self.folder = folder
        (folder / "still.py").write_text(STILL)

    def start(self, script: str, *, prelude: bool = True, **options) -> subprocess.Popen:
        path = self.folder / "script.py"
        path.write_text(("from still import *\n" if prelude else "") + textwrap.dedent(script))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{self.folder}", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [self.python, str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            **options,
        )

    def __call__(self, script: str, *, timeout: float = 100, quiet: bool = True, **options):
        """Run *script*; return what it showed. It must end well and, if *quiet*, say nothing on stderr."""
        import json

        process = self.start(script, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"no end after {timeout} s\n{out}\n{err}")
        assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
        if quiet:
            assert not err, err
        shown = [json.loads(line[7:]) for line in out.splitlines() if line.startswith("RESULT ")]
        return shown[-1] if shown else None


@pytest.fixture
def scenario(tmp_path):
    """Runs a script with the interpreter that runs pytest."""
    return Scenario(sys.executable, tmp_path)


@pytest.fixture(params=[sys.executable, *OTHERS], ids=lambda path: "-".join(Path(path).parts[-3:-2]))
def each_python(request, tmp_path):
    """Runs a script with each interpreter whose mechanism may differ."""
    return Scenario(request.param, tmp_path)
