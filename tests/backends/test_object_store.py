"""Buckets of three makes of servers are places for bytes, and what they say is told in our words."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import traceback

import pytest
import s3_servers
from s3_servers import KEY, SECRET, FlakyProxy, ScriptedServer

from keepstate._base.retry import Backoff
from keepstate.backends import Credentials, read_address
from keepstate.backends import _object_store as object_store
from keepstate.backends._object_places import open_client, read_place
from keepstate.backends._object_store import WANTED, open_object_store, usual_files
from keepstate.backends._retrying import Retrying
from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from keepstate.testing import BackendSuite

BUCKET = "keepstate-tests"
SMALL, LARGE = b"x", bytes(100_000)
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

_numbers = iter(range(1, 1_000_000))


@pytest.fixture(scope="module", params=sorted(s3_servers.SERVERS))
def server(request, tmp_path_factory):
    with s3_servers.SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        running.create_bucket(BUCKET)
        running.make = request.param
        yield running


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    with s3_servers.rclone_server(tmp_path_factory.mktemp("rclone-alone")) as running:
        running.create_bucket(BUCKET)
        yield running


@pytest.fixture
def folder():
    """Give a folder in the bucket that nobody has used."""
    return f"fo-ld+er@/{next(_numbers)}"


@contextlib.contextmanager
def opened(server, folder, *, bucket=BUCKET, url=None, **changed):
    address = read_address(server.address(bucket, folder, url=url))
    with contextlib.closing(open_object_store(address, Credentials({**KEYS, **changed}))) as backend:
        yield backend


@pytest.fixture
def bucket(server, folder):
    with opened(server, folder) as backend:
        yield backend


@pytest.fixture
def scripted():
    with ScriptedServer() as server:
        yield server


@contextlib.contextmanager
def opened_at(scripted, **more):
    address = read_address(f"s3://bucket/folder?endpoint={scripted.url}")
    with contextlib.closing(open_object_store(address, Credentials({**KEYS, **more}))) as backend:
        yield backend


def says(code, message="", more=""):
    """Give the body of an answer in the language of S3."""
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


def calls(backend):
    return {
        "put": lambda: backend.put("a", SMALL),
        "replace": lambda: backend.put("a", SMALL, replace=True),
        "get": lambda: backend.get("a"),
        "range": lambda: backend.get("a", start=1, length=1),
        "nothing": lambda: backend.get("a", length=0),
        "stat": lambda: backend.stat("a"),
        "list": lambda: [*backend.list()],
        "delete": lambda: backend.delete("a"),
    }


class TestObjectStore(BackendSuite):
    secrets = (KEY, SECRET)

    @pytest.fixture
    def backend(self, server, folder, request):
        bucket = BUCKET
        if "names_are_kept" in request.node.name:  # the longest one fits at the top of a bucket only
            bucket, folder = f"keepstate-{next(_numbers)}", ""
            server.create_bucket(bucket)
        with opened(server, folder, bucket=bucket) as backend:
            backend.put("first", b"shows whether a name is given once")
            backend.delete("first")
            # rclone breaks off the answer when an object is replaced while it is read.
            yield Retrying(backend, stop=threading.Event()) if server.make == "rclone" else backend


# --- names


def test_whether_a_name_is_given_once_shows_with_the_first_small_object(server, bucket):
    """It is promised only once it was seen, and a long object is not sent twice to find out."""
    bucket.put("a", LARGE)
    assert not bucket.properties.atomic_create
    bucket.put("b", SMALL)
    assert bucket.properties.atomic_create is (server.make != "rclone")
    for name in ("a", "b"):
        with pytest.raises(AlreadyThereError):
            bucket.put(name, b"other")
    assert (bucket.get("a"), bucket.get("b")) == (LARGE, SMALL)


def test_where_the_wish_is_refused_the_name_is_looked_up_first(scripted):
    """A place that does not know how to create only is written to without that."""
    tag = {"ETag": '"9dd4e461268c8034f5c8564e155c67a6"'}  # of the letter x
    scripted.answers = [(404, b"", {}), (501, says("NotImplemented"), {}), (200, b"", tag)]
    with opened_at(scripted) as backend:
        backend.put("a", SMALL)
        assert not backend.properties.atomic_create
    assert [(method, "if-none-match" in headers) for method, _, headers in scripted.asked] == [
        ("HEAD", False),
        ("PUT", True),
        ("PUT", False),
    ]


def test_objects_of_others_are_passed_over(server, folder, bucket):
    """What somebody else put between ours is not listed, and does not hide ours."""
    bucket.put("a", SMALL)
    for name in ("Some File", "a=b", "Ünï"):
        path = f"/{BUCKET}/{folder}/{name}".encode()
        quoted = "".join(chr(c) if c < 128 and chr(c) not in " @+=" else f"%{c:02X}" for c in path)
        assert server.ask("PUT", quoted, body=b"1").ok
    assert [item.name for item in bucket.list()] == ["a"]


# --- the proof


def test_bytes_that_change_on_the_way_are_not_kept(server, folder, bucket):
    """A bit that is turned over on the way is found, and what was stored is removed again."""
    with FlakyProxy(server.port) as proxy, opened(server, folder, url=proxy.url) as backend:
        proxy.flip_body = True
        for replace in (False, True):
            for name, data in (("small", b"12345"), ("large", LARGE)):
                with pytest.raises(UnavailableError):
                    backend.put(name, data, replace=replace)
        assert [*bucket.list()] == []
        proxy.flip_body = False
        backend.put("small", b"12345")
    assert bytes(bucket.get("small")) == b"12345"


def test_a_tag_that_is_no_checksum_makes_it_read_back(scripted):
    """Where the answer does not say which bytes are kept, they are asked for."""
    tag = {"ETag": '"a-tag-of-its-own"', "Last-Modified": "Wed, 25 Nov 2026 12:00:00 GMT"}
    with opened_at(scripted) as backend:
        scripted.answers = [(200, b"", tag), (200, b"right", tag)]
        backend.put("a", b"right", replace=True)
        assert [method for method, _, _ in scripted.asked] == ["PUT", "GET"]
        for other in (b"wrong", b"righ", b"right, and more", b""):
            scripted.asked.clear()
            scripted.answers = [(200, b"", tag), (200, other, tag), (204, b"", {})]
            with pytest.raises(UnavailableError, match="other bytes"):
                backend.put("a", b"right", replace=True)
            assert [method for method, _, _ in scripted.asked] == ["PUT", "GET", "DELETE"]
        scripted.answers = [(200, b"", tag), (404, says("NoSuchKey"), {})]
        with pytest.raises(UnavailableError, match="is not there"):
            backend.put("a", b"right", replace=True)


# --- a bad way


def test_a_cut_in_the_middle_of_a_put_leaves_nothing(server, folder, bucket):
    """The object is not there, and the same put succeeds when the way is mended."""
    data = os.urandom(8 << 20)
    with FlakyProxy(server.port) as proxy, opened(server, folder, url=proxy.url) as backend:
        proxy.cut_after_bytes = 1 << 20
        with pytest.raises(UnavailableError):
            backend.put("a", data)
        assert [*bucket.list()] == []
        with pytest.raises(NotFoundError):
            bucket.stat("a")
        for call in calls(backend).values():
            with pytest.raises(UnavailableError):
                call()
        proxy.mend()
        backend.put("a", data)
    assert bucket.get("a") == data


def test_a_bad_way_is_got_over_by_patience(server, folder, bucket):
    """With one in five requests failing in all ways, everything that was put is there, once."""
    backoff = Backoff(first_seconds=0.01, longest_seconds=0.1, total_seconds=60)
    with FlakyProxy(server.port, seed=4) as proxy, opened(server, folder, url=proxy.url) as backend:
        proxy.fail_share = 0.2
        retrying = Retrying(backend, stop=threading.Event(), backoff=backoff)
        for number in range(30):
            retrying.put(f"a/{number}", b"%d" % number)
        assert proxy.failed > 0
        assert sorted(item.name for item in retrying.list()) == sorted(f"a/{number}" for number in range(30))
    assert all(bytes(bucket.get(f"a/{number}")) == b"%d" % number for number in range(30))


@pytest.mark.slow
def test_a_server_that_was_killed_and_started_again_has_what_it_acknowledged(tmp_path, folder):
    """Meanwhile it is unavailable; afterwards the same backend goes on."""
    for make in (s3_servers.rclone_server, s3_servers.weed_server):
        with make(tmp_path / make.__name__) as server:
            server.create_bucket(BUCKET)
            with opened(server, folder) as backend:
                backend.put("a", LARGE)
                server.kill()
                for call in calls(backend).values():
                    with pytest.raises(UnavailableError):
                        call()
                server.restart()
                assert backend.get("a") == LARGE
                backend.put("b", SMALL)
                assert {item.name for item in backend.list()} == {"a", "b"}


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    """A request has a limit of time, and so has silence in the middle of an answer."""
    monkeypatch.setattr(object_store, "_REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(object_store, "_SLOWEST_BYTES_PER_SECOND", 1 << 30)
    monkeypatch.setattr("keepstate.backends._object_places._READ_SECONDS", 0.3)
    silent = {"Content-Length": "1000", "Last-Modified": "Wed, 25 Nov 2026 12:00:00 GMT", "ETag": '"1"'}
    with ScriptedServer() as server, opened_at(server) as backend:
        server.answers = [(200, b"only the beginning", silent)]
        for name in ("get", "list"):
            with pytest.raises(UnavailableError):
                calls(backend)[name]()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "https://127.0.0.1:1"])
def test_what_cannot_be_reached_is_unavailable(url):
    """Whichever call is made; and the sentence says where it was."""
    address = read_address(f"s3://bucket/folder?endpoint={url}")
    with contextlib.closing(open_object_store(address, Credentials(KEYS))) as backend:
        for call in calls(backend).values():
            with pytest.raises(UnavailableError, match="s3://bucket/folder"):
                call()


def test_a_redirect_is_followed(scripted):
    """Hugging Face sends those who read to a machine that is nearer to them."""
    about = {"Last-Modified": "Wed, 25 Nov 2026 12:00:00 GMT", "ETag": '"1"'}
    scripted.answers = [(302, b"", {"Location": "/elsewhere"}), (200, b"bytes", about)]
    with opened_at(scripted) as backend:
        assert bytes(backend.get("a")) == b"bytes"
    assert [path for _, path, _ in scripted.asked] == ["/bucket/folder/a", "/elsewhere"]


# --- what the far side says


def test_a_wrong_key_is_said_to_be_one(server, folder):
    """By every call, with the names of the variables to look at."""
    if server.make == "moto":
        pytest.skip("moto lets everybody in")
    for wrong in ({"AWS_ACCESS_KEY_ID": "AKIAOTHEROTHEROTHER0"}, {"AWS_SECRET_ACCESS_KEY": "other-secret"}):
        with opened(server, folder, **wrong) as backend:
            for call in calls(backend).values():
                with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID"):
                    call()


def test_a_bucket_that_is_not_there_is_no_missing_object(server, folder):
    """It is said so by every call, so that nobody takes it for an empty store."""
    with opened(server, folder, bucket="no-such-bucket") as backend:
        for call in calls(backend).values():
            with pytest.raises(StoreError, match="no bucket 'no-such-bucket'") as raised:
                call()
            assert not isinstance(raised.value, UnavailableError)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, says("ExpiredToken", "The provided token has expired."), CredentialsError, "expired"),
        (400, says("TokenRefreshRequired"), CredentialsError, "TokenRefreshRequired"),
        (403, says("AccessDenied"), CredentialsError, "AccessDenied"),
        (401, b"", CredentialsError, "401"),
        (403, says("RequestTimeTooSkewed"), UnavailableError, "clock"),
        (403, says("QuotaExceeded"), StoreFullError, "no space"),
        (403, says("Forbidden", "Private storage limit reached"), StoreFullError, "storage limit"),
        (507, says("XMinioStorageFull"), StoreFullError, "507"),
        (429, b"", UnavailableError, "429"),
        (503, says("SlowDown", "Please reduce your request rate."), UnavailableError, "503"),
        (500, b"<html>" + b"an error page " * 1000, UnavailableError, "500"),
        (408, b"", UnavailableError, "408"),
        (400, says("RequestTimeout"), UnavailableError, "RequestTimeout"),
        (400, says("BadDigest"), UnavailableError, "BadDigest"),
        (409, says("ConditionalRequestConflict"), UnavailableError, "Conflict"),
        (
            400,
            says("AuthorizationHeaderMalformed", more="<Region>eu-west-9</Region>"),
            StoreError,
            "region=eu-w",
        ),
        (301, says("PermanentRedirect"), StoreError, "region"),
        (400, says("EntityTooLarge"), StoreError, "EntityTooLarge"),
        (400, b"", StoreError, "400"),
        (501, says("NotImplemented"), StoreError, "cannot do"),
    ],
)
def test_what_is_answered_is_told_by_its_kind(scripted, status, body, kind, words):
    """Every call raises what its caller would act upon, and says what the far side said."""
    scripted.answers = [(status, body, {})]
    with opened_at(scripted) as backend:
        for call in calls(backend).values():
            with pytest.raises(kind, match=words) as raised:
                call()
            others = {UnavailableError, CredentialsError, StoreFullError, AlreadyThereError} - {kind}
            assert not isinstance(raised.value, tuple(others))
            assert len(str(raised.value)) < 1000


def test_a_secret_that_is_quoted_back_is_not_passed_on(scripted, caplog):
    """Amazon quotes a token that has expired; neither the error nor what led to it, nor a log, shows it."""
    token = "FwoGZXIvYXdzEJr//token+of/a=session=="
    caplog.set_level(0)
    quoted = says("ExpiredToken", f"The token {token} has expired", f"<Token-0>{token}</Token-0><K>{KEY}</K>")
    scripted.answers = [(400, quoted, {})]
    with opened_at(scripted, AWS_SESSION_TOKEN=token) as backend:
        shown = [repr(backend), backend.place, repr(vars(backend))]
        for call in calls(backend).values():
            with pytest.raises(CredentialsError) as raised:
                call()
            error = raised.value
            while error is not None:
                shown += [repr(error), *traceback.format_exception(error)]
                error = error.__cause__ or error.__context__
    assert scripted.asked[0][2]["x-amz-security-token"] == token
    said = "\n".join(shown + [record.getMessage() for record in caplog.records])
    assert "<secret> has expired" in said
    assert not [secret for secret in (KEY, SECRET, token) if secret in said]


# --- who we are, and where


@pytest.mark.parametrize("text", ["s3://b/f", "hf://buckets/o/b/f", "gs://b/f", "az://b/f?account=a"])
def test_without_a_key_it_says_which_to_give(text):
    """The names are those that are looked for."""
    address = read_address(text)
    with pytest.raises(CredentialsError) as raised:
        open_object_store(address, Credentials())
    assert any(name in str(raised.value) for name in WANTED[address.scheme])


def test_a_folder_is_no_bucket(tmp_path):
    """Whoever gives one is told."""
    with pytest.raises(InvalidInputError):
        open_object_store(read_address(tmp_path), Credentials(KEYS))


def test_an_endpoint_is_an_address():
    """One without http:// or https:// is refused at once."""
    for text, more in (
        ("s3://b?endpoint=store.example", {}),
        ("s3://b", {"AWS_ENDPOINT_URL": "store.example"}),
    ):
        with pytest.raises(InvalidInputError, match="https://"):
            open_object_store(read_address(text), Credentials({**KEYS, **more}))


def test_nothing_comes_from_the_environment(scripted, monkeypatch):
    """Variables of other tools change neither where requests go nor who signs them."""
    for name, value in {
        "ACCESS_KEY_ID": "AKIAOFTHEENVIRONMENT",
        "SECRET_ACCESS_KEY": "other",
        "SESSION_TOKEN": "token-of-the-environment",
        "ENDPOINT_URL": "http://127.0.0.1:1",
        "ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "REGION": "eu-environment-1",
        "BUCKET": "other",
        "SKIP_SIGNATURE": "true",
        "UNSIGNED_PAYLOAD": "false",
        "VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "S3_EXPRESS": "true",
        "REQUEST_PAYER": "true",
        "CONDITIONAL_PUT": "nonsense",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    scripted.answers = [(200, b"", {"ETag": '"9dd4e461268c8034f5c8564e155c67a6"'})]
    with opened_at(scripted) as backend:
        backend.put("a", SMALL, replace=True)
    [(_, path, headers)] = scripted.asked
    assert path == "/bucket/folder/a"
    assert f"{KEY}/" in headers["authorization"]
    assert "/us-east-1/s3/" in headers["authorization"]
    assert "x-amz-security-token" not in headers
    assert "x-amz-request-payer" not in headers
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("s3://bucket", "https://bucket.s3.us-east-1.amazonaws.com"),
        ("s3://bucket/f?region=eu-west-9", "https://bucket.s3.eu-west-9.amazonaws.com"),
        ("s3://bucket?region=cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("s3://a.dotted.one", "https://s3.us-east-1.amazonaws.com"),
        ("s3://bucket?style=path", "https://s3.us-east-1.amazonaws.com"),
        ("s3://bucket?endpoint=https://store.example", "https://store.example"),
        ("s3://bucket?endpoint=https://store.example&style=virtual", "https://bucket.store.example"),
        ("hf://buckets/owner/name/f", "https://s3.hf.co/owner"),
    ],
)
def test_where_requests_go(text, endpoint):
    """Amazon's hosts are named after the bucket and its region, others as the address says."""
    client = open_client(read_place(read_address(text), Credentials(KEYS)), 60, watch_silence=False)
    assert client.config["endpoint"] == endpoint
    assert client.client_options["allow_http"] in (False, "false")
    assert SECRET not in repr(client) + repr(client.config)


def test_amazon_is_sent_a_checksum_to_compare():
    """And creates a name once without being tried; both are in its documents."""
    place = read_place(read_address("s3://bucket"), Credentials(KEYS))
    assert open_client(place, 60, watch_silence=False).config["checksum_algorithm"].lower() == "sha256"
    assert place.checks
    assert place.creates


def test_the_region_and_endpoint_may_come_with_the_keys(scripted):
    """As they do in the environment of other tools; what the address says wins."""
    scripted.answers = [(404, says("NoSuchKey"), {})]
    found = {**KEYS, "AWS_REGION": "eu-west-9", "AWS_ENDPOINT_URL": scripted.url}
    for text, region in (("s3://bucket", "eu-west-9"), ("s3://bucket?region=us-1", "us-1")):
        backend = open_object_store(read_address(text), Credentials(found))
        with contextlib.closing(backend), pytest.raises(NotFoundError):
            backend.get("a")
        assert f"/{region}/s3/" in scripted.asked.pop()[2]["authorization"]


def test_a_bucket_at_hugging_face(tmp_path):
    """Its owner stands before its name in the path, and everything else is as at any bucket."""
    with s3_servers.moto_server(tmp_path) as server, FlakyProxy(server.port) as gateway:
        server.create_bucket("name")
        gateway.strip = "/owner"
        address = read_address(f"hf://buckets/owner/name/folder?endpoint={gateway.url}")
        with contextlib.closing(open_object_store(address, Credentials(KEYS))) as backend:
            assert backend.properties.atomic_create
            backend.put("a/%2F", SMALL)
            with pytest.raises(AlreadyThereError):
                backend.put("a/%2F", b"2")
            assert [(item.name, item.nbytes) for item in backend.list("a/")] == [("a/%2F", 1)]
            assert bytes(backend.get("a/%2F", start=0, length=1)) == SMALL
        assert gateway.requests > 0
        assert server.ask("GET", "/name/folder/a/%252F").content == SMALL


def test_keys_of_the_usual_files(tmp_path):
    """Amazon's by profile, Hugging Face's from the profile of its documents, Google's by path."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = se%cret/1\n"
        "[work]\naws_access_key_id=AKIA2\naws_secret_access_key=s2\naws_session_token=t2\n"
        "[hf]\naws_access_key_id=HFAK1\naws_secret_access_key=h1\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = eu-1\n[profile work]\nregion=eu-2\n"
        "endpoint_url=https://store.example\ns3 =\n  a = b\n"
    )
    home = {"HOME": str(tmp_path)}
    assert usual_files("s3", home) == {
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "AWS_SECRET_ACCESS_KEY": "se%cret/1",
        "AWS_REGION": "eu-1",
    }
    assert usual_files("s3", {**home, "AWS_PROFILE": "work"}) == {
        "AWS_ACCESS_KEY_ID": "AKIA2",
        "AWS_SECRET_ACCESS_KEY": "s2",
        "AWS_SESSION_TOKEN": "t2",
        "AWS_REGION": "eu-2",
        "AWS_ENDPOINT_URL": "https://store.example",
    }
    assert usual_files("s3", {**home, "AWS_PROFILE": "none"}) == {}
    assert usual_files("hf", home) == {"AWS_ACCESS_KEY_ID": "HFAK1", "AWS_SECRET_ACCESS_KEY": "h1"}
    assert usual_files("gs", home) == usual_files("az", home) == usual_files("gdrive", home) == {}
    google = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    google.parent.mkdir(parents=True)
    google.write_text("{}")
    assert usual_files("gs", home) == {"GOOGLE_APPLICATION_CREDENTIALS": str(google)}
    for damaged in (b"[default\n", b"\xff\xfe", b"key = 1\n"):
        (tmp_path / ".aws" / "credentials").write_bytes(damaged)
        assert "AWS_ACCESS_KEY_ID" not in usual_files("s3", home)


def test_google_and_azure_are_opened_with_what_they_need(tmp_path):
    """By a key file or its text, by a key or a signature; nothing of it shows."""
    key = {"client_email": "a@b.c", "private_key_id": "1", "private_key": "no key", "type": "service_account"}
    (tmp_path / "key.json").write_text(json.dumps(key))
    for given in (str(tmp_path / "key.json"), json.dumps(key)):
        place = read_place(
            read_address("gs://bucket"), Credentials({"GOOGLE_APPLICATION_CREDENTIALS": given})
        )
        with pytest.raises(CredentialsError, match="gs://bucket cannot be used"):  # it is none
            open_client(place, 60, watch_silence=False)
    for given in (
        {"AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0LWtleQ=="},
        {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=abcdef"},
    ):
        place = read_place(read_address("az://box/f?account=me"), Credentials(given))
        client = open_client(place, 60, watch_silence=False)
        assert client.config["account_name"] == "me"
    with pytest.raises(InvalidInputError, match="account"):
        read_place(read_address("az://box"), Credentials({"AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"}))


def test_obstore_is_loaded_on_first_use():
    """Nobody pays for it who has no bucket."""
    code = "import keepstate.backends._object_store, sys; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
