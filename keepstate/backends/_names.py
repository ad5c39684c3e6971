"""Which names a backend takes: a set that every place can store as it is."""

from __future__ import annotations

import re

from keepstate.errors import InvalidInputError

LONGEST_NAME = 1024
"""Characters; the limit of S3 and GCS for a key, in bytes, and names here are ASCII."""

_NAME = re.compile(r"(?!\.{1,2}(/|$))[a-z0-9_\-.@+%~A-F]+(/(?!\.{1,2}(/|$))[a-z0-9_\-.@+%~A-F]+)*")
"""Upper-case ``A`` to ``F`` occur in the escapes of the repository's names (``%2F``) and nowhere else."""


def check_name(name: str) -> str:
    """Return *name* if it is one.

    Raises:
        InvalidInputError: It is not.

    >>> check_name("members/me/packs/0a/0a1b.pack")
    'members/me/packs/0a/0a1b.pack'
    >>> check_name("../up")
    Traceback (most recent call last):
    keepstate.errors.InvalidInputError: '../up' is no name of an object
    """
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise InvalidInputError(f"{name!r} is no name of an object")
    return name


def check_prefix(prefix: str) -> str:
    """Return *prefix* if it is empty, or the name of a folder with ``/`` at its end.

    Raises:
        InvalidInputError: It is neither.
    """
    if prefix and not (prefix.endswith("/") and check_name(prefix[:-1])):
        raise InvalidInputError(f"{prefix!r} is no prefix: give a folder with its '/', or nothing")
    return prefix


def check_range(start: int, length: int | None) -> None:
    """Refuse what is no range of bytes.

    Raises:
        InvalidInputError: One of them is below 0.
    """
    if start < 0 or (length is not None and length < 0):
        raise InvalidInputError(f"start={start}, length={length}: give 0 or more")
