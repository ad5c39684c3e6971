"""``keepstate.diff``: what differs between two kept states, or between one of them and now."""

import pytest
from kernels import Kernel

START = "import keepstate\nimport numpy as np\nimport pandas as pd\nkeepstate.start(store='store')\n"


@pytest.fixture
def script(run_script):
    """Run a script that has a session; give its last line."""

    def run(code, **more):
        return run_script(code, start=START, **more).stdout.strip().splitlines()[-1]

    return run


def test_an_unchanged_state_differs_from_now_in_nothing(script):
    """Live values are named as a save would name them, whatever kind they are of."""
    said = script("""
        index = pd.MultiIndex.from_tuples([(1, 2), (3, 4)])
        frame = pd.DataFrame({"a": [1.5, 2], "text": ["x", None]}, index=index)
        array = np.arange(400_000.0); view = array[::2]
        tags = {"x", "y", "z"}; nested = {"tags": tags, "frame": frame}
        class Point:
            def __init__(self, x): self.x = x
        point = Point(3); double = lambda x: 2 * x
        keepstate.track("frame", "array", "view", "tags", "nested", "point", "double", "Point")
        kept = keepstate.snapshot()
        found = keepstate.diff(kept)
        print(bool(found), found.changes, found.unchanged, keepstate.diff("now", "now").unchanged)
    """)
    assert said == "False () 8 8"


def test_nothing_is_written_and_no_live_object_is_touched(script):
    """The store has the same files after, the random stream goes on, and a hook of pickle runs elsewhere."""
    said = script("""
        import random, pathlib
        class Loud:
            pickled = 0
            def __getstate__(self):
                Loud.pickled += 1
                random.random(); np.random.rand()
                return {"x": 1}
        loud = Loud(); big = np.zeros(300_000)
        keepstate.track("loud", "big")
        kept = keepstate.snapshot()
        files = sorted((str(f), f.stat().st_size) for f in pathlib.Path("store").rglob("*") if f.is_file())
        before = random.getstate(), str(np.random.get_state()), Loud.pickled
        big[7] = 1
        found = keepstate.diff(kept)
        after = random.getstate(), str(np.random.get_state()), Loud.pickled
        now = sorted((str(f), f.stat().st_size) for f in pathlib.Path("store").rglob("*") if f.is_file())
        print([c.name for c in found.changes], before == after, files == now, big[7], vars(loud))
    """)
    assert said == "['big'] True True 1.0 {}"


def test_an_open_file_is_as_it_was_until_it_is_read(run_script):
    """By its position, which the comparison does not move."""
    said = run_script("""
        import pathlib
        import keepstate
        pathlib.Path("text").write_text("some words")
        file = open("text", "rb")
        keepstate.start(store="store", capture="stage")
        keepstate.track("file")
        kept = keepstate.snapshot()
        before = keepstate.diff(kept).unchanged
        file.read(3)
        print(before, [c.what for c in keepstate.diff(kept).changes], file.tell())
    """).stdout
    assert said.splitlines()[-1] == "1 ['changed'] 3"


def test_what_happened_to_each_name_is_told(script):
    """Added, removed, rebound and changed, with the facts of frames, arrays and containers."""
    said = script("""
        frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}); array = np.zeros((2, 3)); items = [1, 2]
        gone = 1; kind = [1]
        keepstate.track("frame", "array", "items", "gone", "kind")
        kept = keepstate.snapshot()
        frame = frame.assign(c=0.5).astype({"a": "float32"}).iloc[:2]; array = np.zeros((4, 3), "f4")
        items.append(3); kind = "text"; new = 5
        del gone
        keepstate.track("new")
        found = keepstate.diff(kept)
        again = keepstate.diff(kept, keepstate.snapshot())
        facts = [(c.name, c.what, c.facts.rpartition("; ")[0]) for c in found.changes]
        print((found.changes == again.changes, facts))
    """)
    same, facts = eval(said)
    assert same
    assert facts == [
        ("array", "changed", "shape (2, 3) → (4, 3); float64 → float32"),
        ("frame", "changed", "shape (3, 2) → (2, 3); columns added: c (float64); dtypes: a int64 → float32"),
        ("gone", "removed", "int"),
        ("items", "changed", "length 2 → length 3"),
        ("kind", "rebound", "list → str; length 1 → length 4"),
        ("new", "added", "int"),
    ]


def test_of_names_that_share_objects_those_that_differ_are_told(script):
    """A view that does not show what changed, and a dict beside a changed one, are as they were."""
    said = script("""
        base = np.zeros((200, 300)); head = base[:10]; column = base[:, 7]; shared = [1]
        one = {"shared": shared}; two = {"shared": shared, "z": 1}
        keepstate.track("base", "head", "column", "one", "two")
        kept = keepstate.snapshot()
        base[150, 8] = 1
        two["z"] = 2
        found = keepstate.diff(kept, keepstate.snapshot())
        print([(c.name, c.shares) for c in found.changes], found.unchanged)
    """)
    assert said == "[('base', ('column', 'head')), ('two', ('one',))] 3"


def test_bytes_that_differ_are_counted_by_chunk(script):
    """One element of 16 MB is one chunk of them."""
    said = script("""
        big = np.zeros(2_000_000)
        keepstate.track("big")
        kept = keepstate.snapshot()
        big[1_000_000] = 1
        change = keepstate.diff(kept)["big"]
        print(change.bytes_differing <= 2**20 + 1000, change.bytes_after > 15_000_000)
    """)
    assert said == "True True"


def test_a_value_in_other_bytes_is_unchanged(run_script):
    """Sets come back in another order in a process with another seed of hashes; that is no change."""
    first = START + "tags = {f'tag{n}' for n in range(50)}\nkeepstate.track('tags')\nkeepstate.snapshot()\n"
    run_script("", start=first, variables={"PYTHONHASHSEED": "1"})
    said = run_script(
        """
        other = [0]
        keepstate.track("other")
        new = keepstate.snapshot()
        old = keepstate.snapshots()[1]
        print(keepstate.diff(old, new).unchanged, [c.name for c in keepstate.diff(old, new).changes])
        """,
        start=START,
        variables={"PYTHONHASHSEED": "2"},
    ).stdout
    assert said.splitlines()[-1] == "1 ['other']"


def test_a_changed_definition_is_told_where_it_is_used(script):
    """The instance has the same state; its class is another."""
    said = script("""
        exec("class Point:\\n    y = 1")
        point = Point()
        keepstate.track("point")
        kept = keepstate.snapshot()
        Point.y = 2
        found = keepstate.diff(kept)
        print([(c.name, c.notes) for c in found.changes])
    """)
    assert said == "[('point', ('what it uses of the notebook is another: Point',))]"


def test_what_was_not_kept_is_not_guessed_at(script):
    """A name that could not be kept on one side is neither added nor removed."""
    said = script("""
        thing = [1]; other = 1
        keepstate.track("thing", "other")
        kept = keepstate.snapshot()
        thing = (n for n in [1])
        found = keepstate.diff(kept)
        print(found.changes, list(found.unknown), "cannot be kept now" in found.unknown["thing"], bool(found))
    """)
    assert said == "() ['thing'] True True"


def test_a_name_that_is_not_tracked_any_more_is_out_of_scope(script):
    """It is still there, so it was not removed."""
    said = script("""
        x = 1; y = 1
        keepstate.track("x", "y")
        kept = keepstate.snapshot()
        keepstate.untrack("x"); x = 2
        found = keepstate.diff(kept)
        print(found.changes, found.unknown)
    """)
    assert said.startswith("() {'x': \"it is not tracked any more")


def test_names_choose_what_is_compared(script):
    """Others are not counted; one that neither state has is an error."""
    said = script("""
        x = 1; y = 1
        keepstate.track("x", "y")
        kept = keepstate.snapshot()
        x = y = 2
        found = keepstate.diff(kept, "now", "x")
        try:
            keepstate.diff(kept, "now", "zz")
        except keepstate.NotFoundError as error:
            print([c.name for c in found.changes], found.unchanged, "neither state has 'zz'" in str(error))
    """)
    assert said == "['x'] 0 True"


def test_facts_that_an_older_version_did_not_record_are_decoded(run_script):
    """Of that name only, and nothing is bound."""
    said = run_script("""
        import keepstate
        from keepstate.codecs import _encoder
        facts_of, _encoder.facts_of = _encoder.facts_of, lambda value: None
        keepstate.start(store="store", capture="stage")
        x = [1, 2]
        keepstate.track("x")
        kept = keepstate.snapshot()
        _encoder.facts_of = facts_of
        del x
        print(keepstate.diff(kept)["x"].before.length, "x" in globals())
    """).stdout
    assert said.splitlines()[-1] == "2 False"


def test_an_upgrade_alone_is_no_change(run_script):
    """Records with facts have other ids than those without; the values are told to be the same."""
    said = run_script("""
        import keepstate
        from keepstate.codecs import _encoder
        facts_of, _encoder.facts_of = _encoder.facts_of, lambda value: None
        keepstate.start(store="store", capture="stage")
        class P: pass
        x = [1, 2]; p = P()
        keepstate.track("x", "p")
        kept = keepstate.snapshot()
        _encoder.facts_of = facts_of
        print(keepstate.diff(kept).unchanged, keepstate.diff(kept, keepstate.snapshot()).unchanged)
    """).stdout
    assert said.splitlines()[-1] == "2 2"


def test_it_can_be_asked_from_within_library_code(script):
    """The picture is taken on a thread of ours then, and the answer says so."""
    said = script("""
        x = [1]
        keepstate.track("x")
        kept = keepstate.snapshot()
        x.append(2)
        answers = list(map(keepstate.diff, [kept]))
        print([c.name for c in answers[0].changes], len(answers[0].remarks))
    """)
    assert said == "['x'] 1"


def test_moments_are_named_as_for_restore(script):
    """By snapshot, id, time and "cell"; what is none of these is refused."""
    said = script("""
        import datetime
        x = 1
        keepstate.track("x")
        kept = keepstate.snapshot()
        moment = datetime.datetime.now(datetime.timezone.utc)
        x = 2
        last = keepstate.snapshot()
        found = [len(keepstate.diff(a, last).changes) for a in (kept, kept.id[:8], moment)]
        try:
            keepstate.diff(3)
        except keepstate.InvalidInputError:
            print(found)
    """)
    assert said == "[1, 1, 1]"


def test_watched_folders_differ_by_their_files(script):
    """Between snapshots; of now it is said that they are left out."""
    said = script("""
        import pathlib, os
        folder = pathlib.Path("out"); folder.mkdir(); (folder / "a.txt").write_text("1")
        os.utime(folder / "a.txt", (1e9, 1e9))
        keepstate.watch("out")
        x = 1
        keepstate.track("x")
        kept = keepstate.snapshot()
        (folder / "a.txt").write_text("22")
        os.utime(folder / "a.txt", (1.1e9, 1.1e9))
        x = 2
        last = keepstate.snapshot()
        print([c.name for c in keepstate.diff(kept, last).changes], len(keepstate.diff(kept).remarks))
    """)
    assert said == "['out/', 'x'] 1"


def test_a_notebook_shows_a_table(tmp_path):
    """In a real kernel, between two cells, of what the cells before have done."""
    kernel = Kernel(tmp_path)
    try:
        kernel.run("import keepstate\nkeepstate.start(store='store')\nx = [1]\nkeepstate.track('x')")
        kernel.run("kept = keepstate.snapshot()")
        kernel.run("x.append(2)")
        reply = kernel.run("keepstate.diff(kept)")
        assert "<td>x</td><td>changed</td><td>length 1 → length 2" in reply.html[0]
        kernel.run("def look(): return keepstate.diff(kept, 'now', 'x')\nassert look().changes")
    finally:
        kernel.end()
