"""A store is opened, made or refused by what is there."""

import json
import os
import shutil
import warnings

import pytest
from saves import everything, save

from keepstate._repository import Repository
from keepstate.errors import FormatError, NotAStoreError, StoreError


def test_a_store_is_made_in_a_new_or_empty_folder(tmp_path):
    """The marker names the format, and opening again gives the same store."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_bytes(b"")
    for path in (tmp_path / "new" / "deep", tmp_path / "empty"):
        made = Repository.open(path, create=True)
        assert json.loads((path / "keepstate.json").read_text()) == {"format": 1, "store": made.store_id}
        assert Repository.open(path, create=False).store_id == made.store_id
        assert Repository.open(path, create=True).store_id == made.store_id


def test_a_store_that_is_not_there_is_not_made_unasked(tmp_path):
    """Opening for reading makes nothing."""
    with pytest.raises(StoreError):
        Repository.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_foreign_place_is_refused(tmp_path, create):
    """A file, or a folder with other things in it, is no store, and stays as it is."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "keepstate.json").write_text('{"format"')
    for name in ("file", "folder", "torn", "file/below"):
        with pytest.raises(StoreError):
            Repository.open(tmp_path / name, create=create)
    for name in ("file", "folder", "torn"):
        with pytest.raises(NotAStoreError):
            Repository.open(tmp_path / name, create=create)
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["thesis.tex"]


def test_a_newer_format_is_refused(tmp_path):
    """A version that does not know a format says so before it reads anything else."""
    (tmp_path / "keepstate.json").write_text('{"format": 2, "store": "x", "more": 1}')
    with pytest.raises(FormatError, match="upgrade"):
        Repository.open(tmp_path, create=False)


def use_without_writing(path):
    """Read everything, and give the calls that were not refused."""
    repository = Repository.open(path, create=False)
    assert len(repository.manifests()) == 1
    assert repository.verify(deep=True).is_sound
    assert len(repository.usage()) == 1
    done = []
    for name, call in (
        ("open", lambda: Repository.open(path, create=True)),
        ("writer", lambda: repository.writer("ana")),
        ("prune", lambda: repository.prune(keep_last=1)),
    ):
        try:
            call()
        except StoreError:
            continue
        done.append(name)
    return done


def test_a_store_that_cannot_be_written_can_be_read(tmp_path, repository):
    """On a read-only folder everything reads, and every write is a StoreError."""
    save(repository, {"a": b"x" * 300}, sequence=1)
    for path in [repository.path, *repository.path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in [tmp_path, *tmp_path.parents][:4]:
        path.chmod(path.stat().st_mode | 0o055)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside the threads of libraries
        child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)  # root writes anywhere
            code = 0 if use_without_writing(repository.path) == [] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    for path in [repository.path, *repository.path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_store_that_was_emptied_under_a_session_is_begun_anew(repository):
    """When everything was deleted, the next save makes a store that opens, and relies on nothing."""
    first = save(repository, {"a": b"a" * 300}, sequence=1)
    shutil.rmtree(repository.path)
    second = save(repository, {"a": b"a" * 300}, sequence=2, known=first.known)
    assert everything(repository.path) == {second.manifest.id: {"a": b"a" * 300}}
    assert repository.verify(deep=True).is_sound
