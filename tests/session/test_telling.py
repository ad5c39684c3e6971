"""What a session tells the user's webhook, seen from the webhook."""

import json

import pytest
from webhook_server import WebhookServer


@pytest.fixture
def server():
    with WebhookServer() as server:
        yield server


@pytest.fixture
def run(run_script):
    """Run a script under guard on a machine without deadlines of its own."""
    start = "import keepstate, os, threading\n"
    return lambda code, **variables: run_script(
        code, start=start, variables={"KEEPSTATE_HOST": "plain", **variables}
    )


def events(server):
    told = []
    while not server.requests.empty():
        told.append(json.loads(server.requests.get().body))
    return told


def test_a_deadline_ahead_and_the_end_are_told_with_names_and_without_values(server, run):
    """The lifetime ends in seconds; the message says what is not safe yet, the last one what was kept."""
    run(
        f"""
        keepstate.start(store='store', interval=3600, notify={server.url!r}, limits={{'lifetime_seconds': 8}})
        precious = ['a value that must not leave']; keepstate.track(precious)
        for _ in range(600):
            threading.Event().wait(0.05); precious.append(1)
            if any(s.reason == 'lifetime' for s in keepstate.snapshots()): break
        else: raise SystemExit('no snapshot ahead of the deadline')
        """,
    )
    told = events(server)
    assert told[0]["event"] == "deadline-ahead"
    assert told[0]["details"]["unsaved"] == ["precious"]
    assert told[-1]["event"] == "session-ended"
    assert told[-1]["details"]["kept"] == ["precious"]
    assert "must not leave" not in json.dumps(told)


def test_a_save_that_keeps_failing_is_told_once_and_so_is_its_recovery(server, run):
    """Three failures in a row are worth a message; each further one is not."""
    run(
        """
        keepstate.start(store='store', interval=3600)
        x = [1]; keepstate.track(x); keepstate.snapshot()
        os.rename('store', 'away'); open('store', 'w').close()
        for _ in range(5):
            x.append(1)
            try: keepstate.snapshot()
            except keepstate.StoreError: pass
            else: raise SystemExit('it worked')
        os.remove('store'); os.rename('away', 'store'); keepstate.snapshot()
        """,
        KEEPSTATE_NOTIFY=server.url,
    )
    assert [message["event"] for message in events(server)] == [
        "save-failing",
        "save-works-again",
        "session-ended",
    ]
