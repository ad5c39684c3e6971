"""Saves that leave out what did not change: as right as those that do not, and cheaper."""

import sys

import msgspec
import pytest
from standing_still import Saver

from keepstate._capture import Imprints, fork
from keepstate._repository import Repository
from keepstate._snapshot import Loader, Saved, restore_names
from keepstate._snapshot import standing as how

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="imprints are made in forked children")


@pytest.fixture(autouse=True)
def _everything_is_slow(monkeypatch):
    monkeypatch.setattr(how, "SLOW_SECONDS", 0.0)


@pytest.fixture
def repository(tmp_path):
    return Repository.open(tmp_path / "store", create=True)


class Forking(Saver):
    """Saves in forked children, with imprints."""

    def __init__(self, repository):
        super().__init__(repository)
        self.imprints = Imprints()
        self.encoded = []

    def run(self, work):
        work._imprints = self.imprints
        saved = msgspec.msgpack.decode(fork.take(work, reason="a test").finish(), type=Saved)
        self.imprints.absorb(saved.imprints)
        self.have = {name for each in saved.imprints if each.used_bytes for name in each.names}
        return saved


def restored(repository, manifest):
    outcome = restore_names(Loader(repository, manifest, {}), list(manifest.names))
    assert outcome.failed == {}
    return outcome.restored


def test_what_stands_is_kept_beside_what_changes(repository):
    """Each snapshot holds all names, and what was not encoded comes back as it was."""
    saver = Forking(repository)
    state = {"big": {f"key {i}": [i, str(i)] for i in range(5000)}, "n": 0}
    for number in range(6):
        state["n"] = number
        saved = saver.save(state)
    assert saver.have == {"big"}
    assert restored(repository, saved.commit.manifest) == state
    before = saved.commit.manifest
    state["big"]["key 7"].append("more")
    saved = saver.save(state)
    assert restored(repository, saved.commit.manifest)["big"]["key 7"] == [7, "7", "more"]
    assert restored(repository, before)["big"]["key 7"] == [7, "7"]


def test_an_unchanged_state_is_told_as_such(repository):
    """Nothing is written for it, as without imprints."""
    saver, state = Forking(repository), {"a": [1, [2.5]], "b": {"k": "v"}}
    assert [saver.save(state).unchanged for _ in range(5)] == [False, True, True, True, True]
    assert saver.have == {"a", "b"}


def test_instances_come_back_with_their_class(repository):
    """A group that was not encoded has the definition that it needs, also if that has changed."""
    space = {"__name__": "__main__"}
    exec("class Plain:\n    pass\nit = [Plain()]\nit[0].x = 5", space)
    saver = Forking(repository)
    for number in range(5):
        space["Plain"].number = number
        saved = saver.save({"it": space["it"]}, namespace=space)
    assert saver.have == {"it"}
    back = restored(repository, saved.commit.manifest)["it"][0]
    assert (back.x, type(back).number) == (5, 4)


def test_a_store_that_was_lost_is_filled_again(repository, tmp_path):
    """What the next save cannot rely on is encoded and written, whatever the imprint says."""
    saver, state = Forking(repository), {"a": list(range(300, 900))}
    for _ in range(4):
        saver.save(state)
    assert saver.have == {"a"}
    saver.known, saver.last = {}, None
    saver.repository = Repository.open(tmp_path / "other", create=True)
    assert restored(saver.repository, saver.save(state).commit.manifest) == state


def test_the_time_that_was_saved_counts(repository):
    """Whether to fork is decided by what encoding would take."""
    saver, state = Forking(repository), {"a": [str(i) for i in range(20_000)]}
    *_, last = [saver.save(state) for _ in range(4)]
    (worth,) = last.imprints
    assert worth.used_bytes > 0
    assert last.encode_seconds > worth.encode_seconds > 0


def test_what_stood_gets_an_imprint_again_at_once(repository):
    """After one change it is encoded with two pictures, not with three."""
    saver, state = Forking(repository), {"a": [str(i) for i in range(2000)]}
    have = []
    for number in range(10):
        if number == 5:
            state["a"][7] = "other"
        saver.save(state)
        have.append("a" in saver.have)
    assert have == [False, False, True, True, True, False, True, True, True, True]
