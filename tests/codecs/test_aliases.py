from __future__ import annotations

import sys

import numpy as np
import pytest

from keepstate.codecs import _pickler
from keepstate.codecs._definitions import Definitions
from keepstate.codecs._pickler import StreamPickler


def test_self_containing_list(notebook):
    """A list that contains itself comes back so."""
    notebook.run("a = [1]; a.append(a); b = {'a': a}")
    notebook.encode()
    assert notebook.group_of("a") == ["a", "b"]
    notebook.check("assert a[1] is a and b['a'] is a")


def test_shared_objects_are_shared_again(notebook):
    """Whatever mutable object two names share, they share again: lists, sets, instances, arrays, cells."""
    notebook.run("""
import numpy as np, collections, io
class A: pass
shared = [[], {}, set(), bytearray(b'x'), A(), np.zeros(3), collections.deque(), collections.Counter('a'),
          np.random.default_rng(1), object(), io.BytesIO(b'abc'), ValueError(1)]
for i, thing in enumerate(shared):
    globals()[f'p{i}'], globals()[f'q{i}'] = {'k': thing}, [thing]
del shared, thing, i
""")
    encoding = notebook.encode()
    assert {tuple(m.name for m in g.members) for g in encoding.groups} == {
        ("A",),
        *((f"p{i}", f"q{i}") for i in range(12)),
    }
    notebook.check("for i in range(12):\n    assert globals()[f'p{i}']['k'] is globals()[f'q{i}'][0], i")


def test_values_do_not_link(notebook):
    """Sharing things that never change ties nothing together."""
    notebook.run("""
import numpy as np, datetime, decimal, fractions, uuid, pathlib, re, enum, logging
import functools, operator, typing
class A: pass
class E(enum.Enum):
    X = 1
def f(): pass
T = typing.TypeVar('T')
values = ['a' * 100, b'b' * 100, 10**30, 1.5, 2j, None, True, (1, 'x'), frozenset([1]), range(5),
          slice(1), ...,
          len, np, np.dtype('f8'), np.dtype([('a', 'i4')]), np.float64(2), np.add,
          datetime.datetime(2020, 1, 1),
          datetime.timezone.utc, datetime.timedelta(1), decimal.Decimal(1), fractions.Fraction(1, 3),
          uuid.UUID(int=1),
          pathlib.Path('/x'), re.compile('x'), E.X, A, f, T, int, np.ndarray, logging.getLogger('x'),
          list[int],
          int | str, typing.List[int], functools.partial, operator.add, f.__code__, dict.fromkeys, 'x'.join]
p = list(values); q = {'v': list(values)}
del values
""")
    encoding = notebook.encode("p", "q")
    assert not encoding.skipped
    assert notebook.group_of("p") == ["p"]


def test_values_of_pandas_do_not_link(notebook):
    """Dtypes with what they have cached, offsets, time stamps and the like tie nothing together."""
    pytest.importorskip("pandas")
    notebook.run("""
import pandas as pd, zoneinfo
dtypes = [pd.Int64Dtype(), pd.CategoricalDtype(['a', 'b']), pd.DatetimeTZDtype('ns', 'UTC'),
          pd.PeriodDtype('M')]
for dtype in dtypes:
    dtype.kind, getattr(dtype, 'numpy_dtype', 0), dtype.index_class
values = [zoneinfo.ZoneInfo('Europe/Paris'), pd.Timestamp('2020', tz='Europe/Paris'), pd.DateOffset(days=2),
          pd.offsets.MonthEnd(2), pd.Period('2020-01'), pd.Interval(0, 1), pd.NA, pd.NaT, pd.Timedelta(1)]
p = dtypes + values; q = {'v': list(p)}
del values, dtypes, dtype
""")
    notebook.encode()
    assert notebook.group_of("p") == ["p"]
    notebook.check("assert p[0] == q['v'][0] and p[6] == q['v'][6] and str(p[5].tz) == 'Europe/Paris'")


def test_shared_tuple_links_by_what_is_in_it(notebook):
    """A tuple links names only if something in it may change."""
    notebook.run("t = (1, 2, 'x'); u = ([],); a, b, c, d = [t], {'t': t}, [u], {'u': u}\ndel t, u")
    notebook.encode()
    assert notebook.group_of("a") == ["a"]
    assert notebook.group_of("c") == ["c", "d"]
    notebook.check("assert c[0][0] is d['u'][0]")


def test_unrelated_values_are_never_linked(notebook):
    """Arrays, frames, estimators and random states that share nothing are kept apart."""
    pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    notebook.run("""
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X = np.random.default_rng(0).normal(size=(60, 3)); y = X[:, 0].copy() > 0
a1, a2 = np.zeros(9), np.zeros(9)
df1 = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']}); df2 = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})
df3 = df1.copy(); df4 = df1[df1.a > 0].copy(); s1 = pd.Series([1.5]); s2 = df1.groupby('b').a.sum()
i1 = df1.index; i2 = df1.columns
rf1 = RandomForestClassifier(3).fit(X, y); rf2 = RandomForestClassifier(3).fit(X, y)
lr1 = Ridge().fit(X, y); lr2 = Ridge().fit(X, y)
pipe = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
np1 = {'state': np.random.mtrand._rand}; np2 = {'state': np.random.mtrand._rand}
""")
    names = [name for name in notebook.namespace if not name.startswith("_") and name[-1].isdigit()]
    encoding = notebook.encode("X", "y", "pipe", *names)
    assert [[m.name for m in group.members] for group in encoding.groups if len(group.members) > 1] == []
    notebook.check("""
import numpy as np
assert (rf1.predict(X) == y).mean() > .8 and ((pipe.predict(X) > .5) == y).mean() > .8
assert lr1.predict(X).shape == (60,)
assert df1.equals(df2) and np1['state'] is np.random.mtrand._rand
""")


def test_group_key_is_its_first_name(notebook):
    """A group is called by its first name in sort order, and holds its members sorted."""
    notebook.run("z = []; m = [z]; b = {'z': z}")
    (group,) = notebook.encode().groups
    assert group.key == "b"
    assert [m.name for m in group.members] == ["b", "m", "z"]


def test_groups_come_after_what_they_need(notebook):
    """Groups are ordered so that each comes after those that it needs."""
    notebook.run("class C: pass\nclass B(C): pass\nclass A(B): pass\na = A()\nb = [a, B()]")
    encoding = notebook.encode()
    done: set[str] = set()
    for group in encoding.groups:
        assert set(group.needs) <= done
        done.add(group.key)


def test_hint_is_dropped_when_it_no_longer_holds(notebook):
    """Names that shared something the last time, and no longer do, are kept apart."""
    notebook.run("a = [1]; b = [a]; c = [3]")
    notebook.encode(grouped=[frozenset("abc")])
    assert notebook.group_of("a") == ["a", "b"]
    assert notebook.group_of("c") == ["c"]


def test_long_streams_follow_their_hint(notebook):
    """Names with long streams go together at once where a hint says so, and need no second pickling."""
    notebook.run("""
calls = []
class Counted:
    def __reduce__(self):
        calls.append(1)
        return Counted, ()
a = [[f'{i:01000}' for i in range(5000)], Counted()]; b = {'a': a}
""")
    notebook.encode("a", "b", grouped=[frozenset("ab")])
    assert notebook.group_of("a") == ["a", "b"]
    assert len(notebook.namespace["calls"]) == 1


def test_hint_with_a_failing_partner(notebook):
    """A hint that cannot be followed costs nobody but the one that fails."""
    notebook.run("a = [f'{i:01000}' for i in range(5000)]; b = [a, (i for i in a)]; c = [a]")
    encoding = notebook.encode("a", "b", "c", grouped=[frozenset("abc")])
    assert list(encoding.skipped) == ["b"]
    assert notebook.group_of("a") == ["a", "c"]


def test_many_shared_strings_need_no_python_loop(notebook):
    """Names that share very many strings are told apart without looking at each in Python."""
    notebook.run("a = {f'key{i}': i for i in range(10**5)}; b = dict(a); c = list(a)")
    calls = 0

    def count(*_event: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        encoding = notebook.encode()
    finally:
        sys.setprofile(None)
    assert len(encoding.groups) == 3
    assert calls < 10**4


def test_member_that_will_not_join_is_skipped(notebook):
    """A member that pickles alone but not beside the others costs only itself."""
    notebook.run("""
shared = []
class Lonely:
    tries = 0
    def __reduce__(self):
        Lonely.tries += 1
        if Lonely.tries > 1:
            raise ValueError('only once')
        return Lonely, (), {'s': shared}
a = [shared]; b = Lonely(); b.s = shared; c = {'s': shared}
""")
    encoding = notebook.encode("a", "b", "c")
    assert list(encoding.skipped) == ["b"]
    assert "only once" in encoding.skipped["b"]
    assert notebook.group_of("a") == ["a", "c"]
    notebook.check("assert a[0] is c['s']", expect_skipped=True)


def test_torch_optimizer_keeps_its_parameters(notebook):
    """Optimizer and model share their parameters again, and gradients are kept."""
    pytest.importorskip("torch")
    notebook.run("""
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(50, 60), torch.nn.Linear(60, 1))
opt = torch.optim.Adam(model.parameters())
for _ in range(2):
    opt.zero_grad()
    model(torch.ones(2, 50)).sum().backward()
    opt.step()
t = torch.arange(5000.); u = t[10:20]; n = t.numpy(); v = t.view(50, 100).T
small = torch.ones(3, dtype=torch.bfloat16); empty = torch.empty(0); scalar = torch.tensor(5)
other = torch.zeros(5000)
state = {k: w.clone() for k, w in model.state_dict().items()}
expected = model(torch.ones(1, 50)).item()
""")
    encoding = notebook.encode()
    assert notebook.group_of("t") == ["n", "t", "u", "v"]
    assert notebook.group_of("model") == ["model", "opt"]
    assert notebook.group_of("other") == ["other"]
    assert max(len(group.stream) for group in encoding.groups) < 40000
    notebook.check("""
import torch, numpy as np
assert opt.param_groups[0]['params'][0] is model[0].weight and model[0].weight.grad is not None
assert model(torch.ones(1, 50)).item() == expected
t[12] = -1
assert u[2] == -1 and n[12] == -1 and v[12, 0] == -1
n[13] = -2
assert t[13] == -2 and t.untyped_storage().data_ptr() == u.untyped_storage().data_ptr()
assert small.dtype is torch.bfloat16 and small.tolist() == [1, 1, 1]
assert empty.shape == (0,) and scalar.item() == 5
other.resize_(6000); opt.step()
assert state['0.weight'].shape == (60, 50)
""")


def test_tensor_of_a_recorded_computation_is_refused(notebook):
    """A tensor that hangs on an autograd graph is named, not silently cut off."""
    pytest.importorskip("torch")
    notebook.run("import torch\nw = torch.ones(3, requires_grad=True); loss = (w * 2).sum()")
    encoding = notebook.encode()
    assert "autograd" in encoding.skipped["loss"]
    assert "w" not in encoding.skipped


def test_identity_array_of_ids_is_complete(notebook):
    """Sharing is found among all objects of a stream, not only those near its top."""
    notebook.run("deep = [[[[{'x': [1]}]]]]; inner = deep[0][0][0][0]['x']")
    notebook.encode()
    assert notebook.group_of("deep") == ["deep", "inner"]
    notebook.check("assert deep[0][0][0][0]['x'] is inner")


def test_array_inside_an_object_and_alone(notebook):
    """An array that is an attribute of an object and a variable is one part, and one array again."""
    notebook.run("import numpy as np\nclass M: pass\nm = M(); m.w = np.ones(5000); w = m.w; part = m.w[5:]")
    encoding = notebook.encode()
    assert sum(len(group.parts) for group in encoding.groups) == 1
    notebook.check("assert m.w is w\nw[5] = 3\nassert part[0] == 3")
    assert np.ones(1) == 1


def test_views_of_dictionaries_follow_them(notebook):
    """Keys, values, items and read-only proxies show later changes of their dictionary."""
    notebook.run("""
import collections, types
d = {'a': 1}; k, v, i, p = d.keys(), d.values(), d.items(), types.MappingProxyType(d)
o = collections.OrderedDict(x=1); ok = o.keys()
""")
    notebook.encode()
    notebook.check("""
d['b'] = 2; o['y'] = 2
assert list(k) == ['a', 'b'] and list(v) == [1, 2] and ('b', 2) in i and p['b'] == 2
assert list(ok) == ['x', 'y']
""")


def test_hint_does_not_spread_what_one_needs(notebook):
    """Of names that were pickled together by a hint, only the one that needs a refused class is skipped."""
    notebook.run("""
class Bad:
    running = (i for i in ())
a = [f'{i:01000}' for i in range(5000)]; b = [a, Bad()]; c = [a]
""")
    encoding = notebook.encode("a", "b", "c", grouped=[frozenset("abc")])
    assert sorted(encoding.skipped) == ["Bad", "b"]
    assert notebook.group_of("a") == ["a", "c"]


def test_no_name_is_ever_lost(notebook):
    """A name whose object pickles only now and then is either in a group or skipped with a reason."""
    for period in range(2, 6):
        notebook.run(f"""
shared = []
class Fickle:
    tries = 0
    def __reduce__(self):
        Fickle.tries += 1
        if Fickle.tries % {period} == 0:
            raise ValueError('now and then')
        return Fickle, (), {{'s': shared}}
a = [shared]; b = Fickle(); c = [b, shared]; d = (b,)
""")
        encoding = notebook.encode("a", "b", "c", "d")
        names = [m.name for g in encoding.groups for m in g.members if m.role == "variable"]
        assert sorted([*names, *(encoding.skipped.keys() & set("abcd"))]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("quick", [_pickler._SHOWS_MEMO, False])
def test_what_a_pickler_holds_is_what_pickle_remembers(notebook, monkeypatch, quick):
    """Nothing is missing and nothing of the pickler's own is among it, whichever way it is asked."""
    monkeypatch.setattr(_pickler, "_SHOWS_MEMO", quick)
    notebook.run("""
import numpy as np, datetime
class A: pass
a = A(); a.f = lambda: a; a.parts = [np.arange(9000), {"k": (1, [2])}, {3}, b"b" * 99, datetime.date(1, 2, 3)]
""")
    definitions = Definitions(notebook.namespace, notebook.namespace)
    pickler = StreamPickler(definitions, inline=())
    pickler.write({"a": notebook.namespace["a"]})
    things, ids = pickler.held()
    assert [id(thing) for thing in things] == ids.tolist()
    remembered = pickler.remembered().keys() - {id(definitions.namespace)}
    assert set(pickler.shared_ids().tolist()) - pickler.own - {id(pickler.own)} == remembered
    assert not pickler.own & remembered
