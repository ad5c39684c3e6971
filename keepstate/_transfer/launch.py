"""The session's handle on the transfer: starts its process, asks it to hurry, reads what it reports.

Lives in the user's kernel. It has no thread, prints nothing, waits only where it is asked to, and whatever
goes wrong is a sentence in the report. The process is not the kernel's child: an ``os.wait()`` of the user's
would be given it, and a kernel that shuts down ends its children. A shell starts it in the background and is
gone within some milliseconds.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.retry import Backoff
from keepstate._base.word import Word
from keepstate._capture import interrupts
from keepstate._repository.lease import process_started
from keepstate._transfer.commission import Commission, Options
from keepstate._transfer.folder import Folder, Process, Session, Wish
from keepstate._transfer.lock import is_held
from keepstate._transfer.report import Report
from keepstate._transfer.succession import newest_holder
from keepstate.backends import read_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._base.clock import Clock
    from keepstate.backends import Credentials

WORK = "keepstate._transfer.replicate:make_work"
"""Makes what copies; called as ``make_work(near=, address=, credentials=, settings=, stop=)``."""

STARTING_SECONDS = 30.0
"""What a start may take, on a machine that is short of everything; 0.3 s here. Before that, a process that
was started and does not show itself is not taken for dead."""
RESTARTS = Backoff(first_seconds=1.0, longest_seconds=300.0)
"""Between two starts of a process that dies."""
HEALTHY_SECONDS = 600.0
"""A process that has lived so long did not die of what it does first."""
SLICE_SECONDS = 0.1
"""Between two looks at the report while a call waits for it."""
CLOSE_SECONDS = 60.0
"""What the end of a session may wait for by default."""
SHELL_SECONDS = 10.0
"""What the shell may take; 2 ms here."""

_SHELL = "/bin/sh"
_IN_THE_BACKGROUND = '{ "$@" <&3 3<&- & } 3<&0'
"""A command in the background would otherwise read from nowhere; POSIX.1-2024, 2.9.3.1."""
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_LONGEST_NICE_LOG_BYTES = 64 << 10


class Transfer:
    """The transfer of one repository of this machine, for one session. No method raises but :meth:`start`."""

    def __init__(
        self,
        near: Path,
        *,
        address: str,
        credentials: Credentials,
        settings: Mapping[str, object],
        options: Options,
        work: str,
        clock: Clock,
    ) -> None:
        self._near = near
        self._folder = Folder.of(near)
        self._credentials = credentials
        self._settings = dict(settings)
        self._options = options
        self._work = work
        self._clock = clock
        self._session = Session(secrets.token_hex(8), Process.me(), address, 0)
        self._open = True
        self._wishes = 0
        self._hurried: Wish | None = None
        self._report = Report(place=address)
        self._seen: tuple[int, int, int] | None = None
        self._trouble: str | None = None
        self._launched_at = 0.0
        self._was_seen = False
        self._failed_starts = 0

    @classmethod
    def start(
        cls,
        near: Path,
        *,
        address: str,
        credentials: Credentials,
        settings: Mapping[str, object] | None = None,
        options: Options | None = None,
        work: str = WORK,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Transfer:
        """Announce this kernel, and start a process that transfers from now on.

        One that an older session has started steps down for it: these credentials are fresher than its own.

        Args:
            near: Folder of the repository on this machine.
            address: Where its snapshots must end up.
            credentials: For that place; they go to the process through a pipe, and nowhere else.
            settings: For the work, of a form that JSON has; no secrets.
            options: The times by which it works.
            work: ``module:function`` that makes the work.
            clock: The time.

        Raises:
            InvalidInputError: *address* is none.
        """
        transfer = cls(
            near.absolute(),
            address=str(read_address(address)),
            credentials=credentials,
            settings=settings or {},
            options=options or Options(),
            work=work,
            clock=clock,
        )
        transfer._begin()
        return transfer

    # -- what a session does -------------------------------------------------------------------------

    def poke(self) -> None:
        """Say that a snapshot was committed: the process sees that by itself, if only it lives."""
        self._look_after()

    @property
    def alive(self) -> bool:
        """Whether somebody cares for this repository; a process that has died is started again, now or soon.

        Ask now and then: the process may be killed while nothing happens here.
        """
        return self._look_after()

    def renew(self, credentials: Credentials) -> None:
        """Go on with other credentials."""
        self._credentials = credentials
        if self._is_mine():
            self._begin()

    def report(self) -> Report:
        """Give what the process reports; a file that cannot be read leaves what was known before."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - what is known stands
            said = self._sentence("the report of the transfer cannot be read", error)
            self._trouble = self._trouble or said
        return self._as_it_is(self._report)

    def flush(
        self,
        ids: Iterable[str] | None = None,
        *,
        deadline_seconds: float,
        on_progress: Callable[[Report], object] | None = None,
    ) -> bool:
        """Have snapshots sent at once, and wait until they are at the far side.

        Args:
            ids: Of the snapshots; ``None``: everything that is committed here.
            deadline_seconds: How long to wait at most.
            on_progress: Called with each new report; what it raises is passed on.

        Returns:
            Whether they are there; ``False`` early where only the user can make it succeed.
        """
        if not self._is_mine():
            return False
        self._wishes += 1
        wanted = None if ids is None else tuple(ids)
        wish = Wish(f"{self._session.id}-{self._wishes}", self._session.id, wanted)
        try:
            self._folder.put(wish)
        except OSError as error:
            self._trouble = self._sentence("the transfer cannot be asked to hurry", error)
            return False
        try:
            return self._wait_for(wish, deadline_seconds, on_progress)
        finally:
            self._folder.take_back(wish)

    def hurry(self) -> None:
        """Have what is committed sent at once, and wait for nothing."""
        if not self._is_mine():
            return
        self._look_after()
        self._wishes += 1
        last, self._hurried = (
            self._hurried,
            Wish(f"{self._session.id}-{self._wishes}", self._session.id, None),
        )
        try:
            self._folder.put(self._hurried)
        except OSError as error:
            self._trouble = self._sentence("the transfer cannot be asked to hurry", error)
        if last is not None:
            self._folder.take_back(last)

    def close(self, *, wait: bool = False, deadline_seconds: float = CLOSE_SECONDS) -> bool:
        """Need the process no longer: it sends what is pending, and ends.

        Args:
            wait: Wait until everything is there first.
            deadline_seconds: How long.

        Returns:
            Whether everything is known to be there; that takes waiting.
        """
        if not self._is_mine():
            return False
        there = wait and self.flush(deadline_seconds=deadline_seconds)
        self._open = False
        self._folder.take_back(self._session)
        return there

    # -- the process ---------------------------------------------------------------------------------

    def _is_mine(self) -> bool:
        """Whether this is the kernel that the handle is for, and no copy of it."""
        return self._open and os.getpid() == self._session.process.pid

    def _begin(self) -> None:
        try:
            self._launch()
        except Exception as error:  # noqa: BLE001 - a session without transfer still guards, and says so
            self._trouble = self._sentence("the transfer cannot be started", error)

    def _look_after(self) -> bool:
        """Start the process again if it is gone; return whether there is one, or will be before long."""
        if not self._is_mine():
            return False
        # Two threads may both find it dead and start one: the later one of the processes stays.
        try:
            return self._is_running() or self._start_again()
        except Exception as error:  # noqa: BLE001 - this is called in the background
            self._trouble = self._sentence("the transfer cannot be started", error)
            return False

    def _is_running(self) -> bool:
        if is_held(self._folder.lock):
            self._was_seen = True
            self._trouble = None
            return True
        newest = newest_holder(self._folder)
        if newest is not None and newest.session == self._session.id and newest.order >= self._session.order:
            self._was_seen = True  # ours has come and gone while nobody looked
        age = self._clock.monotonic() - self._launched_at
        return not self._was_seen and age < STARTING_SECONDS and self._trouble is None

    def _start_again(self) -> bool:
        age = self._clock.monotonic() - self._launched_at
        if age >= HEALTHY_SECONDS:
            self._failed_starts = 0
        if age < RESTARTS.bound(self._failed_starts):
            return False
        self._failed_starts += 1
        self._launch()
        return True

    def _launch(self) -> None:
        self._launched_at = self._clock.monotonic()
        self._was_seen = False
        self._folder.make()
        self._announce()
        commission = Commission(
            session=self._session.id,
            order=self._session.order,
            address=self._session.address,
            work=self._work,
            credentials=self._credentials.reveal_all(),
            settings=self._settings,
            options=self._options,
            search=tuple(entry for entry in map(str, sys.path) if os.path.isabs(entry)),
        )
        with interrupts.deferred():
            _spawn(self._near, self._folder.log, msgspec.json.encode(commission))
        self._trouble = None

    def _announce(self) -> None:
        """Say that this session is there, and began, or needs a new process, after all others."""
        orders = [session.order for session in self._folder.sessions()]
        if (newest := newest_holder(self._folder)) is not None:
            orders.append(newest.order)
        self._session = msgspec.structs.replace(self._session, order=1 + max(orders, default=0))
        self._folder.put(self._session)

    # -- what it reports -----------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            stat = os.stat(self._folder.report)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing was reported yet
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return
        found = self._folder.read_report()
        if found is not None:
            self._was_seen = self._was_seen or found.pid not in (0, self._report.pid)
            self._report, self._seen = found, seen

    def _as_it_is(self, said: Report) -> Report:
        """Set right what the one who wrote it could not know: that it is dead, or about another place."""
        if said.place not in ("", self._session.address):
            return Report(
                state="trouble",
                place=self._session.address,
                error=self._trouble
                or f"{self._near} is being transferred to {said.place} for another session: give each "
                "store a folder of its own, or end that session",
            )
        if said.pid and said.state != "ended" and process_started(said.pid) != said.process_started:
            said = msgspec.structs.replace(
                said,
                state="trouble",
                error=f"the process that transfers to {self._session.address} was killed; the next snapshot "
                "starts it again",
            )
        if self._trouble is not None:
            said = msgspec.structs.replace(said, state="trouble", error=self._trouble)
        return said

    def _wait_for(
        self, wish: Wish, deadline_seconds: float, on_progress: Callable[[Report], object] | None
    ) -> bool:
        until = self._clock.monotonic() + deadline_seconds
        shown: Report | None = None
        while True:
            self._look_after()
            report = self.report()
            if on_progress is not None and report != shown:
                on_progress(report)
                shown = report
            if wish.name in report.answered:
                return wish.ids is None or all(one in report.levels for one in wish.ids)
            left = until - self._clock.monotonic()
            if wish.name in report.refused or left <= 0:
                return False
            self._clock.wait(Word(), min(left, SLICE_SECONDS))

    def _sentence(self, what: str, error: Exception) -> str:
        return self._credentials.redact(f"{what}: {error}")


def _spawn(near: Path, log: Path, document: bytes) -> None:
    """Start the process in the background, not as a child.

    Raises:
        OSError: The system does not start it.
    """
    with open(_pipe_with(document), "rb") as pipe, open(os.open(log, _LOG_FLAGS, 0o600), "ab") as output:
        if os.fstat(output.fileno()).st_size > _LONGEST_NICE_LOG_BYTES:
            os.truncate(log, 0)
        started = subprocess.Popen(
            [_SHELL, "-c", _IN_THE_BACKGROUND, _SHELL, *_command(near)],
            stdin=pipe,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        try:
            started.wait(SHELL_SECONDS)
        except subprocess.TimeoutExpired as error:
            started.kill()
            started.wait()
            raise OSError(f"{_SHELL} does not start it") from error


def _pipe_with(document: bytes) -> int:
    """Give the end of a pipe from which *document* can be read.

    It is put in before anybody reads, so that no slow start holds up the kernel.
    """
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        if os.write(writing, document) < len(document):
            raise OSError(f"the credentials are longer than a pipe: {len(document)} bytes")
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading


def _command(near: Path) -> list[str]:
    if not sys.executable:
        raise OSError("this Python does not say where its program is (sys.executable is empty)")
    return [sys.executable, "-m", "keepstate._transfer", str(near)]


def _environment() -> dict[str, str]:
    """The kernel's own, with the way to this package where it is not where packages are."""
    variables = dict(os.environ)
    variables["PYTHONSAFEPATH"] = "1"  # the process begins in /, and a module that lies there is none of ours
    home = str(Path(__file__).absolute().parents[2])
    if home not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (variables.get("PYTHONPATH"), home)))
    return variables
