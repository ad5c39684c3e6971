"""``keepstate export`` of a watched folder, by the real command."""

import json
import os
import subprocess
import sys

import pytest
from folder_saves import FolderSaver, tree


@pytest.fixture
def kept(repository, outputs, tmp_path, monkeypatch):
    """A store with a folder called ``outputs/`` in it."""
    monkeypatch.chdir(tmp_path)
    (outputs / "sub").mkdir()
    (outputs / "sub/a.txt").write_text("kept" * 9)
    saver = FolderSaver(repository, "outputs")
    saver.save()
    return saver


def export(tmp_path, *arguments):
    """Run the command; returns exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "keepstate", "export", *arguments, "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "200"},
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_files_are_written(kept, outputs, tmp_path):
    """To a folder that is made; and the document says which."""
    code, out, err = export(tmp_path, "outputs/", "--to", "back", "--json")
    assert code == 0, err
    assert json.loads(out)["restored"] == ["sub/a.txt"]
    assert tree(tmp_path / "back") == tree(outputs)


def test_files_that_are_there_stay(kept, tmp_path):
    """Older ones are replaced with ``--force`` alone."""
    (tmp_path / "back/sub").mkdir(parents=True)
    (tmp_path / "back/sub/a.txt").write_text("mine")
    os.utime(tmp_path / "back/sub/a.txt", (1, 1))
    code, out, _ = export(tmp_path, "outputs/", "--to", "back")
    assert (code, "left alone" in out) == (0, True)
    assert (tmp_path / "back/sub/a.txt").read_text() == "mine"
    assert export(tmp_path, "outputs/", "--to", "back", "--force")[0] == 0
    assert (tmp_path / "back/sub/a.txt").read_text() == "kept" * 9


@pytest.mark.parametrize("arguments", [("outputs/", "file"), ("outputs/", "no/where"), ("inputs/", "back")])
def test_wrong_usage(kept, tmp_path, arguments):
    """A file as the target, a target below nothing, a folder that is not kept."""
    (tmp_path / "file").touch()
    assert export(tmp_path, arguments[0], "--to", arguments[1])[0] == 2


def test_damage_is_told(kept, tmp_path):
    """The file is named, and the exit code says that it failed."""
    for pack in (tmp_path / "store").rglob("*.pack"):
        pack.write_bytes(pack.read_bytes().replace(b"kept" * 9, b"KEPT" * 9))
    code, _, err = export(tmp_path, "outputs/", "--to", "back")
    assert code == 1
    assert "sub/a.txt" in err
    assert tree(tmp_path / "back") == {}
