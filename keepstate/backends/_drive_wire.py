"""Connections for requests to Google that print nothing and that nothing else changes.

``http.client.HTTPConnection.debuglevel``, which prints, is of no effect here; what is logged is left to
:mod:`keepstate._base.quiet`.

Importing this module imports ``requests`` (0.1 s).
"""

from __future__ import annotations

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

_HEADERS = {"User-Agent": "keepstate", "Accept": "*/*", "Accept-Encoding": "identity"}
"""Not compressed: packs are already, and lengths can be compared."""


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
