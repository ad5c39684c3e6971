"""``keepstate diff``."""

import numpy as np
import pandas as pd
from stores import save, snapshot_id


def two(path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    save(path, {"frame": frame, "kept": [1], "gone": 1, "kind": [1]}, number=1)
    save(path, {"frame": frame.assign(c=0.5), "kept": [1], "new": np.arange(3), "kind": "text"}, number=2)


def test_each_name_is_told(keepstate, tmp_path):
    """Added, removed, rebound and changed names are listed, unchanged ones counted."""
    two(tmp_path / "store")
    found = keepstate("diff", "01", "02", "--store", tmp_path / "store", "--json").document
    assert {each["name"]: each["what"] for each in found["changes"]} == {
        "frame": "changed",
        "gone": "removed",
        "new": "added",
        "kind": "rebound",
    }
    assert found["unchanged"] == 1
    frame = next(each for each in found["changes"] if each["name"] == "frame")
    assert (frame["before"]["shape"], frame["after"]["shape"]) == ([2, 2], [2, 3])


def test_text(keepstate, tmp_path):
    """A person reads what happened to the frame."""
    two(tmp_path / "store")
    found = keepstate("diff", "01", "02", "--store", tmp_path / "store", COLUMNS="200")
    assert found.code == 0
    assert "columns added: c (float64)" in found.out


def test_no_code_of_the_store_runs(keepstate, tmp_path):
    """A value whose decoding would write a file is compared without decoding it."""
    mark = tmp_path / "mark"
    for number in (1, 2):
        save(tmp_path / "store", {"trap": [Trap(mark), number], "other": number}, number=number)
    found = keepstate("diff", "01", "02", "--store", tmp_path / "store", "--json").document
    assert [each["name"] for each in found["changes"]] == ["other", "trap"]
    assert not mark.exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_unknown_id(keepstate, tmp_path):
    """An id that is not there is wrong usage."""
    two(tmp_path / "store")
    found = keepstate("diff", "01", "ff", "--store", tmp_path / "store", "--json")
    assert (found.code, found.document["kind"]) == (2, "not-found")


def test_same_snapshot(keepstate, tmp_path):
    """Nothing differs between a snapshot and itself, told without reading a group."""
    two(tmp_path / "store")
    found = keepstate("diff", "01", snapshot_id(1), "--store", tmp_path / "store", "--json").document
    assert (found["changes"], found["unchanged"]) == ([], 4)
