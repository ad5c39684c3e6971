"""Settings that a project keeps in a file: ``keepstate.toml``, or ``[tool.keepstate]`` in ``pyproject.toml``.

They stand in for arguments of ``start()`` that were left out, and for the host where its marks mislead. An
argument is stronger, and so are ``KEEPSTATE_STORE`` and ``KEEPSTATE_HOST``. Such a file may come with
somebody else's notebook: it names no webhook, and see :mod:`keepstate._session.trust` for stores.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepstate._session.options import DEFAULTS, POLICIES
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_FILE = "keepstate.toml"
SHARED_FILE = "pyproject.toml"
NO_LIMIT = "none"
"""What TOML, which has no null, says for a limit that is not there."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the nearest file says."""

    path: Path | None = None
    """The file; ``None``: there is none."""
    host: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    """Argument of ``start()`` → value; not checked yet."""

    def completing(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Give the arguments of a call, and what the file says for those that were left out."""
        said = dict(self.arguments)
        if os.environ.get("KEEPSTATE_STORE"):
            said.pop("store", None)
        left_out = {name for name, value in given.items() if name in DEFAULTS and value == DEFAULTS[name]}
        return {
            **given,
            **{name: value for name, value in said.items() if name not in given or name in left_out},
        }


def read_settings(folder: Path) -> Settings:
    """Read the nearest file, in *folder* or above it.

    Raises:
        InvalidInputError: It is no TOML, or says something that keepstate does not know.
    """
    for each in (folder, *folder.parents):
        for name in (OWN_FILE, SHARED_FILE):
            path = each / name
            found = _read(path)
            if found is not None:
                return _settings(path, found)
    return Settings()


def _read(path: Path) -> Mapping[str, object] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # not there, or not ours to read
        return None
    if path.name == SHARED_FILE and "tool.keepstate" not in text:
        return None  # of a project that has nothing to say to us, sound or not
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} is no TOML: {error}") from error
    if path.name == OWN_FILE:
        return document
    own = document.get("tool", {}).get("keepstate")
    return own if isinstance(own, dict) else None


def _settings(path: Path, found: Mapping[str, object]) -> Settings:
    unknown = sorted(found.keys() - DEFAULTS.keys() - POLICIES - {"host"})
    if unknown:
        known = ", ".join(sorted(DEFAULTS.keys() | POLICIES | {"host"}))
        raise InvalidInputError(
            f"{path} says {', '.join(unknown)}, which keepstate does not know: use {known}"
        )
    if "notify" in found:
        raise InvalidInputError(
            f"{path} says notify: a file that came with a notebook could send names elsewhere, so give it to "
            "start(notify=…) or in KEEPSTATE_NOTIFY"
        )
    arguments = {name: value for name, value in found.items() if name != "host"}
    if "store" in arguments:
        arguments["store"] = _store(path, arguments["store"])
    if "limits" in arguments:
        arguments["limits"] = _limits(path, arguments["limits"])
    host = found.get("host")
    if host is not None and not isinstance(host, str):
        raise InvalidInputError(f"{path} says host = {host!r}: give the name of a host in quotes")
    return Settings(path, host, arguments)


def _store(path: Path, store: object) -> str:
    """A relative path counts from the file."""
    if not isinstance(store, str) or not store:
        raise InvalidInputError(f"{path} says store = {store!r}: give the path of a folder in quotes")
    if "://" in store and not store.startswith("file://"):
        return store
    return os.path.normpath(path.parent / Path(store.removeprefix("file://")).expanduser())


def _limits(path: Path, limits: object) -> Mapping[str, object]:
    if not isinstance(limits, dict):
        raise InvalidInputError(
            f"{path} says limits = {limits!r}: give a table with idle_seconds, lifetime_seconds"
        )
    return {name: None if value == NO_LIMIT else value for name, value in limits.items()}
