"""What a command answers: a document for programs, text for people, and how it went.

Commands return it and print nothing themselves, so that ``--json`` and errors work alike in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate.errors import (
    AmbiguousError,
    InvalidInputError,
    KeepstateError,
    NotAStoreError,
    NotFoundError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

FINE, FAILED, WRONG_USAGE = 0, 1, 2
"""Exit codes."""


class NoStoreError(StoreError):
    """There is no store where one was named."""


_USAGE = (InvalidInputError, NotFoundError, AmbiguousError, NotAStoreError, NoStoreError)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one command."""

    document: dict[str, object] | list[dict[str, object]]
    """For ``--json``."""
    text: Iterable[str | Table]
    """For people, one after the other; asked for once, and not with ``--json``."""
    remarks: tuple[str, ...] = ()
    """Sentences that the document has no place for: with ``--json`` they go to the standard error."""
    exit_code: int = FINE
    is_refusal: bool = False
    """Whether it is an error; then the document says what the remarks say."""


def refusal(error: KeepstateError) -> Answer:
    """Answer with an error: one sentence, and its kind for programs."""
    said = sentence(error)
    return Answer(
        document={"error": said, "kind": error.kind},
        text=(),
        remarks=(said,),
        exit_code=WRONG_USAGE if isinstance(error, _USAGE) else FAILED,
        is_refusal=True,
    )


def sentence(error: Exception) -> str:
    """Give the message alone; the text of an ``OSError`` has a number and a path around it."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error)
