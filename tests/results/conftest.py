"""Functions whose results are kept, without a session around them; and kernels with one."""

import linecache
import sys
import types
from itertools import count

import pytest
from kernels import Kernel

from keepstate._api import _running_results
from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import Repository
from keepstate._results import calls, running
from keepstate._results.store import Results

_numbers = count(1)


class Notebook:
    """Variables of a notebook, and the results that are kept of its functions."""

    def __init__(self, store, output, notebook="n", **options):
        self.store = store
        self._output = output
        self._ran = 0
        self.notebook = notebook
        self.options = options
        self.said = []
        self.restart()

    def restart(self):
        """Forget everything but what is in the store, as a new kernel does."""
        self.variables = {"__name__": "__main__"}
        self.results = Results(
            repository=Repository.open(self.store, create=True, floor_bytes=0),
            project="p",
            member="m",
            notebook=self.notebook,
            namespace=self.variables,
            host="plain",
            clock=SYSTEM_CLOCK,
            say=self.said.append,
            **self.options,
        )
        calls._said.clear()
        running.find_by(lambda: self.results)
        self._output.readouterr()
        self._ran = 0
        self.run("import keepstate")

    def run(self, code):
        """Run a cell; its text is where that of IPython's cells is."""
        name = f"<cell-{next(_numbers)}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        exec(compile(code, name, "exec"), self.variables)

    def get(self, expression):
        """Evaluate an expression."""
        return eval(expression, self.variables)

    @property
    def runs(self):
        """How often anything has printed that it ran, since the notebook was started."""
        self._ran += self._output.readouterr().out.count("ran")
        return self._ran


@pytest.fixture
def notebook(tmp_path, capsys):
    """A notebook with an empty store."""
    yield Notebook(tmp_path / "store", capsys)
    running.find_by(_running_results)


@pytest.fixture
def notebooks(tmp_path, capsys):
    """Make several notebooks with one store."""
    yield lambda name="n", **options: Notebook(tmp_path / "store", capsys, name, **options)
    running.find_by(_running_results)


@pytest.fixture
def local_module(tmp_path, monkeypatch):
    """Write a module of the user's, or write it anew, and have it imported."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        sys.modules.pop(name, None)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def made_module(monkeypatch):
    """Make a module that no file defines."""

    def make(name):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


@pytest.fixture
def kernel(tmp_path):
    """Start kernels with one store; what still lives at the end is killed."""
    started = []

    def start(code="import keepstate\ns = keepstate.start(store='store', interval=60)", **environment):
        kernel = Kernel(tmp_path, **environment)
        started.append(kernel)
        kernel.said = kernel.run(code).text if code else ""
        return kernel

    yield start
    for one in started:
        one.end()
