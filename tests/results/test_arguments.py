"""Two calls that a function could tell apart never share a result."""

import warnings

import pytest

from keepstate.errors import NotKeptWarning

KEPT = """
import numpy as np
@keepstate.cache
def f(*args, **kwargs):
    print('ran')
    return {body}
"""
PAIRS = {
    "True and 1": ("True", "1", "repr(args)"),
    "1 and 1.0": ("1", "1.0", "repr(args)"),
    "0.0 and -0.0": ("0.0", "-0.0", "repr(args)"),
    "in a list": ("[1, 2]", "[1, True]", "repr(args)"),
    "in a set": ("{1, 'a'}", "{True, 'a'}", "sorted(map(repr, args[0]))"),
    "keys": ("{1: 0, 'a': 1}", "{True: 0, 'a': 1}", "repr(args)"),
    "-1 and -2, whose hashes are equal": ("{-1: 0, 'a': 1}", "{-2: 0, 'a': 1}", "repr(args)"),
    "order of a dict": ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", "list(args[0])"),
    "order of a set": ("{8, 0}", "{0, 8}", "list(args[0])"),
    "a list and a tuple": ("[1]", "(1,)", "repr(args)"),
    "a text and bytes": ("'a'", "b'a'", "repr(args)"),
    "dtype": ("np.zeros(2)", "np.zeros(2, '>f8')", "args[0].dtype.str"),
    "width": ("np.zeros(2, 'i4')", "np.zeros(1, 'i8')", "args[0].shape"),
    "where a dtype stands": ("[np.dtype('f4'), 1]", "[1, np.dtype('f4')]", "repr(args)"),
    "Fortran order": ("np.ones((2, 2))", "np.ones((2, 2), order='F')", "args[0].flags.f_contiguous"),
    "strides": ("np.arange(4)[::2]", "np.array([0, 2])", "args[0].strides"),
    "writable": (
        "np.arange(2)",
        "np.broadcast_to(np.arange(2), (2,))",
        "args[0].flags.writeable",
    ),
    "a mask": (
        "np.ma.array([1, 2], mask=[0, 1])",
        "np.ma.array([1, 2], mask=[1, 0])",
        "int(args[0].sum())",
    ),
    "a scalar and a number": ("np.float64(1)", "1.0", "type(args[0]).__name__"),
    "objects in an array": (
        "np.array([1, 'a'], dtype=object)",
        "np.array([True, 'a'], dtype=object)",
        "repr(args)",
    ),
    "one array twice": ("*[np.zeros(2)] * 2", "np.zeros(2), np.zeros(2)", "args[0] is args[1]"),
    "one list twice": ("[[]] * 2", "[[], []]", "args[0][0] is args[0][1]"),
    "views of one array": (
        "*(lambda a: (a, a[1:]))(np.zeros(3))",
        "np.zeros(3), np.zeros(3)[1:]",
        "bool(np.shares_memory(*args))",
    ),
    "places in one array": (
        "*(lambda a: (a, a[1:3]))(np.zeros(4))",
        "*(lambda a: (a, a[0:2]))(np.zeros(4))",
        "args[1].__array_interface__['data'][0] - args[0].__array_interface__['data'][0]",
    ),
    "order of keywords": ("a=1, b=2", "b=2, a=1", "list(kwargs)"),
    "a function's code": ("lambda: 1", "lambda: 2", "args[0]()"),
    "a function's default": ("lambda x=1: x", "lambda x=2: x", "args[0]()"),
    "a function's closure": ("(lambda y: lambda: y)(1)", "(lambda y: lambda: y)(2)", "args[0]()"),
    "who is in a set": (
        "*(lambda a: (a, {a}))(N())",
        "N(), {N()}",
        "args[0] in args[1]",
    ),
    "an attribute of a date": ("D(2020, 1, 1, tag=1)", "D(2020, 1, 1, tag=2)", "args[0].tag"),
    "what its class leaves out": ("Part(1)", "Part(2)", "args[0].v"),
    "classes that say the same": ("Same()", "Alike()", "type(args[0]).__name__"),
}
MORE = """
import datetime
class N: pass
class D(datetime.date):
    def __new__(cls, *args, tag):
        made = super().__new__(cls, *args)
        made.tag = tag
        return made
class Same:
    def __reduce__(self): return str, ('x',)
class Part:
    def __init__(self, v): self.v = v
    def __getstate__(self): return {}
class Alike:
    def __reduce__(self): return str, ('x',)
"""
FRAMES = {
    "what is hung on one of an own class": (
        "(lambda d: (vars(d).update(_tag='a'), d)[1])(Frame({'a': [1]}))",
        "(lambda d: (vars(d).update(_tag='b'), d)[1])(Frame({'a': [1]}))",
        "args[0]._tag",
    ),
    "what is hung on it": (
        "(lambda d: (vars(d).update(name='a'), d)[1])(pd.DataFrame({'a': [1]}))",
        "(lambda d: (vars(d).update(name='b'), d)[1])(pd.DataFrame({'a': [1]}))",
        "args[0].name",
    ),
    "the index": (
        "pd.DataFrame({'a': [1, 2]})",
        "pd.DataFrame({'a': [1, 2]}, index=[1, 0])",
        "list(args[0].index)",
    ),
    "the index's name": (
        "pd.Series([1], index=pd.Index([0], name='x'))",
        "pd.Series([1], index=pd.Index([0], name='y'))",
        "args[0].index.name",
    ),
    "the order of columns": (
        "pd.DataFrame({'a': [1], 'b': [1]})",
        "pd.DataFrame({'b': [1], 'a': [1]})",
        "list(args[0])",
    ),
    "the dtype of a column": (
        "pd.DataFrame({'a': [1]})",
        "pd.DataFrame({'a': [1]}, dtype='int32')",
        "str(args[0].dtypes['a'])",
    ),
    "what is missing": (
        "pd.Series([1, None], dtype='Int64')",
        "pd.Series([1, 1], dtype='Int64')",
        "int(args[0].sum())",
    ),
    "categories": (
        "pd.Series(['a'], dtype=pd.CategoricalDtype(['a', 'b']))",
        "pd.Series(['a'], dtype=pd.CategoricalDtype(['b', 'a']))",
        "list(args[0].cat.categories)",
    ),
    "the time zone": (
        "pd.Timestamp(0, tz='UTC')",
        "pd.Timestamp(0, tz='Asia/Tokyo')",
        "args[0].hour",
    ),
    "attrs": (
        "(lambda d: (d.attrs.update(a=1), d)[1])(pd.DataFrame({'a': [1]}))",
        "pd.DataFrame({'a': [1]})",
        "dict(args[0].attrs)",
    ),
}


def must_differ(notebook, pair, more=""):
    """Both calls run, and each gives what it gives when nothing is kept; a second time neither runs."""
    one, other, body = pair
    notebook.run(more + KEPT.format(body=body))
    wanted = [notebook.get(f"f.func({given})") for given in (one, other)]
    assert wanted[0] != wanted[1]
    assert [notebook.get(f"f({given})") for given in (one, other, one, other)] == wanted * 2
    assert notebook.runs == 4


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_a_function_could_tell_apart_has_results_of_its_own(notebook, pair):
    """Arguments that are equal, or that joblib takes for equal, are not the same."""
    must_differ(notebook, pair, MORE)


@pytest.mark.parametrize("pair", FRAMES.values(), ids=FRAMES)
def test_frames_are_told_apart_by_all_that_is_in_them(notebook, pair):
    """Index, order, dtypes, masks and attributes count."""
    pytest.importorskip("pandas")
    must_differ(notebook, pair, "import pandas as pd\nclass Frame(pd.DataFrame): pass\n")


@pytest.mark.parametrize(
    "value",
    [
        "[1, 'a', None, (2.0, b'')]",
        "{'a': {1: [np.arange(3)]}}",
        "{'some', 'words', 'in', 'a', 'set'}",
        "np.ones((3, 2), order='F')",
        "np.ma.array([1, 2], mask=[0, 1])",
        "pd.DataFrame({'a': [1, 2], 's': ['x', None], 't': pd.Timestamp('2020', tz='UTC')})",
        "pd.Series(['a', 'b'], dtype='category')",
        "pd.DataFrame({'a': [1, 2]}).set_index('a', append=True)",
        "pd.Series([1, None], dtype='Int64')",
        "Path('a') / 'b'",
        "datetime(2020, 1, 1, tzinfo=timezone.utc)",
        "Decimal('1.10')",
        "Color.RED",
        "Point(1, [2])",
        "OrderedDict(a=1)",
        "defaultdict(list, a=[1])",
        "partial(len, 'a')",
        "helper",
        "Thing(3)",
        "np.random.default_rng(3)",
        "re.compile('a')",
    ],
)
def test_a_value_made_anew_in_another_session_is_known_again(notebook, value):
    """What a digest says of a value does not depend on which objects were made, or in which order."""
    pytest.importorskip("pandas")
    cell = """
import numpy as np, pandas as pd, re
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
class Color(Enum):
    RED = 1
@dataclass
class Point:
    x: int
    y: list
class Thing:
    def __init__(self, x): self.x = x
def helper(x): return x
@keepstate.cache
def f(x):
    print('ran')
    return 1
"""
    notebook.run(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotKeptWarning)
        notebook.get(f"f({value})")
    assert notebook.said == []
    notebook.restart()
    notebook.run(cell)
    notebook.get(f"f({value})")
    assert notebook.runs == 0


def test_keywords_positions_and_defaults_are_one_call(notebook):
    """joblib's reading of signatures: what is given by name, by place or left out is the same."""
    notebook.run("@keepstate.cache\ndef f(a, b=2):\n    print('ran')\n    return a + b")
    assert [notebook.get(call) for call in ("f(1)", "f(1, 2)", "f(a=1)", "f(b=2, a=1)")] == [3] * 4
    assert notebook.runs == 1


def test_ignored_arguments_do_not_count(notebook):
    """Also if nothing could be said of them."""
    notebook.run(
        "import threading\n@keepstate.cache(ignore=['lock'])\ndef f(a, lock):\n    print('ran')\n    return a"
    )
    assert notebook.get("f(1, threading.Lock()) + f(1, threading.Lock())") == 2
    assert notebook.runs == 1


def test_a_misspelt_ignored_argument_is_an_error(notebook):
    """It would count silently otherwise."""
    from keepstate.errors import InvalidInputError

    notebook.run("@keepstate.cache(ignore=['bb'])\ndef f(a, b):\n    return a")
    with pytest.raises(InvalidInputError, match="bb"):
        notebook.get("f(1, 2)")


def test_wrong_arguments_raise_what_the_function_raises(notebook):
    """A call that does not fit is the function's to refuse."""
    notebook.run("@keepstate.cache\ndef f(a):\n    return a")
    with pytest.raises(TypeError, match=r"f\(\) takes 1 positional argument"):
        notebook.get("f(1, 2)")


WRAPPED = """
import functools
def with_more(g):
    @functools.wraps(g)
    def wrapper(*args, **kwargs):
        kwargs.setdefault('b', 10)
        return g(*args, **kwargs)
    return wrapper
@keepstate.cache{ignored}
@with_more
def f(a, b=2, verbose=0):
    print('ran')
    return a + b
"""


@pytest.mark.parametrize(
    ("cell", "calls", "values"),
    [
        ("@keepstate.cache\ndef f(x=0, /, y=1): return x, y", ("f(3)", "f(y=3)"), [(3, 1), (0, 3)]),
        ("@keepstate.cache\ndef f(a=1, /, **k): return k", ("f(a=5)", "f(a=6)"), [{"a": 5}, {"a": 6}]),
        (WRAPPED.format(ignored=""), ("f(1)", "f(1, b=2)"), [11, 3]),
    ],
)
def test_arguments_are_what_the_function_itself_takes_them_for(notebook, cell, calls, values):
    """By place alone, and not as what it wraps would take them."""
    notebook.run(cell)
    assert [notebook.get(call) for call in calls * 2] == values * 2


def test_an_argument_of_what_is_wrapped_can_be_ignored(notebook):
    """By name or by place."""
    notebook.run(WRAPPED.format(ignored="(ignore=['verbose'])"))
    assert notebook.get("f(1, verbose=1) + f(1, verbose=2)") == 22
    assert notebook.runs == 1
    assert notebook.get("f(1, 2, 5) if False else f.check_call_in_cache(1, verbose=7)")


def test_a_set_of_objects_that_are_alike_has_no_digest(notebook):
    """Which of them is which cannot be told in another session."""
    notebook.run("class N: pass\n@keepstate.cache\ndef f(s): return len(s)")
    with pytest.warns(NotKeptWarning, match="only their identity tells apart"):
        assert notebook.get("f({N(), N()})") == 2


def test_an_exception_that_was_raised_has_no_digest(notebook):
    """It does not say what its traceback and its cause are."""
    notebook.run("@keepstate.cache\ndef f():\n    try: 1 / 0\n    except Exception as e: return e")
    with pytest.warns(NotKeptWarning, match="with its traceback"):
        assert notebook.get("f()").__traceback__ is not None


def test_a_proxy_has_no_digest(notebook):
    """It says that it is what it stands for."""
    notebook.run(
        "import weakref\nclass N: pass\n@keepstate.cache\ndef f(x): return type(x).__name__\nn = N()"
    )
    assert notebook.get("f(n)") == "N"
    with pytest.warns(NotKeptWarning, match=r"weakref\.proxy"):
        assert notebook.get("f(weakref.proxy(n))") == "ProxyType"
