"""A real server culls a guarded kernel when it would have culled it anyway, and the state is there."""

import re
from datetime import datetime

import pytest
from jupyter_servers import JupyterServer, wait_until

from keepstate._repository import Repository

IDLE_SECONDS = 4
START = f"""
import keepstate
s = keepstate.start(store='store', interval=0.5, limits={{'idle_seconds': {IDLE_SECONDS}}},
                    track=['ticks', 'model'])
"""
WORK = """
import threading, time
def tick():
    while True:
        ticks.append(len(ticks)); time.sleep(0.05)
model, ticks = {'trained': True}, []
threading.Thread(target=tick, daemon=True, name='ticking').start()
"""


@pytest.fixture
def server(tmp_path):
    """A server that culls what was idle for some seconds, also with a tab open."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "guarded").mkdir()
    with JupyterServer(
        tmp_path,
        f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS}",
        "--MappingKernelManager.cull_interval=1",
        "--MappingKernelManager.cull_connected=True",
    ) as server:
        yield server


@pytest.mark.slow
def test_a_guarded_kernel_is_culled_like_any_other_and_comes_back(server, tmp_path):
    """Timers, saves and looks at the server are no activity, although state changes all the time."""
    plain, guarded = (server.start_kernel(tmp_path / name) for name in ("plain", "guarded"))
    guarded.run(START + WORK)
    plain.run(WORK)
    server.settle(guarded.id)
    seen = {plain.id: set(), guarded.id: set()}

    def all_gone():
        about = server.kernels()
        for kernel in about.keys() & seen.keys():
            seen[kernel].add(about[kernel]["last_activity"])
        return not about

    wait_until(all_gone, "both kernels are culled")
    for kernel in (plain, guarded):
        kernel.close()

    # The server saw nothing of the guard: its clock for that kernel stood still from the cell on.
    (last_activity,) = map(datetime.fromisoformat, seen[guarded.id])
    idle = {
        kernel: int(seconds)
        for kernel, seconds in re.findall(
            r"Culling 'idle' kernel '[^']*' \(([-\w]+)\) .* due to (\d+) seconds", server.log.read_text()
        )
    }
    # One second until it looks, and the one that is culled first keeps it waiting while it ends.
    assert IDLE_SECONDS <= idle[plain.id] <= IDLE_SECONDS + 4
    assert IDLE_SECONDS <= idle[guarded.id] <= IDLE_SECONDS + 4

    # And all that time it was at work.
    kept = Repository.open(tmp_path / "guarded" / "store", create=False).manifests()
    after = {m.id: (datetime.fromisoformat(m.created_at) - last_activity).total_seconds() for m in kept}
    ahead = [m for m in kept if 0.5 < after[m.id] < IDLE_SECONDS]
    assert len(ahead) >= 3
    # The last one where something else on this machine takes its memory.
    assert {m.reason for m in ahead} <= {"cell", "timer", "idle", "memory"}
    assert all(m.names.keys() == {"model", "ticks"} for m in ahead)

    again = server.start_kernel(tmp_path / "guarded")
    assert "restored" in again.run(START).text
    text = again.run("print(model, ticks == list(range(len(ticks))), len(ticks))").text
    again.close()
    assert text.startswith("{'trained': True} True ")
    assert int(text.split()[-1]) > (IDLE_SECONDS - 1) / 0.05 / 4  # slow machines tick less often
