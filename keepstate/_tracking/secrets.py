"""What looks like a secret is not swept up by ``track="all"``; it is left out and named.

A guess by design: a miss costs a secret in the user's own store, a false alarm costs one call to ``track``.
Source of the forms: the public prefixes that the issuers document for secret scanning.
"""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(^|_)(api_?key|apikey|secret|passwd|password|passphrase|token|credentials?|private_?key|access_?key|auth)"
    r"(s|_id|_value|_str)?($|_?\d+$)",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"""
      \bsk-[A-Za-z0-9_-]{20,}            # OpenAI and alike
    | \bgh[pousr]_[A-Za-z0-9]{30,}       # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{20,}
    | \bglpat-[A-Za-z0-9_-]{20,}         # GitLab
    | \bhf_[A-Za-z0-9]{30,}              # Hugging Face
    | \bAKIA[0-9A-Z]{16}\b               # AWS
    | \bAIza[0-9A-Za-z_-]{35}            # Google
    | \bya29\.[0-9A-Za-z_-]{20,}         # Google OAuth
    | \bxox[abprs]-[0-9A-Za-z-]{10,}     # Slack
    | \bKGAT_[0-9A-Za-z]{20,}            # Kaggle
    | \beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.   # JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    """,
    re.VERBOSE,
)
LOOKED_AT = 4096
"""Characters of a text that are searched; secrets are short, and a long text must cost nothing."""
_REMEMBERED = 1 << 16
_without_form: set[int] = set()
"""Hashes of beginnings that have no such form. Every text of the notebook is looked at with every picture, on
the main thread: searching 4,096 characters takes 42 µs, hashing them 2 (measured on 2 cores)."""


def looks_secret(name: str, value: object) -> str | None:
    """Say why *name* looks like a secret, or return ``None``.

    Only exact ``str`` and ``bytes`` are looked at, so that no user code runs.

    >>> looks_secret("api_key", "abc")
    'its name looks like a secret'
    >>> looks_secret("x", "ghp_" + "a" * 36)
    'its value looks like a secret'
    >>> looks_secret("token_count", 7), looks_secret("tokens", ["a"])
    (None, None)
    """
    if type(value) is bytes:
        value = value[:LOOKED_AT].decode("latin-1")
    if type(value) is not str or not value:
        return None
    if _NAME.search(name):
        return "its name looks like a secret"
    if _has_form(value[:LOOKED_AT]):
        return "its value looks like a secret"
    return None


def _has_form(text: str) -> bool:
    own = hash(text)
    if own in _without_form:
        return False
    if _FORM.search(text):
        return True
    if len(_without_form) >= _REMEMBERED:
        _without_form.clear()
    _without_form.add(own)
    return False


def redact(text: str) -> str:
    """Replace what has the form of a secret by ``<secret>``.

    >>> redact("key = 'AKIAABCDEFGHIJKLMNOP'")
    "key = '<secret>'"
    """
    return _FORM.sub("<secret>", text)
