"""A word from one thread to another that no interrupt can leave half said.

``threading.Event`` and ``Condition`` are written in Python. An interrupt of the main thread that comes when
they have taken a lock, and not yet entered the block that gives it back, leaves it held, and whoever waits
waits for ever (seen once in 48,000 interrupts). Here both sides are one call of C, in which no handler runs.
"""

from __future__ import annotations

import threading


class Word:
    """Said once, by any thread, any number of times; heard by all who wait.

    >>> word = Word()
    >>> word.wait(0)
    False
    >>> word.say()
    >>> word.wait(0), word.wait(0)
    (True, True)
    """

    __slots__ = ("_lock", "_said")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._said = False

    def say(self) -> None:
        """Let everyone who waits go on."""
        self._said = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is said already, and nobody waits

    def is_set(self) -> bool:
        """Whether it has been said."""
        return self._said

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds*, 0 or more, for the word; return whether it was said."""
        if not self._said and self._lock.acquire(timeout=seconds):
            self.say()  # to the next who waits
        return self._said
