"""What the Jupyter server itself takes for this kernel's last activity: the clock by which it culls.

Asked seldom (ahead of an idle deadline), with a short time limit, and so that asking is no activity: with
``no_track_activity`` (jupyter_server's ``APIHandler.update_api_activity``), and straight, not through the
proxy of a hub, which would count it.

The question is one line over a socket. A library for it would go through the user's proxies, log to their
handlers at level DEBUG (what a thread prints into a cell is activity), and wait as long as a stranger on that
port sends now and then a byte.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from keepstate._base.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.5
"""To the last byte. A server that is slower is not asked again for this deadline; our own clock stands."""
TOTAL_SECONDS = 3.0
"""For all servers that are asked."""
MOST_BYTES = 1 << 20
"""Of a file that describes a server, and of an answer; they have some hundred."""

_EVERYWHERE = ("", "*", "0.0.0.0", "::")
"""Addresses at which a server listens, and nobody can call."""
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Server:
    """A server that may be ours."""

    encrypted: bool
    host: str
    port: int
    path: str
    """Of its API: begins and ends with a slash."""
    token: str = field(repr=False)


def last_activity(environment: Mapping[str, str], kernel_id: str) -> datetime | None:
    """Ask the servers of this machine for the kernel of that id.

    Returns:
        When it was last active, aware, in UTC; ``None`` if no server answers, or none knows it. Never raises.
    """
    until = SYSTEM_CLOCK.monotonic() + TOTAL_SECONDS
    for server in _servers(environment):
        left = until - SYSTEM_CLOCK.monotonic()
        if left <= 0:
            break
        try:
            answer = _ask(server, kernel_id, min(ANSWER_SECONDS, left))
            if answer is not None:
                return _time_in(answer)
        except Exception:  # noqa: BLE001 - whoever listens there may say anything; then it is not ours
            continue
    return None


# -- which servers there are ---------------------------------------------------------------------------


def _servers(environment: Mapping[str, str]) -> Iterator[Server]:
    """The hub's first: its address and token are in the environment; then those in the runtime folder."""
    if hub_token := environment.get("JUPYTERHUB_API_TOKEN"):
        with suppress(ValueError):  # no address that can be called
            yield _server(environment.get("JUPYTERHUB_SERVICE_URL", ""), hub_token)
    parent = environment.get("JPY_PARENT_PID")
    described = sorted(_described(environment), key=lambda about: str(about.get("pid")) != parent)
    for about in described:
        url, token, host = about.get("url"), about.get("token"), about.get("hostname")
        if isinstance(url, str) and isinstance(token, str):
            with suppress(ValueError):
                # Where it listens everywhere, its address has the machine's name, which need not be known.
                yield _server(url, token or _token(environment), host if isinstance(host, str) else None)


def _server(url: str, token: str, host: str | None = None) -> Server:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an address of a web server")
    encrypted = parts.scheme == "https"
    host = parts.hostname or "" if host is None else host
    return Server(
        encrypted=encrypted,
        host="127.0.0.1" if host in _EVERYWHERE else host,
        port=parts.port or (443 if encrypted else 80),
        path=parts.path.rstrip("/") + "/",
        token=token,
    )


def _token(environment: Mapping[str, str]) -> str:
    if token := environment.get("JUPYTER_TOKEN"):
        return token
    text = _read(Path(environment.get("JUPYTER_TOKEN_FILE", "")))
    return "" if text is None else text.strip()


def _described(environment: Mapping[str, str]) -> Iterator[dict[str, object]]:
    paths: list[Path] = []
    with suppress(OSError):  # a folder that may not be read
        paths = list(_runtime_folder(environment).glob("jpserver-*.json"))
    for path in paths:
        text = _read(path)
        with suppress(ValueError, RecursionError):  # being written, or of a server that is gone
            about = None if text is None else json.loads(text)
            if isinstance(about, dict):
                yield about


def _read(path: Path) -> str | None:
    """Read a small text; ``None`` if it is none, also for a pipe, at which reading would wait."""
    with suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return path.read_text(encoding="utf-8")
    return None


def _runtime_folder(environment: Mapping[str, str]) -> Path:
    """As ``jupyter_core.paths.jupyter_runtime_dir`` finds it on Linux, without importing that."""
    if given := environment.get("JUPYTER_RUNTIME_DIR"):
        return Path(given)
    data = environment.get("JUPYTER_DATA_DIR")
    if not data:
        home = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        data = os.path.join(home, "jupyter")
    return Path(data, "runtime")


# -- question and answer -------------------------------------------------------------------------------


def _ask(server: Server, kernel_id: str, seconds: float) -> bytes | None:
    """Return the body of the answer; ``None`` if it is a refusal."""
    answer = _exchange(server, _question(server, kernel_id), seconds)
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if head.split(None, 2)[1] == b"200" else None


def _question(server: Server, kernel_id: str) -> bytes:
    """In version 1.0 of the protocol: the answer is one piece, and ends when the connection does."""
    path = quote(f"{server.path}api/kernels/", safe="/%") + quote(kernel_id, safe="")
    host = f"[{server.host}]" if ":" in server.host else server.host
    lines = [
        f"GET {path}?no_track_activity=1 HTTP/1.0",
        f"Host: {host}:{server.port}",
        "Accept: application/json",
        *([f"Authorization: token {server.token}"] if server.token else []),
    ]
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError("the token has characters that no token has")
    return "".join(line + "\r\n" for line in [*lines, ""]).encode("ascii")


def _exchange(server: Server, question: bytes, seconds: float) -> bytes:
    until = SYSTEM_CLOCK.monotonic() + seconds
    address = (server.host, server.port)
    with socket.create_connection(address, min(CONNECT_SECONDS, seconds)) as plain:
        wire = _encrypt(plain, server.host) if server.encrypted else plain
        answer = bytearray()
        wire.sendall(question)
        while (left := until - SYSTEM_CLOCK.monotonic()) > 0 and len(answer) <= MOST_BYTES:
            wire.settimeout(left)
            piece = wire.recv(_READ_BYTES)
            if not piece:
                return bytes(answer)
            answer += piece
    raise TimeoutError("it does not come to an end")


def _encrypt(plain: socket.socket, host: str) -> socket.socket:
    import ssl

    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _time_in(answer: bytes) -> datetime:
    found = datetime.fromisoformat(json.loads(answer)["last_activity"])
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
