"""What was saved comes back, equal and in the same structure; what did not change costs nothing."""

import importlib
import sys

import msgspec
import numpy as np
import pytest
from standing_still import Saver

from keepstate._model.manifest import Entry, GroupRecord, MemberRecord
from keepstate._repository import Repository
from keepstate._snapshot import Loader, older_generation, restore_names


@pytest.fixture
def repository(tmp_path):
    return Repository.open(tmp_path / "store", create=True)


def load(repository, manifest, *names):
    space = {}
    return restore_names(Loader(repository, manifest, space), names or list(manifest.names)), space


def test_names_come_back_with_what_they_share(repository):
    """A frame in a dict and under its own name is one object; views of one array share memory."""
    base = np.arange(1e6)
    inner = [1, 2]
    saved = Saver(repository).save({"x": base, "head": base[:10], "d": {"inner": inner}, "inner": inner})
    outcome, _ = load(repository, saved.commit.manifest)
    back = outcome.restored
    assert outcome.failed == {}
    assert np.array_equal(back["x"], base)
    assert np.shares_memory(back["x"], back["head"])
    assert back["d"]["inner"] is back["inner"]


def test_unchanged_state_writes_nothing(repository, tmp_path):
    """The second save leaves no file and returns no manifest."""
    saver, state = Saver(repository), {"x": np.arange(1e5), "y": {"a": 1}}
    saver.save(state, random=b"r")
    before = sorted((p, p.stat().st_size) for p in tmp_path.rglob("*") if p.is_file())
    saved = saver.save(state, random=b"r")
    assert saved.unchanged
    assert saved.commit is None
    assert sorted((p, p.stat().st_size) for p in tmp_path.rglob("*") if p.is_file()) == before


def test_a_changed_random_state_is_a_change(repository):
    """A run that goes on must draw the numbers that it would have drawn."""
    saver = Saver(repository)
    saver.save({"x": 1}, random=b"one")
    assert saver.save({"x": 1}, random=b"two").commit is not None


def test_a_note_on_unchanged_state_writes_a_manifest_alone(repository):
    """No pack is added, and the note can be read."""
    saver = Saver(repository)
    saver.save({"x": np.arange(1e5)})
    commit = saver.save({"x": np.arange(1e5)}, note="here").commit
    assert commit.packs == []
    assert commit.manifest.note == "here"


def test_one_changed_element_writes_one_chunk(repository):
    """16 MB are held, 1 MB is written."""
    saver, big = Saver(repository), np.random.default_rng(0).random(2_000_000)
    saver.save({"big": big})
    big[123] = 0
    commit = saver.save({"big": big}).commit
    assert commit.manifest.written_bytes < 1.1 * 2**20 + 65536


def test_a_snapshot_without_names_is_not_written(repository):
    """There would be nothing to restore."""
    assert Saver(repository).save({}).commit is None


def test_one_bad_object_costs_only_itself(repository):
    """The others are kept, and the bad one is named with the reason."""
    saved = Saver(repository).save({"good": [1], "bad": (i for i in ())})
    assert list(saved.commit.manifest.names) == ["good"]
    assert "generator" in saved.skipped["bad"]


def test_a_damaged_object_costs_only_itself_and_its_older_generation_is_found(repository, tmp_path):
    """Each object is checked on its own before it is decoded."""
    saver = Saver(repository)
    rng = np.random.default_rng(0)
    first = saver.save({"a": rng.random(200_000), "b": [1]}).commit.manifest
    second = saver.save({"a": rng.random(200_000), "b": [1]}).commit
    pack = next(tmp_path.rglob(f"*{second.packs[0]}*"))
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    again = Repository.open(tmp_path / "store", create=False)
    outcome, _ = load(again, second.manifest)
    assert list(outcome.restored) == ["b"]
    assert "a" in outcome.failed
    good = older_generation(again, [first], "a", second.manifest.names["a"])
    assert good is not None
    assert good.id == first.id


def test_a_class_of_the_notebook_is_one_class_for_all(repository):
    """Instances in two variables are of the class that is bound, and of one class."""
    space = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x\np = Point(1)\nq = [Point(2)]", space)
    manifest = Saver(repository).save({"p": space["p"], "q": space["q"]}, space).commit.manifest
    outcome, bound = load(repository, manifest)
    assert outcome.failed == {}
    assert type(outcome.restored["p"]) is type(outcome.restored["q"][0]) is bound["Point"]


def test_functions_see_the_notebook(repository):
    """A restored lambda reads the variable as it is now, not as it was."""
    space = {"__name__": "__main__"}
    exec("k = 2\nf = lambda v: v * k", space)
    manifest = Saver(repository).save({"f": space["f"], "k": 2}, space).commit.manifest
    outcome, bound = load(repository, manifest)
    bound["k"] = 5
    assert outcome.restored["f"](10) == 50


def test_a_missing_library_leaves_the_name_waiting(repository, tmp_path, monkeypatch):
    """It says which library it waits for."""
    (tmp_path / "rare_library.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import rare_library

    manifest = Saver(repository).save({"thing": rare_library.Thing(), "x": 1}).commit.manifest
    del sys.modules["rare_library"]
    (tmp_path / "rare_library.py").unlink()
    importlib.invalidate_caches()
    outcome, _ = load(repository, manifest)
    assert outcome.waiting == {"thing": "rare_library"}
    assert outcome.restored == {"x": 1}


def test_a_codec_of_a_later_version_costs_its_names_alone(repository):
    """What this version cannot decode is said to be so, and is not tried."""
    with repository.writer("me") as writer:
        member = MemberRecord("a", "variable", "list", True)
        record = GroupRecord("later", [member], {}, "a", writer.put_bytes(b"?"), [])
        names = {"a": Entry(writer.put_record(record), "list", 1)}
        good = Saver(repository).save({"b": [1]}).commit.manifest
        manifest = msgspec.structs.replace(good, names={**names, **good.names}, sequence=2)
        writer.commit(lambda _: manifest)
    repository.refresh()
    outcome, _ = load(repository, manifest)
    assert outcome.restored == {"b": [1]}
    assert "later" in outcome.failed["a"]


def test_a_folder_of_files_is_no_value(repository):
    """Whoever asks for it as a value is told what it is; the values beside it come back."""
    with repository.writer("me") as writer:
        member = MemberRecord("outputs/", "variable", "folder", False)
        record = GroupRecord("files1", [member], {}, "outputs/", writer.put_bytes(b"?"), [])
        names = {"outputs/": Entry(writer.put_record(record), "folder", 1)}
        good = Saver(repository).save({"b": [1]}).commit.manifest
        manifest = msgspec.structs.replace(good, names={**names, **good.names}, sequence=2)
        writer.commit(lambda _: manifest)
    repository.refresh()
    outcome, _ = load(repository, manifest)
    assert outcome.restored == {"b": [1]}
    assert "folder of files" in outcome.failed["outputs/"]
