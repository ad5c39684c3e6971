"""At a backend a repository does all that it does in a folder, in few requests, and leaves nothing half."""

import itertools
import os

import msgspec
import pytest
from far_places import Places, kept, random_bytes
from faults import Crashed
from saves import manifest, put_values, save, snapshot_id, values_of

from keepstate._repository import ConflictError, Repository
from keepstate._repository.catalog import Catalog
from keepstate._repository.condemned import Round, read_rounds, write_round
from keepstate._repository.far_disk import TOP, FarDisk
from keepstate._repository.layout import member_folder
from keepstate.backends import LocalBackend
from keepstate.errors import (
    CredentialsError,
    IntegrityError,
    InvalidInputError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from keepstate.testing import Fault, Faulty

BIG = random_bytes(2_500_000)
VALUES = {"big": BIG, "zeros": bytes(300_000), "small": b"s", "empty": b""}


class At:
    """A store in a folder or at a backend, and the folder that its bytes are in."""

    def __init__(self, folder, kind):
        self.folder, self.kind = folder, kind

    def open(self):
        if self.kind == "folder":
            return Repository.open(self.folder, create=True)
        return Repository.open(TOP, create=True, disk=FarDisk(LocalBackend(self.folder)))

    def files(self, ending):
        return sorted(path for path in self.folder.rglob(f"*{ending}") if path.is_file())


@pytest.fixture(params=["folder", "far"])
def at(request, tmp_path):
    return At(tmp_path / "store", request.param)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def test_what_was_saved_comes_back_from_a_fresh_look(at):
    """Every value, by whole and in parts, with the list of cells."""
    commit = save(at.open(), VALUES, sequence=1, cells=b"a cell" * 9000)
    fresh = at.open()
    assert kept(fresh) == {commit.manifest.id: VALUES}
    assert fresh.read(commit.manifest.cells, member="ana") == b"a cell" * 9000
    assert fresh.manifest(commit.manifest.id) == commit.manifest
    assert fresh.members() == ["ana"]


def test_a_save_that_knows_the_last_one_writes_what_has_changed(at):
    """The bytes that it says are those that came."""
    repository = at.open()
    known = save(repository, VALUES, sequence=1).known
    before = sum(path.stat().st_size for path in at.files(""))
    second = save(repository, {**VALUES, "small": b"t"}, sequence=2, known=known)
    written = sum(path.stat().st_size for path in at.files("")) - before
    assert written == second.manifest.written_bytes < 5000


def test_a_save_that_is_given_up_leaves_nothing(at):
    """Not a pack, not a lease, not a temporary file."""
    with at.open().writer("ana") as writer:
        put_values(writer, VALUES)
    assert [path.name for path in at.files("")] == ["keepstate.json"]


def test_one_id_is_never_given_twice(at):
    """A second snapshot of the same name and place is refused, and the first stays."""
    first = save(at.open(), VALUES, sequence=1)
    with pytest.raises(InvalidInputError, match="already"):
        save(at.open(), {"x": b"other"}, sequence=1)
    assert kept(at.open()) == {first.manifest.id: VALUES}


def test_damage_is_found_and_told_by_name(at):
    """A flipped bit costs the name that it is in, and verify says which."""
    repository = at.open()
    commit = save(repository, {"hit": random_bytes(5000), "whole": b"w" * 50}, sequence=1)
    (path,) = at.files(".pack")
    raw = bytearray(path.read_bytes())
    raw[raw.index(random_bytes(5000)[:64]) + 70] ^= 1
    path.write_bytes(raw)
    report = at.open().verify(deep=True)
    assert {own: sorted(found) for own, found in report.affected.items()} == {commit.manifest.id: ["hit"]}
    with pytest.raises(IntegrityError):
        values_of(at.open(), commit.manifest, only="hit")
    assert values_of(at.open(), commit.manifest, only="whole") == {"whole": b"w" * 50}


def test_a_pack_without_its_end_is_read_by_its_chunks(at):
    """What is left of it is found by scanning."""
    values = {"first": random_bytes(200_000), "second": random_bytes(5000, seed=6)}
    commit = save(at.open(), values, sequence=1)
    (path,) = at.files(".pack")
    path.write_bytes(path.read_bytes()[:-3000])
    assert values_of(at.open(), commit.manifest, only="first") == {"first": random_bytes(200_000)}


def test_prune_deletes_what_is_superseded_and_writes_anew_what_is_thin(at):
    """The kept snapshot is whole, and packs of which little was needed are gone."""
    repository = at.open()
    same, known = random_bytes(40_000), {}
    for sequence in range(1, 5):
        own = {"same": same, "own": random_bytes(300_000, seed=sequence)}
        known = save(repository, own, sequence=sequence, known=known).known
    report = repository.prune(keep_last=1)
    assert len(report.removed) == 3
    assert report.repacked_packs
    assert kept(at.open()) == {snapshot_id("s1", 4): own}
    assert at.open().verify(deep=True).is_sound
    assert at.files(".lease") == at.files(".tmp") == []
    assert not [path for path in at.files(".json") if path.parent.name == "condemned"]


def test_usage_counts_the_same_bytes(tmp_path):
    """Whether they are in a folder or far away."""
    found = []
    for kind in ("folder", "far"):
        at = At(tmp_path / kind, kind)
        save(at.open(), VALUES, sequence=1)
        (usage,) = at.open().usage()
        found.append((usage.member, usage.nbytes))
    assert found[0] == found[1]


def test_a_save_waits_for_nobody_and_is_seen(at):
    """While it lasts its lease is there, and prune lets the packs stay that it may rely on."""
    repository = at.open()
    save(repository, {"old": random_bytes(3000)}, sequence=1)
    save(repository, {"new": b"n"}, sequence=2)
    other = at.open()
    with other.writer("ana", project="p", notebook="n", lineage="s2") as writer:
        assert [held.purpose for held in repository.leases("ana")] == ["write"]
        assert repository.saving(project="p", member="ana", notebook="n")
        report = repository.prune(keep_last=1)
        assert report.waiting_packs
        found = manifest(put_values(writer, {"old": random_bytes(3000)}), sequence=1, lineage="s2")
        with pytest.raises(ConflictError):
            writer.commit(lambda written: msgspec.structs.replace(found, written_bytes=written))
    assert not repository.leases("ana")
    assert not repository.prune(keep_last=1).waiting_packs
    assert len(at.files(".pack")) == 1


def test_an_index_is_written_and_used_at_a_backend(places):
    """A fresh look at forty packs reads one index and no pack."""
    far = places.far()
    for sequence in range(1, 41):
        save(far, {"x": b"%d" % sequence * 50}, sequence=sequence)
    assert places.there(".index")
    fresh = places.far()
    Catalog(member_folder(TOP, "ana"), fresh._disk).refreshed()
    opened = [name for operation, name in fresh.faulty.calls if operation == "get" and ".pack" in name]
    assert len(opened) <= 8 * 2, "packs that came after the index, header and end of each"


def test_a_look_at_two_hundred_shelves_is_one_listing(places):
    """A listing of the packs answers for all folders in them, and one of the manifests likewise."""
    far = places.far()
    for sequence in range(1, 31):
        save(far, {"x": b"%d" % sequence * 50}, sequence=sequence, notebook=f"n{sequence % 3}")
    fresh = places.far()
    fresh.manifests(member="ana")
    fresh.usable_packs("ana", known=(), look=True)
    listed = [name for operation, name in fresh.faulty.calls if operation == "list"]
    assert sorted(listed) == [f"members/ana/{what}/" for what in ("condemned", "index", "manifests", "packs")]


def test_a_listing_of_everybody_does_not_stand_for_a_later_one(places):
    """Who has listed the members sees, with the next look at one, what has come since."""
    far, other = places.far(), places.far()
    save(other, {"x": b"1"}, sequence=1)
    assert far.members() == ["ana"]
    disk = far._disk
    disk.entries(TOP / "members" / "ana")
    write_round(
        other._disk,
        member_folder(TOP, "ana"),
        Round(id="0" * 32, packs=[], condemned_at="2026-01-01T00:00:00+00:00"),
        temporary=TOP / "x.tmp",
    )
    save(other, {"x": b"2"}, sequence=2)
    assert [found.id for found in read_rounds(disk, member_folder(TOP, "ana"))] == ["0" * 32]
    assert len(far.manifests()) == 2
    assert len(far.usable_packs("ana", known=(), look=True)) == 2


def test_only_a_round_is_ever_replaced(places):
    """A notebook may be called like the folder of rounds; its snapshots are written once as all others."""
    replaced = []

    class Telling(Faulty):
        def put(self, name, data, *, replace=False):
            if replace:
                replaced.append(name)
            super().put(name, data, replace=replace)

    places.kind = Telling
    far = places.far()
    names = {"project": "condemned", "notebook": "condemned", "member": "condemned"}
    for sequence in (1, 2):
        save(far, {"x": random_bytes(9000, seed=sequence)}, sequence=sequence, **names)
    assert replaced == []
    far.prune(keep_last=1)
    assert replaced
    assert {name.rpartition("/")[0] for name in replaced} == {"members/condemned/condemned"}


def test_a_long_part_is_read_in_few_requests(places):
    """A chunk costs two, its header and its bytes; a header brings what is near it."""
    commit = save(places.far(), {"big": BIG}, sequence=1)
    fresh = places.far()
    fresh.usable_packs("ana", known=(), look=True)
    before = len(fresh.faulty.calls)
    assert values_of(fresh, commit.manifest) == {"big": BIG}
    assert len(fresh.faulty.calls) - before <= 16


def test_a_file_that_is_gone_is_told_as_gone(places):
    """By the same error as on a disk, whichever way it is asked for."""
    disk = FarDisk(places.backend)
    path = TOP / "members" / "ana" / "packs" / "aa" / ("a" * 32 + ".pack")
    for ask in (disk.open, lambda path: disk.read(path, limit_bytes=10)):
        with pytest.raises(FileNotFoundError):
            ask(path)
    assert not disk.exists(path)
    assert disk.entries(path.parent) == []
    disk.remove(path)


def test_a_file_that_goes_while_it_is_read_is_told_as_gone(places):
    """Prune may come between two reads."""
    save(places.far(), {"big": BIG}, sequence=1)
    (name,) = places.there(".pack")
    disk = FarDisk(places.backend)
    file = disk.open(TOP / name)
    assert file.nbytes > len(BIG)
    places.backend.delete(name)
    with pytest.raises(FileNotFoundError):
        file.read_at(5000, 100)
    file.close()


@pytest.mark.parametrize("error", [UnavailableError("away"), CredentialsError("key"), StoreFullError("full")])
def test_what_the_place_says_is_not_said_otherwise(places, error):
    """The kind of an error tells what to do, so it comes through as it is."""
    places.far()
    with pytest.raises(type(error), match=str(error)):
        save(places.far(Fault("put", error, times=None)), VALUES, sequence=1)
    assert places.far().manifests() == []


def test_a_listing_that_failed_is_remembered(places):
    """The repository goes on without what cannot be read; who must know can ask."""
    save(places.far(), VALUES, sequence=1)
    far = places.far(Fault("get", UnavailableError("away"), name_contains=".manifest", times=None))
    with pytest.raises(StoreError, match="away"):
        far.manifests()
    assert isinstance(far._disk.trouble, UnavailableError)


@pytest.mark.parametrize("before_effect", [True, False])
def test_a_save_that_is_cut_anywhere_is_whole_or_not_there(tmp_path, before_effect):
    """At every call to the far side: what was there is there, and a second save goes through."""
    for cut in itertools.count():
        places = Places(tmp_path / str(cut))
        first = save(places.far(), {"x": b"first" * 200}, sequence=1)
        broken = Fault("any", UnavailableError("cut"), times=None, after=cut, before_effect=before_effect)
        try:
            save(places.far(broken), VALUES, sequence=2)
        except StoreError:
            is_cut = True
        else:
            is_cut = False
        found = kept(places.far())
        assert found.pop(first.manifest.id) == {"x": b"first" * 200}, cut
        assert found in ({}, {snapshot_id("s1", 2): VALUES}), cut
        save(places.far(), VALUES, sequence=3)
        assert places.far().verify(deep=True).is_sound, cut
        if not is_cut:
            break
    assert cut > 8


def test_the_death_of_a_save_leaves_nothing_at_the_place(places):
    """What waits to be put is in no file that anybody could find."""

    class Dying(Faulty):
        def put(self, name, data, *, replace=False):
            if name.endswith(".pack"):
                raise Crashed
            super().put(name, data, replace=replace)

    places.kind = Dying
    before = set(os.listdir(places.folder))
    with pytest.raises(Crashed):
        save(places.far(), VALUES, sequence=1)
    assert set(os.listdir(places.folder)) == before | {"far"}
    assert places.there(".pack") == places.there(".manifest") == []
