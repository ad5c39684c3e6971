"""Tell the user elsewhere what the notebook cannot: a thread that posts messages to a webhook of theirs.

Nothing is sent unless ``start(notify=…)`` asked for it. Whatever the other side does (nothing, nonsense, one
byte a minute), the kernel does not notice: telling only puts a message into a box, all else happens in one
daemon thread, and an end of the interpreter waits for two seconds and no more.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._base.quiet import silence
from keepstate._base.retry import Backoff, keep_trying
from keepstate._base.word import Word
from keepstate._capture import interrupts
from keepstate._session.notify_formats import parcel_of
from keepstate._session.notify_messages import KINDS

if TYPE_CHECKING:
    from datetime import datetime

    from keepstate._session.notify_messages import Message
    from keepstate._session.notify_target import Target
    from keepstate._session.webhook import Webhook

THREAD = "keepstate-notify"

PATIENCE = Backoff(first_seconds=1.0, longest_seconds=20.0, total_seconds=60.0)
"""For one message. What is not taken within a minute is old, and others wait behind it."""

STUCK_SECONDS = 15.0
"""Beyond the total time of a message: one whole limit for connecting and one for reading. A request that runs
still is being answered byte by byte, which no limit of a single read ends."""

KEPT_OF_A_KIND = 8
"""Messages of one kind that wait; one more pushes out the oldest of its kind."""

EXIT_SECONDS = 2.0
"""What the user's prompt may wait for at the end: a request to a service takes 0.1 to 0.5 s."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A message that waits to be sent."""

    number: int
    message: Message
    id: str
    told_at: datetime


class Notifier:
    """Sends messages to one webhook; none of its methods raises, prints or waits for the network."""

    def __init__(self, target: Target, *, clock: Clock = SYSTEM_CLOCK, patience: Backoff = PATIENCE) -> None:
        self._target = target
        self._clock = clock
        self._patience = patience
        # A bounded deque drops its oldest in one step of C: no lock that an interrupt could leave held.
        self._boxes: dict[type[Message], deque[_Letter]] = {
            kind: deque(maxlen=KEPT_OF_A_KIND) for kind in KINDS
        }
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._numbers = itertools.count()
        self._closing = Word()
        self._done = Word()
        self._let_go = False
        self._began: float | None = None
        self._trouble: str | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._webhook: Webhook | None = None
        self._process = os.getpid()

    @property
    def trouble(self) -> str | None:
        """The newest trouble in one sentence; ``None`` once a message has arrived since."""
        return self._trouble

    def start(self) -> None:
        """Start the thread, if it does not run yet.

        The first message does it too. But since Python 3.12 no thread can be started while the interpreter
        ends, and the end of the session is often the first thing to tell: call this when a session begins.
        """
        try:
            from keepstate._session.webhook import Webhook

            with interrupts.deferred(), self._starting:
                if self._thread is None and not self._closing.is_set() and os.getpid() == self._process:
                    self._webhook = Webhook(self._clock)
                    thread = threading.Thread(
                        target=self._run, args=(self._webhook,), name=THREAD, daemon=True
                    )
                    thread.start()
                    self._thread = thread
        except Exception as error:  # noqa: BLE001 - a message is not worth a cell
            self._trouble = f"no message can be sent to {self._target.shown}: {type(error).__name__}"

    def tell(self, message: Message) -> None:
        """Have *message* sent as soon as those before it are; returns at once."""
        if self._closing.is_set() or os.getpid() != self._process:
            return
        letter = _Letter(next(self._numbers), message, secrets.token_hex(8), self._clock.utc_now())
        self._boxes[type(message)].append(letter)
        self.start()
        self._ring()
        self._free_the_thread()

    def close(self, seconds: float = EXIT_SECONDS) -> bool:
        """Try what waits once each, for *seconds* at most, and let go; return whether all was tried.

        The thread ends soon after, whatever the other side does; a message that is told later is dropped.
        """
        self._closing.say()
        self._ring()
        if self._thread is None or os.getpid() != self._process:
            return not self._waiting()
        try:
            in_time = self._clock.wait(self._done, seconds)
        finally:  # also when the user interrupts
            self._let_go = True
            if self._webhook is not None:
                self._webhook.cut_short()
        if not in_time:
            self._trouble = f"the session ended before {self._target.shown} had taken the last message"
        return in_time

    def _ring(self) -> None:
        if self._bell.empty():  # else it will be heard anyway
            self._bell.put(None)

    def _free_the_thread(self) -> None:
        began = self._began
        limit = self._patience.total_seconds + STUCK_SECONDS
        if began is not None and self._webhook is not None and self._clock.monotonic() - began > limit:
            self._webhook.cut_short()

    def _waiting(self) -> bool:
        return any(self._boxes.values())

    # -- the thread ----------------------------------------------------------------------------------

    def _run(self, webhook: Webhook) -> None:
        try:
            with silence():
                while not self._let_go:
                    letter = self._take()
                    if letter is not None:
                        self._deliver(letter, webhook)
                    elif self._closing.is_set():
                        break
                    else:
                        self._bell.get()
        finally:
            self._done.say()

    def _take(self) -> _Letter | None:
        """Take the oldest letter. Only this thread takes, so a box that has one does not lose its last."""
        boxes = [box for box in self._boxes.values() if box]
        return min(boxes, key=lambda box: box[0].number).popleft() if boxes else None

    def _deliver(self, letter: _Letter, webhook: Webhook) -> None:
        from keepstate._session.webhook import WebhookError

        self._began = self._clock.monotonic()
        try:
            parcel = parcel_of(self._target, letter.message, id=letter.id, told_at=letter.told_at)
            keep_trying(
                lambda seconds_left: webhook.post(parcel, seconds_left),
                worth=lambda error: isinstance(error, WebhookError) and error.worth,
                asked=lambda error: error.asked_seconds if isinstance(error, WebhookError) else None,
                stop=self._closing,
                clock=self._clock,
                backoff=self._patience,
            )
            self._trouble = None
        except Exception as error:  # noqa: BLE001 - the thread outlives every message
            # Only our own error is known to have no address in its text.
            why = str(error) if isinstance(error, WebhookError) else type(error).__name__
            self._trouble = f"a message to {self._target.shown} was not taken: {why}"
        finally:
            self._began = None
