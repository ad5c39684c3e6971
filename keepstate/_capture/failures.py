"""Why no picture came about; each is a :class:`~keepstate.errors.CaptureError` with what a caller needs."""

from __future__ import annotations

from keepstate.errors import CaptureError


class NotNow(CaptureError):
    """No way of taking a picture is open at this moment; one between two cells may be."""


class ForkRefused(CaptureError):
    """The system made no new process (too many, or too little memory)."""


class ChildFailed(CaptureError):
    """The process that held the picture ended without an answer, or answered with an error."""


class ChildStuck(CaptureError):
    """The process that held the picture made no progress and was ended.

    Args:
        name: What it was working on; empty if it had not begun.
        message: A sentence for people.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NeedsCopy(CaptureError):
    """Some memory is not frozen by a fork; the picture must be taken again with these ranges copied.

    Args:
        ranges: Half-open address intervals ``[start, end)``, disjoint, ascending.
    """

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        total = sum(end - start for start, end in ranges)
        super().__init__(
            f"{total} bytes lie in shared memory and must be copied at the moment of the picture"
        )
        self.ranges = ranges


class MemoryShort(CaptureError):
    """There is not enough free memory to hold a picture."""


class TooLarge(CaptureError):
    """What must be copied while the main thread waits is more than the limit."""
