"""What a function depends on besides its arguments: a change of it has the function run again."""

import builtins
import sys
import textwrap
import warnings

import numpy as np
import pytest

from keepstate.errors import NotKeptWarning

CELLS = {
    "its own code": ("def f(): print('ran'); return 1", "def f(): print('ran'); return 2"),
    "a variable that it reads": (
        "x = 1\ndef f(): print('ran'); return x",
        "x = 2\ndef f(): print('ran'); return x",
    ),
    "a default": ("def f(x=1): print('ran'); return x", "def f(x=2): print('ran'); return x"),
    "a keyword default": ("def f(*, x=1): print('ran'); return x", "def f(*, x=2): print('ran'); return x"),
    "a closure": (
        "def made(y):\n    def f(): print('ran'); return y\n    return f\nf = made(1)",
        "def made(y):\n    def f(): print('ran'); return y\n    return f\nf = made(2)",
    ),
    "a function that it calls": (
        "def g(): return 1\ndef f(): print('ran'); return g()",
        "def g(): return 2\ndef f(): print('ran'); return g()",
    ),
    "a function behind that": (
        "def h(): return 1\ndef g(): return h()\ndef f(): print('ran'); return g()",
        "def h(): return 2\ndef g(): return h()\ndef f(): print('ran'); return g()",
    ),
    "a variable behind that": (
        "x = 1\ndef g(): return x\ndef f(): print('ran'); return g()",
        "x = 2\ndef g(): return x\ndef f(): print('ran'); return g()",
    ),
    "an inner function": (
        "x = 1\ndef f():\n    print('ran')\n    return (lambda: x)()",
        "x = 2\ndef f():\n    print('ran')\n    return (lambda: x)()",
    ),
    "a class that it uses": (
        "class A:\n    def m(self): return 1\ndef f(): print('ran'); return A().m()",
        "class A:\n    def m(self): return 2\ndef f(): print('ran'); return A().m()",
    ),
    "a base of that class": (
        "class B:\n    def m(self): return 1\nclass A(B): pass\ndef f(): print('ran'); return A().m()",
        "class B:\n    def m(self): return 2\nclass A(B): pass\ndef f(): print('ran'); return A().m()",
    ),
    "a variable that a method reads": (
        "x = 1\nclass A:\n    def m(self): return x\na = A()\ndef f(): print('ran'); return a.m()",
        "x = 2\nclass A:\n    def m(self): return x\na = A()\ndef f(): print('ran'); return a.m()",
    ),
    "a property": (
        "class A:\n    @property\n    def p(self): return 1\ndef f(): print('ran'); return A().p",
        "class A:\n    @property\n    def p(self): return 2\ndef f(): print('ran'); return A().p",
    ),
    "a class attribute": (
        "class A:\n    k = 1\ndef f(): print('ran'); return A.k",
        "class A:\n    k = 2\ndef f(): print('ran'); return A.k",
    ),
    "an attribute of a function": (
        "def g(): return g.k\ng.k = 1\ndef f(): print('ran'); return g()",
        "def g(): return g.k\ng.k = 2\ndef f(): print('ran'); return g()",
    ),
    "what a decorator wraps": (
        (
            "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(): return g()\n    return w\n"
            "@d\ndef g(): return 1\ndef f(): print('ran'); return g()"
        ),
        (
            "import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(): return g()\n    return w\n"
            "@d\ndef g(): return 2\ndef f(): print('ran'); return g()"
        ),
    ),
    "a wrapper that a library makes": (
        (
            "import contextlib\n@contextlib.contextmanager\ndef g(): yield 1\n"
            "def f():\n    print('ran')\n    with g() as x: return x"
        ),
        (
            "import contextlib\n@contextlib.contextmanager\ndef g(): yield 2\n"
            "def f():\n    print('ran')\n    with g() as x: return x"
        ),
    ),
    "a function under lru_cache": (
        "import functools\n@functools.lru_cache\ndef g(): return 1\ndef f(): print('ran'); return g()",
        "import functools\n@functools.lru_cache\ndef g(): return 2\ndef f(): print('ran'); return g()",
    ),
    "a kept function that it calls": (
        "@keepstate.cache\ndef g(): return 1\ndef f(): print('ran'); return g()",
        "@keepstate.cache\ndef g(): return 2\ndef f(): print('ran'); return g()",
    ),
    "a partial function": (
        "from functools import partial\ng = partial(int, '1')\ndef f(): print('ran'); return g()",
        "from functools import partial\ng = partial(int, '2')\ndef f(): print('ran'); return g()",
    ),
    "a builtin that the notebook has covered": (
        "def f(): print('ran'); return len([])",
        "def len(x): return 7\ndef f(): print('ran'); return len([])",
    ),
    "a method that was put into a library's class": (
        "import fractions\ndef f(): print('ran'); return F.k\nF = type('F', (fractions.Fraction,), {'k': 1})",
        "import fractions\ndef f(): print('ran'); return F.k\nF = type('F', (fractions.Fraction,), {'k': 2})",
    ),
    "a variable that a query names": (
        (
            "import pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3]})\nx = 1\n"
            "def f(): print('ran'); return len(d.query('a > @x'))"
        ),
        (
            "import pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3]})\nx = 2\n"
            "def f(): print('ran'); return len(d.query('a > @x'))"
        ),
    ),
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_a_change_of_what_it_depends_on_runs_it_again(notebook, cells):
    """And going back finds the older result."""
    pytest.importorskip("pandas")
    wanted = []
    for cell in cells:
        notebook.variables.pop("len", None)
        notebook.run(cell)
        wanted.append(notebook.get("f()"))
    assert wanted[0] != wanted[1]
    notebook.restart()
    given = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotKeptWarning)
        for cell in cells * 2:
            notebook.variables.pop("len", None)
            notebook.run(cell + "\nf = keepstate.cache(f)")
            given.append(notebook.get("f()"))
    assert notebook.said == []
    assert given == wanted * 2
    assert notebook.runs == 2


@pytest.mark.parametrize(
    "change",
    [
        "# a comment\n\n",
        "unrelated = 5\n",
        "def other(): return 3\n",
    ],
)
def test_what_it_does_not_use_changes_nothing(notebook, change):
    """Comments, other variables and other functions are no reason to run."""
    cell = "x = 1\n{0}@keepstate.cache\ndef f():\n    print('ran')\n    return x.real"
    notebook.run(cell.format(""))
    notebook.get("f()")
    notebook.run("real = 5\n" + cell.format(change))  # an attribute is no name
    notebook.get("f()")
    assert notebook.runs == 1


def test_files_of_own_modules_count(notebook, local_module):
    """Also those that such a module imports, and what it does not say by name."""
    local_module("inner_of_test", "def k(): return 1\n")
    local_module("outer_of_test", "import inner_of_test\ndef g(n): return getattr(inner_of_test, n)()\n")
    cell = (
        "import outer_of_test\n@keepstate.cache\ndef f():\n    print('ran')\n    return outer_of_test.g('k')"
    )
    notebook.run(cell)
    assert notebook.get("f() + f()") == 2
    assert notebook.runs == 1
    local_module("inner_of_test", "def k(): return 20\n")
    sys.modules.pop("outer_of_test")
    notebook.restart()
    notebook.run(cell)
    assert notebook.get("f()") == 20


def test_an_own_module_that_is_imported_inside_counts(notebook, local_module):
    """The file counts before it is imported as well, so the first call is found again."""
    local_module("late_of_test", "K = 1\n")
    cell = "@keepstate.cache\ndef f():\n    import late_of_test\n    print('ran')\n    return late_of_test.K"
    notebook.run(cell)
    notebook.get("f()")
    sys.modules.pop("late_of_test")
    notebook.restart()
    notebook.run(cell)
    assert notebook.get("f()") == 1
    assert notebook.runs == 0
    local_module("late_of_test", "K = 22\n")
    assert notebook.get("f()") == 22


def test_what_the_notebook_puts_into_an_own_module_counts(notebook, local_module):
    """Its variables are looked at, and not its file alone."""
    local_module("setting_of_test", "K = 1\ndef g(): return K\n")
    notebook.run("import setting_of_test\n@keepstate.cache\ndef f(): return setting_of_test.g()")
    assert notebook.get("f()") == 1
    notebook.run("setting_of_test.K = 5")
    assert notebook.get("f()") == 5


def test_another_version_of_a_library_runs_it_again(notebook, monkeypatch):
    """A library that was used counts, also one that others use unseen."""
    notebook.run("import json\n@keepstate.cache\ndef f():\n    print('ran')\n    return json.dumps([1])")
    notebook.get("f()")
    monkeypatch.setattr(np, "__version__", "0.9")
    notebook.get("f()")
    assert notebook.runs == 2


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("def f(): return eval('1')", "calls eval"),
        ("def f(): return globals()['keepstate'] is not None", "calls globals"),
        ("def f():\n    global y\n    y = 1", "binds the global y"),
        ("def f():\n    import sys\n    return sys.modules['__main__'] is None", "notebook as a module"),
        ("o = object()\ndef f(): return o is None", "bare object"),
        ("import threading\nl = threading.Lock()\ndef f(): return l.locked()", "a lock"),
        ("g = (i for i in [1])\ndef f(): return g is None", "running generator"),
    ],
)
def test_what_cannot_be_told_runs_each_time_and_is_said_once(notebook, cell, why):
    """The call itself goes on as it would."""
    notebook.run(cell + "\nplain = f\nf = keepstate.cache(f)")
    with pytest.warns(NotKeptWarning, match=why) as said:
        assert notebook.get("[f(), f()]") == notebook.get("[plain(), plain()]")
    assert len(said) == 1
    assert notebook.get("f.check_call_in_cache()") is False


def test_a_module_that_no_file_defines_is_no_ground_to_stand_on(notebook, made_module):
    """What is in it could be anything."""
    made_module("made_of_test").k = 1
    notebook.run("import made_of_test\n@keepstate.cache\ndef f(): return made_of_test.k")
    with pytest.warns(NotKeptWarning):
        notebook.get("f()")
    notebook.run("made_of_test.k = 2")
    assert notebook.get("f()") == 2


def test_a_function_that_calls_itself_is_kept(notebook):
    """It refers to itself through the notebook."""
    notebook.run("@keepstate.cache\ndef f(n):\n    print('ran')\n    return 1 if n < 2 else n * f(n - 1)")
    assert notebook.get("f(4)") == 24
    assert notebook.runs == 4
    assert notebook.get("f(4) + f(2)") == 26
    assert notebook.runs == 4


@pytest.mark.parametrize(
    ("body", "patch"),
    [
        ("textwrap.dedent(' a')", (textwrap, "dedent")),
        ("textwrap.TextWrapper().fill('a')", (textwrap.TextWrapper, "fill")),
        ("np.linalg.norm([1.0])", (np.linalg, "norm")),
        ("len([1])", (builtins, "len")),
    ],
)
def test_what_the_notebook_puts_into_a_library_counts(notebook, monkeypatch, body, patch):
    """A library's function that was replaced is another one."""
    cell = f"import textwrap, numpy as np\n@keepstate.cache\ndef f():\n    print('ran')\n    return {body}"
    notebook.run(cell)
    before = notebook.get("f()")
    notebook.run("def mine(*args): return 'mine'")
    with monkeypatch.context() as patching:
        patching.setattr(*patch, notebook.get("mine"))
        given = notebook.get("f()")
    assert given == "mine"
    assert notebook.get("f()") == before
    assert notebook.runs == 2
