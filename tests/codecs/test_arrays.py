from __future__ import annotations

import numpy as np
import pytest

MAKE = {
    "f8": "np.arange(3000.).reshape(30, 100)",
    "f2": "np.arange(9, dtype='f2')",
    "bool": "np.arange(9) % 2 == 0",
    "complex": "np.arange(9) * 1j",
    "big_endian": "np.arange(5000, dtype='>i4')",
    "datetime": "np.arange('2020', '2021', dtype='M8[D]')",
    "timedelta": "np.arange(9000).astype('m8[us]')",
    "text": "np.array(['a', 'bcd'] * 2000)",
    "bytes": "np.array([b'a', b'bcd'])",
    "void": "np.zeros(7, 'V3')",
    "structured": "np.array([(1, 2.5, 'x')] * 300, dtype=[('a', 'i1'), ('b', 'f8'), ('c', 'U5')])",
    "aligned": "np.zeros(4, np.dtype([('a', 'i1'), ('b', 'f8')], align=True))",
    "nested": "np.zeros(4, [('a', 'i2', (2, 3))])",
    "zero_size": "np.empty((0, 5), 'i8', order='F')",
    "zero_dim": "np.array(5.5)",
    "zero_dim_time": "np.array('2020-01-01', 'M8[ns]')",
    "fortran": "np.asfortranarray(np.arange(6000).reshape(20, 300))",
    "permuted": "np.copy(np.arange(24000).reshape(20, 30, 40).transpose(1, 0, 2), order='K')",
    "broadcast": "np.broadcast_to(np.arange(4), (10**9, 4))[:5]",
    "stepped": "np.arange(30000)[5:20000:7]",
    "backwards": "np.arange(3000)[::-1]",
    "windows": "np.lib.stride_tricks.sliding_window_view(np.arange(2000), 500)",
    "objects": "np.array([1, 'a', None, [2]], dtype=object)",
    "objects_fortran": "np.asfortranarray(np.arange(6).reshape(2, 3).astype(object))",
    "record": "np.rec.array([(1, 'x'), (2, 'y')], names='a,b')",
    "matrix": "np.array([[1, 2], [3, 4]]).view(np.matrix)",
    "masked": "np.ma.array(np.arange(900), mask=np.arange(900) % 3 == 0, fill_value=-7)",
    "masked_bare": "np.ma.array([1.5, 2.5])",
    "frombuffer": "np.frombuffer(b'12345678' * 1000, 'i4')",
    "scalar": "np.float32(1.5)",
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_array_comes_back_equal(notebook, make):
    """An array comes back with its type, dtype, shape, strides' order, flags and values."""
    notebook.run(f"import numpy as np\na = {make}")
    notebook.encode("a")
    notebook.check(f"""
import numpy as np
e = {make}
assert type(a) is type(e) and a.dtype == e.dtype and a.shape == e.shape, (a, e)
assert a.dtype.isalignedstruct == e.dtype.isalignedstruct
if isinstance(e, np.ndarray):
    assert a.flags.writeable == e.flags.writeable
    if e.size:
        assert a.strides == e.strides, (a.strides, e.strides)
    assert repr(a.tolist()) == repr(e.tolist())
if isinstance(e, np.ma.MaskedArray):
    assert a.fill_value == e.fill_value and np.array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(e))
    a[1] = np.ma.masked
    assert a.mask[1]
""")


def test_owner_owns_its_memory_again(notebook):
    """An array that owned its memory owns it again, in either order."""
    notebook.run("import numpy as np\na = np.zeros((500, 3))\nb = np.zeros((500, 3), order='F')\nb[2, 1] = 5")
    notebook.encode()
    notebook.check("assert a.flags.owndata and b.flags.owndata and b.flags.f_contiguous and b[2, 1] == 5")


def test_part_shows_live_memory(notebook):
    """A part shows the very memory of the array, with its item size, and no copy."""
    notebook.run("import numpy as np\na = np.zeros(5000, 'f4')")
    (group,) = notebook.encode().groups
    (part,) = group.parts
    assert (part.itemsize, part.writable, part.memory.format, part.memory.nbytes) == (4, True, "B", 20000)
    assert np.shares_memory(np.frombuffer(part.memory, "u1"), notebook.namespace["a"])
    assert len(group.stream) < 1000


def test_parts_outlive_their_names(notebook):
    """The encoding keeps memory alive that its names let go."""
    notebook.run("import numpy as np\na = np.full(100000, 7)")
    (group,) = notebook.encode().groups
    notebook.run("del a\nb = np.full(100000, 8)")
    assert set(np.frombuffer(group.parts[0].memory, "i8")) == {7}


def test_views_share_memory_again(notebook):
    """Views of one array share memory afterwards as before, whatever their strides."""
    notebook.run("""
import numpy as np
X = np.arange(20000.).reshape(100, 200).copy()
A, B, C, D = X[:10], X.T, X[::-1, ::3], X.view('u1')
""")
    encoding = notebook.encode()
    assert [len(group.parts) for group in encoding.groups] == [1]
    notebook.check("""
import numpy as np
assert X.flags.owndata and A.base is X and B.base is X and C.base is X and D.base is X
X[99, 3] = -1
assert C[0, 1] == -1 and B[3, 99] == -1
A[0, 0] = 77
assert X[0, 0] == 77 and D.view('f8')[0, 0] == 77
assert C.strides == (-1600, 24)
""")


def test_view_that_comes_first_leaves_the_owner_its_memory(notebook):
    """The owner owns its memory even if a view of it is decoded before."""
    notebook.run("import numpy as np\nz = np.arange(5000)\na = z[3:]")
    notebook.encode()
    notebook.check("assert z.flags.owndata and a.base is z\na[0] = 99\nassert z[3] == 99")


def test_small_view_does_not_keep_the_huge_array(notebook):
    """Only the bytes that views show are kept of an array that has no name."""
    notebook.run("import numpy as np\nr = np.zeros(10**7)\na, b = r[5:1005], r[-1000:]\nb[0] = 4\ndel r")
    encoding = notebook.encode()
    assert sum(part.memory.nbytes for group in encoding.groups for part in group.parts) == 16000
    assert notebook.group_of("a") == ["a"]
    notebook.check("assert a.shape == (1000,) and b[0] == 4")


def test_overlapping_views_of_an_unnamed_array_share(notebook):
    """Views that overlap share memory again though the array itself is not kept."""
    notebook.run("import numpy as np\nr = np.arange(3000)\na, b = r[:2000], r[1000:]\ndel r")
    notebook.encode()
    assert notebook.group_of("a") == ["a", "b"]
    notebook.check("a[1500] = -5\nassert b[500] == -5 and b[0] == 1000")


def test_halves_of_one_array_are_not_linked(notebook):
    """A split into halves shows no byte twice, so the halves are kept apart."""
    notebook.run("import numpy as np\nX = np.arange(9000)\ntrain, test = X[:6000], X[6000:]\ndel X")
    notebook.encode()
    assert notebook.group_of("train") == ["train"]
    notebook.check("assert len(train) == 6000 and test[0] == 6000")


def test_readonly_view_of_writable_array(notebook):
    """Each array keeps its own write flag, though they share memory."""
    notebook.run("""
import numpy as np
a = np.arange(1000); v = a[:]; v.flags.writeable = False
w = np.arange(1000); u = w[:]; w.flags.writeable = False
o = np.array(['x', 'y'], dtype=object); o.flags.writeable = False
""")
    notebook.encode()
    notebook.check("""
a[0] = 5
assert v[0] == 5 and not v.flags.writeable
u[0] = 6
assert w[0] == 6 and not w.flags.writeable
assert not o.flags.writeable and o.tolist() == ['x', 'y']
""")


def test_memory_of_a_bytearray_stays_shared(notebook):
    """An array over a bytearray, memoryview or array.array writes into it afterwards."""
    notebook.run("""
import array
import numpy as np
b = bytearray(8000); v = np.frombuffer(b, 'i4', offset=8); m = memoryview(b)
s = array.array('d', [1, 2, 3]); t = np.asarray(s)
""")
    notebook.encode()
    notebook.check("""
v[1] = 258
assert b[12] == 2 and b[13] == 1 and m[12] == 2 and type(m) is memoryview
t[1] = 9
assert s[1] == 9
""")


@pytest.mark.parametrize(
    "memory", ["bytes(400)", "bytearray(400)", "(ctypes.c_char * 400)()", "mmap.mmap(-1, 400)"]
)
def test_arrays_over_parts_of_a_buffer_share(notebook, memory):
    """Arrays over any memory that is not numpy's may overlap, whole or in part, and be in several names."""
    notebook.run(f"""
import numpy as np, ctypes, mmap
_ = {memory}
a, b, c = np.frombuffer(_, "i4", 60), np.frombuffer(_, "i4", 60, 160), np.frombuffer(_, "i4", 9, 40)
""")
    notebook.encode()
    notebook.check("""
assert (a.size, b.size, c.size) == (60, 60, 9) and not a.any() and not b.any() and not c.any()
a.flags.writeable and (a.__setitem__(45, 7), a.__setitem__(12, 8))
assert b[5] == a[45] and c[2] == a[12] and c.flags.writeable == a.flags.writeable
""")


def test_rows_of_records_show_their_array(notebook):
    """What is written to a row is seen in its array, and in each name that the row has."""
    notebook.run("""
import numpy as np, pickle
a = np.zeros(3, [("n", "i4"), ("m", "f8", 2)]); row = a[1]; same = row; held = [a[2]]; part = row["m"]
own = pickle.loads(pickle.dumps(np.array((1, (2, 3)), a.dtype)[()])); own_too = own  # it has its own memory
rec = np.rec.array([(1, 2.5)], names="x,y"); line = rec[0]
""")
    notebook.encode()
    notebook.check("""
import numpy as np
assert row is same and own is own_too and type(line) is np.record and type(row) is np.void
row["n"], held[0]["n"], line.x, part[0] = 5, 6, 7, 8
assert a["n"].tolist() == [0, 5, 6] and rec.x[0] == 7 and line.y == 2.5 and a[1]["m"][0] == 8
assert own["n"] == 1 and own["m"].tolist() == [2, 3]
""")


def test_masked_array_of_a_class_keeps_its_attributes(notebook):
    """A class of masked arrays keeps what it has set, how its mask is held, and the memory that it shares."""
    notebook.run("""
import numpy as np
class Measured(np.ma.MaskedArray):
    unit = None
a = np.ma.array([1, 2, 3], mask=[0, 1, 0], hard_mask=True).view(Measured); a.unit = "m"
b = a[1:]
""")
    notebook.encode()
    notebook.check("""
a[1] = 9
assert type(a) is Measured and a.unit == "m" and a.tolist() == [1, None, 3]
a[2] = 8
assert b.tolist() == [None, 8]
""")


def test_memmap_becomes_an_array_and_its_file_stays(notebook, tmp_path):
    """A memmap comes back as an array of its values; its file is neither needed nor touched."""
    path = tmp_path / "data.bin"
    np.arange(3000).tofile(path)
    notebook.run(f"""
import numpy as np
a = np.memmap({str(path)!r}, 'i8', 'r+'); b = a[10:20]; c = np.asarray(a)
""")
    notebook.encode()
    path.unlink()
    notebook.check("""
import numpy as np
assert type(a) is np.ndarray and a.sum() == sum(range(3000))
a[10] = -1
assert b[0] == -1 and c[10] == -1
""")


def test_views_of_object_arrays_share(notebook):
    """Views of an array of Python objects show its elements again."""
    notebook.run("""
import numpy as np
o = np.array([[1], 'a', None, 2.5, (), {}], dtype=object).reshape(2, 3).copy()
p = o[::-1, 1:]; q = o.T
""")
    notebook.encode()
    notebook.check("""
o[1, 2] = 'new'
assert p[0, 1] == 'new' and q[2, 1] == 'new' and p.shape == (2, 2) and p[1].tolist() == ['a', None]
assert o[0, 0] == [1]
""")


def test_elements_of_object_arrays_are_the_objects(notebook):
    """Sequences and arrays inside an array of objects stay single elements; records with objects work too."""
    notebook.run("""
import numpy as np
o = np.empty(4, object); o[0] = [1, 2]; o[1] = np.array(5); o[2] = np.zeros((2, 2)); o[3] = (1,)
s = np.empty((), object); s[()] = [7]
r = np.array([(1, [2])], dtype=[('a', 'i4'), ('b', object)])
z = np.empty((0, 3), object)
""")
    notebook.encode()
    notebook.check("""
import numpy as np
assert o[0] == [1, 2] and type(o[1]) is np.ndarray and o[1].shape == ()
assert o[2].shape == (2, 2) and o[3] == (1,)
assert s.shape == () and s[()] == [7] and r['b'][0] == [2] and z.shape == (0, 3)
""")


def test_object_array_that_holds_a_view_of_itself(notebook):
    """An array of objects may lead back to a view of itself: the view shows its elements, not wild memory."""
    notebook.run("""
import numpy as np
a = np.empty(3, object); inner = [0]; a[0] = inner; a[1] = inner; inner.append(a[::-1])
""")
    notebook.encode("a")
    notebook.check(
        "v = a[0][1]\nassert v[2] is a[0] and v.dtype == object and v[0] is None\nv[0] = 5\nassert a[2] == 5"
    )


def test_masked_array_shares_its_data(notebook):
    """A masked array over another array still writes into it."""
    notebook.run("import numpy as np\nx = np.arange(1000.)\nm = np.ma.array(x, mask=x > 500, copy=False)")
    notebook.encode()
    notebook.check("m[3] = -3\nassert x[3] == -3 and m.mask[501] and not m.mask[500]")


def test_many_small_arrays_stay_in_the_stream(notebook):
    """Arrays of a few bytes become no parts of their own."""
    notebook.run("import numpy as np\nd = {i: np.full(10, i) for i in range(2000)}")
    (group,) = notebook.encode().groups
    assert group.parts == ()
    notebook.check("assert all((v == k).all() and v.flags.owndata for k, v in d.items()) and len(d) == 2000")


def test_view_that_leaves_its_array_is_kept_by_value(notebook):
    """An array whose base is not where its memory is comes back equal."""
    notebook.run("""
import numpy as np
r = np.arange(5000)
a = np.lib.stride_tricks.as_strided(r[::2], (100, 5), (16, 8))
del r
""")
    notebook.encode()
    notebook.check("assert a[3].tolist() == [6, 7, 8, 9, 10]")


def test_string_dtype_is_not_kept_as_raw_memory(notebook):
    """Arrays whose memory holds pointers go through numpy's own pickling."""
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy 2 only")
    notebook.run("""
import numpy as np
t = np.array(['short', 'a much longer text than fits in place'], dtype=np.dtypes.StringDType())
""")
    notebook.encode()
    notebook.check("assert t.tolist() == ['short', 'a much longer text than fits in place']")
