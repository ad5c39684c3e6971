"""Names that come after start() has returned: cells wait for what they reach, and for nothing else."""

import shutil

import pytest
from kernels import Kernel

LAZY = "import keepstate\ns = keepstate.start(store='store', interval=3600, restore='lazy')"
KEEP = """
import numpy as np
import keepstate
keepstate.start(store='store', interval=3600)
import random; random.seed(5)
big = np.random.default_rng(0).random(1_000_000); head = big[:10]; small = [1, 2]
keepstate.track('big', 'head', 'small')
"""
GATE = """
import os, threading
_pread, _preadv = os.pread, os.preadv
def wait_for(nbytes):
    if nbytes > 1 << 16:
        while os.path.exists('shut'):
            threading.Event().wait(0.01)
def slow_pread(descriptor, length, offset):
    wait_for(length)
    return _pread(descriptor, length, offset)
def slow_preadv(descriptor, buffers, *rest):
    wait_for(buffers[0].nbytes)
    return _preadv(descriptor, buffers, *rest)
os.pread, os.preadv = slow_pread, slow_preadv
def watch_main():
    import sys
    while True:
        frame = sys._current_frames()[threading.main_thread().ident]
        while frame is not None:
            if frame.f_code.co_name == 'bring' and frame.f_code.co_filename.endswith('coming.py'):
                return open('waits', 'w').close()
            frame = frame.f_back
        threading.Event().wait(0.005)
"""
"""A disk that gives large pieces once they are no longer shut, and a look at whether a cell waits for one."""
DEFINE = """
class Net:
    def __init__(self): self.calls = 0
    def fit(self): return len(big) + self.calls
    def __setstate__(self, state):
        import random
        random.random(); self.__dict__.update(state)
def total(): return big.sum()
def outer(): return total()
net = Net(); box = {'f': outer}
keepstate.track('net', 'total', 'outer', 'box')
"""


class Notebook:
    """Kernels in one folder, one after the other."""

    def __init__(self, folder):
        self.folder = folder
        self.shut = folder / "shut"
        self.kernel = None

    def start(self, *cells):
        self.kernel = Kernel(self.folder)
        return "".join(self.kernel.run(cell).text for cell in cells)

    def end(self):
        if self.kernel is not None:
            self.kernel.end()

    def take_up(self, *cells):
        """Start again, with a disk that does not give the large part yet."""
        self.shut.touch()
        return self.start(GATE, LAZY, *cells)

    def coming(self):
        """Say what is still coming, asked outside any cell."""
        asked = {"c": "__import__('keepstate')._api._session.restored.coming"}
        message = self.kernel.client.execute("", silent=True, user_expressions=asked)
        return self.kernel._shell_reply(message)["user_expressions"]["c"]["data"]["text/plain"]

    def come(self):
        """Return once everything has come by itself, without any cell."""
        for _ in range(1000):
            if self.coming() == "()":
                return
            self.kernel.pause(0.02)
        raise AssertionError("not everything has come: " + self.coming())

    def send_and_see_it_wait(self, cell):
        """Send a cell, and return once it waits before it runs."""
        waits = self.folder / "waits"
        waits.unlink(missing_ok=True)
        self.kernel.run_silently("threading.Thread(target=watch_main, daemon=True).start()")
        message = self.kernel.send(cell)
        for _ in range(1000):
            if waits.exists():
                return message
            self.kernel.pause(0.01)
        raise AssertionError(f"the cell does not wait: {self.kernel.wait(message)}")

    def answer(self, cell):
        """Run a cell that must wait for the large part, give that, and say what the cell printed."""
        message = self.send_and_see_it_wait(cell)
        self.shut.unlink()
        reply = self.kernel.wait(message)
        assert not reply.error, reply
        return reply.text


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What a kernel has left behind that was killed."""
    first = Notebook(tmp_path_factory.mktemp("first"))
    first.start(KEEP, DEFINE)
    first.kernel.settle()
    first.kernel.kill()
    return first.folder


@pytest.fixture
def notebook(left, tmp_path):
    shutil.copytree(left, tmp_path / "notebook")
    found = Notebook(tmp_path / "notebook")
    yield found
    found.end()


def test_start_returns_at_once_and_a_small_name_does_not_wait_for_the_large_one(notebook):
    """While the disk does not give the large part at all; report and status say that it is coming."""
    said = notebook.take_up()
    assert "coming (8.0 MB), 0 not" in said
    assert notebook.kernel.run("print(small)").text == "[1, 2]\n"
    assert "Still coming: big, " in notebook.kernel.run("print(keepstate.status())").text
    assert "<td>coming</td>" in notebook.kernel.run("s.restored").html[0]
    assert notebook.answer("print(len(big), head.base is big)") == "1000000 True\n"
    notebook.come()
    assert "7 restored, 0 not" in notebook.kernel.run("print(s.restored)").text


@pytest.mark.parametrize(
    "cell",
    [
        "print(eval('bi' + 'g').shape)",
        "print(globals()['bi' + 'g'].shape)",
        "print(net.fit())",
        "print(box['f']() > 0)",
        "if 'big' not in dir(): print('none')\nprint('there')",
        "print(keepstate.get('big', lambda: None).shape)",
        "%time print(outer() > 0)",
        "!echo {len(big)}",
        "import asyncio; await asyncio.sleep(0); print(big.shape)",
    ],
)
def test_a_cell_waits_for_what_it_reaches_by_any_known_road(notebook, cell):
    """Through functions, methods, containers, evaluated text and magics."""
    notebook.take_up()
    said = notebook.answer(cell)
    assert "1000000" in said or "True" in said or said == "there\n"


def test_the_rest_of_the_cell_that_starts_finds_what_it_uses(notebook):
    """As if everything had come before start() returned."""
    said = notebook.start(LAZY + "\nprint('sum', outer() == big.sum(), net.fit())")
    assert "sum True 1000000" in said


def test_what_comes_by_itself_is_all_there_and_draws_no_number_of_the_users(notebook):
    """Arrays beside a cell, objects of the notebook's classes between cells, which may draw in theirs."""
    notebook.start(LAZY)
    notebook.come()
    said = notebook.kernel.run(
        "print(random.random(), type(net) is Net, outer() == big.sum(), head.base is big)"
    )
    expected = notebook.kernel.run("random.seed(5); print(random.random())").text
    assert said.text == f"{expected.strip()} True True True\n"


def test_a_library_that_looks_by_itself_finds_the_name_once_it_has_come(notebook):
    """In the middle of a cell that waits for nothing."""
    (notebook.folder / "library.py").write_text(
        "import sys, time\n"
        "def look(name):\n"
        "    space = vars(sys.modules['__main__'])\n"
        "    while name not in space: time.sleep(0.01)\n"
        "    return space[name]\n"
    )
    notebook.take_up("import library")
    notebook.shut.unlink()
    assert notebook.kernel.run("print(library.look('b' + 'ig').shape)").text == "(1000000,)\n"


def test_a_snapshot_taken_meanwhile_forgets_nothing(notebook):
    """Killed before anything large has come, the third session has all of it, definitions and aliases too."""
    notebook.take_up("small = 3")
    second = notebook.kernel
    assert second.run("print(keepstate.snapshot().names)").text.startswith("('big', 'box', 'head', 'net'")
    assert "big, box, head" in second.run("print(keepstate.status())").text
    second.kill()
    notebook.shut.unlink()
    notebook.start(LAZY)
    said = notebook.kernel.run(
        "print(small, head.base is big, net.fit(), outer() == big.sum(), s.restored.failed)"
    )
    assert said.text == "3 True 1000000 True {}\n"


def test_what_is_still_coming_is_kept_without_being_written_again(notebook):
    """A snapshot before anything large has come holds all of it and writes next to nothing."""
    notebook.take_up()
    said = notebook.kernel.run("p = keepstate.snapshot('note'); print(p.names[0], p.written_bytes < 100_000)")
    assert said.text == "big True\n"


@pytest.mark.parametrize(
    "cell", ["print('it ran', big[0])", "import asyncio; await asyncio.sleep(0); print(big)"]
)
def test_an_interrupt_ends_the_wait_and_the_cell_does_not_run(notebook, cell):
    """Nothing is lost: the next cell waits again, and finds it."""
    notebook.take_up("count = 0")
    message = notebook.send_and_see_it_wait(cell)
    notebook.kernel.interrupt()
    reply = notebook.kernel.wait(message)
    assert reply.error.startswith("KeyboardInterrupt"), reply
    assert reply.text == ""
    assert notebook.kernel.run("print(small)").text == "[1, 2]\n"
    assert notebook.answer("print(big.shape)") == "(1000000,)\n"


def test_what_is_damaged_is_told_as_ever_and_costs_itself_alone(notebook):
    """The name is not bound, its NameError is followed by the reason, and it is carried on."""
    pack = max((notebook.folder / "store").rglob("*.pack"), key=lambda path: path.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.write_bytes(raw)
    notebook.start(LAZY)
    notebook.come()
    missed = notebook.kernel.run("big.shape", ok=False)
    assert missed.error.startswith("NameError")
    assert "is known from the last session but not here: chunk" in missed.text
    assert notebook.kernel.run("print(small, sorted(s.restored.failed))").text == "[1, 2] ['big', 'head']\n"
    assert "'big'" in notebook.kernel.run("print(keepstate.snapshot(note='n').names)").text


def test_a_name_that_is_replaced_while_it_is_coming_keeps_the_users_value(notebook):
    """It is told how to get the kept one, once, and what is kept from then on is the new one."""
    notebook.take_up()
    assert "keepstate.restore('big', at=" in notebook.kernel.run("big = 'new'").text
    assert notebook.kernel.run("def total(): return 'the cell of before, run again'").text == ""
    notebook.shut.unlink()
    notebook.come()
    assert notebook.kernel.run("print(big, head.shape)").text == "new (10,)\n"
    notebook.kernel.settle()
    notebook.kernel.kill()
    notebook.start(LAZY)
    assert notebook.kernel.run("print(big)").text == "new\n"


def test_stop_waits_for_all_because_no_cell_does_afterwards(notebook):
    """And untracking a name that is coming keeps it coming, but out of snapshots."""
    notebook.take_up()
    notebook.kernel.run_silently("keepstate.untrack('big')")
    assert (
        notebook.kernel.run("print(keepstate.snapshot().names)").text
        == "('box', 'head', 'net', 'outer', 'small', 'total')\n"
    )
    assert notebook.answer("keepstate.stop(snapshot=False)") == ""
    assert notebook.kernel.run("print(big.shape)").text == "(1000000,)\n"


def test_a_process_that_the_user_forks_meanwhile_goes_its_way(notebook):
    """Nothing in it waits for a thread that it does not have."""
    notebook.take_up()
    fork = (
        "import os, multiprocessing\n"
        "def work(x): return x + 1\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(7)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(code, pool.map(work, [1, 2]))"
    )
    # From 3.12 on a warning of Python's comes first, as every kernel has threads.
    assert notebook.kernel.run(fork).text.endswith("7 [2, 3]\n")
