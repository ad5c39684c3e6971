"""What runs in the process of an errand: reads requests as lines, answers as lines. See ``errand.py``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.word import Word
from keepstate._repository import ConflictError, Repository
from keepstate._transfer.errand import Answer, Ask, Order
from keepstate._transfer.far import HURRIED, PATIENT, open_far
from keepstate._transfer.mirror import Mirror, whose
from keepstate.backends import Credentials, read_address
from keepstate.errors import KeepstateError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from typing import BinaryIO

    from keepstate._base.retry import Backoff
    from keepstate._model.manifest import Head
    from keepstate._transfer.far import Far

ATTEMPTS = 3
"""Of a copy, where a prune came between."""
LEAST_SECONDS = 0.2
"""Between two lines that only say how far it is."""


class Runner:
    """Answers requests, one after another."""

    def __init__(self, order: Order, credentials: Credentials, out: BinaryIO) -> None:
        self._order = order
        self._credentials = credentials
        self._out = out
        self._address = read_address(order.address)
        self._guard = threading.Lock()
        self._said_at = 0.0
        self._found: dict[str, Head] = {}

    def answer(self, ask: Ask) -> None:
        """Do what is asked, and say how it went."""
        try:
            self._say(Answer(done=True, lost=self._do(ask)))
        except KeepstateError as error:
            self._say(Answer(error=self._credentials.redact(error), kind=error.kind))
        except Exception as error:  # noqa: BLE001 - it becomes a sentence in the user's kernel
            said = f"{type(error).__name__}: {error}"
            self._say(Answer(error=self._credentials.redact(said), kind="store"))

    def _do(self, ask: Ask) -> str:
        if ask.fetch is None:
            self._look()
            return ""
        if ask.fetch not in self._found:
            self._look()
        return self._fetch(ask.fetch, mend=ask.mend)

    def _far(self, backoff: Backoff) -> Far:
        return open_far(self._address, self._credentials, stop=Word(), backoff=backoff)

    def _look(self) -> None:
        project, member, notebook = self._order.notebook
        far = self._far(HURRIED)
        repository = far.repository(create=True)
        with far.strictly():
            found = repository.heads(project=project, member=member, notebook=notebook)
        self._found = {manifest.id: manifest for manifest in found}
        Mirror.of(Path(self._order.near)).write(
            self._order.notebook, [each for each in found if whose(each) == self._order.notebook]
        )

    def _fetch(self, own: str, *, mend: bool) -> str:
        manifest = self._found.get(own)
        if manifest is None:
            raise NotFoundError(f"snapshot {own} is not at {self._address} any more")
        near = Repository.open(Path(self._order.near), create=False)
        if mend:
            near.verify(member=manifest.member, deep=True)  # what is damaged counts as missing from now on
        far = self._far(PATIENT).repository(create=True)
        for _ in range(ATTEMPTS - 1):
            try:
                return self._copy(far, near, manifest)
            except ConflictError:
                continue  # somebody pruned here or there meanwhile
        return self._copy(far, near, manifest)

    def _copy(self, far: Repository, near: Repository, manifest: Head) -> str:
        copied = far.replicate_to(
            near,
            [manifest],
            stop=Word(),
            on_progress=self._progress,
            on_plan=lambda coming: self._say(Answer(coming=tuple(coming.items()))),
        )
        if manifest.id in copied.unread:
            raise UnavailableError(copied.unread[manifest.id])
        if manifest.id not in copied.ids and manifest.id not in copied.lost:
            raise NotFoundError(f"snapshot {manifest.id} is not at {self._address} any more")
        return copied.lost.get(manifest.id, "")

    def _progress(self, done: int, total: int) -> None:
        now = SYSTEM_CLOCK.monotonic()
        with self._guard:
            due = now - self._said_at >= LEAST_SECONDS
            if due:
                self._said_at = now
        if due:
            self._say(Answer(done_bytes=done, all_bytes=total))

    def _say(self, answer: Answer) -> None:
        with self._guard:
            self._out.write(msgspec.json.encode(answer) + b"\n")
            self._out.flush()


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses Ctrl-C ends us through the pipe
    lines = os.fdopen(os.dup(0), "rb")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # what a library prints is no answer
    order = msgspec.json.decode(lines.readline(), type=Order)
    known = set(sys.path)
    sys.path += [entry for entry in order.search if entry not in known]
    runner = Runner(order, Credentials(order.credentials), out)
    with suppress(BrokenPipeError):
        for line in lines:
            runner.answer(msgspec.json.decode(line, type=Ask))
    # Not by the usual way: a thread of a library that waits for a network would be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
