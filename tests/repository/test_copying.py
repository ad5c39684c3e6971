"""Snapshots travel from one repository to another, whole or not at all."""

import threading

import pytest
from saves import save, values_of

from keepstate._base.clock import SYSTEM_CLOCK, ManualClock
from keepstate._repository import ConflictError, Repository
from keepstate._repository.far_disk import TOP, FarDisk
from keepstate.backends import LocalBackend
from keepstate.errors import StoreError, UnavailableError
from keepstate.testing import Fault, Faulty

NEVER = threading.Event()
VALUES = {"x": b"x" * 70_000, "y": bytes(range(256)) * 9000, "empty": b""}


class Places:
    """A repository here and one far away, with what counts and fails between them."""

    def __init__(self, folder, clock=SYSTEM_CLOCK):
        self.folder = folder
        self.clock = clock
        self.near = Repository.open(folder / "near", create=True)
        self.backend = LocalBackend(folder / "far")

    def far(self, *faults, create=True):
        disk = FarDisk(Faulty(self.backend, faults))
        return Repository.open(TOP, create=create, disk=disk, clock=self.clock)

    def up(self, far, count=1):
        return self.near.replicate_to(
            far, self.near.manifests()[:count][::-1], stop=NEVER, on_progress=lambda done, total: None
        )

    def down(self, far, name="other"):
        other = Repository.open(self.folder / name, create=True)
        copied = far.replicate_to(
            other, far.manifests()[:1], stop=NEVER, on_progress=lambda done, total: None
        )
        return other, copied


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def kept(repository):
    return {found.id: values_of(repository, found) for found in repository.manifests()}


def test_a_repository_at_a_backend_does_what_one_in_a_folder_does(places):
    """Save, read back, prove, count and prune there."""
    far = places.far()
    save(far, VALUES, sequence=1)
    last = save(far, {**VALUES, "x": b"z" * 70_000}, sequence=2)
    fresh = places.far(create=False)
    assert kept(fresh)[last.manifest.id] == {**VALUES, "x": b"z" * 70_000}
    assert fresh.verify(deep=True).is_sound
    assert fresh.usage()[0].nbytes > 0
    assert len(fresh.prune(keep_last=1).removed) == 1
    assert kept(places.far(create=False)) == {last.manifest.id: {**VALUES, "x": b"z" * 70_000}}


def test_nothing_is_at_a_backend_but_what_the_format_names(places):
    """No temporary file, no empty folder, no lease stays."""
    save(places.near, VALUES, sequence=1)
    places.up(places.far())
    names = {item.name.split("/")[2] for item in places.backend.list("members/")}
    assert names == {"packs", "manifests"}
    assert {item.name for item in places.backend.list() if "/" not in item.name} == {"keepstate.json"}


def test_what_went_up_comes_down_on_another_machine(places):
    """Equal in every byte, and sound on both sides."""
    save(places.near, VALUES, sequence=1)
    far = places.far()
    assert places.up(far).ids == [places.near.manifests()[0].id]
    other, copied = places.down(places.far(create=False))
    assert not copied.lost
    assert kept(other) == kept(places.near)
    assert other.verify(deep=True).is_sound
    assert far.verify(deep=True).is_sound


def test_only_what_the_far_side_lacks_is_sent(places):
    """A second snapshot costs what has changed."""
    big = {f"part{number}": bytes([number]) * 50_000 + b"%d" % number for number in range(30)}
    save(places.near, big, sequence=1)
    far = places.far()
    places.up(far)
    before = sum(item.nbytes for item in places.backend.list())
    save(places.near, {**big, "part3": b"new"}, sequence=2)
    copied = places.up(far)
    assert copied.nbytes == sum(item.nbytes for item in places.backend.list()) - before
    assert copied.nbytes < 8000


def test_a_pack_of_which_all_is_wanted_is_copied_as_it_is(places):
    """Its name and its bytes are the same on both sides."""
    save(places.near, {"big": threading.__doc__.encode() + random_bytes(6 << 20)}, sequence=1)
    places.up(places.far())
    here = {path.name: path.read_bytes() for path in (places.folder / "near").rglob("*.pack")}
    there = {path.name: path.read_bytes() for path in (places.folder / "far").rglob("*.pack")}
    assert here == there


def random_bytes(count):
    import random

    return random.Random(5).randbytes(count)


def test_small_packs_are_gathered_into_one(places):
    """Ten saves make ten packs here, and one there."""
    for sequence in range(1, 11):
        save(places.near, {f"v{n}": b"%d" % n * 500 for n in range(sequence)}, sequence=sequence)
    places.up(places.far())
    assert len(list((places.folder / "near").rglob("*.pack"))) == 10
    assert len(list((places.folder / "far").rglob("*.pack"))) == 1


def operations(tmp_path):
    """How many calls a copy makes."""
    places = Places(tmp_path / "count")
    save(places.near, VALUES, sequence=1)
    disk = FarDisk(counting := Faulty(places.backend))
    places.up(Repository.open(TOP, create=True, disk=disk))
    return len(counting.calls)


@pytest.mark.parametrize("before_effect", [True, False])
def test_a_copy_that_is_cut_anywhere_leaves_all_or_nothing_and_the_next_one_completes(
    tmp_path, before_effect
):
    """At each call to the far side, before its effect and after it."""
    count = operations(tmp_path)
    assert count > 8
    for cut in range(count):
        places = Places(tmp_path / f"cut{cut}")
        save(places.near, {"x": b"old"}, sequence=1)
        places.up(places.far())
        before = kept(places.far(create=False))
        save(places.near, VALUES, sequence=2)
        broken = Fault("any", UnavailableError("cut"), times=None, after=cut, before_effect=before_effect)
        try:
            places.up(places.far(broken, create=True))
        except StoreError:
            pass
        found = kept(places.far(create=False))
        assert found in (before, kept(places.near)), cut
        places.up(places.far())
        fresh = places.far(create=False)
        assert kept(fresh) == kept(places.near), cut
        assert fresh.verify(deep=True).is_sound, cut


def test_a_prune_that_comes_between_makes_the_copy_start_again(places, monkeypatch):
    """What was there at the first look and is gone at the second is never relied on."""
    far = places.far()
    save(places.near, VALUES, sequence=1)
    places.up(far)
    save(places.near, {**VALUES, "z": b"new"}, sequence=2)

    class Pruning(Faulty):
        done = False

        def put(self, name, data, *, replace=False):
            super().put(name, data, replace=replace)
            if name.endswith(".pack") and not self.done:
                Pruning.done = True
                for item in list(self.list("members/ana/packs/")):
                    if item.name != name:
                        self.delete(item.name)

    disk = FarDisk(Pruning(places.backend))
    far = Repository.open(TOP, create=False, disk=disk)
    with pytest.raises(ConflictError):
        places.up(far)
    assert len(places.far(create=False).manifests()) == 1
    places.up(far)
    fresh = places.far(create=False)
    newest = fresh.manifests()[0]
    assert values_of(fresh, newest) == {**VALUES, "z": b"new"}


def test_packs_that_no_listing_shows_yet_are_not_taken_for_gone(tmp_path):
    """Where listings lag behind, what was just put counts as there."""
    places = Places(tmp_path)

    class Late(Faulty):
        @property
        def properties(self):
            from dataclasses import replace

            return replace(super().properties, listing_delay_seconds=60.0)

    save(places.near, VALUES, sequence=1)
    late = Late(places.backend, [Fault("put", hides_from_lists=5, name_contains=".pack")])
    places.up(Repository.open(TOP, create=True, disk=FarDisk(late)))
    fresh = places.far(create=False)
    assert kept(fresh) == kept(places.near)


def test_a_bit_that_flips_on_the_way_is_read_again(places):
    """What arrives damaged once arrives whole the second time, and nothing is lost."""
    save(places.near, VALUES, sequence=1)
    places.up(places.far())
    far = places.far(Fault("get", flips_bit=True, times=1, name_contains=".pack", after=2), create=False)
    other, copied = places.down(far)
    assert not copied.lost
    assert kept(other) == kept(places.near)


def test_damage_at_the_source_is_told_and_spares_the_other_names(places):
    """A snapshot with a damaged chunk goes up without it, and is not called whole."""
    save(places.near, VALUES, sequence=1)
    (path,) = (places.folder / "near").rglob("*.pack")
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    near = Repository.open(places.folder / "near", create=False)
    far = places.far()
    copied = near.replicate_to(far, near.manifests(), stop=NEVER, on_progress=lambda done, total: None)
    assert copied.lost
    assert not far.holds_whole(near.manifests()[0], beside=near)
    assert not far.verify(deep=True).is_sound
    assert len(far.manifests()) == 1


def test_a_copy_that_takes_hours_commits_under_a_fresh_lease(tmp_path):
    """The lease with which it began would not count any more."""
    clock = ManualClock()
    places = Places(tmp_path, clock)
    leases = []

    class Slow(Faulty):
        def put(self, name, data, *, replace=False):
            super().put(name, data, replace=replace)
            if name.endswith(".lease"):
                leases.append(name)
            if name.endswith(".pack"):
                clock.advance(3 * 3600)

    save(places.near, VALUES, sequence=1)
    far = Repository.open(TOP, create=True, disk=FarDisk(Slow(places.backend)), clock=clock)
    near = Repository.open(tmp_path / "near", create=False, clock=clock)
    near.replicate_to(far, near.manifests(), stop=NEVER, on_progress=lambda done, total: None)
    assert len(leases) == 2
    assert list(places.backend.list("members/ana/leases/")) == []


def test_a_copy_that_is_told_to_stop_publishes_nothing(places):
    """And says so."""
    save(places.near, VALUES, sequence=1)
    stop = threading.Event()
    stop.set()
    far = places.far()
    copied = places.near.replicate_to(
        far, places.near.manifests(), stop=stop, on_progress=lambda done, total: None
    )
    assert copied.stopped
    assert far.manifests() == []


def test_names_carried_by_reference_come_along(places):
    """A name that a snapshot only refers to is whole at the far side."""
    first = save(places.near, {"x": b"carried" * 100}, sequence=1)
    save(places.near, {"y": b"1"}, sequence=2, carried=first.manifest.names)
    places.up(places.far())
    fresh = places.far(create=False)
    assert values_of(fresh, fresh.manifests()[0]) == {"x": b"carried" * 100, "y": b"1"}


def test_of_a_damaged_pack_the_sound_chunks_are_copied(places):
    """A large pack that cannot be copied as it is gives what is left of it, under another name."""
    big = {"a": random_bytes(6 << 20), "b": random_bytes(3 << 20)[::-1]}
    save(places.near, big, sequence=1)
    (path,) = (places.folder / "near").rglob("*.pack")
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    near = Repository.open(places.folder / "near", create=False)
    far = places.far()
    copied = near.replicate_to(far, near.manifests(), stop=NEVER, on_progress=lambda done, total: None)
    assert list(copied.lost) == copied.ids
    assert [path.name for path in (places.folder / "far").rglob("*.pack")] != [path.name]
    assert values_of(far, far.manifests()[0], only="b") == {"b": big["b"]}
