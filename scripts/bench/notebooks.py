"""Six notebooks in small: what builds each state, a small change of it, and a digest to tell what came back.

The definitions are those of earlier measurements of other tools. Imports nothing at the top but the standard
library: other tools run this in environments of their own.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
"""Sizes are multiplied by it."""
NAMES = {
    "W1": "five frames of a million rows, one column replaced",
    "W2": "an array of 2 GB and 20 small ones, 1 % of its rows changed",
    "W3": "sklearn: a forest, a pipeline, a vectorizer, one partial fit",
    "W4": "Python objects: 2 million lists, a million instances, a tree; one list appended",
    "W5": "a torch model of 100 million parameters and its Adam, one training step",
    "W6": "2,000 small variables, three of them changed",
}


def scaled(count: int) -> int:
    """So many, at this scale."""
    return max(1, int(count * SCALE))


# What the cells call


def frame(seed: int) -> Any:
    """W1: eleven columns of seven kinds; the last frame has texts as objects, too."""
    import numpy as np
    import pandas as pd

    r, rows = np.random.default_rng(100 + seed), scaled(1_000_000)
    columns: dict[str, Any] = {f"i{j}": r.integers(0, 10_000, rows) for j in range(3)}
    columns |= {f"f{j}": r.standard_normal(rows) for j in range(5)}
    columns["t"] = pd.date_range("2015-01-01", periods=rows, freq="min")
    codes = r.integers(0, 50, rows).astype("i1")
    columns["c"] = pd.Categorical.from_codes(codes, [f"cat_{i}" for i in range(50)])
    words = np.array([f"item_{i:07d}" for i in range(200_000)], dtype=object)
    columns["s"] = pd.Series(words[r.integers(0, len(words), rows)], dtype="str")
    if seed == 4:
        columns["o"] = pd.Series([f"u{v}" for v in r.integers(0, 10**9, rows)], dtype=object)
    return pd.DataFrame(columns)


def models(folder: str) -> dict[str, Any]:
    """W3, from a file beside the measurement: fitting takes longer than everything else."""
    import sklearn

    path = Path(folder) / f"models-{SCALE:g}-{sklearn.__version__}.pickle"
    if not path.exists():
        path.write_bytes(pickle.dumps(_fit(), 5))
    found: dict[str, Any] = pickle.loads(path.read_bytes())
    return found


def _fit() -> dict[str, Any]:
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    r = np.random.default_rng(3)
    x = r.standard_normal((scaled(12_000), 20))
    y = (x[:, 0] * x[:, 1] + x[:, 2] + r.standard_normal(len(x)) > 0).astype(int)
    words = [f"tok{i:06d}" for i in range(scaled(100_000))]
    order = r.permutation(len(words))
    texts = [" ".join(words[k] for k in order[i : i + 50]) for i in range(0, len(words), 50)]
    texts += [" ".join(words[k] for k in r.integers(0, len(words), 40)) for _ in range(3000)]
    vectorizer = TfidfVectorizer().fit(texts)
    rows = vectorizer.transform(texts)
    labels = r.integers(0, 20, rows.shape[0])
    return {
        "forest": RandomForestClassifier(300, random_state=0, n_jobs=2).fit(x, y),
        "pipe": make_pipeline(StandardScaler(), PCA(10), LogisticRegression(max_iter=200)).fit(x, y),
        "vectorizer": vectorizer,
        "sgd": SGDClassifier(random_state=0).partial_fit(rows, labels, classes=np.arange(20)),
        "x": x,
        "rows": rows,
        "labels": labels,
    }


@dataclass
class Record:
    """W4: one of a million."""

    id: int
    name: str
    score: float
    tags: list[Any]


class Node:
    """W4: a node that knows its parent, with a payload that others share."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.children: list[Node] = []
        self.parent: Node | None = None
        self.payload: dict[str, int] = {}


def tree(count: int) -> Node:
    """W4: eight children each."""
    shared = [{"p": j} for j in range(100)]
    nodes = [Node(i) for i in range(count)]
    for i, node in enumerate(nodes):
        node.payload = shared[i % 100]
        if i:
            node.parent = nodes[(i - 1) // 8]
            node.parent.children.append(node)
    return nodes[0]


def network() -> tuple[Any, Any]:
    """W5: six layers of 4096 x 4096."""
    import torch

    torch.manual_seed(0)
    side = 4096 if SCALE >= 1 else 512
    layers = [layer for _ in range(6) for layer in (torch.nn.Linear(side, side), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers)
    return model, torch.optim.Adam(model.parameters(), lr=1e-4)


def train(model: Any, opt: Any, turn: int) -> float:
    """W5: one step."""
    import torch

    generator = torch.Generator().manual_seed(turn)
    x = torch.randn(8, model[0].in_features, generator=generator)
    opt.zero_grad(set_to_none=True)
    loss = model(x).square().mean()
    loss.backward()
    opt.step()
    opt.zero_grad(set_to_none=True)
    return float(loss.detach())


_SMALL = (
    "{i}",
    "'string value {i}'",
    "list(range({i}, {i} + 20))",
    "{{'a': {i}, 'b': [1, 2, {i}]}}",
    "np.full(100, {i}.0)",
    "pd.DataFrame({{'a': np.arange(10) + {i}, 'b': list('abcdefghij')}})",
    "({i}, 'x', {i}.5)",
    "{{{i}, {i} + 1}}",
)


# The cells


def build(workload: str, folder: str) -> str:
    """The cell that makes the state."""
    cells = {
        "W1": "\n".join(f"df{i} = notebooks.frame({i})" for i in range(5)),
        "W2": f"big = np.random.default_rng(7).random(({scaled(524_288)}, 1024), dtype=np.float32)\n"
        + "\n".join(f"s{i} = np.random.default_rng({i}).random((100, 100))" for i in range(20)),
        "W3": f"globals().update(notebooks.models({folder!r}))",
        "W4": f"d = {{f'key_{{i:08d}}': [i, i % 7] for i in range({scaled(2_000_000)})}}\n"
        "records = [notebooks.Record(i, f'n{i}', i * 0.5, ['a', i % 3]) "
        f"for i in range({scaled(1_000_000)})]\n"
        f"tree = notebooks.tree({scaled(100_000)})",
        "W5": "import torch\nmodel, opt = notebooks.network()\nloss = notebooks.train(model, opt, 0)",
        "W6": "\n".join(f"v{i:04d} = {_SMALL[i % 8].format(i=i)}" for i in range(2000)),
    }
    return f"import numpy as np, pandas as pd\nfrom bench import notebooks\n{cells[workload]}"


def step(workload: str, turn: int) -> str:
    """The cell that changes a little of it; *turn* counts from 0."""
    rows = scaled(524_288) // 100
    small = 8 * turn
    return {
        "W1": f"df{turn % 5}['f1'] = df{turn % 5}['f1'] * 1.01 + {turn}",
        "W2": f"big[{turn * rows * 3} :][:{rows}] += 1.0",
        "W3": f"sgd.partial_fit(rows[{turn * 100} :][:500], labels[{turn * 100} :][:500])",
        "W4": f"d['key_00000{turn:03d}'].append({turn})",
        "W5": f"loss = notebooks.train(model, opt, {turn + 1})",
        "W6": f"v{small:04d} += 1\nv{small + 2:04d}.append({turn})\nv{small + 4:04d}[5] = {turn}",
    }[workload]


def variables(workload: str) -> list[str]:
    """The names that the cells bind."""
    return {
        "W1": [f"df{i}" for i in range(5)],
        "W2": ["big", *(f"s{i}" for i in range(20))],
        "W3": ["forest", "pipe", "vectorizer", "sgd", "x", "rows", "labels"],
        "W4": ["d", "records", "tree"],
        "W5": ["model", "opt", "loss"],
        "W6": [f"v{i:04d}" for i in range(2000)],
    }[workload]


def digest(workload: str, space: Mapping[str, Any]) -> str:
    """What is equal if values and identities are."""
    seen = hashlib.blake2b(digest_size=8)
    _DIGESTS[workload](space, seen.update)
    return seen.hexdigest()


_Add = Callable[[bytes], None]


def _frames(space: Mapping[str, Any], add: _Add) -> None:
    import pandas as pd

    for i in range(5):
        for column in ("i1", "f1", "f4", "s", "t", "c"):
            some = space[f"df{i}"][column].iloc[::37]
            add(pd.util.hash_pandas_object(some, index=False).to_numpy().tobytes())
    add(str(list(space["df4"]["o"].iloc[::1001])).encode())


def _arrays(space: Mapping[str, Any], add: _Add) -> None:
    big = space["big"]
    sums = float(big[::97].sum(dtype="f8")), float(big[:, 3].sum(dtype="f8"))
    add(repr((big.shape, big.dtype.str, *sums)).encode())
    for i in range(20):
        add(space[f"s{i}"].tobytes())


def _models(space: Mapping[str, Any], add: _Add) -> None:
    x = space["x"][:300]
    for array in (space["forest"].predict_proba(x), space["pipe"].predict_proba(x), space["sgd"].coef_):
        add(array.tobytes())
    add(str(sorted(space["vectorizer"].vocabulary_.items())[::500]).encode() + space["rows"].data.tobytes())


def _objects(space: Mapping[str, Any], add: _Add) -> None:
    d, records, tree = space["d"], space["records"], space["tree"]
    add(repr((len(d), list(d.items())[:50], sum(map(len, d.values())))).encode())
    add(repr((len(records), records[990:1020], sum(one.score for one in records))).encode())
    first = tree.children[0]
    add(repr((first.parent is tree, first.payload is _numbered(tree, 101).payload, first.payload)).encode())


def _numbered(tree: Node, number: int) -> Node:
    """That of which the payload is shared with every hundredth."""
    path = []
    while number:
        number, child = divmod(number - 1, 8)
        path.append(child)
    for child in reversed(path):
        tree = tree.children[child]
    return tree


def _training(space: Mapping[str, Any], add: _Add) -> None:
    model, opt = space["model"], space["opt"]
    sums = [float(p.detach().double().sum()) for p in model.parameters()]
    moments = [float(one["exp_avg"].double().sum()) for one in opt.state.values()]
    add(repr((sums, moments, opt.param_groups[0]["params"][0] is model[0].weight)).encode())


def _small(space: Mapping[str, Any], add: _Add) -> None:
    for i in range(2000):
        value = space[f"v{i:04d}"]
        add(repr(value.to_dict() if i % 8 == 5 else value).encode())


_DIGESTS = {"W1": _frames, "W2": _arrays, "W3": _models, "W4": _objects, "W5": _training, "W6": _small}
