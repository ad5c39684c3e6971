"""One request to Drive: carried by a token, bounded in time, silent, and refused in our words.

The session address of an upload is a key to it, so no error of a library is passed on or chained: its text
would have the address in it. What went wrong is said by its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import requests
import urllib3

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.quiet import silence
from keepstate.backends._drive_answers import FILE_FIELDS, LIST_FIELDS, File, Ids, Page, read_answer
from keepstate.backends._drive_errors import read_refusal
from keepstate.backends._drive_tokens import is_this_machine
from keepstate.backends._drive_wire import Sessions
from keepstate.errors import InvalidInputError, StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from keepstate._base.clock import Clock
    from keepstate.backends._drive_tokens import Tokens
    from keepstate.errors import KeepstateError

ENDPOINT = "https://www.googleapis.com"

CONNECT_SECONDS = 20.0
"""For a connection, and for each piece that is sent: 13 KB/s, below which a network is as good as cut."""
READ_SECONDS = 120.0
"""Between two pieces of an answer; that to a long upload comes after Drive has computed its checksums."""
SHORTEST_SECONDS = 60.0
"""For a whole request without bytes to speak of."""
SLOWEST_BYTES_PER_SECOND = 50_000
"""What a request with many bytes is given more time for: 32 MiB may take eleven minutes, and no longer."""

PIECE_BYTES = 256 << 10
"""Sent or read at a time."""
LONGEST_ANSWER_BYTES = 16 << 20
"""Of one that is no content of a file: a page of 1000 files has half a MB."""

PAGE_FILES = 1000
"""The most that Drive gives in one page of a listing."""
SHARED = {"supportsAllDrives": "true"}
"""A team's folder may be on a shared drive."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: memoryview


class Pieces:
    """Bytes of several parts, without joining them, that can be sent again."""

    def __init__(self, *parts: bytes | memoryview) -> None:
        self._parts = parts
        self._nbytes = sum(len(part) for part in parts)

    def __len__(self) -> int:
        return self._nbytes

    def __iter__(self) -> Iterator[memoryview]:
        for part in self._parts:
            view = memoryview(part)
            for at in range(0, len(view), PIECE_BYTES):
                yield view[at : at + PIECE_BYTES]


class _TooSlowError(Exception):
    """A request has taken all of its time."""


class _InTime:
    """Pieces, as long as there is time."""

    def __init__(self, pieces: Pieces, clock: Clock, until: float) -> None:
        self._pieces = pieces
        self._clock = clock
        self._until = until

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[memoryview]:
        for piece in self._pieces:
            if self._clock.monotonic() > self._until:
                raise _TooSlowError
            yield piece


class Calls:
    """Makes requests, any number at a time.

    Args:
        endpoint: Where Drive is; plain ``http`` for this machine alone, because a token goes with it.
        place: What it is called in messages.
        tokens: Gives tokens.
        redact: Takes what else is secret out of a text.
        clock: The time.

    Raises:
        InvalidInputError: The endpoint is no such address.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        place: str,
        tokens: Tokens,
        redact: Callable[[object], str] = str,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        parts = urlsplit(endpoint)
        on_this_machine = is_this_machine(parts.hostname)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and on_this_machine)
        ):
            raise InvalidInputError(
                f"store: {endpoint!r} is no endpoint of Drive: give an https:// address, or leave it out"
            )
        self._endpoint = endpoint.rstrip("/")
        self._origin = (parts.scheme, parts.netloc)
        self._place = place
        self._tokens = tokens
        self._redact = redact
        self._clock = clock
        self._sessions = Sessions(on_this_machine=on_this_machine)

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return self._place

    @property
    def clock(self) -> Clock:
        """The time."""
        return self._clock

    def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Pieces | bytes = b"",
        most_bytes: int = LONGEST_ANSWER_BYTES,
        welcome: Sequence[int] = (),
    ) -> Answer:
        """Make a request, and once more with a new token if that was worn out.

        Args:
            method: Of HTTP.
            path: Below the endpoint; or a whole address that Drive gave.
            doing: What it is for, as a sentence begins, e.g. ``reading 'a/b'``.
            parameters: Of the query.
            headers: Besides the token.
            body: What is sent.
            most_bytes: Of the answer.
            welcome: Numbers of answers that are given back besides those of success.

        Raises:
            KeepstateError: It failed, or was refused with a number that is not welcome.
        """
        token = self._tokens.token()
        answer = self._once(method, path, token, doing, parameters, headers, body, most_bytes)
        if answer.status == 401:
            self._tokens.refresh(token)
            token = self._tokens.token()
            answer = self._once(method, path, token, doing, parameters, headers, body, most_bytes)
        if 200 <= answer.status < 300 or answer.status in welcome:
            return answer
        raise self.refusal(answer, doing)

    def refusal(self, answer: Answer, doing: str) -> KeepstateError:
        """Make an error of an answer."""
        return read_refusal(
            answer.status,
            answer.headers,
            answer.body,
            doing=f"{self._place}: {doing}",
            redact=lambda text: self._redact(self._tokens.redact(text)),
            now=self._clock.utc_now(),
        )

    def file(self, file_id: str, *, doing: str) -> File:
        """Look at one file; this is always the newest state, unlike a listing.

        Raises:
            NotFoundError: There is none of that id.
        """
        parameters = {"fields": FILE_FIELDS, **SHARED}
        answer = self.ask("GET", f"/drive/v3/files/{file_id}", doing=doing, parameters=parameters)
        return read_answer(answer.body, File, doing=doing)

    def files(self, query: str, *, doing: str) -> list[File]:
        """Give all files that a query finds, none of them in the bin.

        Raises:
            NotFoundError: A folder that the query names is not there.
        """
        found: list[File] = []
        parameters = {
            "q": f"trashed=false and ({query})",
            "pageSize": str(PAGE_FILES),
            "fields": LIST_FIELDS,
            "includeItemsFromAllDrives": "true",
            **SHARED,
        }
        while True:
            answer = self.ask("GET", "/drive/v3/files", doing=doing, parameters=parameters)
            page = read_answer(answer.body, Page, doing=doing)
            if page.incomplete_search:
                raise UnavailableError(
                    f"{self._place}: {doing}: Drive did not search everywhere: ask again later"
                )
            found += page.files
            if not page.next_page_token:
                return found
            parameters["pageToken"] = page.next_page_token

    def ids(self, count: int, *, doing: str) -> list[str]:
        """Ask for ids that files can be created with."""
        parameters = {"count": str(count), "space": "drive", "type": "files"}
        answer = self.ask("GET", "/drive/v3/files/generateIds", doing=doing, parameters=parameters)
        return [*read_answer(answer.body, Ids, doing=doing).ids]

    def close(self) -> None:
        """Close the connections."""
        self._sessions.close()
        self._tokens.close()

    def _once(
        self,
        method: str,
        path: str,
        token: str,
        doing: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Pieces | bytes,
        most_bytes: int,
    ) -> Answer:
        url, sent = self._address(path, token, headers)
        until = self._clock.monotonic() + SHORTEST_SECONDS + len(body) / SLOWEST_BYTES_PER_SECOND
        data = cast("bytes", _InTime(body, self._clock, until) if isinstance(body, Pieces) else body)
        # Raised outside of the handler: see the head of this module.
        try:
            with (
                silence(),
                self._sessions.one() as session,
                session.request(
                    method,
                    url,
                    params=parameters,
                    headers=sent,
                    data=data,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                read = self._read(response, most_bytes, until)
                return Answer(response.status_code, response.headers, read)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, _TooSlowError) as error:
            failed = _say(error)
        raise UnavailableError(f"{self._place}: {doing}: {failed}; ask again later")

    def _address(
        self, path: str, token: str, headers: Mapping[str, str] | None
    ) -> tuple[str, dict[str, str]]:
        sent = {**(headers or {}), "Authorization": f"Bearer {token}"}
        if path.startswith("/"):
            return self._endpoint + path, sent
        parts = urlsplit(path)
        if (parts.scheme, parts.netloc) == self._origin:
            return path, sent
        if parts.scheme != "https":
            raise StoreError(f"{self._place}: Drive named an address for an upload that is not safe")
        del sent["Authorization"]  # its path is key enough, and nobody else needs ours
        return path, sent

    def _read(self, response: requests.Response, most_bytes: int, until: float) -> memoryview:
        """Read the body of an answer; that of a refusal may be longer than what was asked for."""
        length = response.headers.get("Content-Length", "")
        is_refusal = not 200 <= response.status_code < 300
        most = max(most_bytes, LONGEST_ANSWER_BYTES) if is_refusal else most_bytes
        if response.status_code in (204, 304) or not (length.isascii() and length.isdigit()):
            return memoryview(b"".join(self._pieces_of(response, most, until))).toreadonly()
        target = memoryview(bytearray(min(int(length), most)))
        until += len(target) / SLOWEST_BYTES_PER_SECOND
        done = 0
        for piece in self._pieces_of(response, len(target), until):
            target[done : done + len(piece)] = piece
            done += len(piece)
        if done < len(target):
            raise urllib3.exceptions.ProtocolError("short")
        return target.toreadonly()

    def _pieces_of(self, response: requests.Response, most: int, until: float) -> Iterator[bytes]:
        count = 0
        while piece := response.raw.read(PIECE_BYTES):
            count += len(piece)
            if count > most:
                raise urllib3.exceptions.ProtocolError("too long")
            if self._clock.monotonic() > until:
                raise _TooSlowError
            yield piece


def _say(error: Exception) -> str:
    if isinstance(error, _TooSlowError):
        return "the network is too slow"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted TLS connection could be made"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy that the environment names did not let it through"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return "Drive did not answer in time"
    if isinstance(error, (requests.exceptions.ConnectionError, urllib3.exceptions.HTTPError, OSError)):
        return "the connection could not be made, or broke"
    return f"the request could not be sent ({type(error).__name__})"
