"""Results across kernels: killed, started again, two at once."""

import pytest

F = """
import numpy as np
FACTOR = 3
class Fit:
    def __init__(self, w): self.w = w
    def scaled(self): return self.w * FACTOR
def helper(x): return Fit(np.arange(x))
@keepstate.cache
def train(n, tags=("a", "b")):
    print("training")
    return helper(n)
"""


def test_a_result_is_there_after_a_kill(kernel):
    """A new kernel that runs the same cells does not train again; its class is the live one."""
    first = kernel()
    first.run(F)
    assert "training" in first.run("m = train(5)").text
    first.kill()
    second = kernel()
    second.run(F)
    done = second.run("m = train(5); print(type(m) is Fit, m.scaled().tolist())").text
    assert "training" not in done
    assert "True [0, 3, 6, 9, 12]" in done
    assert "training" in second.run("m = train(6)").text


def test_a_result_is_found_by_what_was_restored(kernel):
    """Functions, classes and variables that come back with the state are as those that cells make."""
    first = kernel()
    first.run(F + "keepstate.track('all')")
    assert "training" in first.run("m = train(5); words = {'some', 'words', 'here'}").text
    first.run("@keepstate.cache\ndef use(words):\n    print('using')\n    return len(words) * FACTOR")
    assert "using" in first.run("use(words)").text
    first.settle()
    first.kill()
    second = kernel(PYTHONHASHSEED="77")
    done = second.run("n = train(5); print(type(n) is Fit, type(n) is type(m), use(words))").text
    assert "training" not in done
    assert "using" not in done
    assert "True True 9" in done


def test_results_are_no_snapshots(kernel):
    """They are in no list of the notebook's states, and are never restored as one."""
    first = kernel()
    first.run(F + "train(5)")
    assert first.run("print(keepstate.snapshots())").text.strip() == "[]"
    first.run("x = 1; keepstate.track('x')")
    first.settle()
    first.run("train(6)")
    first.kill()
    second = kernel()
    assert second.run("print(x, len(keepstate.snapshots()), list(s.restored.restored))").text.strip() == (
        "1 1 ['x']"
    )


@pytest.mark.slow
def test_two_kernels_keep_the_same_result_at_once(kernel):
    """Both get what they have computed, and a third finds it."""
    pair = kernel(), kernel()
    loop = F + "for n in range(30): assert (train(n).w == np.arange(n)).all()"
    for message, one in [(one.send(loop), one) for one in pair]:
        assert not one.wait(message).error
    third = kernel()
    assert "training" not in third.run(loop).text


def test_a_function_may_be_decorated_before_the_session_and_called_after_it(kernel):
    """Without a session the call says what to do."""
    one = kernel("import keepstate\n" + F)
    said = one.run("train(2)", ok=False).error
    assert "SessionError: no session is running: call keepstate.start()" in said
    one.run("keepstate.start(store='store')")
    assert "training" in one.run("train(2)").text
    assert "training" not in one.run("train(2)").text
    one.run("keepstate.stop()")
    assert "SessionError" in one.run("train(2)", ok=False).error


def test_a_forked_worker_runs_the_function(kernel):
    """It has no session of its own, and nobody's work is broken for that."""
    one = kernel()
    one.run(F)
    code = (
        "import multiprocessing as mp, warnings\nwarnings.simplefilter('ignore')\n"
        "def work(n): return train(n).w\n"
        "with mp.get_context('fork').Pool(1) as pool: print(pool.apply(work, (3,)))"
    )
    assert "[0 1 2]" in one.run(code).text
