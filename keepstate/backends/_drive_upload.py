"""Brings the bytes of one object to Drive, and does not rest before Drive has said their checksum.

Short ones go in one request. A long one gets a session: it is sent whole, and when the connection breaks,
Drive is asked how much arrived and the rest is sent. A session that Drive has forgotten is replaced by a new
one for the same id, so whatever happens there is one file in the end. What a call could not finish, the next
one for the same object goes on with.
Source: Drive API, "Upload file data".
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.retry import Backoff, keep_trying
from keepstate.backends._drive_answers import FILE_FIELDS, File, read_answer
from keepstate.backends._drive_calls import SHARED, SLOWEST_BYTES_PER_SECOND, Answer, Pieces
from keepstate.backends._drive_ids import as_json
from keepstate.errors import NotFoundError, StoreError, UnavailableError

if TYPE_CHECKING:
    from keepstate._base.clock import Flag
    from keepstate.backends._drive_calls import Calls

ONE_REQUEST_BYTES = 5_000_000
"""The most that Drive takes in one request together with the description: "5 MB or less"."""

PATIENCE = Backoff(first_seconds=1.0, longest_seconds=16.0, total_seconds=30.0)
"""How long one call goes on trying while no byte arrives. A longer break of the network is left to the
caller, whose next call goes on where this one stopped."""

MOST_SESSIONS = 3
"""Begun by one call. They live for a week; when the third is gone at once, something else is wrong."""

_STORED = re.compile(r"bytes=0-([0-9]{1,15})", re.ASCII)

_RESUME = 308
_GONE = (404, 410)
_THERE = 409


@dataclass(slots=True)
class Upload:
    """An object on its way. The same one may be brought in several calls."""

    name: str
    """Of the object, for messages."""
    leaf: str
    """Its last part, which is the file's name."""
    parent: str
    """Id of the folder."""
    file_id: str
    """Chosen beforehand; or, if *replaces*, that of the file whose bytes are replaced."""
    nbytes: int
    sha256: str
    replaces: bool = False
    session: str = ""
    """Address of the session at Drive; empty: none is open."""
    stored: int = 0
    """Bytes that Drive said it has in that session."""

    @property
    def doing(self) -> str:
        """What it is, for messages."""
        return f"writing {self.name!r}"


class FutileError(UnavailableError):
    """Other bytes arrived than those that were sent; the next try has to begin anew, with another id."""


class Uploads:
    """Brings objects.

    Args:
        calls: Makes requests.
        stop: Once it is set nothing is tried again.
        patience: How long a call resumes.
    """

    def __init__(self, calls: Calls, *, stop: Flag, patience: Backoff = PATIENCE) -> None:
        self._calls = calls
        self._stop = stop
        self._patience = patience

    def bring(self, upload: Upload, data: memoryview) -> File:
        """Bring all bytes and compare what Drive says of them.

        Args:
            upload: What it is; changed as it goes on.
            data: Its bytes.

        Raises:
            NotFoundError: The folder is not there any more; or, if it replaces, the file.
            FutileError: Other bytes arrived; a new file of them was deleted again.
            UnavailableError: It did not work now; the next call may go on.
            KeepstateError: Whatever else Drive refused it for.
        """
        if len(data) <= ONE_REQUEST_BYTES and not upload.session:
            file = self._in_one_request(upload, data)
        else:
            file = self._resumably(upload, data)
        return self.compare(upload, file)

    def earlier(self, upload: Upload) -> File:
        """Look at the file of the id that was chosen before: a request whose answer was lost made it.

        Raises:
            NotFoundError: There is none.
        """
        return self._calls.file(upload.file_id, doing=upload.doing)

    def compare(self, upload: Upload, file: File) -> File:
        """Return the file if Drive has the very bytes of the object.

        Raises:
            FutileError: It has others.
            UnavailableError: It has not said.
        """
        if not file.sha256_checksum or not file.size:
            file = self.earlier(upload)
        if not file.sha256_checksum or not file.has_bytes:
            raise UnavailableError(
                f"{self._calls.place}: {upload.doing}: Drive has computed no checksum yet: ask again later"
            )
        if (file.nbytes, file.sha256_checksum.lower()) == (upload.nbytes, upload.sha256):
            return file
        if not upload.replaces:
            self._calls.ask(
                "DELETE",
                f"/drive/v3/files/{upload.file_id}",
                doing=f"deleting a damaged {upload.name!r}",
                parameters=SHARED,
                welcome=(404,),
            )
        raise FutileError(
            f"{self._calls.place}: {upload.doing}: {file.nbytes} bytes arrived that are not the "
            f"{upload.nbytes} that were sent: send them again"
        )

    def _in_one_request(self, upload: Upload, data: memoryview) -> File:
        boundary = f"keepstate-{secrets.token_hex(16)}"
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
            + as_json(self._metadata(upload))
            + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        )
        answer = self._calls.ask(
            *self._target(upload),
            doing=upload.doing,
            parameters={"uploadType": "multipart", "fields": FILE_FIELDS, **SHARED},
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            body=Pieces(head, data, f"\r\n--{boundary}--\r\n".encode()),
            welcome=() if upload.replaces else (_THERE,),
        )
        return self._file(upload, answer)

    def _resumably(self, upload: Upload, data: memoryview) -> File:
        """Send, and resume as long as that brings the upload forward."""
        clock = self._calls.clock
        until = clock.monotonic() + self._patience.total_seconds + len(data) / SLOWEST_BYTES_PER_SECOND
        failures: list[UnavailableError] = []

        def attempt(_seconds_left: float) -> File:
            if failures:
                raise failures.pop()  # a failure is waited for before the next try, whenever it came
            return self._attempt(upload, data)

        before = -1  # how much arrived is only known when Drive was asked once
        while True:
            try:
                return keep_trying(
                    attempt,
                    worth=lambda error: isinstance(error, UnavailableError),
                    asked=lambda error: (
                        error.retry_after_seconds if isinstance(error, UnavailableError) else None
                    ),
                    stop=self._stop,
                    clock=clock,
                    backoff=self._patience,
                )
            except UnavailableError as error:
                is_over = self._stop.is_set() or clock.monotonic() >= until
                if is_over or upload.stored <= before:
                    raise
                before = upload.stored
                failures.append(error)

    def _attempt(self, upload: Upload, data: memoryview) -> File:
        """Send what is missing, in the session that is open or in a new one."""
        left = MOST_SESSIONS
        while True:
            if upload.session:
                answer = self._send(upload, data, None)  # asks how much is there
            else:
                left -= 1
                answer = self._begin(upload, data)
                if not upload.session:
                    return self._file(upload, answer)
                answer = self._send(upload, data, 0)
            stored = 0
            while answer.status == _RESUME:
                before, stored = stored, self._stored(upload, answer)
                if stored < before or stored > len(data):
                    upload.session = ""
                    raise UnavailableError(
                        f"{self._calls.place}: {upload.doing}: Drive lost a part of it: ask again later"
                    )
                answer = self._send(upload, data, stored)
                if answer.status == _RESUME and self._stored(upload, answer) <= stored:
                    raise UnavailableError(
                        f"{self._calls.place}: {upload.doing}: Drive takes no more bytes: ask again later"
                    )
            if 200 <= answer.status < 300 or answer.status == _THERE:
                return self._file(upload, answer)
            upload.session = ""
            refusal = self._calls.refusal(answer, upload.doing)
            if not left:
                raise refusal if answer.status not in _GONE else UnavailableError(str(refusal))

    def _begin(self, upload: Upload, data: memoryview) -> Answer:
        """Open a session; without one afterwards, the answer is about a file that is there already."""
        answer = self._calls.ask(
            *self._target(upload),
            doing=upload.doing,
            parameters={"uploadType": "resumable", "fields": FILE_FIELDS, **SHARED},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": "application/octet-stream",
                "X-Upload-Content-Length": str(len(data)),
            },
            body=Pieces(as_json(self._metadata(upload))),
            welcome=() if upload.replaces else (_THERE,),
        )
        if answer.status != _THERE:
            upload.session, upload.stored = answer.headers.get("Location", ""), 0
            if not upload.session:
                raise UnavailableError(
                    f"{self._calls.place}: {upload.doing}: Drive opened no session: ask again later"
                )
        return answer

    def _send(self, upload: Upload, data: memoryview, start: int | None) -> Answer:
        """Send the bytes from *start* on, or nothing, to ask how many are there.

        Raises:
            KeepstateError: It was refused for a reason that another session would not mend.
        """
        rest = memoryview(b"") if start is None else data[start:]
        span = f"{start}-{len(data) - 1}" if len(rest) else "*"
        try:
            answer = self._calls.ask(
                "PUT",
                upload.session,
                doing=upload.doing,
                headers={"Content-Range": f"bytes {span}/{len(data)}"},
                body=Pieces(rest) if len(rest) else b"",
                welcome=(_RESUME, _THERE, *_GONE, 400, 412, 416),
            )
        except NotFoundError as error:
            raise StoreError(str(error)) from error
        if answer.status in (400, 412, 416):
            refusal = self._calls.refusal(answer, upload.doing)
            if type(refusal) is not StoreError:
                raise refusal
        return answer

    def _stored(self, upload: Upload, answer: Answer) -> int:
        """Read how many bytes Drive has; without a range it has none."""
        stored = answer.headers.get("Range")
        if stored is None:
            return 0
        found = _STORED.fullmatch(stored.strip())
        if found is None:
            upload.session = ""
            raise UnavailableError(
                f"{self._calls.place}: {upload.doing}: Drive named no range: ask again later"
            )
        upload.stored = int(found[1]) + 1
        return upload.stored

    def _file(self, upload: Upload, answer: Answer) -> File:
        if answer.status == _THERE:
            return self.earlier(upload)
        return read_answer(answer.body, File, doing=f"{self._calls.place}: {upload.doing}")

    def _target(self, upload: Upload) -> tuple[str, str]:
        if upload.replaces:
            return "PATCH", f"/upload/drive/v3/files/{upload.file_id}"
        return "POST", "/upload/drive/v3/files"

    def _metadata(self, upload: Upload) -> dict[str, object]:
        if upload.replaces:
            return {}
        return {
            "id": upload.file_id,
            "name": upload.leaf,
            "parents": [upload.parent],
            "mimeType": "application/octet-stream",
        }


def sha256_of(data: memoryview) -> str:
    """Compute what Drive will say of the bytes."""
    return hashlib.sha256(data).hexdigest()
