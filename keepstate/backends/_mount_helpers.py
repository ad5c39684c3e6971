"""Helper processes that touch a mounted folder in our place, each call with a time limit.

A call of the operating system on a wedged mount cannot be interrupted, and often not even killed. So another
process makes it. When it takes too long that process is killed and a new one asked next time. One that does
not die even then is left alone and never waited for; the system ends it as soon as the mount answers or is
taken away.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from keepstate.backends._mount_process import LENGTHS, PIECE_BYTES
from keepstate.errors import StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keepstate._base.clock import Clock

PROGRAM = (str(Path(__file__).with_name("_mount_process.py")),)
"""What a helper runs: a file, so that nothing of keepstate is imported and a start takes some 40 ms."""

ON_COLAB = "on Colab: run the cell with drive.mount again, with force_remount=True"
"""What helps there, and what only the user can do, because it asks for a sign-in in the browser."""

MOST_AT_WORK = 3
"""Helpers that work at once."""
MOST_TRANSFERS = MOST_AT_WORK - 1
"""Of them those that carry long objects, so that one is always left for a look or a listing."""

MOST_STUCK = 3
"""Helpers that could be neither answered nor killed, after which the mount is left in peace."""
MOST_PROCESSES = 8
"""Helpers there ever are, stuck ones among them."""
PAUSE_SECONDS = 300.0
"""How long a mount that left :data:`MOST_STUCK` helpers stuck is not asked, unless one of them ends before;
twice as long for each further one. A mount that was taken away while it hung never frees them."""

_DEATH_SECONDS = 1.0
"""What an idle helper may take to end when it is killed: a few milliseconds, if the machine is not busy."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a mounted folder may take before it counts as hanging."""

    call_seconds: float = 20.0
    """For a call that moves no bytes to speak of. Drive's mount takes some seconds for a crowded folder."""
    slowest_bytes_per_second: float = 256 << 10
    """For a transfer there is more time, as much as this speed needs: a home line of 2 Mbit/s."""
    start_seconds: float = 20.0
    """For the start of a helper, which touches nothing on the mount."""

    def for_bytes(self, nbytes: int) -> float:
        """Seconds that a call may take which moves so many bytes."""
        return self.call_seconds + nbytes / self.slowest_bytes_per_second


class Helper:
    """One helper process. For one thread at a time.

    Args:
        root: The folder, which is not touched from here.
        program: What to run, without the folder.
        limits: Of time.
        clock: The time.
    """

    def __init__(self, root: Path, *, program: Sequence[str], limits: TimeLimits, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                # -I and -S: nothing of the user's is imported, not even from a folder on the mount.
                [sys.executable, "-I", "-S", *program, str(root)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException as error:
            self._socket.close()
            if isinstance(error, OSError):
                raise UnavailableError(
                    f"no helper process for {root} could be started: {error.strerror or error}"
                ) from error
            raise
        finally:
            theirs.close()
        self._socket.setblocking(False)
        self._seconds = 0.0
        self._deadline = 0.0
        self.in_step = False
        """Whether it waits for a request; otherwise it is of no more use."""
        try:
            self._allow(limits.start_seconds)
            self._message()
        except BaseException:
            self.kill()
            raise

    def ask(self, request: Mapping[str, object], data: memoryview | None = None, *, seconds: float) -> None:
        """Send a request, and the bytes that belong to it.

        Args:
            request: What to do.
            data: Bytes.
            seconds: For this and for the first message of the answer.
        """
        self.in_step = False
        head = json.dumps(request if data is None else {**request, "nbytes": len(data)}).encode()
        self._allow(seconds)
        self._send(memoryview(LENGTHS.pack(len(head), 0) + head))
        if data is not None:
            self._send(data)

    def answers(self, *, seconds: float) -> Iterator[dict[str, Any]]:
        """Give the heads of the messages of the answer, to be asked for to the last.

        Args:
            seconds: For each further message.

        Raises:
            OSError: What the operating system said, with its ``errno``; 0: what went wrong otherwise.
            UnavailableError: It took too long, or the helper has ended.
        """
        while (message := self._message()) is not None:
            yield message[0]
            self._allow(seconds)

    def answer(self) -> dict[str, Any]:
        """Give the one head that there is before the last."""
        [head] = self.answers(seconds=self._seconds)
        return head

    def fetch(self, limits: TimeLimits) -> tuple[memoryview, int]:
        """Give the bytes of an answer, and how many its first message said they are."""
        message = self._message()
        assert message is not None
        target, done = memoryview(bytearray(message[0]["nbytes"])), 0
        self._allow(limits.for_bytes(len(target)))
        while (message := self._message(target[done:])) is not None:
            done += message[1]
        return target[:done], len(target)

    def kill(self) -> None:
        """End it, and do not wait until it has ended."""
        self.in_step = False
        self._process.kill()
        self._socket.close()

    def interrupt(self) -> None:
        """End it while another thread waits for its answer, which is told at once."""
        self._process.kill()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # and not closed: the thread may be about to read
        except OSError:
            pass  # it has closed it itself

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Wait a moment for the end of a process that was killed."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def _allow(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = self._clock.monotonic() + seconds

    def _message(self, target: memoryview | None = None) -> tuple[dict[str, Any], int] | None:
        """Read one message, its body into *target*; ``None``: it was the last, and has nothing to say."""
        head_bytes, body_bytes = LENGTHS.unpack(self._received(LENGTHS.size))
        head: dict[str, Any] = json.loads(self._received(head_bytes))
        if body_bytes:
            assert target is not None
            self._receive(target[:body_bytes])
        if head.get("more"):
            return head, body_bytes
        self.in_step = True
        if "errno" in head:
            raise OSError(head["errno"], head["said"])
        return None

    def _received(self, nbytes: int) -> bytes:
        target = bytearray(nbytes)
        self._receive(memoryview(target))
        return bytes(target)

    def _receive(self, target: memoryview) -> None:
        while len(target):
            self._await(select.POLLIN)
            try:
                count = self._socket.recv_into(target)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._has_gone() from error
            if not count:
                raise self._has_gone()
            target = target[count:]

    def _send(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            self._await(select.POLLOUT)
            try:
                # Released: an error that is kept must not keep the caller's bytes.
                with data[done : done + PIECE_BYTES] as piece:
                    done += self._socket.send(piece)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._has_gone() from error

    def _await(self, event: int) -> None:
        ready = _Ready(self._socket, event)
        if ready.is_set():
            return
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or not self._clock.wait(ready, left):
            raise UnavailableError(
                f"{self._root} has not answered for {self._seconds:.0f} seconds: the mount there hangs; "
                f"wait, or mount it anew ({ON_COLAB})"
            )

    def _has_gone(self) -> UnavailableError:
        return UnavailableError(f"the helper process that works on {self._root} was ended: try again")


class Helpers:
    """The helper processes of one folder. For any number of threads.

    Args:
        root: The folder.
        program: What they run.
        limits: Of time.
        clock: The time.
    """

    def __init__(self, root: Path, *, program: Sequence[str], limits: TimeLimits, clock: Clock) -> None:
        self._root = root
        self._program = program
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._turns = _Turns(MOST_AT_WORK)
        self._transfers = _Turns(MOST_TRANSFERS)
        self._starting = 0
        self._idle: list[Helper] = []
        self._at_work: list[Helper] = []
        self._killed: list[Helper] = []
        self._asked_again_at = clock.monotonic()
        self._closed = False

    @contextmanager
    def lent(self, *, seconds: float, transfer: bool = False) -> Iterator[Helper]:
        """Lend a helper for one call; if that leaves it in the middle of a talk, it is killed.

        Args:
            seconds: How long to wait for one that is free.
            transfer: Whether the call moves many bytes.
        """
        with self._turn(self._transfers if transfer else None, seconds), self._turn(self._turns, seconds):
            helper = self._take()
            try:
                yield helper
            finally:
                self._give_back(helper)

    def close(self) -> None:
        """End all helpers; those at work are killed, and none is waited for that does not die."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for helper in idle:
                helper.kill()
            for helper in self._at_work:
                helper.interrupt()
            self._killed += idle
        for helper in idle:
            helper.wait(_DEATH_SECONDS)
        with self._lock:
            _leave_alone(self._killed)
            self._killed = []

    @contextmanager
    def _turn(self, turns: _Turns | None, seconds: float) -> Iterator[None]:
        if turns is None:
            yield
            return
        if not turns.take(self._clock, seconds):
            raise UnavailableError(
                f"{self._root} is slow: for {seconds:.0f} seconds no helper process was free; try again later"
            )
        try:
            yield
        finally:
            turns.give_back()

    def _take(self) -> Helper:
        with self._lock:
            self._refuse()
            while self._idle:
                helper = self._idle.pop()
                if not helper.has_ended():  # someone may have killed it: the system, for its memory
                    self._at_work.append(helper)
                    return helper
                helper.kill()
            self._starting += 1
        try:
            helper = Helper(self._root, program=self._program, limits=self._limits, clock=self._clock)
        finally:
            with self._lock:
                self._starting -= 1
        with self._lock:
            if not self._closed:
                self._at_work.append(helper)
                return helper
            helper.kill()
            _leave_alone([helper])
            raise self._is_closed()

    def _refuse(self) -> None:
        """Refuse a call that would most likely leave one more helper stuck."""
        if self._closed:
            raise self._is_closed()
        self._reap()
        stuck = len(self._killed)
        at_work = len(self._at_work) + self._starting
        seconds = self._asked_again_at - self._clock.monotonic()
        if stuck + at_work >= MOST_PROCESSES and not self._idle:
            seconds = max(seconds, PAUSE_SECONDS)
        elif stuck < MOST_STUCK or seconds <= 0:
            return
        raise UnavailableError(
            f"{self._root} hangs: {stuck} processes wait for what is mounted there and cannot be ended; "
            f"mount it anew ({ON_COLAB})",
            retry_after_seconds=seconds,
        )

    def _is_closed(self) -> StoreError:
        return StoreError(f"the backend for {self._root} has been closed")

    def _give_back(self, helper: Helper) -> None:
        with self._lock:
            self._at_work.remove(helper)
            if helper.in_step and not self._closed:
                self._idle.append(helper)
                return
            helper.kill()
            if self._closed:
                _leave_alone([helper])
                return
            self._killed.append(helper)
            self._reap()
            over = len(self._killed) - MOST_STUCK
            if over >= 0:
                self._asked_again_at = self._clock.monotonic() + PAUSE_SECONDS * 2.0**over

    def _reap(self) -> None:
        self._killed = [helper for helper in self._killed if not helper.has_ended()]
        _leave_alone([])


_LEFT_ALONE: list[Helper] = []
"""Killed, and not ended when the backend was closed: kept, so that they can be reaped."""


_LEAVING = threading.Lock()


def _leave_alone(helpers: Sequence[Helper]) -> None:
    """Remember what was killed, and reap what has ended of all that was left so far."""
    with _LEAVING:
        _LEFT_ALONE[:] = [helper for helper in [*_LEFT_ALONE, *helpers] if not helper.has_ended()]


class _Ready:
    """A socket as something to wait for."""

    def __init__(self, ours: socket.socket, event: int) -> None:
        self._poll = select.poll()
        self._poll.register(ours, event)

    def is_set(self) -> bool:
        return bool(self._poll.poll(0))

    def wait(self, seconds: float) -> bool:
        return bool(self._poll.poll(max(seconds, 0.0) * 1000))


class _Turns:
    """So many at a time. Taking one is a call of C, which no interrupt can leave half done."""

    def __init__(self, most: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def take(self, clock: Clock, seconds: float) -> bool:
        """Wait at most *seconds* for a turn; return whether it has come."""
        until = clock.monotonic() + seconds
        while True:
            try:
                self._free.get_nowait()
                return True
            except Empty:
                left = until - clock.monotonic()
                if left <= 0:
                    return False
                clock.wait(self, left)

    def give_back(self) -> None:
        """Let the next one in."""
        self._free.put(None)

    def is_set(self) -> bool:
        """Whether a turn is free."""
        return not self._free.empty()

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds* for a free turn, and leave it."""
        try:
            self._free.get(timeout=seconds)
        except Empty:
            return False
        self._free.put(None)
        return True
