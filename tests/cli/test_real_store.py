"""A store that a real session has written, from the first cell to the file on the desk."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import threading
import numpy as np
import keepstate

keepstate.start(store="store", project="p", interval=3600)

class Point:
    def __init__(self, x):
        self.x = x

    def doubled(self):
        return double(self.x)

def double(number):
    return 2 * number

array = np.arange(1000)
point = Point(4)
lock = threading.Lock()
lock.acquire()
keepstate.track("array", "point", "lock")
keepstate.snapshot("first")
array = array * 3
keepstate.stop()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder in which the session ran."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "session.py").write_text(SCRIPT)
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("KEEPSTATE", "JPY_"))}
    done = subprocess.run(
        [sys.executable, "session.py"], cwd=folder, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return folder / "store"


def test_log(keepstate, written):
    """The snapshots of the session are listed with their names and notes."""
    found = keepstate("log", "--store", written, "--json").document
    assert [each["note"] for each in found] == ["", "first"]
    assert all(each["names"] == ["array", "point"] for each in found)
    assert "lock" in found[0]["skipped"]


def test_sound(keepstate, written):
    """What a session writes is sound to the last byte."""
    assert keepstate("verify", "--deep", "--store", written).code == 0


def test_newest_value(keepstate, written, tmp_path):
    """Unasked, the newest value is exported."""
    done = keepstate("export", "array", "--to", "array.npy", "--store", written)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), np.arange(1000) * 3)


def test_object_of_the_script(keepstate, written, tmp_path):
    """An object whose class and functions the script defined works after its export."""
    done = keepstate("export", "point", "--to", "point.pkl", "--store", written)
    assert done.code == 0, done.err
    assert pickle.loads((tmp_path / "point.pkl").read_bytes()).doubled() == 8


def test_cells_of_a_script(keepstate, written):
    """A snapshot of a script is shown, though it has no cells."""
    newest = keepstate("log", "--store", written, "--json").document[0]["id"]
    assert keepstate("show", newest, "--store", written).code == 0
