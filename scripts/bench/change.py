"""What a snapshot costs after a small change: bytes against the chunks touched, and time and processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.kernel import Kernel, save
from bench.memory import available_bytes
from bench.samples import middle, number, prose, said, table, times
from bench.section import Found, Run, Section, folder

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 1 << 20
"""Longest chunk (``FORMAT.md``)."""
SLACK = 1.1
SLACK_BYTES = 64 << 10
"""The limit of issue 5: 1.1 times the chunks touched, and 64 KiB."""


@dataclass(frozen=True, slots=True)
class Change:
    """A state, and a small change of it."""

    name: str
    build: str
    change: str
    """Another one for each *turn*."""
    nbytes: int
    """About how much memory it takes."""
    touched: Callable[[int], int] = lambda _turn: 0
    """Bytes of the chunks that it touches."""
    tracked: tuple[str, ...] = ("x",)


def _changes(full: bool) -> list[Change]:
    rows = 262_144 if full else 16_384
    wide = 1_250_000 if full else 50_000  # of 150 columns
    array = f"import numpy as np\nr = np.random.default_rng(7)\nx = r.random(({rows}, 1024))"
    frame = (
        "import numpy as np, pandas as pd\nr = np.random.default_rng(7)\n"
        f"x = pd.DataFrame({{f'c{{i}}': r.random({wide}) for i in range(150)}})"
    )
    models = (
        "import numpy as np\nr = np.random.default_rng(7)\n"
        "x = {f'model {i}': {'w': r.random((512, 512)), 'b': r.random(512)} for i in range(100)}"
    )
    lists = f"x = [i * 7 % 1000 for i in range({2_000_000 if full else 100_000})]"
    tenth, hundredth = rows // 10, rows // 100
    nbytes = rows * 8192

    def some_rows(turn: int) -> int:
        return _spanned(turn * tenth * 8192, hundredth * 8192)

    new_model = "x[f'model {turn}'] = {'w': r.random((512, 512)), 'b': r.random(512)}"
    return [
        Change("1 % of the rows of an array", array, f"x[turn * {tenth} :][:{hundredth}] += 1", nbytes,
               some_rows),
        Change("one column added to a frame", frame, f"x[f'new{{turn}}'] = r.random({wide})", wide * 1200,
               lambda _: wide * 8),
        Change("one cell of a float column", frame, "x.iloc[turn * 1000, 3] = -1.0", wide * 1200,
               lambda _: CHUNK_BYTES),
        Change("one key of a dict of 100 models", models, new_model, 210 * 10**6,
               lambda _: 513 * 512 * 8 + CHUNK_BYTES),
        Change("an appended list", lists, "x.append(turn)", 20 * 10**6, lambda _: CHUNK_BYTES),
        Change("nothing", array, "pass", nbytes),
    ]  # fmt: skip


def _costs(full: bool) -> list[Change]:
    """What is compared with a state that holds nothing but what is touched."""
    many, count = (2000, 2_000_000) if full else (200, 100_000)
    three = "v0[turn] += 1; v1[turn] += 1; v2[turn] += 1"
    dictionary = f"d = {{f'key_{{i:08d}}': [i, i % 7] for i in range({count})}}\n"
    small = "small = list(range(100))"

    def variables(number: int) -> tuple[str, tuple[str, ...]]:
        names = tuple(f"v{i}" for i in range(number))
        each = f"{{f'v{{i}}': np.full(1000, float(i)) for i in range({number})}}"
        return f"import numpy as np\nglobals().update({each})", names

    few, all_of_them = variables(3), variables(many)
    append = "d['key_00000007'].append(turn)"
    return [
        Change("three variables, all touched", few[0], three, 0, tracked=few[1]),
        Change(f"{many:,} variables, three touched", all_of_them[0], three, 0, tracked=all_of_them[1]),
        Change("a short list, touched", small, "small.append(turn)", 0, tracked=("small",)),
        Change(f"a dict of {count:,} lists untouched, a short list touched", dictionary + small,
               "small.append(turn)", count * 400, tracked=("d", "small")),
        Change(f"a dict of {count:,} lists, one touched", dictionary, append, count * 400, tracked=("d",)),
    ]  # fmt: skip


def measure(run: Run) -> Found:
    """Each change in a kernel of its own."""
    found: Found = {"bytes": [], "costs": []}
    for part, changes in (("bytes", _changes(not run.quick)), ("costs", _costs(not run.quick))):
        for change in changes:
            row: Found = {"name": change.name, "bytes": change.nbytes}
            found[part].append(row)
            if available_bytes() < 2 * change.nbytes + 1e9:
                row["left out"] = f"{available_bytes() / 1e9:.1f} GB of memory were free"
                continue
            run.say(change.name)
            row |= _of(change, rounds=run.pick(3, 2))
    return found


def _of(change: Change, rounds: int) -> Found:
    """Save, and change and save again, in the cells of a kernel."""
    with folder() as place, Kernel(place) as kernel:
        kernel.run(f"from bench import inside\nimport keepstate\ninside.adopt_children()\n{change.build}")
        store = str(place / "store")
        start = f"keepstate.start(store={store!r}, interval=86400, track={change.tracked!r})"
        found: Found = {"rounds": [], "first": save(kernel, store, start)}
        for turn in range(1, rounds + 1):
            found["rounds"].append(save(kernel, store, f"turn = {turn}\n{change.change}"))
            found["rounds"][-1]["touched"] = change.touched(turn)
    return found


def _spanned(start: int, length: int) -> int:
    """Bytes of the chunks between which these bytes lie."""
    return ((start + length - 1) // CHUNK_BYTES - start // CHUNK_BYTES + 1) * CHUNK_BYTES


# The page

BYTES_TEXT = """
Median (least) of {rounds} rounds; each is a cell of a kernel that changes the state and calls `snapshot()`.
Random floats, which hardly shrink, so that bytes can be compared. *Written* is by how much the files of the
store grew: chunks, their lists, the record of the group and the manifest. *Touched* counts whole chunks of
up to 1 MiB; for what is pickled (the list, the dict around the models) one chunk of the stream. The limit
is 1.1 times that, and 64 KiB.
"""
COSTS_TEXT = """
What the size of the whole costs: each state beside one that holds nothing but what is touched. *Processor*
is that of the kernel and of the child.
"""


def report(found: Found) -> str:
    """Two tables: bytes, and what a snapshot costs."""
    measured = {part: [row for row in found[part] if "rounds" in row] for part in ("bytes", "costs")}
    costs = [
        [row["name"], number(row["first"]["wall"] * 1e3)]
        + [said([one[what] for one in row["rounds"]], 1e3) for what in ("wall", "cpu", "stall")]
        + [said([one["grown"] for one in row["rounds"]], 1e-3)]
        for row in measured["costs"]
    ]
    left_out = [
        f"{row['name']} was left out: {row['left out']}.\n"
        for row in found["bytes"] + found["costs"]
        if "left out" in row
    ]
    bytes_head = "change | state MB | touched kB | written kB | limit kB | of limit | held ms | seconds"
    costs_head = "state | first save ms | save ms | processor ms | held ms | written kB"
    return "\n".join(
        [
            prose(BYTES_TEXT, rounds=len(measured["bytes"][0]["rounds"])),
            table(bytes_head, map(_of_bytes, measured["bytes"])),
            prose(COSTS_TEXT),
            table(costs_head, costs),
            *left_out,
        ]
    )


def _of_bytes(row: Found) -> list[str]:
    rounds = row["rounds"]
    written = middle([one["grown"] for one in rounds])
    touched = middle([one["touched"] for one in rounds])
    limit = SLACK * touched + SLACK_BYTES if touched else 0.0
    return [
        row["name"],
        number(rounds[-1]["logical"] / 1e6),
        number(touched / 1e3),
        said([one["grown"] for one in rounds], 1e-3),
        number(limit / 1e3),
        times(written, limit) if written else "0",
        said([one["stall"] for one in rounds if one["grown"]], 1e3),
        said([one["wall"] for one in rounds]),
    ]


SECTION = Section("What a small change costs", measure, report)
