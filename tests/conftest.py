"""What every test relies on."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# A shell that starts a command in the background has it ignore interrupts, nohup has it ignore SIGHUP, and
# children inherit that: scripts that wait for one of them would wait for ever.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# Stores that were used are noted in a file of the user's; those of tests are not worth it.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="keepstate-tests-")

# Every kernel and every script imports the package, and should not have to compile it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MEMORY = Path("/dev/shm")
ROOM_BYTES = 3 << 30


def pytest_configure(config):
    """Have folders of tests in memory, where there is room: no test here can see that something was synced.

    Power cuts are simulated. Campaigns, and tests that ask for *on_disk*, have a disk.
    """
    if config.getoption("markexpr") == "torture" or not MEMORY.is_dir():
        return
    if shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items):
    """Begin with what takes long, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def on_disk():
    """An empty folder where temporary files usually are."""
    with tempfile.TemporaryDirectory(prefix="keepstate-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
