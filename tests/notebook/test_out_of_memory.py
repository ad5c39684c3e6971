"""Kernels and scripts that fill a control group until they are killed, beside a twin without this package."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from kernels import Kernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's"),
]

MiB = 1 << 20
LIMIT_MIB = 700
OWN_MIB = 60
"""What importing this package takes beside numpy: 34 MiB measured, and a child's beginning."""
TIMEOUT = 100


# -- control groups ------------------------------------------------------------------------------------


@pytest.fixture
def tmp_path(on_disk):
    """What is written to a folder in memory would be counted as the group's."""
    return on_disk


@dataclass
class Group:
    """A memory group below that of the tests."""

    folder: Path

    def wrap(self, command):
        """The command that puts itself into the group and becomes *command*."""
        return ["sh", "-c", f'echo 0 > {self.folder}/cgroup.procs && exec "$@"', "sh", *command]

    def limit(self, mebibytes):
        """Set the limit, and have no swap."""
        if (self.folder / "memory.max").exists():
            with contextlib.suppress(OSError):
                (self.folder / "memory.swap.max").write_text("0")
            (self.folder / "memory.max").write_text(str(mebibytes * MiB))
        else:
            (self.folder / "memory.swappiness").write_text("0")
            (self.folder / "memory.limit_in_bytes").write_text(str(mebibytes * MiB))

    def processes(self):
        """Who is in it."""
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def remove(self):
        """End whoever is left, and delete it."""
        for _ in range(200):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                self.folder.rmdir()
            except OSError:  # the last of them is still ending
                threading.Event().wait(0.05)
            else:
                return
        raise AssertionError(f"{self.folder} cannot be removed: {self.processes()}")


def _own_folders():
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from (root / "memory" / name.strip("/"), root / "memory")
        elif not controllers and (root / "cgroup.controllers").exists():
            yield from (root / name.strip("/"), root)


def _new_group(name):
    """Make one where that is allowed, else skip."""
    why = "there is no memory controller"
    for parent in _own_folders():
        folder = parent / f"keepstate-{os.getpid()}-{name}"
        try:
            if (parent / "cgroup.subtree_control").exists():
                (parent / "cgroup.subtree_control").write_text("+memory")
            folder.mkdir()
        except OSError as error:
            why = f"{parent}: {error.strerror}"
            continue
        group = Group(folder)
        try:
            group.limit(LIMIT_MIB)
        except OSError as error:
            group.remove()
            why = f"{parent}: {error.strerror}"
            continue
        return group
    pytest.skip(f"no control group can be made here ({why})")


@pytest.fixture
def group():
    """Make control groups; those who are in them at the end are killed."""
    made = []

    def make(name):
        made.append(_new_group(name))
        return made[-1]

    yield make
    for one in made:
        one.remove()


# -- what fills them -----------------------------------------------------------------------------------

JOB = """
    import os, time
    import numpy as np
    log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    random = np.random.default_rng()

    def block(mebibytes):
        return np.frombuffer(random.bytes(mebibytes << 20), dtype=np.uint8).copy()

    def step(number):
        while time.monotonic() < began + number * size / speed:
            time.sleep(0.001)
        ballast.append(block(size))
        steps.append((number, time.time()))
        os.write(log, b"%d %f\\n" % steps[-1])
        return False
    """
FILL = """
    speed, size = {speed}, max(1, {speed} // 30)
    for _ in range({first} // 10):
        ballast.append(block(10))
    began = time.monotonic()
    """
LOOP = """
    number = 0
    while True:
        number += 1
        while time.monotonic() < began + number * size / speed:
            time.sleep(0.001)
        ballast.append(block(size))
        steps.append((number, time.time()))
        os.write(log, b"%d %f\\n" % steps[-1])
    """
CALL = """
    import itertools
    any(map(step, itertools.count(1)))
    """


def code(*pieces, **values):
    """Put a program together."""
    return "".join(textwrap.dedent(piece) for piece in pieces).format(**values)


def start_script(group, folder, text):
    """Run a script in a group of its own."""
    folder.mkdir()
    (folder / "script.py").write_text(text)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KEEPSTATE")}
    return subprocess.Popen(
        group.wrap([sys.executable, "script.py"]),
        cwd=folder,
        env={**environment, "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def was_killed(process):
    """Wait for the end of a script."""
    said, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGKILL, said.decode()


def last_step(log):
    """Number and time of the last step that was reached."""
    number, when = log.read_text().splitlines()[-1].split()
    return int(number), float(when)


READ = """
import keepstate
keepstate.start(store='store', restore='off')
newest = keepstate.snapshots()[0]
assert newest.reason == 'memory', newest
print(*keepstate.load('steps', at=newest)[-1], newest.consistency)
"""


def kept_step(folder):
    """Number, time and consistency of the last step in the newest snapshot."""
    reading = subprocess.run(
        [
            sys.executable,
            "-c",
            READ,
        ],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert reading.returncode == 0, reading.stderr
    number, when, consistency = reading.stdout.splitlines()[-1].split()
    return int(number), float(when), consistency


START = "import keepstate\nkeepstate.start(store='store', interval=3600)\n"
EMPTY = "steps = []; ballast = []\n"


# -- tests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "first", "tracked", "body", "lost_seconds"),
    [
        # A child wants 32 MiB and the page tables, 7 s at this speed; the picture before is up to 1 s old.
        pytest.param(5, 560, "'steps'", LOOP, 8.0, id="5-MiB-a-second", marks=pytest.mark.torture),
        pytest.param(
            30,
            480,
            "'steps', 'ballast'",
            LOOP,
            4.0,
            id="30-MiB-a-second-all-tracked",
            marks=pytest.mark.torture,
        ),
        pytest.param(150, 150, "'steps'", LOOP, 2.0, id="150-MiB-a-second", marks=pytest.mark.torture),
        pytest.param(
            30, 520, "'steps'", CALL, 4.0, id="30-MiB-a-second-inside-one-call", marks=pytest.mark.torture
        ),
    ],
)
def test_a_killed_script_has_lost_only_its_last_moments(
    group, tmp_path, speed, first, tracked, body, lost_seconds
):
    """However fast memory fills, a snapshot is there from just before, and the kill comes no earlier."""
    log = {True: tmp_path / "guarded.log", False: tmp_path / "twin.log"}
    values = {"speed": speed, "first": first}
    guarded = start_script(
        group("guarded"),
        tmp_path / "guarded",
        code(START, EMPTY, f"keepstate.track({tracked})\n", JOB, FILL, body, log=str(log[True]), **values),
    )
    # It only has to reach its last step, so it need not be slow.
    values["speed"] = max(30, speed)
    twin = start_script(
        group("twin"), tmp_path / "twin", code(EMPTY, JOB, FILL, body, log=str(log[False]), **values)
    )
    was_killed(guarded)
    was_killed(twin)
    (reached, died), (reached_by_twin, _) = last_step(log[True]), last_step(log[False])
    _, kept, consistency = kept_step(tmp_path / "guarded")
    assert died - kept <= lost_seconds
    assert (reached_by_twin - reached) * max(1, speed // 30) <= OWN_MIB
    if body is CALL:  # a function that C code calls is no safe point
        assert consistency == "operation"


def test_a_killed_kernel_comes_back_with_what_it_had_just_before(group, tmp_path, monkeypatch):
    """The next session begins with the state of a moment before, from inside the cell that was killed."""
    home = group("kernel")
    # The kernel's own program is replaced, so that it is in the group before its first page.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho 0 > {home.folder}/cgroup.procs && exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        first = Kernel(tmp_path)
    try:
        assert first.pid in home.processes()
        first.run(START)
        first.run(code(EMPTY, "keepstate.track('steps')\n", JOB, log=str(tmp_path / "log")))
        first.send(code(FILL, LOOP, speed=30, first=450))
        ended = threading.Event()
        for _ in range(TIMEOUT * 10):
            if first.pid not in home.processes():
                break
            ended.wait(0.1)
        else:
            raise AssertionError("the kernel was not killed")
    finally:
        first._close()
    _, died = last_step(tmp_path / "log")
    second = Kernel(tmp_path)
    try:
        said = second.run(START).text
        assert "statement: inside cell" in said
        kept = float(second.run("print(steps[-1][1])").text)
    finally:
        second.end()
    assert died - kept <= 4.0
