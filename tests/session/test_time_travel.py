"""One name goes back to any kept moment, and nothing else is disturbed."""

import pytest
from far_scripts import Computer
from s3_servers import rclone_server

START = "import keepstate\nimport numpy as np\nimport random\nkeepstate.start(store='store')\n"


@pytest.fixture
def script(run_script):
    """Run a script that has a session; give its last line."""

    def run(code):
        return run_script(code, start=START).stdout.strip().splitlines()[-1]

    return run


def test_other_names_stay_as_they_are(script):
    """The very objects, also those that have changed since, and those that are not tracked."""
    said = script("""
        x = [1]; y = [1]; own = [1]
        keepstate.track("x", "y")
        kept = keepstate.snapshot()
        x.append(2); y.append(2); z = [9]
        ids = id(y), id(z), id(own)
        before = set(globals())
        report = keepstate.restore("x", at=kept)
        more = set(globals()) - before - {"before", "report"}
        print(x, y, ids == (id(y), id(z), id(own)), more, report.restored)
    """)
    assert said == "[1] [1, 2] True set() ('x',)"


def test_a_name_that_shared_objects_comes_back_apart_and_that_is_said(script):
    """Its partner is left alone; both together share again."""
    said = script("""
        base = np.zeros(10); head = base[:3]
        keepstate.track("base", "head")
        kept = keepstate.snapshot()
        base[0] = 1
        report = keepstate.restore("base", at=kept)
        apart = (base[0], head[0]) == (0, 1) and not np.shares_memory(base, head)
        both = keepstate.restore("base", "head", at=kept)
        print(apart, np.shares_memory(base, head), both.remarks, report.remarks)
    """)
    assert said.startswith(
        'True True () ("base shared objects with head then, and no longer does: keepstate.'
    )


def test_names_left_alone_by_overwrite_are_said_to_be_apart(script):
    """All names were asked for, but one is there and stays."""
    said = script("""
        base = np.zeros(10); head = base[:3]
        keepstate.track("base", "head")
        kept = keepstate.snapshot()
        del base
        report = keepstate.restore(at=kept, overwrite=False)
        print(report.restored, report.kept_live, len(report.remarks))
    """)
    assert said == "('base',) ('head',) 1"


def test_random_states_do_not_move(script):
    """Neither by restoring one name nor by loading it, though its class draws when it is made."""
    said = script("""
        class Draws:
            def __setstate__(self, state):
                random.random(); np.random.rand()
                self.__dict__.update(state)
        thing = Draws(); thing.x = 1
        keepstate.track("thing")
        kept = keepstate.snapshot()
        random.seed(5); np.random.seed(5)
        states = random.getstate(), str(np.random.get_state())
        keepstate.restore("thing", at=kept)
        keepstate.load("thing", at=kept)
        print(states == (random.getstate(), str(np.random.get_state())), thing.x)
    """)
    assert said == "True 1"


def test_load_binds_nothing(script):
    """Not even the class that the value needs."""
    said = script("""
        class Point:
            x = 1
        point = Point()
        keepstate.track("point", "Point")
        kept = keepstate.snapshot()
        del point, Point
        before = set(globals())
        value = keepstate.load("point", at=kept)
        print(value.x, set(globals()) - before - {"before", "value"}, keepstate.status().tracked)
    """)
    assert said == "1 set() ('Point', 'point')"


def test_tracking_goes_on(script):
    """The old value is part of the next snapshot, as are all other names."""
    said = script("""
        x = 1; y = 1
        keepstate.track("x", "y")
        kept = keepstate.snapshot()
        x = y = 2
        keepstate.snapshot()
        keepstate.restore("x", at=kept)
        last = keepstate.snapshot()
        print(keepstate.load("x", at=last), keepstate.load("y", at=last), last.names)
    """)
    assert said == "1 2 ('x', 'y')"


def test_a_name_that_is_gone_comes_back_and_is_tracked_again(script):
    """It had been deleted and untracked."""
    said = script("""
        x = 1; y = 1
        keepstate.track("x", "y")
        kept = keepstate.snapshot()
        keepstate.untrack("x")
        del x
        keepstate.snapshot()
        keepstate.restore("x", at=kept)
        print(x, keepstate.status().tracked)
    """)
    assert said == "1 ('x', 'y')"


def test_a_name_that_moment_does_not_have_is_refused_and_nothing_changes(script):
    """Not even the other names that were asked for."""
    said = script("""
        x = 1
        keepstate.track("x")
        kept = keepstate.snapshot()
        x = 2; later = 3
        keepstate.track("later")
        keepstate.snapshot()
        try:
            keepstate.restore("x", "later", at=kept)
        except keepstate.NotFoundError as error:
            print(x, later, "has no 'later'" in str(error))
    """)
    assert said == "2 3 True"


def test_an_instance_of_a_class_that_is_another_now_is_said_to_be(script):
    """The class of the notebook stays; the value has the one of then."""
    said = script("""
        exec("class Point:\\n    y = 1")
        point = Point()
        keepstate.track("point", "Point")
        kept = keepstate.snapshot()
        exec("class Point:\\n    y = 2")
        report = keepstate.restore("point", at=kept)
        print(point.y, Point.y, "uses Point as of then" in report.remarks[0])
    """)
    assert said == "1 2 True"


FAR = """
import keepstate
keepstate.start(store={store!r}, project="p", member="ana", notebook="n"{more})
"""


@pytest.mark.slow
def test_a_moment_that_only_the_far_store_has_is_brought(tmp_path):
    """A machine that has lost all starts with the newest, and goes back for one name."""
    with rclone_server(tmp_path / "server") as server:
        server.create_bucket("bucket")
        store = server.address("bucket", "folder")
        with Computer(tmp_path / "computer", **server.credentials) as computer:
            first = FAR.format(store=store, more=', track=("x", "y")')
            computer.must(
                "x = [1]; y = [1]\n" + first + "keepstate.snapshot('early')\n"
                "x.append(2); y.append(2)\nkeepstate.finish()\n"
            )
            computer.wipe()
            said = computer.must(
                FAR.format(store=store, more="")
                + "early = next(s for s in keepstate.snapshots() if s.note == 'early')\n"
                "found = keepstate.diff(early, 'now', 'x')\n"
                "loaded = keepstate.load('y', at=early)\n"
                "keepstate.restore('x', at=early)\n"
                "print(x, y, loaded, [c.name for c in found.changes])\n"
            )
    assert said.splitlines()[-1] == "[1] [1, 2] [1] ['x']"


def test_data_is_loaded_without_running_anything(script):
    """Arrays and plain values come; an object of a class is refused by name, and its code has not run."""
    said = script("""
        class Loud:
            def __setstate__(self, state):
                print("ran")
        thing = Loud(); thing.x = 1
        data = {"a": np.arange(5000), "b": [1, "two", None]}
        keepstate.track("thing", "data")
        kept = keepstate.snapshot()
        loaded = keepstate.load("data", data_only=True)
        same = (loaded["a"] == data["a"]).all() and loaded["b"] == data["b"] and loaded is not data
        try:
            keepstate.load("thing", data_only=True)
        except keepstate.errors.TrustError as error:
            print(same, str(error).startswith("thing (__main__.Loud) cannot be rebuilt: it asks for"))
    """)
    assert said == "True True"
