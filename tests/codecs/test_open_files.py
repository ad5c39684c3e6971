from __future__ import annotations

import os

import pytest

from keepstate import codecs

FILE = "one\r\ntwo\r\nthree\r\n"


@pytest.fixture
def path(notebook, tmp_path):
    """A file with three lines, as ``path`` in the notebook."""
    made = tmp_path / "data.txt"
    made.write_bytes(FILE.encode())
    notebook.namespace["path"] = str(made)
    yield made
    notebook.namespace["f"].close()
    if "g" in notebook.namespace:
        notebook.namespace["g"].close()


def positions():
    """What is read when a picture is taken."""
    files = codecs.find_open_files()
    return codecs.Positions(files, codecs.positions_of(files))


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("read", ["", "f.read(2)", "f.readline()", "f.read()", "f.seek(5)"])
def test_a_text_file_goes_on_where_it_was(notebook, path, newline, read):
    """Position, encoding and the way in which lines end are those of before, wherever it stands."""
    notebook.run(f"f = open(path, encoding='latin-1', errors='replace', newline={newline!r}); {read}")
    notebook.encode("f", positions=positions())
    notebook.run("at = f.tell(); rest = f.read()")
    rest = notebook.namespace["rest"]
    notebook.check(
        f"assert f.tell() == {notebook.namespace['at']}\n"
        "assert (f.encoding, f.errors) == ('latin-1', 'replace')\n"
        f"found = f.read()\nassert found == {rest!r}, found\nassert f.name == {str(path)!r}\nf.close()"
    )


def test_a_binary_file_goes_on_where_it_was(notebook, path):
    """Buffered or not."""
    notebook.run("f = open(path, 'rb'); f.read(3); g = open(path, 'rb', buffering=0); g.read(5)")
    notebook.encode("f", "g", positions=positions())
    notebook.check(
        f"assert f.tell() == 3 and f.read() == {FILE.encode()[3:]!r}\n"
        f"assert g.tell() == 5 and g.mode == 'rb' and type(g).__name__ == 'FileIO'\nf.close(); g.close()"
    )


@pytest.mark.parametrize("mode", ["w", "x", "wb"])
def test_a_file_that_is_written_is_not_emptied(notebook, tmp_path, mode):
    """It is opened where it stood; what is in it stays."""
    written = tmp_path / "out.txt"
    data = "b'abc'" if "b" in mode else "'abc'"
    notebook.run(f"f = open({str(written)!r}, {mode!r}); f.write({data}); f.flush()")
    notebook.encode("f", positions=positions())
    notebook.run("f.close()")
    notebook.check(
        f"assert f.mode == {mode!r} and f.tell() == 3, (f.mode, f.tell())\n"
        f"assert open({str(written)!r}).read() == 'abc'\nf.write({data}); f.close()"
    )
    assert written.read_text() == "abcabc"


def test_a_file_that_is_added_to_goes_on_at_its_end(notebook, tmp_path):
    """What others have added meanwhile stays."""
    written = tmp_path / "log.txt"
    notebook.run(f"f = open({str(written)!r}, 'a'); f.write('abc'); f.flush()")
    notebook.encode("f", positions=positions())
    notebook.run("f.close()")
    written.write_text("abcdef")
    notebook.check("f.write('ghi'); f.close()")
    assert written.read_text() == "abcdefghi"


@pytest.mark.parametrize("text", ["'abc'", "'\\n'"])
def test_text_that_is_not_in_the_file_yet_is_said(notebook, tmp_path, text):
    """It would be lost; and nothing is flushed for the user."""
    written = tmp_path / "out.txt"
    notebook.run(f"f = open({str(written)!r}, 'w'); f.write({text})")
    encoding = notebook.encode("f", positions=positions())
    assert "flush() it first" in encoding.skipped["f"]
    assert written.read_text() == ""
    notebook.run("f.close()")


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("f = open(path); next(f)", "in a loop"),
        ("f = open(path, 'r+')", "reading and writing"),
        ("f = open(path, 'w+b')", "reading and writing"),
        ("import os; f = open(os.open(path, os.O_RDONLY))", "an open file"),
        ("import os; f = open(path); os.unlink(path)", "not known"),
    ],
)
def test_what_cannot_be_opened_again_is_refused(notebook, path, cell, why):
    """With its name and the reason."""
    notebook.run(cell)
    encoding = notebook.encode("f", positions=positions())
    assert why in encoding.skipped["f"]


def test_a_file_is_not_known_without_its_position(notebook, path):
    """It may have been opened after the positions were read."""
    notebook.run("f = open(path)")
    assert "not known" in notebook.encode("f").skipped["f"]


def test_a_file_that_is_gone_is_not_made(notebook, path):
    """The name is not bound then."""
    notebook.run("f = open(path)")
    notebook.encode("f", positions=positions())
    os.unlink(path)
    with pytest.raises(AssertionError, match="No such file"):
        notebook.check("pass")
    assert not path.exists()


def test_a_file_that_became_shorter_is_not_written_to(notebook, tmp_path):
    """There would be a hole in it."""
    written = tmp_path / "out.txt"
    notebook.run(f"f = open({str(written)!r}, 'w'); f.write('abcdef'); f.flush()")
    notebook.encode("f", positions=positions())
    notebook.run("f.close()")
    written.write_text("abc")
    with pytest.raises(AssertionError, match="shorter"):
        notebook.check("pass")


@pytest.mark.parametrize("mode", ["r", "rb", "w", "ab"])
def test_a_closed_file_stays_closed(notebook, path, mode):
    """With its name and mode, and without being opened."""
    notebook.run(f"f = open(path, {mode!r}); f.close()")
    notebook.encode("f")
    path.unlink()
    notebook.check(f"assert f.closed and f.name == {str(path)!r} and f.mode == {mode!r}, (f.name, f.mode)")
    assert not path.exists()
