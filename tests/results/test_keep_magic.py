"""``%%keep`` in real kernels: what is bound, when the cell runs, and what it says."""

import pytest


@pytest.fixture
def cells(kernel):
    """One kernel with a session, in which cells are run."""
    one = kernel()
    one.run("import numpy as np\nheavy = lambda x: x * 2")
    return lambda code, ok=True: one.run(code, ok=ok)


def kept(reply):
    return "keepstate: kept: " in reply.text


def test_a_cell_runs_once_and_is_found_by_a_new_kernel(kernel):
    """Its variables are bound, what it printed and its last value are shown again."""
    cell = (
        "%%keep\nimport numpy as np\ndef g(x): return x + 1\nx = np.arange(n)\ny = {'a': x}\n"
        "print('comp' + 'uting')\ng(n)"
    )
    first = kernel()
    first.run("n = 4")
    said = first.run(cell)
    assert "keepstate: running: first time" in said.text
    assert "not kept" not in said.text
    first.kill()
    second = kernel()
    second.run("n = 4")
    said = second.run(cell)
    assert "keepstate: kept: bound x, y from 20" in said.text
    assert "the cell was not run" in said.text
    assert "but for its imports and definitions" in said.text
    assert "computing" in said.text
    assert said.text.endswith("5")
    assert second.run("print(x.tolist(), y['a'] is x, g(1))").text == "[0, 1, 2, 3] True 2\n"


def test_it_says_why_it_runs(cells):
    """First time, the code changed, or which of its inputs did; going back finds the older result."""
    cells("a = 1; b = [2]")
    cell = "%%keep\ntotal = a + b[0]"
    assert "running: first time" in cells(cell).text
    assert kept(cells(cell))
    cells("a = 5")
    assert "running: a changed" in cells(cell).text
    cells("b.append(1)")
    assert "running: b changed" in cells(cell).text
    assert "running: the code changed" in cells("%%keep\ntotal = a + b[0] + 1").text
    cells("a = 1; b = [2]")
    assert kept(cells(cell))
    assert cells("print(total)").text == "3\n"


def test_comments_and_names_that_it_binds_first_are_no_inputs(cells):
    """What the cell itself has left behind does not have it run again."""
    cell = "%%keep\nt = 0\nfor i in range(3):\n    t += i\nu = [t for t in range(2)]\nw = t"
    assert "first time" in cells(cell).text
    assert kept(cells(cell.replace("t = 0", "# a comment\nt = 0")))
    assert cells("print(t, i, u, w)").text == "3 2 [0, 1] 3\n"


def test_a_change_in_a_function_that_it_calls_runs_it(cells):
    """The function is an input, with what it refers to."""
    cells("k = 1\ndef f(x): return x * k")
    cell = "%%keep\nz = f(3)"
    cells(cell)
    assert kept(cells(cell))
    cells("k = 2")
    assert "changed" in cells(cell).text
    assert cells("print(z)").text == "6\n"


def test_an_input_that_is_changed_in_place_is_bound_anew(cells):
    """If nobody else holds it."""
    cell = "%%keep\nd['b'] = 2"
    cells("d = {'a': 1}")
    assert "not kept" not in cells(cell).text
    cells("d = {'a': 1}")
    assert "bound d" in cells(cell).text
    assert cells("print(d)").text == "{'a': 1, 'b': 2}\n"


@pytest.mark.parametrize("holder", ["other = d", "other = [d]", "def other(x=d): pass"])
def test_what_another_variable_holds_is_changed_by_running(cells, holder):
    """A kept value would not be that of the other one."""
    cell = "%%keep\nd['b'] = 2"
    cells(f"d = {{'a': 1}}\n{holder}")
    assert "not kept, because other holds what it changes in d" in cells(cell).text
    cells("d = {'a': 1}; other = None")
    assert "first time" in cells(cell).text
    cells(f"d = {{'a': 1}}\n{holder}")
    assert "running: other holds what it changes in d" in cells(cell).text
    assert cells("print(d)").text == "{'a': 1, 'b': 2}\n"


def test_a_frame_that_is_changed_in_place(cells):
    """The usual: a new column."""
    pytest.importorskip("pandas", minversion="3")
    cells("import pandas as pd\nmake = lambda: pd.DataFrame({'a': [1, 2], 's': ['x', 'y']})\ndf = make()")
    cell = "%%keep\ndf['b'] = df['a'] * 2\nbig = df[df.b > 2]"
    assert "not kept" not in cells(cell).text
    cells("df = make()")
    assert "bound big, df" in cells(cell).text
    assert cells("print(df.b.tolist(), len(big))").text == "[2, 4] 1\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("x = eval('1')", "it calls eval()"),
        ("x = globals().get('y')", "it calls globals()"),
        ("x = vars().get('y')", "it calls vars()"),
        ("from math import *\nx = 1", "imports all names"),
        ("!true\nx = 1", "a magic or a shell command"),
        ("%time x = 1", "a magic or a shell command"),
        ("x = 1\ndel x", "it deletes x"),
        ("x = np.random.rand()", "global random numbers of numpy"),
        ("x = (i for i in [1])", "running generator"),
        ("x = l", "holds a list that was there before"),
        ("x = a[1:]", "holds a ndarray that was there before"),
        ("v = 2\ndef g(x=v): return x\nx = g()", "the definition of g needs what the cell computes"),
        ("if True:\n    class C: pass\nx = C()", "binds the class C"),
    ],
)
def test_what_cannot_be_kept_runs_each_time_and_says_why(cells, body, why):
    """The cell is run as it would be without the first line."""
    cells("l = [1]; a = np.arange(3)")
    for _ in range(2):
        said = cells(f"%%keep\n{body}\nprint('r' + 'an')").text
        assert "ran" in said
        assert "not kept, because" in said
        assert why in said


TWICE = {
    "a name that it does not get to bind": (
        "y = 7",
        "with contextlib.suppress(ValueError):\n    int('x')\n    y = 1\nz = [y for y in [2]]",
        "y = 9",
        "print(y)",
        "9",
    ),
    "a name that a function would bind": (
        "c = 5",
        "def reset():\n    global c\n    c = 0\nz = 1",
        "c = 9",
        "print(c)",
        "9",
    ),
    "a name that an except clause unbinds": (
        "e = 5",
        "try: 1 / 0\nexcept ZeroDivisionError as e: z = 1",
        "e = 6",
        "print('e' in globals())",
        "False",
    ),
    "a target that is no name": (
        "d = {'k': 0}",
        "for d['k'] in range(3): pass",
        "d = {'k': 0}",
        "print(d)",
        "{'k': 2}",
    ),
    "an attribute of a function that it defines": (
        "",
        "def g(): pass\ng.calls = 3",
        "del g",
        "print(g.calls)",
        "3",
    ),
    "what a method does to its class": (
        "",
        "class A:\n    n = 0\n    def __init__(self): type(self).n += 1\na = A()",
        "del A",
        "print(A.n)",
        "1",
    ),
    "a default that it changes first": (
        "d = {'lr': 1}",
        "d['lr'] = 5\ndef g(x=d['lr']): return x",
        "d = {'lr': 1}",
        "print(g())",
        "5",
    ),
    "a default that depends on what it changes": (
        "d = {'lr': 1}\ndef rate(): return d['lr']",
        "d['lr'] = 5\ndef g(x=rate()): return x\nz = 1",
        "d = {'lr': 1}",
        "print(g())",
        "5",
    ),
    "a variable with an underscore that holds what it changes": (
        "d = {}\n_own = d",
        "d['b'] = 2",
        "d = {}\n_own = d",
        "print(_own)",
        "{'b': 2}",
    ),
    "an own module that holds what it changes": (
        "d = {}\nown.d = d",
        "d['b'] = 2",
        "d = {}\nown.d = d",
        "print(own.d)",
        "{'b': 2}",
    ),
    "what it puts into an own module": (
        "own.new = 1; del own.new",
        "own.new = 5",
        "del own.new",
        "print(own.new)",
        "5",
    ),
    "what it puts into an own module that it imports": (
        "",
        "import fresh\nfresh.K = 5\nz = 1",
        "import sys; del sys.modules['fresh']",
        "print(fresh.K)",
        "5",
    ),
    "what somebody else put into an own module that it imports": (
        "import own",
        "import own\nz = own.K",
        "own.K = 7",
        "print(z)",
        "7",
    ),
    "a variable that a text names": (
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 5]})\nx = 3\nq = 'a > @x'",
        "z = len(df.query(q))",
        "x = 9",
        "print(z)",
        "0",
    ),
    "what it puts into a library": (
        "import textwrap\nold = textwrap.dedent",
        "textwrap.dedent = str.upper",
        "textwrap.dedent = old",
        "print(textwrap.dedent('a'))",
        "A",
    ),
    "an array that shows a column of a frame that it changes": (
        "import pandas as pd\ndf = pd.DataFrame({'a': [1.0]})\nv = df['a'].to_numpy()",
        "df.loc[0, 'a'] = 9",
        "df = pd.DataFrame({'a': [1.0]})\nv = df['a'].to_numpy()",
        "print(v.tolist())",
        "[9.0]",
    ),
    "a column of a frame that it gives as an array": (
        "import pandas as pd\ndf = pd.DataFrame({'a': [1.0]})",
        "v = df['a'].to_numpy()",
        "df = pd.DataFrame({'a': [1.0]})",
        "df.iloc[0, 0] = 9\nprint(v.tolist())",
        "[9.0]",
    ),
    "the state that it seeds": (
        "import random",
        "random.seed(1)\nz = random.random()",
        "random.seed(5)",
        "a = random.random(); random.seed(1); random.random(); print(a == random.random())",
        "True",
    ),
}


@pytest.mark.parametrize("steps", TWICE.values(), ids=TWICE)
def test_all_is_as_if_it_had_run_again(cells, steps):
    """Whether it ran or not."""
    before, cell, between, show, wanted = steps
    if "pandas" in before:
        pytest.importorskip("pandas", minversion="3")
    cells("for name in ('own', 'fresh'): open(name + '.py', 'w').write('K = 1')\nimport contextlib, own")
    cells(before)
    cells(f"%%keep\n{cell}")
    cells(f"%%keep\n{cell}")
    cells(between)
    cells(f"%%keep\n{cell}")
    assert cells(show).text == f"{wanted}\n"


def test_a_function_that_calls_itself_may_be_defined(cells):
    """The cell finds its result though the name of the function is bound by then."""
    cell = "%%keep\ndef fact(n): return 1 if n < 2 else n * fact(n - 1)\nx = fact(5)"
    cells(cell)
    cells(cell)
    assert kept(cells(cell))
    assert cells("print(x)").text == "120\n"


def test_loops_may_end_early(cells):
    """What ends them stands nowhere else."""
    cell = (
        "%%keep\nfor i in range(9):\n    if i == 1:\n        continue\n    match i:\n        case 3: break\n"
        "else:\n    i = None\nwhile True:\n    break"
    )
    cells(cell)
    assert kept(cells(cell))
    assert cells("print(i)").text == "3\n"


def test_what_a_cell_binds_in_a_loop_is_no_input(cells):
    """Though it might bind nothing: what it has left behind does not have it run again."""
    cell = "%%keep\nfor i in range(n):\n    last = i\nx: int = 1"
    cells("n = 3; __annotations__ = {}")
    cells(cell)
    cells("i = last = 9")
    cells(cell)
    assert kept(cells(cell))
    assert cells("print(i, last)").text == "2 2\n"


def test_an_error_is_the_cells_own(cells):
    """It is shown once, and nothing is kept."""
    for _ in range(2):
        said = cells("%%keep\nx = 1\n1 / 0", ok=False)
        assert said.error == "ZeroDivisionError: division by zero"
        assert "running: first time" in said.text
    assert "SyntaxError" in cells("%%keep\nx = = 1", ok=False).error


def test_named_variables_alone_are_kept_and_others_are_unbound(cells):
    """An older value must not pass for what the cell computes."""
    cell = "%%keep model\nscratch = [1] * 1000\nmodel = sum(scratch)"
    cells(cell)
    cells("scratch = 'older'; model = None")
    assert "bound model" in (said := cells(cell).text)
    assert "not kept: scratch" in said
    assert cells("print(model, 'scratch' in globals())").text == "1000 False\n"
    assert "it does not bind modle" in cells("%%keep modle\nmodel = 1").text


def test_instances_are_of_the_class_that_the_cell_defines(cells):
    """Its definitions are carried out, so that there is one class."""
    cell = "%%keep\nclass A:\n    v = 1\na = A()\nb = [a]"
    cells(cell)
    assert kept(cells(cell))
    assert cells("print(type(a) is A, b[0] is a)").text == "True True\n"


def test_without_a_session_the_cell_runs(cells):
    """And says so."""
    cells("keepstate.stop()")
    assert "running: no session keeps anything here" in cells("%%keep\nx = 7").text
    assert cells("print(x)").text == "7\n"


def test_what_comes_back_late_is_there_for_a_kept_cell(kernel):
    """A cell under ``%%keep`` waits for what it reads, as any other."""
    first = kernel()
    first.run("import numpy as np\nbig = np.arange(4_000_000); keepstate.track('big')")
    first.settle()
    first.kill()
    second = kernel("import keepstate\ns = keepstate.start(store='store', restore='lazy')")
    assert "first time" in second.run("%%keep\nlast = int(big[-1])").text
    assert second.run("print(last)").text == "3999999\n"
