"""A settings file that came with a notebook may not choose the place from which code is restored."""

import json

import pytest
from far_scripts import Computer
from s3_servers import FlakyProxy, rclone_server

from keepstate.backends import read_address

NAMES = 'project = "p"\nmember = "ana"\nnotebook = "n"\n'
START = """
import keepstate
try:
    session = keepstate.start({arguments})
except keepstate.errors.InvalidInputError as error:
    print("refused:", error)
else:
    x = globals().get("x", 0) + 1
    keepstate.track("x")
    keepstate.finish(release=False)
    print("guarded", x)
"""


class Clone:
    """A folder that was cloned, with a settings file; and how often the place that it names was asked."""

    def __init__(self, computer, server, way):
        self.computer, self._way = computer, way
        self.store = server.address("bucket", "theirs", url=way.url)
        self.other = server.address("bucket", "others", url=way.url)
        self.names(self.store)

    def names(self, store):
        """Have the settings file name a store."""
        (self.computer.work / "keepstate.toml").write_text(f"store = {json.dumps(store)}\n{NAMES}")

    def start(self, arguments="", **variables):
        """Give the last line of a session there."""
        return self.computer.must(START.format(arguments=arguments), **variables).splitlines()[-1]

    @property
    def requests(self):
        return self._way.requests


@pytest.fixture
def clone(tmp_path):
    with (
        rclone_server(tmp_path / "server") as server,
        FlakyProxy(server.port) as way,
        Computer(tmp_path / "computer", **server.credentials) as computer,
    ):
        server.create_bucket("bucket")
        yield Clone(computer, server, way)


def test_an_address_of_the_file_is_refused_and_not_asked(clone):
    """Neither the place nor this machine has seen anything of it; the sentence says how to trust it."""
    said = clone.start()
    assert said.startswith("refused:")
    assert f"keepstate.start(store={str(read_address(clone.store))!r})" in said
    assert clone.requests == 0
    assert not (clone.computer.home / "state").exists()


def test_an_address_that_the_user_has_named_once_is_theirs(clone):
    """The file may name it from then on, and no other."""
    assert clone.start(f"store={clone.store!r}") == "guarded 1"
    assert clone.start() == "guarded 2"
    clone.names(clone.other)
    assert clone.start().startswith("refused:")


def test_what_a_variable_names_is_the_users_choice(clone):
    """It is stronger than the file, and remembered like an argument."""
    assert clone.start(KEEPSTATE_STORE=clone.other) == "guarded 1"
    clone.names(clone.other)
    assert clone.start() == "guarded 2"


def test_no_secret_of_the_host_is_asked_for(clone, tmp_path):
    """A key would otherwise sign requests to whomever the file names."""
    module = tmp_path / "platform" / "google" / "colab" / "userdata.py"
    module.parent.mkdir(parents=True)
    module.write_text("raise SystemExit('somebody wanted to read secrets')")
    variables = {
        "KEEPSTATE_HOST": "colab",
        "PYTHONPATH": str(tmp_path / "platform"),
        "AWS_ACCESS_KEY_ID": None,
    }
    assert clone.start(**variables).startswith("refused:")


@pytest.mark.parametrize("command", [["log"], ["show", "0"], ["export", "x", "--to", "x.pkl"], ["prune"]])
def test_the_commands_refuse_it_as_well(clone, command):
    """Wrong usage: they name it by an option."""
    done = clone.computer.keepstate(*command)
    assert (done.returncode, "was never used here" in done.stderr) == (2, True), done.stderr
    assert clone.requests == 0


def test_doctor_says_what_start_would_say(clone):
    """And asks nobody."""
    done = clone.computer.keepstate("doctor", "--json")
    assert (done.returncode, clone.requests) == (1, 0)
    assert "was never used here" in json.loads(done.stdout)["store"]["trouble"]


def test_a_folder_beside_the_file_is_used_if_it_is_new_or_was_used_here(clone):
    """One that came filled is refused, and elsewhere it still is after somebody else has trusted theirs."""
    clone.names("state")
    assert clone.start() == "guarded 1"
    assert clone.start() == "guarded 2"
    (clone.computer.home / "state" / "keepstate" / "stores").unlink()
    assert clone.start().startswith("refused:")
    assert clone.start(f"store={str(clone.computer.work / 'state')!r}") == "guarded 3"
    assert clone.start() == "guarded 4"


def test_a_mounted_folder_beside_the_file_is_the_users_after_its_first_use(clone):
    """Though what is filled first, on this machine, is another repository with an id of its own."""
    clone.names("state")
    table = clone.computer.folder / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / {clone.computer.work} rw - cifs //far rw\n")
    mounted = f"import keepstate._base.mounts as mounts\nmounts._TABLE = {str(table)!r}\n"
    for expected in ("guarded 1", "guarded 2"):
        said = clone.computer.must(mounted + START.format(arguments=""))
        assert said.splitlines()[-1] == expected
    (clone.computer.home / "state" / "keepstate" / "stores").unlink()
    assert clone.computer.must(mounted + START.format(arguments="")).startswith("refused:")
