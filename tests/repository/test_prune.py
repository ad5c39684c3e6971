"""Prune deletes what nothing needs, keeps what must stay, and says why."""

import errno
import os
from datetime import timedelta

import pytest
from faults import Crashed, Crashing, Failing, Quick
from saves import everything, files, manifest, put_values, save, snapshot_id, values_of

from keepstate._base.clock import ManualClock
from keepstate._repository import ConflictError, Repository
from keepstate._repository.condemned import read_rounds
from keepstate._repository.layout import member_folder
from keepstate.errors import FormatError, IntegrityError, InvalidInputError, StoreError, StoreFullError

SAME = os.urandom(40_000)


def history(path, count=5, **more):
    """Snapshots that share one value and differ in another; return their values by id."""
    repository = Repository.open(path, create=True, disk=Quick())
    values, known = {}, {}
    for sequence in range(1, count + 1):
        now = {"same": SAME, "own": os.urandom(3000)}
        commit = save(repository, now, sequence=sequence, known=known, **more)
        values[commit.manifest.id], known = now, commit.known
    return repository, values


def packs_bytes(repository):
    return sum(path.stat().st_size for path in files(repository.path, ".pack"))


def test_superseded_snapshots_go_and_their_bytes_with_them(tmp_path):
    """Of five, the newest two stay, whole; the space of the others is free at once."""
    repository, values = history(tmp_path / "store")
    before = packs_bytes(repository)
    report = repository.prune(keep_last=2)
    newest = [snapshot_id("s1", 5), snapshot_id("s1", 4)]
    assert sorted(report.removed) == [snapshot_id("s1", n) for n in (1, 2, 3)]
    assert list(report.kept) == newest
    assert everything(repository.path) == {own: values[own] for own in newest}
    assert before - packs_bytes(repository) == report.freed_bytes > 6000
    assert report.waiting_for == report.damage == report.remarks == []
    assert repository.verify(deep=True).is_sound
    again = repository.prune(keep_last=2)
    assert (again.removed, again.deleted_packs, again.freed_bytes) == ([], 0, 0)


def test_the_last_of_every_session_stays(tmp_path):
    """However many sessions follow, each keeps its last snapshot, and the newest consistent one stays."""
    repository = Repository.open(tmp_path / "store", create=True)
    for number in range(3):
        for sequence in (1, 2):
            parents = {f"s{number - 1}": 2}
            save(repository, {"a": os.urandom(50)}, sequence=sequence, lineage=f"s{number}", parents=parents)
    for sequence in (1, 2, 3):
        save(repository, {"a": os.urandom(50)}, sequence=sequence, lineage="s9", parents={"s2": 2},
             consistency="cell" if sequence == 1 else "operation")  # fmt: skip
    report = repository.prune(keep_last=1)
    assert report.kept == {
        snapshot_id("s9", 3): "one of the newest 1; the last of its session; "
        "the newest that was taken inside an operation",
        snapshot_id("s9", 1): "the newest that was taken between cells",
        **{snapshot_id(f"s{n}", 2): "the last of its session" for n in range(3)},
    }
    assert everything(repository.path).keys() == report.kept.keys()


def test_snapshots_that_names_are_carried_from_stay(tmp_path):
    """A kept snapshot that carries a name keeps the one it refers to, and that one's likewise."""
    repository = Repository.open(tmp_path / "store", create=True)
    first = save(repository, {"lost": os.urandom(900)}, sequence=1)
    entry = first.manifest.names["lost"]
    carried = {"lost": type(entry)(entry.group, entry.type, entry.logical_bytes, first.manifest.id)}
    second = save(repository, {"x": b"x" * 50}, sequence=2, carried=carried)
    onward = {"lost": type(entry)(entry.group, entry.type, entry.logical_bytes, second.manifest.id)}
    save(repository, {"y": b"y" * 50}, sequence=3)
    save(repository, {"z": b"z" * 50}, sequence=4, carried=onward)
    report = repository.prune(keep_last=1)
    assert report.removed == [snapshot_id("s1", 3)]
    assert "carries 'lost'" in report.kept[first.manifest.id]
    assert len(everything(repository.path)) == 3


def test_each_notebook_and_project_keeps_its_own(tmp_path):
    """Counting is by project and notebook; with a project given, the others are left alone."""
    path = tmp_path / "store"
    for project in ("p", "q"):
        for notebook in ("n", "m"):
            history(path, 3, project=project, notebook=notebook, lineage=f"{project}{notebook}")
    repository = Repository.open(path, create=True)
    assert len(repository.prune(keep_last=1, project="p").removed) == 4
    assert len(repository.manifests(project="q")) == 6
    assert len(repository.prune(keep_last=2).removed) == 2
    assert repository.verify(deep=True).is_sound


def test_asked_for_snapshots_stay(tmp_path):
    """Ids in keep are kept whatever their age; fewer than one cannot be asked for."""
    repository, _ = history(tmp_path / "store")
    report = repository.prune(keep_last=1, keep=[snapshot_id("s1", 2)])
    assert report.kept[snapshot_id("s1", 2)] == "asked for"
    assert len(everything(repository.path)) == 2
    with pytest.raises(InvalidInputError):
        repository.prune(keep_last=0)


def test_members_are_pruned_alone(tmp_path):
    """Pruning one member touches nothing of another's, and makes no folder for somebody unknown."""
    repository, _ = history(tmp_path / "store", member="ana")
    history(tmp_path / "store", member="Bob", lineage="s2")
    others = {path: path.read_bytes() for path in files(member_folder(repository.path, "Bob").root, "")}
    repository.prune(keep_last=1, member="ana")
    repository.prune(keep_last=1, member="nobody")
    assert {
        path: path.read_bytes() for path in files(member_folder(repository.path, "Bob").root, "")
    } == others
    assert repository.members() == ["Bob", "ana"]


def test_a_pack_that_is_mostly_dead_is_repacked(tmp_path):
    """A few live chunks among many dead ones move into a new pack, and the old one goes."""
    repository = Repository.open(tmp_path / "store", create=True)
    first = save(repository, {"big": os.urandom(3_000_000), "small": SAME}, sequence=1)
    save(repository, {"small": SAME}, sequence=2, known=first.known)
    report = repository.prune(keep_last=1)
    assert report.repacked_packs == 1
    assert packs_bytes(repository) < 45_000
    assert list(everything(repository.path).values()) == [{"small": SAME}]
    assert repository.verify(deep=True).is_sound


def test_many_small_packs_become_few(tmp_path):
    """After 40 small saves that are all kept, a prune leaves a pack or two, and an index that fits them."""
    repository, values = history(tmp_path / "store", 40)
    repository.prune(keep_last=40)
    assert len(files(repository.path, ".pack")) <= 2
    assert len(files(repository.path, ".index")) == 1
    assert everything(repository.path) == values
    assert repository.verify(deep=True).is_sound


def test_packs_wait_for_a_save_that_may_rely_on_them(tmp_path):
    """With a save under way condemned packs stay; the next prune deletes them, whatever began since."""
    repository, _ = history(tmp_path / "store")
    with repository.writer("ana") as early:
        report = repository.prune(keep_last=1)
        assert report.waiting_packs
        assert str(os.getpid()) in report.waiting_for[0]
        assert report.deleted_packs == 0
        with repository.writer("ana") as late:
            early.abandon()
            second = repository.prune(keep_last=1)  # the late one has seen what is condemned
            assert second.deleted_packs >= report.waiting_packs
            names = put_values(late, {"own": os.urandom(100)})
            late.commit(lambda n: manifest(names, sequence=6))
    assert read_rounds(repository._disk, member_folder(repository.path, "ana")) == []
    assert repository.verify(deep=True).is_sound


def test_grace_keeps_condemned_packs_for_a_while(tmp_path):
    """With grace_seconds, what is condemned stays readable until it has passed by the wall clock."""
    clock = ManualClock()
    repository, _ = history(tmp_path / "store")
    repository = Repository.open(repository.path, create=True, clock=clock)
    report = repository.prune(keep_last=1, grace_seconds=60)
    assert report.waiting_packs
    assert report.deleted_packs == 0
    clock.advance(30)
    assert repository.prune(keep_last=1, grace_seconds=60).deleted_packs == 0
    clock.advance(31)
    assert repository.prune(keep_last=1, grace_seconds=60).deleted_packs == report.waiting_packs


def commit_around_a_prune(writer, path, build, **prune):
    """Commit, with a prune after the writer has looked again and before its manifest is there."""
    ran, published = [], []

    class Disk(Quick):
        def publish(self, temporary, path):
            super().publish(temporary, path)
            published.append(path)

        def sync_directory(self, _):
            if published and not ran:
                ran.append(Repository.open(path, create=True).prune(**prune))

    writer._disk = Disk()
    return writer.commit(build), ran[0]


def test_a_condemned_pack_that_is_needed_again_is_rescued(tmp_path):
    """A save that committed while prune waited gets its packs back, and nobody else's are lost."""
    repository, _ = history(tmp_path / "store", 1)
    values = everything(repository.path)
    with repository.writer("ana") as writer:
        names = put_values(writer, {"late": os.urandom(5000)})
        build = lambda n: manifest(names, sequence=2)  # noqa: E731
        late, first = commit_around_a_prune(writer, repository.path, build, keep_last=9)
    assert first.waiting_packs == 1
    report = repository.prune(keep_last=9)
    assert report.deleted_packs == report.waiting_packs == 0
    found = everything(repository.path)
    assert found.keys() == {*values, late.manifest.id}
    again = save(repository, {"late": found[late.manifest.id]["late"]}, sequence=3)
    assert again.packs == [], "a rescued pack may be relied on again"


def test_of_two_condemned_copies_one_stays(tmp_path):
    """Each of two condemned packs has what is needed: neither counts as the other's copy."""
    repository = Repository.open(tmp_path / "store", create=True)
    with repository.writer("ana") as one, repository.writer("ana") as two:
        names = [put_values(each, {"same": SAME}) for each in (one, two)]
        one.commit(lambda n: manifest(names[0], sequence=1, lineage="s1"))
        two.commit(lambda n: manifest(names[1], sequence=1, lineage="s2"))
    for lineage in ("s1", "s2"):
        save(repository, {"other": lineage.encode()}, sequence=2, lineage=lineage)
    with repository.writer("ana") as writer:
        late = put_values(writer, {"same": SAME, "new": os.urandom(99)})
        build = lambda n: manifest(late, sequence=1, lineage="s3")  # noqa: E731
        commit, first = commit_around_a_prune(writer, repository.path, build, keep_last=1)
    assert first.waiting_packs >= 2, "both copies are to go"
    repository.prune(keep_last=1)
    assert everything(repository.path)[commit.manifest.id]["same"] == SAME
    assert Repository.open(repository.path, create=False).verify(deep=True).is_sound


@pytest.mark.parametrize("keep_last", [1, 3])
def test_a_prune_that_ends_anywhere_has_lost_nothing(tmp_path, keep_last):
    """Ended before any operation: what is still listed is whole, and the next prune finishes the work."""
    for number in range(300):
        path = tmp_path / str(number)
        _, values = history(path, 4)
        crashing = Repository.open(path, create=True, disk=Crashing(number))
        try:
            crashing.prune(keep_last=keep_last)
        except Crashed:
            ended = True
        else:
            ended = False
        found = everything(path)
        assert found.items() <= values.items()
        assert {snapshot_id("s1", 5 - n) for n in range(1, keep_last + 1)} <= found.keys()
        assert Repository.open(path, create=False).verify(deep=True).is_sound
        for lease in files(path, ".lease"):
            lease.write_bytes(lease.read_bytes().replace(b'"process_started":"', b'"process_started":"1'))
            os.utime(lease, (0, 0))
        fresh = Repository.open(path, create=True)
        fresh.prune(keep_last=keep_last)
        assert len(everything(path)) == keep_last
        assert fresh.verify(deep=True).is_sound
        assert len(files(path, ".pack")) <= keep_last + 1
        assert files(path / "members", ".tmp") == files(path, ".lease") == files(path, ".json")[:0]
        if not ended:
            break
    assert number > 15 or keep_last > 1


def test_a_prune_on_a_failing_disk_has_lost_nothing(tmp_path):
    """Whichever operation fails, the error is a StoreError and every listed snapshot is whole."""
    for number in range(300):
        path = tmp_path / str(number)
        _, values = history(path, 4)
        disk = Failing(number, errno.EIO)
        try:
            Repository.open(path, create=True, disk=disk).prune(keep_last=1)
        except StoreError:
            pass
        found = everything(path)
        assert found.items() <= values.items()
        assert snapshot_id("s1", 4) in found
        assert Repository.open(path, create=False).verify(deep=True).is_sound
        if not disk.failed:
            break
    assert number > 15


def test_a_full_disk_can_be_pruned(tmp_path):
    """Where not a byte can be written, superseded snapshots and garbage of dead saves go all the same."""
    repository, _ = history(tmp_path / "store", 4)
    folder = member_folder(repository.path, "ana")
    (folder.temporary / f"{'0' * 32}-1.tmp").write_bytes(bytes(100_000))
    disk = Failing(0, errno.ENOSPC, from_then_on=True, only=("write", "sync"))
    full = Repository.open(repository.path, create=True, disk=disk)
    with pytest.raises(StoreFullError):  # what frees space needs a little of it for the list of the condemned
        full.prune(keep_last=1)
    assert len(everything(repository.path)) == 1
    assert files(folder.temporary, "") == files(folder.leases, "") == []
    assert repository.prune(keep_last=1).deleted_packs
    assert repository.verify(deep=True).is_sound


def test_no_space_to_repack_still_frees_what_is_dead(tmp_path):
    """Dead packs are deleted before anything is copied, and a repack that does not fit is a remark."""
    repository = Repository.open(tmp_path / "store", create=True)
    first = save(repository, {"big": os.urandom(3_000_000), "small": SAME}, sequence=1)
    save(repository, {"dead": os.urandom(2000)}, sequence=2)
    save(repository, {"small": SAME}, sequence=3, known=first.known)

    class Little(Failing):
        def write(self, descriptor, data):
            if len(data) > 10_000:
                raise OSError(errno.ENOSPC, "full")
            super().write(descriptor, data)

    report = Repository.open(repository.path, create=True, disk=Little(-1, 0)).prune(keep_last=1)
    assert report.deleted_packs == 1
    assert "no space" in report.remarks[0]
    assert files(repository.path / "members", ".tmp") == []
    assert list(everything(repository.path).values()) == [{"small": SAME}]


def test_a_manifest_that_cannot_be_read_stops_a_prune(tmp_path):
    """What a damaged or newer manifest needs is not known, so nothing is deleted unless it is given up."""
    repository, _ = history(tmp_path / "store", 3)
    path = files(repository.path, ".manifest")[1]
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b"?")
    before = files(repository.path, "")
    with pytest.raises(IntegrityError, match="drop_damaged"):
        repository.prune(keep_last=1)
    assert files(repository.path, "") == before
    report = repository.prune(keep_last=1, drop_damaged=True)
    assert not path.exists()
    assert report.removed == [snapshot_id("s1", 1)]
    assert list(everything(repository.path)) == [snapshot_id("s1", 3)]

    newer = bytearray(files(repository.path, ".manifest")[0].read_bytes())
    newer[8] |= 4  # a flag of the future
    from blake3 import blake3

    newer[32:64] = blake3(newer[:32] + newer[64:]).digest()
    (path.parent / "later.manifest").write_bytes(newer)
    for drop in (False, True):
        with pytest.raises(FormatError):
            repository.prune(keep_last=1, drop_damaged=drop)


def test_a_kept_snapshot_with_damage_is_kept_and_named(tmp_path):
    """What can be followed of a damaged snapshot stays, and the report says that there is damage."""
    repository = Repository.open(tmp_path / "store", create=True)
    first = save(repository, {"a": os.urandom(500)}, sequence=1)
    save(repository, {"a": os.urandom(500), "b": SAME}, sequence=2)
    member_folder(repository.path, "ana").pack(first.packs[0]).unlink()
    report = repository.prune(keep_last=2)
    assert report.damage
    fresh = Repository.open(repository.path, create=False)
    assert values_of(fresh, fresh.manifest(snapshot_id("s1", 2)), only="b") == {"b": SAME}


def test_two_prunes_at_once_are_refused(tmp_path):
    """While one prune runs on this machine, a second one gives way; after a dead one it does not."""
    from keepstate._repository.lease import take_lease

    repository, _ = history(tmp_path / "store")
    folder = member_folder(repository.path, "ana")
    lease = take_lease(repository._disk, folder, purpose="prune", clock=repository._clock)
    with pytest.raises(ConflictError):
        repository.prune(keep_last=1)
    (path,) = files(folder.leases, ".lease")
    path.write_bytes(path.read_bytes().replace(str(lease.pid).encode(), b"4194999"))
    assert repository.prune(keep_last=1).removed


def test_a_prune_that_took_too_long_deletes_no_pack(tmp_path):
    """After an hour others may take it for dead, so it stops before it deletes."""
    repository, _ = history(tmp_path / "store")
    clock = ManualClock()

    class Slow(Failing):
        def entries(self, path):
            if str(path).endswith("leases"):
                clock.now += timedelta(hours=1)
            return super().entries(path)

    slow = Repository.open(repository.path, create=True, disk=Slow(-1, 0), clock=clock)
    packs = files(repository.path, ".pack")
    with pytest.raises(ConflictError):
        slow.prune(keep_last=1)
    assert set(packs) <= set(files(repository.path, ".pack"))


def test_usage_says_who_owns_what(tmp_path):
    """Bytes by member are those of the files; by project, those that its snapshots need."""
    repository, _ = history(tmp_path / "store", 3)
    save(repository, {"x": os.urandom(10_000)}, sequence=1, project="q", lineage="s2")
    save(repository, {"x": os.urandom(500)}, sequence=1, member="Bob", lineage="s3")
    bob, ana = sorted(repository.usage(), key=lambda each: each.member)
    assert (bob.member, ana.member) == ("Bob", "ana")
    assert ana.nbytes == sum(p.stat().st_size for p in files(member_folder(repository.path, "ana").root, ""))
    assert {name: each.snapshots for name, each in ana.projects.items()} == {"p": 3, "q": 1}
    assert 10_000 < ana.projects["q"].nbytes < 12_000
    assert ana.unused_bytes == 0
    for path in files(repository.path, "0003-" + snapshot_id("s1", 3) + ".manifest"):
        path.unlink()
    assert 3000 < repository.usage(member="ana")[0].unused_bytes < 4000
