"""What a save writes follows what has changed, whatever the size of the whole.

Each case changes something small in something large, and counts the bytes of all files that are new.
"""

import numpy as np
import pandas as pd
import pytest
from standing_still import Saver

from keepstate._repository import Repository
from keepstate._snapshot import Loader, restore_names

MIB = 1 << 20
SPARE = 64 << 10
"""For the manifest, records, lists and the frames of packs."""
STREAM_PIECE = 256 << 10
"""The longest piece of a stream; 64 KiB on average."""


class Notebook:
    """A namespace that is saved again and again."""

    def __init__(self, path, **state):
        self._path = path
        self._saver = Saver(Repository.open(path, create=True))
        self.state = state
        self.first = self.save()
        self.logical_bytes = self._saver.last.logical_bytes

    def save(self):
        """Save, and return how many bytes that has added; what was said must be true."""
        before = self._stored()
        commit = self._saver.save(self.state).commit
        added = self._stored() - before
        assert added == (0 if commit is None else commit.manifest.written_bytes)
        return added

    def _stored(self):
        return sum(path.stat().st_size for path in self._path.rglob("*") if path.is_file())

    def restored(self, name):
        repository = Repository.open(self._path, create=False)
        outcome = restore_names(Loader(repository, self._saver.last, {}), [name])
        assert outcome.failed == {}
        return outcome.restored[name]


@pytest.fixture
def notebook(tmp_path):
    return lambda **state: Notebook(tmp_path / "store", **state)


def numbers(*shape, seed=0):
    """Numbers that do not compress to speak of, so that what is written is what was changed."""
    return np.random.default_rng(seed).random(shape)


def test_rows_of_a_large_array(notebook):
    """32 MB are held and 160 kB of rows change: what is written are the chunks that they lie in."""
    a = numbers(20_000, 200)
    book = notebook(a=a)
    assert book.logical_bytes > 32_000_000
    a[5000:5100] = 1.5 + numbers(100, 200, seed=1)
    assert book.save() < 1.1 * 2 * MIB + SPARE
    assert np.array_equal(book.restored("a"), a)
    assert book.save() == 0


def test_rows_at_the_end_of_an_array(notebook):
    """An array that is made anew, longer, shares all chunks but the last."""
    book = notebook(a=numbers(20_000, 200))
    book.state["a"] = np.concatenate([book.state["a"], numbers(50, 200, seed=1)])
    assert book.save() < 1.1 * MIB + SPARE
    assert np.array_equal(book.restored("a"), book.state["a"])


@pytest.fixture
def frame():
    """24 MB in three blocks, the largest of which has eight columns."""
    return pd.DataFrame(
        {f"f{i}": numbers(250_000, seed=i) for i in range(8)}
        | {"i": np.arange(250_000), "name": [f"name {n % 1000}" for n in range(250_000)]}
    )


def same_frames(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_one_cell_of_a_float_column(notebook, frame):
    """One chunk of the column is written."""
    book = notebook(df=frame)
    frame.loc[1234, "f3"] = 5.0
    assert book.save() < 1.1 * MIB + SPARE
    same_frames(book.restored("df"), frame)


def test_one_column_more(notebook, frame):
    """A column that is added writes itself."""
    book = notebook(df=frame)
    frame["more"] = frame["f1"] * 2
    assert book.save() < 1.1 * frame["more"].nbytes + SPARE
    same_frames(book.restored("df"), frame)


def test_one_column_made_anew(notebook, frame):
    """A column that is computed anew, as in ``df["f2"] = df["f2"].fillna(0)``, writes itself.

    pandas takes it out of a block of eight; the others lie there as they were, but behind other bytes.
    """
    book = notebook(df=frame)
    for name in ("f2", "f5", "i"):
        frame[name] = frame[name] * 1.25
        assert book.save() < 1.1 * frame[name].nbytes + SPARE
        same_frames(book.restored("df"), frame)


def change_order(frame):
    return frame[sorted(frame.columns, reverse=True)]


def drop_columns(frame):
    return frame.drop(columns=["f0", "f4"])


def append_rows(frame):
    return pd.concat([frame, frame.iloc[:1]], ignore_index=True)


@pytest.mark.parametrize("change", [pd.DataFrame.copy, change_order, drop_columns, append_rows])
def test_columns_move_as_a_whole(notebook, frame, change):
    """A frame whose columns are copied, ordered anew or dropped shares them with the one before.

    pandas joins all columns of a type to one array when it copies, and takes some out when it must.
    """
    del frame["name"]  # texts lie in the stream, where a block less shifts the numbers of what is repeated
    frame["more"] = frame["f1"] * 2
    book = notebook(df=frame)
    book.state["df"] = change(frame)
    last_chunks = 9 * (frame["f0"].nbytes % MIB) if change is append_rows else 0
    assert book.save() < 1.1 * last_chunks + SPARE
    same_frames(book.restored("df"), book.state["df"])


@pytest.fixture(scope="module")
def models():
    """A dict of eight forests: 9 MB in 640 arrays, and what holds them together."""
    from sklearn.ensemble import RandomForestClassifier

    points = numbers(2000, 10)
    labels = (points[:, 0] + points[:, 1] > 1).astype(int)

    def fit(seed, trees=20):
        return RandomForestClassifier(trees, random_state=seed).fit(points, labels)

    return {f"model {i}": fit(i) for i in range(8)}, fit


def test_one_key_of_a_dict_of_models(notebook, models):
    """A model that is fitted anew writes itself, and so does one more."""
    import pickle

    held, fit = models
    book = notebook(models=dict(held))
    for key, model in (("model 3", fit(99)), ("one more", fit(100)), ("model 0", fit(101, trees=25))):
        book.state["models"][key] = model
        assert book.save() < 1.1 * len(pickle.dumps(model, 5)) + SPARE
    back = book.restored("models")
    assert list(back) == list(book.state["models"])
    points = numbers(500, 10, seed=3)
    for key, model in book.state["models"].items():
        assert np.array_equal(back[key].predict_proba(points), model.predict_proba(points))
    assert book.save() == 0


def lists(count):
    """A dict of texts → lists, as ``BASELINES`` W4 has it."""
    return {f"key_{n:08d}": [n, n % 7] for n in range(count)}


def change_value(held):
    held["key_00020000"][1] = 300  # takes a byte more


def append(held):
    held["key_00020000"].append(70_000)


def append_text(held):
    held["key_00020000"].append("a text, which is another object to remember")


def insert(held):
    entries = list(held.items())
    held.clear()
    held.update([*entries[:10_000], ("inserted", [1, 2]), *entries[10_000:]])


def delete(held):
    del held["key_00000007"]


def add_key(held):
    held["new"] = [1]


@pytest.mark.parametrize("change", [change_value, append, append_text, insert, delete, add_key])
def test_one_entry_of_a_large_dict(notebook, change):
    """One list changed, lengthened, inserted or taken away: a piece or two of the stream are written."""
    book = notebook(d=lists(30_000))
    change(book.state["d"])
    assert book.save() < SPARE
    back = book.restored("d")
    assert back == book.state["d"]
    assert list(back) == list(book.state["d"])


def test_a_list_that_grows(notebook):
    """What is appended is written, and the piece that it is in; so it is after the first is taken away."""
    book = notebook(numbers=numbers(600_000).tolist())
    for change in (
        lambda held: held.append(0.25),
        lambda held: held.pop(0),
        lambda held: held.insert(300_000, 0.5),
        lambda held: held.__setitem__(7, 0.125),
    ):
        change(book.state["numbers"])
        assert book.save() < 1.1 * STREAM_PIECE + SPARE
    assert book.restored("numbers") == book.state["numbers"]


def test_one_of_very_many_arrays(notebook):
    """Their names alone have 120 kB, which are not written again."""
    book = notebook(arrays={n: numbers(600, seed=n) for n in range(2000)})
    book.state["arrays"][7][3] = 1.0
    assert book.save() < 1.1 * 4800 + SPARE
    book.state["arrays"]["more"] = numbers(600)
    assert book.save() < 1.1 * 4800 + SPARE
    back = book.restored("arrays")
    assert all(np.array_equal(back[key], held) for key, held in book.state["arrays"].items())


def test_one_of_very_many_small_arrays(notebook):
    """They lie in the stream itself."""
    book = notebook(arrays={n: numbers(60, seed=n) for n in range(6_000)})
    assert book.logical_bytes > 2_800_000
    book.state["arrays"][7][3] = 1.0
    assert book.save() < 1.1 * STREAM_PIECE + SPARE
    book.state["arrays"]["more"] = numbers(60)
    assert book.save() < 1.1 * 2 * STREAM_PIECE + SPARE
    back = book.restored("arrays")
    assert all(np.array_equal(back[key], held) for key, held in book.state["arrays"].items())


def test_three_of_two_thousand_variables(notebook):
    """The list of all variables is not written again; nor is it for one variable more or less."""
    book = notebook(**{f"variable_{n:05d}": [n, n % 7] for n in range(2000)})
    for n in (5, 1000, 1999):
        book.state[f"variable_{n:05d}"] = [n, "changed"]
    assert book.save() < SPARE
    assert book.restored("variable_01000") == [1000, "changed"]
    assert book.restored("variable_01001") == [1001, 0]
    book.state["another"] = [1]
    del book.state["variable_00300"]
    assert book.save() < SPARE
    assert book.restored("another") == [1]
    assert book.save() == 0


def test_nothing(notebook, frame):
    """A state that has not changed writes nothing, whatever it is made of."""
    book = notebook(df=frame, d=lists(1000), a=numbers(200_000), shared=[frame])
    assert book.save() == 0
