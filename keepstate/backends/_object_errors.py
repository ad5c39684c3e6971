"""What buckets and the network on the way to them say when a call fails, in the words of this package.

obstore has few kinds of errors, and most of what matters stands in their text only: the status, the code and
the message of the answer. An answer may quote a session token back, so no text of it is passed on unredacted,
not even as the cause of our own error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from keepstate.backends._credentials import Credentials
    from keepstate.errors import KeepstateError

_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_FULL = frozenset(
    {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
    | {"ServiceQuotaExceeded", "AccountStorageQuotaExceeded"}
)
_FULL_WORDS = re.compile(
    r"storage (limit|quota)|quota (is |was |has been )?exceeded|out of storage", re.IGNORECASE
)
_CREDENTIALS = frozenset(
    {"AccessDenied", "AccountProblem", "AuthenticationFailed", "AuthorizationFailure", "ExpiredToken"}
    | {"InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "NotSignedUp", "RequestExpired"}
    | {"SignatureDoesNotMatch", "TokenRefreshRequired", "UnauthorizedAccess"}
)
_PASSES = frozenset(
    {"BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "OperationAborted"}
    | {"OperationTimedOut", "RequestTimeout", "RequestTimeTooSkewed", "ServerBusy", "ServiceUnavailable"}
    | {"SlowDown", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
"""Codes of requests that came damaged, too late or at a bad time: the same one may succeed."""

_STATUS = re.compile(r"status(?: code)?:? (\d{3})\b")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]*?)\s*</Message>")
_REGION = re.compile(r"<Region>\s*([\w-]+)\s*</Region>")
_BROKEN_WAY = re.compile(
    r"\bHttpError\b|HTTP error|error (sending request|decoding response body)", re.IGNORECASE
)
_UNTRUSTED = re.compile(r"invalid peer certificate|certificate verify failed", re.IGNORECASE)
_WAYS = (
    (re.compile(r"kind: Timeout|TimedOut", re.IGNORECASE), "no answer in time"),
    (re.compile(r"dns error"), "its name is not known: is there a network, and is the address right?"),
    (re.compile(r"ConnectionRefused|Connection refused"), "the connection was refused"),
    (re.compile(r"ConnectionReset|BrokenPipe|IncompleteMessage|UnexpectedEof"), "the connection was cut"),
)
"""What went wrong on the way, by the words in which the libraries below say so."""

_LONGEST_REASON = 300
"""Characters of what the far side says; some answer with whole pages."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be read from an error of obstore."""

    text: str
    kind: str
    """Name of its class."""
    status: int | None
    code: str
    """In the language of S3, Azure and GCS alike: a word like ``NoSuchKey``; empty if there was none."""
    message: str

    @property
    def is_absent(self) -> bool:
        """Whether the far side says that there is no such thing."""
        return self.kind == "FileNotFoundError" or self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Whether an object of that name is there."""
        conflict = self.kind in ("AlreadyExistsError", "PreconditionError")
        return conflict and self.code not in _PASSES

    @property
    def is_unknown_wish(self) -> bool:
        """Whether the far side does not know what was asked of it."""
        return self.kind == "NotSupportedError" or self.status == 501

    @property
    def is_beyond_end(self) -> bool:
        """Whether a range began at or behind the end of the object."""
        return self.status == 416 or self.code == "InvalidRange"

    @property
    def is_without_range(self) -> bool:
        """Whether the far side did not answer a range as a range."""
        return "NotPartial" in self.text or "non-partial" in self.text

    @property
    def reason(self) -> str:
        """What it says, on one line."""
        if self.status is None and not self.code:
            if _UNTRUSTED.search(self.text):
                return "its certificate is not to be trusted"
            if _BROKEN_WAY.search(self.text):
                return next((says for sign, says in _WAYS if sign.search(self.text)), "the connection failed")
            said = self.text.partition("\n")[0]
        else:
            words = (str(self.status or ""), self.code, f"({self.message})" if self.message else "")
            said = "it answers " + " ".join(filter(None, words))
        return said if len(said) <= _LONGEST_REASON else said[:_LONGEST_REASON] + "…"


def read_answer(error: BaseException) -> Answer:
    """Read the text of an error of obstore."""
    text = str(error)
    said = text.partition("\n\nDebug source")[0]  # what follows says it again, with escapes
    status, code, message = _STATUS.search(said), _CODE.search(said), _MESSAGE.search(said)
    return Answer(
        text=text,
        kind=type(error).__name__,
        status=int(status[1]) if status else None,
        code=code[1] if code else "",
        message=" ".join(message[1].split()) if message else "",
    )


def translate(
    answer: Answer, *, name: str, place: str, container: str, secrets: Credentials, keys: str
) -> KeepstateError:
    """Give our error for *answer*.

    Args:
        answer: Of the far side.
        name: Of the object, or empty.
        place: The store.
        container: Name of the bucket.
        secrets: Taken out of whatever is quoted.
        keys: What the user would look at if the keys are not accepted.
    """
    reason = secrets.redact(answer.reason)
    what = f"{place}, object {name!r}" if name else place
    if answer.is_absent:
        # Only an object can be missing without more being wrong; a listing is never.
        if answer.code in _NO_BUCKET or not name:
            return StoreError(
                f"{place}: there is no bucket {container!r}: make it, or correct the address ({reason})"
            )
        return NotFoundError(f"{place} has no object {name!r}")
    if answer.is_conflict:
        return AlreadyThereError(f"{place} has an object {name!r} already, and it is not to be replaced")
    if answer.status == 507 or answer.code in _FULL or _FULL_WORDS.search(answer.message):
        return StoreFullError(f"{place} has no space left: {reason}; delete something there or get more")
    if answer.code == "RequestTimeTooSkewed":
        return UnavailableError(f"{what}: {reason}; set the clock of this machine")
    if answer.code in _PASSES:
        return UnavailableError(f"{what}: {reason}; try again later")
    if (
        answer.kind in ("PermissionDeniedError", "UnauthenticatedError")
        or answer.status in (401, 403)
        or answer.code in _CREDENTIALS
        or "invalid_grant" in answer.text
    ):
        return CredentialsError(f"{what} refuses us, {reason}: {keys}")
    if answer.status in (408, 425, 429) or (answer.status is not None and answer.status >= 500):
        return (
            StoreError(f"{what}: {reason}; this place cannot do what keepstate needs")
            if answer.is_unknown_wish
            else UnavailableError(f"{what}: {reason}; try again later")
        )
    if region := _REGION.search(answer.text):
        return StoreError(f"{place} is in the region {region[1]}: add region={region[1]} to its address")
    if "LOCATION" in answer.text or answer.status == 301:
        return StoreError(f"{place} is in another region: add ?region=… with the right one to its address")
    if answer.status is None and _BROKEN_WAY.search(answer.text):
        kind = StoreError if _UNTRUSTED.search(answer.text) else UnavailableError
        return kind(f"{what} cannot be reached: {reason}")
    return StoreError(f"{what}: {reason}")
