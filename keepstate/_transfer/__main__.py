"""The start of the process that transfers. Run by :mod:`keepstate._transfer.launch`, not by hand.

Its one argument is the folder of the repository. What must not be seen in a list of processes comes through
the standard input. What it prints goes to a small file, without the secrets.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._base.word import Word
from keepstate._transfer.agent import Agent
from keepstate._transfer.commission import Commission, read_commission
from keepstate._transfer.folder import Claim, Folder, Process
from keepstate._transfer.lock import Lock
from keepstate.backends import Credentials, read_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._base.clock import Flag
    from keepstate._transfer.work import Work

NICENESS = 10
"""Below the kernel's own work, above the saving of a snapshot (19): that one must not wait for a network."""
SOONER_KILLED = b"500"
"""For the kernel that runs out of memory: rather us than the user's process; we are started again."""
MOST_LOG_BYTES = 1 << 20


def main() -> None:
    """Do all of it, and end without waiting for any thread."""
    code = 1
    try:
        _serve(Path(sys.argv[1]))
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends in any case; this is how it is told
        sys.excepthook(*sys.exc_info())
    finally:
        # Not by the usual way: a thread of a library that waits for a network would be waited for.
        os._exit(code)


def _serve(near: Path) -> None:
    stop = Word()
    _settle(stop)
    commission = read_commission(_standard_input())
    known = set(sys.path)
    sys.path += [entry for entry in commission.search if entry not in known]

    credentials = Credentials(commission.credentials)
    sys.stdout = sys.stderr = _Discreet(credentials.redact)
    folder = Folder.of(near)
    Agent(
        _maker(near, commission, credentials),
        near=near,
        folder=folder,
        lock=Lock(folder.lock),
        mine=Claim(commission.order, commission.session, commission.address, Process.me()),
        stop=stop,
        options=commission.options,
        redact=credentials.redact,
    ).run()


def _settle(stop: Word) -> None:
    """Become a process that no terminal, kernel or user notices."""
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.say())
    try:
        os.setsid()
    except OSError:
        pass  # it leads a session already
    try:
        os.nice(NICENESS)
        Path("/proc/self/oom_score_adj").write_bytes(SOONER_KILLED)
    except OSError:
        pass  # a courtesy, and not everywhere to be had


def _standard_input() -> bytes:
    """Read all of it, and let it go: nobody shall find it there."""
    with os.fdopen(os.dup(0), "rb") as pipe:
        said = pipe.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return said


def _maker(near: Path, commission: Commission, credentials: Credentials) -> Callable[[Flag], Work]:
    def make(stop: Flag) -> Work:
        module, _, name = commission.work.partition(":")
        made: Work = getattr(importlib.import_module(module), name)(
            near=near,
            address=read_address(commission.address),
            credentials=credentials,
            settings=commission.settings,
            stop=stop,
        )
        return made

    return make


class _Discreet:
    """A text file over the log that leaves secrets out, and begins anew when it is long."""

    encoding = "utf-8"

    def __init__(self, redact: Callable[[object], str]) -> None:
        self._redact = redact

    def write(self, text: str) -> int:
        try:
            if os.fstat(2).st_size > MOST_LOG_BYTES:
                os.ftruncate(2, 0)
            os.write(2, self._redact(text).encode(errors="backslashreplace"))
        except OSError:
            pass  # a full disk; nobody misses it
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 2


if __name__ == "__main__":
    main()
