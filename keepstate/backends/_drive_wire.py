"""Connections for requests to Google that nobody hears and that nothing else changes.

``urllib3`` logs the address of every request, and that of an upload is a key to it; a user who works at
level DEBUG would see it in the cell that happens to run. So records are dropped where they arise, those of
our calls and no others. ``http.client.HTTPConnection.debuglevel``, which prints, is of no effect here.

Importing this module imports ``requests`` (0.1 s).
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.poolmanager import PoolManager

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


_HEADERS = {"User-Agent": "keepstate", "Accept": "*/*", "Accept-Encoding": "identity"}
"""Not compressed: packs are already, and lengths can be compared."""


class _Depth(threading.local):
    """How many blocks that are to be silent the thread is in."""

    value = 0


_DEPTH = _Depth()


def _is_foreign(_record: logging.LogRecord) -> bool:
    return not _DEPTH.value


@contextmanager
def silence() -> Iterator[None]:
    """Drop what the libraries log from this thread; records of other threads, and all levels, stay.

    The filter is left where it is: taking it away while another thread goes through the list of filters
    would have that thread leave one out.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_foreign)  # one that is there is not added again
    _DEPTH.value += 1
    try:
        yield
    finally:
        _DEPTH.value -= 1


class Sessions:
    """Sessions of ``requests``, each used by one thread at a time.

    Args:
        on_this_machine: Whether the far side is a server on loopback, which no proxy reaches.
    """

    def __init__(self, *, on_this_machine: bool) -> None:
        self._on_this_machine = on_this_machine
        self._idle: list[requests.Session] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[requests.Session]:
        """Lend a session; one whose use failed is not lent again."""
        with self._lock:
            session = self._idle.pop() if self._idle else None
        if session is None:
            session = self._open()
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(session)
                return
        session.close()

    def close(self) -> None:
        """Close all connections that are not in use, and the others once they are not."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _open(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = not self._on_this_machine
        session.auth = _as_it_is  # otherwise passwords of ~/.netrc would take the place of the token
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers.clear()
        session.headers.update(_HEADERS)
        adapter = _Adapter(pool_connections=2, pool_maxsize=1)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(HTTPAdapter):
    """Opens connections that print nothing."""

    def init_poolmanager(self, *args: object, **options: object) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **options)  # type: ignore[arg-type]  # passed on as they came
        _adopt(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: object) -> PoolManager:
        """Make the manager of connections through *proxy*; one for SOCKS has its own kind, and keeps it."""
        manager: PoolManager = super().proxy_manager_for(proxy, **options)  # type: ignore[no-untyped-call, unused-ignore]
        _adopt(manager)
        return manager


class _Plain(HTTPConnection):
    debuglevel = 0  # whatever the user has set for all


class _Encrypted(HTTPSConnection):
    debuglevel = 0


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


def _adopt(manager: PoolManager) -> None:
    if manager.pool_classes_by_scheme.get("http") is HTTPConnectionPool:
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
