"""Exit codes and errors, alike in all commands."""

import shutil

import pytest

COMMANDS = [["log"], ["show", "01"], ["export", "x", "--to", "x.pkl"], ["prune"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_store_that_is_not_there(keepstate, tmp_path, command):
    """Without a store a command is wrong usage, and makes none."""
    found = keepstate(*command, "--store", tmp_path / "nothing", "--json")
    assert (found.code, found.document["kind"]) == (2, "store")
    assert not (tmp_path / "nothing").exists()


def test_empty_folder_stays_empty(keepstate, tmp_path):
    """An empty folder is no store, and stays empty."""
    (tmp_path / "empty").mkdir()
    assert keepstate("log", "--store", tmp_path / "empty").code == 2
    assert list((tmp_path / "empty").iterdir()) == []


def test_file_as_store(keepstate, tmp_path):
    """A file is no store."""
    (tmp_path / "file").write_text("mine")
    found = keepstate("verify", "--store", tmp_path / "file", "--json")
    assert (found.code, found.document["kind"]) == (2, "not-a-store")


def test_foreign_folder(keepstate, tmp_path):
    """A folder that holds something else is no store."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    assert keepstate("usage", "--store", tmp_path / "photos").code == 2


def test_url(keepstate):
    """A store that this version cannot reach is wrong usage."""
    assert keepstate("log", "--store", "ftp://host/x").code == 2


def test_newer_format(keepstate, store, tmp_path):
    """A store of a newer format is a failure that says to upgrade."""
    shutil.copytree(store, tmp_path / "store")
    (tmp_path / "store" / "keepstate.json").write_text('{"format": 99, "store": "x"}')
    found = keepstate("log", "--store", tmp_path / "store")
    assert found.code == 1
    assert "upgrade" in found.err


def test_sentence_on_stderr(keepstate, tmp_path):
    """An error is one sentence on the standard error, and nothing else anywhere."""
    found = keepstate("log", "--store", tmp_path / "nothing")
    assert found.out == ""
    assert found.err == f"there is no store at {tmp_path / 'nothing'}: name one with --store\n"


def test_document_on_stdout(keepstate, tmp_path):
    """With ``--json`` an error is a document, and nothing else anywhere."""
    found = keepstate("log", "--store", tmp_path / "nothing", "--json")
    assert found.document.keys() == {"error", "kind"}
    assert found.err == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["export", "x"], ["log", "--nonsense"], []], ids=str)
def test_wrong_usage(keepstate, arguments):
    """What the command line does not have is wrong usage."""
    assert keepstate(*arguments).code == 2


def test_empty_option(keepstate, store):
    """An empty name is wrong usage, not the whole store."""
    assert keepstate("log", "--project", "", "--store", store).code == 2


def test_version(keepstate):
    """``--version`` tells the version."""
    found = keepstate("--version")
    assert (found.code, found.out.split()[0]) == (0, "keepstate")
