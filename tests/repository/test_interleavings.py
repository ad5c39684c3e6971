"""Prune and a save, operation by operation, in every order: nothing that was kept is ever lost."""

import os
import shutil

import pytest
from faults import ALL, Party, Quick, pairs
from saves import everything, files, manifest, put_values, save, snapshot_id

from keepstate._repository import ConflictError, Repository
from keepstate.errors import KeepstateError

OLD, KEPT, NEW = os.urandom(3000), os.urandom(3000), os.urandom(500)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two snapshots; what only the first needs is garbage once it is superseded."""
    path = tmp_path_factory.mktemp("template") / "store"
    repository = Repository.open(path, create=True)
    first = save(repository, {"old": OLD}, sequence=1)
    second = save(repository, {"both": KEPT}, sequence=2)
    return path, first.known | second.known


VALUES = {"old": OLD, "both": KEPT, "new": NEW}


def writer_of(path, known, sequence=1, lineage="s2"):
    # Opened and read before anything happens: what it knows may be out of date.
    repositories = []

    def call(disk):
        repository = repositories[0]
        repository._disk = repository._members._disk = disk
        with repository.writer("ana") as writer:
            names = put_values(writer, VALUES, known)
            return writer.commit(lambda n: manifest(names, sequence=sequence, lineage=lineage))

    repository = Repository.open(path, create=False)
    everything(path)
    repository.refresh()
    repositories.append(repository)
    return call


def pruner_of(path):
    return lambda disk: Repository.open(path, create=False, disk=disk).prune(keep_last=1)


def check(path, parties):
    for party in parties:
        assert party.done
        if party.error is not None and not isinstance(party.error, ConflictError):
            raise party.error
    expected = {snapshot_id("s1", 2): {"both": KEPT}}
    for party in parties:
        if party.result is not None and hasattr(party.result, "manifest"):
            expected[party.result.manifest.id] = VALUES
    for _ in range(2):
        report = Repository.open(path, create=False).verify(deep=True)
        assert report.is_sound, report
        found = everything(path)
        assert expected.items() <= found.items()
        assert found.keys() - expected.keys() <= {snapshot_id("s1", 1)}
        Repository.open(path, create=False, disk=Quick()).prune(keep_last=1)
    assert files(path / "members", ".tmp") == files(path, ".lease") == []
    assert len(files(path, ".pack")) <= 3


def run(template, tmp_path, steps, *, writer_first, known=True):
    path = tmp_path / "store"
    shutil.copytree(template[0], path)
    writer = Party(writer_of(path, template[1] if known else {}))
    pruner = Party(pruner_of(path))
    one, two = (writer, pruner) if writer_first else (pruner, writer)
    for party, count in zip((one, two, one, two), (*steps, ALL, ALL), strict=True):
        party.steps(count)
    ran_through = not one.disk.count > steps[0]
    check(path, [writer, pruner])
    shutil.rmtree(path)
    return ran_through, writer, pruner


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("writer_first", [True, False])
def test_one_runs_wholly_inside_the_other_at_every_operation(template, tmp_path, writer_first, known):
    """The inner one starts before any operation of the outer one, and runs to its end there."""
    outcomes = set()
    for count in range(200):
        ran_through, writer, pruner = run(
            template, tmp_path, (count, ALL), writer_first=writer_first, known=known
        )
        outcomes.add(type(writer.error))
        outcomes.add("waits" if pruner.result.waiting_packs else "deletes")
        if ran_through:
            break
    else:
        pytest.fail("the outer one never ended")
    assert {type(None), "deletes"} <= outcomes
    assert not writer_first or {ConflictError, "waits"} <= outcomes, "otherwise nothing was ever in danger"


@pytest.mark.parametrize("writer_first", [True, False])
def test_they_take_turns_at_sampled_operations(template, tmp_path, writer_first):
    """Each stops in the middle for the other to go on from its own middle."""
    for steps in pairs(11, 60, 90):
        run(template, tmp_path, steps, writer_first=writer_first)


@pytest.mark.torture
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("writer_first", [True, False])
def test_they_take_turns_at_all_operations(template, tmp_path, writer_first, known):
    """The same for every pair of operations."""
    for first in range(90):
        for second in range(90):
            run(template, tmp_path, (first, second), writer_first=writer_first, known=known)


@pytest.mark.parametrize("second", ["writer", "pruner"])
def test_two_of_a_kind_at_every_operation(template, tmp_path, second):
    """Two writers only add; of two prunes one gives way, or both do."""
    for count in range(0, 200, 3):
        path = tmp_path / "store"
        shutil.copytree(template[0], path)
        if second == "writer":
            calls = [writer_of(path, template[1]), writer_of(path, {}, lineage="s3")]
        else:
            calls = [pruner_of(path), pruner_of(path)]
        one, two = (Party(call) for call in calls)
        one.steps(count)
        two.steps(ALL)
        one.steps(ALL)
        check(path, [one, two])
        if second == "writer":
            assert len(everything(path)) == 4 - 1
        shutil.rmtree(path)
        if one.disk.count <= count:
            break


def test_a_save_that_lost_to_prune_succeeds_in_full(template, tmp_path):
    """After a conflict the save is made again without fingerprints, and comes back."""
    path = tmp_path / "store"
    shutil.copytree(template[0], path)
    repository = Repository.open(path, create=True)
    with repository.writer("ana") as writer:
        names = put_values(writer, VALUES, template[1])
        Repository.open(path, create=True).prune(keep_last=1)
        with pytest.raises(ConflictError) as raised:
            writer.commit(lambda n: manifest(names, sequence=1, lineage="s2"))
        assert raised.value.retryable
        assert isinstance(raised.value, KeepstateError)
    again = save(repository, VALUES, sequence=1, lineage="s2")
    assert everything(path)[again.manifest.id] == VALUES
