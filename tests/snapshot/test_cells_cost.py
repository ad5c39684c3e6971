"""What thousands of recorded cells cost a snapshot."""

from standing_still import Saver

from keepstate._model.cells import Cell
from keepstate._repository import Repository
from keepstate._snapshot import decode_cells

CELLS = 5000
BOUND_BYTES = 24 << 10
"""For one cell more: the chunk that grows (16 KiB before compression), the list of the others (7 KiB)."""


def cell(number):
    source = f"df_{number} = clean(raw, step={number})\n" + f"df_{number}['total'] = {number * 7919}\n" * 12
    name = f"df_{number}"
    return Cell(
        number, source, ["clean", "raw"], [name], [name], [], "well", "2026-01-01T00:00:00Z", 0.1, "ab" * 8
    )


def test_one_more_of_five_thousand_cells_writes_little(tmp_path):
    """What is there already is stored once, and all of it is read back."""
    repository = Repository.open(tmp_path / "store", create=True)
    saver = Saver(repository)
    cells = tuple(map(cell, range(CELLS)))
    first = saver.save({"x": [0]}, cells=cells)
    assert first.commit.manifest.written_bytes < 1 << 20
    for number in range(20):
        cells = (*cells, cell(CELLS + number))
        manifest = saver.save({"x": [number + 1]}, cells=cells).commit.manifest
        assert manifest.written_bytes < BOUND_BYTES
    assert decode_cells(repository.read(manifest.cells, member="me")) == list(cells)


def test_records_of_before_are_read(tmp_path):
    """Number and source were all that there was."""
    assert decode_cells(b'[1,"x = 1"]\n[null,"y"]') == [Cell(1, "x = 1"), Cell(None, "y")]


def test_what_is_not_known_yet_is_ignored(tmp_path):
    """A later version may add to the end."""
    assert decode_cells(b'[1,"x",[],["x"],[],[],"well","",null,"",false,false,"new"]')[0].binds == ["x"]
