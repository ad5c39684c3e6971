"""The contract between this layer and the one above: what is done with a picture, and with which tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager


def _none(_memory: memoryview) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Tools:
    """What a strategy offers to the work."""

    substitute: Callable[[memoryview], memoryview]
    """Memory that the picture does not freeze → the copy made at the safe point; anything else → itself."""
    progress: Callable[[str, int], None]
    """Tell what is being worked on, and how many bytes are behind; call it often."""
    stall_seconds: Callable[[], float]
    """How long the main thread was held; waits until that is known. Only for :meth:`Work.write`."""
    copy: Callable[[memoryview], memoryview] | None = None
    """Copy memory that will change once the picture is taken; ``None`` where nothing changes."""
    release: Callable[[memoryview], None] | None = None
    """Give pages back that will not be read again."""
    unfrozen_bytes: Callable[[memoryview], int] = _none
    """How much of some memory the picture does not freeze, and must be copied at the safe point."""
    copy_limit_bytes: int = 0
    """How much of that may be copied in one picture."""
    claim: Callable[[list[memoryview]], None] | None = None
    """Told all buffers once, before the first release."""
    looking: Callable[[], AbstractContextManager[None]] | None = None
    """Within it memory may be read by address; ``None`` where it does not stand still."""
    apart: Callable[[Sequence[Callable[[], str]]], list[str | None]] | None = None
    """Make texts by code of the user's where it can do no harm: ``None`` for one that raised or hung.
    ``None``: there is no such place."""
    threads: int = 1
    """How many may be busy at a time in :meth:`Work.write`."""


class Work(Protocol):
    """What is done with a picture, in two steps that may happen in one place or in two."""

    def prepare(self, tools: Tools) -> None:
        """Do what needs the objects to stand still."""
        ...

    def write(self, tools: Tools) -> bytes:
        """Do the rest, from what :meth:`prepare` gave; return a small message for the session."""
        ...


class Taken(Protocol):
    """A picture that has been taken and waits to be written."""

    @property
    def stall_seconds(self) -> float:
        """How long the calling thread was held."""
        ...

    @property
    def strategy(self) -> str:
        """``fork`` or ``stage``."""
        ...

    @property
    def reason(self) -> str:
        """Why so, in a sentence."""
        ...

    @property
    def processor_seconds(self) -> float:
        """How long another process has computed for it, once it is finished; 0 if there was none."""
        ...

    def finish(self) -> bytes:
        """Wait until the work is done and return its message; never on the user's thread while it runs.

        Raises:
            CaptureError: One of ``failures``.
        """
        ...

    def cancel(self) -> None:
        """Give the picture up; nothing is left behind."""
        ...
