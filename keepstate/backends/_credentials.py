"""Secrets on their way from where the user keeps them to a backend, and nowhere else.

They never stand in a repr, a message or a process argument. :meth:`Credentials.redact` takes them out of what
a library says about a failed request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHORTEST = 6
"""Characters. A shorter value is no secret, and taking it out of a sentence would garble it."""


class Credentials:
    """Names of secrets and their values.

    >>> found = Credentials({"AWS_SECRET_ACCESS_KEY": "abc/123"})
    >>> found
    Credentials(AWS_SECRET_ACCESS_KEY)
    >>> found.redact("403 for key abc%2F123")
    '403 for key <secret>'
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = {name: value for name, value in (values or {}).items() if value}

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._values))})"

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __reduce__(self) -> str:
        raise TypeError("credentials are not pickled")

    def reveal(self, name: str) -> str | None:
        """Give one secret; ``None`` if it is not known."""
        return self._values.get(name)

    def reveal_all(self) -> dict[str, str]:
        """Give all of them, to hand to a process of ours through a pipe."""
        return dict(self._values)

    def redact(self, text: object) -> str:
        """Give *text* without any of the secrets, also where they are quoted as in an address."""
        said = str(text)
        forms = {
            form
            for value in self._values.values()
            if len(value) >= _SHORTEST
            for form in (value, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1])
        }
        for form in sorted(forms, key=len, reverse=True):
            said = said.replace(form, "<secret>")
        return said
