"""``keepstate export``."""

import json
import pickle
import sys

import numpy as np
import pandas as pd
from stores import files, save, snapshot_id


def test_array(keepstate, store, tmp_path):
    """An array becomes an ``.npy`` file that numpy reads as the same array."""
    done = keepstate("export", "array", "--to", "out.npy", "--store", store)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.arange(6.0) * 3)


def test_frame(keepstate, store, tmp_path):
    """A frame becomes CSV without a column that only counts its rows."""
    done = keepstate("export", "frame", "--to", "out.csv", "--store", store)
    assert done.code == 0, done.err
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines() == ["a,b", "1,x", "2,ü", "3,z"]


def test_index_that_says_something(keepstate, tmp_path):
    """An index that does more than count is a column of the CSV."""
    save(tmp_path / "store", {"frame": pd.DataFrame({"a": [1, 2]}, index=["x", "y"])})
    keepstate("export", "frame", "--to", "out.csv", "--store", tmp_path / "store")
    assert (tmp_path / "out.csv").read_text().splitlines() == [",a", "x,1", "y,2"]


def test_json(keepstate, store, tmp_path):
    """Dicts and lists of plain values become JSON."""
    done = keepstate("export", "settings", "--to", "out.json", "--store", store)
    assert done.code == 0, done.err
    expected = {"rate": 0.5, "layers": [1, 2], "name": "größe", "none": None}
    assert json.loads((tmp_path / "out.json").read_bytes()) == expected


def test_text(keepstate, store, tmp_path):
    """A text becomes UTF-8, its line ends untouched."""
    done = keepstate("export", "text", "--to", "out.txt", "--store", store)
    assert done.code == 0, done.err
    assert (tmp_path / "out.txt").read_bytes() == "état 3\r\n".encode()


def test_pickle(keepstate, store, tmp_path):
    """Anything becomes a pickle, shared objects still shared."""
    done = keepstate("export", "holder", "--to", "out.pkl", "--store", store)
    assert done.code == 0, done.err
    pd.testing.assert_frame_equal(
        pickle.loads((tmp_path / "out.pkl").read_bytes())["frame"],
        pd.DataFrame({"a": [1, 2, 3], "b": [*"xüz"]}),
    )


def test_class_of_the_notebook(keepstate, tmp_path):
    """An object of a class that the notebook defined takes its class along."""
    namespace = {"__name__": "__main__"}
    exec("class Point:\n    def __init__(self, x): self.x = x\n    def double(self): return twice(self.x)\n"
         "def twice(x): return 2 * x\npoint = Point(4)", namespace)  # fmt: skip
    main = vars(sys.modules["__main__"])
    save(tmp_path / "store", {"point": namespace["point"]}, namespace=namespace)
    assert "Point" not in main
    done = keepstate("export", "point", "--to", "out.pkl", "--store", tmp_path / "store")
    assert done.code == 0, done.err
    assert pickle.loads((tmp_path / "out.pkl").read_bytes()).double() == 8


def test_unknown_suffix(keepstate, store):
    """A suffix that no format has is wrong usage, and those that are there are listed."""
    done = keepstate("export", "array", "--to", "out.hdf5", "--store", store)
    assert done.code == 2
    assert all(each in done.err for each in (".npy", ".csv", ".parquet", ".json", ".txt", ".pkl"))


def test_value_that_does_not_fit(keepstate, store, tmp_path):
    """A value of another kind than the suffix is for is wrong usage."""
    done = keepstate("export", "text", "--to", "out.npy", "--store", store, "--json")
    assert (done.code, done.document["kind"]) == (2, "invalid-input")
    assert not (tmp_path / "out.npy").exists()


def test_file_that_is_there(keepstate, store, tmp_path):
    """A file that is there is not replaced unasked."""
    (tmp_path / "out.txt").write_text("mine")
    assert keepstate("export", "text", "--to", "out.txt", "--store", store).code == 2
    assert (tmp_path / "out.txt").read_text() == "mine"


def test_force(keepstate, store, tmp_path):
    """``--force`` replaces a file."""
    (tmp_path / "out.txt").write_text("mine")
    assert keepstate("export", "text", "--to", "out.txt", "--force", "--store", store).code == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").startswith("état 3")


def test_nothing_is_left_beside_the_file(keepstate, store, tmp_path):
    """Only the file itself appears in its folder."""
    (tmp_path / "out").mkdir()
    keepstate("export", "text", "--to", "out/text.txt", "--store", store)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["text.txt"]


def test_at(keepstate, store, tmp_path):
    """``--at`` chooses the snapshot."""
    done = keepstate("export", "text", "--to", "out.txt", "--at", "01", "--store", store, "--json")
    assert done.document["snapshot"] == snapshot_id(1)
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").startswith("état 1")


def test_best_and_not_weakest(keepstate, tmp_path):
    """Unasked, a newer state from the middle of library code does not displace a better one."""
    path = tmp_path / "store"
    save(path, {"x": "good"}, number=1)
    save(path, {"x": "torn"}, number=2, consistency="operation")
    keepstate("export", "x", "--to", "out.txt", "--store", path)
    assert (tmp_path / "out.txt").read_text() == "good"


def test_several_notebooks(keepstate, team):
    """Where the store holds several notebooks it must be said which, and they are listed."""
    done = keepstate("export", "x", "--to", "out.json", "--store", team, "--json")
    assert (done.code, done.document["kind"]) == (2, "ambiguous")
    assert "--project q --member ana" in done.document["error"]
    assert "--member ben --notebook m" in done.document["error"]


def test_notebook_that_is_named(keepstate, team, tmp_path):
    """Options that leave one notebook are enough."""
    done = keepstate("export", "x", "--to", "out.json", "--store", team, "--member", "ben")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out.json").read_text()) == 3


def test_unknown_name(keepstate, store):
    """A name that the snapshot lacks is wrong usage, and those that it has are listed."""
    done = keepstate("export", "nothing", "--to", "out.pkl", "--store", store)
    assert done.code == 2
    assert "frame" in done.err


def test_name_that_was_not_kept(keepstate, store):
    """Of a name that was not kept the reason is told."""
    done = keepstate("export", "lock", "--to", "out.pkl", "--store", store)
    assert done.code == 2
    assert "_thread.lock" in done.err


def test_damaged_value(keepstate, tmp_path):
    """A damaged value is an error, and no file."""
    path = tmp_path / "store"
    text = b"what is not shortened by compression: 0123456789"
    save(path, {"x": text.decode()})
    pack = next(each for each in files(path, ".pack") if text in each.read_bytes())
    pack.write_bytes(pack.read_bytes().replace(text, b"b" * len(text)))
    done = keepstate("export", "x", "--to", "out.txt", "--store", path, "--json")
    assert (done.code, done.document["kind"]) == (1, "integrity")
    assert not (tmp_path / "out.txt").exists()


def test_what_objects_print_is_not_the_answer(keepstate, tmp_path):
    """Code of kept objects that prints while it is decoded does not spoil the document."""
    namespace = {"__name__": "__main__"}
    exec("class Loud:\n    def __reduce__(self): return print, ('LOUD',)\nloud = Loud()", namespace)
    save(tmp_path / "store", {"loud": namespace["loud"]}, namespace=namespace)
    done = keepstate("export", "loud", "--to", "out.pkl", "--store", tmp_path / "store", "--json")
    assert done.code == 0, done.err
    assert done.document["name"] == "loud"
    assert "LOUD" in done.err


def test_help_warns(keepstate):
    """The help says that decoding runs the code of the kept objects."""
    assert "runs the code of the kept objects" in " ".join(keepstate("export", "--help").out.split())
