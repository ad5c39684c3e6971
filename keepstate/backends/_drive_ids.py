"""Ids that Drive gives out before there is a file, which make its creation safe to repeat.

A request whose answer was lost is sent again with the same id: either it creates the file, or it is told that
the first one did. Without them every lost answer would leave a duplicate.
Source: Drive API, ``files.generateIds``.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from keepstate.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstate.backends._drive_calls import Calls

IDS_AT_A_TIME = 100
"""A tenth of what Drive gives at once; a session rarely needs more."""


class Ids:
    """A store of ids that is filled when it is empty. For any number of threads."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._ids: list[str] = []

    def take(self, *, doing: str) -> str:
        """Give one that nobody else has."""
        with self._lock:
            if not self._ids:
                self._ids = self._calls.ids(IDS_AT_A_TIME, doing=doing)
            if not self._ids:
                raise UnavailableError(f"{self._calls.place}: {doing}: Drive gave no ids: ask again later")
            return self._ids.pop()


def as_json(metadata: Mapping[str, object]) -> bytes:
    """Write the description of a file as Drive wants it."""
    return json.dumps(metadata, ensure_ascii=True).encode()
