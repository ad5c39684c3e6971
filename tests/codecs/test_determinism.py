from __future__ import annotations

import pytest

STATES = {
    "containers": "a = {'x', 'y', 'z', 1}; b = {'k': [1, 2], (1, 2): frozenset('abc')}; c = [a, b]",
    "functions": "def f(x, y=[1]):\n    def g(): return x\n    return g\ng = f(1); l = lambda: {'a', 'b'}",
    "classes": (
        "import abc, enum, dataclasses, typing\n"
        "T = typing.TypeVar('T')\nclass A(abc.ABC, typing.Generic[T]):\n"
        "    x: int = 1\n    @abc.abstractmethod\n    def f(self): return super().f()\n    s = {'p', 'q'}\n"
        "class E(enum.Flag):\n    X = 1\n    Y = 2\n"
        "@dataclasses.dataclass(slots=True)\nclass D:\n    v: int = 0\n"
        "class B(A):\n    def f(self): return 1\nb = B(); d = D(); e = E.X\nA.register(int); A.register(str)"
    ),
    "arrays": (
        "import numpy as np\na = np.arange(9000); b = a[::2]; c = np.zeros((3, 3))\n"
        "o = np.array([a, 'x'], dtype=object)"
    ),
    "frames": (
        "import pandas as pd\n"
        "df = pd.DataFrame({'a': range(2000), 's': 'x', 't': pd.Timestamp('2020')}); s = df['a']\n"
        "df2 = df.rename(columns=str.upper); m = df.set_index(['a', 's'])"
    ),
    "estimators": (
        "import numpy as np\nfrom sklearn.ensemble import RandomForestClassifier\n"
        "X = np.arange(400.).reshape(100, 4)\n"
        "m = RandomForestClassifier(5, random_state=1).fit(X, X[:, 0] > 100)"
    ),
    "torch": (
        "import torch\nm = torch.nn.Linear(30, 40); o = torch.optim.Adam(m.parameters())\n"
        "m(torch.ones(30)).sum().backward(); o.step()"
    ),
    "local_classes": (
        "def k():\n    class L:\n        y = {'a'}\n        def f(self): return L\n    return L\n"
        "L = k(); x = L(); z = k()()"
    ),
}


def _bytes(encoding):
    return [
        (g.key, g.needs, g.members, g.stream, [bytes(p.memory) for p in g.parts]) for g in encoding.groups
    ]


@pytest.mark.parametrize("cell", STATES.values(), ids=STATES)
def test_unchanged_state_gives_the_same_bytes(notebook, cell):
    """Encoding unchanged state again gives the same groups, byte for byte."""
    for library in ("pandas", "sklearn", "torch"):
        if library in cell:
            pytest.importorskip(library)
    notebook.run(cell)
    first = _bytes(notebook.encode())
    junk = [bytearray(100) for _ in range(1000)]  # other addresses for what is made meanwhile
    assert _bytes(notebook.encode()) == first
    del junk


@pytest.mark.parametrize("cell", STATES.values(), ids=STATES)
def test_forked_child_gives_the_same_bytes(notebook, cell):
    """Children forked one after the other write the same bytes: nothing comes from a clock or counter."""
    import hashlib
    import os
    import warnings

    for library in ("pandas", "sklearn", "torch"):
        if library in cell:
            pytest.importorskip(library)
    notebook.run(cell)
    digests = []
    for _ in range(2):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if not child:
            try:
                os.write(writing, hashlib.sha256(repr(_bytes(notebook.encode())).encode()).digest())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as file:
            digests.append(file.read())
        os.waitpid(child, 0)
    assert len(digests[0]) == 32
    assert digests[0] == digests[1]


def test_restored_state_can_be_kept_again(notebook):
    """What was restored is encoded again and restores again, definitions and sources included."""
    notebook.run("""
import numpy as np
class A:
    def f(self): return helper(self.v)
def helper(x): return x * 2
a = A(); a.v = np.arange(2000); b = a.v[5:]
""")
    notebook.encode()
    notebook.check("""
from keepstate import codecs
again = codecs.encode({'a': a, 'b': b, 'A': A, 'helper': helper}, namespace=globals())
assert not again.skipped
assert sorted([m.name for m in g.members] for g in again.groups) == [["A"], ["a", "b"], ["helper"]]
first = {m.name: m.source for members, _, _ in _store.groups.values() for m in members}
assert {m.name: m.source for g in again.groups for m in g.members} == first and first['A']
""")
