"""The address of a webhook is checked once, and its secret part is shown to nobody."""

import pytest

from keepstate._session.notify_target import LONGEST_ADDRESS, Target, read_notify
from keepstate.errors import InvalidInputError

SECRET = "T0secretB0secret"


def test_nothing_asked_for_is_nothing():
    """Without an address there is no target, and so nothing is ever sent."""
    assert read_notify(None) is None


@pytest.mark.parametrize(
    ("address", "kind", "url"),
    [
        ("https://ntfy.sh/topic_1-A", "ntfy", "https://ntfy.sh/topic_1-A"),
        ("ntfy+https://example.org/topic", "ntfy", "https://example.org/topic"),
        (
            "ntfy+http://user:word@10.0.0.7:8080/below/topic",
            "ntfy",
            "http://user:word@10.0.0.7:8080/below/topic",
        ),
        ("https://hooks.slack.com/services/T/B/x", "slack", "https://hooks.slack.com/services/T/B/x"),
        ("slack+https://chat.example.org/hooks/x", "slack", "https://chat.example.org/hooks/x"),
        ("https://discord.com/api/webhooks/1/x", "discord", "https://discord.com/api/webhooks/1/x"),
        (
            "https://ptb.discord.com/api/v10/webhooks/1/x",
            "discord",
            "https://ptb.discord.com/api/v10/webhooks/1/x",
        ),
        ("discord+https://example.org/x", "discord", "https://example.org/x"),
        ("https://discord.com/channels/1", "json", "https://discord.com/channels/1"),
        ("https://notdiscord.com/api/webhooks/1/x", "json", "https://notdiscord.com/api/webhooks/1/x"),
        ("https://hooks.slack.com.example.org/x", "json", "https://hooks.slack.com.example.org/x"),
        ("https://example.org/a+b?c=d#part", "json", "https://example.org/a+b?c=d"),
        ("http://[::1]:8080/x", "json", "http://[::1]:8080/x"),
    ],
)
def test_the_service_is_told_by_the_address(address, kind, url):
    """By its host and path, or by what stands before the scheme."""
    assert read_notify(address) == Target(kind, url)


@pytest.mark.parametrize(
    "address",
    [
        5,
        b"https://example.org/" + SECRET.encode(),
        "",
        " ",
        f"ftp://example.org/{SECRET}",
        f"example.org/{SECRET}",
        f"https:/{SECRET}",
        f"https:///{SECRET}",
        f"https://user:{SECRET}@/x",
        f"https://example.org/{SECRET} ",
        f"https://example.org/{SECRET}\n",
        f"https://example.org/\t{SECRET}",
        f"https://example.org\\@evil.example/{SECRET}",
        f"https://exämple.org/{SECRET}",
        f"https://example.org:port/{SECRET}",
        f"https://example.org:99999/{SECRET}",
        f"https://[::1/{SECRET}",
        f"matrix+https://example.org/{SECRET}",
        f"ntfy+ntfy+https://example.org/{SECRET}",
        f"https://example.org/{SECRET}" + "x" * LONGEST_ADDRESS,
        "https://ntfy.sh",
        "https://ntfy.sh/",
        f"https://ntfy.sh/{SECRET}/json",
        f"https://ntfy.sh/{SECRET}/",
        f"https://ntfy.sh/{SECRET}" + "x" * 64,
        f"ntfy+https://example.org/{SECRET}!",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(address):
    """The message names the argument and no secret; neither does an error that it is chained to."""
    with pytest.raises(InvalidInputError, match="notify") as raised:
        read_notify(address)
    error = raised.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__


def test_a_target_shows_scheme_and_host_only():
    """Neither its text nor its repr has the path, the query or the password."""
    target = read_notify(f"https://user:{SECRET}@example.org:8443/{SECRET}?key={SECRET}")
    assert str(target) == "json at https://example.org"
    assert target.shown == "https://example.org"
    assert SECRET not in repr(target)
