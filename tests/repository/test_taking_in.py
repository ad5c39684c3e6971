"""What is read while it is on its way here waits for its own chunks, and for no others."""

import shutil

import pytest
from far_places import NEVER, copy, damage, random_bytes
from saves import files, save, values_of

from keepstate._repository import Repository
from keepstate.errors import IntegrityError, UnavailableError

FIRST, SECOND = random_bytes(20 << 20, seed=1), random_bytes(20 << 20, seed=2)
"""Long enough to be read by several threads, and each in packs of its own."""


class Packs:
    """The packs of a repository, of which one more comes with each wait."""

    def __init__(self, source, target, lengths):
        self._source, self._target = source, target
        self.waiting = files(source, ".pack")
        self.lengths = lengths
        self.failure = None

    def more(self):
        if not self.waiting:
            if self.failure is not None:
                raise self.failure
            return False
        path = self.waiting.pop(0)
        placed = self._target / path.relative_to(self._source)
        placed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, placed)
        return True


@pytest.fixture
def coming(tmp_path):
    """An empty repository, the manifest of a snapshot of another one, and its packs on their way."""
    source = Repository.open(tmp_path / "source", create=True)
    target = Repository.open(tmp_path / "target", create=True)
    names = save(source, {"first": FIRST}, sequence=1).manifest.names
    found = save(source, {"second": SECOND}, sequence=2, carried=names).manifest
    lengths = {}
    source.replicate_to(
        Repository.open(tmp_path / "copy", create=True),
        [found],
        stop=NEVER,
        on_progress=lambda *_: None,
        on_plan=lengths.update,
    )
    return target, found, Packs(tmp_path / "source", tmp_path / "target", lengths)


def test_what_is_read_waits_for_its_chunks(coming):
    """It is read as if all had been there."""
    target, found, packs = coming
    assert len(packs.waiting) >= 2
    with target.taking_in(packs):
        assert values_of(target, found) == {"first": FIRST, "second": SECOND}


def test_a_name_does_not_wait_for_the_packs_of_another(coming):
    """Once its own are here, it is read."""
    target, found, packs = coming
    last = min(packs.waiting, key=lambda path: path.stat().st_mtime_ns)
    packs.waiting.remove(last)
    packs.waiting.append(last)
    with target.taking_in(packs):
        assert values_of(target, found, only="second") == {"second": SECOND}
        assert packs.waiting[-1] == last


def test_what_does_not_come_is_missing(coming):
    """As soon as nothing more comes."""
    target, found, packs = coming
    packs.waiting = packs.waiting[:1]
    with target.taking_in(packs), pytest.raises(IntegrityError):
        values_of(target, found)


def test_what_fails_to_come_fails_with_the_reason(coming):
    """It is not called damaged."""
    target, found, packs = coming
    packs.waiting, packs.failure = packs.waiting[:1], UnavailableError("the network is gone")
    with target.taking_in(packs), pytest.raises(UnavailableError, match="network is gone"):
        values_of(target, found)


def test_nothing_is_waited_for_afterwards(coming):
    """What is not here then is missing at once."""
    target, found, packs = coming
    with target.taking_in(packs):
        pass
    waiting = list(packs.waiting)
    with pytest.raises(IntegrityError):
        values_of(target, found)
    assert packs.waiting == waiting


def test_what_restoring_asks_for_first_comes_first(tmp_path):
    """The record of the first name before its bytes, and both before those of the next name."""
    source = Repository.open(tmp_path / "source", create=True)
    found = save(source, {"first": FIRST, "second": SECOND}, sequence=1).manifest
    planned = []
    source.replicate_to(
        Repository.open(tmp_path / "copy", create=True),
        [found],
        stop=NEVER,
        on_progress=lambda *_: None,
        on_plan=planned.extend,
    )
    places = [planned.index(found.names[name].group) for name in ("first", "second")]
    assert places == sorted(places)


def test_a_damaged_chunk_of_a_large_part_is_read_from_another_copy(tmp_path):
    """The threads that read leave it to the one that looks for copies."""
    store = Repository.open(tmp_path / "store", create=True)
    save(store, {"first": FIRST}, sequence=1)
    (path,) = (path for path in files(tmp_path / "store", ".pack") if path.stat().st_size > 8 << 20)
    damage(path, path.read_bytes().index(FIRST[5 << 20 : (5 << 20) + 64]))
    with pytest.raises(IntegrityError):
        values_of(store, store.manifests()[0])
    other = Repository.open(tmp_path / "other", create=True)
    save(other, {"first": FIRST}, sequence=1, lineage="s2")
    copy(other, store)
    for found in Repository.open(tmp_path / "store", create=False).manifests():
        assert values_of(store, found) == {"first": FIRST}
