"""A Google Drive on loopback, version 3 of its API as far as a store needs it, with faults as a test says.

It is written after the public description of the API and not after our client; ``test_drive_server.py`` has
Google's own client judge it. It runs in threads of the test's process, so a test may look into it and change
it at any time.
"""

import contextlib
import hashlib
import http.server
import json
import random
import re
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from urllib.parse import parse_qs, urlsplit

from keepstate._base.clock import SYSTEM_CLOCK

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
STEP = 256 << 10
MOST_IN_ONE_REQUEST = 5 << 20
ROOT = "0AROOT0000000000PVA"

REFUSALS = {
    "storageQuotaExceeded": (403, "The user's Drive storage quota has been exceeded."),
    "userRateLimitExceeded": (403, "User Rate Limit Exceeded"),
    "rateLimitExceeded": (403, "Rate Limit Exceeded"),
    "dailyLimitExceeded": (403, "Daily Limit Exceeded"),
    "activeItemCreationLimitExceeded": (403, "This account has exceeded the creation limit."),
    "insufficientPermissions": (403, "Request had insufficient authentication scopes."),
    "insufficientFilePermissions": (403, "The user does not have sufficient permissions for this file."),
    "backendError": (503, "Backend Error"),
    "internalError": (500, "Internal Error"),
    "authError": (401, "Invalid Credentials"),
}
"""Reason → number and sentence, as the API's page "Resolve errors" has them."""


@dataclass
class Entry:
    """A file or a folder."""

    id: str
    name: str
    mime: str
    parents: list
    created: datetime
    modified: datetime
    data: bytes = b""
    bin: bool = False
    app_properties: dict = field(default_factory=dict)
    target: str = ""
    hidden_for: int = 0
    revisions: int = 1

    @property
    def has_bytes(self):
        return not self.mime.startswith("application/vnd.google-apps.")


@dataclass
class Upload:
    """A session."""

    metadata: dict
    total: int | None
    fields: str
    replaces: str | None
    received: bytearray = field(default_factory=bytearray)
    gone: int = 0
    done: str | None = None


@dataclass
class Fault:
    """Something that goes wrong with the next requests of a kind."""

    kind: str
    times: int
    status: int = 0
    reason: str = ""
    headers: dict = field(default_factory=dict)
    drop: bool = False
    after: bool = False
    text: str = ""


class Refuse(Exception):
    def __init__(self, status, reason, message="", headers=None):
        self.status, self.reason, self.message, self.headers = status, reason, message, headers or {}


class Drop(Exception):
    """The connection is closed without an answer."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # the other side left, which is what some tests want


class DriveServer:
    """Runs while the block of ``with`` does; ``url`` is its address."""

    def __init__(self):
        self.lock = threading.RLock()
        self.entries = {}
        self.ghosts = []
        self.uploads = {}
        self.given_ids = set()
        self.used_ids = set()
        self.pages = {}
        self.counts = Counter()
        """Kind of request → how many came."""
        self.connections = 0
        self.faults = []
        self.tokens = {"token-that-is-good"}
        self.any_token = False
        self.refresh_tokens = {("client-id", "client-secret", "refresh-token-1")}
        self.token_seconds = 3600
        self.limit_bytes = None
        self.other_usage = 0
        self.lag_lists = 0
        """What is created from now on is missing from so many listings."""
        self.ghost_lists = 0
        """What is deleted from now on is still in so many listings."""
        self.most_per_page = 1000
        self.nothing_for_many = False
        """Whether a question about several folders is answered with nothing."""
        self.stores_at_most = []
        """Of the next requests with bytes of an upload, how many bytes are kept."""
        self.cuts_after = []
        """The next requests with bytes of an upload are cut off after so many."""
        self.corrupts = 0
        self.no_checksum_for = 0
        self.latency_seconds = 0.0
        self.fail_share = 0.0
        """Of all requests, so many fail, before or after what they do."""
        self.random = random.Random(1)
        self.creates_per_second = None
        self.punished = 0
        self.freed = threading.Event()
        self._level = 0.0
        self._level_at = SYSTEM_CLOCK.monotonic()
        self._blocked_until = self._level_at
        self._last_time = datetime(2026, 1, 1, tzinfo=UTC)
        now = self.now()
        self.entries[ROOT] = Entry(ROOT, "My Drive", FOLDER, [], now, now)

    # --- what a test does

    def __enter__(self):
        outer = self

        class Handler(_Handler):
            drive = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="drive-server")
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.freed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def token(self):
        return next(iter(self.tokens))

    def address(self, folder="keepstate"):
        return f"gdrive://{folder}?endpoint={self.url}"

    def credential(self):
        """Give a stored credential as Google's libraries write it."""
        client, secret, refresh = next(iter(self.refresh_tokens))
        return json.dumps(
            {
                "type": "authorized_user",
                "client_id": client,
                "client_secret": secret,
                "refresh_token": refresh,
                "token_uri": f"{self.url}/token",
            }
        )

    def fail(self, kind, reason="", *, status=0, times=1, drop=False, after=False, text="", **headers):
        """Have the next requests of a kind fail; *after*: only their answers, what they did stays done."""
        headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        status = status or REFUSALS.get(reason, (500, ""))[0]
        with self.lock:
            self.faults.append(Fault(kind, times, status, reason, headers, drop, after, text))

    def weather(self, kind):
        """Give some fault."""
        reason = self.random.choice(["backendError", "userRateLimitExceeded", "internalError"])
        drop, after = self.random.random() < 0.5, self.random.random() < 0.5
        return Fault(kind, 0, REFUSALS[reason][0], reason, drop=drop, after=after)

    def expire_tokens(self):
        with self.lock:
            self.tokens.clear()

    def expire_sessions(self, status=404):
        with self.lock:
            for upload in self.uploads.values():
                upload.gone = status

    def add(self, path, data=b"", *, folder=False, newer=False, target=None):
        """Put a file or folder there by another way than the API; parents are made, or reused."""
        with self.lock:
            *above, name = path.split("/")
            parent = ROOT
            for part in above:
                found = self.named(part, parent)
                parent = found[0].id if found else self._insert(part, FOLDER, parent).id
            if folder:
                return self._insert(name, FOLDER, parent)
            if target:
                entry = self._insert(name, SHORTCUT, parent)
                entry.target = target
                return entry
            return self._insert(name, "application/octet-stream", parent, data)

    def named(self, name, parent=None):
        with self.lock:
            found = [
                entry
                for entry in self.entries.values()
                if entry.name == name and (parent is None or parent in entry.parents)
            ]
            return sorted(found, key=lambda entry: (entry.created, entry.id))

    def paths(self):
        """Give path → bytes of every file that is not in the bin; of several of one path, a list."""
        found = {}
        with self.lock:
            for entry in self.entries.values():
                if entry.has_bytes and not self.in_bin(entry):
                    found.setdefault(self.path(entry), []).append(entry.data)
        return {path: data[0] if len(data) == 1 else data for path, data in found.items()}

    def path(self, entry):
        parts = [entry.name]
        while entry.parents and entry.parents[0] != ROOT:
            entry = self.entries[entry.parents[0]]
            parts.append(entry.name)
        return "/".join(reversed(parts))

    def throw_away(self, entry):
        entry.bin = True

    # --- what it does itself

    def now(self):
        """Give the time; two files are never equally old unless a test makes them so."""
        with self.lock:
            now = SYSTEM_CLOCK.utc_now()
            now = now.replace(microsecond=now.microsecond // 1000 * 1000)
            self._last_time = max(now, self._last_time + timedelta(milliseconds=1))
            return self._last_time

    def in_bin(self, entry):
        while entry is not None:
            if entry.bin:
                return True
            entry = self.entries.get(entry.parents[0]) if entry.parents else None
        return False

    def new_id(self):
        return f"1{secrets.token_urlsafe(24)}"

    def used(self):
        return self.other_usage + sum(len(entry.data) for entry in self.entries.values())

    def check_room(self, nbytes):
        if self.limit_bytes is not None and self.used() + nbytes > self.limit_bytes:
            raise refusal("storageQuotaExceeded")

    def check_rate(self):
        """Let so many creations through a second; who asks too often is sent away for a second more."""
        if self.creates_per_second is None:
            return
        now = SYSTEM_CLOCK.monotonic()
        burst = 2 * self.creates_per_second
        self._level = max(0.0, self._level - (now - self._level_at) * self.creates_per_second)
        self._level_at = now
        if now < self._blocked_until or self._level + 1 > burst:
            self.punished += 1
            self._blocked_until = now + 1.0
            raise refusal("userRateLimitExceeded")
        self._level += 1

    def _insert(self, name, mime, parent, data=b"", file_id=None):
        now = self.now()
        entry = Entry(file_id or self.new_id(), name, mime, [parent], now, now, data)
        self.entries[entry.id] = entry
        return entry

    def create(self, metadata, data=None):
        file_id = metadata.get("id")
        if file_id is not None:
            if file_id not in self.given_ids:
                raise Refuse(400, "invalid", f"Invalid file ID: {file_id}")
            if file_id in self.used_ids:
                raise Refuse(409, "fileIdInUse", "A file already exists with the provided ID.")
        parents = metadata.get("parents", [ROOT])
        if len(parents) != 1:
            raise Refuse(403, "cannotAddParent", "A file has one parent.")
        parent = ROOT if parents[0] == "root" else parents[0]
        if parent not in self.entries:
            raise Refuse(404, "notFound", f"File not found: {parent}.")
        self.check_rate()
        data = data or b""
        self.check_room(len(data))
        if self.corrupts and data:
            self.corrupts -= 1
            data = bytes([data[0] ^ 1]) + data[1:]
        mime = metadata.get("mimeType", "application/octet-stream")
        entry = self._insert(metadata.get("name", "Untitled"), mime, parent, data, file_id)
        entry.app_properties = metadata.get("appProperties", {})
        entry.target = metadata.get("shortcutDetails", {}).get("targetId", "")
        entry.hidden_for = self.lag_lists
        self.used_ids.add(entry.id)
        return entry

    def update(self, file_id, metadata, data=None):
        entry = self.entry(file_id)
        for name in metadata:
            if name in ("id", "parents"):
                raise Refuse(403, "fieldNotWritable", f"The resource body includes the field {name}.")
        if data is not None:
            self.check_room(len(data) - len(entry.data))
            entry.data = data
            entry.revisions += 1
        entry.name = metadata.get("name", entry.name)
        entry.bin = metadata.get("trashed", entry.bin)
        entry.app_properties |= metadata.get("appProperties", {})
        entry.modified = self.now()
        return entry

    def remove(self, file_id):
        entry = self.entry(file_id)
        for below in [one for one in self.entries.values() if entry.id in one.parents]:
            self.remove(below.id)
        del self.entries[entry.id]
        if self.ghost_lists:
            entry.hidden_for = self.ghost_lists
            self.ghosts.append(entry)

    def entry(self, file_id):
        file_id = ROOT if file_id == "root" else file_id
        if file_id not in self.entries:
            raise Refuse(404, "notFound", f"File not found: {file_id}.")
        return self.entries[file_id]

    def resource(self, entry):
        said = {
            "kind": "drive#file",
            "id": entry.id,
            "name": entry.name,
            "mimeType": entry.mime,
            "parents": entry.parents,
            "trashed": self.in_bin(entry),
            "explicitlyTrashed": entry.bin,
            "createdTime": written(entry.created),
            "modifiedTime": written(entry.modified),
            "version": str(entry.revisions),
            "ownedByMe": True,
            "spaces": ["drive"],
        }
        if entry.app_properties:
            said["appProperties"] = entry.app_properties
        if entry.target:
            mime = self.entries[entry.target].mime if entry.target in self.entries else ""
            said["shortcutDetails"] = {"targetId": entry.target, "targetMimeType": mime}
        if entry.has_bytes:
            said["size"] = said["quotaBytesUsed"] = str(len(entry.data))
            said["headRevisionId"] = f"revision-{entry.revisions}"
            if self.no_checksum_for:
                self.no_checksum_for -= 1
            else:
                said["md5Checksum"] = hashlib.md5(entry.data).hexdigest()
                said["sha1Checksum"] = hashlib.sha1(entry.data).hexdigest()
                said["sha256Checksum"] = hashlib.sha256(entry.data).hexdigest()
        return said

    def listed(self, query):
        """Find entries as a query says, as late as it has to be."""
        matches = Query(query, self).read() if query else lambda entry: True
        if self.nothing_for_many and query.count(" in parents") > 1:
            matches = lambda entry: False  # noqa: E731
        found = []
        for entry in [*self.entries.values()]:
            if entry.hidden_for:
                entry.hidden_for -= 1
            elif entry.id != ROOT and matches(entry):
                found.append(entry)
        for ghost in [*self.ghosts]:
            ghost.hidden_for -= 1
            if not ghost.hidden_for:
                self.ghosts.remove(ghost)
            if matches(ghost):
                found.append(ghost)
        return found


def refusal(reason, **headers):
    status, message = REFUSALS[reason]
    return Refuse(status, reason, message, headers)


def written(time):
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


class Query:
    """The language of ``q``, as far as its page "Search query terms" is needed."""

    _WORD = re.compile(r"\s*('(?:[^'\\]|\\.)*'|!=|<=|>=|[=<>(){}]|[A-Za-z0-9]+)")

    def __init__(self, text, drive):
        self.text, self.drive = text, drive
        self.words = []
        at = 0
        while text[at:].strip():
            match = self._WORD.match(text, at)
            if match is None:
                raise self.invalid()
            self.words.append(match[1])
            at = match.end()

    def invalid(self):
        return Refuse(400, "invalid", f"Invalid Value: {self.text}")

    def read(self):
        found = self.either()
        if self.words:
            raise self.invalid()
        return found

    def next(self, *expected):
        if not self.words or (expected and self.words[0] not in expected):
            raise self.invalid()
        return self.words.pop(0)

    def either(self):
        parts = [self.both()]
        while self.words[:1] == ["or"]:
            self.next()
            parts.append(self.both())
        return lambda entry: any(part(entry) for part in parts)

    def both(self):
        parts = [self.one()]
        while self.words[:1] == ["and"]:
            self.next()
            parts.append(self.one())
        return lambda entry: all(part(entry) for part in parts)

    def one(self):
        if self.words[:1] == ["not"]:
            self.next()
            part = self.one()
            return lambda entry: not part(entry)
        if self.words[:1] == ["("]:
            self.next()
            part = self.either()
            self.next(")")
            return part
        return self.term()

    def value(self):
        word = self.next()
        if not word.startswith("'"):
            raise self.invalid()
        return re.sub(r"\\(.)", r"\1", word[1:-1])

    def term(self):
        if self.words and self.words[0].startswith("'"):
            folder = self.value()
            self.next("in")
            self.next("parents")
            folder = self.drive.entry(folder).id if folder == "root" else folder
            if folder not in self.drive.entries:
                raise Refuse(404, "notFound", "File not found: .")
            return lambda entry: folder in entry.parents
        name = self.next("name", "trashed", "mimeType", "appProperties", "modifiedTime")
        if name == "trashed":
            sign, wanted = self.next("=", "!="), self.next("true", "false") == "true"
            return lambda entry: (self.drive.in_bin(entry) == wanted) == (sign == "=")
        if name == "appProperties":
            self.next("has")
            self.next("{")
            self.next("key")
            self.next("=")
            key = self.value()
            self.next("and")
            self.next("value")
            self.next("=")
            value = self.value()
            self.next("}")
            return lambda entry: entry.app_properties.get(key) == value
        if name == "modifiedTime":
            sign = self.next(">", "<", ">=", "<=")
            time = datetime.fromisoformat(self.value())
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            compare = {">": time.__lt__, "<": time.__gt__, ">=": time.__le__, "<=": time.__ge__}[sign]
            return lambda entry: compare(entry.modified)
        sign = self.next("=", "!=", "contains")
        wanted = self.value()
        of = (lambda entry: entry.name.lower()) if name == "name" else (lambda entry: entry.mime)
        wanted = wanted.lower() if name == "name" else wanted  # Drive does not look at the case
        if sign == "contains":
            return lambda entry: of(entry).startswith(wanted)
        return lambda entry: (of(entry) == wanted) == (sign == "=")


def read_fields(text):
    """Read what is asked for, like ``nextPageToken,files(id,name)``, into nested dictionaries."""
    words = re.findall(r"[A-Za-z0-9*]+|[(),/]", text)

    def level():
        found = {}
        while words and words[0] != ")":
            name = words.pop(0)
            if not re.fullmatch(r"[A-Za-z0-9*]+", name):
                raise Refuse(400, "invalidParameter", f"Invalid field selection {text}")
            found[name] = None
            if words[:1] == ["("]:
                words.pop(0)
                found[name] = level()
                if words[:1] != [")"]:
                    raise Refuse(400, "invalidParameter", f"Invalid field selection {text}")
                words.pop(0)
            elif words[:1] == ["/"]:
                words.pop(0)
                found[name] = {words.pop(0): None}
            if words[:1] == [","]:
                words.pop(0)
        return found

    found = level()
    if words:
        raise Refuse(400, "invalidParameter", f"Invalid field selection {text}")
    return found


def select(value, fields):
    if fields is None or "*" in fields:
        return value
    if isinstance(value, list):
        return [select(one, fields) for one in value]
    return {name: select(value[name], below) for name, below in fields.items() if name in value}


_USUAL = "kind,id,name,mimeType"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    drive = None

    def setup(self):
        super().setup()
        with self.drive.lock:
            self.drive.connections += 1

    def log_message(self, *args):
        pass

    def _handle(self):
        drive = self.drive
        self.left = int(self.headers.get("Content-Length", 0))
        url = urlsplit(self.path)
        self.query = {
            name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()
        }
        kind, work = self.route(url.path)
        if drive.latency_seconds:
            drive.freed.wait(drive.latency_seconds)
        try:
            with drive.lock:
                drive.counts[kind] += 1
                fault = next((one for one in drive.faults if one.kind == kind and one.times > 0), None)
                if fault is not None:
                    fault.times -= 1
                elif drive.random.random() < drive.fail_share:
                    fault = drive.weather(kind)
            if fault is not None and not fault.after:
                self.fault(fault)
            if not url.path.startswith(("/token", "/computeMetadata")) and url.path != "/":
                self.check_token(kind)
            status, headers, body = work()
            if fault is not None:
                self.fault(fault)
        except Drop:
            self.close_connection = True
            return
        except Refuse as refused:
            self.read_rest()
            status, headers, body = refused.status, refused.headers, self.refused(refused)
        self.answer(status, headers, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def fault(self, fault):
        if fault.drop:
            raise Drop
        message = fault.text or REFUSALS.get(fault.reason, (0, "Something is wrong"))[1]
        raise Refuse(fault.status, fault.reason, message, fault.headers)

    def refused(self, refused):
        if refused.reason == "invalid_grant":
            return {"error": "invalid_grant", "error_description": refused.message}
        return {
            "error": {
                "code": refused.status,
                "message": refused.message,
                "errors": [{"domain": "global", "reason": refused.reason, "message": refused.message}],
            }
        }

    def answer(self, status, headers, body):
        data = body if isinstance(body, (bytes, bytearray)) else json.dumps(body).encode()
        if status == 204:
            data = b""
        self.send_response(status)
        if "Content-Type" not in headers:
            kind = "text/plain" if isinstance(body, (bytes, bytearray)) else "application/json"
            self.send_header("Content-Type", f"{kind}; charset=UTF-8")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def check_token(self, kind):
        carried = self.headers.get("Authorization")
        if carried is None and kind in ("send", "probe"):
            return  # the address of a session is enough
        with self.drive.lock:
            if not self.drive.any_token and carried not in {f"Bearer {token}" for token in self.drive.tokens}:
                raise refusal("authError")

    def read(self, most=None):
        count = self.left if most is None else min(most, self.left)
        data = self.rfile.read(count)
        self.left -= len(data)
        return data

    def read_rest(self):
        while self.left and self.read(1 << 20):
            pass

    def route(self, path):
        method = self.command
        if path == "/token" and method == "POST":
            return "token", self.token
        if path == "/" or path.startswith("/computeMetadata/v1/"):
            return "metadata", lambda: self.metadata_server(path)
        if path == "/drive/v3/about" and method == "GET":
            return "about", self.about
        if path == "/drive/v3/files/generateIds" and method == "GET":
            return "generateIds", self.generate_ids
        if path == "/drive/v3/files/trash" and method == "DELETE":
            return "emptyTrash", self.empty_bin
        if path == "/drive/v3/files":
            if method == "GET":
                return "list", self.list
            if method == "POST":
                return "create", self.create
        if match := re.fullmatch(r"/drive/v3/files/([A-Za-z0-9_-]+)", path):
            if method == "GET" and self.query.get("alt") == "media":
                return "download", lambda: self.download(match[1])
            if method == "GET":
                return "get", lambda: self.get(match[1])
            if method == "PATCH":
                return "update", lambda: self.update(match[1])
            if method == "DELETE":
                return "delete", lambda: self.delete(match[1])
        if match := re.fullmatch(r"/upload/drive/v3/files(?:/([A-Za-z0-9_-]+))?", path):
            return self.route_upload(match[1])
        return "unknown", self.unknown

    def route_upload(self, file_id):
        kind = self.query.get("uploadType")
        if self.command == "PUT" and kind == "resumable" and "upload_id" in self.query:
            if self.headers.get("Content-Range", "").startswith("bytes */"):
                return "probe", self.send
            return "send", self.send
        if self.command == ("PATCH" if file_id else "POST"):
            if kind == "resumable":
                return "session", lambda: self.begin(file_id)
            if kind == "multipart":
                return "multipart", lambda: self.multipart(file_id)
            if kind == "media":
                return "media", lambda: self.media(file_id)
        return "unknown", self.unknown

    def unknown(self):
        self.read_rest()
        return 404, {"Content-Type": "text/html"}, b"<html>Error 404 (Not Found)!!1</html>"

    # --- tokens

    def token(self):
        form = {name: values[-1] for name, values in parse_qs(self.read().decode()).items()}
        key = tuple(form.get(name) for name in ("client_id", "client_secret", "refresh_token"))
        with self.drive.lock:
            if form.get("grant_type") != "refresh_token" or key not in self.drive.refresh_tokens:
                raise Refuse(400, "invalid_grant", "Token has been expired or revoked.")
            return 200, {}, self.new_token()

    def new_token(self):
        token = f"ya29.{secrets.token_urlsafe(30)}"
        self.drive.tokens = {token}
        return {"access_token": token, "expires_in": self.drive.token_seconds, "token_type": "Bearer"}

    def metadata_server(self, path):
        """Answer as the server does that every machine of Google's has."""
        flavor = {"Metadata-Flavor": "Google"}
        if path == "/" or path == "/computeMetadata/v1/":
            return 200, flavor, b"computeMetadata/"
        if self.headers.get("Metadata-Flavor") != "Google":
            raise Refuse(403, "forbidden", "Missing Metadata-Flavor")
        if path.endswith("/project/project-id"):
            return 200, flavor, b"some-project"
        if path.endswith("/universe/universe-domain"):
            return 200, flavor, b"googleapis.com"
        if path.endswith("/token"):
            with self.drive.lock:
                return 200, flavor, self.new_token()
        if "/service-accounts/" in path:
            account = {"email": "default", "scopes": ["https://www.googleapis.com/auth/drive"], "aliases": []}
            return 200, flavor, account
        raise Refuse(404, "notFound", path)

    # --- metadata

    def about(self):
        if "fields" not in self.query:
            raise Refuse(400, "required", "The 'fields' parameter is required for this method.")
        drive = self.drive
        with drive.lock:
            entries = drive.entries.values()
            quota = {
                "usage": str(drive.used()),
                "usageInDrive": str(drive.used() - drive.other_usage),
                "usageInDriveTrash": str(sum(len(one.data) for one in entries if drive.in_bin(one))),
            }
            if drive.limit_bytes is not None:
                quota["limit"] = str(drive.limit_bytes)
        return self.chosen({"kind": "drive#about", "storageQuota": quota}, "")

    def generate_ids(self):
        count = int(self.query.get("count", 10))
        if not 1 <= count <= 1000:
            raise Refuse(400, "invalidParameter", "Invalid value for count")
        with self.drive.lock:
            ids = [self.drive.new_id() for _ in range(count)]
            self.drive.given_ids.update(ids)
        return self.chosen({"kind": "drive#generatedIds", "space": "drive", "ids": ids}, "*")

    def list(self):
        drive = self.drive
        size = int(self.query.get("pageSize", 100))
        if not 1 <= size <= 1000:
            raise Refuse(400, "invalidParameter", "Invalid value for pageSize")
        with drive.lock:
            token = self.query.get("pageToken")
            if token is not None:
                if token not in drive.pages:
                    raise Refuse(400, "invalid", "Invalid Value: pageToken")
                query, found = drive.pages[token]
                if query != self.query.get("q", ""):
                    raise Refuse(400, "invalid", "The page token belongs to another query.")
            else:
                query = self.query.get("q", "")
                found = self.ordered(drive.listed(query))
            size = min(size, drive.most_per_page)
            page, rest = found[:size], found[size:]
            said = {
                "kind": "drive#fileList",
                "incompleteSearch": False,
                "files": [drive.resource(entry) for entry in page],
            }
            if rest:
                said["nextPageToken"] = secrets.token_urlsafe(16)
                drive.pages[said["nextPageToken"]] = (query, rest)
        return self.chosen(said, f"kind,incompleteSearch,nextPageToken,files({_USUAL})")

    def ordered(self, found):
        keys = {
            "name": lambda entry: entry.name,
            "createdTime": lambda entry: entry.created,
            "modifiedTime": lambda entry: entry.modified,
            "folder": lambda entry: entry.mime != FOLDER,
        }
        for key in reversed([one for one in self.query.get("orderBy", "").split(",") if one]):
            name, *order = key.split()
            if name not in keys or order not in ([], ["desc"]):
                raise Refuse(400, "invalid", f"Invalid Value: {key}")
            found.sort(key=keys[name], reverse=bool(order))
        return found

    def create(self):
        with self.drive.lock:
            return self.said(self.drive.create(self.json(self.read())))

    def get(self, file_id):
        with self.drive.lock:
            return self.said(self.drive.entry(file_id))

    def update(self, file_id):
        with self.drive.lock:
            return self.said(self.drive.update(file_id, self.json(self.read())))

    def delete(self, file_id):
        with self.drive.lock:
            self.drive.remove(file_id)
        return 204, {}, b""

    def empty_bin(self):
        with self.drive.lock:
            for entry in [one for one in self.drive.entries.values() if one.bin]:
                if entry.id in self.drive.entries:
                    self.drive.remove(entry.id)
        return 204, {}, b""

    def json(self, data):
        try:
            return json.loads(data) if data else {}
        except ValueError:
            raise Refuse(400, "parseError", "Parse Error") from None

    def said(self, entry):
        return self.chosen(self.drive.resource(entry), _USUAL)

    def chosen(self, value, usual):
        return 200, {}, select(value, read_fields(self.query.get("fields", usual)) or None)

    # --- bytes

    def download(self, file_id):
        with self.drive.lock:
            entry = self.drive.entry(file_id)
            data = entry.data
        if not entry.has_bytes:
            raise Refuse(403, "fileNotDownloadable", "Only files with binary content can be downloaded.")
        asked = self.headers.get("Range")
        if asked is None:
            return 200, {"Content-Type": entry.mime, "Accept-Ranges": "bytes"}, data
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        first = int(match[1])
        if first >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b"Request range not satisfiable"
        last = min(int(match[2] or len(data)), len(data) - 1)
        headers = {"Content-Type": entry.mime, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return 206, headers, data[first : last + 1]

    def media(self, file_id):
        self.check_short()
        data = self.read()
        with self.drive.lock:
            return self.said(self.store({}, data, file_id))

    def multipart(self, file_id):
        self.check_short()
        kind = self.headers["Content-Type"]
        if not kind.startswith("multipart/related"):
            raise Refuse(400, "badContent", "Bad content: not multipart/related")
        boundary = re.search(r'boundary="?([^";]+)"?', kind)[1].encode()
        body = self.read()
        # Google's own client ends lines with a line feed alone, and is understood.
        parts = re.split(rb"\r?\n--" + re.escape(boundary), b"\r\n" + body)
        if len(parts) != 4 or parts[0] or parts[3].strip() != b"--":
            raise Refuse(400, "badContent", "Bad content: two parts are expected")
        (head, described), (_, data) = (self.part(part) for part in parts[1:3])
        if not head.get_content_type() == "application/json":
            raise Refuse(400, "badContent", "Bad content: metadata first")
        with self.drive.lock:
            return self.said(self.store(self.json(described), data, file_id))

    def part(self, part):
        head, body = re.split(rb"\r?\n\r?\n", part.lstrip(b"\r\n"), maxsplit=1)
        head = BytesParser().parsebytes(head + b"\r\n\r\n", headersonly=True)
        if head.get("Content-Transfer-Encoding", "binary") != "binary":
            raise Refuse(400, "badContent", "Bad content: transfer encoding")
        return head, body

    def check_short(self):
        if self.left > MOST_IN_ONE_REQUEST + 4096:
            raise Refuse(413, "uploadTooLarge", "Upload is too large for this type.")

    def store(self, metadata, data, file_id):
        if file_id is None:
            return self.drive.create(metadata, data)
        return self.drive.update(file_id, metadata, data)

    def begin(self, file_id):
        metadata = self.json(self.read())
        drive = self.drive
        total = self.headers.get("X-Upload-Content-Length")
        with drive.lock:
            if file_id is not None:
                drive.entry(file_id)
            else:
                if metadata.get("id") in drive.used_ids:
                    raise Refuse(409, "fileIdInUse", "A file already exists with the provided ID.")
                for parent in metadata.get("parents", []):
                    drive.entry(parent)
            drive.check_room(int(total or 0))
            upload_id = secrets.token_urlsafe(24)
            drive.uploads[upload_id] = Upload(
                metadata, None if total is None else int(total), self.query.get("fields", _USUAL), file_id
            )
        path = self.path.partition("?")[0]
        location = f"{drive.url}{path}?uploadType=resumable&upload_id={upload_id}"
        return 200, {"Location": location, "X-GUploader-UploadID": upload_id}, b""

    def send(self):
        drive = self.drive
        with drive.lock:
            upload = drive.uploads.get(self.query["upload_id"])
        if upload is None:
            raise Refuse(404, "notFound", "Upload session not found")
        if upload.gone:
            raise Refuse(upload.gone, "notFound", "Upload session has ended")
        self.query.setdefault("fields", upload.fields)
        match = re.fullmatch(
            r"bytes (?:\*|(\d+)-(\d+))/(\d+|\*)",
            self.headers.get("Content-Range", f"bytes 0-{self.left - 1}/*"),
        )
        if match is None:
            raise Refuse(400, "invalid", "Failed to parse Content-Range header.")
        if "Content-Range" not in self.headers:
            match = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+|\*)", f"bytes 0-{self.left - 1}/{self.left}")
        total = None if match[3] == "*" else int(match[3])
        if upload.total is not None and total is not None and total != upload.total:
            raise Refuse(400, "invalid", "The total differs from the one that was announced.")
        if upload.done is not None:
            self.read_rest()
            with drive.lock:
                return self.said(drive.entry(upload.done))
        if match[1] is not None:
            self.take(upload, int(match[1]), int(match[2]), total)
        if total is None or len(upload.received) < total:
            stored = len(upload.received)
            return 308, {"Range": f"bytes=0-{stored - 1}"} if stored else {}, b""
        with drive.lock:
            entry = self.store(upload.metadata, bytes(upload.received), upload.replaces)
            upload.done = entry.id
            return self.said(entry)

    def take(self, upload, first, last, total):
        """Receive a piece; what the session has is a multiple of 256 KiB unless all of it is there."""
        drive = self.drive
        if last - first + 1 != self.left:
            raise Refuse(400, "invalid", "The length is not that of the range.")
        if first > len(upload.received):
            raise Refuse(400, "invalid", f"Bytes are missing before {first}.")
        is_last = total is not None and last + 1 == total
        if not is_last and self.left % STEP:
            raise Refuse(400, "invalid", "All pieces but the last are multiples of 256 KiB.")
        with drive.lock:
            cut = drive.cuts_after.pop(0) if drive.cuts_after else None
            most = drive.stores_at_most.pop(0) if drive.stores_at_most else None
        self.read(len(upload.received) - first)
        kept = self.read(self.left if cut is None else cut)
        if cut is not None:
            upload.received += kept[: len(kept) // STEP * STEP]
            raise Drop
        upload.received += kept if most is None else kept[: most // STEP * STEP]
