"""The server is asked for its own clock, notices nothing, and nobody in its place can do harm."""

import contextlib
import json
import logging
import os
import socketserver
import threading
from datetime import UTC, datetime

import pytest
from jupyter_servers import TOKEN, JupyterServer, wait_until

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._hosts import jupyter_server, last_activity

KERNEL = "0b1e6f3c-1c57-4a40-8a1c-0d7f6f4a2a10"
THEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANSWER = json.dumps({"id": KERNEL, "last_activity": "2026-01-01T12:00:00.000000Z"})


# -- a real server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A server with one kernel, in which one cell has run."""
    with JupyterServer(tmp_path_factory.mktemp("server")) as server:
        folder = server.folder / "work"
        folder.mkdir()
        kernel = server.start_kernel(folder)
        server.settle(kernel.id)
        yield server, kernel
        kernel.close()


def inside(server, **more):
    """What a kernel of that server finds in its environment."""
    return {"JUPYTER_RUNTIME_DIR": str(server.runtime), "JPY_PARENT_PID": str(server.process.pid), **more}


def test_it_is_what_the_rest_interface_says(real):
    """The same time to the microsecond, aware and in UTC."""
    server, kernel = real
    found = last_activity(inside(server), kernel.id)
    assert found == server.last_activity(kernel.id)
    assert found.tzinfo is UTC


def test_a_cell_moves_it(real):
    """It is a time of this kernel, and not that of its birth."""
    server, kernel = real
    before = last_activity(inside(server), kernel.id)
    kernel.run("1 + 1")
    assert wait_until(lambda: last_activity(inside(server), kernel.id) > before, "the cell is noticed")
    server.settle(kernel.id)


def test_asking_is_no_activity(real):
    """Neither the server's clock, by which a hub culls it, nor the kernel's is moved by it."""
    server, kernel = real
    before = server.ask("api/status"), server.kernels()
    for _ in range(3):
        assert last_activity(inside(server), kernel.id) is not None
    assert (server.ask("api/status"), server.kernels()) == before
    server.ask("api/kernels", track=True)  # what it must not be like
    assert server.ask("api/status")["last_activity"] > before[0]["last_activity"]


def test_an_unknown_kernel_has_none(real):
    """An id of no kernel, or of another form, is answered with 404."""
    server, _ = real
    for name in (KERNEL, "4711", "../status", "", "ä ?#%2f\r\n", "x" * 70_000):
        assert last_activity(inside(server), name) is None


def test_a_wrong_token_gets_nothing(real, tmp_path):
    """The server refuses, and that is no answer."""
    server, kernel = real
    about = json.loads((server.runtime / f"jpserver-{server.process.pid}.json").read_text())
    for token in ("wrong", TOKEN + "\r\nX: 1", "\u2603", "t" * 100_000):
        (tmp_path / "jpserver-1.json").write_text(json.dumps({**about, "token": token}))
        assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path)}, kernel.id) is None


def test_a_token_that_the_file_lacks_is_found_where_the_server_had_it_from(real, tmp_path):
    """In the variable, or in the file that another variable names."""
    server, kernel = real
    about = json.loads((server.runtime / f"jpserver-{server.process.pid}.json").read_text())
    (tmp_path / "jpserver-1.json").write_text(json.dumps({**about, "token": ""}))
    (tmp_path / "token").write_text(TOKEN + "\n")
    environment = {"JUPYTER_RUNTIME_DIR": str(tmp_path)}
    assert last_activity(environment, kernel.id) is None
    assert last_activity({**environment, "JUPYTER_TOKEN": TOKEN}, kernel.id) is not None
    named = {**environment, "JUPYTER_TOKEN_FILE": str(tmp_path / "token")}
    assert last_activity(named, kernel.id) is not None


def test_a_server_that_listens_everywhere_is_asked_on_this_machine(real, tmp_path):
    """Its address has the name of the machine, which need not be known to any resolver."""
    server, kernel = real
    about = json.loads((server.runtime / f"jpserver-{server.process.pid}.json").read_text())
    everywhere = {**about, "url": f"http://no-such-name.invalid:{about['port']}/", "hostname": "0.0.0.0"}
    (tmp_path / "jpserver-1.json").write_text(json.dumps(everywhere))
    assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path)}, kernel.id) is not None


def test_the_default_folder_is_that_of_jupyter(real, tmp_path, monkeypatch):
    """Without a variable it is below the user's data folder, as the server itself finds it."""
    server, kernel = real
    runtime = tmp_path / ".local" / "share" / "jupyter" / "runtime"
    runtime.parent.mkdir(parents=True)
    runtime.symlink_to(server.runtime)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert last_activity({}, kernel.id) is not None
    assert last_activity({"XDG_DATA_HOME": str(tmp_path / ".local" / "share")}, kernel.id) is not None
    assert last_activity({"JUPYTER_DATA_DIR": str(runtime.parent)}, kernel.id) is not None


def test_what_a_dead_server_left_behind_does_not_hide_the_living_one(real):
    """Its file stays after a kill, and nobody listens at its address."""
    server, kernel = real
    with JupyterServer(server.folder / "dead") as dead:
        left = dead.runtime / f"jpserver-{dead.process.pid}.json"
        dead.kill()
    assert last_activity(inside(dead), kernel.id) is None
    copy = server.runtime / left.name
    copy.write_bytes(left.read_bytes())
    assert last_activity({**inside(server), "JPY_PARENT_PID": str(dead.process.pid)}, kernel.id) is not None
    copy.unlink()


def test_nothing_is_said_or_drawn_meanwhile(real, caplog, capfd, monkeypatch):
    """No record at any level, no output however chatty the user made http.client, no random number."""
    import http.client
    import random

    server, kernel = real
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    state = random.getstate()
    assert last_activity(inside(server), kernel.id) is not None
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert random.getstate() == state


# -- the server of a hub -------------------------------------------------------------------------------


class Stub(socketserver.ThreadingTCPServer):
    """Listens on loopback, remembers what it is sent, and answers as it was told."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.freed = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="stub")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.freed.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        lines = []
        while line := self.rfile.readline().decode("latin-1").strip():
            lines.append(line)
        self.server.asked.append(lines)
        with contextlib.suppress(OSError):  # the other side left
            if callable(self.server.answer):
                self.server.answer(self.wfile, self.server.freed)
            else:
                self.wfile.write(self.server.answer.encode())


def answered(body, *, status="200 OK", header=""):
    """Give the text of an answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{header}\r\n{body}"


@pytest.fixture
def stub():
    """Start servers that are none; they run until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(Stub(answer))


def on_a_hub(port, address="http://127.0.0.1:{}/user/ana%40lab/", **more):
    return {
        "JUPYTERHUB_SERVICE_URL": address.format(port),
        "JUPYTERHUB_API_TOKEN": "hub-token",
        "JUPYTER_RUNTIME_DIR": "/nonexistent",
        **more,
    }


def test_on_a_hub_the_server_is_asked_by_the_address_and_token_of_the_environment(stub):
    """Straight, below its own prefix, as the kernel's owner, and so that it does not count."""
    hub = stub(answered(ANSWER))
    assert last_activity(on_a_hub(hub.port), KERNEL) == THEN
    ((line, *headers),) = hub.asked
    assert line.split() == [
        "GET",
        f"/user/ana%40lab/api/kernels/{KERNEL}?no_track_activity=1",
        "HTTP/1.0",
    ]
    assert "Authorization: token hub-token" in headers
    assert f"Host: 127.0.0.1:{hub.port}" in headers


def test_no_proxy_is_used(stub, monkeypatch):
    """Whatever the environment says, what this machine tells itself stays on it."""
    hub, proxy = stub(answered(ANSWER)), stub(answered(ANSWER))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert last_activity({**os.environ, **on_a_hub(hub.port)}, KERNEL) == THEN
    assert proxy.asked == []


@pytest.mark.parametrize(
    "address", ["http://0.0.0.0:{}/", "http://*:{}/", "http://:{}", "http://localhost:{}"]
)
def test_addresses_that_mean_every_address_mean_this_machine(stub, address):
    """A hub tells where to listen, and that is often everywhere."""
    hub = stub(answered(ANSWER))
    assert last_activity(on_a_hub(hub.port, address), KERNEL) == THEN


def test_a_hub_that_does_not_answer_leaves_the_files(stub, tmp_path):
    """The servers of the runtime folder are asked after it."""
    hub, other = stub(answered("{}", status="403 Forbidden")), stub(answered(ANSWER))
    described = {"url": f"http://127.0.0.1:{other.port}/", "token": "t", "pid": 1}
    (tmp_path / "jpserver-1.json").write_text(json.dumps(described))
    assert last_activity(on_a_hub(hub.port, JUPYTER_RUNTIME_DIR=str(tmp_path)), KERNEL) == THEN
    assert len(hub.asked) == len(other.asked) == 1


# -- whatever else may be there ------------------------------------------------------------------------


def test_a_redirect_is_not_followed(stub):
    """The token goes to nobody else."""
    elsewhere = stub(answered(ANSWER))
    hub = stub(answered("", status="302 Found", header=f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"))
    assert last_activity(on_a_hub(hub.port), KERNEL) is None
    assert len(hub.asked) == 1
    assert elsewhere.asked == []


NONSENSE = {
    "nothing": "",
    "no protocol": "SSH-2.0-OpenSSH_9.9\r\n",
    "no status": "HTTP/1.1\r\n\r\n",
    "no body": answered(""),
    "no object": answered("[1]"),
    "a text": answered('"last_activity"'),
    "no time": answered('{"last_activity": "yesterday"}'),
    "a number": answered('{"last_activity": 1}'),
    "a time out of range": answered('{"last_activity": "0001-01-01T00:00:00+14:00"}'),
    "half a body": answered(ANSWER)[:-10],
    "depth": answered("[" * 200_000),
    "too much": answered(ANSWER + " " * (2 << 20)),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_no_answer(stub, answer):
    """A stranger may listen at an address that was once a server's."""
    hub = stub(answer)
    assert last_activity(on_a_hub(hub.port), KERNEL) is None
    assert len(hub.asked) == 1


def test_a_time_without_a_zone_is_utc(stub):
    """As older servers wrote it."""
    hub = stub(answered('{"last_activity": "2026-01-01T12:00:00"}'))
    assert last_activity(on_a_hub(hub.port), KERNEL) == THEN


def silent(wire, freed):
    """Accept, and say nothing."""
    freed.wait()


def dripping(wire, freed):
    """Say something now and then, for ever."""
    wire.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not freed.wait(0.01):
        wire.write(b"x")


def endless(wire, freed):
    """Say much, for ever."""
    wire.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not freed.is_set():
        wire.write(b" " * 65536)


@pytest.mark.parametrize("answer", [silent, dripping, endless])
def test_a_server_without_an_end_is_left(stub, answer, monkeypatch):
    """Whether it hangs, drips or floods: the limits are for the whole answer, and the next one is asked."""
    monkeypatch.setattr(jupyter_server, "ANSWER_SECONDS", 0.2)
    hub = stub(answer)
    assert last_activity(on_a_hub(hub.port), KERNEL) is None
    assert len(hub.asked) == 1
    assert not hub.freed.is_set()


def test_many_that_hang_share_one_limit(stub, tmp_path, monkeypatch):
    """No matter how many files a machine has collected, the timer comes back."""
    monkeypatch.setattr(jupyter_server, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(jupyter_server, "TOTAL_SECONDS", 0.25)
    hanging = stub(silent)
    for number in range(50):
        described = {"url": f"http://127.0.0.1:{hanging.port}/", "token": "t", "pid": number}
        (tmp_path / f"jpserver-{number}.json").write_text(json.dumps(described))
    assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path)}, KERNEL) is None
    assert 1 <= len(hanging.asked) < 50


FILES = {
    "empty": "",
    "half": '{"url": "http://127',
    "a list": "[1, 2]",
    "a number": "7",
    "depth": "[" * 100_000,
    "no text": '{"url": 7, "token": []}',
    "no token": '{"url": "http://127.0.0.1:1/", "token": null}',
    "another scheme": '{"url": "file:///etc/passwd", "token": "t"}',
    "a socket of the file system": '{"url": "http+unix://%2Ftmp%2Fs", "token": "t"}',
    "almost http": '{"url": "httpx://127.0.0.1:1/", "token": "t"}',
    "no address": '{"url": "http://[nowhere/", "token": "t"}',
    "no port": '{"url": "http://127.0.0.1:99999/", "token": "t"}',
    "a strange host": '{"url": "http://\\u0000:1/", "token": "t", "hostname": "\\ud800.."}',
    "no such host": '{"url": "http://127.0.0.1:1/", "token": "t", "hostname": "a..b", "pid": {}}',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_hostile_file_is_passed_over(stub, tmp_path, text):
    """It costs itself alone: the server that another file describes is found."""
    living = stub(answered(ANSWER))
    described = {"url": f"http://127.0.0.1:{living.port}/", "token": "t", "pid": 2}
    (tmp_path / "jpserver-2.json").write_text(json.dumps(described))
    (tmp_path / "jpserver-1.json").write_text(text)
    assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path), "JPY_PARENT_PID": "1"}, KERNEL) == THEN


def test_files_that_are_none_are_not_read(stub, tmp_path):
    """A pipe would keep its reader for ever, a device or a huge file would fill the memory."""
    living = stub(answered(ANSWER))
    described = {"url": f"http://127.0.0.1:{living.port}/", "token": "t", "pid": 2}
    (tmp_path / "jpserver-2.json").write_text(json.dumps(described))
    os.mkfifo(tmp_path / "jpserver-3.json")
    (tmp_path / "jpserver-4.json").symlink_to("/dev/zero")
    (tmp_path / "jpserver-5.json").mkdir()
    (tmp_path / "jpserver-6.json").symlink_to("nowhere")
    (tmp_path / "jpserver-7.json").write_bytes(b"\xff\xfe")
    with (tmp_path / "jpserver-8.json").open("wb") as huge:
        huge.truncate(1 << 40)
    assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path)}, KERNEL) == THEN


def test_without_anything_nobody_is_asked(tmp_path):
    """No folder, no hub: at once none."""
    began = SYSTEM_CLOCK.monotonic()
    assert last_activity({"JUPYTER_RUNTIME_DIR": str(tmp_path / "none")}, KERNEL) is None
    assert last_activity(on_a_hub(1, "nonsense"), KERNEL) is None
    assert SYSTEM_CLOCK.monotonic() - began < jupyter_server.TOTAL_SECONDS
