"""Whatever happens to either side while snapshots are copied, nothing is lost, and nothing passes for whole.

The plain cases are in ``test_copying.py``.
"""

import os
import shutil
import struct
from datetime import timedelta

import msgspec
import pytest
from blake3 import blake3
from far_places import Late, Places, copy, damage, kept, random_bytes
from faults import Failing
from powercut import RecordingDisk, put, states, take
from saves import everything, files, manifest, put_values, save, snapshot_id, values_of
from xxhash import xxh3_64_intdigest

from keepstate._base.clock import ManualClock
from keepstate._repository import ConflictError, Repository, needs
from keepstate._repository.chunk import HEADER_BYTES, decode_header, encode_header
from keepstate._repository.condemned import Round, read_rounds, write_round
from keepstate._repository.far_disk import TOP, FarDisk
from keepstate._repository.layout import member_folder
from keepstate._repository.lease import here
from keepstate.errors import StoreError, StoreFullError, UnavailableError
from keepstate.testing import Fault, Faulty

BIG = random_bytes(6 << 20)
VALUES = {"x": random_bytes(70_000), "y": bytes(range(256)) * 900, "empty": b""}
HOUR = 3600


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def packs(places, name="near"):
    return files(places.folder / name, ".pack")


def acting(action, *, ending, operation="put"):
    """A kind of place at which something happens, once, after a call about a name that ends so."""

    class Acting(Faulty):
        done = False

        def _after(self, what, name):
            if what == operation and name.endswith(ending) and not Acting.done:
                Acting.done = True
                action()

        def put(self, name, data, *, replace=False):
            super().put(name, data, replace=replace)
            self._after("put", name)

        def get(self, name, **more):
            found = super().get(name, **more)
            self._after("get", name)
            return found

    return Acting


# What is copied


def test_whole_and_scattered_packs_come_up_and_down_alike(places):
    """Six snapshots with large and small packs, up, and all of them down to an empty machine."""
    known = {}
    for sequence in range(1, 7):
        values = {"big": BIG[:-sequence] + b"e" * sequence, "own": random_bytes(9000, seed=sequence)}
        known = save(places.near, values, sequence=sequence, known=known).known
    assert len(copy(places.near, places.far()).ids) == 6
    down = places.open("other")
    copied = copy(places.far(), down)
    assert not copied.lost
    assert kept(down) == kept(places.near)
    assert down.verify(deep=True).is_sound
    assert places.far().verify(deep=True).is_sound


def test_what_is_there_already_is_not_written_again(places):
    """A second copy of the same snapshots writes no byte, and takes them for done."""
    save(places.near, VALUES, sequence=1)
    first = copy(places.near, places.far())
    before = places.far_bytes()
    again = copy(places.near, places.far())
    assert again.ids == first.ids
    assert (again.nbytes, places.far_bytes()) == (0, before)


def test_the_estimate_is_what_is_written_but_for_ends_and_manifest(places):
    """What is told beforehand agrees with what comes, and is nothing once it is there."""
    save(places.near, {"big": BIG, **VALUES}, sequence=1)
    far = places.far()
    estimate = places.near.missing_bytes(places.near.manifests(), at=None)
    assert abs(copy(places.near, far).nbytes - estimate) < 3000
    assert places.near.missing_bytes(places.near.manifests(), at=far) == 0


def test_progress_reaches_what_it_says_there_is(places):
    """It never goes back, and ends at the sum."""
    save(places.near, {"big": BIG, "other": random_bytes(300_000)}, sequence=1)
    said = []
    copy(places.near, places.far(), on_progress=lambda done, total: said.append((done, total)))
    assert said == sorted(said)
    assert said[0][0] == 0
    assert said[-1][0] == said[-1][1] > len(BIG)


def test_a_name_carried_from_an_older_snapshot_needs_nothing_else(places):
    """The snapshot that it was kept in stays here, and its bytes go along."""
    first = save(places.near, {"lost": BIG, "other": b"o"}, sequence=1)
    entry = first.manifest.names["lost"]
    carried = {"lost": type(entry)(entry.group, entry.type, entry.logical_bytes, first.manifest.id)}
    second = save(places.near, {"x": b"x"}, sequence=2, carried=carried)
    copy(places.near, places.far(), [second.manifest])
    down = places.open("other")
    copy(places.far(), down)
    assert kept(down) == {second.manifest.id: {"lost": BIG, "x": b"x"}}


# Damage


def test_a_damaged_chunk_is_taken_from_another_pack(places):
    """Two sessions that saved at once have both written it; one sound copy is enough."""
    value = random_bytes(50_000)
    with places.near.writer("ana") as one, places.open().writer("ana") as two:
        for lineage, writer in (("s1", one), ("s2", two)):
            found = manifest(put_values(writer, {"x": value}), sequence=1, lineage=lineage)
            writer.commit(lambda written, found=found: msgspec.structs.replace(found, written_bytes=written))
    for path in packs(places):
        shutil.copytree(places.folder, tmp := places.folder.with_name(path.stem))
        hurt = Places(tmp)
        (twin,) = (each for each in packs(hurt) if each.name == path.name)
        damage(twin, twin.read_bytes().index(value[:64]))
        copied = copy(hurt.open(), hurt.far())
        assert not copied.lost
        assert list(kept(hurt.far()).values()) == [{"x": value}] * 2
        assert hurt.far().verify(deep=True).is_sound


def test_what_is_lost_is_told_and_never_whole(places):
    """Of three snapshots the one with the damaged chunk is named, with its name; the others are whole."""
    for sequence in (1, 2, 3):
        save(places.near, {"x": random_bytes(5000, seed=sequence), "y": b"y"}, sequence=sequence)
    path = next(path for path in packs(places) if random_bytes(64, seed=2) in path.read_bytes())
    damage(path, path.read_bytes().index(random_bytes(64, seed=2)))
    near, far = places.open(), places.far()
    copied = copy(near, far)
    assert list(copied.lost) == [snapshot_id("s1", 2)]
    assert "damaged or gone" in copied.lost[snapshot_id("s1", 2)]
    whole = [each.id for each in near.manifests() if far.holds_whole(each, beside=near)]
    assert whole == [snapshot_id("s1", 3), snapshot_id("s1", 1)]
    report = places.far().verify(deep=True)
    assert {own: list(names) for own, names in report.affected.items()} == {snapshot_id("s1", 2): ["x"]}


def test_a_damaged_record_is_followed_at_the_other_side(places):
    """A copy that was cut off has brought the record, and not what it needs, which must not be forgotten."""
    value = random_bytes(3000)
    first = save(places.near, {"x": value}, sequence=1).manifest
    record = places.near.group(first.names["x"].group)
    with places.far().writer("ana") as writer:
        raw = msgspec.msgpack.encode(record)
        ref = writer.put_bytes(raw, chunk_bytes=len(raw))
        assert ref.id == first.names["x"].group
        writer.commit(lambda written: manifest({}, sequence=1, lineage="s2", cells=ref))
    (path,) = packs(places)
    damage(path, path.read_bytes().index(raw) + 5)
    copied = copy(places.open(), places.far(), [first])
    assert not copied.lost
    assert values_of(places.far(), first) == {"x": value}


def test_a_false_chunk_costs_its_neighbours_nothing(places):
    """Beside a record whose bytes are another's, though its checksums fit, the others are read and copied."""
    values = {f"v{number}": b"%d" % number * 400 for number in range(5)}
    found = save(places.near, values, sequence=1).manifest
    (path,) = packs(places)
    raw = path.read_bytes()
    group = found.names["v0"].group
    at = raw.index(group) - 24
    header = decode_header(raw[at : at + HEADER_BYTES])
    stored = bytearray(raw[at + HEADER_BYTES : at + HEADER_BYTES + header.stored])
    stored[3] ^= 1
    false = header._replace(checksum=xxh3_64_intdigest(bytes(stored)))
    path.write_bytes(raw[:at] + encode_header(false) + stored + raw[at + HEADER_BYTES + header.stored :])
    near, far = places.open(), places.far()
    copied = copy(near, far)
    assert not far.holds_whole(found, beside=near) or copied.lost
    for name in list(values)[1:]:
        assert values_of(places.far(), found, only=name) == {name: values[name]}


# Prunes of either side


def test_a_pack_that_is_pruned_while_it_is_copied_is_looked_for_again(places):
    """Its chunks are in another by then: the copy begins anew, and the snapshot is whole."""
    values = {"x": random_bytes(200_000), "thin": random_bytes(3000)}
    known = save(places.near, values | {"gone": random_bytes(900_000)}, sequence=1).known
    save(places.near, values, sequence=2, known=known)
    (newest, _) = places.near.manifests()
    places.kind = acting(lambda: places.open().prune(keep_last=1), ending=".lease")
    far = places.far()
    near = places.open()
    near.refresh()
    with pytest.raises(ConflictError):
        copy(near, far, [newest])
    assert far.manifests() == []
    assert not copy(near, far, [newest]).lost
    assert kept(places.far()) == {newest.id: values}


def test_a_snapshot_that_is_pruned_while_it_is_copied_is_not_published_without_its_bytes(places):
    """It was superseded: the far side is none the poorer, and nothing is said to be lost."""
    values = {"x": random_bytes(5000, seed=2)}
    old = save(places.near, {"x": random_bytes(5000, seed=1)}, sequence=1).manifest
    new = save(places.near, values, sequence=2).manifest
    places.open().prune(keep_last=1)
    copied = copy(places.near, places.far(), [old, new])
    assert (copied.ids, copied.lost) == ([new.id], {})
    assert kept(places.far()) == {new.id: values}


def test_what_is_about_to_go_there_is_sent_again_under_another_name(places):
    """A pack that waits in a round, maybe for hours, holds up nobody who needs its bytes."""
    first = save(places.near, {"big": BIG}, sequence=1).manifest
    copy(places.near, places.far())
    (name,) = places.there(".pack")
    lonely = Round(id="0" * 32, packs=[name[-37:-5]], condemned_at="2026-01-01T00:00:00+00:00", waits_for=[])
    write_round(places.far()._disk, member_folder(TOP, "ana"), lonely, temporary=TOP / "x.tmp")
    save(places.near, {"big": BIG, "y": b"y"}, sequence=2)
    far = places.far()
    copied = copy(places.near, far, places.near.manifests()[:1])
    assert copied.nbytes > len(BIG)
    far.prune(keep_last=1)
    assert kept(places.far()) == {snapshot_id("s1", 2): {"big": BIG, "y": b"y"}}
    assert name not in places.there(".pack")
    assert first.id not in kept(places.far())


def test_a_pack_that_is_cut_short_there_is_sent_again_under_another_name(places):
    """What is damaged at the far side does not stand in the way of what is whole here."""
    save(places.near, {"big": BIG}, sequence=1)
    copy(places.near, places.far())
    (path,) = (places.folder / "far").rglob("*.pack")
    path.write_bytes(path.read_bytes()[: len(BIG) // 2])
    save(places.near, {"big": BIG, "y": b"y"}, sequence=2)
    copied = copy(places.near, places.far())
    assert not copied.lost
    fresh = places.far()
    assert values_of(fresh, fresh.manifests()[0]) == {"big": BIG, "y": b"y"}


def test_a_round_that_condemns_what_a_copy_relies_on_makes_it_start_again(places):
    """It came between the look and the manifests; the second time those bytes are sent."""
    save(places.near, VALUES, sequence=1)
    copy(places.near, places.far())
    (name,) = places.there(".pack")
    found = Round(id="0" * 32, packs=[name[-37:-5]], condemned_at="2026-01-01T00:00:00+00:00")
    folder = member_folder(TOP, "ana")
    other = FarDisk(places.backend)
    places.kind = acting(lambda: write_round(other, folder, found, temporary=TOP / "x.tmp"), ending=".pack")
    save(places.near, {**VALUES, "z": b"z"}, sequence=2)
    far = places.far()
    with pytest.raises(ConflictError):
        copy(places.near, far)
    assert len(far.manifests()) == 1
    copy(places.near, far)
    far.prune(keep_last=1)
    fresh = places.far()
    assert read_rounds(fresh._disk, folder) == []
    assert kept(fresh) == {snapshot_id("s1", 2): {**VALUES, "z": b"z"}}
    assert fresh.verify(deep=True).is_sound


def test_a_prune_that_runs_between_look_and_manifest_costs_a_second_try(places):
    """A real one, of another machine, which takes what the coming snapshot relies on."""
    same = random_bytes(50_000)
    save(places.near, {"x": same, "old": b"o"}, sequence=1)
    copy(places.near, places.far())
    save(places.near, {"y": b"y"}, sequence=2)
    copy(places.near, places.far(), places.near.manifests()[:1])
    save(places.near, {"x": same, "z": b"z"}, sequence=3)
    pruner = places.far()
    places.kind = acting(lambda: pruner.prune(keep_last=1), ending=".pack")
    far = places.far()
    newest = places.near.manifests()[:1]
    with pytest.raises(ConflictError):
        copy(places.near, far, newest)
    assert list(kept(places.far())) == [snapshot_id("s1", 2)]
    copy(places.near, far, newest)
    assert kept(places.far())[snapshot_id("s1", 3)] == {"x": same, "z": b"z"}
    places.far().prune(keep_last=1)
    assert kept(places.far()) == {snapshot_id("s1", 3): {"x": same, "z": b"z"}}
    assert places.far().verify(deep=True).is_sound


def test_prune_waits_for_a_copy_that_lives(places):
    """What it condemns meanwhile stays until the copy has ended, and goes then."""
    save(places.near, {"x": random_bytes(5000, seed=1)}, sequence=1)
    copy(places.near, places.far())
    save(places.near, {"y": random_bytes(5000, seed=2)}, sequence=2)
    copy(places.near, places.far(), places.near.manifests()[:1])
    reports = []
    pruner = places.far()
    places.kind = acting(lambda: reports.append(pruner.prune(keep_last=1)), ending=".lease")
    save(places.near, {"z": b"z"}, sequence=3)
    copy(places.near, places.far(), places.near.manifests()[:1])
    assert reports[0].removed == [snapshot_id("s1", 1)]
    assert (reports[0].waiting_packs, reports[0].deleted_packs) == (1, 0)
    assert len(places.there(".pack")) == 3
    places.far().prune(keep_last=2)
    assert len(places.there(".pack")) == 2


# Leases


@pytest.mark.parametrize("suspended", [False, True])
def test_after_half_an_hour_another_lease_is_taken_before_the_last_look(tmp_path, suspended):
    """By the clock that stood still while the machine was suspended, or by the other."""
    clock = ManualClock()
    places = Places(tmp_path, clock=clock)
    save(places.near, VALUES, sequence=1)

    def later():
        if suspended:
            clock.now += timedelta(seconds=HOUR / 2 + 1)
        else:
            clock.advance(HOUR / 2 + 1)

    places.kind = acting(later, ending=".pack")
    far = places.far()
    copy(places.near, far)
    ends = {what: f".{what}" for what in ("pack", "lease", "manifest")}
    calls = [
        (what, kind)
        for what, name in far.faulty.calls
        for kind, end in ends.items()
        if name.endswith(end) and what in ("put", "delete")
    ]
    assert calls == [
        ("put", "lease"),
        ("put", "pack"),
        ("put", "lease"),
        ("delete", "lease"),
        ("put", "manifest"),
        ("delete", "lease"),
    ]
    assert len({name for what, name in far.faulty.calls if name.endswith(".lease")}) == 2
    assert places.there(".lease") == []


def test_before_half_an_hour_one_lease_is_enough(tmp_path):
    """It costs two requests, not four."""
    clock = ManualClock()
    places = Places(tmp_path, clock=clock)
    save(places.near, VALUES, sequence=1)
    places.kind = acting(lambda: clock.advance(HOUR / 2 - 1), ending=".pack")
    far = places.far()
    copy(places.near, far)
    assert len([name for _, name in far.faulty.calls if name.endswith(".lease")]) == 2


def test_under_a_lease_that_no_longer_counts_nothing_is_published(tmp_path):
    """Manifests that take an hour to be put are put by a copy that has looked again."""
    clock = ManualClock()
    places = Places(tmp_path, clock=clock)
    for sequence in (1, 2):
        save(places.near, {"x": b"%d" % sequence}, sequence=sequence)
    places.kind = acting(lambda: clock.advance(HOUR + 1), ending=".manifest")
    far = places.far()
    with pytest.raises(ConflictError, match="lease"):
        copy(places.near, far)
    assert len(far.manifests()) == 1
    copy(places.near, far)
    assert kept(places.far()) == kept(places.near)


def test_a_lease_that_could_not_be_dropped_is_dropped_by_the_next_copy(places):
    """Else prune would wait for it as long as this process lives."""
    save(places.near, VALUES, sequence=1)
    places.far()
    away = UnavailableError("away")
    far = places.far(Fault("delete", away, times=2), Fault("put", away, name_contains=".pack", times=1))
    with pytest.raises(UnavailableError):
        copy(places.near, far)
    assert len(places.there(".lease")) == 1
    copy(places.near, far)
    assert len(places.there(".lease")) == 1, "the second failure was of the first attempt to drop it"
    copy(places.near, far)
    assert places.there(".lease") == []


def test_a_lease_says_whose_copy_it_is(places):
    """Others see which notebook is under way, from which machine."""
    save(places.near, VALUES, sequence=1)
    seen = []
    other = places.far()
    places.kind = acting(lambda: seen.extend(other.leases("ana")), ending=".pack")
    copy(places.near, places.far())
    (held,) = seen
    assert (held.lease.project, held.lease.notebook, held.lease.lineage) == ("p", "n", "s1")
    assert (held.lease.place, held.lease.pid, held.is_alive) == (here(), os.getpid(), True)


# What is in the place of a snapshot


def test_a_damaged_manifest_there_does_not_hold_up_those_that_follow(places):
    """It is named, with what to do, and the newer snapshots arrive."""
    for sequence in (1, 2, 3):
        save(places.near, {"x": b"%d" % sequence * 100}, sequence=sequence)
    copy(places.near, places.far(), places.near.manifests()[1:2])
    (path,) = (places.folder / "far").rglob("*.manifest")
    damage(path, 80)
    copied = copy(places.near, places.far())
    assert copied.ids == [snapshot_id("s1", 1), snapshot_id("s1", 3)]
    assert list(copied.lost) == [snapshot_id("s1", 2)]
    assert "move it away" in copied.lost[snapshot_id("s1", 2)]
    path.unlink()
    assert not copy(places.near, places.far()).lost
    assert kept(places.far()) == kept(places.near)


def test_a_snapshot_of_this_machine_is_not_replaced_by_another_of_its_name(places):
    """A far side that was written to by somebody else cannot change what is kept here."""
    mine = save(places.near, {"x": b"mine"}, sequence=1)
    save(places.far(), {"x": b"another"}, sequence=1)
    copied = copy(places.far(), places.near)
    assert list(copied.lost) == [mine.manifest.id]
    assert kept(places.open()) == {mine.manifest.id: {"x": b"mine"}}


# Listings that are late


@pytest.mark.parametrize("ending", [".pack", ".manifest", ".lease", ""])
def test_copies_complete_where_listings_are_late(tmp_path, ending):
    """Three snapshots, one after another, each of which relies on what no listing shows yet."""
    places = Places(tmp_path, kind=Late)
    known = {}
    for sequence in (1, 2, 3):
        values = {"same": VALUES["x"], "own": random_bytes(900, seed=sequence)}
        known = save(places.near, values, sequence=sequence, known=known).known
    far = places.far(Fault("put", name_contains=ending, hides_from_lists=4, times=None))
    for found in places.near.manifests()[::-1]:
        assert copy(places.near, far, [found]).ids == [found.id]
        assert far.holds_whole(found, beside=places.near)
    fresh = places.far()
    assert kept(fresh) == kept(places.near)
    assert fresh.verify(deep=True).is_sound


def test_a_pack_that_no_listing_shows_yet_is_there(tmp_path):
    """It is asked for by its name, and one that was deleted is not."""
    places = Places(tmp_path, kind=Late)
    save(places.near, VALUES, sequence=1)
    far = places.far()
    copy(places.near, far)
    known = far.usable_packs("ana", known=(), look=True)
    late = places.far()
    for name in places.there(".pack"):
        late.faulty._hidden[name] = 5
    assert late.usable_packs("ana", known=known, look=True) == known
    places.backend.delete(places.there(".pack")[0])
    assert late.usable_packs("ana", known=known, look=True) == frozenset()


# Cuts


def history(places):
    """Two snapshots of which the far side has the first; packs that are copied whole, and gathered."""
    known = save(places.near, {"x": b"old" * 999, "same": VALUES["x"]}, sequence=1).known
    copy(places.near, places.far())
    save(places.near, {"big": BIG[: 5 << 20], "same": VALUES["x"]}, sequence=2, known=known)
    save(places.near, {"big": BIG[: 5 << 20], "own": b"o" * 9}, sequence=3)


@pytest.mark.parametrize("before_effect", [True, False])
@pytest.mark.parametrize("lasting", [True, False])
def test_a_copy_of_several_that_is_cut_anywhere_leaves_each_whole_or_not_there(
    tmp_path, before_effect, lasting
):
    """At every call to the far side, once or from then on: what was there stays, the next copy completes."""
    (tmp_path / "template").mkdir()
    template = Places(tmp_path / "template")
    history(template)
    values = kept(template.near)
    shutil.copytree(template.folder, tmp_path / "whole")
    far = Places(tmp_path / "whole").far()
    copy(template.near, far)
    assert len(far.faulty.calls) > 12
    for cut in range(len(far.faulty.calls)):
        shutil.copytree(template.folder, folder := tmp_path / "cut")
        places = Places(folder)
        broken = Fault(
            "any",
            UnavailableError("cut"),
            times=None if lasting else 1,
            after=cut,
            before_effect=before_effect,
        )
        try:
            copy(places.near, places.far(broken))
        except StoreError:
            pass
        found = kept(places.far())
        assert found.items() <= values.items(), cut
        assert snapshot_id("s1", 1) in found, cut
        assert places.far().verify(deep=False).is_sound, cut
        assert not copy(places.near, places.far()).lost
        fresh = places.far()
        assert kept(fresh) == values, cut
        assert fresh.verify(deep=True).is_sound, cut
        shutil.rmtree(folder)


def test_a_disk_that_fails_anywhere_while_snapshots_are_fetched_keeps_what_it_had(tmp_path):
    """The near side fails at each of its operations; a second fetch completes."""
    (tmp_path / "template").mkdir()
    template = Places(tmp_path / "template")
    history(template)
    copy(template.near, template.far())
    values = kept(template.near)
    save(template.open("other"), {"mine": b"m"}, sequence=1, lineage="s9")
    mine = {snapshot_id("s9", 1): {"mine": b"m"}}
    for number in range(1000):
        shutil.copytree(template.folder, folder := tmp_path / "broken")
        places = Places(folder)
        disk = Failing(number, 5)
        is_cut = False
        try:
            copy(places.far(), places.open("other", disk=disk), places.far().manifests()[:1])
        except StoreError:
            is_cut = True
        found = everything(folder / "other")
        assert mine.items() <= found.items() <= (mine | values).items(), number
        newest = places.far().manifests()[:1]
        assert not copy(places.far(), places.open("other"), newest).lost
        assert everything(folder / "other")[newest[0].id] == values[newest[0].id], number
        assert places.open("other").verify(deep=True).is_sound, number
        shutil.rmtree(folder)
        if not disk.failed:
            break
    assert not is_cut
    assert number > 15


def test_a_power_cut_at_any_moment_of_a_fetch_leaves_a_sound_repository(tmp_path):
    """What was kept here is there, what was fetched is whole or not there, and a second fetch completes."""
    places = Places(tmp_path)
    value = {"x": random_bytes(3000), "y": b"y" * 50}
    fetched = save(places.near, value, sequence=1).manifest
    copy(places.near, places.far())
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "other"
    mine = {snapshot_id("s9", 1): {"mine": b"m"}}
    save(Repository.open(root, create=True), {"mine": b"m"}, sequence=1, lineage="s9")
    before = {"other": take(root)}
    disk = RecordingDisk()
    assert copy(places.far(), Repository.open(root, create=True, disk=disk)).ids == [fetched.id]
    tried = 0
    for done, label, tree in states(root.parent, before, disk.log):
        put(tree, where := tmp_path / "after")
        at = f"after operation {done}: {label}"
        found = everything(where / "other")
        assert found in (mine, mine | {fetched.id: value}), at
        if done == len(disk.log):
            assert fetched.id in found, at
        repository = Repository.open(where / "other", create=True)
        assert repository.verify(deep=True).is_sound, at
        if tried % 4 == 0:
            assert not copy(places.far(), repository).lost
            assert everything(where / "other") == mine | {fetched.id: value}, at
        shutil.rmtree(where)
        tried += 1
    assert tried > 30


def test_a_fetch_leaves_a_full_disk_its_floor(places):
    """Neither packs nor a manifest take what other files need."""
    save(places.near, VALUES, sequence=1)
    copy(places.near, places.far())
    narrow = places.open("other", floor_bytes=1 << 60)
    with pytest.raises(StoreFullError, match="keepstate leaves"):
        copy(places.far(), narrow)
    assert not narrow.manifests()
    assert files(places.folder / "other", ".pack") == files(places.folder / "other", ".tmp") == []


# Memory


def test_what_was_followed_is_forgotten_before_it_fills_the_memory(places, monkeypatch):
    """And followed again then, with the same answer."""
    for sequence in (1, 2, 3):
        save(places.near, {"x": random_bytes(2_000_000, seed=sequence)}, sequence=sequence)
    manifests = places.near.manifests()
    before = [places.near.missing_bytes([each], at=None) for each in manifests]
    monkeypatch.setattr(needs, "MOST_REMEMBERED", 3)
    found = places.open()
    for _ in range(2):
        assert [found.missing_bytes([each], at=None) for each in manifests] == before
    (remembered,) = found._needs.values()
    assert len(remembered._reach._records) == 1


# The bytes of a manifest


def test_what_only_a_newer_version_knows_of_a_snapshot_comes_along(places):
    """Fields and a signature that this version ignores are in the file at the far side as they are here."""
    save(places.near, VALUES, sequence=1)
    (path,) = files(places.folder / "near", ".manifest")
    raw = path.read_bytes()
    body = msgspec.msgpack.encode(msgspec.msgpack.decode(raw[64:]) | {"mood": "hopeful"})
    start = struct.pack("<8sIIQ8x", raw[:8], 0, 5, len(body))
    path.write_bytes(start + blake3(start + b"signe" + body).digest() + b"signe" + body)
    near = places.open()
    assert not copy(near, places.far()).lost
    (name,) = places.there(".manifest")
    assert places.backend.get(name) == path.read_bytes()
    down = places.open("other")
    copy(places.far(), down)
    assert files(places.folder / "other", ".manifest")[0].read_bytes() == path.read_bytes()
    assert kept(down) == kept(near)


def test_what_was_put_is_not_read_back(places):
    """Its checksum was acknowledged, and places without ranges would give the whole of it for its end."""
    for number in (1, 2):
        save(places.near, {"x": random_bytes(5 << 20, seed=number)}, sequence=number, lineage=f"s{number}")
    far = places.far()
    copy(places.near, far)
    asked = [operation for operation, name in far.faulty.calls if name.endswith(".pack")]
    assert set(asked) == {"put"}
    assert len(asked) >= 2


def test_what_cannot_be_read_now_is_not_called_lost(places):
    """A pack whose end is not given for a while: the snapshot is left for later, and then it is whole."""
    save(places.near, VALUES, sequence=1)
    copy(places.near, places.far())
    other = places.open("other")
    fails = Fault("get", error=UnavailableError("the network is away"), times=None, name_contains=".pack")
    copied = copy(places.far(fails), other)
    assert copied.ids == []
    assert copied.lost == {}
    assert "network is away" in copied.unread[snapshot_id("s1", 1)]
    assert other.manifests() == []
    copy(places.far(), other)
    assert kept(other) == {snapshot_id("s1", 1): VALUES}


def test_what_was_there_under_the_name_of_a_pack_is_not_taken_on_trust(tmp_path):
    """It is read, so that what is not what was sent is noticed, and the next copy uses another name."""

    class Occupied(Faulty):
        def put(self, name, data, *, replace=False):
            if name.endswith(".pack"):
                super().put(name, bytes(len(data)), replace=replace)
            super().put(name, data, replace=replace)

    places = Places(tmp_path, kind=Occupied)
    save(places.near, {"big": BIG}, sequence=1)
    (found,) = places.near.manifests()
    assert set(copy(places.near, places.far()).lost) == {found.id}
    places.kind = Faulty
    assert not places.far().holds_whole(found, beside=places.near)
    assert copy(places.near, places.far()).lost == {}
    assert kept(places.far()) == kept(places.near)
