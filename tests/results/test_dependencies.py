"""What a function depends on besides its arguments: a change of it has the function run again."""

import builtins
import functools
import importlib
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
    "the order of attributes in a class": (
        "class A:\n    a = 1\n    b = 2\ndef f(): print('ran'); return [k for k in vars(A) if k in 'ab']",
        "class A:\n    b = 2\n    a = 1\ndef f(): print('ran'); return [k for k in vars(A) if k in 'ab']",
    ),
    "a class that was registered with an abstract one": (
        (
            "import abc\nclass B(abc.ABC): pass\nclass C: pass\n"
            "def f(): print('ran'); return isinstance(C(), B)"
        ),
        (
            "import abc\nclass B(abc.ABC): pass\nclass C: pass\nB.register(C)\n"
            "def f(): print('ran'); return isinstance(C(), B)"
        ),
    ),
    "an attribute of a member of an enumeration": (
        "import enum\nclass E(enum.Enum): A = 1\nE.A.w = 1\ndef f(): print('ran'); return E.A.w",
        "import enum\nclass E(enum.Enum): A = 1\nE.A.w = 2\ndef f(): print('ran'); return E.A.w",
    ),
    "the name of a function": (
        "def g(): pass\ng.__name__ = 'a'\ndef f(): print('ran'); return g.__name__",
        "def g(): pass\ng.__name__ = 'b'\ndef f(): print('ran'); return g.__name__",
    ),
    "an attribute of a function under lru_cache": (
        "import functools\n@functools.lru_cache\ndef g(): pass\ng.k = 1\ndef f(): print('ran'); return g.k",
        "import functools\n@functools.lru_cache\ndef g(): pass\ng.k = 2\ndef f(): print('ran'); return g.k",
    ),
    "the order of a set in its code": (
        "def f(): print('ran'); return [x for x in {8, 0}]",
        "def f(): print('ran'); return [x for x in {0, 8}]",
    ),
    "the order of a set in a default": (
        "def f(s={8, 0}): print('ran'); return list(s)",
        "def f(s={0, 8}): print('ran'); return list(s)",
    ),
    "a variable that a query in another variable names": (
        (
            "import pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3]})\nx = 1\nq = 'a > @x'\n"
            "def f(): print('ran'); return len(d.query(q))"
        ),
        (
            "import pandas as pd\nd = pd.DataFrame({'a': [1, 2, 3]})\nx = 2\nq = 'a > @x'\n"
            "def f(): print('ran'); return len(d.query(q))"
        ),
    ),
    "a variable that a text for pandas.eval names": (
        "import pandas as pd\nx = 1\nq = 'x + 1'\ndef f(): print('ran'); return int(pd.eval(q))",
        "import pandas as pd\nx = 2\nq = 'x + 1'\ndef f(): print('ran'); return int(pd.eval(q))",
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
        ("run = eval\ndef f(): return run('1')", "builtins.eval may reach anything"),
        ("def f():\n    import builtins\n    return builtins.eval('1')", "builtins.eval may reach anything"),
        (
            "import importlib\ndef f(): return importlib.import_module('json') is None",
            "import_module may reach",
        ),
        ("def f():\n    import sys\n    return sys.modules[__name__] is None", "uses sys.modules"),
        ("def f():\n    import sys as s\n    return s.modules[__name__] is None", "uses sys.modules"),
        ("import sys as s\ndef f(): return s.modules[__name__] is None", "uses sys.modules"),
        ("def f():\n    from sys import modules\n    return modules[__name__] is None", "uses sys.modules"),
        ("def f(): return getattr(plain, '__globals__') is None", "says '__globals__'"),
        ("class B: pass\ndef f(): return B.__subclasses__()", "uses __subclasses__"),
        (
            "import typing\nclass B: pass\ndef g(x: 'B'): pass\ndef f(): return typing.get_type_hints(g)",
            "uses get_type_hints",
        ),
        (
            "n = 'd'\nclass D:\n    def query(self, q): pass\ndef f(): return D().query(f'a == @{n}.a')",
            "into the text of a query",
        ),
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


def test_what_is_only_called_like_a_table_of_modules_is_none(notebook):
    """As of a model, in a function that uses ``sys`` for something else."""
    notebook.run("import sys\nclass M:\n    def modules(self): return []\nm = M()")
    notebook.run(
        "@keepstate.cache\ndef f():\n    print('ran')\n    sys.stdout.flush()\n    return m.modules()"
    )
    assert notebook.get("[f(), f()]") == [[], []]
    assert notebook.runs == 1


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


@pytest.mark.parametrize(
    ("body", "owner", "name", "other"),
    [
        ("np.sum([1.0, 2.0])", np, "sum", np.mean),
        ("textwrap.dedent(' a')", textwrap, "dedent", str.upper),
        ("textwrap.dedent(' a')", textwrap, "dedent", functools.partial(textwrap.indent, prefix="b")),
    ],
)
def test_what_takes_the_place_of_a_librarys_function_counts(notebook, monkeypatch, body, owner, name, other):
    """Also if it is a library's itself."""
    notebook.run(f"import textwrap, numpy as np\n@keepstate.cache\ndef f():\n    return {body}")
    before = notebook.get("f()")
    monkeypatch.setattr(owner, name, other)
    assert notebook.get("f()") == notebook.get("f.func()") != before


@pytest.mark.parametrize("use", ["textwrap.dedent(' a')", "mine and textwrap.dedent(' a')"])
def test_a_patch_counts_where_the_library_is_imported_and_where_it_is_named(notebook, monkeypatch, use):
    """A function that imports the library itself uses the same one."""
    notebook.run("def mine(*args): return 'mine'")
    notebook.run(f"@keepstate.cache\ndef f():\n    import textwrap\n    return {use}")
    assert notebook.get("f()") == "a"
    monkeypatch.setattr(textwrap, "dedent", notebook.get("mine"))
    assert notebook.get("f()") == "mine"


def test_a_method_of_frames_counts_where_no_code_names_their_class(notebook, monkeypatch):
    """They come from a function of the library, which is named."""
    pd = pytest.importorskip("pandas")
    notebook.run(
        "import pandas as pd\n@keepstate.cache\ndef f(): return pd.Series([1]).to_frame().put_there()"
    )
    for value in (1, 2):
        notebook.run(f"def mine(frame): return {value}")
        monkeypatch.setattr(pd.DataFrame, "put_there", notebook.get("mine"), raising=False)
        assert notebook.get("f()") == value


def test_an_accessor_of_frames_counts(notebook, monkeypatch):
    """The notebook registers it with the library."""
    pd = pytest.importorskip("pandas")
    monkeypatch.setattr(pd.DataFrame, "geo_of_test", None, raising=False)
    monkeypatch.setattr(pd.DataFrame, "_accessors", set(pd.DataFrame._accessors))
    cell = (
        "import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('geo_of_test')\n"
        "class Geo:\n    def __init__(self, frame): pass\n    def area(self): return {}\n"
        "@keepstate.cache\ndef f(): return pd.Series([1]).to_frame().geo_of_test.area()"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for area in (1, 2):
            notebook.run(cell.format(area))
            assert notebook.get("f()") == area


def test_a_variable_among_the_builtins_counts(notebook, monkeypatch):
    """What the notebook has put there is no builtin."""
    notebook.run("@keepstate.cache\ndef f(): return put_there_by_test")
    for value in (1, 2):
        monkeypatch.setattr(builtins, "put_there_by_test", value, raising=False)
        assert notebook.get("f()") == value


USES = {
    "imported inside": "def f():\n    import used_of_test\n    return used_of_test.K",
    "a name imported inside": "def f():\n    from used_of_test import K\n    return K",
    "by a text": "import used_of_test\ndef f(): return getattr(used_of_test, 'K')",
    "in a list": "import used_of_test\nl = [used_of_test]\ndef f(): return l[0].K",
}


@pytest.mark.parametrize("cell", USES.values(), ids=USES)
def test_what_is_put_into_an_own_module_counts_however_it_is_used(notebook, local_module, cell):
    """Its file is not all that a function can find in it."""
    local_module("used_of_test", "K = 1\n")
    notebook.run(f"{cell}\nf = keepstate.cache(f)")
    assert notebook.get("f()") == 1
    notebook.run("import used_of_test\nused_of_test.K = 5")
    assert notebook.get("f()") == 5


def test_a_file_that_was_edited_after_its_import_is_not_taken_for_what_runs(notebook, local_module):
    """The result of the older code is not that of the file."""
    local_module("edited_of_test", "K = 1\n")
    loaded = importlib.import_module("edited_of_test")
    cell = "@keepstate.cache\ndef f():\n    import edited_of_test\n    return edited_of_test.K"
    notebook.run(cell)
    assert notebook.get("f()") == 1
    local_module("edited_of_test", "K = 22\n")
    sys.modules["edited_of_test"] = loaded
    assert notebook.get("f()") == 1
    sys.modules.pop("edited_of_test")
    notebook.restart()
    notebook.run(cell)
    assert notebook.get("f()") == 22


def test_an_own_module_that_a_call_has_imported_is_as_it_was(notebook, local_module):
    """The next call of the same session finds the result."""
    local_module("again_of_test", "K = 1\n")
    notebook.run(
        "@keepstate.cache\ndef f():\n    import again_of_test\n    print('ran')\n    return again_of_test.K"
    )
    assert notebook.get("f() + f()") == 2
    assert notebook.runs == 1


def test_a_module_of_the_same_package_that_is_imported_inside_counts(notebook, tmp_path, monkeypatch):
    """It is said from where the code stands."""
    package = tmp_path / "package_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("def g():\n    from .b import K\n    return K\n")
    (package / "b.py").write_text("K = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    cell = (
        "import package_of_test.a, package_of_test.b\n@keepstate.cache\ndef f(): return package_of_test.a.g()"
    )
    try:
        notebook.run(cell)
        assert notebook.get("f()") == 1
        notebook.run("package_of_test.b.K = 5")
        assert notebook.get("f()") == 5
    finally:
        for name in [name for name in sys.modules if name.startswith("package_of_test")]:
            del sys.modules[name]


def test_a_module_that_was_not_there_counts_once_it_is(notebook, local_module):
    """A function may do without."""
    notebook.run(
        "@keepstate.cache\ndef f():\n    try:\n        import optional_of_test as m\n"
        "    except ImportError:\n        return 0\n    return m.K"
    )
    assert notebook.get("f()") == 0
    local_module("optional_of_test", "K = 1\n")
    assert notebook.get("f()") == 1


def test_a_module_without_a_file_that_is_imported_inside_is_no_ground_to_stand_on(notebook, made_module):
    """What is in it could be anything."""
    made_module("made_inside_of_test").k = 1
    notebook.run(
        "@keepstate.cache\ndef f():\n    import made_inside_of_test\n    return made_inside_of_test.k"
    )
    with pytest.warns(NotKeptWarning, match="no file defines"):
        notebook.get("f()")
    sys.modules["made_inside_of_test"].k = 2
    assert notebook.get("f()") == 2
