"""Real Jupyter servers for the tests, on loopback, and the kernels that they start."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import warnings
from datetime import datetime, timedelta
from threading import Event

import requests
from jupyter_client.blocking.client import BlockingKernelClient
from kernels import TIMEOUT, Kernel

from keepstate._base.clock import SYSTEM_CLOCK

TOKEN = "4f1c0ffee"


def wait_until(holds, what, seconds=TIMEOUT):
    """Return once *holds* gives something true, and give that."""
    until = SYSTEM_CLOCK.monotonic() + seconds
    while not (found := holds()):
        assert SYSTEM_CLOCK.monotonic() < until, f"in vain: {what}"
        Event().wait(0.02)
    return found


class JupyterServer:
    """Runs while the block of ``with`` does, with all its folders in *folder*."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        self.log = folder / "server.log"
        self.runtime = folder / "runtime"
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("KEEPSTATE", "JPY_", "JUPYTER"))},
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / ".ipython"),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_TOKEN": TOKEN,
        }
        self._arguments = arguments

    def __enter__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                    *(
                        f"--ServerApp.port={port}",
                        "--ServerApp.ip=127.0.0.1",
                        "--ServerApp.jpserver_extensions={}",
                    ),
                    *self._arguments,
                ],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = wait_until(self._address, "the server starts")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _address(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            url = json.loads((self.runtime / f"jpserver-{self.process.pid}.json").read_text())["url"]
            self.ask("api/status", url=url)
        except (OSError, ValueError):  # not written yet, or not answering yet
            return None
        return url

    def __exit__(self, *exc):
        self.process.terminate()  # it shuts its kernels down, and then itself
        self.process.wait(TIMEOUT)

    def kill(self):
        """``kill -9``: the file that describes it stays."""
        self.process.kill()
        self.process.wait(TIMEOUT)

    def ask(self, path, *, url=None, method="GET", track=False, **options):
        """Send a request of ours, which is no activity unless *track* is true."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method,
                (url or self.url) + path,
                params={} if track else {"no_track_activity": "1"},
                headers={"Authorization": f"token {TOKEN}"},
                timeout=TIMEOUT,
                **options,
            )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def kernels(self):
        """Give what it says of each kernel that it has, by id."""
        return {about["id"]: about for about in self.ask("api/kernels")}

    def last_activity(self, kernel_id):
        """Give what its REST answer says of one kernel."""
        return datetime.fromisoformat(self.ask(f"api/kernels/{kernel_id}")["last_activity"])

    def settle(self, kernel_id):
        """Return once it has taken in the last message of a cell that has ended."""
        quiet = timedelta(seconds=0.5)  # its loop reads messages and answers us in turn
        wait_until(lambda: SYSTEM_CLOCK.utc_now() - self.last_activity(kernel_id) > quiet, "it is quiet")

    def start_kernel(self, folder):
        """Have it start a kernel in *folder*, which is in its own."""
        path = str(folder.relative_to(self.folder))
        about = self.ask("api/kernels", method="POST", track=True, json={"name": "python3", "path": path})
        return ServedKernel(self, about["id"], folder)


class ServedKernel(Kernel):
    """A kernel that a server has started; cells are sent past the server, which sees what they send."""

    def __init__(self, server, kernel_id, cwd):
        self.id = kernel_id
        self.cwd = cwd
        self._manager = None
        file = server.runtime / f"kernel-{kernel_id}.json"
        wait_until(file.exists, "the kernel starts")
        self.client = BlockingKernelClient(connection_file=str(file))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)
        self.pid = int(self.run("import os; print(os.getpid())").text)

    def close(self):
        """Leave it alone from now on."""
        self.client.stop_channels()
        with warnings.catch_warnings():
            # What the older clients leave open is closed here, and not in the middle of another test.
            warnings.simplefilter("ignore", ResourceWarning)
            self.client = None
            gc.collect()
