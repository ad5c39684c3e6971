"""Hunts for torn pictures: code that changes several things together, and hundreds of pictures of it."""

from __future__ import annotations


def test_things_that_change_together(each_python):
    """At every picture, what the code keeps equal between two lines is as the lines say."""
    found = each_python("""
        import numpy as np
        books, array, order = {"n": 0}, np.zeros(1000, dtype=np.int64), []
        def both(n):
            books["n"] = n
            array[:] = n
            order.append(n)
        def look_at():
            return books["n"], int(array.min()), int(array.max()), len(order), n
        hunter = Hunter(globals(), look_at, 150)
        n = 0
        hunter.start()
        while hunter.going:
            n += 1
            both(n)
        show([len(hunter.found), repr(hunter.points.trouble), [
            [have for have in hunter.found
             if not (have[4] >= have[0] >= have[1] >= have[3] >= have[4] - 1 and have[1] == have[2])]]])
    """)
    assert found == [150, "None", [[]]]


def test_sorting_with_a_key_of_the_notebooks(each_python):
    """A list that is being sorted, which Python empties meanwhile, is never seen empty."""
    assert each_python("""
        data = list(range(40))
        calls = 0
        def key(x):
            global calls
            calls += 1
            for _ in range(2000 if calls % 7 == 0 else 5):
                calls += 0
            return -x
        hunter = Hunter(globals(), lambda: len(data), 80)
        hunter.start()
        while hunter.going:
            data.sort(key=key)
            data.reverse()
        show([len(hunter.found), sorted(set(hunter.found)), repr(hunter.points.trouble)])
    """) == [80, [40], "None"]


def test_frames_that_gain_and_lose_columns(each_python):
    """A data frame is whole in every picture: it can be read, and its columns are equally long."""
    assert each_python("""
        try:
            import pandas as pd
            import numpy as np
        except ImportError:
            show("skip")
            raise SystemExit
        from keepstate._base.clock import SYSTEM_CLOCK
        never = threading.Event()
        df = pd.DataFrame({name: np.arange(50) for name in "abc"})
        def check():
            assert df.to_dict("list") and df.memory_usage(deep=True).sum() > 0 and repr(df)
            return sorted(df.columns) in (["a", "b", "c"], ["a", "b", "c", "x"], ["a", "c", "x"], ["a", "c"])
        hunter = Hunter(globals(), check, 60)
        hunter.start()
        while hunter.going:
            df.insert(1, "x", df["a"] * 2)
            del df["b"]
            df["b"] = df.pop("x")
            # Pandas gives the GIL away so often and shortly that the thread that asks would starve.
            SYSTEM_CLOCK.wait(never, 0.0001)
        show([len(hunter.found), all(hunter.found), repr(hunter.points.trouble)])
    """) in ("skip", [60, True, "None"])


def test_a_model_that_learns(each_python):
    """A model of scikit-learn is never seen in the middle of partial_fit."""
    assert each_python("""
        try:
            import numpy as np
            from sklearn.linear_model import SGDClassifier
        except ImportError:
            show("skip")
            raise SystemExit
        X = np.random.default_rng(0).normal(size=(30, 4)); y = (X[:, 0] > 0).astype(int)
        model = SGDClassifier(); fits = 0
        model.partial_fit(X, y, classes=[0, 1]); fits += 1
        hunter = Hunter(globals(), lambda: [float(model.t_) - 1 - 30 * fits, model.predict(X).sum() >= 0],
                        30, by_fork=True)
        hunter.start()
        while hunter.going:
            model.partial_fit(X, y)
            fits += 1
        show([len(hunter.found), sorted({ahead for ahead, _ in hunter.found}), repr(hunter.points.trouble)])
    """) in ("skip", [30, [0.0, 30.0], "None"], [30, [0.0], "None"], [30, [30.0], "None"])
