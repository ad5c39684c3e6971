"""A webhook on loopback that answers, fails, hangs or drivels as a test says, and remembers what it got."""

import contextlib
import http.server
import queue
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Got:
    """A request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # the other side left, which is what some tests want


class WebhookServer:
    """Runs while the block of ``with`` does; ``url`` is its address."""

    def __init__(self, tls=None):
        self.requests = queue.Queue()
        self.answers = []
        """What to do with the next requests, each a function of the handler; empty: answer 200."""
        self.freed = threading.Event()
        """Set at the end, so that nobody hangs longer than the test."""
        self.left = threading.Event()
        """Set when the client has gone from a connection on which it was kept waiting."""
        self._tls = tls

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                line = self.raw_requestline.decode("latin-1").rstrip("\r\n")
                answer = outer.answers.pop(0) if outer.answers else status(200)
                outer.requests.put(Got(line, self.headers.items(), body))
                with contextlib.suppress(OSError):
                    answer(self)
                self.close_connection = True

            def log_message(self, *args):
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.outer = self
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="webhook-server"
        )
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.freed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def got(self):
        """Wait for the next request."""
        return self.requests.get(timeout=30)


def status(code, **headers):
    """Answer with a status and headers, and the few bytes of a body."""

    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    return answer


def hang(handler):
    """Say nothing until the client leaves or the test ends."""
    outer = handler.server.outer
    handler.connection.settimeout(0.02)
    while not outer.freed.is_set():
        try:
            if not handler.connection.recv(1):
                outer.left.set()
                return
        except TimeoutError:
            pass


def drop(handler):
    """Close the connection without an answer."""


def endless(code, **headers):
    """Answer with a body that never ends."""

    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        outer = handler.server.outer
        try:
            while not outer.freed.is_set():
                handler.wfile.write(b"x" * 65536)
        except OSError:
            outer.left.set()
            raise

    return answer


def drip(handler):
    """Send the head of an answer byte by byte, without an end."""
    outer = handler.server.outer
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not outer.freed.wait(0.02):
            handler.wfile.write(b"x")
    except OSError:
        outer.left.set()
        raise
