"""Names that come later: by the group, when they are asked for or by a thread, and never over the user's."""

import gc
import random
import threading
import types
import weakref

import numpy as np
import pytest
from standing_still import Saver

from keepstate._base.clock import SYSTEM_CLOCK, ManualClock
from keepstate._base.disk import Disk
from keepstate._model.kernel import Cell
from keepstate._repository import Repository
from keepstate._session import prefetch
from keepstate._session.coming import Coming
from keepstate._session.prefetch import Prefetch, comes_later

TIMEOUT = 20.0


class SlowDisk(Disk):
    """Stops whoever opens a file, while it is told to; or has something happen then."""

    def __init__(self):
        self.gate, self.met = threading.Event(), threading.Event()
        self.gate.set()
        self.then = None

    def open(self, path):
        if not self.gate.is_set():
            self.met.set()
            assert self.gate.wait(TIMEOUT)
        if self.then is not None:
            then, self.then = self.then, None
            then()
        return super().open(path)


class Kernel:
    """Runs a cell, or turns its loop when the test says so."""

    has_cells = True

    def __init__(self):
        self.running = None
        self.callbacks = []
        self.asked = threading.Event()

    def when_idle(self, callback):
        self.callbacks.append(callback)
        self.asked.set()
        return True

    def turn(self):
        assert self.asked.wait(TIMEOUT)
        self.asked.clear()
        self.callbacks.pop(0)()


class World:
    """A state that was kept, and one that comes back."""

    def __init__(self, folder):
        self.disk = SlowDisk()
        self.repository = Repository.open(folder / "store", create=True, disk=self.disk)
        self.space = {"__name__": "__main__"}
        self.settled = {}
        self.failed = {}
        self.threads = {}
        self.coming = None

    def keep(self, code, **values):
        """Run cells and keep all that they bind."""
        module = types.ModuleType("__main__")
        vars(module).update(values)
        before = set(vars(module)) - set(values)
        exec(code, vars(module))
        names = {k: v for k, v in vars(module).items() if k not in before and not k.startswith("__")}
        saved = Saver(self.repository).save(names, namespace=vars(module))
        assert not saved.skipped
        self.manifest = saved.commit.manifest
        return self

    def begin(self):
        def note(outcome, failed):
            self.settled.update(outcome.restored)
            self.failed.update(failed)
            self.threads.update(dict.fromkeys(outcome.restored, threading.current_thread().name))

        self.coming = Coming(
            self.repository,
            self.manifest,
            self.space,
            [name for name in self.manifest.names if name not in self.space],
            explain=lambda outcome: dict(outcome.failed),
            settled=note,
            mend=lambda manifest, silently=False: False,
        )
        return self.coming

    def bring(self, *names):
        self.coming.bring(self.coming.needed(frozenset(names)))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def fetch(world):
    """Start the thread; it has ended when the test has."""
    started = []

    def fetch(kernel, clock=SYSTEM_CLOCK):
        troubles = []
        thread = Prefetch(world.coming or world.begin(), kernel, trouble=troubles.append, clock=clock)
        started.append((thread, troubles))
        thread.start()
        return thread

    yield fetch
    world.disk.gate.set()
    for thread, troubles in started:
        thread.stop()
        assert not troubles


def wait_until(fits):
    for _ in range(int(TIMEOUT / 0.01)):
        if fits():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not happen")


def test_what_is_asked_for_is_bound_with_its_group_and_nothing_else_is(world):
    """Names that share an object come together, and share it."""
    world.keep("a = [1]; b = {'a': a}; c = 3").begin()
    world.bring("b")
    assert world.space["b"]["a"] is world.space["a"]
    assert "c" not in world.space
    assert world.coming.names == ("c",)


def test_a_definition_that_no_name_was_tracked_for_is_bound_when_it_is_asked_for(world):
    """A function of the notebook that a kept one uses."""
    world.keep("def _help(): return 7\ndef f(): return _help()").begin()
    world.bring("f", "_help")
    assert world.space["f"]() == 7


def test_instances_that_come_at_different_times_are_of_one_class(world):
    """One class, one identity."""
    world.keep("class A: pass\na, b = A(), [A()]").begin()
    world.bring("a")
    world.bring("b")
    assert type(world.space["a"]) is type(world.space["b"][0])
    world.bring("A")
    assert world.space["A"] is type(world.space["a"])


def test_a_variable_of_the_users_is_never_replaced(world):
    """Neither by what is asked for nor by its group; it is told what would have been there."""
    world.keep("a = [1]; b = {'a': a}").begin()
    world.space["a"] = "new"
    world.bring("b")
    assert world.space["a"] == "new"
    assert world.settled["a"] == [1]


def test_a_forgotten_name_is_not_bound(world):
    """As when it was restored from elsewhere, and deleted."""
    world.keep("a = [1]; b = {'a': a}").begin()
    world.coming.forget("a")
    world.bring("b")
    assert "a" not in world.space
    assert world.coming.left == ()


def test_what_fails_costs_its_group_and_says_why(world):
    """The rest comes."""
    world.keep("import fractions\na = fractions.Fraction(1, 2); b = 2")
    world.begin()
    group = world.coming.needed(frozenset({"a"}))[0]
    world.coming.fail(group, ValueError("damaged"))
    world.bring("a", "b")
    assert "a" not in world.space
    assert world.failed == {"a": "damaged"}
    assert world.space["b"] == 2


def test_an_interrupt_leaves_what_has_not_come_as_it_was(world):
    """Asked again, it comes."""
    world.keep("a = [1]; b = 2").begin()
    world.coming.needed(frozenset({"a"}))

    def interrupt():
        raise KeyboardInterrupt

    world.disk.then = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.bring("a")
    assert "a" not in world.space
    world.bring("a")
    assert world.space["a"] == [1]


def test_nothing_is_held_that_the_user_has_deleted(world):
    """What has come lives as long as the user's names for it."""
    world.keep("a = {1, 2}; b = 2; c = {3}").begin()
    world.bring("a")
    world.settled.clear()
    seen = weakref.ref(world.space["a"])
    del world.space["a"]
    gc.collect()
    assert seen() is None


def test_random_streams_are_left_alone(world):
    """An object that draws numbers when it is made draws none of the user's."""
    code = "import random\nclass A:\n    def __setstate__(self, state): random.random()\na = A(); a.x = 1"
    world.keep(code).begin()
    random.seed(1)
    before = random.getstate()
    world.bring("a")
    assert random.getstate() == before


def test_arrays_come_while_a_cell_runs_and_classes_of_the_notebook_only_between_cells(world, fetch):
    """The one runs no code of the user's, the other does."""
    world.keep("class A: pass\na = A(); many = [1, 2]", array=np.arange(1e5))
    kernel = Kernel()
    kernel.running = Cell(1, "")
    world.begin()
    fetch(kernel)
    wait_until(lambda: {"array", "many"} <= world.space.keys())
    assert {world.threads[name] for name in ("array", "many")} == {"keepstate-prefetch"}
    assert "a" not in world.space
    assert kernel.callbacks == []
    kernel.running = None
    while world.coming.names:
        kernel.turn()
    assert type(world.space["a"]) is world.space["A"]
    assert world.threads["a"] == "MainThread"


def test_a_long_stream_is_decoded_when_nobody_has_been_there_for_a_while(world, fetch):
    """It would hold up a cell that comes in between."""
    world.keep("", long=[[] for _ in range(100_000)], short={1: print})
    kernel, clock = Kernel(), ManualClock()
    world.begin()
    thread = fetch(kernel, clock)
    while "short" in world.coming.names:
        kernel.turn()

    def is_ready():
        clock.advance(0.01)  # it may be resting because the short one was asked for
        thread.seen()
        return [group.names for group in thread._ready] == [("long",)]

    wait_until(is_ready)
    clock.advance(0.5)
    thread.seen()
    clock.advance(0.9)
    assert not kernel.asked.wait(0.1)
    clock.advance(prefetch.QUIET_SECONDS)
    kernel.turn()
    assert len(world.space["long"]) == 100_000
    clock.advance(1)


def test_what_cannot_be_brought_is_not_offered_to_the_loop_again(world):
    """Otherwise the kernel would do nothing else."""
    world.keep("", short={1: print})
    kernel, troubles, clock = Kernel(), [], ManualClock()
    coming = world.begin()

    def explode(_outcome):
        raise OSError("the disk is gone")

    coming._explain = explode
    thread = Prefetch(coming, kernel, trouble=troubles.append, clock=clock)
    thread.start()
    assert kernel.asked.wait(TIMEOUT)
    clock.advance(2 * prefetch.QUIET_SECONDS)
    kernel.turn()
    thread.stop()
    assert [str(trouble) for trouble in troubles] == ["the disk is gone"]
    assert kernel.callbacks == []
    assert world.coming.names == ("short",)


def test_the_thread_rests_while_somebody_waits(world, fetch):
    """A small name that is asked for passes a large one that is being read."""
    world.keep("small = {1: print}", large=np.random.default_rng(0).random(3_000_000))
    world.begin()
    kernel = Kernel()
    kernel.running = Cell(1, "")
    world.coming.needed(frozenset({"small"}))
    world.disk.gate.clear()
    thread = fetch(kernel)
    assert world.disk.met.wait(TIMEOUT)
    world.coming._waiting.append("somebody")
    world.disk.gate.set()
    world.bring("small")
    assert world.space["small"] == {1: print}
    assert "large" not in world.space
    world.coming._waiting.remove("somebody")
    wait_until(lambda: "large" in world.space)
    thread.stop()


def test_what_is_read_already_is_not_read_again(world, fetch):
    """Whoever asks for it goes on where the thread is."""
    world.keep("class A: pass\na = A()\na.x = big", big=np.random.default_rng(0).random(2_000_000))
    world.begin()
    kernel = Kernel()
    kernel.running = Cell(1, "")
    thread = fetch(kernel)
    wait_until(lambda: len(thread._ready) == 2)
    thread.stop()
    world.bring("A")
    reads = []
    world.disk.then = lambda: reads.append(1)
    world.bring("a", "big")
    assert world.space["a"].x is world.space["big"]
    assert np.array_equal(world.space["big"], np.random.default_rng(0).random(2_000_000))
    assert reads == []


def test_what_does_not_fit_is_left_until_it_is_asked_for(world, fetch, monkeypatch):
    """The memory is the user's."""
    world.keep("small = 1", large=np.random.default_rng(0).random(500_000))
    monkeypatch.setattr(prefetch, "FREE_SHARE", 1.0)
    fetch(Kernel())._thread.join(TIMEOUT)
    assert "small" in world.space
    assert world.coming.names == ("large",)
    world.bring("large")
    assert world.space["large"].shape == (500_000,)


def test_damage_is_found_by_the_thread(world, fetch, tmp_path):
    """It is told without anybody having to ask, and the rest comes."""
    world.keep("small = 1", large=np.random.default_rng(0).random(500_000))
    pack = max((tmp_path / "store").rglob("*.pack"), key=lambda path: path.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[1 << 20] ^= 1
    pack.write_bytes(raw)
    fetch(Kernel())._thread.join(TIMEOUT)
    assert world.space["small"] == 1
    assert "damaged" in world.failed["large"]
    assert world.coming.left == ()


@pytest.mark.parametrize(
    ("mode", "has_cells", "nbytes", "later"),
    [
        ("auto", True, prefetch.LATER_BYTES, True),
        ("auto", True, prefetch.LATER_BYTES - 1, False),
        ("auto", False, 1 << 40, False),
        ("lazy", True, 0, True),
        ("lazy", False, 1 << 40, False),
        ("eager", True, 1 << 40, False),
    ],
)
def test_small_states_and_scripts_do_not_come_later(mode, has_cells, nbytes, later):
    """Unless a notebook asks for it."""
    kernel = Kernel()
    kernel.has_cells = has_cells
    assert comes_later(mode, kernel, nbytes) is later
