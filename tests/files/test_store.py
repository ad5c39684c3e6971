"""What a snapshot has of a folder."""

import ctypes
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from folder_saves import FolderSaver, Hurried, Later, tree

from keepstate._files import FolderGroup, restore_folder
from keepstate._files.store import MOST_REASONS

MiB = 1 << 20


def test_files_are_kept_beside_values(saver, outputs):
    """Files at any depth, an empty one too, are in the snapshot with the values."""
    (outputs / "deep/er").mkdir(parents=True)
    (outputs / "deep/er/a.bin").write_bytes(os.urandom(3 * MiB + 5))
    (outputs / "empty").touch()
    saved = saver.save()
    assert sorted(saved.commit.manifest.names) == [saver.name, "x"]
    assert saver.kept() == tree(outputs)
    assert saved.commit.manifest.names[saver.name].type == "folder"
    assert saved.skipped == {}


def test_a_folder_that_is_not_there_is_empty(repository, tmp_path):
    """It may be watched before the notebook makes it."""
    saver = FolderSaver(repository, tmp_path / "later")
    assert saver.save().skipped == {}
    assert saver.kept() == {}
    (tmp_path / "later").mkdir()
    (tmp_path / "later/a").write_bytes(b"a")
    saver.save()
    assert saver.kept() == {"a": b"a"}


def test_an_unchanged_folder_writes_nothing(saver, outputs, tmp_path):
    """The next save leaves no file in the store."""
    (outputs / "a").write_bytes(os.urandom(2 * MiB))
    saver.save()
    before = tree(tmp_path / "store")
    saved = saver.save()
    assert saved.unchanged
    assert saved.commit is None
    assert tree(tmp_path / "store") == before


def test_an_unchanged_file_is_not_read(saver, outputs, monkeypatch):
    """Only the changed one of two is opened."""
    (outputs / "a").write_bytes(b"a")
    (outputs / "b").write_bytes(b"b")
    saver.save()
    (outputs / "b").write_bytes(b"bb")
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **k: (opened.append(path), real(path, *a, **k))[1])
    saver.save()
    assert "b" in opened
    assert "a" not in opened
    assert saver.kept() == {"a": b"a", "b": b"bb"}


def test_one_changed_mib_of_a_large_file_writes_about_one(saver, outputs):
    """50 MiB are held in two parts, and one MiB and its list are written."""
    data = bytearray(os.urandom(50 * MiB))
    (outputs / "model.bin").write_bytes(data)
    saver.save()
    data[40 * MiB] ^= 1
    (outputs / "model.bin").write_bytes(data)
    saved = saver.save()
    assert MiB < saved.commit.manifest.written_bytes < MiB + 65536
    assert saver.kept() == {"model.bin": bytes(data)}


def test_bytes_that_the_store_has_are_not_written_again(saver, outputs):
    """A copy of a file costs a row of the table."""
    data = os.urandom(3 * MiB)
    (outputs / "a").write_bytes(data)
    saver.save()
    (outputs / "b").write_bytes(data)
    assert saver.save().commit.manifest.written_bytes < 65536
    assert saver.kept() == {"a": data, "b": data}


def test_a_deleted_file_leaves_the_next_snapshot_and_stays_in_the_older_one(saver, outputs):
    """So a folder can shrink, and nothing that was kept is changed."""
    (outputs / "a").write_bytes(b"a")
    (outputs / "b").write_bytes(b"b")
    first = saver.save().commit.manifest
    (outputs / "a").unlink()
    saver.save()
    assert saver.kept() == {"b": b"b"}
    assert saver.kept(first) == {"a": b"a", "b": b"b"}


def test_a_folder_that_vanishes_keeps_what_was_kept(saver, outputs):
    """A drive that is gone is no deletion; made anew, the folder counts as it is."""
    (outputs / "a").write_bytes(b"a")
    saver.save()
    (outputs / "a").unlink()
    outputs.rmdir()
    saved = saver.save()
    assert saver.kept() == {"a": b"a"}
    assert "is not there" in saved.skipped[saver.name]
    outputs.mkdir()
    saver.save()
    assert saver.kept() == {}


@pytest.mark.parametrize("what", ["outputs", "sub"])
def test_what_fails_to_be_listed_keeps_what_was_kept(saver, outputs, monkeypatch, what):
    """A drive that answers with an error has lost no file yet."""
    (outputs / "sub").mkdir()
    (outputs / "sub/a").write_bytes(b"a")
    (outputs / "b").write_bytes(b"b")
    saver.save()
    real = os.scandir

    def scandir(path):
        if str(path).endswith(what):
            raise OSError(107, "Transport endpoint is not connected")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    saver.values = {"x": 2}
    saved = saver.save()
    assert saver.kept() == {"b": b"b", "sub/a": b"a"}
    assert "endpoint" in str(saved.skipped)


def test_a_file_that_has_become_too_long_keeps_its_last_generation(repository, outputs):
    """It is named, with how to allow more."""
    saver = FolderSaver(repository, outputs, max_bytes=4)
    (outputs / "a").write_bytes(b"1234")
    saver.save()
    (outputs / "a").write_bytes(b"12345")
    assert "max_bytes" in saver.save().skipped[f"{saver.name}a"]
    assert saver.kept() == {"a": b"1234"}


def test_memory_that_still_holds_is_not_sent_again(saver, outputs):
    """It may be megabytes, at each save."""
    (outputs / "a").write_bytes(b"a")
    assert saver.save().memories
    assert saver.save().memories == {}


def test_a_file_that_is_open_for_writing_keeps_its_last_generation(saver, outputs):
    """It is taken once it is closed."""
    (outputs / "a").write_bytes(b"whole")
    saver.save()
    with open(outputs / "a", "wb") as half:
        half.write(b"hal")
        half.flush()
        saved = saver.save()
        assert saver.kept() == {"a": b"whole"}
        assert "open for writing" in saved.skipped[f"{saver.name}a"]
        half.write(b"f")
    assert saver.save().skipped == {}
    assert saver.kept() == {"a": b"half"}


def test_a_new_file_that_is_open_for_writing_is_not_taken(saver, outputs):
    """Half a checkpoint is worse than none; and it is named."""
    with open(outputs / "a", "wb") as half:
        half.write(b"hal")
        half.flush()
        saved = saver.save()
    assert saver.kept() == {}
    assert list(saved.skipped) == [f"{saver.name}a"]


def test_a_file_that_another_process_writes_is_not_taken(saver, outputs):
    """A training script that a cell has started counts as well."""
    child = subprocess.Popen(
        [sys.executable, "-c", "f = open('a', 'wb', 0); f.write(b'hal'); print(flush=True); input()"],
        cwd=outputs,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        child.stdout.readline()
        assert "open for writing" in saver.save().skipped[f"{saver.name}a"]
    finally:
        child.communicate(b"\n")
    saver.save()
    assert saver.kept() == {"a": b"hal"}


def test_a_file_that_is_mapped_for_writing_is_not_taken(saver, outputs):
    """``numpy.memmap`` writes on for as long as the array lives."""
    mapped = np.memmap(outputs / "a", mode="w+", shape=4096, dtype="u1")
    assert "open for writing" in saver.save().skipped[f"{saver.name}a"]
    del mapped
    saver.save()
    assert saver.kept() == {"a": bytes(4096)}


def test_a_file_that_is_mapped_without_a_descriptor_is_not_taken(saver, outputs):
    """The mapping itself is seen."""
    (outputs / "a").write_bytes(bytes(4096))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with open(outputs / "a", "r+b") as file:
        at = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file.fileno(), 0)
    try:
        assert "open for writing" in saver.save().skipped[f"{saver.name}a"]
    finally:
        libc.munmap(at, 4096)
    assert saver.save().skipped == {}


def test_a_log_is_taken_while_it_is_open(saver, outputs):
    """What is open for appending is whole up to its end at every moment."""
    with open(outputs / "log", "ab", 0) as log:
        log.write(b"one\n")
        saved = saver.save()
        assert saved.skipped == {}
        assert saver.kept() == {"log": b"one\n"}
        log.write(b"two\n")
        saver.save()
    assert saver.kept() == {"log": b"one\ntwo\n"}


def test_a_growing_file_keeps_its_last_generation(saver, outputs):
    """What has changed between two looks is not read; the wait is two seconds at most."""
    path = outputs / "a"
    path.write_bytes(b"whole")
    saver.save()
    path.write_bytes(b"gro")
    clock = Hurried(lambda: path.write_bytes(b"growing"))
    saved = saver.save(clock=clock)
    assert clock.waits == [2.0]
    assert saver.kept() == {"a": b"whole"}
    assert saved.unfinished == [saver.name]


def test_a_file_written_just_now_is_waited_for(saver, outputs):
    """Who saves a figure and then takes a snapshot expects it to be in it."""
    (outputs / "a").write_bytes(b"new")
    clock = Hurried()
    assert saver.save(clock=clock).skipped == {}
    assert clock.waits == [2.0]
    assert saver.kept() == {"a": b"new"}


def test_a_file_that_goes_during_the_wait_is_gone(saver, outputs):
    """Neither is it kept, nor is there anything to tell."""
    path = outputs / "a"
    path.write_bytes(b"whole")
    saver.save()
    path.write_bytes(b"short-lived")
    assert saver.save(clock=Hurried(path.unlink)).skipped == {}
    assert saver.kept() == {}


def test_an_old_date_makes_no_file_quiet(saver, outputs):
    """What was unpacked or copied a moment ago may still be under way, whatever its date says."""
    (outputs / "a").write_bytes(b"new")
    os.utime(outputs / "a", (1, 1))
    clock = Hurried()
    saver.save(clock=clock)
    assert clock.waits


def test_before_a_sudden_end_nothing_is_waited_for(saver, outputs):
    """The values must be kept in the seconds that are left; so is a file that nobody has open."""
    (outputs / "a").write_bytes(b"new")
    clock = Hurried()
    saved = saver.save(clock=clock, patient=False)
    assert clock.waits == []
    assert saved.skipped == {}
    assert saver.kept() == {"a": b"new"}


def test_a_file_that_changes_while_it_is_read_keeps_its_last_generation(saver, outputs, monkeypatch):
    """It is looked at again when all of it was read."""
    path = outputs / "a"
    path.write_bytes(b"whole")
    saver.save()
    path.write_bytes(os.urandom(3 * MiB))
    real, written = os.preadv, []

    def preadv(descriptor, buffers, at):
        if at == MiB and not written:
            written.append(path.write_bytes(os.urandom(3 * MiB)))
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    saved = saver.save()
    assert written
    assert saver.kept() == {"a": b"whole"}
    assert "being written" in saved.skipped[f"{saver.name}a"]
    saver.save()
    assert saver.kept() == tree(outputs)


def test_a_file_that_shrinks_while_it_is_read_keeps_its_last_generation(saver, outputs, monkeypatch):
    """Its end is not waited for."""
    path = outputs / "a"
    path.write_bytes(b"whole")
    saver.save()
    path.write_bytes(os.urandom(3 * MiB))
    real = os.preadv

    def preadv(descriptor, buffers, at):
        os.truncate(path, MiB)
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    saver.save()
    assert saver.kept() == {"a": b"whole"}


def test_a_change_that_hides_behind_its_date_is_seen(saver, outputs):
    """Same length and same date, other bytes: no program can set the change time back."""
    (outputs / "a").write_bytes(b"one")
    date = os.stat(outputs / "a").st_mtime_ns
    saver.save()
    (outputs / "a").write_bytes(b"two")
    os.utime(outputs / "a", ns=(date, date))
    saver.save()
    assert saver.kept() == {"a": b"two"}


def test_links_are_not_followed(saver, outputs, tmp_path):
    """Neither to a file nor to a folder outside; each is named."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_bytes(b"key")
    (outputs / "file").symlink_to(tmp_path / "secret/key")
    (outputs / "folder").symlink_to(tmp_path / "secret")
    saved = saver.save()
    assert saver.kept() == {}
    assert sorted(saved.skipped) == [f"{saver.name}file", f"{saver.name}folder"]
    assert all("link" in why for why in saved.skipped.values())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_that_is_swapped_in_is_not_followed(saver, outputs, tmp_path, what):
    """What was a file or folder when it was listed may be a link when it is opened."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_bytes(b"key")
    (outputs / "in").mkdir()
    (outputs / "in/key").write_bytes(b"own")

    def swap():
        if what == "file":
            (outputs / "in/key").unlink()
            (outputs / "in/key").symlink_to(tmp_path / "secret/key")
        else:
            (outputs / "in").rename(tmp_path / "aside")
            (outputs / "in").symlink_to(tmp_path / "secret")

    real = FolderGroup.store

    class Swapping(FolderGroup):
        def store(self, store):
            has_room = store.has_room
            store.has_room = lambda nbytes: (swap(), has_room(nbytes))[1]
            return real(self, store)

    saved = saver.save(beside=[Swapping(saver.folder, clock=Later())])
    assert saver.kept() == {}
    assert "cannot be read" in saved.skipped[f"{saver.name}in/key"]


def test_a_pipe_is_named_and_not_opened(saver, outputs):
    """Opening one would wait for a writer."""
    os.mkfifo(outputs / "pipe")
    assert "neither a file" in saver.save().skipped[f"{saver.name}pipe"]


def test_what_is_left_out(repository, outputs):
    """Default patterns, those of the user, and files that are too long; only these are named."""
    for path in (
        ".git/hooks/x",
        "__pycache__/a.pyc",
        "sub/.ipynb_checkpoints/n",
        "a.tmp",
        "cache/b",
        "c",
        "d",
    ):
        (outputs / path).parent.mkdir(parents=True, exist_ok=True)
        (outputs / path).write_bytes(b"12345" if path == "d" else b"1")
    saver = FolderSaver(repository, outputs, ignore=("*.tmp", "cache/"), max_bytes=4)
    saved = saver.save()
    assert saver.kept() == {"c": b"1"}
    assert list(saved.skipped) == [f"{saver.name}d"]


def test_a_store_inside_is_left_out(outputs):
    """A snapshot that held the store would never be unchanged, and grow for ever."""
    from keepstate._repository import Repository

    repository = Repository.open(outputs / "kept", create=True)
    (outputs / "a").write_bytes(b"a")
    saver = FolderSaver(repository, outputs)
    saver.save()
    assert saver.kept() == {"a": b"a"}
    assert saver.save().unchanged


def test_names_that_are_no_text(saver, outputs):
    """A path is bytes; what is shown of it is text."""
    (outputs / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    (outputs / os.fsdecode(b"link\xe9")).symlink_to("nowhere")
    saved = saver.save()
    assert list(saved.skipped) == [f"{saver.name}link\\xe9"]
    (outputs / os.fsdecode(b"caf\xe9")).unlink()
    restore_folder(saver.repository, saver.last.names[saver.name], saver.folder)
    assert (outputs / os.fsdecode(b"caf\xe9")).read_bytes() == b"1"


def test_many_reasons_do_not_flood_the_manifest(saver, outputs):
    """The first hundred are named, and the number of the others."""
    for number in range(MOST_REASONS + 3):
        (outputs / f"{number:03}").symlink_to("nowhere")
    saved = saver.save()
    assert len(saved.skipped) == MOST_REASONS + 1
    assert saved.skipped[f"{saver.name}…"].startswith("3 more")


def test_a_large_folder_comes_in_several_snapshots(saver, outputs):
    """The values of a snapshot do not wait for gigabytes of files; at least one file is always taken."""
    for name in "abc":
        (outputs / name).write_bytes(os.urandom(MiB))
    saved = saver.save(at_once_bytes=MiB)
    assert list(saver.kept()) == ["a"]
    assert saved.unfinished == [saver.name]
    saver.save(at_once_bytes=MiB)
    saved = saver.save(at_once_bytes=MiB)
    assert saver.kept() == tree(outputs)
    assert saved.unfinished == []


def test_no_room_costs_the_file_alone(saver, outputs):
    """A file that does not fit into the store is named, and values and other files are kept."""

    class Full(FolderGroup):
        def store(self, store):
            store.has_room = lambda nbytes: nbytes < MiB
            return super().store(store)

    (outputs / "big").write_bytes(bytes(MiB))
    (outputs / "small").write_bytes(b"1")
    saved = saver.save(beside=[Full(saver.folder, clock=Later())])
    assert saver.kept() == {"small": b"1"}
    assert "room" in saved.skipped[f"{saver.name}big"]


def test_a_folder_that_fails_costs_itself_alone(saver, outputs):
    """The values are kept, and the folder as it was before, by reference."""

    class Broken(FolderGroup):
        def store(self, store):
            raise RuntimeError("boom")

    (outputs / "a").write_bytes(b"a")
    first = saver.save().commit.manifest
    saver.values = {"x": 2}
    saved = saver.save(beside=[Broken(saver.folder)])
    assert "boom" in saved.skipped[saver.name]
    assert saved.commit.manifest.names[saver.name].kept_in == first.id
    assert saver.kept() == {"a": b"a"}


def test_what_prune_has_taken_is_read_again(saver, outputs, repository, tmp_path):
    """A part is counted on only if all its chunks are there."""
    (outputs / "a").write_bytes(os.urandom(2 * MiB))
    saver.save()
    for pack in (tmp_path / "store").rglob("*.pack"):
        pack.unlink()
    repository.refresh()
    saver.known = {}
    (outputs / "b").write_bytes(b"b")
    saver.save()
    assert saver.kept() == tree(outputs)


@pytest.mark.parametrize("reread", [False, True])
def test_what_prune_takes_during_a_save_has_it_taken_again(saver, outputs, tmp_path, reread):
    """Once: a save that counts on nothing and still fails is trouble."""

    class Pruned(FolderGroup):
        def store(self, store):
            stored = super().store(store)
            for pack in (tmp_path / "store").rglob("*.pack"):
                pack.unlink()
            return stored

    (outputs / "a").write_bytes(b"a")
    first = saver.save()
    saver.known, saver.values = {}, {"x": 2}
    memory = saver.memory
    saved = saver.save(beside=[Pruned(saver.folder, memory, reread=reread, clock=Later())])
    assert first.commit is not None
    assert saved.commit is None
    assert "pruned" in saved.trouble
    assert saved.again is not reread
    assert saved.memories == {}
    assert saver.save(reread=True).commit is not None
    assert saver.kept() == {"a": b"a"}


def test_reread_reads_what_is_unchanged(saver, outputs):
    """And finds that it is."""
    (outputs / "a").write_bytes(b"a")
    saver.save()
    assert saver.save(reread=True).unchanged


def test_a_prune_between_two_saves_keeps_what_is_counted_on(saver, outputs, repository):
    """Files that were stored once and never read again survive the snapshots that brought them."""
    data = os.urandom(2 * MiB)
    (outputs / "a").write_bytes(data)
    for number in range(4):
        (outputs / "b").write_bytes(os.urandom(MiB))
        saver.values = {"x": number}
        saver.save()
        repository.prune(keep_last=1)
    assert saver.kept()["a"] == data
    assert repository.verify(deep=True).is_sound


def test_verify_reads_the_files(saver, outputs, repository, tmp_path):
    """A damaged byte of a file is found, and the folder is named."""
    (outputs / "a").write_bytes(os.urandom(2 * MiB))
    saver.save()
    pack = max((tmp_path / "store").rglob("*.pack"), key=lambda each: each.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.write_bytes(raw)
    report = repository.verify(deep=True)
    assert list(report.affected[saver.last.id]) == [saver.name]


def test_a_fork_sees_what_the_kernel_has_open(repository, outputs):
    """The child that saves has closed its own descriptors, so it looks at those of the kernel."""
    from keepstate._capture import fork

    (outputs / "done").write_bytes(b"done")
    with open(outputs / "half", "wb", 0) as half:
        half.write(b"hal")
        saver = FolderSaver(repository, outputs)
        saved = saver.save(run=lambda work: fork.take(work, reason="test").finish())
    assert saver.kept() == {"done": b"done"}
    assert "open for writing" in saved.skipped[f"{saver.name}half"]
