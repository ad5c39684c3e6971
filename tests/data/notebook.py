# A notebook of what notebooks do, with three random generators; cells are divided by "# %%".
# %%
import random, math, collections, itertools, functools, re, datetime
import numpy as np
import pandas as pd
# %%
random.seed(1); np.random.seed(2); rng = np.random.default_rng(3)
# %%
from sklearn.datasets import load_wine
wine = load_wine(as_frame=True)
df = wine.frame.copy()
# %%
from dataclasses import dataclass, field
@dataclass
class Run:
    name: str
    scores: list = field(default_factory=list)
    def best(self): return max(self.scores, default=None)
# %%
runs = [Run('a'), Run('b')]
latest = runs[-1]
# %%
df['ratio'] = df['alcohol'] / df['hue']
# %%
noise = np.random.randn(len(df)); df['noisy'] = df['ratio'] + noise
# %%
X = np.ascontiguousarray(df.drop(columns=['target']).to_numpy()); y = df['target'].to_numpy()
# %%
order = rng.permutation(len(X)); head, tail = X[:100], X[100:]; flipped = X[::-1].T
# %%
def scale(a):
    return (a - means) / stds
# %%
means, stds = X.mean(axis=0), X.std(axis=0)
# %%
Z = scale(X)
# %%
k = 10
add = lambda v: v + k
counter = collections.Counter(map(int, y))
# %%
head *= 1.0 + random.random() / 100
# %%
frames = {'main': df, 'copy': df.copy()}
frames['main'].loc[0, 'hue'] = 9.5
# %%
series = df['hue']; means_by = df.groupby('target').mean()
# %%
loop = [1, 2]; loop.append(loop)
# %%
from sklearn.linear_model import SGDClassifier
sgd = SGDClassifier(random_state=0)
# %%
for _ in range(5):
    part = np.random.permutation(len(Z))[:50]
    sgd.partial_fit(Z[part], y[part], classes=[0, 1, 2])
latest.scores.append(float(sgd.score(Z, y)))
# %%
def make_counter():
    n = 0
    def bump():
        nonlocal n
        n += 1
        return n
    def look(): return n
    return bump, look
bump, look = make_counter()
# %%
bump(); bump()
# %%
class Tree:
    def __init__(self, depth):
        self.value = random.random()
        self.kids = [Tree(depth - 1) for _ in range(2)] if depth else []
        for kid in self.kids: kid.parent = self
    def total(self): return self.value + sum(k.total() for k in self.kids)
tree = Tree(4)
# %%
tree.kids[0].value = 100.0; leaf = tree.kids[1].kids[0]
# %%
words = {'alpha', 'beta', 'gamma'}; letters = frozenset('abc'); text = 'x' * 1000
# %%
from enum import Enum
class Color(Enum):
    RED = 1
    BLUE = 2
favourite = Color.BLUE; palette = {Color.RED: 'r'}
# %%
@functools.lru_cache(maxsize=None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
f30 = fib(30)
# %%
when = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc); spans = [datetime.timedelta(days=i) for i in range(3)]
# %%
X[5, 5] = -1.0; checksum = float(head.sum() + tail.sum())
# %%
del noise
# %%
df = df[df['alcohol'] > 12].reset_index(drop=True)
# %%
same = frames['main'] is df; shape = df.shape
# %%
Point = collections.namedtuple('Point', 'x y'); origin = Point(0, 0); points = [Point(i, i * i) for i in range(5)]
# %%
struct = np.zeros(4, dtype=[('a', 'i4'), ('b', 'f8')]); struct['b'] = np.random.rand(4); dates = pd.date_range('2026-01-01', periods=5)
# %%
nested = {'a': [1, {'b': (2, [3, 4])}], 'df': df}; nested['a'][1]['b'][1].append(5)
# %%
big = rng.random((300, 1000)); big[7] = 0; view = big[::2, ::3]
# %%
view += 1.0
# %%
class Special(Run):
    def best(self): return ('special', super().best())
special = Special('c', [1.0, 3.0])
# %%
bump(); runs.append(special); latest.scores.append(random.random())
# %%
sgd.partial_fit(Z[:20], y[:20]); predicted = sgd.predict(Z)
# %%
cat = pd.Categorical(['x', 'y', 'x']); mixed = pd.DataFrame({'c': cat, 's': ['p', 'q', None], 'd': pd.to_datetime(['2026-01-01'] * 3)})
# %%
mixed['n'] = np.random.randint(0, 100, 3); k = 20; after = add(1)
# %%
samples = [random.gauss(0, 1) for _ in range(5)] + list(np.random.rand(3)) + list(rng.random(3))
# %%
results = (special.best(), latest.best(), look(), tree.total(), leaf.parent.parent is tree, isinstance(runs[0], Run), loop[2] is loop, np.shares_memory(head, X), np.shares_memory(view, big), fib(20), series.sum(), favourite is Color.BLUE)
