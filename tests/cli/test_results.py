"""Results of functions, as the command line shows them: beside the states of notebooks, never among them."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import keepstate
keepstate.start(store="store", notebook="n")
@keepstate.cache
def heavy(n): return [n] * 1000
heavy(1); heavy(2); heavy(2)
x = 1; keepstate.track("x"); keepstate.snapshot()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One state, and two results."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "script.py").write_text(SCRIPT)
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE", "JPY_"))
    }
    subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, capture_output=True, env=outside)
    return folder / "store"


def test_log_lists_states_alone(keepstate, store):
    """However many results there are."""
    assert [each["names"] for each in keepstate("log", "--store", store, "--json").document] == [["x"]]


def test_log_lists_results_where_they_are_asked_for(keepstate, store):
    """By function, arguments and notebook."""
    said = keepstate("log", "--store", store, "--results")
    assert "__main__.heavy(n=1)" in " ".join(said.out.split())
    found = keepstate("log", "--store", store, "--results", "--json").document
    assert [each["function"] for each in found] == ["__main__.heavy"] * 2
    assert keepstate("log", "--store", store, "--results", "--notebook", "n").code == 2


def test_a_result_is_shown_by_its_id(keepstate, store):
    """As any snapshot is."""
    own = keepstate("log", "--store", store, "--results", "--json").document[0]["id"]
    assert keepstate("show", own, "--store", store, "--json").document["names"] == ["result"]


def test_usage_counts_them_apart(keepstate, store):
    """They are no snapshots, and their bytes count."""
    (found,) = keepstate("usage", "--store", store, "--json").document
    own = found["projects"]["default"]
    assert (own["snapshots"], own["results"]) == (1, 2)
    assert "1 and 2 results" in keepstate("usage", "--store", store).out


def test_export_takes_the_state(keepstate, store, tmp_path):
    """Results are no notebook that one would have to choose."""
    target = tmp_path / "x.json"
    assert keepstate("export", "x", "--store", store, "--to", target).code == 0
    assert json.loads(target.read_text()) == 1


def test_verify_reads_them(keepstate, store):
    """Every byte of theirs, too."""
    assert keepstate("verify", "--deep", "--store", store, "--json").document["snapshots"] == 3
