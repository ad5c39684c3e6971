"""What Google says when it refuses, in the words of this package.

The number of an answer is not enough: 403 may mean too many calls a second, a full account, or a key that
does not fit. What counts is the *reason* in the body.
Source: Drive API, "Resolve errors" and "Usage limits"; ``google.rpc.ErrorInfo`` for the newer form.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from keepstate._base.retry import read_retry_after
from keepstate.errors import (
    CredentialsError,
    KeepstateError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

SIGN_IN = (
    "run keepstate.start() again in a cell, which signs in (on Colab), or give a new GDRIVE_CREDENTIALS or "
    "GDRIVE_TOKEN"
)

DAY_PAUSE_SECONDS = 4 * 3600.0
"""After a limit for a day: it is counted up to midnight in California or over the last 24 hours, Google does
not say which, so a session of 12 hours asks three times."""

_TOO_FAST = frozenset(
    {
        "userRateLimitExceeded",
        "rateLimitExceeded",
        "sharingRateLimitExceeded",
        "quotaExceeded",
        "RATE_LIMIT_EXCEEDED",
        "backendError",
        "internalError",
        "transientError",
    }
)
_DAY_IS_OVER = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg", "downloadQuotaExceeded"})
_FULL = frozenset({"storageQuotaExceeded", "teamDriveFileLimitExceeded", "teamDriveSizeLimitExceeded"})
_TOO_MANY = frozenset({"activeItemCreationLimitExceeded", "numChildrenInNonRootLimitExceeded"})
_NOT_ALLOWED = frozenset(
    {
        "insufficientPermissions",
        "insufficientScopes",
        "insufficientParentPermissions",
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "accessNotConfigured",
        "SERVICE_DISABLED",
        "domainPolicy",
        "appNotAuthorizedToFile",
        "authError",
        "required",
    }
)
_NOT_THERE = frozenset({"notFound", "fileNotFound"})

_LONGEST_SAID = 300
"""Characters of what the far side says: it ends up in one line of a status."""

_LONGEST_READ = 1 << 16
"""Bytes of an answer that are looked at for a reason."""


def read_reasons(body: bytes | memoryview) -> tuple[list[str], str]:
    """Read the reasons and the sentence out of the body of a refusal; both may be empty.

    >>> read_reasons(b'{"error": {"message": "Slow down", "errors": [{"reason": "rateLimitExceeded"}]}}')
    (['rateLimitExceeded'], 'Slow down')
    >>> read_reasons(b'{"error": "invalid_grant", "error_description": "Token revoked"}')
    (['invalid_grant'], 'Token revoked')
    """
    try:
        said = json.loads(bytes(body[:_LONGEST_READ]))
    except (ValueError, RecursionError):
        return [], ""
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, str):
        return [error], _sentence(said.get("error_description"))
    if not isinstance(error, dict):
        return [], ""
    reasons: list[str] = []
    for place in ("errors", "details"):
        each = error.get(place)
        for one in each if isinstance(each, list) else []:
            reason = one.get("reason") if isinstance(one, dict) else None
            if isinstance(reason, str):
                reasons.append(_sentence(reason))
    return reasons, _sentence(error.get("message"))


def read_refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes | memoryview,
    *,
    doing: str,
    redact: Callable[[object], str],
    now: datetime,
) -> KeepstateError:
    """Make an error of an answer that is none of those that the call can go on with.

    Args:
        status: Its number.
        headers: In which ``Retry-After`` may be.
        body: In which the reasons are.
        doing: What was tried, and where, as the beginning of a sentence.
        redact: Takes secrets out of a text.
        now: From which a date in ``Retry-After`` is counted.
    """
    reasons, sentence = read_reasons(body)
    known = set(reasons)
    said = ", ".join(filter(None, (str(status), " ".join(reasons), redact(sentence))))
    failed = f"{doing} failed ({said})"
    asked = read_retry_after(headers.get("Retry-After"), now)
    if known & _FULL:
        return StoreFullError(f"{doing} failed: the Google account is full ({said})")
    if known & _TOO_MANY:
        return StoreFullError(f"{doing} failed: the account or the folder may hold no more files ({said})")
    if known & _DAY_IS_OVER:
        seconds = max(asked or 0.0, DAY_PAUSE_SECONDS)
        return UnavailableError(
            f"{failed}: the limit for a day is reached, next try in hours", retry_after_seconds=seconds
        )
    if status == HTTPStatus.UNAUTHORIZED or (known & _NOT_ALLOWED and status in (400, 403)):
        return CredentialsError(f"{failed}: {SIGN_IN}, and allow access to Drive")
    if status == HTTPStatus.TOO_MANY_REQUESTS or (known & _TOO_FAST and status == HTTPStatus.FORBIDDEN):
        return UnavailableError(f"{failed}: too many calls, ask again later", retry_after_seconds=asked)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= 500:
        return UnavailableError(f"{failed}: ask again later", retry_after_seconds=asked)
    if status == HTTPStatus.NOT_FOUND and known & _NOT_THERE:
        return NotFoundError(failed)
    if 300 <= status < 400:
        return StoreError(f"{failed}: it redirects elsewhere, which is not followed; look at the endpoint")
    return StoreError(f"{failed}: look at the folder's sharing and the address of the store")


def _sentence(said: object) -> str:
    return " ".join(said.split())[:_LONGEST_SAID] if isinstance(said, str) else ""
