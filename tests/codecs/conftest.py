"""A notebook in two processes: cells run and are encoded here, decoded and looked at in a new process.

The new process is forked from a server that has imported libraries, but never saw the objects.
"""

from __future__ import annotations

import json
import linecache
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keepstate import codecs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate._model.parts import Encoding

SERVER = Path(__file__).with_name("restored_process.py")


class Notebook:
    """Cells that have run in a namespace, and what came of keeping it."""

    def __init__(self, folder: Path, server: subprocess.Popen[str]) -> None:
        self._folder = folder
        self._server = server
        self._cells = 0
        self.module = types.ModuleType("__main__")
        self.namespace = vars(self.module)
        self.encoding: Encoding | None = None

    def run(self, cell: str) -> None:
        """Run a cell, its text left where IPython leaves it."""
        self._cells += 1
        filename = f"<ipython-input-{id(self)}-{self._cells}>"
        linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
        exec(compile(cell, filename, "exec", dont_inherit=True), self.namespace)

    def encode(self, *names: str, **options: object) -> Encoding:
        """Encode *names*, or all that the user bound and that is no module."""
        chosen = names or [
            name
            for name, value in self.namespace.items()
            if not name.startswith("_") and not isinstance(value, types.ModuleType)
        ]
        bindings = {name: self.namespace[name] for name in chosen}
        self.encoding = codecs.encode(bindings, namespace=self.namespace, **options)
        return self.encoding

    def check(self, code: str, *, expect_skipped: bool = False, env: dict[str, object] | None = None) -> None:
        """Decode in a new process and run *code* there; it fails by raising."""
        encoding = self.encoding
        assert encoding is not None
        assert expect_skipped or not encoding.skipped, encoding.skipped
        path = self._folder / f"state-{self._cells}-{len(list(self._folder.iterdir()))}"
        path.write_bytes(dump(encoding))
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(
            json.dumps({"state": str(path), "code": code, **(env or {})}), file=self._server.stdin, flush=True
        )
        answer = json.loads(self._server.stdout.readline())
        assert answer["error"] is None, answer["error"]

    def group_of(self, name: str) -> list[str]:
        """Return the names of the group that *name* is in."""
        assert self.encoding is not None
        for group in self.encoding.groups:
            names = [member.name for member in group.members]
            if name in names:
                return names
        raise AssertionError(f"{name} is in no group")


def dump(encoding: Encoding) -> bytes:
    """Turn an encoding into bytes, as a repository would."""
    return pickle.dumps(
        [
            (
                group.key,
                [(m.name, m.role, m.type, m.bind, m.source) for m in group.members],
                group.needs,
                group.stream,
                [(bytes(part.memory), part.itemsize, part.writable) for part in group.parts],
            )
            for group in encoding.groups
        ]
    )


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[str]]:
    """Start the process that new processes are forked from."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate()
    assert process.returncode == 0


@pytest.fixture
def notebook(
    tmp_path: Path, server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Notebook]:
    """Give a fresh notebook, whose namespace is that of ``__main__``."""
    made = Notebook(tmp_path, server)
    monkeypatch.setitem(sys.modules, "__main__", made.module)
    yield made
    for filename in [name for name in linecache.cache if name.startswith(f"<ipython-input-{id(made)}-")]:
        del linecache.cache[filename]
