"""Ask the far side something now: what is there, and bring a snapshot here.

A process does it, so that neither a wedged mount nor a library's threads are ever in the user's kernel, and
so that Ctrl-C ends it at once. It lives only while a call waits for it, as when ``start()`` looks for what
was kept, and works through the same repository as everybody else, beside whom it may run.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate.errors import (
    CredentialsError,
    IntegrityError,
    KeepstateError,
    NotAStoreError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keepstate._base.clock import Clock
    from keepstate._transfer.mirror import Notebook
    from keepstate.backends import Credentials

LOOK_SECONDS = 45.0
"""To find out what is there, at most: retries of a look end after 10 s, and it makes several requests."""
SILENCE_SECONDS = 600.0
"""Without any progress while bytes are fetched. Each request has limits of its own, so this only ends a
process that hangs in spite of them; and progress is told pack by pack: four at a time, 128 MiB, take as long
at 1.8 Mbit/s."""
SLICE_SECONDS = 0.1
"""Between two looks at the clock, so that an interrupt is seen."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told first, through its standard input."""

    near: str
    address: str
    credentials: dict[str, str]
    notebook: tuple[str, str, str]
    search: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True):
    """One request: a look at what is there, or with an id the snapshot itself."""

    fetch: str | None = None
    mend: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the process: what it will bring, how far it is, that it is done, or why not."""

    done: bool = False
    coming: tuple[tuple[bytes, int], ...] | None = None
    done_bytes: int = 0
    all_bytes: int = 0
    error: str = ""
    kind: str = ""
    lost: str = ""


_KINDS: dict[str, type[KeepstateError]] = {
    kind.kind: kind
    for kind in (
        UnavailableError,
        CredentialsError,
        StoreFullError,
        NotAStoreError,
        NotFoundError,
        IntegrityError,
    )
}


class Arriving:
    """A snapshot that is on its way here: what will come, and waiting for it.

    Args:
        next_answer: Waits for the next line of the process.
        on_progress: Told what such a line says.
    """

    def __init__(self, next_answer: Callable[[], Answer], on_progress: Callable[[int, int], None]) -> None:
        self._next_answer = next_answer
        self._on_progress = on_progress
        self._end: Answer | KeepstateError | None = None
        self.lengths: dict[bytes, int] = {}
        """Id and plain length of each chunk that comes or has come."""
        while not self.lengths and self.more():
            pass

    def more(self) -> bool:
        """Wait until another pack is here; ``False``: all are.

        Raises:
            NotFoundError: The snapshot is not there any more.
            StoreError: The far side fails, and no more will come.
        """
        if isinstance(self._end, KeepstateError):
            raise self._end
        if self._end is not None:
            return False
        try:
            answer = self._next_answer()
        except KeepstateError as error:
            self._end = error
            raise
        if answer.done:
            self._end = answer
            return False
        self.lengths.update(answer.coming or ())
        self._on_progress(answer.done_bytes, answer.all_bytes)
        return True

    def finish(self) -> str:
        """Wait until all is here.

        Returns:
            What of it is damaged or gone there, in a sentence; empty if nothing is.

        Raises:
            NotFoundError: As :meth:`more`, as are the others.
        """
        while self.more():
            pass
        assert isinstance(self._end, Answer)
        return self._end.lost


class Errand:
    """One process that asks. Made by :func:`errand`."""

    def __init__(self, process: subprocess.Popen[bytes], *, place: str, clock: Clock) -> None:
        self._process = process
        self._place = place
        self._clock = clock
        self._read = b""

    def look(self) -> None:
        """Have the mirror of the notebook brought up to date.

        Raises:
            UnavailableError: The far side does not answer.
            CredentialsError: It wants other credentials.
            StoreError: It fails, or holds something else.
        """
        self._ask(Ask())
        self._next(LOOK_SECONDS)

    def fetch(
        self, snapshot_id: str, on_progress: Callable[[int, int], None], *, mend: bool = False
    ) -> Arriving:
        """Begin to bring a snapshot here, with all that it needs; what is read meanwhile may wait for it.

        Args:
            snapshot_id: Of one that a look has found.
            on_progress: Called with the bytes that are behind and that there are, by whoever waits.
            mend: Whether to read first what is here, and bring what is damaged, too.

        Raises:
            NotFoundError: It is not there any more.
            StoreError: As :meth:`look`.
        """
        self._ask(Ask(fetch=snapshot_id, mend=mend))
        return Arriving(lambda: self._next(SILENCE_SECONDS), on_progress)

    def _ask(self, ask: Ask) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(ask) + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._broken() from error

    def _next(self, patience_seconds: float) -> Answer:
        stdout = self._process.stdout
        assert stdout is not None
        until = self._clock.monotonic() + patience_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if self._clock.monotonic() >= until:
                    raise UnavailableError(
                        f"{self._place} has not answered for {patience_seconds:g} seconds: try again later"
                    )
                if selector.select(SLICE_SECONDS):
                    piece = os.read(stdout.fileno(), 1 << 16)
                    if not piece:
                        raise self._broken()
                    self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except msgspec.MsgspecError as error:
            raise self._broken() from error
        if answer.error:
            raise _KINDS.get(answer.kind, StoreError)(answer.error)
        return answer

    def _broken(self) -> StoreError:
        return StoreError(
            f"the process that asks {self._place} has ended (exit code {self._process.poll()}): try again"
        )


@contextmanager
def errand(
    near: Path,
    *,
    address: str,
    credentials: Credentials,
    notebook: Notebook,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[Errand]:
    """Start a process that asks, and end it afterwards.

    Args:
        near: The repository of this machine, to which snapshots are brought.
        address: Of the far side.
        credentials: For it; they go to the process through a pipe.
        notebook: Whose snapshots are of interest.
        clock: The time.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "keepstate._transfer.errand_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except (
        OSError,
        TypeError,
        ValueError,
    ) as error:  # a kernel inside of another program has no Python's path
        raise StoreError(f"no process can be started to ask {address}: {error}") from error
    try:
        order = Order(
            near=str(near),
            address=address,
            credentials=credentials.reveal_all(),
            notebook=notebook,
            search=tuple(entry for entry in sys.path if entry),
        )
        asking = Errand(process, place=address, clock=clock)
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise asking._broken() from error
        yield asking
    finally:
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass  # it has ended already
        process.kill()
        process.wait()
