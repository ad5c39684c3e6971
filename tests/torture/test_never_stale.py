"""A state that changes in every way one could think of, and a digest of it: nothing restored is stale."""

import json
import os
import random
from pathlib import Path

import pytest
from kernels import Kernel

CELLS = int(os.environ.get("KEEPSTATE_TORTURE_CELLS", "600"))
HERE = str(Path(__file__).parent)

START = f"""
import sys; sys.path.insert(0, {HERE!r})
import json, keepstate, changing_world as world
s = keepstate.start(store='store', interval=3600, track='all')
NAMES = ('chance', 'ledger', 'people', 'nested', 'arrays', 'frame', 'alias', 'texts')
def state():
    return {{name: globals()[name] for name in NAMES}}
def keep(changed):
    globals().update(changed)
"""
BUILD = "keep(world.build({seed})); digest = world.digest(state()); ways = []"
CHANGE = """
now = state(); ways = world.change(now); keep(now); now = None; digest = world.digest(state())
kept = keepstate.snapshot(); print(json.dumps([kept.id, digest, ways]))
"""
CHECK = """
print(json.dumps([world.digest(state()), digest, dict(s.restored.failed), ways]))
"""
LOAD = """
older = keepstate.restore(*NAMES, 'digest', at={id!r})
print(json.dumps([world.digest(state()), digest, dict(older.failed)]))
"""


@pytest.mark.torture
def test_no_kept_state_differs_from_what_it_was(tmp_path):
    """After each kill the state is the one whose digest was kept with it; and so are older ones."""
    chance = random.Random(5)
    kept: list[list[object]] = []
    kernel = Kernel(tmp_path)
    kernel.run(START)
    kernel.run(BUILD.format(seed=1))
    for number in range(CELLS):
        kept.append(json.loads(kernel.run(CHANGE).text.splitlines()[-1]))
        if chance.random() > 0.12 and number + 1 < CELLS:
            continue
        kernel.kill()
        kernel = Kernel(tmp_path)
        kernel.run(START)
        found, told, failed, ways = json.loads(kernel.run(CHECK).text.splitlines()[-1])
        assert failed == {}, (number, failed)
        assert found == told == kept[-1][1], (number, ways, kept[-1])
        if chance.random() < 0.3:
            own_id, digest, ways = chance.choice(kept[-30:])
            found, told, failed = json.loads(kernel.run(LOAD.format(id=own_id)).text.splitlines()[-1])
            assert failed == {}, (number, failed)
            assert found == told == digest, (number, own_id, ways)
            now = json.loads(kernel.run(LOAD.format(id=kept[-1][0])).text.splitlines()[-1])
            assert now[0] == now[1] == kept[-1][1]
    kernel.kill()
