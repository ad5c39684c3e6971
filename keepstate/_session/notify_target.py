"""Where messages go: the address of a webhook, checked once, whose secret part is shown to nobody.

The path of such an address is its password (a Slack path, a topic of ntfy), so no error, repr or status ever
has more of it than scheme and host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import SplitResult, urlsplit

from keepstate.errors import InvalidInputError

Kind = Literal["ntfy", "slack", "discord", "json"]

LONGEST_ADDRESS = 2048
"""Characters. The longest that the named services give out has about 130."""

_DISCORD_HOSTS = ("discord.com", "discordapp.com")
_DISCORD_PATH = re.compile(r"/api(/v[0-9]+)?/webhooks/")
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}", re.ASCII)
"""What ntfy takes as the name of a topic. Source: docs.ntfy.sh/publish, "Picking a topic"."""

_ADVICE = "give the address of a webhook, such as https://ntfy.sh/a-topic-that-nobody-guesses"


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a webhook, and what it understands."""

    kind: Kind
    url: str = field(repr=False)
    """Secret."""

    @property
    def shown(self) -> str:
        """The part that may be shown: scheme and host."""
        return _shown(urlsplit(self.url))

    def __str__(self) -> str:
        return f"{self.kind} at {self.shown}"


def read_notify(value: object) -> Target | None:
    """Check the ``notify`` argument of ``start()``; ``None`` means that nothing is ever sent.

    Args:
        value: An ``http`` or ``https`` address. Slack, Discord and ntfy.sh are told by it; ``slack+https://``,
            ``discord+https://`` and ``ntfy+https://`` say that another host speaks like them.

    Raises:
        InvalidInputError: It is not such an address; the message shows no secret part of it.

    >>> print(read_notify("https://hooks.slack.com/services/T00/B00/secret"))
    slack at https://hooks.slack.com
    >>> print(read_notify("ntfy+https://example.org/topic"))
    ntfy at https://example.org
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError(f"notify is of type {type(value).__name__}: {_ADVICE}")
    if not value or len(value) > LONGEST_ADDRESS:
        raise InvalidInputError(
            f"notify has {len(value)} characters, and 1 to {LONGEST_ADDRESS} make an address: {_ADVICE}"
        )
    # A backslash is a slash to some readers of addresses, and what is shown must be where it goes.
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        raise InvalidInputError(
            "notify has a space, a line end, a backslash or a character beyond ASCII in it: "
            "give the address as the service shows it, without them"
        )
    return _read_address(value)


def _read_address(text: str) -> Target:
    prefix, plus, rest = text.partition("+")
    hint = prefix.lower()
    url = rest if plus and hint in ("ntfy", "slack", "discord") else text
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError(f"notify is not an http or https address with a host: {_ADVICE}")
    target = Target(cast("Kind", hint) if url is rest else _kind(parts), url.partition("#")[0])
    topics = parts.path.split("/")[1:]
    on_public_server = parts.hostname == "ntfy.sh"
    if target.kind == "ntfy" and not (
        topics and _TOPIC.fullmatch(topics[-1]) and (len(topics) == 1 or not on_public_server)
    ):
        raise InvalidInputError(
            f"notify={target.shown}/…: the address of a topic of ntfy ends with its name, "
            "which has 1 to 64 letters, digits, dashes or underscores"
        )
    return target


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # is read, and may be wrong, only when asked for
    except ValueError:
        parts = None
    if parts is None:  # outside the handler: a chained error would show the address
        raise InvalidInputError(f"notify is not an address that can be read: {_ADVICE}")
    return parts


def _kind(parts: SplitResult) -> Kind:
    host = parts.hostname or ""
    if host == "ntfy.sh":
        return "ntfy"
    if host == "hooks.slack.com":
        return "slack"
    known = any(host == name or host.endswith(f".{name}") for name in _DISCORD_HOSTS)  # ptb., canary.
    return "discord" if known and _DISCORD_PATH.match(parts.path) else "json"


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname or ''}"
