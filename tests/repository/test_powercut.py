"""Whatever moment the power goes, what was committed is there and sound, and work goes on."""

import os
import shutil

from faults import Quick
from powercut import RecordingDisk, put, states, take
from saves import everything, files, save, snapshot_id, values_of

from keepstate._repository import Repository

VALUES = {"a": os.urandom(5000) + bytes(3000), "b": b"constant" * 40}


def check(tmp_path, root, before, log, values):
    """Open, list, verify and go on in every state."""
    tried = 0
    for done, label, tree in states(root.parent, before, log):
        where = tmp_path / "after"
        put(tree, where)
        store = where / root.name
        end_processes(store)
        marks = [op.data.decode() for op in log[:done] if op.kind == "mark"]
        committed = {m.removeprefix("committed ") for m in marks if m.startswith("committed ")}
        superseded = {m.removeprefix("superseded ") for m in marks if m.startswith("superseded ")}
        gone = {m.removeprefix("removed ") for m in marks if m.startswith("removed ")}
        repository = Repository.open(store, create=not committed)
        found = {each.id: values_of(repository, each) for each in repository.manifests()}
        at = f"after operation {done} ({log[done - 1] if done else 'none'}): {label}"
        assert committed - superseded <= found.keys(), at
        assert not gone & found.keys(), at
        assert all(found[own] == values[own] for own in found), at
        assert not repository.damaged_manifests(), at
        report = repository.verify(deep=True)
        assert report.is_sound, (at, report)
        if tried % 3 == 0:
            go_on(store, at)
        shutil.rmtree(where)
        tried += 1
    return tried


def end_processes(store):
    """Make every lease one of a process that is gone; a power cut ends this one as well."""
    for path in files(store, ".lease"):
        path.write_bytes(path.read_bytes().replace(b'"process_started":"', b'"process_started":"1'))
        if ".prune." in path.name:  # a torn one would hold up the next prune until it is two hours old
            os.utime(path, (0, 0))


def go_on(store, at):
    """A new session saves, prunes beside a torn lease and without it, and finds everything sound."""
    repository = Repository.open(store, create=True, disk=Quick())
    save(repository, {"a": VALUES["a"], "later": b"x" * 900}, sequence=99, lineage="later")
    before = everything(store)
    for lease in [None, *files(store, ".lease")]:
        if lease is not None:
            lease.unlink(missing_ok=True)
        report = repository.prune(keep_last=1)
        assert repository.verify(deep=True).is_sound, at
        after = everything(store)
        assert after == {own: before[own] for own in after}, at
        assert snapshot_id("later", 99) in after, at
    assert not report.waiting_for, at
    assert not files(store / "members", ".tmp"), at


def record(root, disk, steps, **how):
    repository = Repository.open(root, create=True, disk=disk)
    for sequence, values in steps:
        commit = save(repository, values, sequence=sequence, **how)
        disk.mark(f"committed {commit.manifest.id}", root)
    return repository


def test_first_saves_survive_a_power_cut_at_any_moment(tmp_path):
    """From the first folder to the second commit, each state opens with the last acknowledged snapshot."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "store"
    disk = RecordingDisk()
    second = VALUES | {"a": VALUES["a"][:-10] + b"0123456789"}
    record(root, disk, [(1, VALUES), (2, second)], threads=2)
    values = {snapshot_id("s1", 1): VALUES, snapshot_id("s1", 2): second}
    assert check(tmp_path, root, {}, disk.log, values) > 100


def test_prune_survives_a_power_cut_at_any_moment(tmp_path):
    """While superseded snapshots are deleted and packs repacked, every kept snapshot stays whole."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "store"
    steps = [(n, {"a": os.urandom(4000), "b": VALUES["b"], "c": os.urandom(50)}) for n in (1, 2, 3)]
    repository = record(root, RecordingDisk(), steps)
    before = {root.name: take(root)}
    disk = RecordingDisk()
    repository = Repository.open(root, create=True, disk=disk)
    kept = snapshot_id("s1", 3)
    disk.mark(f"committed {kept}", root)
    report = repository.prune(keep_last=1)
    assert report.deleted_packs, "otherwise this test tests nothing"
    assert report.repacked_packs, "likewise"
    for own in report.removed:
        disk.mark(f"removed {own}", root)
    values = {snapshot_id("s1", n): v for n, v in steps}
    assert check(tmp_path, root, before, disk.log, values) > 20


def test_a_prune_for_a_budget_survives_a_power_cut_at_any_moment(tmp_path):
    """Whatever goes for bytes or by request goes as safely: what was to stay is there and whole, always."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "store"
    steps = [(n, {"a": os.urandom(4000), "b": VALUES["b"], "c": os.urandom(50)}) for n in (1, 2, 3)]
    repository = Repository.open(root, create=True, disk=RecordingDisk())
    known = {}
    for sequence, values in steps:
        note = "named" if sequence < 3 else ""
        known = save(repository, values, sequence=sequence, note=note, known=known).known
    save(
        repository, {"a": b"other"}, sequence=1, lineage="s2", notebook="m", created_at="2020-01-01T00:00:00Z"
    )
    before = {root.name: take(root)}
    disk = RecordingDisk()
    repository = Repository.open(root, create=True, disk=disk)
    values = {snapshot_id("s1", n): v for n, v in steps} | {snapshot_id("s2", 1): {"a": b"other"}}
    for own in (snapshot_id("s1", 2), snapshot_id("s1", 3), snapshot_id("s2", 1)):
        disk.mark(f"committed {own}", root)
    report = repository.prune(notebook="n", drop=[snapshot_id("s1", 1)], budget_bytes=1)
    assert report.removed == [snapshot_id("s1", 1)]
    assert report.deleted_packs, "otherwise this test tests nothing"
    assert report.repacked_packs, "likewise"
    disk.mark(f"removed {snapshot_id('s1', 1)}", root)
    assert check(tmp_path, root, before, disk.log, values) > 20


def test_a_save_beside_garbage_and_condemned_packs_survives(tmp_path):
    """A save that finds a torn temporary file and a round of prune left open commits as durably as any."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "store"
    record(root, RecordingDisk(), [(n, {"a": os.urandom(4000), "b": VALUES["b"]}) for n in (1, 2)])
    repository = Repository.open(root, create=True)
    with repository.writer("ana") as other:  # keeps prune waiting, so that its round stays open
        repository.prune(keep_last=1)
        other.put_bytes(b"never committed" * 100)
        before = {root.name: take(root)}
    values = everything(root)
    shutil.rmtree(root)
    put(before[root.name], root)
    disk = RecordingDisk()
    repository = Repository.open(root, create=True, disk=disk)
    for own in values:
        disk.mark(f"committed {own}", root)
    commit = save(repository, VALUES, sequence=3)
    disk.mark(f"committed {commit.manifest.id}", root)
    values[commit.manifest.id] = VALUES
    for _, _, tree in states(root.parent, before, disk.log):
        where = tmp_path / "after"
        put(tree, where)
        found = everything(where / root.name)
        assert all(found[own] == values[own] for own in found)
        assert Repository.open(where / root.name, create=False).verify(deep=True).is_sound
        shutil.rmtree(where)


def test_a_folder_that_was_made_but_not_synced_does_not_cost_a_commit(tmp_path):
    """Another process made the folders and died before it synced them: a commit below makes them durable."""
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "store"
    disk = RecordingDisk()
    Repository.open(root, create=True, disk=disk)
    for path in (
        "members",
        "members/ana",
        "members/ana/packs",
        "members/ana/manifests",
        "members/ana/manifests/p",
    ):
        disk.make_directory(root / path)
    commit = save(Repository.open(root, create=True, disk=disk), VALUES, sequence=1)
    disk.mark(f"committed {commit.manifest.id}", root)
    assert check(tmp_path, root, {}, disk.log, {commit.manifest.id: VALUES}) > 50
