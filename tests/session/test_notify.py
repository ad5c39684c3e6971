"""Messages reach the webhook if anything can make them, and the kernel notices nothing else of it."""

import http.client
import logging
import os
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime

import pytest
from webhook_server import WebhookServer, drip, drop, endless, hang, status

from keepstate._base.clock import ManualClock
from keepstate._session.notify import KEPT_OF_A_KIND, PATIENCE, STUCK_SECONDS, THREAD, Notifier
from keepstate._session.notify_messages import SaveFailing, SaveWorksAgain, SessionEnded
from keepstate._session.notify_target import Target, read_notify

SECRET = "T0secretB0secret"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORKS = SaveWorksAgain("project 'p'", 60.0)


class Jumping(ManualClock):
    """Time passes by itself while the notifier's thread waits; for everybody else it stands still."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, event, seconds):
        if threading.current_thread().name != THREAD:
            return event.wait(30)
        if not event.is_set():
            self.waits.append(seconds)
            self.advance(seconds)
        return event.is_set()


@pytest.fixture
def server():
    with WebhookServer() as server:
        yield server


@pytest.fixture
def notifier_for():
    made = []

    def make(server, clock=None, path=f"/{SECRET}", **options):
        notifier = Notifier(Target("json", server.url + path), clock=clock or Jumping(), **options)
        made.append(notifier)
        return notifier

    yield make
    for notifier in made:
        notifier.close(0)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    for thread in threads():
        thread.join(30)
    assert threads() == []


def test_no_thread_runs_before_there_is_something_to_tell(server, notifier_for):
    """The first message starts it; it is a daemon, and there is one."""
    notifier = notifier_for(server)
    assert threads() == []
    notifier.tell(WORKS)
    notifier.tell(WORKS)
    server.got()
    (thread,) = threads()
    assert thread.daemon
    assert notifier.close()


def test_messages_arrive_in_the_order_in_which_they_were_told(server, notifier_for):
    """Also when they are of different kinds, and each has its own id."""
    notifier = notifier_for(server)
    server.answers.append(hang_until(free := threading.Event()))
    told = [
        WORKS,
        SessionEnded("p", "1", None),
        WORKS,
        SaveFailing("p", NOON, 3, "no"),
        SessionEnded("p", "2", None),
    ]
    for message in told:
        notifier.tell(message)
    free.set()
    bodies = [server.got().body for _ in told]
    for message, body in zip(told, bodies, strict=True):
        assert f'"event": "{message.event}"'.encode() in body
    assert len(set(bodies)) == len(told)
    assert notifier.close()
    assert notifier.trouble is None


def hang_until(free):
    def answer(handler):
        assert free.wait(30)
        status(200)(handler)

    return answer


@pytest.mark.parametrize(
    "failure",
    [status(500), status(503), status(429), status(429, Retry_After="20"), drop],
    ids=["500", "503", "429", "429-asked", "dropped"],
)
def test_what_passes_is_tried_again_with_the_same_bytes(server, notifier_for, failure):
    """The message arrives when the server recovers, and the trouble is forgotten."""
    server.answers += [failure] * 2
    notifier = notifier_for(server)
    notifier.tell(WORKS)
    assert server.got() == server.got() == server.got()
    assert notifier.close()
    assert notifier.trouble is None


def test_the_server_is_given_the_time_that_it_asked_for(server, notifier_for):
    """No repetition comes before that."""
    server.answers.append(status(429, Retry_After="30"))
    clock = Jumping()
    notifier = notifier_for(server, clock)
    notifier.tell(WORKS)
    server.got(), server.got()
    assert notifier.close()
    assert clock.waits == [30]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (status(400), "status 400"),
        (status(404), "status 404"),
        (status(429, Retry_After="3600"), "status 429"),
        (status(302, Location=f"http://127.0.0.1:1/{SECRET}"), "redirects elsewhere (302)"),
        (endless(302, Location=f"http://127.0.0.1:1/{SECRET}"), "redirects elsewhere (302)"),
        (endless(400), "status 400"),
    ],
    ids=["400", "404", "asks-too-much", "redirect", "endless-redirect", "endless-400"],
)
def test_what_does_not_pass_is_not_tried_again(server, notifier_for, answer, told):
    """One request, one sentence with the reason and without the secret, and the next message is sent."""
    server.answers.append(answer)
    notifier = notifier_for(server)
    notifier.tell(WORKS)
    server.got()
    assert notifier.close()
    assert told in notifier.trouble
    assert "http://127.0.0.1" in notifier.trouble
    assert SECRET not in notifier.trouble
    assert server.requests.empty()


def test_an_endless_answer_is_not_read(server, notifier_for):
    """The status is enough, and the connection is closed."""
    server.answers.append(endless(200))
    notifier = notifier_for(server)
    notifier.tell(WORKS)
    assert server.left.wait(30)
    assert notifier.close()
    assert notifier.trouble is None


def test_a_message_that_nobody_takes_is_given_up_and_the_next_one_tried(server, notifier_for):
    """The total time of one message bounds its repetitions."""
    server.answers += [status(500)] * 1000
    clock = Jumping()
    notifier = notifier_for(server, clock)
    notifier.tell(WORKS)
    first = server.got().body
    notifier.tell(SessionEnded("p", "exit", None))
    repetitions = 0
    while (got := server.got().body) == first:
        repetitions += 1
    assert b"session-ended" in got
    assert repetitions > 2
    assert sum(clock.waits[:repetitions]) < PATIENCE.total_seconds
    del server.answers[:]
    assert notifier.close()


def test_a_server_that_is_not_there_is_trouble_without_the_address(notifier_for):
    """Connections are tried again for the whole time, and the sentence shows scheme and host only."""
    with WebhookServer() as gone:
        pass
    clock = Jumping()
    notifier = notifier_for(gone, clock)
    notifier.tell(WORKS)
    while notifier.trouble is None:
        threading.Event().wait(0.01)
    assert notifier.trouble == (
        "a message to http://127.0.0.1 was not taken: the connection could not be made, or broke"
    )
    assert sum(clock.waits) > PATIENCE.total_seconds / 2


def test_the_oldest_of_a_kind_makes_room(server, notifier_for):
    """While the server hangs, a flood of one kind neither grows without end nor pushes out another kind."""
    server.answers.append(hang_until(free := threading.Event()))
    notifier = notifier_for(server)
    notifier.tell(WORKS)
    server.got()
    notifier.tell(SaveFailing("p", NOON, 3, "no"))
    for number in range(1000):
        notifier.tell(SessionEnded("p", f"reason-{number}", None))
    free.set()
    assert b"save-failing" in server.got().body
    for number in range(1000 - KEPT_OF_A_KIND, 1000):
        assert f"reason-{number}".encode() in server.got().body
    assert notifier.close()
    assert server.requests.empty()


def test_closing_lets_go_of_a_hanging_server_when_its_time_is_over(server, notifier_for):
    """With the clock moved by those seconds it returns, and the thread ends though nobody answered."""
    server.answers.append(hang)
    clock = ManualClock()
    notifier = notifier_for(server, clock)
    notifier.tell(WORKS)
    server.got()
    (thread,) = threads()
    answers = []
    closer = threading.Thread(target=lambda: answers.append(notifier.close(2)))
    closer.start()
    while closer.is_alive():
        clock.advance(0.1)
        closer.join(0.01)
    assert answers == [False]
    assert clock.monotonic() >= 2
    thread.join(30)
    assert not thread.is_alive()
    assert server.left.wait(30)
    assert "http://127.0.0.1" in notifier.trouble


def test_closing_tries_what_waits_once_without_waiting_between(server, notifier_for):
    """A message in the middle of a long wait gives way to the last ones, with the clock standing still."""
    server.answers += [status(503, Retry_After="50")] + [status(500)] * 2
    clock = ManualClock()
    notifier = notifier_for(server, clock)
    notifier.tell(WORKS)
    server.got()
    notifier.tell(SaveFailing("p", NOON, 3, "no"))
    notifier.tell(SessionEnded("p", "exit", None))
    assert notifier.close(2)
    assert b"save-failing" in server.got().body
    assert b"session-ended" in server.got().body
    assert server.requests.empty()
    assert clock.monotonic() == 0


def test_what_is_told_after_closing_is_dropped(server, notifier_for):
    """No thread starts, no request is made, and closing again is no error."""
    notifier = notifier_for(server)
    notifier.close()
    notifier.tell(WORKS)
    assert notifier.close()
    assert threads() == []
    assert server.requests.empty()


def test_a_request_that_never_ends_is_cut_short_by_a_later_message(server, notifier_for):
    """An answer that drips byte by byte passes every limit of a read; its message's time ends it."""
    server.answers.append(drip)
    clock = Jumping()
    notifier = notifier_for(server, clock)
    notifier.tell(WORKS)
    server.got()
    notifier.tell(WORKS)
    assert not server.left.wait(0.1)
    clock.advance(PATIENCE.total_seconds + STUCK_SECONDS + 1)
    notifier.tell(SessionEnded("p", "exit", None))
    assert server.left.wait(30)
    assert b"save-works-again" in server.got().body
    assert b"session-ended" in server.got().body
    assert notifier.close()


def test_no_record_of_a_request_reaches_the_users_handlers(server, notifier_for, caplog, capfd):
    """At level DEBUG and with http.client set to print, the secret is nowhere; the user's records are."""
    server.answers += [status(500), drop]
    before = http.client.HTTPConnection.debuglevel
    http.client.HTTPConnection.debuglevel = 1
    try:
        with caplog.at_level(logging.DEBUG):
            notifier = notifier_for(server)
            notifier.tell(WORKS)
            server.got(), server.got(), server.got()
            logging.getLogger("urllib3.connectionpool").debug("the user's own")
            assert notifier.close()
    finally:
        http.client.HTTPConnection.debuglevel = before
    for thread in threads():
        thread.join(30)
    assert [record.message for record in caplog.records] == ["the user's own"]
    assert capfd.readouterr() == ("", "")


def test_a_proxy_of_the_environment_is_used(server, notifier_for, monkeypatch):
    """The request goes to the proxy with the whole address, as HTTP has it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    target = read_notify(f"http://webhook.invalid/{SECRET}")
    notifier = Notifier(target, clock=Jumping())
    notifier.tell(WORKS)
    assert server.got().line == f"POST http://webhook.invalid/{SECRET} HTTP/1.1"
    assert notifier.close()


def test_no_password_of_a_netrc_file_is_sent(server, notifier_for, tmp_path, monkeypatch):
    """Only what the address has itself goes out."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    notifier = notifier_for(server)
    notifier.tell(WORKS)
    assert "Authorization" not in dict(server.got().headers)
    assert notifier.close()


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run(
        command.split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    return key, path


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, monkeypatch):
    """Nothing is sent to it, unless the environment names it as trusted."""
    key, path = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with WebhookServer(context) as server:
        target = Target("json", f"https://127.0.0.1:{server.port}/{SECRET}")
        distrustful = Notifier(target, clock=Jumping())
        distrustful.tell(WORKS)
        assert distrustful.close()
        assert distrustful.trouble == (
            "a message to https://127.0.0.1 was not taken: no trusted TLS connection could be made"
        )
        assert server.requests.empty()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        trustful = Notifier(target, clock=Jumping())
        trustful.tell(WORKS)
        server.got()
        assert trustful.close()
        assert trustful.trouble is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_the_user_forks_off_tells_nothing(server, notifier_for):
    """Its copy of the notifier has no thread; it drops messages, and closing does not wait."""
    notifier = notifier_for(server, ManualClock())
    script = f"""
        import os
        from keepstate._session.notify import Notifier
        from keepstate._session.notify_messages import SaveWorksAgain
        from keepstate._session.notify_target import read_notify
        notifier = Notifier(read_notify({server.url + "/x"!r}))
        notifier.start()
        child = os.fork()
        if child == 0:
            notifier.tell(SaveWorksAgain("child", 1.0))
            notifier.close(3600)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        notifier.tell(SaveWorksAgain("parent", 1.0))
        assert notifier.close(60)
    """
    run(script, "-W", "ignore::DeprecationWarning")
    assert b"parent" in server.got().body
    assert server.requests.empty()
    assert notifier.close()


def run(script, *options):
    """Run *script* to its end, which comes soon and without a word."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


HANGING = """
    import atexit
    from keepstate._base.retry import Backoff
    from keepstate._session import notify, webhook
    from keepstate._session.notify_messages import SaveWorksAgain
    from keepstate._session.notify_target import read_notify
    webhook.CONNECT_SECONDS = webhook.READ_SECONDS = 3600.0   # so that no limit of a request helps
    notifier = notify.Notifier(read_notify({url!r}), patience=Backoff(total_seconds=3600.0))
"""


def test_a_script_whose_webhook_hangs_ends_soon_and_silently(server):
    """The end of the interpreter waits two seconds for it, and prints nothing."""
    server.answers.append(hang)
    run(
        HANGING.format(url=f"{server.url}/{SECRET}")
        + """
    atexit.register(notifier.close)
    notifier.tell(SaveWorksAgain("p", 1.0))
"""
    )
    server.got()
    assert server.left.wait(30)


def test_the_thread_dies_with_the_interpreter(server, tmp_path):
    """A script that closes nothing ends all the same, in the middle of a request."""
    asked = tmp_path / "asked"

    def answer(handler):
        asked.touch()
        hang(handler)

    server.answers.append(answer)
    run(
        HANGING.format(url=f"{server.url}/{SECRET}")
        + f"""
    notifier.tell(SaveWorksAgain("p", 1.0))
    import os, time
    while not os.path.exists({str(asked)!r}):
        time.sleep(0.01)
"""
    )
    assert server.left.wait(30)


def test_the_first_message_may_come_at_the_end_of_the_interpreter(server):
    """A session that started its notifier tells its end, though no thread can be started any more."""
    run(
        HANGING.format(url=f"{server.url}/{SECRET}")
        + """
    notifier.start()
    @atexit.register
    def end():
        notifier.tell(SaveWorksAgain("p", 1.0))
        notifier.close(30)
"""
    )
    server.got()
