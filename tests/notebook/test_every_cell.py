"""A notebook that is killed after any cell and run on gives what it gives when it is left alone."""

from pathlib import Path

import pytest
from kernels import Kernel

START = "import keepstate\nsession = keepstate.start(store='store', track='all', interval=3600)"
DATA = Path(__file__).parent.parent / "data"
CELLS = [cell.strip() for cell in (DATA / "notebook.py").read_text().split("# %%\n")[1:]]
LOOK = (DATA / "look_at_everything.py").read_text()


def finish(kernel, cells):
    for cell in cells:
        kernel.run(cell)
    return kernel.run(LOOK).text


def killed_after(k, directory):
    directory.mkdir()
    first = Kernel(directory)
    for cell in [START, *CELLS[: k + 1]]:
        first.run(cell)
    first.settle()
    first.kill()
    second = Kernel(directory)
    said = second.run(START).text
    seen = finish(second, CELLS[k + 1 :])
    second.shutdown()
    return said, seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("undisturbed"))
    kernel.run(START)
    seen = finish(kernel, CELLS)
    kernel.shutdown()
    return seen


@pytest.mark.parametrize("k", range(len(CELLS)))
def test_a_notebook_killed_after_any_cell_ends_as_if_it_had_not_been(undisturbed, tmp_path, k):
    """Run to cell k, kill, start again, run the rest: all variables are equal, and so are random streams."""
    said, seen = killed_after(k, tmp_path / "notebook")
    pairs = zip(undisturbed.splitlines(), seen.splitlines(), strict=False)
    different = [(a[:200], b[:200]) for a, b in pairs if a != b]
    assert seen == undisturbed, (CELLS[k], different[:5], said)
