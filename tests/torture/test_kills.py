"""Kernel and children killed at random instants under load: what was kept is whole, every time."""

import json
import os
import random
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from kernels import Kernel

ROUNDS = int(os.environ.get("KEEPSTATE_TORTURE_ROUNDS", "300"))

START = "import keepstate\ns = keepstate.start(store='store', interval=0.1, track='all')"
LOAD = """
import numpy as np
if 'step' not in globals():
    step, big, table, log = 0, np.zeros(2_000_000), {i: [i] for i in range(20_000)}, []
while True:
    step += 1
    big[(step * 7919) % 1900:][:1000] = step; table[step % 20_000] = [step]
    log.append(step); pair = (step, step * 2)
    if step % 50 == 0: print('step', step, flush=True)
"""
CHECK = """
import json, numpy as np
print(json.dumps({
    'step': step, 'log': all(a < b for a, b in zip(log, log[1:])), 'behind': step - log[-1],
    'pair': pair[1] == 2 * pair[0], 'table': len(table) == 20_000, 'failed': dict(s.restored.failed),
    'from': s.restored.snapshot.consistency,
}))
"""


def family(token):
    """The kernel and every child of it that has left its process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("KEEPSTATE_TORTURE_TOKEN") == token:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def kill_family(token):
    for process in family(token):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.torture
def test_whatever_instant_it_is_killed_at_the_state_is_whole(tmp_path):
    """After each kill everything verifies deeply, and the next kernel has a state that once was."""
    chance = random.Random(1)
    last = 0
    for round_ in range(ROUNDS):
        token = f"{os.getpid()}-{round_}"
        kernel = Kernel(tmp_path, KEEPSTATE_TORTURE_TOKEN=token)
        kernel.run(START)
        if round_:
            seen = json.loads(kernel.run(CHECK).text)
            assert seen["failed"] == {}, seen
            assert seen["pair"], seen
            assert seen["table"], seen
            if seen["from"] != "operation":
                assert seen["log"], seen
                assert seen["behind"] in (0, 1), seen
            assert seen["step"] >= last, "a snapshot that was reported as kept is gone"
            last = seen["step"]
        message = kernel.send(LOAD)
        kernel.wait_for(message, "step")
        while len([*tmp_path.rglob("*.manifest")]) < 2:  # the first is of a notebook without any state
            threading.Event().wait(0.05)
        threading.Event().wait(chance.uniform(0, 1.5))  # the random instant
        if round_ % 3 == 2:
            os.kill(kernel.pid, signal.SIGKILL)  # the child goes on alone
        else:
            kill_family(token)
        kernel.kill()
        verify = subprocess.run(
            [sys.executable, "-m", "keepstate", "verify", "--deep", "--store", "store", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert verify.returncode == 0, verify.stdout + verify.stderr
