"""One request to a webhook: bounded in time, silent, and without a word of its address in any error.

The adapter of ``requests`` is used without its session: that would follow redirects (or, told not to, still
read the whole body of one), keep cookies, and send passwords from ``~/.netrc``.

``http.client.HTTPConnection.debuglevel``, which prints, is of no effect here; what is logged is left to
:mod:`keepstate._base.quiet`.

Importing this module imports ``requests`` (0.1 s); it is done when there is something to send it to.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._base.retry import read_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.poolmanager import PoolManager

    from keepstate._session.notify_formats import Parcel

CONNECT_SECONDS = 5.0
"""For each address that the host has."""
READ_SECONDS = 10.0
"""Between two pieces of the answer's head; nothing of the body is read."""
SHORTEST_SECONDS = 0.1
"""A limit of 0 would mean none."""

TOO_MANY_REQUESTS = 429

_HEADERS = {
    "User-Agent": "keepstate",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class WebhookError(Exception):
    """The webhook did not take a message; the text says why in words that show no address."""

    def __init__(self, sentence: str, *, worth: bool, asked_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.worth = worth
        """Whether trying again may help."""
        self.asked_seconds = asked_seconds
        """How long the server asked to wait first."""


class Webhook:
    """Posts, one request at a time, from one thread; another may cut a request short."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._connections: list[HTTPConnection] = []

    def post(self, parcel: Parcel, seconds_left: float) -> None:
        """Send *parcel* and look at the status of the answer.

        Args:
            parcel: What to send, and where.
            seconds_left: Neither the connection nor a pause in the answer may take longer.

        Raises:
            WebhookError: It was not taken.
        """
        self._connections = []
        limits = tuple(max(SHORTEST_SECONDS, min(s, seconds_left)) for s in (CONNECT_SECONDS, READ_SECONDS))
        # Raised outside the handler: a chained error of requests would have the address in its text.
        failure = self._attempt(parcel, (limits[0], limits[1]))
        if failure is not None:
            raise failure

    def _attempt(self, parcel: Parcel, limits: tuple[float, float]) -> WebhookError | None:
        try:
            request = requests.Request(
                "POST", parcel.url, headers={**_HEADERS, **parcel.headers}, data=parcel.body
            ).prepare()
            with _closing(_Adapter(self._connections)) as adapter:
                response = adapter.send(
                    request,
                    stream=True,
                    timeout=limits,
                    verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
                    proxies=get_environ_proxies(parcel.url),
                )
                response.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a sentence without an address
            return _failure(error)
        return self._refusal(response)

    def _refusal(self, response: requests.Response) -> WebhookError | None:
        status = response.status_code
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            return WebhookError(f"it redirects elsewhere ({status}), which is not followed", worth=False)
        asked = read_retry_after(response.headers.get("Retry-After"), self._clock.utc_now())
        worth = status == TOO_MANY_REQUESTS or status >= 500
        return WebhookError(f"it answered with status {status}", worth=worth, asked_seconds=asked)

    def cut_short(self) -> None:
        """Make the request that runs now, if one does, fail at once; called from another thread."""
        for connection in list(self._connections):
            wire = connection.sock
            if isinstance(wire, socket.socket):
                try:
                    # Not the method of a TLS socket, which takes things away that the other thread uses.
                    socket.socket.shutdown(wire, socket.SHUT_RDWR)
                except OSError:
                    pass  # it is gone already


class _Adapter(HTTPAdapter):
    """Opens connections that print nothing, and puts them on a list."""

    def __init__(self, opened: list[HTTPConnection]) -> None:
        self._opened = opened
        super().__init__()

    def init_poolmanager(self, *args: object, **options: object) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **options)  # type: ignore[arg-type]  # passed on as they came
        self._adopt(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: object) -> PoolManager:
        """Make the manager of connections through *proxy*; one for SOCKS has its own kind, and keeps it."""
        manager: PoolManager = super().proxy_manager_for(proxy, **options)  # type: ignore[no-untyped-call, unused-ignore]
        self._adopt(manager)
        return manager

    def _adopt(self, manager: PoolManager) -> None:
        if manager.pool_classes_by_scheme.get("http") is HTTPConnectionPool:
            manager.pool_classes_by_scheme = _pool_classes(self._opened)


def _pool_classes(opened: list[HTTPConnection]) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        debuglevel = 0  # whatever the user has set for all

        def connect(self) -> None:
            opened.append(self)
            super().connect()

    class Encrypted(HTTPSConnection):
        debuglevel = 0

        def connect(self) -> None:
            opened.append(self)
            super().connect()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


@contextmanager
def _closing(adapter: _Adapter) -> Iterator[_Adapter]:
    try:
        yield adapter
    finally:
        adapter.close()


def _failure(error: Exception) -> WebhookError:
    """Say what happened by the kind of *error* alone; its text has the address in it."""
    if isinstance(error, requests.exceptions.SSLError):
        return WebhookError("no trusted TLS connection could be made", worth=True)
    if isinstance(error, requests.exceptions.ProxyError):
        return WebhookError("the proxy that the environment names did not let it through", worth=True)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return WebhookError("no connection could be made in time", worth=True)
    if isinstance(error, requests.exceptions.Timeout):
        return WebhookError("it did not answer in time", worth=True)
    if isinstance(error, requests.exceptions.ConnectionError):
        return WebhookError("the connection could not be made, or broke", worth=True)
    return WebhookError(f"the request could not be sent ({type(error).__name__})", worth=False)
