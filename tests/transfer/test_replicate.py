"""The transfer sends what counts, knows what is there, and calls nothing kept that is not."""

import dataclasses
import random
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "repository"))

from far_places import Late, Places, damage, kept, random_bytes
from saves import save, snapshot_id

from keepstate._base.clock import ManualClock
from keepstate._base.retry import Backoff
from keepstate._base.word import Word
from keepstate._transfer.far import far_at
from keepstate._transfer.mirror import Mirror
from keepstate._transfer.replicate import Replicator, Settings
from keepstate.errors import (
    CredentialsError,
    IntegrityError,
    NotAStoreError,
    StoreError,
    UnavailableError,
)
from keepstate.testing import Fault, Faulty

IMPATIENT = Backoff(first_seconds=0.001, longest_seconds=0.001, total_seconds=0.05)
NOTEBOOK = ("p", "ana", "n")
AWAY = UnavailableError("away")


class Machine:
    """One machine with its repository, and what it transfers to a place that it may share with others."""

    def __init__(self, folder, backend, *, kind=Faulty, settings=None, **more):
        folder.mkdir(exist_ok=True)
        self.places = Places(folder)
        self.near = self.places.near
        self.place = kind(backend)
        self.mirror = Mirror.of(folder / "near")
        self.work = Replicator(
            self.near,
            far_at(self.place, stop=Word(), backoff=IMPATIENT, **more),
            mirror=self.mirror,
            settings=settings or Settings(notebooks=[NOTEBOOK]),
            **more,
        )

    def run(self, stop=None, said=None):
        return self.work.run(
            urgent=False,
            stop=stop or threading.Event(),
            on_progress=(lambda _progress: None) if said is None else said.append,
        )


@pytest.fixture
def places(tmp_path):
    """Whose far side the machines share."""
    return Places(tmp_path)


@pytest.fixture
def machine(places, tmp_path):
    return Machine(tmp_path / "one", places.backend)


def own(sequence, lineage="s1"):
    return snapshot_id(lineage, sequence)


def mirrored(machine, notebook=NOTEBOOK):
    return sorted(each.id for each in machine.mirror.read(notebook))


# What is sent


def test_what_is_pending_is_told_and_nothing_once_it_is_there(machine):
    """Ids and bytes, of those that count and no others."""
    for sequence in (1, 2, 3):
        save(machine.near, {"x": random_bytes(50_000, seed=sequence)}, sequence=sequence)
    pending = machine.work.pending()
    assert pending.ids == (own(3),)
    assert 50_000 < pending.nbytes < 52_000
    done = machine.run()
    assert (done.ids, machine.work.pending().ids, machine.work.pending().nbytes) == ((own(3),), (), 0)
    assert abs(done.sent_bytes - pending.nbytes) < 3000


def test_a_round_tells_what_it_did(machine, places):
    """Bytes, requests and the time, and how far it was while it went on."""
    save(machine.near, {"x": random_bytes(5 << 20)}, sequence=1)
    said = []
    done = machine.run(said=said)
    objects = [item for item in places.backend.list() if item.name.endswith((".pack", ".manifest"))]
    assert done.sent_bytes == sum(item.nbytes for item in objects)
    assert done.requests == len(machine.place.calls)
    assert said[-1].done_bytes == said[-1].all_bytes > 5 << 20
    assert 0 < said[-1].requests <= done.requests


def test_what_is_sent_is_what_comes_back_elsewhere(machine, places, tmp_path):
    """Another machine that knows nothing finds it, whole."""
    values = {"x": random_bytes(5 << 20), "y": b"y"}
    save(machine.near, values, sequence=1)
    machine.run()
    assert kept(places.far()) == {own(1): values}
    other = Machine(tmp_path / "two", places.backend)
    other.run()
    assert mirrored(other) == [own(1)]
    assert other.work.levels() == {own(1): "verified"}


def test_a_thousand_small_snapshots_are_a_handful_of_requests(machine):
    """As many as one."""
    for sequence in range(1, 301):
        save(machine.near, {"x": b"%d" % sequence * 20}, sequence=sequence)
    done = machine.run()
    assert done.ids == (own(300),)
    assert done.requests < 25
    assert done.sent_bytes < 5000


def test_another_sessions_snapshots_are_seen_and_stay(places, tmp_path):
    """Two machines write to one notebook; each sees both histories, and neither hides the other."""
    one, two = (Machine(tmp_path / name, places.backend) for name in ("one", "two"))
    save(one.near, {"x": b"1"}, sequence=1, lineage="s1")
    save(two.near, {"x": b"2"}, sequence=1, lineage="s2")
    one.run()
    two.run()
    one.run()
    both = sorted([own(1, "s1"), own(1, "s2")])
    assert mirrored(one) == mirrored(two) == both
    assert sorted(one.work.levels()) == sorted(two.work.levels()) == both
    assert sorted(kept(places.far())) == both


def test_members_and_notebooks_of_one_machine_are_all_sent(machine, places):
    """Each below its own name, and each is mirrored where it belongs."""
    save(machine.near, {"x": b"1"}, sequence=1, member="ana")
    save(machine.near, {"x": b"2"}, sequence=1, member="bob", notebook="m", lineage="s2")
    assert sorted(machine.work.pending().ids) == sorted([own(1), own(1, "s2")])
    machine.run()
    assert sorted(places.far().members()) == ["ana", "bob"]
    assert mirrored(machine) == [own(1)]
    assert mirrored(machine, ("p", "bob", "m")) == [own(1, "s2")]


def test_a_round_that_is_told_to_stop_asks_nothing_more(machine, places):
    """What is in hand is finished, and what was written is found by the next one."""
    save(machine.near, {"x": random_bytes(5000)}, sequence=1)
    stop = threading.Event()

    class Stopping(Faulty):
        def put(self, name, data, *, replace=False):
            super().put(name, data, replace=replace)
            if name.endswith(".pack"):
                stop.set()

    stopped = Machine(machine.places.folder, places.backend, kind=Stopping)
    assert stopped.run(stop).ids == ()
    after = [what for what, name in stopped.place.calls if what != "delete"]
    assert stopped.place.calls[-2][1].endswith(".pack"), "only the lease is dropped"
    assert after[-1] == "put"
    assert machine.run().sent_bytes < 5000


# What is said of it


def test_before_the_first_look_nothing_is_said_to_be_there(machine):
    """It is not known, also if a process before this one has sent it."""
    save(machine.near, {"x": b"1"}, sequence=1)
    assert machine.work.levels() is None
    machine.run()
    again = Machine(machine.places.folder, machine.place)
    assert again.work.levels() is None
    again.run()
    assert again.work.levels() == {own(1): "verified"}


def test_a_place_that_acknowledges_nothing_never_verifies(machine, places):
    """What it has taken is queued."""

    class Mute(Faulty):
        @property
        def properties(self):
            return dataclasses.replace(super().properties, proof="none")

    save(machine.near, {"x": b"1"}, sequence=1)
    mute = Machine(machine.places.folder, places.backend, kind=Mute)
    mute.run()
    assert mute.work.levels() == {own(1): "queued"}


def test_a_snapshot_whose_pack_is_gone_is_not_verified_any_longer(machine, places):
    """It is known after the next look; what does not need that pack stays verified."""
    for sequence in (1, 2):
        save(machine.near, {f"x{sequence}": random_bytes(9000, seed=sequence)}, sequence=sequence)
        machine.run()
    assert set(machine.work.levels()) == {own(1), own(2)}
    lost = next(n for n in places.there(".pack") if random_bytes(64, seed=1) in bytes(places.backend.get(n)))
    places.backend.delete(lost)
    machine.run()
    assert set(machine.work.levels()) == {own(2)}


def test_a_snapshot_of_another_machine_is_gone_through_once_a_pack_has_gone(places, tmp_path):
    """Its records are read from the far side then."""
    one, two = (Machine(tmp_path / name, places.backend) for name in ("one", "two"))
    save(one.near, {"x": random_bytes(9000)}, sequence=1)
    one.run()
    two.run()
    assert two.work.levels() == {own(1): "verified"}
    places.backend.delete(places.there(".pack")[0])
    for _ in range(2):
        two.run()
        assert two.work.levels() == {}


def test_what_a_prune_has_written_anew_stays_verified(machine, places):
    """A pack has gone, and nothing that is needed with it."""
    same = random_bytes(9000)
    known = save(machine.near, {"x": same, "y": random_bytes(90_000, seed=1)}, sequence=1).known
    machine.run()
    save(machine.near, {"x": same, "z": b"z"}, sequence=2, known=known)
    machine.run()
    report = places.far().prune(keep_last=1)
    assert report.repacked_packs
    machine.run()
    assert machine.work.levels() == {own(2): "verified"}
    assert mirrored(machine) == [own(2)]


def test_a_snapshot_with_a_damaged_chunk_is_told_and_the_others_are_verified(machine):
    """The error names it; it is not sent for ever, and never called whole."""
    save(machine.near, {"x": random_bytes(9000, seed=1)}, sequence=1, note="n")
    save(machine.near, {"y": random_bytes(9000, seed=2)}, sequence=2)
    path = next(
        p
        for p in (machine.places.folder / "near").rglob("*.pack")
        if random_bytes(64, seed=1) in p.read_bytes()
    )
    damage(path, path.read_bytes().index(random_bytes(64, seed=1)))
    fresh = Machine(machine.places.folder, machine.place)
    with pytest.raises(IntegrityError, match=own(1)[:10]):
        fresh.run()
    assert fresh.work.levels() == {own(2): "verified"}
    assert mirrored(fresh) == sorted([own(1), own(2)])
    assert fresh.work.pending().ids == ()
    fresh.run()
    assert fresh.work.levels() == {own(2): "verified"}


def test_a_damaged_manifest_there_keeps_the_newer_ones_neither_back_nor_unproven(machine, places):
    """It is told while that snapshot is wanted; once a newer one is there, nothing is in the way."""
    save(machine.near, {"x": b"1"}, sequence=1, note="n")
    machine.run()
    (path,) = (places.folder / "far").rglob("*.manifest")
    damage(path, 80)
    save(machine.near, {"x": b"2"}, sequence=2)
    said = []
    for _ in range(2):
        again = Machine(machine.places.folder, places.backend)
        try:
            again.run()
        except IntegrityError as error:
            said.append(str(error))
        assert again.work.levels() == {own(2): "verified"}
    assert len(said) == 1
    assert "move it away" in said[0]


def test_late_listings_make_nothing_less_queued(places, tmp_path):
    """What was just put is known to be there, now and at the next round, before any listing shows it."""
    late = Machine(tmp_path / "one", places.backend, kind=Late)
    late.place.add(Fault("put", hides_from_lists=6, times=None, name_contains=".pack"))
    for sequence in (1, 2, 3):
        save(late.near, {"x": random_bytes(900, seed=sequence)}, sequence=sequence)
        late.run()
        assert own(sequence) in late.work.levels()
        assert set(late.work.levels()) == {own(n) for n in range(1, sequence + 1)}


# When the place fails


@pytest.mark.parametrize(
    ("error", "kind"), [(AWAY, UnavailableError), (CredentialsError("no longer"), CredentialsError)]
)
@pytest.mark.parametrize("operation", ["get", "list", "put", "stat"])
def test_a_failing_place_is_told_by_its_own_error(machine, operation, error, kind):
    """What to do about it depends on that; what was known before stays known."""
    save(machine.near, {"x": b"1"}, sequence=1)
    machine.run()
    save(machine.near, {"x": b"2"}, sequence=2)
    other = Machine(machine.places.folder.with_name("two"), machine.place)
    save(other.near, {"x": b"3"}, sequence=1, lineage="s3")
    other.run()
    machine.place.add(Fault(operation, error, times=None))
    with pytest.raises(kind, match=str(error)):
        machine.run()
    assert machine.work.levels() == {own(1): "verified"}
    assert own(1) in mirrored(machine)


def test_what_cannot_be_read_now_is_not_forgotten(places, tmp_path):
    """One manifest of many: the look fails, and what it would have shown is not taken for gone."""
    one, two = (Machine(tmp_path / name, places.backend) for name in ("one", "two"))
    for lineage in ("s1", "s2", "s3"):
        save(one.near, {"x": lineage.encode()}, sequence=1, lineage=lineage)
    one.run()
    two.place.add(Fault("get", AWAY, times=None, name_contains="/s2-"))
    with pytest.raises(UnavailableError, match="away"):
        two.run()
    assert mirrored(two) == []


def test_a_store_that_was_emptied_is_begun_anew(machine, places):
    """By the work that is made anew after the error that tells of it."""
    save(machine.near, {"x": b"1"}, sequence=1)
    machine.run()
    for item in list(places.backend.list()):
        places.backend.delete(item.name)
    with pytest.raises(StoreError, match="gone"):
        machine.run()
    anew = Machine(machine.places.folder, places.backend)
    assert anew.run().ids == (own(1),)
    assert anew.work.levels() == {own(1): "verified"}


def test_a_folder_that_holds_something_else_is_left_alone(machine, places):
    """And the error says what."""
    places.backend.put("thesis.txt", b"mine")
    save(machine.near, {"x": b"1"}, sequence=1)
    with pytest.raises(NotAStoreError, match=r"thesis\.txt"):
        machine.run()
    assert [item.name for item in places.backend.list()] == ["thesis.txt"]


@pytest.mark.parametrize("seed", range(4))
def test_rounds_with_failures_all_the_time_get_there(machine, places, seed):
    """One call in ten fails, half of them after their effect; patience and a second round do the rest."""
    machine.place._rate, machine.place._random = 0.1, random.Random(seed)
    values = {}
    for sequence in (1, 2, 3):
        values = {"x": random_bytes(5 << 20, seed=1), "y": random_bytes(900, seed=sequence)}
        save(machine.near, values, sequence=sequence)
        for _ in range(20):
            try:
                machine.run()
            except StoreError:
                continue
            if own(sequence) in machine.work.levels():
                break
        assert set(kept(places.far())) >= set(machine.work.levels()) >= {own(sequence)}
    assert kept(places.far())[own(3)] == values
    assert places.far().verify(deep=True).is_sound


# Upkeep


def test_upkeep_keeps_what_the_settings_say_of_this_notebook_alone(places, tmp_path):
    """Another notebook of the same member has its own session with its own wishes."""
    settings = Settings(notebooks=[NOTEBOOK], keep_last=1)
    machine = Machine(tmp_path / "one", places.backend, settings=settings)
    for sequence in (1, 2, 3):
        for lineage, notebook in (("s1", "n"), ("s2", "m")):
            save(machine.near, {"x": b"%d" % sequence}, sequence=sequence, lineage=lineage, notebook=notebook)
        machine.run()
    machine.work.upkeep()
    there = set(kept(places.far()))
    assert there == {own(3), *(own(n, "s2") for n in (1, 2, 3))}
    assert mirrored(machine) == [own(3)]
    assert set(machine.work.levels()) == there


def test_upkeep_keeps_to_a_budget(places, tmp_path):
    """The oldest go; the last of a session that goes on stays."""
    settings = Settings(notebooks=[NOTEBOOK], keep_last=3, budget_bytes=120_000)
    machine = Machine(tmp_path / "one", places.backend, settings=settings)
    for sequence in (1, 2, 3):
        save(machine.near, {"x": random_bytes(50_000, seed=sequence)}, sequence=sequence)
        machine.run()
    machine.work.upkeep()
    assert set(kept(places.far())) == {own(2), own(3)}
    assert places.far_bytes() < 120_000


def test_upkeep_where_listings_are_late_waits_longer_than_any_lease(places, tmp_path):
    """What it condemns stays for two hours, in which everybody sees the round."""
    clock = ManualClock()
    late = Machine(
        tmp_path / "one",
        places.backend,
        kind=Late,
        settings=Settings(notebooks=[NOTEBOOK], keep_last=1),
        clock=clock,
    )
    for sequence in (1, 2):
        save(late.near, {f"x{sequence}": random_bytes(900, seed=sequence)}, sequence=sequence)
        late.run()
    late.work.upkeep()
    clock.advance(7200)
    late.work.upkeep()
    assert len(places.there(".pack")) == 2
    clock.advance(120)
    late.work.upkeep()
    assert len(places.there(".pack")) == 1
    assert set(late.work.levels()) == {own(2)}


def test_upkeep_beside_another_prune_is_left_to_that(machine, places):
    """It is no error, and what is there is known afterwards."""
    from keepstate._repository.layout import member_folder
    from keepstate._repository.lease import take_lease

    save(machine.near, {"x": b"1"}, sequence=1)
    machine.run()
    far = places.far()
    take_lease(far._disk, member_folder(far.path, "ana"), purpose="prune", clock=places.clock)
    machine.work.upkeep()
    assert machine.work.levels() == {own(1): "verified"}


def test_what_is_not_whole_there_any_more_is_sent_again(machine, places):
    """As long as it is whole here, and in the round that finds out."""
    save(machine.near, {"x": random_bytes(5 << 20)}, sequence=1)
    machine.run()
    for name in places.there(".pack"):
        places.backend.delete(name)
    machine.run()
    assert machine.work.levels() == {own(1): "verified"}
    assert kept(places.far()) == kept(machine.near)
    assert machine.work.pending().ids == ()


def test_what_cannot_be_read_there_now_is_not_sent_again(places, tmp_path):
    """It is not said to be whole either."""
    first = Machine(tmp_path / "one", places.backend)
    save(first.near, {"x": random_bytes(5 << 20)}, sequence=1)
    first.run()
    second = Machine(tmp_path / "one", places.backend)
    second.place.add(Fault("get", error=AWAY, times=None, name_contains=".pack"))
    second.run()
    assert second.work.levels() == {}
    assert second.work.pending().ids == ()
