"""The least set of recorded cells that makes a missing name again."""

import msgspec
import pytest

from keepstate._model.cells import Cell
from keepstate._session.effects import effects_of
from keepstate._session.slicing import Slicer, explain_untracked


def cell(number, reads="", binds="", changes="", **more):
    return Cell(
        number, f"cell {number}", reads.split(), binds.split(), changes.split(), **{"ended": "well", **more}
    )


CHAIN = [
    cell(1, "", "raw"),
    cell(2, "raw", "clean"),
    cell(3, "", "unrelated"),
    cell(4, "clean", "table"),
    cell(5, "unrelated", "other"),
    cell(6, "table", "", "table"),
    cell(7, "other", "more"),
    cell(8, "table", "rows"),
    cell(9, "more rows", "last"),
    cell(10, "table", "", "table"),
]


def steps(cells, name, live, **more):
    found = Slicer(cells, live=set(live.split()), **more).make([name])
    assert not found.impossible, found.impossible
    return [cells[at].number for at in sorted(found.steps)]


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ("clean", [4, 6, 8]),
        ("table", [8]),
        ("", [1, 2, 4, 6, 8]),
        ("raw other", [2, 4, 6, 8]),
    ],
)
def test_of_ten_cells_those_that_matter_are_taken(live, expected):
    """What was restored is taken as it is; what changed an input before it was read belongs to it."""
    assert steps(CHAIN, "rows", live) == expected


def test_what_changed_the_name_since_it_was_bound_is_taken():
    """Up to the end, for the name itself."""
    assert steps(CHAIN, "table", "clean") == [4, 6, 10]


def test_a_name_made_from_itself_goes_back_further():
    """``x = x + 1`` needs the x before."""
    assert steps([cell(1, "", "x"), cell(2, "x", "x"), cell(3, "x", "y")], "y", "") == [1, 2, 3]


def test_a_live_value_that_has_changed_since_is_told():
    """With the cell that reads it and the last that changed it."""
    found = Slicer(CHAIN, live={"table"}).make(["rows"])
    assert found.newer == {"table": (7, 9)}
    assert not Slicer(CHAIN, live={"clean"}).make(["rows"]).newer


def test_a_live_value_that_a_cell_may_change_is_copied():
    """The cell of the past must not change what is here now."""
    cells = [cell(1, "", "log"), cell(2, "log", "conn", "log")]
    found = Slicer(cells, live={"log"}).make(["conn"])
    assert found.steps[1].copies == {"log"}


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (cell(2, "", "x", ended="error"), "ended with an error"),
        (cell(2, "", "x", ended="running"), "had not ended"),
        (cell(2, "", "x", is_redacted=True), "held a secret"),
        (cell(2, "", "", "", deletes=["x"]), "deleted 'x'"),
        (cell(2, "x", "", "x", ended="error"), "ended with an error"),
    ],
)
def test_a_cell_that_cannot_be_run_alike_makes_nothing(last, why):
    """An older value is never made in place of the last one."""
    found = Slicer([cell(1, "", "x"), last], live=set()).make(["x"])
    assert why in found.impossible["x"]
    assert not found.steps


def test_a_name_that_no_cell_binds_says_who_may_have():
    """As ``%run`` does."""
    found = Slicer([cell(1, is_open=True)], live=set()).make(["x"])
    assert "no recorded cell binds 'x'; cell [1] (cell 1) may have" in found.impossible["x"]


def test_what_is_impossible_costs_itself_alone():
    """The others are made."""
    found = Slicer([cell(1, "", "x"), cell(2, "gone", "y")], live=set()).make(["x", "y"])
    assert list(found.steps) == [0]
    assert "cell [2] (cell 2) needs 'gone', and no recorded cell binds 'gone'" in found.impossible["y"]


def test_a_recipe_is_preferred_to_cells():
    """Also for what others need."""
    cells = [cell(1, "", "conn"), cell(2, "conn", "cursor")]
    found = Slicer(cells, live=set(), recipes={"conn"}).make(["cursor"])
    assert (list(found.steps), found.by_recipe) == ([1], {"conn"})


def test_a_missing_name_of_an_earlier_session_is_explained():
    """Not one of this session, nor one that was deleted."""
    cells = [cell(1, "", "x y", session="a"), cell(2, "", "y", session="b"), cell(3, "x", session="b")]
    assert "cell [1]" in explain_untracked("x", cells, lineage="b")
    assert explain_untracked("y", cells, lineage="b") is None
    assert explain_untracked("z", cells, lineage="b") is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = !ls", "runs a command"),
        ("df.to_parquet('x')", "writes or removes files"),
        ("with open('x', 'a') as f: pass", "writes or removes files"),
        ("requests.post(url)", "talks to the network"),
        ("conn.execute('insert')", "may change a database"),
    ],
)
def test_what_a_cell_may_do_outside_is_warned_of(source, said):
    """As far as its code gives it away."""
    assert any(each.startswith(said) for each in effects_of(source))
    assert not effects_of("x = open('data.csv').read()")


def test_a_function_that_was_defined_alike_again_is_not_newer():
    """One that was defined otherwise is."""
    cells = [cell(1, "", "f"), cell(2, "f", "x"), msgspec.structs.replace(cell(3, "", "f"), source="cell 1")]
    found = Slicer(cells, live={"f"}, is_constant=lambda name: name == "f").make(["x"])
    assert not found.newer
    cells[2] = cell(3, "", "f")
    assert "f" in Slicer(cells, live={"f"}, is_constant=lambda name: name == "f").make(["x"]).newer
