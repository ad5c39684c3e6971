"""What the Jupyter server itself takes for this kernel's last activity: the clock by which it culls.

Asked seldom (ahead of an idle deadline), with a short time limit, and so that asking is no activity: with
``no_track_activity`` (jupyter_server's ``APIHandler.update_api_activity``), and straight, not through the
proxy of a hub, which would count it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_SECONDS = 0.5
READ_SECONDS = 1.5
"""A server that is slower than this is not asked again for this deadline; our own clock stands."""
MOST_BYTES = 1 << 20
"""Of a file that describes a server; they have some hundred."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that may be ours."""

    url: str
    """Ends with a slash."""
    token: str = field(repr=False)


def last_activity(environment: Mapping[str, str], kernel_id: str) -> datetime | None:
    """Ask the servers of this machine for the kernel of that id.

    Returns:
        When it was last active, aware, in UTC; ``None`` if no server answers, or none knows it. Never raises.
    """
    for server in _servers(environment):
        if (found := _ask(server, kernel_id)) is not None:
            return found
    return None


def _servers(environment: Mapping[str, str]) -> Iterator[Server]:
    """The hub's first: its address and token are in the environment; then those in the runtime folder."""
    service = environment.get("JUPYTERHUB_SERVICE_URL", "")
    if service.startswith("http") and (hub_token := environment.get("JUPYTERHUB_API_TOKEN")):
        yield Server(_local(service), hub_token)
    parent = environment.get("JPY_PARENT_PID")
    described = sorted(_described(environment), key=lambda about: str(about.get("pid")) != parent)
    for about in described:
        url, token = about.get("url"), about.get("token")
        if isinstance(url, str) and url.startswith("http") and isinstance(token, str):
            yield Server(_local(url), token or _token(environment))


def _token(environment: Mapping[str, str]) -> str:
    if token := environment.get("JUPYTER_TOKEN"):
        return token
    with suppress(OSError, UnicodeDecodeError):
        return Path(environment.get("JUPYTER_TOKEN_FILE", "")).read_text(encoding="utf-8").strip()
    return ""


def _local(url: str) -> str:
    """Where the server listens is where it is asked; 0.0.0.0 is everywhere, so here too."""
    parts = urlsplit(url)
    host = parts.netloc.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    return parts._replace(netloc=host, path=parts.path.rstrip("/") + "/", query="", fragment="").geturl()


def _described(environment: Mapping[str, str]) -> Iterator[dict[str, object]]:
    for path in _runtime_folder(environment).glob("jpserver-*.json"):
        with suppress(OSError, ValueError):  # being written, or of a server that is gone
            if path.stat().st_size <= MOST_BYTES:
                about = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(about, dict):
                    yield about


def _runtime_folder(environment: Mapping[str, str]) -> Path:
    """As ``jupyter_core.paths.jupyter_runtime_dir`` finds it on Linux, without importing that."""
    if given := environment.get("JUPYTER_RUNTIME_DIR"):
        return Path(given)
    data = environment.get("JUPYTER_DATA_DIR")
    if not data:
        home = environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        data = os.path.join(home, "jupyter")
    return Path(data, "runtime")


def _ask(server: Server, kernel_id: str) -> datetime | None:
    import requests

    with suppress(requests.RequestException, ValueError, TypeError, KeyError), requests.Session() as session:
        session.trust_env = False  # no proxy, and no password of a file, between us and this machine
        answer = session.get(
            f"{server.url}api/kernels/{kernel_id}",
            params={"no_track_activity": "1"},
            headers={"Authorization": f"token {server.token}"} if server.token else {},
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
        )
        if answer.status_code == 200:
            found = datetime.fromisoformat(answer.json()["last_activity"])
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return None
