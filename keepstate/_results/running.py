"""The results of the running session, for functions that were decorated before there was one.

Apart and light, because ``import keepstate`` imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._results.store import Results


def _nothing_runs() -> Results | None:
    raise SessionError("no session is running: call keepstate.start() first")


_find: list[Callable[[], Results | None]] = [_nothing_runs]


def find_by(find: Callable[[], Results | None]) -> None:
    """Say how the running session is found; done by whoever has it."""
    _find[0] = find


def running_results() -> Results | None:
    """Give the results of the running session; ``None`` in a process that was forked off the session's.

    Raises:
        SessionError: No session is running.
    """
    return _find[0]()
