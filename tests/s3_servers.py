"""Real S3 servers for the tests, of three makes, on loopback; and a proxy that makes the way there bad.

moto keeps everything in memory, so its restart is an empty server. seaweedfs and rclone keep it in a folder:
after ``kill`` and ``restart`` they have what they had acknowledged, on the same port.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from urllib.parse import quote, urlencode

import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys

from keepstate._base.clock import SYSTEM_CLOCK

START_SECONDS = 60
"""How long a server may take on a busy machine; alone it takes about one second."""

KEY = "AKIAKEEPSTATETESTS00"
SECRET = "x7/keepstate+tests/Secret0Secret0Secret00"
REGION = "us-east-1"


class S3Server:
    """One server. Subclasses say how it is started."""

    def __init__(self, folder: Path, ports: int = 1) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports = free_ports(ports)
        self.port = self._ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.credentials = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_", "WEED_"))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self.process.poll() is not None or self.answers(), "it starts")
            assert self.process.poll() is None, "it has ended"
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}:\n{self.log.read_text(errors='replace')[-4000:]}") from None

    def answers(self) -> bool:
        """Whether it lists its buckets."""
        try:
            return self.ask("GET", "/").status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def ask(
        self, method: str, path: str, *, body: bytes = b"", timeout: float = 30, **headers: str
    ) -> requests.Response:
        """Send a signed request of ours, by none of the libraries under test."""
        request = AWSRequest(method=method, url=self.url + path, data=body, headers=headers)
        S3SigV4Auth(Keys(KEY, SECRET), "s3", REGION).add_auth(request)
        with requests.Session() as session:
            session.trust_env = False
            prepared = request.prepare()
            return session.request(
                method, prepared.url, data=body, headers=dict(prepared.headers), timeout=timeout
            )

    def create_bucket(self, bucket: str) -> None:
        """Make a bucket; one that is there already is fine."""
        answer = self.ask("PUT", f"/{quote(bucket)}")
        assert answer.status_code in (200, 409), answer.text

    def address(self, bucket: str, folder: str = "", *, url: str | None = None) -> str:
        """Give what a user would write as ``store``.

        Args:
            bucket: Its name.
            folder: Inside of it.
            url: Of a proxy before it.
        """
        place = "/".join(filter(None, (bucket, folder)))
        return f"s3://{place}?{urlencode({'endpoint': url or self.url, 'region': REGION})}"

    def kill(self) -> None:
        """``kill -9``, as when the power goes."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)

    def restart(self) -> None:
        """Start it again, on the same port and folder; one that still runs is killed first."""
        self.kill()
        self.start()


class MotoServer(S3Server):
    """moto: in Python, in memory, the nearest to what Amazon's answers look like."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self.port)]


class RcloneServer(S3Server):
    """rclone: objects are files below ``<folder>/data``, buckets are folders."""

    def command(self) -> list[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        return [
            *(program("rclone"), "serve", "s3", "--config", "", "--auth-key", f"{KEY},{SECRET}"),
            *("--addr", f"127.0.0.1:{self.port}"),
            str(self.folder / "data"),
        ]


class WeedServer(S3Server):
    """seaweedfs: master, volumes, filer and gateway in one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ports=8)

    def command(self) -> list[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.folder / "identities.json"
        config.write_text(json.dumps({"identities": [identity]}))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = map(str, self._ports)
        options = {
            "dir": str(self.folder / "data"),
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.volumeSizeLimitMB": "1024",
            "master.electionTimeout": "200ms",
            "master.heartbeatInterval": "50ms",
            "master.telemetry": "false",
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": "100",
            "volume.preStopSeconds": "0",
            "volume.minFreeSpace": "100MiB",
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "filer.localSocket": str(self.folder / "filer.sock"),
            "s3": "true",
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.iam": "false",
            "s3.localSocket": str(self.folder / "s3.sock"),
            "s3.config": str(config),
            "s3.autoCreateBucket": "false",
        }
        # Otherwise the first object of each bucket waits for seven volumes.
        (self.folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        said = [f"-{name}={value}" for name, value in options.items()]
        return [program("weed"), f"-config_dir={self.folder}", "-logtostderr=true", "server", *said]

    def answers(self) -> bool:
        """Whether it stores what does not fit beside a name, for which its volumes must have come up, too."""
        try:
            for method, path, body in (
                ("PUT", "/warming-up", b""),
                ("PUT", "/warming-up/object", bytes(100_000)),
                ("DELETE", "/warming-up/object", b""),
                ("DELETE", "/warming-up", b""),
            ):
                # One that comes too early is answered after five seconds, the next one at once.
                if self.ask(method, path, body=body, timeout=1).status_code not in (200, 204, 409):
                    return False
        except (requests.ConnectionError, requests.Timeout):
            return False
        return True

    def kill(self) -> None:
        """As of any server; and remove the sockets that it leaves."""
        super().kill()
        for left in Path("/tmp").glob("seaweedfs-*.sock"):
            if left.stem.rpartition("-")[2] in map(str, self._ports):
                left.unlink(missing_ok=True)


def program(name: str) -> str:
    """Give the path of a program that pip has installed beside this Python."""
    beside = Path(sysconfig.get_path("scripts")) / name
    path = str(beside) if beside.exists() else shutil.which(name)
    assert path, f"{name} is not installed: it is one of the test dependencies"
    return path


def wait_until(holds, what: str, seconds: float = START_SECONDS):
    """Return once *holds* gives something true, and give that."""
    until = SYSTEM_CLOCK.monotonic() + seconds
    while not (found := holds()):
        assert SYSTEM_CLOCK.monotonic() < until, f"in vain: {what}"
        threading.Event().wait(0.02)
    return found


def free_ports(count: int) -> list[int]:
    """Give ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(server: S3Server):
    """Start *server*, and end it with the block."""
    server.start()
    try:
        yield server
    finally:
        server.kill()


def moto_server(folder: Path):
    """A server of moto, with its log in *folder*."""
    return running(MotoServer(folder))


def weed_server(folder: Path):
    """A server of seaweedfs, with all that it keeps in *folder*."""
    return running(WeedServer(folder))


def rclone_server(folder: Path):
    """A server of rclone, with all that it keeps in *folder*."""
    return running(RcloneServer(folder))


SERVERS = {"moto": moto_server, "weed": weed_server, "rclone": rclone_server}
"""Name → how it is started."""


class FlakyProxy:
    """A way to a server that can be cut, slow, and lose requests; runs while the block of ``with`` does.

    It reads requests of HTTP/1.1 whose bodies have a length, which all of ours have.

    Args:
        target_port: Of the server on loopback.
        seed: Decides which requests fail.
    """

    def __init__(self, target_port: int, seed: int = 0) -> None:
        self.fail_share = 0.0
        """Of the requests; each of them is answered with 503, or its connection is reset before or after the
        server has seen it."""
        self.delay_seconds = 0.0
        """Before each request goes on."""
        self.flip_body = False
        """Whether one bit of every body that goes to the server is turned over."""
        self.strip = ""
        """Taken off the beginning of every path, as a gateway does that has a name before the bucket's."""
        self.cut_after_bytes: int | None = None
        """Cut everything as soon as so many bytes of one request have gone to the server."""
        self.requests = 0
        """That came so far."""
        self.failed = 0
        """That were made to fail."""
        self._target = ("127.0.0.1", target_port)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._is_cut = False

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept, name="flaky-proxy")
        self._accepting.start()
        return self

    def __exit__(self, *exc):
        self.cut()  # first: a request that is let go must find its way cut
        self._ended.set()
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def cut(self) -> None:
        """Break every connection, and let none through until :meth:`mend`."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                _reset(one)

    def mend(self) -> None:
        """Let connections through again."""
        self.cut_after_bytes = None
        self._is_cut = False

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if self._is_cut:
                _reset(client)
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="flaky-proxy-connection")
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target, 30) as server:
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
                if self._is_cut:
                    _reset(client)
            lost = _Lost()
            back = threading.Thread(target=_copy, args=(server, client, lost), name="flaky-proxy-answers")
            back.start()
            try:
                self._forward(client, server, lost)
            finally:
                with self._lock:
                    for one in (client, server):
                        with contextlib.suppress(OSError):
                            one.shutdown(socket.SHUT_RDWR)
                    self._open -= {client, server}
                back.join()

    def _forward(self, client: socket.socket, server: socket.socket, lost: _Lost) -> None:
        """Pass on request after request of one connection."""
        with client.makefile("rb") as incoming:
            while head := _head(incoming):
                with self._lock:
                    self.requests += 1
                    fails = self._random.random() < self.fail_share
                    how = self._random.choice(("answer", "before", "after")) if fails else ""
                    self.failed += fails
                length = _length(head)
                if self.delay_seconds:
                    self._ended.wait(self.delay_seconds)
                if how == "before":
                    _reset(client)
                    return
                if how == "answer":
                    _skip(incoming, length)
                    client.sendall(_SLOW_DOWN)
                    continue
                lost.wanted = how == "after"
                server.sendall(head.replace(b" " + self.strip.encode() + b"/", b" /", 1))
                self._forward_body(incoming, server, length)
                if how == "after":
                    lost.came.wait(START_SECONDS)
                    _reset(client)
                    return

    def _forward_body(self, incoming, server: socket.socket, length: int) -> None:
        sent, flipped = 0, not self.flip_body
        while sent < length and (piece := incoming.read1(min(65536, length - sent))):
            if not flipped:
                piece, flipped = bytes([piece[0] ^ 1]) + piece[1:], True
            server.sendall(piece)
            sent += len(piece)
            if self.cut_after_bytes is not None and sent >= self.cut_after_bytes:
                self.cut()


_BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
_SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nRetry-After: 1\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


def _head(incoming) -> bytes:
    """Read the head of a request; empty at the end of the connection."""
    lines = []
    while line := incoming.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _skip(incoming, length: int) -> None:
    while length > 0 and (piece := incoming.read1(min(65536, length))):
        length -= len(piece)


class _Lost:
    """Whether the next answer of a connection is to be lost, and whether it was."""

    def __init__(self) -> None:
        self.wanted = False
        self.came = threading.Event()


def _copy(source: socket.socket, target: socket.socket, lost: _Lost) -> None:
    """Pass answers on until one of them is to be lost."""
    try:
        with contextlib.suppress(OSError):
            while (piece := source.recv(65536)) and not lost.wanted:
                target.sendall(piece)
            if not lost.wanted:
                target.shutdown(socket.SHUT_WR)
    finally:
        lost.came.set()


def _reset(one: socket.socket) -> None:
    """Break a connection so that both sides notice at once."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        one.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """Answers what a test says, whatever is asked; runs while the block of ``with`` does."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        """Status, body and headers of the next answers; the last one stays."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of the requests that came, the names of the headers in small letters."""

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.rfile.read(int(headers.get("content-length", "0")))
                outer.asked.append((self.command, self.path, headers))
                status, body, more = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if "Content-Length" not in more:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

            def log_message(self, *args):
                pass

        self._server = _ThreadingServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="scripted-server"
        )
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _ThreadingServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # the other side left, which is what some tests want
