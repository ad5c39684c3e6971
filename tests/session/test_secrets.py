"""Keys of a far store are nowhere but where the user has put them.

Sessions are run with planted keys, well and badly, and everything that they have written or said, at the
store as well, is searched for the keys as they are, as addresses quote them, and in base64.
"""

import base64
import html
import http.server
import json
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from drive_server import DriveServer
from far_scripts import Computer
from kernels import Kernel
from s3_servers import KEY, SECRET, free_ports, rclone_server

from keepstate._repository import Repository
from keepstate._snapshot import decode_cells
from keepstate.backends import Credentials

PLANTED = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
WRONG = "wrong/planted+secret/0123456789=="
TOKEN = "planted/session+token/0123456789=="

PRELUDE = """
import os, sys, traceback
import keepstate
from keepstate.backends import open_backend, read_address

WHOSE = dict(project="p", member="ana", notebook="n")


def shown(session):
    "Print what a curious user may print."
    status = keepstate.status()
    far = session._far
    for each in (session, status, status._repr_html_(), far, far.credentials, far.report()):
        print(repr(each), str(each))
    try:
        backend = open_backend(far.address, far.credentials)
        print(repr(backend), str(backend), backend.place)
        backend.get("no/such/object")
    except Exception as error:
        told(error, variables=False)  # in the very process that speaks with the place they hold its answer


def told(error, variables=True):
    "Print an error as the most talkative of shells does: with what stands behind it, and all variables."
    print(repr(error), error.args, vars(error))
    whole = traceback.TracebackException.from_exception(error, capture_locals=variables, compact=False)
    print("".join(whole.format()))


def fails(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except keepstate.KeepstateError as error:
        told(error)
    else:
        raise AssertionError("it was not refused")


def command_lines():
    "Print how all of our processes were called."
    for folder in os.listdir("/proc"):
        try:
            with open(f"/proc/{folder}/environ", "rb") as file:
                ours = b"TEST_COMPUTER=" in file.read()
            with open(f"/proc/{folder}/cmdline", "rb") as file:
                print("called", file.read() if ours else "")
        except OSError:
            pass
"""

GOOD = """
session = keepstate.start(store=STORE, track="all", **WHOSE)
x = list(range(1000))
api_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "none")
keepstate.snapshot("a note")
del api_key
command_lines()
shown(session)
fails(keepstate.restore, at="nonsense")
fails(keepstate.load, "nothing")
keepstate.finish(release=False)
print("finished", session.status().durability)
"""
AGAIN = """
session = keepstate.start(store=STORE, **WHOSE)
assert x == list(range(1000))
shown(session)
"""
BAD = """
session = keepstate.start(store=STORE, **WHOSE)
y = 1
keepstate.track("y")
keepstate.snapshot()
command_lines()
shown(session)
fails(session.finish, seconds=3)
shown(session)
"""


def forms(secret):
    """Give what a key looks like: as it is, quoted in three ways, and in base64 at any offset."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    found |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + secret.encode()).decode()
        # The first and the last characters depend on what stands beside it.
        inner = coded[4 if offset else 0 : len(coded) - 4]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form.encode() for form in found}


def must_be_without(secrets, *, files=(), said=()):
    """Search folders and texts."""
    wanted = {form: secret for secret in secrets for form in forms(secret)}
    found = []
    searched = 0
    for folder in files:
        for path in Path(folder).rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                searched += 1
                found += [(str(path), wanted[form]) for form in wanted if form in raw or form in bytes(path)]
    for number, text in enumerate(said):
        raw = text.encode()
        where = {form: raw.find(form) for form in wanted if form in raw}
        found += [
            (f"text {number}", wanted[form], text[max(at - 300, 0) : at + 99]) for form, at in where.items()
        ]
    assert searched or not files
    assert not found, found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with rclone_server(tmp_path_factory.mktemp("server")) as running:
        running.create_bucket("bucket")
        yield running


@pytest.fixture
def computer(tmp_path):
    with Computer(tmp_path / "computer") as one:
        yield one


def run(computer, code, store, **variables):
    """Run a script of the above, and give all that it said."""
    done = computer.run(f"STORE = {store!r}\n{PRELUDE}\n{code}", **variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def commands(computer, store, **variables):
    """Run the command line, and give all that it said."""
    said = []
    for words in (["log"], ["log", "--json"], ["doctor"], ["doctor", "--json"], ["verify", "--deep"]):
        done = computer.keepstate(*words, "--store", store, **variables)
        assert "Traceback" not in done.stderr
        said.append(done.stdout + done.stderr)
    return said


def colab(folder, secrets):
    """Write Colab's own module, with these secrets in it; give the variables of such a machine."""
    path = folder / "google" / "colab" / "userdata.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        textwrap.dedent(f"""
        class NotebookAccessError(Exception): pass
        class SecretNotFoundError(Exception): pass
        def get(key):
            if key not in {secrets!r}:
                raise SecretNotFoundError(key)
            return {secrets!r}[key]
        """)
    )
    return {"KEEPSTATE_HOST": "colab", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def kaggle(folder, secrets):
    """The same for Kaggle."""
    folder.mkdir(parents=True)
    (folder / "kaggle_secrets.py").write_text(
        textwrap.dedent(f"""
        class UserSecretsClient:
            def get_secret(self, label):
                if label not in {secrets!r}:
                    raise RuntimeError(f"No user secrets exist for label {{label}}.")
                return {secrets!r}[label]
        """)
    )
    return {"KEEPSTATE_HOST": "kaggle", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


HOSTS = {"the environment": lambda _folder, secrets: secrets, "colab": colab, "kaggle": kaggle}
SOURCES = [
    "the environment",
    *(pytest.param(each, marks=pytest.mark.torture) for each in ("colab", "kaggle")),
]
"""How keys are found there is shown quickly beside this one."""


@pytest.mark.parametrize("source", SOURCES)
def test_a_session_with_keys_leaves_none_anywhere(server, computer, tmp_path, source):
    """Saved, sent, proven, shown and restored elsewhere; the keys come from each of the places."""
    store = server.address("bucket", source.replace(" ", "-"))
    variables = HOSTS[source](tmp_path / "platform", PLANTED)
    said = [run(computer, GOOD, store, **variables)]
    assert "finished verified" in said[0]
    assert "called b'" in said[0]
    assert "keepstate._transfer" in said[0]
    said += [" ".join(process.cmdline()) for process in computer.processes()]
    written = {process.pid: process.environ() for process in computer.processes()}
    if source != "the environment":
        said.append(json.dumps(written))
        assert not any(name in variables for name in PLANTED)
    if source == "the environment":  # where the command line has its keys from, whoever has saved
        said += commands(computer, store, **PLANTED)
    with Computer(tmp_path / "another") as other:
        said.append(run(other, AGAIN, store, **variables))
        must_be_without(
            PLANTED.values() if source != "the environment" else [SECRET],
            files=[computer.home, computer.work, other.home, server.folder / "data"],
            said=said,
        )


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers everything with an error, in which all that it knows is said in several ways."""

    protocol_version = "HTTP/1.1"
    status = 403
    knows = ()

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = " ".join(
            form for secret in self.knows for form in (secret, quote(secret, safe=""), repr(secret))
        )
        body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message><Key>{said}</Key></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Said", said)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *arguments):
        pass


@contextmanager
def echoing(status, knows):
    kind = type("Echoing", (Echo,), {"status": status, "knows": tuple(knows)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="echo-server")
    thread.start()
    try:
        yield f"s3://bucket/team?endpoint=http://127.0.0.1:{server.server_address[1]}&region=us-east-1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("status", [pytest.param(400, marks=pytest.mark.torture), 403])
def test_a_server_that_repeats_the_keys_is_not_quoted(computer, status):
    """Whatever it says of them, and however: not in the status, the log, a report or a traceback."""
    keys = {**PLANTED, "AWS_SESSION_TOKEN": TOKEN}
    with echoing(status, keys.values()) as store:
        said = [run(computer, BAD, store, **keys), *commands(computer, store, **keys)]
    assert str(status) in said[0]
    must_be_without([SECRET, TOKEN, KEY], files=[computer.home, computer.work], said=said)


def test_a_wrong_key_is_not_told(server, computer):
    """A mistyped key is nearly the right one."""
    keys = {**PLANTED, "AWS_SECRET_ACCESS_KEY": WRONG}
    store = server.address("bucket", "refused")
    said = [run(computer, BAD, store, **keys), *commands(computer, store, **keys)]
    assert "refuses us" in said[0]
    must_be_without([WRONG], files=[computer.home, computer.work], said=said)


@pytest.mark.torture
def test_a_place_that_does_not_answer_is_told_without_the_key(computer):
    """With its address, in which there never is one."""
    store = f"s3://bucket/team?endpoint=http://127.0.0.1:{free_ports(1)[0]}&region=us-east-1"
    said = run(computer, BAD, store, **PLANTED)
    assert "connection was refused" in said
    must_be_without([SECRET], files=[computer.home, computer.work], said=[said])


CREDENTIAL = {
    "type": "authorized_user",
    "client_id": "planted-client-id-1",
    "client_secret": "planted/client+secret/1",
    "refresh_token": "1//planted+refresh/token==",
}
DRIVE_SECRETS = [CREDENTIAL["client_secret"], CREDENTIAL["refresh_token"]]


@pytest.fixture
def drive():
    with DriveServer() as running:
        running.refresh_tokens = {
            tuple(CREDENTIAL[k] for k in ("client_id", "client_secret", "refresh_token"))
        }
        yield running


@pytest.mark.parametrize("source", SOURCES)
def test_a_session_with_drive_leaves_no_key_anywhere(drive, computer, tmp_path, source):
    """Neither the stored credential nor what is in it, nor a token that was got with it."""
    credential = {"GDRIVE_CREDENTIALS": json.dumps({**CREDENTIAL, "token_uri": f"{drive.url}/token"})}
    variables = HOSTS[source](tmp_path / "platform", credential)
    said = [run(computer, GOOD, drive.address(), **variables)]
    assert "finished verified" in said[0]
    if source == "the environment":  # where the command line has its keys from, whoever has saved
        said += commands(computer, drive.address(), **credential)
    kept = [entry.data.decode("latin-1") for entry in drive.entries.values()]
    secrets = [*DRIVE_SECRETS, *drive.tokens, *credential.values()]
    must_be_without(secrets, files=[computer.home, computer.work], said=[*said, *kept])


def test_a_drive_that_repeats_the_keys_is_not_quoted(drive, computer):
    """Neither where the token is renewed nor elsewhere."""
    credential = {"GDRIVE_CREDENTIALS": json.dumps({**CREDENTIAL, "token_uri": f"{drive.url}/token"})}
    loud = " ".join([*DRIVE_SECRETS, *(quote(each, safe="") for each in DRIVE_SECRETS)])
    drive.fail("token", status=400, times=1000, text=json.dumps({"error": loud, "error_description": loud}))
    said = [
        run(computer, BAD, drive.address(), **credential),
        *commands(computer, drive.address(), **credential),
    ]
    must_be_without(DRIVE_SECRETS, files=[computer.home, computer.work], said=said)


def test_a_key_in_a_cell_is_not_kept_with_the_state(server, tmp_path):
    """The record of the cells that have run holds neither the store's own key nor what looks like one."""
    github = "ghp_" + "Planted0" * 5
    store = server.address("bucket", "cells")
    with Computer(tmp_path / "computer", **PLANTED) as computer:
        kernel = Kernel(computer.work, **computer.variables)
        try:
            kernel.run(
                f"import keepstate; keepstate.start(store={store!r}, project='p', member='m', notebook='n')"
            )
            kernel.run(f"x = 1; keepstate.track('x')  # the key is {SECRET}, of {KEY}")
            kernel.run(f"headers = len('Bearer {github}')")
            kernel.run("assert keepstate.finish(release=False).durability == 'verified'")
        finally:
            kernel.end()
        near = Repository.open(computer.near(), create=False)
        (newest, *_) = near.manifests()
        cells = "\n".join(cell.source for cell in decode_cells(near.read(newest.cells, member="m")))
        shown = computer.keepstate("show", newest.id, "--store", store).stdout
    assert "keepstate.track('x')" in cells
    must_be_without([SECRET, KEY, github], said=[cells, shown])


def test_credentials_are_shown_by_their_names_alone():
    """In every way in which Python shows a value."""
    found = Credentials(PLANTED)
    said = [repr(found), str(found), f"{found}", f"{found!r:>99}", repr({"of": [found]}), repr(dir(found))]
    must_be_without(PLANTED.values(), said=said)
    with pytest.raises(TypeError):
        found.__reduce__()
