"""Each service gets its own form, byte by byte as its documentation has it."""

import json
from datetime import UTC, datetime

import pytest
from webhook_server import WebhookServer

from keepstate._session.notify_formats import NAMES_IN_DETAILS, parcel_of
from keepstate._session.notify_messages import DeadlineAhead, SaveFailing, SaveWorksAgain, SessionEnded
from keepstate._session.notify_target import Target, read_notify
from keepstate._session.webhook import Webhook

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AHEAD = DeadlineAhead(
    "project 'p'", "lifetime", NOON, 900.0, safe=False, unsaved=("df_ü", "<!channel>"), pending_bytes=5
)
TEXT = (
    "The host ends sessions after some hours: this one at 12:00 UTC on 2026-01-01.\n"
    "Not saved yet: df_ü, <!channel>.\n"
    "5 B are not yet proven to be at the durable store.\n"
    "project 'p'"
)
TITLE = "keepstate: the session ends in 15 min, NOT all is saved"


@pytest.fixture
def sent():
    """Post a message to a real server, and return what came over the wire."""

    def send(kind, message, path="/secret"):
        with WebhookServer() as server:
            target = Target(kind, server.url + path)
            Webhook().post(parcel_of(target, message, id="0123", told_at=NOON), 10.0)
            got = server.got()
        headers = [
            ("Host", f"127.0.0.1:{server.port}"),
            ("User-Agent", "keepstate"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        assert got.headers[:5] == headers
        assert got.headers[-1] == ("Content-Length", str(len(got.body)))
        return got.line, got.headers[5:-1], got.body

    return send


def test_ntfy_gets_text_and_headers(sent):
    """The text is the body; title, priority and tags are headers."""
    line, headers, body = sent("ntfy", AHEAD)
    assert line == "POST /secret HTTP/1.1"
    assert headers == [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Title", TITLE),
        ("Priority", "4"),
        ("Tags", "warning"),
    ]
    assert body == TEXT.encode()


def test_slack_gets_a_text_in_which_no_name_can_call_a_channel(sent):
    """One key, with the three characters escaped that mean something there."""
    line, headers, body = sent("slack", AHEAD)
    assert line == "POST /secret HTTP/1.1"
    assert headers == [("Content-Type", "application/json")]
    escaped = TEXT.replace("<", "&lt;").replace(">", "&gt;")
    assert body == json.dumps({"text": f"{TITLE}\n{escaped}"}).encode()
    assert json.loads(sent("slack", SaveWorksAgain("a & b", 1))[2])["text"].endswith("\na &amp; b")


def test_discord_gets_content_that_calls_nobody(sent):
    """Marks of formatting are escaped, mentions are off, and the answer waits for the message to be there."""
    line, headers, body = sent("discord", AHEAD)
    assert line == "POST /secret?wait=true HTTP/1.1"
    assert headers == [("Content-Type", "application/json")]
    escaped = TEXT.replace("df_", r"df\_").replace("<", r"\<").replace(">", r"\>")
    content = {"content": f"**{TITLE}**\n{escaped}", "allowed_mentions": {"parse": []}}
    assert body == json.dumps(content).encode()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/x?thread_id=1", "/x?thread_id=1&wait=true"),
        ("/x?wait=false", "/x?wait=false"),
        ("/x?", "/x?wait=true"),
    ],
)
def test_what_the_address_asks_of_discord_stays(sent, path, asked):
    """A thread is kept, and so is another wish about waiting."""
    assert sent("discord", AHEAD, path)[0] == f"POST {asked} HTTP/1.1"


def test_discord_and_ntfy_take_the_longest_message_whole():
    """2,000 characters, however they are counted, and 4,096 bytes."""
    for each in ("\U0001f600", "*", "ü"):
        text = each * 10_000
        message = SaveFailing(text, NOON, 10**9, text)
        discord = parcel_of(Target("discord", "http://h/x"), message, id="1", told_at=NOON)
        content = json.loads(discord.body)["content"]
        assert len(content.encode("utf-16-le")) // 2 <= 2000
        assert len(parcel_of(Target("ntfy", "http://h/x"), message, id="1", told_at=NOON).body) <= 4096


def test_any_other_address_gets_documented_keys(sent):
    """All of them, and the fields of the message beside them."""
    line, headers, body = sent("json", AHEAD)
    assert line == "POST /secret HTTP/1.1"
    assert headers == [("Content-Type", "application/json")]
    assert json.loads(body) == {
        "source": "keepstate",
        "version": 1,
        "id": "0123",
        "event": "deadline-ahead",
        "sent_at": "2026-01-01T12:00:00+00:00",
        "title": TITLE,
        "text": TEXT,
        "urgency": 4,
        "details": {
            "identity": "project 'p'",
            "kind": "lifetime",
            "at": "2026-01-01T12:00:00+00:00",
            "seconds_left": 900.0,
            "safe": False,
            "unsaved": ["df_ü", "<!channel>"],
            "unsaved_count": 2,
            "pending_bytes": 5,
            "needs_seconds": None,
        },
    }


def test_the_keys_of_every_message_stay():
    """What people have written against them goes on working."""
    keys = {}
    for message in (
        SaveFailing("p", NOON, 3, "no"),
        SaveWorksAgain("p", 1.0),
        SessionEnded("p", "exit", None),
    ):
        body = json.loads(parcel_of(Target("json", "http://h/"), message, id="1", told_at=NOON).body)
        keys[body["event"]] = sorted(body["details"])
    assert keys == {
        "save-failing": ["identity", "sentence", "since", "times"],
        "save-works-again": ["failed_for_seconds", "identity"],
        "session-ended": ["identity", "kept", "kept_count", "logical_bytes", "reason", "snapshot"],
    }


def test_a_thousand_names_are_counted_and_not_all_sent():
    """The list is bounded, the number is whole."""
    message = SessionEnded("p", "exit", "abc", tuple(f"x{n}" * 5000 for n in range(1000)), 1)
    parcel = parcel_of(Target("json", "http://h/"), message, id="1", told_at=NOON)
    details = json.loads(parcel.body)["details"]
    assert (len(details["kept"]), details["kept_count"]) == (NAMES_IN_DETAILS, 1000)
    assert len(parcel.body) < 200_000


def test_a_password_in_the_address_is_sent_as_one(sent):
    """It is in the header that is made for it, and not in the line."""
    with WebhookServer() as server:
        target = read_notify(f"ntfy+http://user:word@127.0.0.1:{server.port}/topic")
        Webhook().post(parcel_of(target, AHEAD, id="1", told_at=NOON), 10.0)
        got = server.got()
    assert got.line == "POST /topic HTTP/1.1"
    assert ("Authorization", "Basic dXNlcjp3b3Jk") in got.headers
