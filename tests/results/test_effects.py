"""A call that does more than give a result is not kept; and a kept one does no more than that."""

import pytest

from keepstate.errors import NotKeptWarning


def must_run_each_time(notebook, call, why):
    """It gives twice what it gives when nothing is kept, and says why."""
    with pytest.warns(NotKeptWarning, match=why) as said:
        notebook.get(f"[{call}, {call}]")
    assert notebook.runs == 2
    assert len([each for each in said if each.category is NotKeptWarning]) == 1


@pytest.mark.parametrize(
    ("argument", "body", "why"),
    [
        ("[]", "x.append(1)", "changes argument x"),
        ("{}", "x['a'] = 1", "changes argument x"),
        ("np.zeros(3)", "x[0] = 1", "changes argument x"),
        ("pd.DataFrame({'a': [1]})", "x['b'] = 2", "changes argument x"),
        ("A()", "x.v = 1", "changes argument x"),
        ("iter([1, 2])", "next(x)", "changes argument x"),
        ("np.random.default_rng(1)", "x.random()", "changes argument x"),
    ],
)
def test_a_function_that_changes_its_argument_is_not_kept(notebook, argument, body, why):
    """A kept result would leave the argument as it is."""
    pytest.importorskip("pandas")
    notebook.run("import numpy as np, pandas as pd\nclass A: pass")
    notebook.run(f"@keepstate.cache\ndef f(x):\n    {body}\n    print('ran')\n    return 1")
    must_run_each_time(notebook, f"f({argument})", why)


@pytest.mark.parametrize(
    ("before", "body", "why"),
    [
        ("seen = []", "seen.append(1)", "changes seen"),
        ("class A: n = 0", "A.n += 1", "changes A"),
        ("def g(): pass\ng.n = 0", "g.n += 1", "changes g"),
        ("d = {'a': []}", "d['a'].append(1)", "changes d"),
    ],
)
def test_a_function_that_changes_a_variable_of_the_notebook_is_not_kept(notebook, before, body, why):
    """Whatever it reaches it by."""
    notebook.run(f"{before}\n@keepstate.cache\ndef f():\n    {body}\n    print('ran')\n    return 1")
    must_run_each_time(notebook, "f()", why)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("random.random()", "global random numbers of random"),
        ("np.random.rand()", "global random numbers of numpy"),
        ("np.random.seed(1)", "or seeds them"),
        ("random.shuffle([1, 2, 3])", "global random numbers of random"),
    ],
)
def test_a_function_that_draws_random_numbers_is_not_kept(notebook, body, why):
    """A kept result would be the same again, and leave the stream where it is."""
    notebook.run("import random, numpy as np")
    notebook.run(f"@keepstate.cache\ndef f():\n    print('ran')\n    return {body}")
    must_run_each_time(notebook, "f()", why)


def test_numbers_that_are_drawn_and_put_back_count(notebook):
    """Such a function leaves the stream as it was, and gives something else for another one."""
    notebook.run(
        "import random\n@keepstate.cache\ndef f():\n    before = random.getstate()\n"
        "    drawn = random.random()\n    random.setstate(before)\n    return drawn"
    )
    notebook.run("random.seed(1); a = f(); same = f(); random.seed(2); b = f()")
    assert notebook.get("a == same != b")


def test_a_function_that_seeds_is_kept_for_the_state_that_it_leaves(notebook):
    """Where another one was before, it runs and leaves its own."""
    notebook.run(
        "import random\n@keepstate.cache\ndef f():\n    random.seed(1)\n    print('ran')\n"
        "    return random.random()"
    )
    with pytest.warns(NotKeptWarning, match="or seeds them"):
        notebook.run("f(); f(); f(); a = random.random(); random.seed(5); f(); b = random.random()")
    assert notebook.get("a == b")
    assert notebook.runs == 3


def test_a_generator_of_its_own_is_no_reason(notebook):
    """Nobody else sees it."""
    notebook.run(
        "import numpy as np\n@keepstate.cache\n"
        "def f(seed):\n    print('ran')\n    return np.random.default_rng(seed).random()"
    )
    assert notebook.get("f(1) == f(1) != f(2)")
    assert notebook.runs == 2


def test_keeping_and_finding_draw_no_random_number(notebook):
    """The streams of the user's go on as if nothing was kept."""
    notebook.run("import random, numpy as np\n@keepstate.cache\ndef f(n): return np.ones(n)")
    notebook.run("random.seed(1); np.random.seed(1)\nf(9); f(9)\na = random.random(), np.random.rand()")
    notebook.run("random.seed(1); np.random.seed(1)\nb = random.random(), np.random.rand()")
    assert notebook.get("a == b")


@pytest.mark.parametrize(
    ("argument", "body", "why"),
    [
        ("[1]", "x", "holds a list"),
        ("[[1]]", "{'a': x[0]}", "holds a list"),
        ("np.arange(4)", "x[1:]", "holds a ndarray"),
        ("pd.DataFrame({'a': [1]})", "x", "holds a DataFrame"),
        ("A()", "(x, 1)", "holds a A"),
        ("pd.DataFrame({'a': [[1]]})", "x.copy()", "holds a list"),
        ("pd.DataFrame({'a': [1.0]})", "x['a'].to_numpy()", "holds a ndarray"),
        ("np.arange(3)", "pd.Series(x, copy=False)", "holds a ndarray"),
        ("{A()}", "next(iter(x))", "holds a A"),
    ],
)
def test_what_is_given_back_must_be_the_callers_own(notebook, argument, body, why):
    """Who changes the argument would see it in what was given back, and not in a kept one."""
    pytest.importorskip("pandas")
    notebook.run("import numpy as np, pandas as pd\nclass A: pass")
    notebook.run(f"@keepstate.cache\ndef f(x):\n    print('ran')\n    return {body}")
    must_run_each_time(notebook, f"f({argument})", why)


def test_what_holds_a_variable_of_the_notebook_is_not_kept(notebook):
    """The same for a global, and for what a default keeps between calls."""
    notebook.run("c = []\n@keepstate.cache\ndef f():\n    print('ran')\n    return c")
    must_run_each_time(notebook, "f()", "holds a list")
    notebook.run("@keepstate.cache\ndef g(acc=[]):\n    return acc")
    with pytest.warns(NotKeptWarning, match="holds a list"):
        assert notebook.get("g() is g()")


def test_frames_that_copy_on_write_may_share_memory(notebook):
    """Most of what pandas gives back shows memory of what it was given, which nobody can see."""
    pd = pytest.importorskip("pandas", minversion="3")
    notebook.run(
        "import pandas as pd\n@keepstate.cache\ndef f(d):\n    print('ran')\n    return d.assign(b=1)"
    )
    notebook.variables["d"] = pd.DataFrame({"a": [1, 2]})
    first, second = notebook.get("f(d)"), notebook.get("f(d)")
    assert notebook.runs == 1
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("(i for i in [1])", "running generator"),
        ("threading.Lock()", "a lock"),
        ("memoryview(b'ab')[1:]", "memoryview"),
    ],
)
def test_a_result_that_cannot_be_stored_is_given_and_said(notebook, value, why):
    """The function just runs."""
    notebook.run(f"import threading\n@keepstate.cache\ndef f():\n    print('ran')\n    return {value}")
    must_run_each_time(notebook, "f()", why)


def test_an_error_is_the_functions_own_and_nothing_is_kept(notebook):
    """The next call runs again."""
    notebook.run("@keepstate.cache\ndef f(x):\n    print('ran')\n    return 1 / x")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            notebook.get("f(0)")
    assert notebook.runs == 2


def test_each_call_gets_objects_of_its_own(notebook):
    """What is done to one result is not in the next."""
    notebook.run("@keepstate.cache\ndef f():\n    return {'a': [1]}")
    for _ in range(3):
        notebook.get("f()['a'].append(2)")
    assert notebook.get("f()") == {"a": [1]}


def test_instances_come_back_of_the_class_that_is_there(notebook):
    """One class, one identity; also in another session, where its cell has run again."""
    cell = (
        "class A:\n    def __init__(self): self.v = [1]\n"
        "@keepstate.cache\ndef f():\n    print('ran')\n    return A()"
    )
    notebook.run(cell)
    notebook.get("f()")
    assert notebook.get("type(f()) is A")
    notebook.restart()
    notebook.run(cell)
    assert notebook.get("type(f()) is A and f().v == [1]")
    assert notebook.runs == 0


def test_a_class_of_a_function_is_another_one_each_time(notebook):
    """As without anything that is kept."""
    notebook.run("@keepstate.cache\ndef f():\n    print('ran')\n    class L: k = 1\n    return L")
    assert notebook.get("f() is not f() and f().k == 1")
    assert notebook.runs == 1


def test_a_set_in_another_order_is_not_served_in_the_same_process(notebook):
    """The order of texts is by chance, and differs from process to process; within one it can be told."""
    words = [f"w{n}" for n in range(40)]
    one, other = set(), set(words)
    one.update(words[::-1])
    if list(one) == list(other):
        pytest.skip("these come out the same with this hash seed")
    notebook.variables |= {"one": one, "other": other}
    notebook.run("@keepstate.cache\ndef f(s):\n    print('ran')\n    return list(s)")
    assert notebook.get("f(one)") == list(one)
    assert notebook.get("f(other)") == list(other)
    assert notebook.get("f(one)") == list(one)


def test_warnings_that_are_raised_are_said_instead(notebook):
    """A warning never becomes an error of the call."""
    import warnings

    notebook.run("@keepstate.cache\ndef f(x): return x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert notebook.get("f([1])") == [1]
    assert "not kept" in notebook.said[0]
