"""Text for people: readable at 80 columns, in a pipe, and in any terminal."""

import os
import subprocess
import sys

import pytest
from rich.cells import cell_len
from stores import save, snapshot_id


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Long and hostile names."""
    path = tmp_path_factory.mktemp("wide") / "store"
    values = {f"a_rather_long_name_of_a_variable_{number}": number for number in range(30)}
    note = "a note [red]that goes on[/red] and on \x1b[2J and on, 漢字 too, " * 3
    save(path, {**values, "x": 1}, note=note, cells=[(1, "x" * 300), (2, "print('\x1b]0;owned\x07')")])
    return path


COMMANDS = [["log"], ["show", "01"], ["verify"], ["usage"], ["doctor"], ["prune"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_eighty_columns(keepstate, wide, command):
    """In a pipe no line of a table is wider than 80 columns."""
    found = keepstate(*command, "--store", wide)
    assert found.code == 0, found.err
    lines = [line for line in found.out.splitlines() if str(wide) not in line and "structure" not in line]
    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_ids_are_whole(keepstate, wide, columns):
    """An id is never cut or wrapped, however narrow the terminal."""
    assert snapshot_id(1) in keepstate("log", "--store", wide, COLUMNS=columns).out


def test_no_colour_in_a_pipe(keepstate, wide):
    """Nothing that is piped holds colours, also where a variable asks for them."""
    assert "\x1b" not in keepstate("log", "--store", wide, FORCE_COLOR="1").out


@pytest.mark.parametrize("command", COMMANDS[:2], ids=lambda command: command[0])
def test_control_characters_are_escaped(keepstate, wide, command):
    """A name or note cannot speak to the terminal."""
    out = keepstate(*command, "--store", wide).out
    assert "\x1b" not in out
    assert "\\x1b" in out


def test_markup_is_text(keepstate, wide):
    """What looks like markup is shown as it is."""
    assert "[red]that" in " ".join(keepstate("log", "--store", wide).out.split())


def test_terminal_of_another_encoding(keepstate, wide):
    """A terminal that lacks a character gets another in its place, not an error."""
    found = keepstate("log", "--store", wide, PYTHONIOENCODING="ascii")
    assert found.code == 0
    assert snapshot_id(1) in found.out


def test_no_trailing_spaces(keepstate, wide):
    """Lines end where their text ends."""
    assert all(line == line.rstrip() for line in keepstate("show", "01", "--store", wide).out.splitlines())


def test_reader_that_goes_away(wide, tmp_path):
    """A pipe whose reader has gone ends the command without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "keepstate", "log", "--store", str(wide)],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=variables,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (1, "")
