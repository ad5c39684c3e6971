"""Where results are: found, read back and checked, cleared, pruned; and what a damaged or full store does."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from keepstate._model.manifest import RESULTS
from keepstate._repository import Repository
from keepstate.errors import CodecError, InvalidInputError, NotFoundError, NotKeptWarning

BIG = """
import numpy as np
@keepstate.cache
def f(n, size=300_000):
    print('ran')
    return np.random.default_rng(n).random(size)
"""


def packs(store):
    return sorted(store.glob("members/*/packs/*/*.pack"))


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_damaged_result_is_a_miss_and_is_kept_anew(notebook, where):
    """One byte is enough; what was computed again is whole, and is found by the next session."""
    notebook.run(BIG)
    value = notebook.get("f(1)")
    for pack in packs(notebook.store):
        raw = bytearray(pack.read_bytes())
        at = {"first": 100, "middle": len(raw) // 2, "last": len(raw) - 5000}[where]
        raw[at] ^= 1
        pack.write_bytes(raw)
    notebook.restart()
    notebook.run(BIG)
    with pytest.warns(NotKeptWarning, match="what is kept cannot be used"):
        assert (notebook.get("f(1)") == value).all()
    assert notebook.runs == 1
    assert (notebook.get("f(1)") == value).all()
    assert notebook.runs == 1
    notebook.restart()
    notebook.run(BIG)
    assert (notebook.get("f(1)") == value).all()
    assert notebook.runs == 0


def test_a_damaged_manifest_is_a_miss(notebook):
    """It is not taken for a result of anything."""
    notebook.run(BIG)
    notebook.get("f(1)")
    (manifest,) = notebook.store.glob("members/*/manifests/*/*/*.manifest")
    raw = bytearray(manifest.read_bytes())
    raw[-3] ^= 1
    manifest.write_bytes(raw)
    notebook.restart()
    notebook.run(BIG)
    notebook.get("f(1)")
    assert notebook.runs == 1


def test_a_value_that_came_back_as_another_is_not_given(notebook, monkeypatch):
    """Bytes may be whole and the library may make something else of them."""
    cell = (
        "class A:\n    def __init__(self, v): self.v = v\n"
        "    def __setstate__(self, state): vars(self).update(state)\n"
        "@keepstate.cache\ndef f():\n    print('ran')\n    return A(1)"
    )
    notebook.run(cell)
    notebook.get("f()")
    notebook.restart()
    notebook.run(cell)
    notebook.run("A.__setstate__ = lambda self, state: vars(self).update(v=2)")
    # The class is part of the key here; a result of another function need not name it.
    head = notebook.results.of_function("__main__.f")[0]
    with pytest.raises(Exception, match="came back as something else"):
        notebook.results.read(head)


def test_a_value_whose_class_is_gone_is_not_given(notebook):
    """It would come with a class of its own, which is no other's."""
    notebook.run("class A: pass\n@keepstate.cache\ndef f(): return A()")
    notebook.get("f()")
    head = notebook.results.of_function("__main__.f")[0]
    assert type(notebook.results.read(head)["result"]) is notebook.get("A")
    notebook.run("class A: changed = True")
    with pytest.raises(CodecError, match="A, which is not there as it was"):
        notebook.results.read(head)


def test_a_store_that_fails_costs_no_call(notebook):
    """Its folder is gone: the function runs and says so."""
    import shutil

    notebook.run(BIG)
    notebook.get("f(1)")
    shutil.rmtree(notebook.store)
    notebook.store.write_text("a file")
    with pytest.warns(NotKeptWarning):
        assert len(notebook.get("f(1)")) == 300_000
    assert notebook.runs == 2


def test_a_full_disk_costs_no_call(notebooks, tmp_path):
    """Results leave room for the state of the notebook."""
    notebook = notebooks()
    floor = notebook.results.repository.room("m").free_bytes // 3
    notebook.results.repository = Repository.open(notebook.store, create=False, floor_bytes=floor)
    notebook.run(BIG)
    with pytest.warns(NotKeptWarning, match="would leave less on the disk"):
        notebook.get("f(1)")
    assert notebook.get("f.check_call_in_cache(1)") is False


def test_a_result_larger_than_half_a_budget_is_not_kept(notebooks):
    """It would go at the next prune, and others with it."""
    notebook = notebooks(budget_bytes=4_000_000)
    notebook.run(BIG)
    with pytest.warns(NotKeptWarning, match="half of the budget"):
        notebook.get("f(1)")


def test_equal_results_are_stored_once(notebook):
    """Chunks are shared, as with snapshots."""
    notebook.run(BIG)
    notebook.get("f(1)")
    before = sum(pack.stat().st_size for pack in packs(notebook.store))
    notebook.run("@keepstate.cache\ndef g(): return np.random.default_rng(1).random(300_000)\ng()")
    assert sum(pack.stat().st_size for pack in packs(notebook.store)) < before * 1.01


def test_another_notebook_of_the_project_finds_the_result(notebooks):
    """The key says all that matters."""
    one = notebooks("one")
    one.run(BIG)
    one.get("f(1)")
    other = notebooks("other")
    other.run(BIG)
    other.get("f(1)")
    assert other.runs == 0


def test_cleared_results_are_not_found_again(notebook):
    """Those of other functions are."""
    notebook.run(BIG + "@keepstate.cache\ndef g(): return 1")
    notebook.get("f(1), f(2), g()")
    notebook.get("f.clear()")
    notebook.restart()
    notebook.run(BIG + "@keepstate.cache\ndef g(): return 1")
    assert notebook.get("[f.check_call_in_cache(1), f.check_call_in_cache(2), g.check_call_in_cache()]") == (
        [False, False, True]
    )
    notebook.get("f(1)")
    assert notebook.get("f.check_call_in_cache(1)")


def test_clearing_leaves_what_other_notebooks_have_made(notebooks):
    """A function of theirs may be called the same."""
    other = notebooks("other")
    other.run("@keepstate.cache\ndef f(n): return 'another'")
    other.get("f(1)")
    one = notebooks("one")
    one.run(BIG)
    one.get("f(1)")
    one.get("f.clear()")
    other.restart()
    other.run("@keepstate.cache\ndef f(n): return 'another'")
    assert other.get("f.check_call_in_cache(1)")


def test_a_callback_says_when_a_result_has_had_its_time(notebook):
    """It is told when and how long, as joblib tells it."""
    notebook.run(
        "told = []\ndef valid(metadata):\n    told.append(metadata)\n    return answer\n"
        "@keepstate.cache(cache_validation_callback=valid)\ndef f(x):\n    print('ran')\n    return x"
    )
    notebook.run("answer = True\nf(1); f(1)")
    assert notebook.runs == 1
    (told,) = notebook.get("told")
    assert told["input_args"] == {"x": "1"}
    assert told["time"] > 1.7e9
    assert told["duration"] >= 0
    notebook.run("answer = False\nf(1); f(1)")
    assert notebook.runs == 3


def test_shelved_results_are_read_when_they_are_asked_for(notebook):
    """The reference travels, and says when what it stood for is gone."""
    notebook.run(BIG)
    notebook.run("r = f.call_and_shelve(1); again = f.call_and_shelve(1)")
    assert notebook.runs == 1
    value = notebook.get("f(1)")
    assert (notebook.get("again").get() == value).all()
    assert (pickle.loads(pickle.dumps(notebook.get("r"))).get() == value).all()
    notebook.get("r").clear()
    with pytest.raises(NotFoundError, match="not there any more"):
        notebook.get("again").get()
    assert notebook.get("f.check_call_in_cache(1)") is False


def test_what_cannot_be_kept_is_shelved_in_memory(notebook):
    """As joblib does where nothing is kept."""
    notebook.run("@keepstate.cache\ndef f(): return (i for i in [7])")
    with pytest.warns(NotKeptWarning):
        notebook.run("r = f.call_and_shelve()")
    assert next(notebook.get("r").get()) == 7


def test_call_runs_in_any_case_and_keeps_what_it_gives(notebook):
    """joblib's way to force it."""
    notebook.run(BIG)
    value, metadata = notebook.get("f.call(1)")
    assert metadata["input_args"]["n"] == "1"
    notebook.get("f.call(1)")
    assert notebook.runs == 2
    assert (notebook.get("f(1)") == value).all()
    assert notebook.runs == 2


def test_a_plain_memory_of_joblib_is_refused(notebook):
    """It compares the text of the function alone."""
    joblib = pytest.importorskip("joblib")
    notebook.run("@keepstate.cache\ndef f(): pass")
    with pytest.raises(InvalidInputError, match="decorate with"):
        joblib.Memory("anywhere", backend="keepstate")


@pytest.mark.parametrize(
    "wrong", ["keepstate.cache(3)", "keepstate.cache(int)", "keepstate.cache(ignore='x')(len)"]
)
def test_only_functions_are_decorated(notebook, wrong):
    """And options are checked at once."""
    with pytest.raises(InvalidInputError):
        notebook.get(wrong)


def test_decorating_twice_is_decorating_once(notebook):
    """The inner one is taken out."""
    notebook.run("@keepstate.cache\n@keepstate.cache\ndef f(): return 1")
    assert type(notebook.get("f.func")).__name__ == "function"
    assert notebook.get("f.__name__") == "f"


def test_arguments_that_look_secret_are_not_written_down(notebook):
    """They count, and only their digest is kept."""
    notebook.run("@keepstate.cache\ndef f(api_key, url): return 1")
    notebook.get("f('very-private', url='ghp_' + 'a' * 36)")
    (head,) = notebook.results.of_function("__main__.f")
    assert "private" not in str(head.result)
    assert "aaaa" not in str(head.result)


# --- retention


def kept(notebook, **wishes):
    notebook.results.repository.prune(**wishes)
    return notebook.results.repository.heads(notebook=RESULTS)


def test_prune_keeps_the_newest_result_of_each_call(notebook):
    """However old; and none before it."""
    notebook.run(BIG)
    notebook.get("f(1, 10), f(2, 10), f.call(1, 10)")
    assert len(notebook.results.repository.heads()) == 3
    assert len(kept(notebook)) == 2
    assert notebook.get("f.check_call_in_cache(1, 10) and f.check_call_in_cache(2, 10)")


def test_a_budget_takes_the_oldest_results_first(notebook):
    """And all of them, if it must."""
    notebook.run(BIG)
    notebook.get("f(1), f(2)")
    results = notebook.results
    sizes = results.repository.held_bytes("m")
    notebook.get("f(3)")
    left = kept(notebook, budget_bytes=sizes + 10_000)
    assert len(left) == 2
    assert notebook.get("[f.check_call_in_cache(n) for n in (1, 2, 3)]") == [False, True, True]
    assert len(kept(notebook, budget_bytes=10_000)) == 0


def test_what_is_cleared_stays_cleared_within_a_budget(notebook):
    """It says that an older copy elsewhere is not to be used, and takes a few bytes."""
    notebook.run(BIG)
    notebook.get("f(1), f.clear()")
    (left,) = kept(notebook, budget_bytes=1)
    assert left.result.cleared


def test_a_full_store_lets_half_of_the_results_go(notebook):
    """They can be computed again; the next save of the state may need their room."""
    from keepstate._session.identity import Identity
    from keepstate._session.options import Options
    from keepstate._session.pruning import Pruning

    notebook.run(BIG)
    notebook.get("[f(n, 10) for n in range(5)]")
    options = Options.__new__(Options)
    for name, value in {"keep_last": None, "budget_bytes": None}.items():
        object.__setattr__(options, name, value)
    repository = notebook.results.repository
    Pruning(repository, Identity("p", "m", "n"), options, "none", notebook.results.clock).make_room()
    assert notebook.get("[f.check_call_in_cache(n, 10) for n in range(5)]") == [
        False,
        False,
        False,
        True,
        True,
    ]


BESIDE = """
import numpy as np, keepstate
s = keepstate.start(store="store", budget="3500kB", notebook="n")
@keepstate.cache
def heavy(n): return np.random.default_rng(n).random(150_000)
def state(n): return np.random.default_rng(1000 + n).random(100_000)
"""


def test_results_never_take_the_room_of_the_state(tmp_path):
    """Within a budget the results go, and all of the state comes back."""
    first = run_script(
        tmp_path,
        """
for n in range(4):
    x = state(n); keepstate.track("x"); keepstate.snapshot(); heavy(n)
s._saving.pruning.now()
print(len(keepstate.snapshots()), [heavy.check_call_in_cache(n) for n in range(4)], s.status().error)
""",
    )
    assert first == "4 [False, False, False, False] None"
    assert run_script(tmp_path, "print((x == state(3)).all(), len(keepstate.snapshots()))") == "True 4"


def run_script(folder, code):
    """Run a script with a session in a process of its own; give the last line that it prints."""
    path = folder / "script.py"
    path.write_text(BESIDE + code)
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE", "JPY_"))
    }
    done = subprocess.run(
        [sys.executable, str(path)], cwd=folder, capture_output=True, text=True, check=False, env=outside
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_notebook_may_not_be_called_as_the_place_of_results(tmp_path):
    """Its states would be taken for results."""
    import keepstate
    from keepstate.errors import IdentityError

    with pytest.raises(IdentityError, match="another name"):
        keepstate.start(store=tmp_path / "store", notebook=RESULTS, namespace={})


def test_a_kept_function_that_wraps_a_kept_one_runs_itself(notebook):
    """Though it has the attributes of the other one."""
    notebook.run("import functools\n@keepstate.cache\ndef g(a): return a")
    notebook.run("@keepstate.cache\n@functools.wraps(g)\ndef h(a): return g(a) + 10")
    assert notebook.get("[h(1), h(1), g(1)]") == [11, 11, 1]


@pytest.mark.parametrize(
    ("shown", "is_shared"),
    [
        ("w[:-1], w[-1:]", False),  # as the coefficients and the intercept of a linear model
        ("w[2:], w[1:4]", True),
        ("w[:2], w[4:], w[1:5]", True),
        ("w, w[::-1]", True),
    ],
)
def test_arrays_of_one_memory_come_back_with_what_they_share(notebook, shown, is_shared):
    """Elements that two of them show are those of both; others need not stand beside each other."""
    notebook.run(
        "import numpy as np\n@keepstate.cache\ndef f():\n    print('ran')\n    w = np.arange(6.0)\n"
        f"    return {shown}"
    )
    first, second = notebook.get("f()"), notebook.get("f()")
    assert notebook.runs == 1
    assert [each.tolist() for each in first] == [each.tolist() for each in second]
    assert np.shares_memory(second[0], second[-1]) is is_shared
