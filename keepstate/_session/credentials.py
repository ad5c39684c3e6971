"""Find the keys of a far store where users keep them: the environment, the usual files, the host's secrets.

Done once, inside ``start()``, on the main thread: Colab's secrets and its sign-in ask the browser, and only
the thread of the running cell may do that. Nothing is shown or kept on disk. Whatever goes wrong becomes a
remark, for a session without a key still guards locally.
"""

from __future__ import annotations

import importlib
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError

from keepstate.backends import Credentials
from keepstate.backends._object_store import usual_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keepstate._hosts import Host
    from keepstate.backends import Address


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found, and what the user should know about the search."""

    credentials: Credentials
    remarks: tuple[str, ...] = ()
    """Sentences; none of them holds a secret."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """What opens the stores of one scheme."""

    ways: tuple[tuple[str, ...], ...] = ()
    """Any of them is enough, if all of its names are there."""
    optional: tuple[str, ...] = ()
    """What belongs to a key, and is taken from where the key is, never from elsewhere."""
    settings: tuple[str, ...] = ()
    """What is no secret, and may come from anywhere."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for way in self.ways for name in way)

    def suffice(self, found: Mapping[str, str]) -> bool:
        """Whether *found* is enough."""
        return any(all(name in found for name in way) for way in self.ways)

    def among(self, values: Mapping[str, str]) -> dict[str, str]:
        """Give what matters of *values*, without the spaces and line ends that come with pasting."""
        wanted = (*self.names, *self.optional, *self.settings)
        stripped = {name: values.get(name, "").strip() for name in wanted}
        return {name: value for name, value in stripped.items() if value}

    def together(self, *sources: Mapping[str, str]) -> dict[str, str]:
        """Merge what several places have of one key, weakest first."""
        found: dict[str, str] = {}
        for source in sources:
            has_key = any(name in source for name in self.names)
            found |= {name: source[name] for name in source if has_key or name in self.settings}
        return found


_AWS = _Keys(
    ways=(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),),
    optional=("AWS_SESSION_TOKEN",),
    settings=("AWS_REGION", "AWS_ENDPOINT_URL"),
)
_KEYS: Mapping[str, _Keys] = {
    "s3": _AWS,
    "hf": _Keys(ways=_AWS.ways),  # the gateway takes keys of that form, and no tokens
    "gs": _Keys(ways=(("GOOGLE_APPLICATION_CREDENTIALS",),)),
    "az": _Keys(
        ways=(("AZURE_STORAGE_ACCOUNT_KEY",), ("AZURE_STORAGE_SAS_TOKEN",)),
        settings=("AZURE_STORAGE_ACCOUNT_NAME",),
    ),
    "gdrive": _Keys(ways=(("GDRIVE_CREDENTIALS",), ("GDRIVE_TOKEN",))),  # a token lasts an hour
}
"""Scheme → its keys, by the names under which the tools of each place look for them."""


def gather_credentials(
    address: Address, *, host: Host, environ: Mapping[str, str], internet: bool | None = None
) -> Gathered:
    """Look for the keys of *address*: in *environ*, in the usual files, then in the host's secrets.

    A place that has a whole key is enough, and the next is not looked at. On Colab, a store on Drive without
    any key asks the user to sign in.

    Args:
        address: The store.
        host: Where this runs; only Colab and Kaggle keep secrets.
        environ: Variables of the process.
        internet: Whether there is any; ``False`` spares the wait for a service that cannot answer.
    """
    keys = _KEYS.get(address.scheme, _Keys())
    here = keys.among(environ)
    if keys.suffice(here) or not keys.ways:
        return Gathered(Credentials(here))
    filed, remarks = _read_files(keys, address, environ)
    if keys.suffice(filed):
        return Gathered(Credentials(keys.together(filed, _only(keys.settings, here))))
    state = random.getstate()  # what the host's own modules draw must not change the user's next number
    try:
        inquiry = _Inquiry(host, internet)
        asked = inquiry.about(keys, known={**filed, **here})
        found = keys.together(filed, asked, here)
        remarks += inquiry.remarks
        if not keys.suffice(found):
            if address.scheme != "gdrive":
                remarks.append(_what_is_missing(address, keys, found, host))
            elif host.name == "colab" and inquiry.answered:
                remarks += _sign_in()
    finally:
        random.setstate(state)
    return Gathered(Credentials(found), tuple(remarks))


def _read_files(
    keys: _Keys, address: Address, environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    try:
        return keys.among(usual_files(address.scheme, environ)), []
    except Exception as error:  # noqa: BLE001 - files of other tools may hold anything, and start() goes on
        return {}, [
            f"the files in which keys for {address} usually are cannot be read ({type(error).__name__})"
        ]


def _only(names: tuple[str, ...], values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in names if name in values}


_PANEL: Mapping[str, str] = {
    "colab": "Colab's secrets (the key symbol at the left edge)",
    "kaggle": "Kaggle's secrets (Add-ons, Secrets)",
}
"""Host → where its users keep secrets."""


def _what_is_missing(address: Address, keys: _Keys, found: Mapping[str, str], host: Host) -> str:
    there = [name for name in keys.names if name in found]
    ways = " or ".join(
        " and ".join(name for name in way if name not in found)
        for way in keys.ways
        if not there or any(name in found for name in way)
    )
    place = f"{_PANEL[host.name]} or the environment" if host.name in _PANEL else "the environment"
    but = f"only {' and '.join(there)} was found" if there else "no key was found"
    return f"{but} for {address}: put {ways} into {place} and start again"


class _UnreadableError(Exception):
    """One secret cannot be had; others may."""


class _SilenceError(Exception):
    """Nobody answers; more questions would only take more time."""


class _Inquiry:
    """Questions to the host's secrets, each asked once, until nobody answers."""

    def __init__(self, host: Host, internet: bool | None) -> None:
        self.remarks: list[str] = []
        self.answered = True
        """Whether every question so far was answered, also by *there is no such*."""
        self._open = _SECRETS.get(host.name)
        self._secrets: _Secrets | None = None
        if self._open is not None and threading.current_thread() is not threading.main_thread():
            self._end("the host's secrets are not read, since start() does not run on the main thread")
        elif host.name == "kaggle" and internet is False:
            self._end("Kaggle's secrets are not read, since the internet is switched off here")

    def about(self, keys: _Keys, known: Mapping[str, str]) -> dict[str, str]:
        """Ask for what opens the store, and once it opens for what goes with it."""
        found: dict[str, str] = {}
        for way in keys.ways:
            for name in way:
                if name not in known and (value := self._ask(name)):
                    found[name] = value
                elif name not in known:
                    break  # the rest of this key is of no use
            if keys.suffice({**known, **found}):
                further = (*keys.optional, *keys.settings) if found else ()
                found |= {name: value for name in further if name not in known and (value := self._ask(name))}
                break
        return found

    def _ask(self, name: str) -> str | None:
        if self._open is None:
            return None
        try:
            self._secrets = self._secrets or self._open()
            return self._secrets.ask(name).strip()
        except _UnreadableError as error:
            self.remarks.append(str(error))
        except _SilenceError as error:
            self._end(str(error))
        except ImportError as error:
            self._end(f"the host's secrets cannot be read: {error.name or 'their library'} is not there")
        return None

    def _end(self, why: str) -> None:
        self.remarks.append(why)
        self.answered = False
        self._open = None


class _Secrets(Protocol):
    """The secrets that a host keeps for its user."""

    def ask(self, name: str) -> str:
        """Give one of them; empty: there is no such.

        Raises:
            _UnreadableError: This one cannot be had.
            _SilenceError: None can.
        """
        ...


class _ColabSecrets:
    """Colab's: a question goes to the browser and waits up to 10 s. Source: google/colab/userdata.py."""

    def __init__(self) -> None:
        self._userdata: Any = importlib.import_module("google.colab.userdata")

    def ask(self, name: str) -> str:
        try:
            return str(self._userdata.get(name))
        except self._userdata.SecretNotFoundError:
            return ""
        except self._userdata.NotebookAccessError as error:
            raise _UnreadableError(
                f"the secret {name} is there, but this notebook may not read it: switch its notebook access "
                "on (the key symbol at the left edge) and start again"
            ) from error
        except Exception as error:
            raise _SilenceError(
                f"Colab's secrets cannot be read, because no browser answers ({type(error).__name__})"
            ) from error


class _KaggleSecrets:
    """Kaggle's: a question is a request that waits up to 40 s. Source: docker-python, kaggle_secrets.py."""

    _NOT_THERE = "No user secrets exist"

    def __init__(self) -> None:
        self._kaggle: Any = importlib.import_module("kaggle_secrets")

    def ask(self, name: str) -> str:
        try:
            return str(self._kaggle.UserSecretsClient().get_secret(name))
        except ConnectionError as error:
            # An answer with an error code comes as this error, too: HTTPError is a kind of URLError.
            if isinstance(error.__cause__, HTTPError):
                why = f"their service answers {error.__cause__.code}"
            else:
                why = "their service cannot be reached: is the internet switched on (Settings)?"
            raise _SilenceError(f"Kaggle's secrets cannot be read, {why}") from error
        except Exception as error:
            if self._NOT_THERE in str(error):
                return ""
            raise _SilenceError(f"Kaggle's secrets cannot be read ({type(error).__name__})") from error


_SECRETS: Mapping[str, Callable[[], _Secrets]] = {"colab": _ColabSecrets, "kaggle": _KaggleSecrets}
"""Host → its secrets."""


def _sign_in() -> list[str]:
    """Let Colab ask the user for access to Drive; where that was given before, it returns at once."""
    try:
        importlib.import_module("google.colab.auth").authenticate_user()
    except Exception as error:  # noqa: BLE001 - of any kind, it means that nobody has signed in
        why = f"nobody signed in to Google ({type(error).__name__})"
        return [f"{why}: to reach the store on Drive, start again and allow access when Colab asks for it"]
    return []
