"""Frames: equal, sharing what they shared, and behaving under writes as the originals do."""

from __future__ import annotations

import pytest

pytest.importorskip("pandas")

FRAMES = {
    "mixed": (
        "pd.DataFrame({'a': range(3000), 'b': 1.5, 's': ['x', None, 'z'] * 1000,"
        " 't': pd.Timestamp('2020-01-01'), 'f': True})"
    ),
    "time_zone": (
        "pd.DataFrame({'t': pd.date_range('2020', periods=900, tz='Europe/Berlin'),"
        " 'd': pd.Timedelta(1, 'h')})"
    ),
    "categorical": "pd.DataFrame({'c': pd.Categorical(['a', 'b', 'a'] * 400, ordered=True)})",
    "nullable": (
        "pd.DataFrame({'i': pd.array([1, None, 3] * 300, dtype='Int64'),"
        " 'b': pd.array([True, None, False] * 300, dtype='boolean')})"
    ),
    "multi_index": (
        "pd.DataFrame({'v': range(6)},"
        " index=pd.MultiIndex.from_product([['a', 'b'], [1, 2, 3]], names=['x', 'y']))"
    ),
    "period_interval": (
        "pd.DataFrame({'p': pd.period_range('2020', periods=4, freq='M'), 'i': pd.interval_range(0, 4)})"
    ),
    "index_kinds": "pd.DataFrame({'v': [1, 2]}, index=pd.CategoricalIndex(['a', 'b']))",
    "time_index": "pd.DataFrame({'v': range(900)}, index=pd.date_range('2020', periods=900, freq='h'))",
    "period_index": "pd.Series([1, 2], index=pd.period_range('2020', periods=2, freq='D'))",
    "interval_index": "pd.Series([1, 2], index=pd.interval_range(0, 2))",
    "nullable_index": "pd.Series([1, 2], index=pd.Index([1, None], dtype='Int64'))",
    "series": "pd.Series(range(3000), name='n', index=range(5, 3005))",
    "sparse": "pd.DataFrame({'s': pd.arrays.SparseArray([0, 0, 1] * 500)})",
    "empty": "pd.DataFrame()",
    "attrs": "pd.DataFrame({'a': [1]}).rename_axis('idx')",
    "wide": "pd.DataFrame(np.arange(6000.).reshape(60, 100))",
    "objects": "pd.DataFrame({'o': [[1], {}, 'x']})",
    "index": "pd.Index(['a', 'b'] * 700)",
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_frame_comes_back_equal(notebook, make):
    """A frame, series or index comes back equal, dtypes and indexes with it."""
    notebook.run(f"import numpy as np, pandas as pd\nx = {make}")
    notebook.encode("x")
    notebook.check(f"""
import numpy as np, pandas as pd
e = {make}
t = pd.testing
check = {{pd.DataFrame: t.assert_frame_equal, pd.Series: t.assert_series_equal}}
check = check.get(type(e), t.assert_index_equal)
check(x, e)
if isinstance(e, pd.DataFrame):
    assert x.index.equals(e.index) and getattr(x.index, 'freq', None) == getattr(e.index, 'freq', None)
    x['new'] = 1
    assert 'new' in x
    x.sum(numeric_only=True)
""")


def test_large_columns_are_parts(notebook):
    """Numbers and times of a frame are parts with their item size, outside the stream."""
    notebook.run(
        "import pandas as pd\n"
        "df = pd.DataFrame({'a': range(9000), 'b': 1.5, 't': pd.Timestamp('2020-01-01')})"
    )
    (group,) = notebook.encode().groups
    assert sorted(part.memory.nbytes for part in group.parts) == [72000, 72000, 72000]
    assert len(group.stream) < 3000


SHARING = {
    "column": "s = df['x']",
    "columns": "s = df[['x']]",
    "rename": "s = df.rename(columns={'y': 'z'})",
    "slice": "s = df.iloc[2:7]",
    "to_numpy": "s = df['x'].to_numpy()",
    "values": "s = df.values",
    "set_index": "s = df.set_index('y')",
    "same": "s = df",
    "inside": "s = [df, df['x']]",
    "assign": "s = df.assign(w=1)",
    "text": "s = df['t']",
    "text_rename": "s = df.rename(columns={'t': 'tt'})",
    "object_values": "s = df['o'].to_numpy()",
    "objects": "s = df['o']",
    "head_objects": "s = df[['o', 't']].head(4)",
    "time": "s = df['d']",
    "shallow": "s = df.copy(deep=False)",
    "reset": "s = df.reset_index(drop=True)",
    "nullable": "s = df['n']",
    "categorical": "s = df['c']",
}
WRITES = {
    "frame": "df.iloc[3, 0] = -9",
    "frame_loc": "df.loc[3, ['x', 'y']] = -9",
    "frame_text": "df.loc[3, 't'] = 'new'",
    "frame_object": "df.loc[3, 'o'] = 'new'",
    "frame_time": "df.loc[3, 'd'] = pd.Timestamp('1999-01-01')",
    "frame_nullable": "df.loc[3, 'n'] = 77",
    "frame_category": "df.loc[3, 'c'] = 'b'",
    "other": "exec('s[3] = s[0]') if isinstance(s, np.ndarray) else None",
    "other_iloc": "exec('s.iloc[3] = s.iloc[0]') if hasattr(s, 'iloc') and s.ndim == 1 else None",
    "other_iloc_2d": "exec('s.iloc[3, 0] = s.iloc[0, 0]') if hasattr(s, 'iloc') and s.ndim == 2 else None",
    "inplace": "df['x'] *= 2; df.sort_values('y', inplace=True, ascending=False)",
}
SETUP = """
import numpy as np, pandas as pd, warnings
warnings.simplefilter('ignore')
df = pd.DataFrame({'x': np.arange(10), 'y': np.arange(10) * 2, 't': list('abcdefghij'),
                   'd': pd.date_range('2020', periods=10), 'n': pd.array(range(10), dtype='Int64'),
                   'c': pd.Categorical(list('ab') * 5)})
df['o'] = pd.Series([[i] for i in range(10)], dtype=object)
"""
LOOK = """
def look():
    out = []
    for write in writes:
        try:
            exec(write, globals())
        except Exception as error:
            out.append(type(error).__name__)
        out.append(repr(df) + repr(s))
    return out
"""


@pytest.mark.parametrize("share", SHARING.values(), ids=SHARING)
def test_writes_do_what_they_would_have_done(notebook, share):
    """After a restore, writing to a frame or to what came from it has the effect that it had before."""
    for kind, write in WRITES.items():
        notebook.run(f"{SETUP}{share}\nwrites = [{write!r}]{LOOK}")
        notebook.encode("df", "s", "writes", "look")
        notebook.run("expected = look()")
        expected = notebook.namespace["expected"]
        notebook.check(
            "import numpy as np, pandas as pd, warnings\nwarnings.simplefilter('ignore')\n"
            f"got = look()\nassert got == {expected!r}, ({kind!r}, got)"
        )


def test_copy_on_write_marks_are_shared_as_before(notebook):
    """Blocks bear the same marks as before: those of one frame's parts are one, those of a copy are not."""
    notebook.run(SETUP + "del df['o']; s = df['x']; c = df.copy(); k = c['x']")
    notebook.encode("df", "s", "c", "k")
    assert notebook.group_of("df") == ["df", "s"]
    notebook.check("""
import numpy as np
block = next(b for b in df._mgr.blocks if 0 in b.mgr_locs)
assert s._mgr.blocks[0].refs is block.refs and block.refs.has_reference()
assert k._mgr.blocks[0].refs is not block.refs
assert np.shares_memory(s._mgr.blocks[0].values, block.values)
""")


def test_indexes_link_nothing(notebook):
    """Frames that share their index and its memory are kept apart."""
    notebook.run("""
import numpy as np, pandas as pd
i = pd.Index(np.arange(3000)); m = pd.MultiIndex.from_product([range(60), range(50)])
t = pd.date_range('2020', periods=3000); c = pd.CategoricalIndex(['a', 'b', 'c'] * 1000)
n = pd.Index(pd.array(range(3000), dtype='Int64')); x = pd.Index(['a', 'b', 'c'] * 1000)
frames = {k + str(j): pd.DataFrame({'v': np.zeros(3000)}, index=v) for j in (1, 2)
          for k, v in dict(i=i, m=m, t=t, c=c, n=n, x=x).items()}
renamed = t.rename('r')
globals().update(frames); del frames
""")
    encoding = notebook.encode()
    assert [[m.name for m in group.members] for group in encoding.groups if len(group.members) > 1] == []
    notebook.check(
        "assert i1.index.equals(i) and m1.index.equals(m) and c2.index.equals(c) and t1.index.equals(t)"
    )


def test_index_over_a_column_is_kept_on_its_own(notebook):
    """An index made of a column does not change when the column is written to."""
    notebook.run(
        "import numpy as np, pandas as pd\ndf = pd.DataFrame({'a': np.arange(9)}); i = pd.Index(df['a'])"
    )
    notebook.encode()
    notebook.check("df.iloc[0, 0] = 50\nassert list(i) == list(range(9)) and df.a[0] == 50")


def test_groupby_and_functions_of_frames(notebook):
    """Objects that hold frames keep them as they are: group-by objects, dictionaries of frames, accessors."""
    notebook.run("""
import pandas as pd
df = pd.DataFrame({'a': [1, 1, 2], 'b': [3, 4, 5]}); g = df.groupby('a'); d = {'df': df, 'h': df.head(2)}
""")
    notebook.encode()
    notebook.check(
        "assert g.obj is df and d['df'] is df and g.b.sum().tolist() == [7, 5] and len(d['h']) == 2"
    )
