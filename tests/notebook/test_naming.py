"""Which names code reads, binds, changes and unbinds, told from the code alone."""

import pytest

from keepstate._notebook.naming import names_of_code, names_of_function


@pytest.mark.parametrize(
    ("code", "reads", "binds"),
    [
        ("a = b", "b", "a"),
        ("a = 1; c = a + b", "b", "a c"),
        ("a += 1", "a", "a"),
        ("a: int = b", "b int", "a"),
        ("a: int", "int", ""),
        ("a, (b, *c) = d", "d", "a b c"),
        ("for i in rows:\n    total = i", "rows", "i total"),
        ("for i in rows: pass\nprint(i)", "rows print i", "i"),
        ("with open(p) as f:\n    x = f.read()", "open p", "f x"),
        ("try:\n    import x\nexcept ImportError as e:\n    x = None; print(e)", "ImportError print", "x"),
        ("import a.b, c.d as e\nfrom f import g as h", "", "a e h"),
        ("def f(x, y=d):\n    return x + late", "d", "f"),
        ("f = lambda x: x + soon", "soon", "f"),
        ("@wrap\ndef f(x): return x + soon", "wrap soon", "f"),
        ("class A(B):\n    x = y\n    z = x\n    def m(self): return late", "B y", "A"),
        ("x = [i + k for i in rows if i]", "rows k", "x"),
        ("x = [y := i for i in rows]", "rows", "x y"),
        ("if (n := len(a)) > 1: pass", "len a", "n"),
        ("if c:\n    x = 1\nelse:\n    x = 2\ny = x", "c", "x y"),
        ("if c:\n    x = 1\ny = x", "c x", "x y"),
        ("match v:\n    case [a, *rest]: pass\n    case {'k': b, **more}: pass", "v", "a rest b more"),
        ("x = f'{a!r:>{w}}'", "a w", "x"),
        ("del x", "x", ""),
        ("x = 1; del x", "", ""),
    ],
)
def test_reads_and_binds(code, reads, binds):
    """In the order in which the code runs, with the scopes that Python has."""
    found = names_of_code(code)
    assert (found.reads, found.binds) == (set(reads.split()), set(binds.split()))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("df['x'] = 1", "df"),
        ("model.layers[0].weight = w", "model"),
        ("del d['k']", "d"),
        ("rows += [1]", "rows"),
        ("df.drop(columns=c, inplace=True)", "df"),
        ("df.drop(columns=c, inplace=False)", ""),
        ("next(it); setattr(obj, 'a', 1); random.shuffle(deck)", "it obj deck"),
        ("def f():\n    d['k'] = 1", ""),
        ("[x.append(1) for x in rows]", ""),
    ],
)
def test_changes(code, changes):
    """An item or attribute that is bound changes the object of the name."""
    assert names_of_code(code).changes == set(changes.split())


def test_methods_are_told_by_name():
    """Whether they change anything depends on what the name is."""
    assert names_of_code("model.fit(X); log.append(model.score(X))").methods == {
        "model": {"fit", "score"},
        "log": {"append"},
    }


def test_deleting_what_was_there_is_told():
    """And binding it again takes that back."""
    assert names_of_code("del x").deletes == {"x"}
    assert names_of_code("del x\nx = 1").deletes == set()


@pytest.mark.parametrize(
    "code",
    ["exec(t)", "from m import *", "globals()['x'] = 1", "get_ipython().run_line_magic('run', 'a.py')"],
)
def test_code_that_may_do_more_says_so(code):
    """What it binds cannot be told."""
    assert names_of_code(code).is_open


def test_a_function_tells_which_arguments_it_changes():
    """And which names of the notebook it uses, as they are when it is called."""
    found = names_of_function(
        "def train(model, X, y):\n    model.fit(X, y)\n    history.append(score(model, y))\n"
        "    global count\n    count += 1"
    )
    assert found.parameters == {"model"}
    assert found.reads == {"history", "score", "count"}
    assert found.binds == {"count"}
    assert found.methods == {"history": {"append"}}


def test_what_a_called_function_does_counts_for_the_cell():
    """Its globals are read, unless the cell has bound them before."""
    inner = names_of_function("def f(t):\n    t['x'] = limit")

    def behind(name):
        return inner if name == "f" else None

    assert names_of_code("f(table)", behind=behind).reads == {"f", "table", "limit"}
    assert names_of_code("f(table)", behind=behind).changes == {"table"}
    assert names_of_code("limit = 1; f(table)", behind=behind).reads == {"f", "table"}
