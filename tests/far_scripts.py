"""A computer whose scripts keep their state at a far store: its own home, its own variables, its own end.

All its processes are told by a variable that they inherit, so that those are found, too, which have left the
script behind.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
from s3_servers import wait_until

_MARK = "TEST_COMPUTER"
_STRANGE = (
    "KEEPSTATE",
    "JPY_",
    "COLAB",
    "KAGGLE",
    "JUPYTERHUB",
    "VERTEX",
    "TBE_",
    "AWS_",
    "GOOGLE",
    "GDRIVE",
)
_STRANGE += ("AZURE", "COLUMNS", "FORCE_COLOR", "PYTHONPATH")
"""Beginnings of variables of whoever tests that would say where this is, or hold keys."""
SECONDS = 120
"""That anything may take on a busy machine."""


class Computer:
    """One computer; a context manager that ends all that runs there."""

    def __init__(self, folder, **variables):
        self.folder = Path(folder)
        self.home, self.work = self.folder / "home", self.folder / "work"
        for each in (self.home, self.work):
            each.mkdir(parents=True)
        self._token = secrets.token_hex(8)
        outside = {key: value for key, value in os.environ.items() if not key.startswith(_STRANGE)}
        self.variables = {
            **outside,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": "300",
            _MARK: self._token,
            **variables,
        }

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def run(self, code, **variables):
        """Run a script to its end, well or not."""
        path = self.work / "script.py"
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        return self._run([sys.executable, str(path)], variables)

    def must(self, code, **variables):
        """Run a script that must end well and say nothing on stderr; give what it printed."""
        done = self.run(code, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def keepstate(self, *words, **variables):
        """Run the command line."""
        return self._run([sys.executable, "-m", "keepstate", *map(str, words)], variables)

    def _run(self, command, variables):
        environment = {key: value for key, value in (self.variables | variables).items() if value is not None}
        return subprocess.run(
            command,
            cwd=self.work,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )

    def processes(self):
        """All that runs here."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self._token and process.status() != "zombie":
                    found.append(process)
        return found

    def end(self):
        """End what still runs, as when the power goes."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), "everything has ended")

    def near(self):
        """The repository of this computer, of which there is one."""
        (found,) = (self.home / "state" / "keepstate" / "near").iterdir()
        return found

    def wipe(self):
        """Lose all that was kept here."""
        self.end()
        shutil.rmtree(self.home / "state", ignore_errors=True)
