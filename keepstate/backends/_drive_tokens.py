"""Where the token that opens Drive comes from, and how it is renewed. Nobody is asked to sign in here.

A sign-in needs a browser and a running cell, so it is done by ``start()`` on the main thread; what it leaves
behind (a stored credential, or Colab's metadata server) gives tokens to any thread and process afterwards.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import requests
import urllib3

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.quiet import silence
from keepstate._base.retry import read_retry_after
from keepstate.backends._credentials import Credentials
from keepstate.backends._drive_errors import SIGN_IN, read_reasons
from keepstate.backends._drive_wire import Sessions
from keepstate.errors import CredentialsError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate._base.clock import Clock

SCOPE = "https://www.googleapis.com/auth/drive"
"""All of Drive: with the narrower ``drive.file`` a store that a mount has written would not be seen."""

WANTED = ("GDRIVE_CREDENTIALS", "GDRIVE_TOKEN")
"""Names of secrets that open a Drive: a stored user credential (JSON), or a token that lasts an hour."""

_TOKEN_URI = "https://oauth2.googleapis.com/token"

_EARLY_SECONDS = 60.0
"""A token is renewed so long before its end: a request that carries it may be on its way for a while."""

_USUAL_SECONDS = 3600.0
"""Lifetime of a token whose answer does not say it; Google's last an hour."""

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0


class Tokens(Protocol):
    """Gives tokens. For any number of threads."""

    def token(self) -> str:
        """Give one that should be good.

        Raises:
            CredentialsError: Nobody has signed in, or the sign-in was withdrawn.
            UnavailableError: It could not be renewed now.
        """
        ...

    def refresh(self, rejected: str) -> None:
        """Renew the token, unless another thread did it since *rejected* was given.

        Raises:
            CredentialsError: There is no way to another one.
            UnavailableError: It did not work now.
        """
        ...

    def redact(self, text: object) -> str:
        """Give *text* without any secret."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


def open_tokens(credentials: Credentials, *, clock: Clock = SYSTEM_CLOCK) -> Tokens:
    """Choose the source: a stored credential, else a token, else what ``google.auth`` finds.

    Raises:
        CredentialsError: ``GDRIVE_CREDENTIALS`` is there and no credential.
    """
    if stored := credentials.reveal("GDRIVE_CREDENTIALS"):
        return StoredCredential(stored, clock=clock)
    if token := credentials.reveal("GDRIVE_TOKEN"):
        return FixedToken(token)
    return SignedIn()


class FixedToken:
    """One token, until its end."""

    def __init__(self, token: str) -> None:
        self._secret = Credentials({"token": token.strip()})
        self._token = token.strip()

    def token(self) -> str:
        """Give it."""
        return self._token

    def refresh(self, rejected: str) -> None:  # noqa: ARG002 - the Protocol has it
        """Say that it cannot be renewed."""
        raise CredentialsError(
            "Google Drive does not accept the token in GDRIVE_TOKEN; tokens last an hour: give a new one, or "
            "a GDRIVE_CREDENTIALS, which renews itself"
        )

    def redact(self, text: object) -> str:
        """Take the token out."""
        return self._secret.redact(text)

    def close(self) -> None:
        """There is nothing to give back."""


class _Renewing:
    """A token that is renewed by one thread while the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token = ""
        self._secrets = Credentials()

    def token(self) -> str:
        """Give the token, and renew it before its end."""
        with self._lock:
            if not self._token or self._is_worn():
                self._take(self._renew())
            return self._token

    def refresh(self, rejected: str) -> None:
        """Renew the token at once."""
        with self._lock:
            if self._token == rejected:
                self._take(self._renew())

    def redact(self, text: object) -> str:
        """Take all secrets out."""
        return self._secrets.redact(text)

    def _take(self, token: str) -> None:
        self._token = token
        # The last ones stay: an answer to a request that carried one may still come.
        known = self._secrets.reveal_all()
        self._secrets = Credentials({**known, "before": known.get("token", ""), "token": token})

    def _is_worn(self) -> bool:
        raise NotImplementedError

    def _renew(self) -> str:
        raise NotImplementedError


class StoredCredential(_Renewing):
    """A user's credential as Google's libraries store it: whoever has it gets tokens until it is withdrawn.

    Args:
        text: JSON with ``client_id``, ``client_secret``, ``refresh_token``, and maybe ``token_uri``.
        clock: Tells when a token ends.

    Raises:
        CredentialsError: It is not such a text.
    """

    def __init__(self, text: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__()
        self._clock = clock
        self._ends = 0.0
        fields: dict[str, str] = {}
        try:
            said = json.loads(text)
        except ValueError:
            said = None  # the error would show a piece of the text
        for name in ("client_id", "client_secret", "refresh_token"):
            value = said.get(name) if isinstance(said, dict) else None
            if not isinstance(value, str) or not value:
                raise CredentialsError(
                    f"GDRIVE_CREDENTIALS has no {name}: give the JSON that a sign-in stored for a user, with "
                    "client_id, client_secret and refresh_token"
                )
            fields[name] = value
        uri = said.get("token_uri", _TOKEN_URI)
        host = urlsplit(uri).hostname if isinstance(uri, str) else None
        self._on_this_machine = is_this_machine(host)
        schemes = ("https://", "http://") if self._on_this_machine else ("https://",)
        if not host or not uri.startswith(schemes):
            raise CredentialsError("GDRIVE_CREDENTIALS has a token_uri that is no https:// address")
        self._uri = uri
        self._fields = fields
        self._secrets = Credentials(fields)
        self._sessions = Sessions(on_this_machine=self._on_this_machine)

    def close(self) -> None:
        """Close the connection to the server of tokens."""
        self._sessions.close()

    def _is_worn(self) -> bool:
        return self._clock.monotonic() >= self._ends - _EARLY_SECONDS

    def _renew(self) -> str:
        began = self._clock.monotonic()
        status, headers, body = self._ask()
        if status != 200:
            self._refuse(status, headers, body)
        try:
            said = json.loads(body)
            token, seconds = said["access_token"], float(said.get("expires_in", _USUAL_SECONDS))
        except (ValueError, TypeError, KeyError, AttributeError):
            token, seconds = None, 0.0
        if not isinstance(token, str) or not token:
            raise UnavailableError("Google's server of tokens answered without a token: ask again later")
        self._ends = began + seconds
        return token

    def _ask(self) -> tuple[int, dict[str, str], bytes]:
        # Raised outside of the handler: what a library says of a request may show what was in it.
        failed = ""
        with silence():
            try:
                with self._sessions.one() as session:
                    answer = session.post(
                        self._uri,
                        data={"grant_type": "refresh_token", **self._fields},
                        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                        allow_redirects=False,
                    )
                return answer.status_code, {**answer.headers}, answer.content
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                failed = type(error).__name__
        raise UnavailableError(f"Google's server of tokens could not be reached ({failed}): ask again later")

    def _refuse(self, status: int, headers: dict[str, str], body: bytes) -> None:
        reasons, sentence = read_reasons(body)
        said = ", ".join(filter(None, (str(status), " ".join(reasons), self.redact(sentence))))
        if status == 429 or status >= 500:
            asked = read_retry_after(headers.get("Retry-After"), self._clock.utc_now())
            raise UnavailableError(
                f"Google's server of tokens is too busy ({said}): ask again later", retry_after_seconds=asked
            )
        raise CredentialsError(
            f"Google does not renew the sign-in ({said}): it was withdrawn or has ended; {SIGN_IN}"
        )


class SignedIn(_Renewing):
    """Whatever sign-in ``google.auth`` finds: on Colab the user's, after ``authenticate_user``."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions = Sessions(on_this_machine=False)
        self._found: object = None

    def close(self) -> None:
        """Close the connection to the server of tokens."""
        self._sessions.close()

    def _is_worn(self) -> bool:
        return not getattr(self._found, "valid", False)

    def _renew(self) -> str:
        with silence(), _translating():
            import google.auth
            import google.auth.transport.requests

            with self._sessions.one() as session:
                request = google.auth.transport.requests.Request(session)
                if self._found is None:
                    self._found, _project = google.auth.default(scopes=[SCOPE], request=request)
                self._found.refresh(request)  # type: ignore[attr-defined]  # every kind of theirs has it
            return str(self._found.token)  # type: ignore[attr-defined]


@contextmanager
def _translating() -> Iterator[None]:
    """Say what ``google.auth`` says in the words of this package, and nothing that it quotes."""
    try:
        yield
        return
    except ImportError:
        failure: Exception = CredentialsError(
            "for gdrive:// give a GDRIVE_CREDENTIALS or GDRIVE_TOKEN, or install google-auth and sign in"
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        failure = UnavailableError(
            f"no token for Drive could be got ({type(error).__name__}): ask again later"
        )
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "GoogleAuthError" not in kinds:
            raise
        if "TransportError" in kinds or getattr(error, "retryable", False):
            failure = UnavailableError("Google's server of tokens could not be reached: ask again later")
        elif "DefaultCredentialsError" in kinds:
            failure = CredentialsError(f"nobody has signed in to Google here: {SIGN_IN}")
        else:
            failure = CredentialsError(
                f"Google does not renew the sign-in ({type(error).__name__}): {SIGN_IN}"
            )
    raise failure from None


def is_this_machine(host: str | None) -> bool:
    """Say whether a host of an address is this machine itself."""
    return host in ("127.0.0.1", "localhost", "::1")
