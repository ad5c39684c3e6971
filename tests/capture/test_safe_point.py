"""Safe points: where they are, that nothing is left behind, and what the user does not notice."""

from __future__ import annotations

PROBE = """
from still import *
SEEN = {}


def probe(name):
    frame = sys._getframe(1)
    SEEN.setdefault(name, []).append(is_safe(frame, frame.f_globals))
"""


def test_only_a_chain_of_direct_calls_is_safe(each_python):
    """A frame is safe if each caller up to the cell called it itself, told without running anything."""
    (each_python.folder / "probing.py").write_text(PROBE)
    seen = each_python(
        """
        import functools, contextlib, operator
        from probing import probe, SEEN
        from still import *

        probe("module")
        def plain(name, *_, **__): probe(name)
        def nested():
            def inner(): plain("closure")
            inner()
        plain("function"); plain(*["star call"], **{}); plain(name="keyword call")
        nested()
        class Model:
            def fit(self): self.step("method of self")
            def step(self, name): probe(name)
            @staticmethod
            def still(name): probe(name)
            @classmethod
            def of(cls, name): probe(name)
            def __init__(self, name="constructor"): probe(name)
            def __lt__(self, other): probe("comparison"); return True
            @property
            def prop(self): probe("property")
            def __call__(self, name): probe(name)
            def __getattr__(self, name): probe("missing attribute"); raise AttributeError(name)
            def __enter__(self): probe("enter")
            def __exit__(self, *_): probe("exit")
            def __add__(self, other): probe("operator")
            def __getitem__(self, key): probe("subscript")
            def __iter__(self): return iter([])
            probe("class body")
        model = Model()
        model.fit(); model.step("method"); Model.step(model, "method of class")
        Model.still("static method"); model.of("class method")
        sorted([model, Model()]); model.prop; model("call of an object"); hasattr(model, "nothing")
        model + 1; model[0]
        with model: probe("with body")
        sorted([1], key=lambda _: plain("sort key"))
        list(map(plain, ["map"])); functools.reduce(lambda a, b: plain("reduce"), [1, 2])
        functools.partial(plain, "partial")()
        cached = functools.lru_cache(plain); cached("cache")
        def generate(): probe("generator"); yield 1
        for _ in generate(): probe("loop over a generator")
        list(generate())
        async def coroutine(): probe("coroutine")
        try: coroutine().send(None)
        except StopIteration: pass
        [plain("comprehension") for _ in range(1)]; {plain("set comprehension") for _ in range(1)}
        {1: plain("dict comprehension") for _ in range(1)}
        list(plain("generator expression") for _ in range(1))
        [[plain("nested comprehension") for _ in range(1)] for _ in range(1)]
        def decorate(function):
            def wrapper(*args): return function(*args)
            return wrapper
        @decorate
        def decorated(name): probe(name)
        decorated("decorated")
        other = decorate(plain); other("alias of a wrapper")
        @(lambda f: f("decoration") or f)
        def applied(name): probe(name)
        f = lambda name: probe(name); f("lambda"); (lambda: probe("unnamed lambda"))()
        eval("plain('eval')"); exec("plain('exec')")
        table = {"k": plain}; table["k"]("from a table")
        class Odd:
            step = Model.step
            def __getattribute__(self, name): return functools.partial(Model.step, self)
        Odd().step("own attribute lookup"); odd = Odd(); odd.step("own lookup by name")
        assert not plain("in assert"); (plain("in expression") or 1) + 1
        (plain
            ("over lines"))
        model.step(
            "arguments over lines")
        try: 1 / 0
        except ZeroDivisionError: plain("handler")
        finally: plain("finally")
        def rec(n): rec(n - 1) if n else probe("recursion")
        rec(3)
        module = sys.modules["__main__"]; module.plain("through the module")
        threading.Thread.run(threading.Thread(target=plain, args=["library frame"]))
        show({name: all(found) for name, found in SEEN.items()})
        """
    )
    unsafe = {name for name, safe in seen.items() if not safe}
    assert unsafe == {
        "constructor", "comparison", "property", "missing attribute", "enter", "exit", "operator",
        "subscript", "class body", "call of an object", "sort key", "map", "reduce", "partial", "cache",
        "generator",
        "coroutine", "generator expression", "decoration", "unnamed lambda", "eval", "exec", "from a table",
        "own attribute lookup", "own lookup by name", "library frame",
    }  # fmt: skip
    assert len(seen) > 55 - 26


def test_magic_cells_are_safe(each_python):
    """Code that a magic of IPython runs in the notebook's namespace is as safe as a cell of its own."""
    assert each_python(
        """
        try:
            from IPython.core.interactiveshell import InteractiveShell
        except ImportError:
            show("skip")
            raise SystemExit
        import still
        main = sys.modules["__main__"]
        shell = InteractiveShell.instance(user_module=main)
        still.seen = seen = {}
        def probe(name):
            seen[name] = is_safe(sys._getframe(1), main.__dict__)
        shell.user_ns["probe"] = still.probe = probe
        probe.__globals__  # the helper is not the notebook's: give it other globals
        import types
        shell.user_ns["probe"] = types.FunctionType(
            probe.__code__, {"seen": seen, "is_safe": is_safe, "sys": sys, "main": main})
        shell.run_cell("1")
        def run(cell):
            result = shell.run_cell(cell)
            assert result.success, cell
        # the cells themselves must be outermost: run them from a thread without a frame of this script
        cells = ["probe('cell')", "%%time\\nprobe('time')", "%%capture out\\nprobe('capture')",
                 "%time probe('line')",
                 "sorted([1], key=lambda _: get_ipython().run_cell('probe(\\"key\\")'))"]
        for cell in cells:
            thread = threading.Thread(target=shell.run_cell, args=[cell]); thread.start(); thread.join()
        print(file=sys.__stdout__)
        os.write(1, ("RESULT " + json.dumps(seen) + "\\n").encode())
    """,
        quiet=False,
    ) in (
        "skip",
        {"cell": True, "time": True, "capture": True, "line": True, "key": False},
    )


def test_a_statement_is_never_cut(each_python):
    """No picture is taken in the middle of a statement that goes over several lines."""
    found = each_python("""
        log, n, twice = [], 0, 0
        hunter = Hunter(globals(), lambda: len(log) - n, 150, by_fork=False)
        hunter.start()
        while hunter.going:
            n = max(
                n,
                log.append(0) or 0,
                n +
                1,
            )
            if (log.append(0) or
                    log.pop() == 1 or
                    n < 0):
                pass
            {
                "a": log.append(0),
                "b": [log.pop()
                      for _ in "x"],
            }
            twice += 2
        show([len(hunter.found), sorted(set(hunter.found)), len(set(hunter.places)) > 2,
              repr(hunter.points.trouble)])
    """)
    assert found == [150, [0], True, "None"]


def test_finds_a_single_line_loop(each_python):
    """A loop that is one line has a safe point at each turn."""
    assert each_python("""
        n = 0
        hunter = Hunter(globals(), lambda: n, 20, by_fork=False)
        hunter.start()
        while hunter.going: n += 1
        show([len(hunter.found), hunter.missed])
    """) == [20, 0]


def test_finds_the_turns_of_a_comprehension(each_python):
    """A comprehension that is a whole statement has a safe point at each turn."""
    assert each_python("""
        n = 0
        hunter = Hunter(globals(), lambda: n, 5, by_fork=False)
        hunter.start()
        def turns():
            while hunter.going and hunter.missed < 3:
                yield 1
        values = [sum(
            (x, 1)) for x in turns()]
        show([len(hunter.found), hunter.missed])
    """) == [5, 0]


def test_finds_the_end_of_a_library_call(each_python):
    """While library code runs there is no safe point; there is one right after it."""
    assert each_python("""
        inside = False
        def work():
            global inside
            inside = True
            sorted(range(30_000), key=str)
            json.dumps(list(range(3000)), indent=1)     # pure Python of the library
            inside = False
        hunter = Hunter(globals(), lambda: inside, 30, by_fork=False)
        hunter.start()
        def key(x):
            total = 0
            for i in range(50):
                total += i
            return total
        library = 0
        while hunter.going:
            library = 1; sorted(range(200), key=key); library = 0
        show([len(hunter.found), hunter.missed])
    """) == [30, 0]


def test_leaves_nothing_armed(each_python):
    """Afterwards no tracer, tool or slowdown is left, whether a safe point came or not."""
    assert each_python("""
        points = SafePoints(globals())
        results = []
        def ask():
            results.append(points.request(lambda where: None, deadline_seconds=5))
            results.append(points.request(lambda where: None, deadline_seconds=0.0))
        thread = threading.Thread(target=ask); thread.start()
        while thread.is_alive():
            pass
        frame = sys._getframe()
        time.sleep(0.05)
        tools = [sys.monitoring.get_tool(n) for n in (3, 4)] if hasattr(sys, "monitoring") else [None, None]
        show([results, sys.gettrace(), frame.f_trace, tools])
    """) == [[True, False], None, None, [None, None]]


def test_gives_up_at_the_deadline(each_python):
    """Without a safe point the answer is no, in time, and a later safe point does not run the callback."""
    assert each_python("""
        points, ran, results = SafePoints(globals()), [], []
        def ask():
            time.sleep(0.2)     # the main thread is in join() by then
            began = time.monotonic()
            ok = points.request(lambda where: ran.append(1), deadline_seconds=0.3)
            results.extend([ok, 0.25 < time.monotonic() - began < 3])
        thread = threading.Thread(target=ask); thread.start()
        thread.join()
        for _ in range(10000):
            pass
        show([results, ran])
    """) == [[False, True], []]


def test_many_requests_while_the_main_thread_is_away(each_python):
    """Requests that pass while the main thread is in C code leave nothing that piles up."""
    assert each_python("""
        points, ran = SafePoints(globals()), []
        def ask():
            time.sleep(0.2)     # the main thread is in join() by then
            for _ in range(60):
                points.request(lambda where: ran.append("early"), deadline_seconds=0.01)
        thread = threading.Thread(target=ask); thread.start()
        thread.join()
        for _ in range(1000):
            pass
        left = sys.gettrace()
        thread = threading.Thread(target=lambda: points.request(lambda where: ran.append("late"),
                                                                deadline_seconds=10))
        thread.start()
        while thread.is_alive():
            pass
        for _ in range(1000):
            pass
        show([ran, left, sys.gettrace()])
    """) == [["late"], None, None]


def test_the_users_tracer_stays(each_python):
    """A debugger's or coverage's trace function is never replaced, and sees every line."""
    assert each_python("""
        points, lines = SafePoints(globals()), []
        def tracer(frame, event, argument):
            lines.append(event)
            return tracer
        def work():
            n = 0
            while thread.is_alive():
                n += 1
            return n
        thread = threading.Thread(target=lambda: points.request(lambda where: None, deadline_seconds=0.5))
        sys.settrace(tracer)
        thread.start()
        n = work()
        same = sys.gettrace() is tracer
        sys.settrace(None)
        show([same, lines.count("line") > n])
    """) == [True, True]


def test_an_error_of_ours_stays_ours(each_python):
    """What the callback raises is kept, and the user's cell goes on."""
    assert each_python("""
        points = SafePoints(globals())
        results = []
        def ask():
            results.append(points.request(lambda where: 1 / 0, deadline_seconds=5))
        thread = threading.Thread(target=ask); thread.start()
        while thread.is_alive():
            pass
        show([results, repr(points.trouble)])
    """) == [[True], "ZeroDivisionError('division by zero')"]


def test_tells_the_place(each_python):
    """The callback is given the line of the cell, also from within a function that it called."""
    assert each_python(
        """
        from still import *
        def work():
            total = 0
            while hunter.going:
                total += 1
        hunter = Hunter(globals(), lambda: 0, 5, by_fork=False)
        hunter.start()
        work()
        show(sorted(set(hunter.places)))
        """,
        prelude=False,
    ) == [9]


def test_variables_of_functions_are_let_go(each_python):
    """A function's old values are not kept alive by having been looked at, and new ones are not undone."""
    assert (
        each_python("""
        import weakref
        class Big: pass
        def work():
            big = Big()
            dead = weakref.ref(big)
            n = 0
            def inner(): nonlocal n; n += 1
            while hunter.going:
                inner()
            big = None
            return dead() is None, n
        count = 0
        hunter = Hunter(globals(), lambda: 0, 40, by_fork=False)
        hunter.start()
        dead, n = work()
        hunter.join()
        show(dead)
    """)
        is True
    )


def test_other_threads_count_on(each_python):
    """A variable that another thread shares with the traced function loses no update."""
    assert (
        each_python("""
        def work():
            n = 0
            done = False
            end = time.monotonic() + 30
            def other():
                nonlocal n, done
                for _ in range(400):
                    n += 1
                    time.sleep(0.0005)
                done = True
            thread = threading.Thread(target=other)
            thread.start()
            def inner():
                y = 1
            while not done and time.monotonic() < end:
                x = 1
                inner()     # looked up among the variables here, which makes the interpreter keep them
            return n
        # While the picture is taken the other thread counts.
        hunter = Hunter(globals(), lambda: time.sleep(0.003), 1_000_000, by_fork=False)
        hunter.start()
        show(work())
        os._exit(0)
    """)
        == 400
    )


def test_edited_source_is_not_believed(each_python):
    """A script whose file was changed after it started is not judged by the new text."""
    (each_python.folder / "probing.py").write_text(PROBE)
    assert each_python("""
        from pathlib import Path
        from probing import probe, SEEN
        def plain(name, *_): probe(name)
        path = Path(__file__)
        path.write_text(path.read_text().replace('plain("edited")', 'plain("edited", 1)'))
        plain("edited")
        show(SEEN)
    """) == {"edited": [False]}


def test_without_source_a_plain_cell_is_safe(each_python):
    """Code whose source is unknown has safe points on its own level, and none in functions."""
    assert each_python("""
        import types
        hunters = []
        def run(source):
            module = types.ModuleType("cells")
            hunter = module.hunter = Hunter(module.__dict__, lambda: 0, 5, by_fork=False)
            hunter.start()
            exec(compile(source, "<nowhere>", "exec"), module.__dict__)
            return len(hunter.found)
        loop = "while hunter.going:\\n  x = 1\\n  y = 2\\n"
        first = run(loop)
        limited = "import time\\nend = time.monotonic() + 1\\n"
        function = "def f():\\n  while time.monotonic() < end:\\n    x = 1\\nf()\\n"
        show([first, run(limited + function)])
        os._exit(0)
    """) == [5, 0]


LIBRARY = """
from keepstate._capture import place_of_caller
def snapshot(namespace, *_):
    return inner(namespace)
def inner(namespace):
    return place_of_caller(namespace, 4)
"""


def test_place_of_caller(each_python):
    """A call of this package is placed where the notebook made it, unless library code made it."""
    (each_python.folder / "library.py").write_text(LIBRARY)
    assert each_python("""
        from pathlib import Path
        import types
        library = types.ModuleType("keepstate.fake")
        exec(compile(Path("library.py").read_text(), "library.py", "exec"), library.__dict__)
        seen = []
        def f(): return library.snapshot(globals())
        where = f()
        seen.append([where.cell, where.line])
        seen.append(library.snapshot(globals()) is not None)
        seen.append(list(map(library.snapshot, [globals()]))[0])
        places = []
        sorted([1], key=lambda _: places.append(library.snapshot(globals())) or 1)
        show(seen + places)
    """) == [[4, 9], True, None, None]


def test_a_cell_of_ipython_7_calls_directly_as_well(each_python):
    """It renames the code of each cell, which is no less a cell for that."""
    assert each_python(
        """
        import linecache
        from keepstate._capture.direct_call import calls_directly

        called = {}
        def look(name):
            called[name] = calls_directly(sys._getframe(1), look.__code__)
        for name in ("<module>", "<cell line: 0>", "<listcomp>"):
            source = f"look({name!r})\\n"
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)
            exec(compile(source, name, "exec").replace(co_name=name))
        show(called)
        """
    ) == {"<module>": True, "<cell line: 0>": True, "<listcomp>": False}
