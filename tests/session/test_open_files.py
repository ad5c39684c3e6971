"""Open files in pictures that a fork takes: it closes them, and opens files of its own."""

from __future__ import annotations

import ast

import pytest

CODE = """
import keepstate
open("text", "w").write("one\\ntwo\\nthree\\n")
a = open("text", "rb"); a.readline()
b = open("text"); b.readline(); b.readline()
c = open("out", "w"); c.write("abc"); c.flush()
keepstate.start(store="store", track=["a", "b", "c"], restore="off", capture={!r})
seen = []
for turn in range(3):
    kept = keepstate.snapshot()
    seen.append((kept.strategy.split(":")[0], dict(kept.skipped)))
    seen.append([keepstate.load("a").tell(), keepstate.load("b").read(), keepstate.load("c").tell()])
    c.write("d"); c.flush()
seen.append([a.read(), b.read(), open("out").read()])
for file in (a, b, c):
    file.close()
print(seen)
"""


@pytest.mark.parametrize("capture", ["fork", "stage"])
def test_files_of_any_number_are_told_from_those_of_the_picture(run_script, capture):
    """Each is kept where it stood, whichever numbers are free in the process that takes the picture."""
    seen = ast.literal_eval(run_script(CODE.format(capture)).stdout.splitlines()[-1])
    assert seen[:6:2] == [(capture, {})] * 3
    assert seen[1:6:2] == [[4, "three\n", at] for at in (3, 4, 5)]
    assert seen[6] == [b"two\nthree\n", "three\n", "abcddd"]
