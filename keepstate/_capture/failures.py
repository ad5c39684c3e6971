"""Why no picture came about; each is a :class:`~keepstate.errors.CaptureError` with what a caller needs."""

from __future__ import annotations

from keepstate.errors import CaptureError

# They are named for what happened; the family name says that they are errors.


class NotNow(CaptureError):  # noqa: N818
    """No way of taking a picture is open at this moment; one between two cells may be."""


class ForkRefused(CaptureError):  # noqa: N818
    """The system made no new process (too many, or too little memory)."""


class ChildFailed(CaptureError):  # noqa: N818
    """The process that held the picture ended without an answer, or answered with an error."""


class Misread(CaptureError):  # noqa: N818
    """The process that held the picture ended, or stood still, while it read memory by address."""


class ChildStuck(CaptureError):  # noqa: N818
    """The process that held the picture made no progress and was ended.

    Args:
        name: What it was working on; empty if it had not begun.
        message: A sentence for people.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NeedsCopy(CaptureError):  # noqa: N818
    """Some memory is not frozen by a fork; the picture must be taken again with these ranges copied.

    Args:
        ranges: Half-open address intervals ``[start, end)``, disjoint, ascending.
    """

    def __init__(self, ranges: tuple[tuple[int, int], ...]) -> None:
        total = sum(end - start for start, end in ranges)
        super().__init__(f"{total} bytes lie in shared memory and must be copied when the picture is taken")
        self.ranges = ranges


class MemoryShort(CaptureError):  # noqa: N818
    """There is not enough free memory to hold a picture."""


class TooLarge(CaptureError):  # noqa: N818
    """What must be copied while the main thread waits is more than the limit."""
