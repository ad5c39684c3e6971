"""A notebook that is killed after any cell and run on gives what it gives when it is left alone."""

import shutil
from pathlib import Path

import pytest
from kernels import Kernel

START = "import keepstate\nsession = keepstate.start(store='store', track='all', interval=3600, restore={!r})"
DATA = Path(__file__).parent.parent / "data"
CELLS = [cell.strip() for cell in (DATA / "notebook.py").read_text().split("# %%\n")[1:]]
KILLS = [
    pytest.param(k, mode, marks=[pytest.mark.torture] if k % 12 != rest else [])
    for k in range(len(CELLS))
    for mode, rest in (("eager", 0), ("lazy", 6))
]
"""After every sixth cell, in one of two ways; ``make torture`` has the others. What a cell makes is there at
later kills, too."""
LOOK = (DATA / "look_at_everything.py").read_text()


def finish(kernel, cells):
    for cell in cells:
        kernel.run(cell)
    return kernel.run(LOOK).text


def taken_up_after(k, directory, mode):
    """Give what another kernel said that began there, and what it saw after it had run the rest."""
    kernel = Kernel(directory)
    try:
        said = kernel.run(START.format(mode)).text
        return said, finish(kernel, CELLS[k + 1 :])
    finally:
        kernel.end()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("undisturbed"))
    kernel.run(START.format("auto"))
    seen = finish(kernel, CELLS)
    kernel.shutdown()
    return seen


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """After each cell, a copy of all that a kill at that moment leaves behind: the files; then kill it."""
    places = tmp_path_factory.mktemp("left")
    directory = tmp_path_factory.mktemp("killed") / "notebook"
    directory.mkdir()
    kernel = Kernel(directory)
    kernel.run(START.format("auto"))
    for k, cell in enumerate(CELLS):
        kernel.run(cell)
        kernel.settle()
        for mode in ("eager", "lazy"):
            shutil.copytree(directory, places / str(k) / mode)
    kernel.kill()
    return places


@pytest.mark.slow
@pytest.mark.parametrize(("k", "mode"), KILLS)
def test_a_notebook_killed_after_any_cell_ends_as_if_it_had_not_been(undisturbed, left, k, mode):
    """Take up what was left after cell k, run the rest: all variables and random streams are equal."""
    said, seen = taken_up_after(k, left / str(k) / mode, mode)
    pairs = zip(undisturbed.splitlines(), seen.splitlines(), strict=False)
    different = [(a[:200], b[:200]) for a, b in pairs if a != b]
    assert seen == undisturbed, (CELLS[k], different[:5], said)
