"""A state that comes from a far store is decoded while it comes, and is there as a whole or not at all."""

import pytest
from far_scripts import Computer
from s3_servers import FlakyProxy, rclone_server

NAMES = "project='p', member='ana', notebook='n'"

KEEP = """
import random
import keepstate

class Point:
    def __init__(self, x):
        self.x = x

big = random.Random(1).randbytes(24 << 20)
many = {{f"z{{number:03d}}": [number] for number in range(300)}}  # so that the manifest has its names apart
globals().update(many)
keepstate.start(store={store!r}, track=("big", "small", "Point", *many), {names})
keepstate.snapshot()
small = Point(3)
keepstate.snapshot()
keepstate.finish()
"""

COME_BACK = """
import random
import keepstate
session = keepstate.start(store={store!r}, {names})
print("restored:", len(session.restored.restored), session.restored.restored[:3], z299, end=" ")
print(big == random.Random(1).randbytes(24 << 20), small.x, Point)
"""

CUT = """
import threading
from pathlib import Path
import psutil
import keepstate

def cut():
    near = Path({near!r})
    while not list(near.rglob("*.pack")):
        threading.Event().wait(0.005)
    for process in psutil.Process().children():
        if any("errand" in word for word in process.cmdline()):
            process.kill()

before = set(globals()) | {{"cutting", "session"}}
cutting = threading.Thread(target=cut)
cutting.start()
session = keepstate.start(store={store!r}, {names})
cutting.join()
print("restored:", session.restored, sorted(set(globals()) - before - {{"before"}}))
print("here:", [each.id for each in session._kept.here()])
keepstate.restore()
print("afterwards:", len(big), small.x)
keepstate.stop(snapshot=False)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with rclone_server(tmp_path_factory.mktemp("server")) as found:
        found.create_bucket("bucket")
        yield found


@pytest.fixture
def computer(server, tmp_path):
    """A computer that has lost all, but whose state is at a far store."""
    with Computer(tmp_path / "computer", **server.credentials) as found:
        found.must(KEEP.format(store=server.address("bucket", tmp_path.name), names=NAMES))
        found.wipe()
        yield found


@pytest.mark.slow
def test_everything_comes_back_with_its_definitions(computer, server, tmp_path):
    """What was decoded while it came is what was kept."""
    said = computer.must(COME_BACK.format(store=server.address("bucket", tmp_path.name), names=NAMES))
    assert (
        said.splitlines()[-1]
        == "restored: 303 ('Point', 'big', 'small') [299] True 3 <class '__main__.Point'>"
    )


@pytest.mark.slow
def test_what_is_cut_off_on_its_way_binds_nothing(computer, server, tmp_path):
    """Neither names nor definitions, though some have come; and asking once more brings all of it."""
    with FlakyProxy(server.port) as proxy:
        proxy.delay_seconds = 0.1
        store = server.address("bucket", tmp_path.name, url=proxy.url)
        near = str(computer.home / "state")
        said = computer.must(CUT.format(store=store, names=NAMES, near=near))
    assert "could not be brought from the store" in said
    lines = said.splitlines()
    assert "restored: None []" in lines
    assert "here: []" in lines
    assert "afterwards: 25165824 3" in lines


@pytest.mark.slow
def test_what_is_damaged_here_is_brought_again(server, tmp_path):
    """A bit that has turned over on this disk costs nothing that the store has."""
    store = server.address("bucket", tmp_path.name)
    with Computer(tmp_path / "computer", **server.credentials) as computer:
        computer.must(KEEP.format(store=store, names=NAMES))
        computer.end()
        largest = max(computer.near().rglob("*.pack"), key=lambda path: path.stat().st_size)
        raw = bytearray(largest.read_bytes())
        raw[len(raw) // 2] ^= 1
        largest.write_bytes(raw)
        said = computer.must(COME_BACK.format(store=store, names=NAMES))
    assert "is damaged here" in said
    assert said.splitlines()[-1].startswith("restored: 303 ('Point', 'big', 'small') [299] True 3")


LOSE = """
import random
import keepstate
from keepstate.backends import open_backend, read_address
big = random.Random(1).randbytes(24 << 20)
small = 3
session = keepstate.start(store={store!r}, track=("big", "small"), {names})
keepstate.snapshot()
assert session._far.flush(deadline_seconds=60)
assert keepstate.status().durability == "verified"
far = open_backend(read_address({store!r}), session._far.credentials)
for each in list(far.list()):
    if each.name.endswith(".pack"):
        far.delete(each.name)
print(keepstate.finish().durability)
"""


@pytest.mark.slow
def test_what_was_verified_and_is_gone_there_is_sent_again_before_the_end(server, tmp_path):
    """``finish()`` looks once more, instead of repeating what was true before."""
    store = server.address("bucket", tmp_path.name)
    with Computer(tmp_path / "computer", **server.credentials) as computer:
        said = computer.must(LOSE.format(store=store, names=NAMES))
        assert said.splitlines()[-1] == "verified"
        computer.wipe()
        said = computer.must(
            f"import random, keepstate\n"
            f"s = keepstate.start(store={store!r}, {NAMES})\n"
            f"print(big == random.Random(1).randbytes(24 << 20), small)"
        )
        assert said.splitlines()[-1] == "True 3"
