"""Real kernels, killed and started again."""

import re

import pytest
from kernels import Kernel

START = "import keepstate\ns = keepstate.start(store='store', interval=0.3)"


@pytest.fixture
def kernel(tmp_path):
    """Start kernels in one folder; what still lives at the end is killed."""
    started = []

    def start(code=START, **environment):
        kernel = Kernel(tmp_path, **environment)
        started.append(kernel)
        kernel.said = kernel.run(code).text if code else ""
        return kernel

    yield start
    for one in started:
        one.end()


def test_a_kernel_killed_inside_a_loop_comes_back_in_the_middle_of_it(kernel):
    """The state between two statements of a running cell was kept, and the loop goes on from there."""
    first = kernel()
    loop = (
        "while i < 2_000_000_000:\n    i += 1; pair = (i, i)\n    if i % 500_000 == 0: print(i, flush=True)"
    )
    message = first.send(f"i = 0; pair = (0, 0)\nkeepstate.track('i', 'pair')\n{loop}")
    first.wait_for(message, "\n")
    wait_until_kept_inside(first)
    first.kill()
    second = kernel()
    assert re.search(r"statement: inside cell \[\d+\], line \d", second.said)
    i, pair = second.run("print(i, pair[0])").text.split()
    assert int(i) > 0
    assert int(i) - int(pair) in (0, 1)


def wait_until_kept_inside(kernel):
    """Return once the store holds a state from inside the running cell."""
    wait_until_kept(kernel, lambda m: m.consistency == "statement" and m.reason == "timer")


def wait_until_kept(kernel, fits):
    """Return once the store holds a snapshot that *fits*."""
    from keepstate._repository import Repository

    for _ in range(600):
        found = Repository.open(kernel.cwd / "store", create=False).manifests()
        if any(map(fits, found)):
            return
        kernel.pause(0.05)
    raise AssertionError("no state from inside the cell was kept")


def test_the_first_cell_tells_whose_state_it_is_and_what_came_back(kernel):
    """Identity and report are printed by start(), and the report is a table in HTML as well."""
    first = kernel()
    assert "project 'default', notebook 'notebook', member 'me'" in first.said
    first.run("x = [1]; keepstate.track(x)")
    first.settle()
    first.kill()
    second = kernel()
    assert re.search(r"^x +restored", second.said, re.MULTILINE)
    assert "<table>" in second.run("s.restored").html[0]


def test_names_are_there_later_in_the_very_cell_that_starts(kernel):
    """A cell that calls start() and goes on can use what came back."""
    first = kernel()
    first.run("x = 41; keepstate.track('x')")
    first.settle()
    first.kill()
    second = kernel(START + "\nprint('x is', x + 1)")
    assert "x is 42" in second.said


def test_a_live_variable_is_left_alone(kernel):
    """start() binds only what the namespace lacks."""
    first = kernel()
    first.run("x = 'kept'; y = 1; keepstate.track('x', 'y')")
    first.settle()
    first.kill()
    second = kernel("x = 'live'\n" + START)
    assert second.run("print(x, y)").text == "live 1\n"


def test_restored_names_are_tracked_again_and_all_stays_on(kernel):
    """The second session guards what the first did, without a word from the user."""
    first = kernel()
    first.run("keepstate.track('all'); x = 1")
    first.settle()
    first.kill()
    second = kernel()
    second.run("fresh = 'new'; x = 2")
    second.settle()
    second.kill()
    third = kernel()
    assert third.run("print(x, fresh)").text == "2 new\n"


def test_a_deleted_name_leaves_the_next_snapshot_and_stays_in_older_ones(kernel):
    """Names follow what the notebook does."""
    one = kernel()
    one.run("x = 1; y = 2; keepstate.track('x', 'y'); both = keepstate.snapshot()")
    one.run("del x; less = keepstate.snapshot()")
    assert one.run("print(both.names, less.names)").text == "('x', 'y') ('y',)\n"
    assert one.run("print(keepstate.load('x', at=both))").text == "1\n"


def test_a_run_all_that_rebuilds_is_told_once_how_to_get_the_restored_state(kernel):
    """A value that is made anew before any cell has read it is named, with the call that brings it back."""
    define = "import json as j\ndef build(): return ['fresh']"
    first = kernel()
    first.run(define + "\nmodel = ['trained']; keepstate.track('model', 'build', 'j')")
    first.settle()
    first.kill()
    second = kernel()
    assert second.run(define).text == ""
    said = second.run("model = ['fresh']").text
    call = re.search(r"keepstate\.restore\('model', at='\w+'\)", said).group()
    assert second.run("model = ['fresh']").text == ""
    second.run(call)
    assert second.run("print(model)").text == "['trained']\n"


def test_get_keeps_a_run_all_from_rebuilding(kernel):
    """The kept value is given, and make() is not called."""
    first = kernel()
    first.run("def build(): print('building'); return ['trained']")
    assert first.run("model = keepstate.get('model', build)").text == "building\n"
    first.settle()
    first.kill()
    second = kernel()
    second.run("def build(): print('building'); return ['fresh']")
    assert second.run("model = keepstate.get('model', build); print(model)").text == "['trained']\n"


def test_a_name_whose_library_comes_later_is_bound_before_the_cell_that_needs_it(kernel, tmp_path):
    """It waits, is carried through the snapshots of a session that cannot read it, and then it is there."""
    library = tmp_path / "rare_library.py"
    library.write_text("class Thing:\n    value = 7\n")
    first = kernel()
    first.run("import rare_library; thing = rare_library.Thing(); x = 1; keepstate.track(thing, 'x')")
    first.settle()
    first.kill()
    text = library.read_text()
    library.unlink()
    for cached in (tmp_path / "__pycache__").glob("rare_library*"):
        cached.unlink()
    second = kernel()
    assert "rare_library" in second.said
    missed = second.run("thing.value", ok=False)
    assert missed.error.startswith("NameError")
    assert "rare_library" in missed.text
    second.run("x = 2")
    second.settle()
    second.kill()
    third = kernel()
    library.write_text(text)
    assert third.run("print(thing.value, x)").text.endswith("7 2\n")


def test_random_streams_go_on_where_they_were(kernel):
    """random and numpy.random draw the numbers that the killed kernel would have drawn next."""
    first = kernel()
    first.run("import random, numpy as np; random.seed(1); np.random.seed(1); x = 1; keepstate.track('x')")
    first.run("s1 = (random.random(), np.random.rand())")
    expected = first.run("print(random.getstate()[1][:3], np.random.get_state()[1][:3])").text
    first.settle()
    first.kill()
    second = kernel()
    assert (
        second.run(
            "import random, numpy as np\nprint(random.getstate()[1][:3], np.random.get_state()[1][:3])"
        ).text
        == expected
    )


def test_torch_draws_on_although_it_is_imported_after_the_restore(kernel):
    """The state waits for the import, and is put back before the importing cell draws."""
    pytest.importorskip("torch")
    first = kernel()
    first.run("import torch; torch.manual_seed(5); x = 1; keepstate.track('x')")
    first.run("expected = torch.rand(3); torch.manual_seed(5); torch.rand(1)")
    expected = first.run("print(torch.get_rng_state().sum().item())").text
    first.settle()
    first.kill()
    second = kernel()
    assert second.run("import torch; print(torch.get_rng_state().sum().item())").text == expected


def test_the_guard_says_nothing_while_it_works(kernel):
    """Timers and saves send no message of any kind, not even when they fail."""
    one = kernel()
    one.run("x = 0; keepstate.track('x')")
    message = one.send("import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: x += 1")
    kinds = [m["msg_type"] for m in one.outputs(message)]
    assert set(kinds) <= {"status", "execute_input"}
    one.run("import os; os.rename('store', 'gone')")
    message = one.send("end = time.monotonic() + 1.5\nwhile time.monotonic() < end: x += 1")
    kinds = [m["msg_type"] for m in one.outputs(message)]
    assert set(kinds) <= {"status", "execute_input"}
    assert one.idle_messages(1.0) == []


def test_a_vanished_store_is_a_line_in_the_status_and_saving_resumes(kernel):
    """No cell breaks; when the folder is back, the next save succeeds and the trouble is over."""
    one = kernel("import keepstate, os\ns = keepstate.start(store='store', interval=3600)")
    one.run("x = 1; keepstate.track('x'); keepstate.snapshot()")
    one.run("os.rename('store', 'gone'); open('store', 'w').close()")
    assert one.run("x = 2").text == ""
    failed = one.run("keepstate.snapshot()", ok=False)
    assert "StoreError" in failed.error
    assert "None" not in one.run("print(keepstate.status().error)").text
    one.run("os.remove('store'); os.rename('gone', 'store')")
    assert one.run("print(keepstate.snapshot().names, keepstate.status().error)").text == "('x',) None\n"


def test_a_store_that_was_emptied_is_filled_again(kernel):
    """What was taken for kept is not relied on: everything is written anew."""
    one = kernel(
        "import keepstate, os, shutil, numpy as np\ns = keepstate.start(store='store', interval=3600)"
    )
    one.run("x = np.arange(1e6); keepstate.track(x)")
    one.settle()
    one.run("shutil.rmtree('store'); y = 1; keepstate.track('y')")
    one.run("keepstate.snapshot(note='again')", ok=False)
    one.run("keepstate.snapshot(note='again')")
    one.settle()
    one.kill()
    assert kernel().run("print(x.sum(), y)").text == "499999500000.0 1\n"


def test_a_long_call_into_a_library_is_kept_as_what_it_is(kernel):
    """Without a safe point the whole snapshot is marked, and an older better one is restored before it."""
    one = kernel()
    one.run("import time; x = 1; keepstate.track('x'); keepstate.snapshot()")
    one.run("x = 2; time.sleep(2)")
    levels = one.run("print({p.consistency for p in keepstate.snapshots()})").text
    assert "operation" in levels


def test_at_cell_goes_back_over_an_unfinished_cell(kernel):
    """A state from inside a cell is newest; at='cell' is the one before that cell."""
    one = kernel()
    one.run("x = 'before'; keepstate.track('x')")
    one.run("keepstate.snapshot('cell')")
    one.run("x = 'inside'; keepstate.snapshot(); keepstate.restore('x', at='cell'); print(x)")
    assert one.run("print(x)").text == "before\n"


def test_starting_twice_is_the_same_session(kernel):
    """The same call returns it, another one says what is different."""
    one = kernel()
    assert one.run(START.replace("s =", "t =") + "\nprint(s is t)").text.endswith("True\n")
    other = one.run("keepstate.start(store='elsewhere')", ok=False)
    assert other.error.startswith("SessionError")
    assert "store" in other.error


def test_a_front_end_that_shuts_down_leaves_the_last_state(kernel):
    """What changed outside any cell since the last save is kept when the interpreter ends."""
    one = kernel("import keepstate, threading\ns = keepstate.start(store='store', interval=3600)")
    one.run("x = []; keepstate.track(x)")
    one.run_silently("x.append('outside a cell')")
    one.shutdown()
    assert kernel().run("print(x)").text == "['outside a cell']\n"


def test_a_magic_that_times_a_loop_does_not_stop_the_guard(kernel):
    """Inside %%time the notebook's own lines are safe points as well."""
    one = kernel()
    one.run("x = 0; keepstate.track('x')")
    one.run(
        "%%time\nimport time\nend = time.monotonic() + 2\n"
        "while time.monotonic() < end:\n    x += 1\n    y = x"
    )
    assert "statement" in one.run("print({p.consistency for p in keepstate.snapshots()})").text


def test_a_session_that_was_started_outside_any_cell_saves_between_cells(kernel):
    """A start-up file is no cell: nothing stays open that keeps the next cells from being outermost."""
    one = kernel(None)
    one.run_silently(START)
    one.run("x = 1; keepstate.track('x')")
    one.settle()
    assert one.run("print({p.consistency for p in keepstate.snapshots()})").text == "{'cell'}\n"


def test_a_file_that_changes_while_nobody_is_there_is_saved(kernel, tmp_path):
    """No cell, no interval and no call: the watcher notices it, and the guard saves."""
    one = kernel("import keepstate\ns = keepstate.start(store='store', interval=3600)")
    one.run("import os; os.makedirs('outputs'); keepstate.watch('outputs/')")
    one.settle()
    (tmp_path / "outputs" / "a.bin").write_bytes(b"a" * 1000)
    wait_until_kept(one, lambda manifest: manifest.logical_bytes >= 1000)


def test_a_cell_that_starts_with_await_is_running(kernel):
    """Also there a picture in the middle is no picture between cells."""
    one = kernel("")
    one.run(
        "import asyncio, keepstate\nawait asyncio.sleep(0)\ns = keepstate.start(store='store')\nx = 1\n"
        "keepstate.track('x'); level = keepstate.snapshot().consistency"
    )
    assert one.run("print(level)").text in ("statement\n", "operation\n")  # the second with IPython 7


def test_a_cell_whose_end_was_kept_from_us_is_forgotten_at_the_next(kernel):
    """An interrupt in the hook may cost its end; pictures between cells go on all the same."""
    one = kernel()
    one.run("from keepstate._model.kernel import Cell; import threading; x = 1; keepstate.track('x')")
    one.run("hook = get_ipython().events.callbacks['post_run_cell'][-1].__self__")
    one.run("hook._open.insert(0, (threading.get_ident(), Cell(1, 'lost')))")
    one.run("x = 2")
    assert one.run("print(len(hook._open), hook._open[0][1].source[:5])").text == "1 print\n"
