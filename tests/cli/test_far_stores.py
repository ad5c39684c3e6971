"""The commands at an address: a real S3 server, reached as a session reaches it."""

import json
import sys
from pathlib import Path

import pytest
from far_scripts import Computer
from s3_servers import free_ports, rclone_server

from keepstate._base.clock import SYSTEM_CLOCK

sys.path.insert(0, str(Path(__file__).parent))

from stores import save

PATIENCE_SECONDS = 60
"""A transfer tries for two minutes; nobody sits before a terminal for so long."""
WHOSE = {"project": "p", "member": "ana", "notebook": "n"}
SESSION = """
import keepstate

keepstate.start(store={store!r}, project="p", member="ana", notebook="n")
x = list(range(1000))
keepstate.track("x")
print(keepstate.snapshot("first").id)
keepstate.finish()
"""


class Shop:
    """A server, a store there that a session has filled, and the computer of that session."""

    def __init__(self, server, computer):
        self.server, self.computer = server, computer
        self.store = server.address("bucket", "team")
        self.id = computer.must(SESSION.format(store=self.store)).splitlines()[-1]
        computer.end()
        self.waiting = save(computer.near(), {"later": 1}, number=9, note="not sent", **WHOSE).id

    def __call__(self, *words, store=None, **variables):
        return self.computer.keepstate(*words, "--store", store or self.store, **variables)

    def document(self, *words, **options):
        done = self(*words, "--json", **options)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return json.loads(done.stdout)

    def names(self):
        """What is in the bucket."""
        top = self.server.folder / "data"
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("far")
    with rclone_server(folder / "server") as server:
        server.create_bucket("bucket")
        with Computer(folder / "computer", **server.credentials) as computer:
            yield Shop(server, computer)


def test_log_says_how_sure_each_snapshot_is(shop):
    """What the store has is verified; what waits on this machine is listed as local, the newest first."""
    levels = {each["id"]: each["durability"] for each in shop.document("log")}
    assert levels == {shop.id: "verified", shop.waiting: "local"}
    said = shop("log").stdout
    assert "; verified" in said
    assert "on this machine only" in said


def test_elsewhere_nothing_waits(shop, tmp_path):
    """Another computer sees what is at the store, and needs nothing else at hand."""
    with Computer(tmp_path / "other", **shop.server.credentials) as other:
        done = other.keepstate("log", "--json", "--store", shop.store)
    assert [each["id"] for each in json.loads(done.stdout)] == [shop.id]


def test_show_says_the_level(shop):
    """The same as ``log`` says, for what is at the store and for what is not."""
    assert shop.document("show", shop.id[:8])["durability"] == "verified"
    assert shop.document("show", shop.waiting)["durability"] == "local"
    assert "verified" in shop("show", shop.id).stdout


def test_export_reads_from_the_store(shop, tmp_path):
    """A value comes out as a file."""
    done = shop("export", "x", "--to", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.json").read_text()) == list(range(1000))


def test_verify_reads_every_byte_there(shop):
    """It is sound, and counts what the session has sent."""
    found = shop.document("verify", "--deep")
    assert (found["is_sound"], found["snapshots"]) == (True, 1)


def test_verify_finds_what_is_damaged_there(shop):
    """Exit code 1, and the snapshot is named."""
    store = shop.server.address("bucket", "damaged")
    with Computer(shop.server.folder / "damaging", **shop.server.credentials) as computer:
        own = computer.must(SESSION.format(store=store)).splitlines()[-1]
    (pack,) = [name for name in shop.names() if "/damaged/" in name and name.endswith(".pack")]
    raw = bytearray(shop.server.ask("GET", f"/{pack}").content)
    raw[len(raw) // 2] ^= 1
    assert shop.server.ask("PUT", f"/{pack}", body=bytes(raw)).status_code == 200
    done = shop("verify", "--deep", "--json", store=store)
    assert done.returncode == 1
    assert own in json.loads(done.stdout)["affected"]


def test_usage_counts_what_the_store_holds(shop):
    """As many bytes as there are."""
    (ana,) = shop.document("usage")
    kept = shop.server.folder / "data" / "bucket" / "team" / "members" / "ana"
    assert ana["nbytes"] == sum(path.stat().st_size for path in kept.rglob("*") if path.is_file())


def test_prune_removes_what_is_not_to_stay(shop):
    """At the store that is named, and nothing of what waits here."""
    store = shop.server.address("bucket", "prune")
    with Computer(shop.server.folder / "pruning", **shop.server.credentials) as computer:
        ids = [
            computer.must(SESSION.format(store=store).replace("1000", size)).splitlines()[-1]
            for size in ("10", "20")
        ]
    assert shop.document("prune", "--drop", ids[0], store=store)["removed"] == ids[:1]
    assert [each["id"] for each in shop.document("log", store=store)] == ids[1:]


def test_doctor_tries_the_store_that_is_named(shop):
    """For real, and leaves nothing behind."""
    before = shop.names()
    found = shop.document("doctor")
    assert [step["is_ok"] for step in found["trial"]["steps"]] == [True] * 6
    assert found["trial"]["upload_bytes_per_second"] > 0
    assert found["store"]["trouble"] is None
    assert shop.names() == before


def test_doctor_tries_a_place_without_a_store(shop):
    """And makes none."""
    before = shop.names()
    found = shop.document("doctor", store=shop.server.address("bucket", "nothing-yet"))
    assert (found["store"]["exists"], found["store"]["writable"]) == (False, True)
    assert shop.names() == before


def test_doctor_by_itself_tries_nothing(shop):
    """The store of the variable is looked at, and nothing is written there."""
    done = shop.computer.keepstate("doctor", "--json", KEEPSTATE_STORE=shop.store)
    found = json.loads(done.stdout)
    assert (done.returncode, found["trial"], found["store"]["exists"]) == (0, None, True)


REFUSED = {
    "without a key": (
        {"AWS_SECRET_ACCESS_KEY": None},
        "put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into",
    ),
    "with a wrong key": ({"AWS_SECRET_ACCESS_KEY": "of-somebody-else"}, "check AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("command", [["log"], ["verify"], ["usage"], ["prune"], ["doctor"]], ids=" ".join)
def test_a_store_that_does_not_let_us_in(shop, command, how):
    """Exit code 1, and a sentence that says what to do."""
    variables, advice = REFUSED[how]
    done = shop(*command, **variables)
    said = done.stdout + done.stderr
    assert (done.returncode, advice in said) == (1, True), said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [["log"], ["show", "0"], ["doctor"]], ids=" ".join)
def test_a_bucket_that_is_not_there(shop, command):
    """Exit code 1, and its name."""
    done = shop(*command, store=shop.server.address("nowhere"))
    assert (done.returncode, "no bucket 'nowhere'" in done.stdout + done.stderr) == (1, True)


def test_a_bucket_without_a_store(shop):
    """Wrong usage, as with a folder that is not there."""
    done = shop("log", "--json", store=shop.server.address("bucket", "other"))
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (2, "store")


def test_a_store_that_cannot_be_reached(shop):
    """Exit code 1 and a sentence, while somebody still waits for it."""
    store = f"s3://bucket/team?endpoint=http://127.0.0.1:{free_ports(1)[0]}"
    began = SYSTEM_CLOCK.monotonic()
    done = shop("log", "--json", store=store)
    assert SYSTEM_CLOCK.monotonic() - began < PATIENCE_SECONDS
    found = json.loads(done.stdout)
    assert (done.returncode, found["kind"]) == (1, "unavailable")
    assert "the connection was refused" in found["error"]


@pytest.mark.parametrize(
    "store", ["ftp://host/x", "s3://", "s3://key:password@bucket/x", "s3://bucket?colour=red", "hf://ana"]
)
def test_an_address_that_is_none(shop, store):
    """Wrong usage; a password in it is not repeated."""
    done = shop("log", store=store)
    assert (done.returncode, done.stdout) == (2, "")
    assert "password@" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_an_option_it_is_the_store_of_a_session_with_these_names(tmp_path):
    """The host's mounted folder counts only if it is said whose state it is, as in ``start()``."""
    with Computer(tmp_path, KEEPSTATE_HOST="azure-ml") as computer:
        found = computer.keepstate("doctor", "--json")
        assert json.loads(found.stdout)["store"]["path"] == str(computer.home / ".keepstate")
        (computer.home / "cloudfiles").mkdir()
        found = computer.keepstate("doctor", "--json")
        assert json.loads(found.stdout)["store"]["path"] == str(computer.home / "cloudfiles" / "keepstate")
