"""A save leaves the user's disk some free space, and says so when there is no more than that."""

import errno
import os
import subprocess

import pytest
from faults import Quick
from saves import everything, files, manifest, save, snapshot_id

from keepstate._base.disk import Space
from keepstate._repository import Repository
from keepstate._repository.floor import FLOOR_BYTES, Floor, room_of
from keepstate.errors import StoreError, StoreFullError

MEGA = 1_000_000


class Small(Quick):
    """A disk of so many bytes, of which *used* are taken by others."""

    def __init__(self, path, total, used=0):
        self.path, self.total, self.used = path, total, used
        self.lowest = total

    def space(self, path):
        own = sum(each.stat().st_size for each in self.path.rglob("*") if each.is_file())
        return Space(self.total - self.used - own, self.total)

    def write(self, descriptor, data):
        super().write(descriptor, data)
        self.lowest = min(self.lowest, self.space(self.path).free_bytes)


@pytest.fixture
def disk(tmp_path):
    return Small(tmp_path, 100 * MEGA)


def values(megabytes):
    return {"x": os.urandom(megabytes * MEGA)}


def test_a_save_stops_at_the_floor(tmp_path, disk):
    """A twentieth stays free at every write; nothing of the refused save is left; what was kept is whole."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    save(repository, values(40), sequence=1)
    before = files(repository.path, "")
    with pytest.raises(StoreFullError) as raised:
        save(repository, values(70), sequence=2)
    assert disk.lowest >= 5 * MEGA
    assert disk.lowest < 8 * MEGA, "it stops at the floor, not before"
    assert files(repository.path, "") == before
    assert repository.verify(deep=True).is_sound
    said = str(raised.value)
    assert "5.0 MB of it free for other files" in said
    assert str(repository.path) in said
    save(repository, values(10), sequence=2)


def test_the_refusal_says_how_much_is_free(tmp_path, disk):
    """The sentence has both numbers and what to do."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    disk.used = 94 * MEGA
    with pytest.raises(StoreFullError, match=r"has 6\.\d MB free, .* 5\.0 MB .*: free some space, run"):
        save(repository, values(2), sequence=1)


def test_a_small_save_goes_on_near_the_floor(tmp_path, disk):
    """What fits above the floor is kept, however little that is."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    disk.used = 94 * MEGA + 900_000
    commit = save(repository, {"x": b"small"}, sequence=1)
    assert everything(repository.path).keys() == {commit.manifest.id}


def test_a_manifest_alone_stops_at_the_floor_as_well(tmp_path, disk):
    """Also where nothing but a manifest is to be written, and then no pack is published either."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    first = save(repository, {"x": b"x" * 500}, sequence=1)
    disk.used = 95 * MEGA
    with pytest.raises(StoreFullError):
        save(repository, {"x": b"x" * 500}, sequence=2, known=first.known)
    with repository.writer("ana") as writer:
        disk.used = 0
        writer.put_bytes(b"y" * 500)
        disk.used = 95 * MEGA
        with pytest.raises(StoreFullError):
            writer.commit(lambda n: manifest({}, sequence=2))
    assert [path.stem for path in files(repository.path, ".pack")] == first.packs
    assert files(repository.path, ".tmp") == files(repository.path, ".lease") == []


def test_the_floor_can_be_given(tmp_path, disk):
    """A store of one's own may use all of its disk, or less than usual."""
    disk.used = 99 * MEGA
    path = tmp_path / "store"
    save(Repository.open(path, create=True, disk=disk, floor_bytes=0), {"x": b"x" * 500}, sequence=1)
    disk.used = 0
    careful = Repository.open(path, create=True, disk=disk, floor_bytes=99 * MEGA)
    with pytest.raises(StoreFullError):
        save(careful, values(2), sequence=2)
    assert careful.room("ana").floor_bytes == 99 * MEGA


@pytest.mark.parametrize(("total", "floor"), [(100 * MEGA, 5 * MEGA), (10**12, FLOOR_BYTES), (1, 0)])
def test_the_usual_floor_is_a_twentieth_and_at_most_a_gibibyte(tmp_path, total, floor):
    """Small disks are not refused as a whole, large ones are not held back."""
    assert room_of(Small(tmp_path, total), tmp_path).floor_bytes == floor


def test_the_disk_is_asked_again_before_a_save_is_refused(tmp_path, disk):
    """Space that others have freed since the last look counts."""
    floor = Floor(disk, tmp_path)
    disk.used = 94 * MEGA
    floor.look()
    with pytest.raises(StoreFullError):
        floor.take(2 * MEGA)
    disk.used = 0
    floor.take(2 * MEGA)


class Silent(Quick):
    def space(self, path):
        return None


def test_a_disk_that_does_not_say_is_written_to(tmp_path):
    """Some mounted folders do not know; there the error of the write itself is what tells."""
    repository = Repository.open(tmp_path / "store", create=True, disk=Silent())
    save(repository, {"x": b"x"}, sequence=1)
    assert repository.room("ana") is None
    assert repository.prune().removed == []


def test_a_prune_below_the_floor_frees_space(tmp_path, disk):
    """It deletes what is dead, and writes packs anew while a tenth of the floor stays free."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    first = save(repository, values(20) | {"small": os.urandom(MEGA)}, sequence=1)
    save(repository, values(10), sequence=2)
    save(repository, {"small": everything(repository.path)[first.manifest.id]["small"]}, sequence=3)
    disk.used = 100 * MEGA - 31 * MEGA - 3 * MEGA
    assert disk.space(tmp_path).free_bytes < 4 * MEGA
    disk.lowest = MEGA * 100
    report = repository.prune(keep_last=1)
    assert (report.repacked_packs, report.remarks) == (1, [])
    assert disk.lowest > MEGA // 2
    assert disk.space(tmp_path).free_bytes > 30 * MEGA
    assert repository.verify(deep=True).is_sound


def test_a_prune_does_not_fill_the_disk(tmp_path, disk):
    """What is mostly dead and does not fit twice waits; that is said, and the rest is done."""
    repository = Repository.open(tmp_path / "store", create=True, disk=disk)
    small = {"small": os.urandom(9 * MEGA)}
    first = save(repository, values(20) | small, sequence=1)
    save(repository, small, sequence=2, known=first.known)
    disk.used = 100 * MEGA - 29 * MEGA - 6 * MEGA
    before = disk.space(tmp_path).free_bytes
    report = repository.prune(keep_last=1)
    assert report.repacked_packs == 0
    assert "no space" in report.remarks[0]
    assert disk.space(tmp_path).free_bytes >= before
    assert everything(repository.path).keys() == {snapshot_id("s1", 2)}


@pytest.fixture
def mounted(tmp_path):
    """A real file system of 20 MiB, where mounting is allowed."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    try:
        mounting = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True, timeout=30
        )
    except OSError:
        pytest.skip("there is no mount command here")
    if mounting.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def free_bytes(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_a_real_small_disk_is_never_filled(mounted):
    """Saves until one is refused leave the floor; prune makes room, and the next save succeeds."""
    repository = Repository.open(mounted / "store", create=True)

    def save_on():
        for sequence in range(1, 30):
            save(repository, values(3), sequence=sequence)

    with pytest.raises(StoreFullError):
        save_on()
    assert free_bytes(mounted) >= 1 << 20
    assert len(everything(repository.path)) >= 4
    repository.prune(keep_last=1)
    save(repository, values(3), sequence=30)
    assert repository.verify(deep=True).is_sound


def test_a_real_full_disk_is_told_and_pruned(mounted):
    """Where others have taken the last byte, a save says so in a sentence, and prune still frees space."""
    repository = Repository.open(mounted / "store", create=True, floor_bytes=0)
    for sequence in (1, 2, 3):
        save(repository, values(2), sequence=sequence)
    (mounted / "others").write_bytes(bytes(free_bytes(mounted)))
    with pytest.raises(StoreFullError, match="space"):
        save(repository, values(2), sequence=4)
    (mounted / "others").unlink()
    repository.prune(keep_last=1)
    assert repository.verify(deep=True).is_sound


def test_a_store_that_can_only_be_read_says_what_to_do(mounted):
    """Saving and pruning on a disk that was mounted for reading is a StoreError with advice."""
    repository = Repository.open(mounted / "store", create=True)
    save(repository, {"x": b"x" * 500}, sequence=1)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True, timeout=30)
    for call in (lambda: save(repository, {"x": b"y"}, sequence=2), lambda: repository.prune(keep_last=1)):
        with pytest.raises(StoreError, match="can only be read: choose another store") as raised:
            call()
        assert raised.value.errno == errno.EROFS
    assert repository.prune(dry_run=True).kept
    assert repository.verify(deep=True).is_sound


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space or choose another store"),
        (errno.EDQUOT, "free some space or choose another store"),
        (errno.EROFS, "mount it for writing"),
        (errno.EACCES, "change its permissions"),
        (errno.ENOENT, "it is gone"),
        (errno.ENOTCONN, "mount it again"),
        (errno.EIO, "does not answer as it should"),
    ],
)
def test_every_failure_of_the_disk_says_what_to_do(tmp_path, code, advice):
    """Whatever the system's word for it is."""

    class Broken(Quick):
        def create(self, path):
            raise OSError(code, os.strerror(code))

    Repository.open(tmp_path / "store", create=True)
    with pytest.raises(StoreError, match=advice) as raised:
        save(Repository.open(tmp_path / "store", create=True, disk=Broken()), {"x": b"x"}, sequence=1)
    assert raised.value.errno == code


def test_a_folder_that_goes_away_during_a_save_is_told(tmp_path):
    """The store is deleted between two writes: a StoreError, and the next save begins anew."""
    import shutil

    repository = Repository.open(tmp_path / "store", create=True)
    with repository.writer("ana") as writer:
        writer.put_bytes(os.urandom(500_000))
        shutil.rmtree(repository.path)
        with pytest.raises(StoreError, match=r"it is gone|no longer|gone"):
            writer.commit(lambda n: manifest({}, sequence=1))
    commit = save(repository, {"x": b"x"}, sequence=2)
    assert everything(repository.path).keys() == {commit.manifest.id}
