"""What is known of packs takes little memory, and learning of one more costs one more."""

import os
import random
import tracemalloc
from collections import Counter, defaultdict

import pytest
from faults import Quick
from histories import MEMBER, Shape, make_history
from saves import everything, files, save

from keepstate._base.disk import SYSTEM_DISK
from keepstate._repository import Repository, index, load_compression, pack
from keepstate._repository.catalog import Catalog
from keepstate._repository.layout import member_folder
from keepstate._repository.places import MOST_RECENT, Places


class Looking(Quick):
    """Counts the files whose length was looked at, and those that were read."""

    def __init__(self):
        self.looked, self.opened, self.read_files = Counter(), Counter(), Counter()

    def lengths(self, path, *, known):
        def told(name):
            self.looked["known" if known(name) is not None else "new"] += 1
            return known(name)

        return super().lengths(path, known=told)

    def open(self, path):
        self.opened[path.name] += 1
        return super().open(path)

    def read(self, path, *, limit_bytes):
        self.read_files[path.suffix] += 1
        return super().read(path, limit_bytes=limit_bytes)


def footer(ids):
    entries = [pack.Entry(own, 32 + 65 * number, 1, 1, 0) for number, own in enumerate(ids)]
    return pack.encode_end("00" * 16, entries)[: 56 * len(entries)]


@pytest.mark.parametrize("sizes", [[3, 1, 0, 5], [MOST_RECENT, 1, 2], [1, MOST_RECENT, 30_000, 1]])
def test_every_number_of_an_id_is_found(sizes):
    """Whatever is added in which portions, an id has the numbers that it was given, in that order."""
    source = random.Random(1)
    twins = [source.randbytes(32) for _ in range(20)]
    alike = [twins[0][:8] + source.randbytes(24) for _ in range(3)]
    places, expected, first = Places(), defaultdict(list), 0
    for size in sizes:
        ids = [source.randbytes(32) for _ in range(max(0, size - 23))] + (twins + alike)[:size]
        source.shuffle(ids)
        places = places.plus([(first, footer(ids))])
        for number, own in enumerate(ids, first):
            expected[own[:8]].append(number)
        first += pack.MOST_ENTRIES
    assert all(places.find(own + bytes(24)) == tuple(numbers) for own, numbers in expected.items())
    assert places.find(source.randbytes(32)) == ()


def test_ids_that_only_begin_alike_are_told_apart(tmp_path):
    """Whoever makes ids that begin as others do hides nothing."""
    folder = member_folder(tmp_path, "ana")
    first, second = b"a" * 32, b"a" * 31 + b"b"
    for number, own in enumerate((first, second)):
        pack_id = f"{number:032x}"
        path = folder.pack(pack_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [pack.Entry(own, 32, 100, 100, 0)]
        path.write_bytes(pack.encode_start(pack_id) + bytes(164) + pack.encode_end(pack_id, entries))
    catalog = Catalog(folder, SYSTEM_DISK).refreshed()
    assert [[each.entry.id for each in catalog.locate(own)] for own in (first, second)] == [[first], [second]]
    assert not catalog.has(b"a" * 31 + b"c")


@pytest.fixture
def archive(tmp_path):
    """20,000 chunks of 1 MiB that take no space, in 625 packs that an index covers, and four small ones."""
    make_history(
        tmp_path / "store", Shape(snapshots=4, names=2, cells=2, sessions=1, chunks=20_000, recent=2)
    )
    return member_folder(tmp_path / "store", MEMBER)


def test_a_chunk_takes_less_than_a_hundred_bytes_of_memory(archive):
    """The catalog of a long history fits beside the user's values."""
    load_compression()
    tracemalloc.start()
    try:
        catalog = Catalog(archive, SYSTEM_DISK).refreshed()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(catalog.packs) > 600
    assert held < 100 * 20_000
    assert peak < 250 * 20_000


def test_a_look_at_known_packs_reads_nothing_and_looks_at_what_is_new(archive):
    """After the first look, one more asks for the length of new packs alone, and opens those."""
    disk = Looking()
    catalog = Catalog(archive, disk).refreshed()
    assert len(disk.opened) <= 3
    disk.__init__()
    assert catalog.refreshed() is catalog
    assert disk.looked == Counter(known=len(catalog.packs))
    path = archive.pack("ab" * 16)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pack.encode_start("ab" * 16) + pack.encode_end("ab" * 16, []))
    disk.__init__()
    assert len(catalog.refreshed().packs) == len(catalog.packs) + 1
    assert disk.looked["new"] == 1
    assert list(disk.opened) == [path.name]


def test_index_files_are_few_and_a_footer_is_written_seldom(tmp_path):
    """After 400 saves the index has been written nine times over at most, and is three files or four."""
    written = []

    class Measuring(Quick):
        def write_whole(self, path, pieces, *, temporary):
            pieces = list(pieces)
            if path.suffix == ".index":
                written.append(sum(map(len, pieces)))
            super().write_whole(path, pieces, temporary=temporary)

    repository = Repository.open(tmp_path / "store", create=True, disk=Measuring())
    for sequence in range(1, 401):
        save(repository, {"a": os.urandom(200)}, sequence=sequence)
    there = files(repository.path, ".index")
    assert len(there) <= 4
    whole = sum(path.stat().st_size for path in there)
    assert len(written) == 12
    assert sum(written) < 4 * whole
    fresh = Looking()
    catalog = Catalog(member_folder(repository.path, "ana"), fresh).refreshed()
    assert len(catalog.packs) == 400
    assert len(fresh.opened) < 33
    assert len(everything(repository.path)) == 400


def test_an_index_of_packs_that_are_gone_is_written_anew_by_prune(tmp_path):
    """What the index lists in vain is less than what it lists, once a prune has been."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Quick())
    for sequence in range(1, 41):
        save(repository, {"a": os.urandom(200)}, sequence=sequence)
    repository.prune(keep_last=2)
    (path,) = files(repository.path, ".index")
    there = {each.stem for each in files(repository.path, ".pack")}
    assert index.read_index(SYSTEM_DISK, path).keys() == there
