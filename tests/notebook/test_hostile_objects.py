"""Objects that do harm when they are pickled: they cost themselves, and the user's kernel nothing."""

from __future__ import annotations

import json

import pytest
from kernels import Kernel

HOSTILE = {
    "raises": "def __reduce__(self): raise RuntimeError('no')",
    "raises what is no Exception": "def __getstate__(self): raise BaseException('no')",
    "ends the process": "def __reduce__(self): os._exit(3)",
    "asks for the end": "def __getstate__(self): raise SystemExit(4)",
    "kills itself": "def __reduce__(self): os.kill(os.getpid(), signal.SIGKILL)",
    "recurses without end": "def __getstate__(self): return self.__getstate__()",
    "gives a new object each time": "def __reduce__(self): return type(self), (type(self)(),)",
    "forks": "def __reduce__(self): return (int, (os.fork() and 0,))",
    "starts a thread that stays": (
        "def __reduce__(self):\n        stay = threading.Event().wait\n"
        "        threading.Thread(target=stay, name='mine', daemon=True).start()\n        return int, ()"
    ),
    "takes memory without end": "def __reduce__(self): return bytes, (bytes(1 << 44),)",
    "gives nonsense": "def __reduce__(self): return 5",
}
"""What a class does → its body."""
HARMLESS = {
    "prints": "def __reduce__(self): print('printed', flush=True); os.write(1, b'raw'); return int, ()",
    "changes what it is": "def __getstate__(self): self.__dict__['touched'] = True; return {}",
    "draws a number": "def __getstate__(self): return {'v': random.random()}",
    "writes a file": "def __getstate__(self): open('written.txt', 'a').write('x'); return {}",
    "has a finalizer": "def __del__(self): open('deleted.txt', 'a').write('x')",
    "warns": "def __getstate__(self): import warnings; warnings.warn('warned'); return {}",
}
SETUP = """
import gc, os, random, signal, sys, threading, warnings
import keepstate
random.seed(1)
"""
START = (
    "s = keepstate.start(store='store', interval=3600, restore='off', capture='fork', track=['x', 'good'])"
)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all of them: it must outlive each."""
    with Kernel(tmp_path_factory.mktemp("hostile")) as made:
        made.run(SETUP)
        made.run("good = [1]; x = 0")
        made.run(START)
        yield made


def kept(kernel, body):
    """Bind such an object, keep it, and return what the snapshot says and what the cell printed."""
    kernel.run(f"class Hostile:\n    {body}\nbefore = random.getstate()")
    kernel.run("x = Hostile(); good.append(len(good))")
    said = kernel.run("taken = keepstate.snapshot()", ok=False)
    return said, kernel.evaluate("(sorted(taken.names), dict(taken.skipped), taken.consistency)")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_object_costs_itself_alone(kernel, name):
    """The other names are kept, the kernel lives, and the next snapshot without it is as usual."""
    said, _ = kept(kernel, HOSTILE[name])
    assert "printed" not in said.text
    kernel.run("x = 7")
    kernel.run("taken = keepstate.snapshot()")
    assert kernel.evaluate("sorted(taken.names)") == ["good", "x"]
    assert kernel.evaluate("keepstate.load('good') == good and keepstate.load('x') == 7")
    assert not kernel.evaluate("[thread.name for thread in threading.enumerate() if thread.name == 'mine']")
    assert kernel.evaluate("before == random.getstate()")


@pytest.mark.parametrize("name", HARMLESS)
def test_what_an_object_does_when_it_is_pickled_is_not_seen(kernel, name):
    """No output, no warning, no number drawn, no attribute changed, no finalizer run."""
    said, (names, skipped, _) = kept(kernel, HARMLESS[name])
    assert names == ["good", "x"], skipped
    assert said.text == ""
    assert kernel.evaluate("before == random.getstate()")
    assert kernel.evaluate("'touched' not in getattr(x, '__dict__', {})")
    kernel.run_silently("import os; there = os.path.exists('deleted.txt')")
    assert not kernel.evaluate("there")
    kernel.run("x = 0\ngc.collect()\nif os.path.exists('deleted.txt'): os.unlink('deleted.txt')")


def test_what_runs_in_the_picture_is_told(kernel):
    """A file that ``__getstate__`` writes is written, as by any pickling, and once."""
    kernel.run("if os.path.exists('written.txt'): os.unlink('written.txt')")
    kept(kernel, HARMLESS["writes a file"])
    assert len(json.dumps(kernel.evaluate("open('written.txt').read()"))) <= len('"xx"')


@pytest.mark.torture
def test_an_object_that_hangs_is_given_up_and_named(kernel):
    """After two pictures that came to no end, 30 s each, it is left alone; a cell waits only if it asks."""
    kernel.run("class Hostile:\n    def __reduce__(self): threading.Event().wait()")
    kernel.run("x = Hostile(); good.append(len(good))")
    for _ in range(3):
        kernel.run("good.append(1)\ntaken = keepstate.snapshot()", ok=False)
    assert kernel.evaluate("sorted(taken.names)") == ["good"]
    assert "did not come to an end" in kernel.evaluate("dict(taken.skipped)")["x"]
    kernel.run("x = 7")
