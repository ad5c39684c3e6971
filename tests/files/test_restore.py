"""What is put back into a folder, and what is left as it is."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from folder_saves import FolderSaver, Later, tree
from powercut import Operation, RecordingDisk, put, states, take

from keepstate._files import FolderGroup, read_folder, restore_folder
from keepstate._files import restore as restore_module
from keepstate._files.placing import FolderDisk
from keepstate._files.table import PART_BYTES, Row, Table
from keepstate._model.manifest import Entry, GroupRecord, MemberRecord, PartRecord
from keepstate.errors import CodecError, IntegrityError

MiB = 1 << 20


@pytest.fixture
def kept(saver, outputs):
    """A snapshot of a folder with files of all sorts."""
    (outputs / "deep/er").mkdir(parents=True)
    (outputs / "deep/er/large").write_bytes(os.urandom(PART_BYTES + 3))
    (outputs / "run.sh").write_bytes(b"#!/bin/sh\n")
    (outputs / "run.sh").chmod(0o750)
    (outputs / "empty").touch()
    saver.save()
    return saver


def entry_of(saver):
    return saver.last.names[saver.name]


def restore(saver, into, **more):
    return restore_folder(saver.repository, entry_of(saver), into, member="me", **more)


def test_everything_comes_back(kept, outputs, tmp_path):
    """Bytes, folders, permissions and dates; nothing else is left there."""
    report = restore(kept, tmp_path / "new/place")
    assert tree(tmp_path / "new/place") == tree(outputs)
    assert report.restored == ("deep/er/large", "empty", "run.sh")
    assert (report.failed, report.left_alone) == ({}, {})
    for path in report.restored:
        was, now = os.stat(outputs / path), os.stat(tmp_path / "new/place" / path)
        assert (was.st_mode, was.st_mtime_ns) == (now.st_mode, now.st_mtime_ns)


def test_what_came_back_is_not_read_again(kept, outputs, monkeypatch):
    """The first save after a restoration opens no file and is equal to the last one."""
    for path in tree(outputs):
        (outputs / path).unlink()
    report = restore(kept, outputs)
    next_one = FolderSaver(kept.repository, outputs, memory=report.memory)
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **k: (opened.append(path), real(path, *a, **k))[1])
    group = FolderGroup(next_one.folder, report.memory, clock=Later())
    next_one.last = kept.last
    next_one.sequence = 1
    next_one.values = {"x": 2}
    assert next_one.save(beside=[group]).commit.manifest.names[kept.name] == entry_of(kept)
    assert opened
    assert not {"large", "empty", "run.sh"} & set(opened)


def test_only_missing_files_are_written(kept, outputs):
    """A file that is there stays, older, newer or equal; each is told apart."""
    (outputs / "empty").unlink()
    (outputs / "run.sh").write_bytes(b"mine")
    report = restore(kept, outputs)
    assert report.restored == ("empty",)
    assert report.left_alone == {"deep/er/large": "it is there", "run.sh": "another file is there"}
    assert (outputs / "run.sh").read_bytes() == b"mine"


def test_overwriting_replaces_older_files_and_no_newer_one(kept, outputs):
    """A file that was changed since is never the one to lose."""
    (outputs / "run.sh").write_bytes(b"old")
    os.utime(outputs / "run.sh", (1, 1))
    (outputs / "empty").write_bytes(b"new")
    report = restore(kept, outputs, overwrite=True)
    assert report.restored == ("run.sh",)
    assert (outputs / "run.sh").read_bytes() == b"#!/bin/sh\n"
    assert report.left_alone["empty"] == "a newer file is there"
    assert (outputs / "empty").read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_left_alone(kept, tmp_path, monkeypatch, links):
    """The code of a cell may write the very file that is being restored."""
    into = tmp_path / "new"

    class Meanwhile(FolderDisk):
        def sync(self, descriptor):
            super().sync(descriptor)
            if not (into / "run.sh").exists() and (into / "empty").exists():
                (into / "run.sh").write_bytes(b"mine")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    report = restore(kept, into, disk=Meanwhile())
    assert (into / "run.sh").read_bytes() == b"mine"
    assert report.left_alone == {"run.sh": "another file is there"}
    assert sorted(os.listdir(into)) == ["deep", "empty", "run.sh"]


def no_links(*_args, **_more):
    raise PermissionError(1, "Operation not permitted")


def test_a_file_system_without_hard_links(kept, outputs, tmp_path, monkeypatch):
    """FAT and Drive's mount have none; files come back there as well."""
    monkeypatch.setattr(os, "link", no_links)
    restore(kept, tmp_path / "new")
    assert tree(tmp_path / "new") == tree(outputs)


def test_no_bit_that_gives_rights_comes_back(saver, outputs, tmp_path):
    """A file that runs as its owner is kept as an ordinary program."""
    (outputs / "program").write_bytes(b"x")
    (outputs / "program").chmod(0o6755)
    saver.save()
    restore(saver, tmp_path / "new")
    assert stat.S_IMODE(os.stat(tmp_path / "new/program").st_mode) == 0o755


def test_damage_costs_the_file_alone(saver, outputs, tmp_path):
    """The others come back; the damaged one has no file, and its reason is told."""
    (outputs / "a").write_bytes(os.urandom(MiB))
    (outputs / "b").write_bytes(b"b")
    saver.save()
    pack = max((tmp_path / "store").rglob("*.pack"), key=lambda each: each.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[MiB // 2] ^= 1
    pack.write_bytes(raw)
    report = restore(saver, tmp_path / "new")
    assert report.restored == ("b",)
    assert "damaged" in report.failed["a"]
    assert os.listdir(tmp_path / "new") == ["b"]


def test_what_could_not_be_put_back_is_kept_on(saver, outputs, tmp_path, monkeypatch):
    """A full disk loses no file of the snapshots to come; once something is at its path, that counts."""
    (outputs / "a").write_bytes(b"a")
    (outputs / "b").write_bytes(b"b")
    saver.save()
    real = restore_module.RESERVE_BYTES

    class Full(FolderDisk):
        def create(self, path):
            if os.path.exists(path.parent / "a"):
                raise OSError(28, "No space left on device")
            return super().create(path)

    assert real > 0
    into = tmp_path / "new"
    report = restore(saver, into, disk=Full())
    assert report.restored == ("a",)
    assert "No space" in report.failed["b"]
    later = FolderSaver(saver.repository, into, memory=report.memory)
    later.sequence = 5
    saved = later.save()
    assert later.kept() == {"a": b"a", "b": b"b"}
    assert "could not be put back" in saved.skipped[f"{later.name}b"]
    later.values = {"x": 2}
    later.save()
    assert later.kept() == {"a": b"a", "b": b"b"}
    (into / "b").write_bytes(b"mine")
    assert later.save().skipped == {}
    assert later.kept() == {"a": b"a", "b": b"mine"}
    (into / "b").unlink()
    later.save()
    assert later.kept() == {"a": b"a"}


def test_the_disk_is_not_filled(kept, tmp_path, monkeypatch):
    """The notebook must still be able to write."""
    monkeypatch.setattr(restore_module, "RESERVE_BYTES", 1 << 60)
    report = restore(kept, tmp_path / "new")
    assert report.restored == ()
    assert "no room" in report.failed["run.sh"]


def store_table(repository, rows, parts=None):
    """Store a table as someone who means harm could."""
    with repository.writer("me") as writer:
        parts = [PartRecord(writer.put_bytes(b"evil"), 1, False)] if parts is None else parts
        stream = writer.put_bytes(msgspec.msgpack.encode(Table(rows)))
        member = MemberRecord("outputs/", "variable", "folder", False)
        record = writer.put_record(GroupRecord("files1", [member], {}, "outputs/", stream, parts))
        writer._filler.finish()
        writer._publish_packs()
    repository.refresh()
    return Entry(record, "folder", 1)


HOSTILE = [
    b"/etc/evil",
    b"../evil",
    b"a/../../evil",
    b"a/./evil",
    b"a//evil",
    b"evil/",
    b".",
    b"",
    b"nul\0evil",
    b"x" * 300,
    b"/".join([b"x" * 200] * 30),
    b".git/hooks/pre-commit",
    b"sub/.git/config",
    b"linked/evil",
    b"file/evil",
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: repr(path[:24]))
def test_a_path_that_leads_elsewhere_is_refused(repository, outputs, tmp_path, path):
    """It is named with the reason, and the good ones beside it come back."""
    (tmp_path / "outside").mkdir()
    (outputs / "linked").symlink_to(tmp_path / "outside")
    (outputs / "file").write_bytes(b"")
    before = {str(each) for each in tmp_path.rglob("*") if "store" not in each.parts}
    rows = [Row(path, 4, 0, 0o644), Row(b"good", 4, 0, 0o644)]
    report = restore_folder(repository, store_table(repository, rows), outputs)
    after = {str(each) for each in tmp_path.rglob("*") if "store" not in each.parts}
    assert report.restored == ("good",)
    assert len(report.failed) == 1
    assert after - before == {str(outputs / "good")}
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize(
    "row",
    [
        Row(b"a", 4, 0, 0o644, first=1),
        Row(b"a", 5, 0, 0o644),
        Row(b"a", PART_BYTES + 4, 0, 0o644),
    ],
)
def test_a_row_whose_parts_do_not_fit_is_refused(repository, outputs, row):
    """Nothing is written for it."""
    report = restore_folder(repository, store_table(repository, [row]), outputs)
    assert "damaged" in report.failed["a"]
    assert os.listdir(outputs) == []


@pytest.mark.parametrize("date", [-(2**63), 2**63 - 1])
def test_a_date_that_no_file_has_costs_the_file_alone(repository, outputs, date):
    """Whether or not the system takes it, the other file comes back."""
    rows = [Row(b"a", 4, date, 0o644), Row(b"b", 4, 0, 0o644)]
    report = restore_folder(repository, store_table(repository, rows), outputs)
    assert "b" in report.restored
    assert set(report.restored) | set(report.failed) == {"a", "b"}


def test_a_row_that_comes_twice_is_written_once(repository, outputs):
    """The second finds the first."""
    rows = [Row(b"a", 4, 0, 0o644), Row(b"a", 0, 5, 0o644)]
    report = restore_folder(repository, store_table(repository, rows), outputs)
    assert tree(outputs) == {"a": b"evil"}
    assert report.left_alone == {"a": "another file is there"}


def test_a_table_that_is_none(repository, outputs):
    """Bytes that are something else are damage; a group of another codec is no folder."""
    with repository.writer("me") as writer:
        stream = writer.put_bytes(b"\xc1 something else")
        bad = writer.put_record(GroupRecord("files1", [], {}, "o/", stream, []))
        other = writer.put_record(GroupRecord("pickle5", [], {}, "x", stream, []))
        writer._filler.finish()
        writer._publish_packs()
    repository.refresh()
    with pytest.raises(IntegrityError):
        restore_folder(repository, Entry(bad, "folder", 1), outputs)
    with pytest.raises(CodecError, match="pickle5"):
        restore_folder(repository, Entry(other, "folder", 1), outputs)


class Recording(RecordingDisk, FolderDisk):
    """Records the one operation that only this layer has."""

    def publish_new(self, temporary, path):
        super(RecordingDisk, self).publish_new(temporary, path)
        self.log = [op for op in self.log if (op.kind, op.path) != ("remove", temporary)]
        self.log.append(Operation("publish", temporary, target=path))


def test_a_power_cut_leaves_no_half_file_under_its_name(saver, outputs, tmp_path):
    """In every state of the disk a file is whole, as it was, or not there; and the rest can be restored."""
    (outputs / "sub").mkdir()
    (outputs / "sub/a").write_bytes(os.urandom(3000))
    (outputs / "b").write_bytes(b"b" * 2000)
    (outputs / "old").write_bytes(b"kept")
    saver.save()
    whole = tree(outputs)
    into = tmp_path / "new"
    into.mkdir()
    (into / "old").write_bytes(b"before")
    os.utime(into / "old", (1, 1))
    before, disk = take(into), Recording()
    restore(saver, into, disk=disk, overwrite=True)
    assert tree(into) == whole
    count = 0
    for done, lost, found in states(into, before, disk.log):
        place = tmp_path / f"state-{count}"
        put(found, place)
        for path, data in tree(place).items():
            if not path.rpartition("/")[2].startswith(".keepstate-"):
                good = {whole[path], b"before"} if path == "old" else {whole[path]}
                assert data in good, (done, lost, path)
        if (place / "old").exists() and (place / "old").read_bytes() == b"before":
            os.utime(place / "old", (1, 1))
        restore(saver, place, overwrite=True)
        assert tree(place) == whole, (done, lost)
        count += 1
    assert count > 20


def test_what_another_restoration_is_writing_is_not_swept(saver, outputs, tmp_path):
    """Only temporary files that nobody holds are left over."""
    import fcntl

    (outputs / "a").write_bytes(b"a")
    saver.save()
    into = tmp_path / "new"
    into.mkdir()
    (into / ".keepstate-0123456789abcdef.tmp").write_bytes(b"left")
    with open(into / ".keepstate-fedcba9876543210.tmp", "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        restore(saver, into)
        assert sorted(os.listdir(into)) == [".keepstate-fedcba9876543210.tmp", "a"]


def test_the_rules_come_back_with_the_folder(repository, outputs):
    """So that a later session watches it as this one did."""
    saver = FolderSaver(repository, outputs, ignore=("*.tmp",), max_bytes=77)
    saver.save()
    assert read_folder(repository, entry_of(saver)).folder(saver.name) == saver.folder
