"""The servers and the proxy on which other tests rely do what those tests rely on."""

import os
import threading

import pytest
import requests
import s3_servers
from s3_servers import FlakyProxy, ScriptedServer

BUCKET = "keepstate-tests"


def threads():
    return [one.name for one in threading.enumerate() if one.name.startswith(("flaky-proxy", "scripted"))]


def tell(url, method="GET", *, body=None, **options):
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, data=body, timeout=30, **options)


@pytest.fixture
def scripted():
    with ScriptedServer() as server:
        server.answers = [(200, b"bytes", {})]
        yield server


@pytest.mark.parametrize("make", ["moto", "rclone"])
def test_a_server_starts_again_where_it_was(make, tmp_path):
    """After a kill it has the same port, and what it had acknowledged if it keeps that in a folder.

    That of seaweedfs, which takes seconds to start, is killed where the backend is tested.
    """
    with s3_servers.SERVERS[make](tmp_path) as server:
        server.create_bucket(BUCKET)
        server.create_bucket(BUCKET)
        assert server.ask("PUT", f"/{BUCKET}/a", body=bytes(200_000)).status_code == 200
        url, process = server.url, server.process
        server.kill()
        assert process.poll() is not None
        with pytest.raises(requests.ConnectionError):
            server.ask("GET", "/")
        server.restart()
        assert server.url == url
        answer = server.ask("GET", f"/{BUCKET}/a")
        assert (answer.status_code, len(answer.content)) == (
            (404, len(answer.content)) if make == "moto" else (200, 200_000)
        )
        process = server.process
    assert process.poll() is not None


def test_a_server_that_does_not_start_says_why(tmp_path):
    """What it wrote is in the error, and nothing of it runs on."""

    class Broken(s3_servers.RcloneServer):
        def command(self):
            return [*super().command(), "--no-such-option"]

    server = Broken(tmp_path)
    with pytest.raises(AssertionError, match="no-such-option"), s3_servers.running(server):
        pass
    assert server.process.poll() is not None


def test_a_proxy_passes_everything_on(scripted):
    """Requests, bodies and answers are what they would be without it, and it counts them."""
    scripted.answers = [(200, os.urandom(1 << 20), {})]
    with FlakyProxy(scripted.port) as proxy:
        for number in range(3):
            answer = tell(f"{proxy.url}/a/{number}", "PUT", body=os.urandom(100_000))
            assert answer.content == scripted.answers[0][1]
        assert (proxy.requests, proxy.failed) == (3, 0)
    assert [(method, path) for method, path, _ in scripted.asked] == [("PUT", f"/a/{n}") for n in range(3)]
    assert [name for name in threads() if name.startswith("flaky")] == []


def test_a_proxy_that_is_cut_lets_nothing_through_until_it_is_mended(scripted):
    """Not over a connection that was open before, either."""
    with FlakyProxy(scripted.port) as proxy, requests.Session() as session:
        session.trust_env = False
        assert session.get(proxy.url, timeout=30).content == b"bytes"
        proxy.cut()
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                session.get(proxy.url, timeout=30)
        proxy.mend()
        assert session.get(proxy.url, timeout=30).content == b"bytes"


def test_a_proxy_cuts_in_the_middle_of_a_body(scripted):
    """Once so many bytes have gone, all is cut."""
    with FlakyProxy(scripted.port) as proxy:
        proxy.cut_after_bytes = 100_000
        assert tell(proxy.url, "PUT", body=bytes(1000)).status_code == 200
        with pytest.raises(requests.ConnectionError):
            tell(proxy.url, "PUT", body=bytes(10_000_000))
        with pytest.raises(requests.ConnectionError):
            tell(proxy.url)


def outcomes(scripted, seed, share, count=60):
    with FlakyProxy(scripted.port, seed) as proxy:
        proxy.fail_share = share
        found = []
        for _ in range(count):
            try:
                found.append(tell(proxy.url).status_code)
            except requests.ConnectionError:
                found.append(0)
        assert proxy.requests == count
        assert proxy.failed == sum(one != 200 for one in found)
    return found


def test_a_proxy_fails_a_share_of_the_requests(scripted):
    """In each of its ways, the same ones for the same seed, and none or all if that is the share."""
    found = outcomes(scripted, 1, 0.3)
    assert set(found) == {0, 200, 503}
    assert 5 <= sum(one != 200 for one in found) <= 30
    assert outcomes(scripted, 1, 0.3) == found
    assert outcomes(scripted, 2, 0.3) != found
    assert set(outcomes(scripted, 1, 0.0, 10)) == {200}
    assert 200 not in outcomes(scripted, 1, 1.0, 10)


def test_an_answer_may_be_lost_after_the_server_has_seen_the_request(scripted):
    """Of the requests that fail, the server has seen some."""
    found = outcomes(scripted, 1, 1.0, 20)
    assert 0 < len(scripted.asked) < len(found)


def test_a_proxy_turns_one_bit_over(tmp_path):
    """The length stays, and everything behind the first byte."""
    with s3_servers.moto_server(tmp_path) as server, FlakyProxy(server.port) as proxy:
        server.create_bucket(BUCKET)
        proxy.flip_body = True
        tell(f"{proxy.url}/{BUCKET}/a", "PUT", body=b"hello")
        assert server.ask("GET", f"/{BUCKET}/a").content == b"iello"


def test_a_slow_proxy_does_not_hold_its_end_up(scripted):
    """A request that waits is let go when the proxy ends."""
    failed = threading.Event()

    def wait(url):
        try:
            tell(url)
        except requests.ConnectionError:
            failed.set()

    with FlakyProxy(scripted.port) as proxy:
        proxy.delay_seconds = 3600
        waiting = threading.Thread(target=wait, args=(proxy.url,))
        waiting.start()
        s3_servers.wait_until(lambda: proxy.requests == 1, "the request comes")
    waiting.join(30)
    assert failed.is_set()
    assert [name for name in threads() if name.startswith("flaky")] == []
