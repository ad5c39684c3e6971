"""What a cell can reach is told from its code, and from what is bound, before it runs."""

import functools
import types

import pytest

from keepstate._notebook.reaching import names_reached

MAGIC = "get_ipython().run_line_magic({!r}, {!r})"
CELL_MAGIC = "get_ipython().run_cell_magic({!r}, {!r}, {!r})"


def notebook(code, **values):
    """Run cells in a namespace that passes for the notebook's."""
    space = {"__name__": "__main__", "functools": functools, "types": types, **values}
    exec(code, space)
    return space


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b + c.d", {"b", "c"}),
        ("x += 1; del y", {"x", "y"}),
        ("df.query('col > @limit')", {"df", "col", "limit"}),
        ("print(f'{value:{width}} of total')", {"print", "value", "width", "of", "total"}),
        ("def f(a=d):\n    global g\n    return inner", {"d", "g", "inner"}),
        ("import numpy as np\nfrom os import path\njson.load(f)", {"json", "f"}),
        ("get_ipython().system('echo $HOME {df.shape}')", {"echo", "HOME", "df", "shape"}),
        (MAGIC.format("matplotlib", "inline"), {"inline"}),
        (MAGIC.format("time", "fit(model)"), {"fit", "model"}),
        (MAGIC.format("timeit", "-n 10 -r3 fit(model)"), {"n", "r3", "fit", "model"}),
        (CELL_MAGIC.format("time", "", "y = fit(model)\n"), {"fit", "model"}),
        (CELL_MAGIC.format("bash", "", "ls data"), {"ls", "data"}),
    ],
)
def test_names_in_the_code_and_words_in_its_texts_are_reached(source, names):
    """A word may be a name that a library looks up for itself."""
    assert names_reached(source, {}) == names


@pytest.mark.parametrize(
    "source",
    [
        "exec(text)",
        "globals()['x']",
        "if 'x' not in dir(): x = 1",
        "import sys; sys._getframe().f_globals",
        "import __main__",
        "from helpers import *",
        "sys.modules['__main__']",
        "pickle.load(file)",
        "pd.read_pickle('x.pkl')",
        "name = input()",
        MAGIC.format("run", "other.py"),
        MAGIC.format("who", ""),
        MAGIC.format("time", "eval(text)"),
        CELL_MAGIC.format("time", "", "globals()"),
        "get_ipython().user_ns",
        "this is no python",
        "x = 'a\0'",
    ],
)
def test_roads_that_cannot_be_followed_lead_everywhere(source):
    """The answer is all."""
    assert names_reached(source, {}) is None


@pytest.mark.parametrize(
    "code",
    [
        "def f(): return deep",
        "def g(): return deep\ndef f(): return g()",
        "def make():\n    def inner(): return deep\n    return inner\nf = make()",
        "f = lambda: [deep for _ in range(3)]",
        "@functools.lru_cache\ndef f(): return deep",
        "f = functools.partial(lambda x: deep, 1)",
        "class A:\n    def m(self): return deep\nf = A()",
        "class A:\n    @property\n    def m(self): return deep\nclass B(A): pass\nf = [B()]",
        "class A:\n    def m(self): return deep\nf = A().m",
        "class M(type):\n    def m(cls): return deep\nclass A(metaclass=M): pass\nf = A",
        "f = {'later': [lambda: deep]}",
        "f = types.SimpleNamespace(callback=lambda: deep)",
        "def g():\n    yield deep\nf = g()",
        "def f(x=(lambda: deep)): return x()",
        "def f(df): return df.eval('deep + 1')",
    ],
)
def test_what_hangs_on_a_value_is_reached(code):
    """Functions, methods, closures, callbacks: whatever the cell could call."""
    assert "deep" in names_reached("print(f)", notebook(code))


@pytest.mark.parametrize(
    "code",
    [
        "def f(): return eval('x')",
        "def f(file): return pickle.load(file)",
        "class A:\n    def m(self): return globals()\nf = A()",
        "f = [object() for _ in range(30_000)]",
    ],
)
def test_what_hangs_on_a_value_may_lead_everywhere(code):
    """By a road that cannot be followed, or because it is too much."""
    assert names_reached("print(f)", notebook(code)) is None


def test_attributes_that_are_called_like_roads_are_none():
    """``model.eval()`` evaluates no text."""
    space = notebook("def f(model): return model.eval(), re.compile('x').input")
    assert names_reached("f(net)", space) is not None
    assert names_reached("net.eval()", space) is not None


def test_many_numbers_and_texts_are_no_reason_to_wait():
    """They hold no functions, however many they are."""
    space = notebook("f = list(range(100_000)), {str(i): i for i in range(100_000)}")
    assert names_reached("len(f)", space) == {"len", "f"}


def test_looking_runs_nothing():
    """Objects and classes with hooks of their own are not touched."""

    class Meta(type):
        def __getattribute__(cls, name):
            raise AssertionError(name)

    class Trap(metaclass=Meta):
        def __getattribute__(self, name):
            raise AssertionError(name)

    assert names_reached("trap.x", {"trap": object.__new__(Trap)}) == {"trap"}


def test_the_notebook_itself_is_not_walked_through():
    """A function that holds nothing reaches what its code says, not what is beside it."""
    space = notebook("def f(): return 1\ndef other(): return eval('x')")
    assert names_reached("f()", space) == {"f"}
