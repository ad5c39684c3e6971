"""What the transfer does, as the process that does it sees it; and the thread on which it is done.

The thread that watches (for signals, wishes, sessions that end) must never wait for a network, so all of the
work happens on one other thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, Protocol

from keepstate._base.word import Word
from keepstate._transfer.report import Pending, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keepstate._base.clock import Flag
    from keepstate._model.snapshot import Durability
    from keepstate._transfer.report import Round

THREAD = "keepstate-transfer"

Task = Literal["count", "send", "tidy"]


class Work(Protocol):
    """The copying itself. All calls come from one thread; each may raise any error of this package."""

    def pending(self) -> Pending:
        """Say what the far side lacks and should have, as the repository here is now."""
        ...

    def run(self, *, urgent: bool, stop: Flag, on_progress: Callable[[Progress], None]) -> Round:
        """Copy everything that should be there.

        Args:
            urgent: Somebody waits for it.
            stop: Once it is set, the request in hand is finished and none follows.
            on_progress: Called whenever something has been sent.
        """
        ...

    def levels(self) -> Mapping[str, Durability] | None:
        """Say which snapshots are at the far side, and how sure that is; asks nobody.

        ``None``: nobody has looked yet.
        """
        ...

    def upkeep(self) -> None:
        """Remove at the far side what retention no longer keeps; called seldom."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task."""

    task: Task
    error: BaseException | None = None
    pending: Pending | None = None
    """``None``: it could not be told."""
    levels: Mapping[str, Durability] | None = None
    """``None``: nothing new is known."""
    rounds: tuple[Round, ...] = ()
    progress: Progress = field(default_factory=Progress)
    """How far it had come when it ended."""


class Worker:
    """Does one task at a time, on its own thread.

    Args:
        make: Makes the work, which is given the flag that ends all its waits; called on that thread, again
            after an error that may have left it broken.
    """

    def __init__(self, make: Callable[[Flag], Work]) -> None:
        self._make = make
        self._work: Work | None = None
        self._tasks: SimpleQueue[tuple[Task, bool]] = SimpleQueue()
        self._outcome: Outcome | None = None
        self._busy: Task | None = None
        self._stop = Word()
        self.done = Word()
        """Said when the task in hand has ended."""
        self.progress = Progress()
        """Of the task in hand."""
        self.counted: Pending | None = None
        """What the task in hand has found to be sent, before it began to."""
        threading.Thread(target=self._run, name=THREAD, daemon=True).start()

    @property
    def task(self) -> Task | None:
        """The one in hand, or whose outcome was not taken yet."""
        return self._busy

    def begin(self, task: Task, *, urgent: bool) -> None:
        """Start a task; there is none in hand."""
        self.progress = Progress()
        self.counted = None
        self.done = Word()
        self._busy = task
        self._tasks.put((task, urgent))

    def stop(self) -> None:
        """Have the task in hand end after its present request, and every later one."""
        self._stop.say()

    def take(self) -> Outcome | None:
        """Give the outcome, once, if the task in hand has ended."""
        if self._busy is None or not self.done.is_set():
            return None
        self._busy = None
        return self._outcome

    def forget(self) -> None:
        """Make the work anew before the next task; there is none in hand."""
        self._work = None

    # -- on its thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            task, urgent = self._tasks.get()
            rounds: list[Round] = []
            error: BaseException | None = None
            pending: Pending | None = None
            try:
                pending = self._do(task, urgent, rounds)
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it becomes a sentence
                error = raised
            self._outcome = Outcome(task, error, pending, self._levels(), tuple(rounds), self.progress)
            self.done.say()

    def _do(self, task: Task, urgent: bool, rounds: list[Round]) -> Pending | None:
        if self._work is None:
            self._work = self._make(self._stop)
        work = self._work
        if task == "tidy":
            work.upkeep()
            return None
        pending = self.counted = work.pending()
        # Whoever waits is not to be told what was true the last time.
        if task == "send" and (pending.ids or urgent):
            rounds.append(work.run(urgent=urgent, stop=self._stop, on_progress=self._note))
            pending = work.pending()
        return pending

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def _levels(self) -> Mapping[str, Durability] | None:
        try:
            levels = None if self._work is None else self._work.levels()
            return None if levels is None else dict(levels)
        except BaseException:  # noqa: BLE001 - what was known before stands
            return None
