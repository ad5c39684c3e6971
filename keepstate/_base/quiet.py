"""Have libraries log nothing of what one thread asks of the network.

``urllib3`` logs the address of every request at level DEBUG, and the address of a webhook or of an upload is
a key to it: a user who works at that level would see it in the cell that happens to run. So records are
dropped where they arise, those of our calls and no others.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "google.auth._default",
    "google.auth.compute_engine._metadata",
    "google.auth.transport.requests",
)
"""All that have records of a request (urllib3 1.26 to 2.8), or of a sign-in (google-auth 2.63)."""


class _Depth(threading.local):
    """How many blocks that are to be silent the thread is in."""

    value = 0


_DEPTH = _Depth()


def _is_foreign(_record: logging.LogRecord) -> bool:
    return not _DEPTH.value


@contextmanager
def silence() -> Iterator[None]:
    """Drop what the libraries log from this thread; records of other threads, and all levels, stay.

    With no handler of the user's, urllib3's own keeps ``logging.lastResort`` from printing. The filter
    stays where it is: taking it away while another thread goes through the list of filters would have that
    thread leave one out.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_foreign)  # one that is there is not added again
    _DEPTH.value += 1
    try:
        yield
    finally:
        _DEPTH.value -= 1
