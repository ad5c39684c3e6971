"""A message in the form that each service takes.

The form for any other address is one JSON object, whose keys stay:

==============  ====================================================================================
``source``      ``"keepstate"``
``version``     1; a change that is no mere addition would be 2
``id``          of this message; the same when it had to be sent twice
``event``       ``deadline-ahead``, ``save-failing``, ``save-works-again`` or ``session-ended``
``sent_at``     when there was something to tell, ISO 8601, UTC
``title``       one line
``text``        a few lines
``urgency``     1 to 5; 3 is normal
``details``     the fields of the message's class; a list of names has at most 100, and beside it
                stands the number of all, under the same key with ``_count``
==============  ====================================================================================
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from keepstate._session.notify_messages import one_line, words_of

if TYPE_CHECKING:
    from keepstate._session.notify_messages import Message, Words
    from keepstate._session.notify_target import Target

NAMES_IN_DETAILS = 100
LONGEST_DETAIL = 1000
"""Characters; with these two, no message has more than some 100 KB."""

_DISCORD_MARKUP = re.compile(r"([\\*_~`|>#\[\]<])")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request, ready to be posted."""

    url: str = dataclasses.field(repr=False)
    headers: dict[str, str]
    body: bytes = dataclasses.field(repr=False)


def parcel_of(target: Target, message: Message, *, id: str, told_at: datetime) -> Parcel:  # noqa: A002 - the key
    """Write *message* as the service at *target* takes it."""
    words = words_of(message)
    match target.kind:
        case "ntfy":
            return _ntfy(target.url, words)
        case "slack":
            return _as_json(target.url, _slack(words))
        case "discord":
            return _as_json(_confirmed(target.url), _discord(words))
        case "json":
            return _as_json(target.url, _plain(words, message, id, told_at))


def _ntfy(url: str, words: Words) -> Parcel:
    """Source: docs.ntfy.sh/publish, "Message title", "Message priority", "Tags & emojis", "Limitations"."""
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": words.title,
        "Priority": str(words.urgency),
        "Tags": words.tag,
    }
    return Parcel(url, headers, words.text.encode())


def _slack(words: Words) -> dict[str, object]:
    """Source: api.slack.com/messaging/webhooks, api.slack.com/reference/surfaces/formatting (what to escape).

    With ``<`` escaped, no name can call a channel (``<!channel>``).
    """
    text = f"{words.title}\n{words.text}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def _discord(words: Words) -> dict[str, object]:
    """Source: docs.discord.com/developers/resources/webhook, "Execute Webhook".

    An empty ``parse`` lets no name call anybody (``@everyone``); backslashes keep ``__x__`` what it is.
    """
    text = _DISCORD_MARKUP.sub(r"\\\1", words.text)
    return {"content": f"**{words.title}**\n{text}", "allowed_mentions": {"parse": []}}


def _confirmed(url: str) -> str:
    """Ask Discord to answer once the message is there; else it takes what it then drops (same source)."""
    query = urlsplit(url).query
    if any(key == "wait" for key, _ in parse_qsl(query, keep_blank_values=True)):
        return url
    return f"{url}{'&' if query else '?' if '?' not in url else ''}wait=true"


def _plain(words: Words, message: Message, number: str, told_at: datetime) -> dict[str, object]:
    return {
        "source": "keepstate",
        "version": 1,
        "id": number,
        "event": message.event,
        "sent_at": told_at.astimezone(UTC).isoformat(),
        "title": words.title,
        "text": words.text,
        "urgency": words.urgency,
        "details": _details(message),
    }


def _details(message: Message) -> dict[str, object]:
    details: dict[str, object] = {}
    for each in dataclasses.fields(message):
        value = getattr(message, each.name)
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        elif isinstance(value, str):
            value = one_line(value, LONGEST_DETAIL)
        elif isinstance(value, tuple):
            details[f"{each.name}_count"] = len(value)
            value = [one_line(name, LONGEST_DETAIL) for name in value[:NAMES_IN_DETAILS]]
        details[each.name] = value
    return details


def _as_json(url: str, content: dict[str, object]) -> Parcel:
    return Parcel(url, {"Content-Type": "application/json"}, json.dumps(content).encode("ascii"))
