"""A notebook with files, iterators, a figure and a model in play, killed after any cell and run on."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import pytest
from kernels import Kernel

START = (
    "import keepstate\nsession = keepstate.start(store='store', track='all', interval=3600, restore='eager')"
)
CELLS = [
    "open('in.csv', 'w').writelines(f'{i},{i * i}\\n' for i in range(40))",
    "import csv, itertools, threading\nsource = open('in.csv', newline='')\nout = open('out.txt', 'w')",
    "first = [source.readline() for _ in range(5)]\nout.writelines(first); out.flush()",
    "numbers = itertools.cycle([3, 1, 2]); taken = [next(numbers) for _ in range(4)]",
    "lock = threading.Lock(); log = open('log.txt', 'a'); log.write('one\\n'); log.flush()",
    "with lock: taken.append(next(numbers))\nout.write(source.readline()); out.flush()",
    "log.write('two\\n'); log.flush(); taken += itertools.islice(numbers, 2)",
    "rest = source.read(); out.write(rest); out.close(); source.close(); log.close()",
]
LOOK = "print(taken, first, rest, open('out.txt').read(), open('log.txt').read(), lock.locked())"
MODEL = """
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
opt = torch.optim.Adam(model.parameters(), lr=0.05)
sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
data = torch.utils.data.TensorDataset(torch.randn(64, 4), torch.randn(64, 1))
loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
figure, axes = plt.subplots(); line, = axes.plot([], []); losses = []; log = open('losses.txt', 'w')
"""
EPOCH = """
for a, b in loader:
    opt.zero_grad(); loss = (model(a) - b).square().mean(); loss.backward()
    opt.step(); losses.append(loss.item())
loss = loss.detach(); sched.step()
line.set_data(range(len(losses)), losses); axes.relim(); axes.autoscale()
log.write(f'{losses[-1]}\\n'); log.flush()
"""
TRAINING = [
    "import matplotlib\nmatplotlib.use('agg')\nimport io, torch\nimport matplotlib.pyplot as plt",
    "torch.manual_seed(0)",
    MODEL,
    *[EPOCH] * 4,
]
LOOK_AT_TRAINING = (
    "import hashlib\npicture = io.BytesIO(); figure.savefig(picture, format='raw')\n"
    "print(losses, open('losses.txt').read(), hashlib.sha256(picture.getvalue()).hexdigest(), "
    "[p.sum().item() for p in model.parameters()], sched.get_last_lr(), line.axes is axes)"
)
NOTEBOOKS = {"files": (CELLS, LOOK), "training": (TRAINING, LOOK_AT_TRAINING)}


def finish(kernel, cells, look):
    for cell in cells:
        kernel.run(cell)
    return kernel.run(look).text


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_killed_after_any_cell_ends_as_if_it_had_not_been(name, tmp_path):
    """Files go on where they were and are neither emptied nor written twice; so do iterators and training."""
    if name == "training" and not (find_spec("torch") and find_spec("matplotlib")):
        pytest.skip("torch and matplotlib are not installed")
    cells, look = NOTEBOOKS[name]
    (tmp_path / "undisturbed").mkdir()
    with Kernel(tmp_path / "undisturbed") as kernel:
        kernel.run(START)
        expected = finish(kernel, cells, look)
    place = tmp_path / "killed"
    place.mkdir()
    with Kernel(place) as kernel:
        kernel.run(START)
        for number, cell in enumerate(cells):
            kernel.run(cell)
            kernel.settle()
            shutil.copytree(place, tmp_path / str(number), symlinks=True)
        kernel.kill()
    shutil.rmtree(place)
    for number in range(len(cells)):
        with Kernel(tmp_path / str(number)) as kernel:
            said = kernel.run(START).text
            assert finish(kernel, cells[number + 1 :], look) == expected, (number, said)
