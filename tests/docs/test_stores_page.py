"""The set-ups of docs/stores.md, run as they are written; only the address of the server is another."""

import ast
import re
import textwrap
from inspect import signature
from pathlib import Path

import pytest
from drive_server import DriveServer
from far_scripts import Computer
from s3_servers import FlakyProxy, moto_server

import keepstate
from keepstate._session.options import POLICIES
from keepstate.backends import read_address

PAGE = (Path(__file__).parents[2] / "docs" / "stores.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_TRIED = re.compile(r"<!-- tried: ([^>]*) -->\n *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TRIED = {name: textwrap.dedent(code) for name, code in _TRIED.findall(PAGE)}
BLOCKS = [textwrap.dedent(code) for code in _BLOCK.findall(PAGE)]


def calls():
    """Every call of ``keepstate.start`` on the page: what is given by name."""
    for block in BLOCKS:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "keepstate.start":
                yield {each.arg: each.value for each in node.keywords}


def test_the_marked_blocks_are_the_ones_that_are_run_here():
    """A new one needs a server here, too."""
    assert TRIED.keys() == {"folder", "gdrive", "s3", "s3 again"}


def test_a_folder(tmp_path):
    """It says ``local``, and the next session has it again."""
    with Computer(tmp_path) as computer:
        assert computer.must(TRIED["folder"]).splitlines()[-1] == "local"
        again = TRIED["folder"].replace("x = [1, 2, 3]", "assert x == [1, 2, 3]")
        assert again != TRIED["folder"]
        computer.must(again)


def test_s3(tmp_path):
    """It says ``verified``, and the same line brings everything back on a machine with an empty disk."""
    with (
        moto_server(tmp_path / "server") as server,
        Computer(tmp_path / "here", **server.credentials) as here,
    ):
        server.create_bucket("my-bucket")
        first, again = (
            TRIED[name].replace("http://127.0.0.1:9000", server.url) for name in ("s3", "s3 again")
        )
        assert server.url in first
        assert here.must(first).splitlines()[-1] == "verified"
        with Computer(tmp_path / "there", **server.credentials) as there:
            assert there.must(again).splitlines()[-1] == "[1, 2, 3]"


def test_hugging_face(tmp_path):
    """The set-up of S3 with an address of Hugging Face, whose gateway has the owner before the bucket."""
    with (
        moto_server(tmp_path / "server") as server,
        FlakyProxy(server.port) as gateway,
        Computer(tmp_path / "here", **server.credentials) as here,
    ):
        server.create_bucket("my-state")
        gateway.strip = "/ana"
        store = f"hf://buckets/ana/my-state?endpoint={gateway.url}"
        first, again = (
            re.sub(r'^store = ".*', f"store = {store!r}", TRIED[name], flags=re.MULTILINE)
            for name in ("s3", "s3 again")
        )
        assert store in first
        assert here.must(first).splitlines()[-1] == "verified"
        here.wipe()
        assert here.must(again).splitlines()[-1] == "[1, 2, 3]"


def test_drive(tmp_path):
    """It says ``verified``, with the credential as a sign-in at home leaves it."""
    with DriveServer() as drive, Computer(tmp_path, GDRIVE_CREDENTIALS=drive.credential()) as computer:
        code = TRIED["gdrive"].replace("gdrive://keepstate", drive.address())
        assert drive.url in code
        assert computer.must(code).splitlines()[-1] == "verified"
        computer.wipe()
        computer.must(code.replace("x = [1, 2, 3]", "assert x == [1, 2, 3]"))


def test_every_call_of_start_is_one_that_start_takes():
    """Its arguments are known, and the store is one that can be read."""
    known = signature(keepstate.start).parameters.keys() | POLICIES
    given = list(calls())
    assert len(given) >= 9
    for arguments in given:
        assert arguments.keys() <= known
        store = arguments.get("store")
        if isinstance(store, ast.Constant):
            read_address(store.value)


@pytest.mark.parametrize("address", sorted(set(re.findall(r"\b(?:s3|gs|az|hf|gdrive)://[^\s`\"]+", PAGE))))
def test_every_address_on_the_page_is_one(address):
    """Those in the text, too: with the options that they are said to have."""
    assert str(read_address(address)) == address


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+Error)`", PAGE))))
def test_every_error_on_the_page_is_one_of_ours(name):
    """And can be imported from where users look."""
    assert issubclass(getattr(keepstate.errors, name), keepstate.KeepstateError)


def test_links_within_the_page_lead_somewhere():
    """Each to a heading."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
