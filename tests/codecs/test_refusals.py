from __future__ import annotations

import io

import pytest

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.errors import CodecError, IntegrityError

REFUSED = {
    "lock": ("import threading\nx = threading.Lock(); x.acquire()", "a lock that is held"),
    "socket": ("import socket\nx = socket.socket()", "socket"),
    "generator": ("x = (i for i in range(3))", "generator"),
    "inside": ("x = {'a': [(i for i in ())]}", "generator"),
    "connection": ("import sqlite3\nx = sqlite3.connect(':memory:')", "database connection"),
    "thread": ("import threading\nx = threading.Thread()", "lives only in this process"),
    "text_file": ("x = open(path)", "open file"),
    "binary_file": ("x = open(path, 'rb')", "open file"),
    "written_file": ("x = open(path, 'a')", "open file"),
    "main_module": ("import sys\nx = sys.modules['__main__']", "the notebook itself"),
    "made_module": ("import types\nx = types.ModuleType('made')", "not imported but made"),
    "deep": ("x = []\nfor _ in range(10**5):\n    x = [x]", "nested too deeply"),
    "part_of_memory": ("x = memoryview(b'abcdef')[2:]", "part of a buffer"),
    "by_name": (
        "class S:\n    def __reduce__(self): return 'sentinel'\nsentinel = S()\nx = [sentinel]",
        "'sentinel' of the notebook",
    ),
    "raises": ("class R:\n    def __reduce__(self): raise RuntimeError('no way')\nx = R()", "no way"),
    "exits": (
        "class Odd(BaseException): pass\nclass R:\n    def __reduce__(self): raise Odd('odd')\nx = R()",
        "odd",
    ),
    "recursion": (
        "class R:\n    def __getstate__(self): return self.__getstate__()\nx = R()",
        "nested too deeply",
    ),
    "bad_str": (
        (
            "class Bad(Exception):\n    def __str__(self): raise ValueError\n"
            "class R:\n    def __reduce__(self): raise Bad\nx = R()"
        ),
        "Bad",
    ),
    "coroutine_function_result": ("async def f(): pass\nx = f()", "coroutine"),
}


@pytest.mark.parametrize(("cell", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_named(notebook, tmp_path, cell, why):
    """What only lives in this process is skipped with its type and a reason, and costs only its own name."""
    path = tmp_path / "data.txt"
    path.write_text("three\nlines\nhere\n")
    notebook.namespace["path"] = str(path)
    notebook.run(cell)
    notebook.run("fine = [1]")
    encoding = notebook.encode("x", "fine")
    assert list(encoding.skipped) == ["x"]
    assert why in encoding.skipped["x"]
    assert type(notebook.namespace["x"]).__qualname__ in encoding.skipped["x"]
    assert path.read_text() == "three\nlines\nhere\n"
    notebook.check("assert fine == [1]", expect_skipped=True)
    close = getattr(notebook.namespace.pop("x"), "close", None)
    if close is not None:
        close()


def test_standard_streams_are_kept_by_name(notebook):
    """The standard streams are those of the new process."""
    notebook.run("import sys\nout = sys.__stdout__; d = {'e': sys.__stderr__}")
    notebook.encode()
    notebook.check("import sys\nassert out is sys.stdout and d['e'] is sys.stderr")


def test_refused_names_are_not_tried(notebook):
    """Names to be refused are skipped without touching their objects."""
    notebook.run("class R:\n    def __reduce__(self): raise SystemExit\nx = R(); y = 1")
    encoding = notebook.encode("x", "y", refuse=["x", "absent"])
    assert list(encoding.skipped) == ["x"]
    assert "not tried again" in encoding.skipped["x"]


def test_interrupt_comes_through(notebook):
    """Ctrl-C while encoding is the user's, and ends the encoding."""
    notebook.run("class R:\n    def __reduce__(self): raise KeyboardInterrupt\nx = R()")
    with pytest.raises(KeyboardInterrupt):
        notebook.encode("x")


def test_names_are_told_before_they_are_encoded(notebook):
    """The callback hears every name, before it is encoded; and none when all are."""
    notebook.run("class A: pass\na = A(); b = 2")
    heard: list[str] = []
    notebook.encode("a", "b", on_name=heard.append)
    assert heard == ["a", "b", "A", ""]


def test_what_needs_a_refused_definition_is_skipped(notebook):
    """An instance whose class cannot be kept is skipped with the reason of its class."""
    notebook.run("class A:\n    running = (i for i in ())\na = A(); b = [a]; c = 1")
    encoding = notebook.encode("a", "b", "c")
    assert sorted(encoding.skipped) == ["A", "a", "b"]
    assert "needs A" in encoding.skipped["a"]
    assert "generator" in encoding.skipped["a"]
    notebook.check("assert c == 1", expect_skipped=True)


def test_encoding_changes_no_object(notebook):
    """Encoding leaves objects, random streams and files' positions as they are."""
    notebook.run("""
import random, numpy as np
class A:
    def f(self): return 1
a = A(); a.x = 1
def g(): return a
before = dict(vars(A)), dict(vars(a)), dict(vars(g)), random.getstate(), str(np.random.get_state())
""")
    notebook.encode("a", "A", "g")
    notebook.run("""
if hasattr(A, '__slotnames__'):
    del A.__slotnames__  # pickle's own cache
after = dict(vars(A)), dict(vars(a)), dict(vars(g)), random.getstate(), str(np.random.get_state())
assert after == before
""")


def test_encoding_lets_go_of_objects(notebook):
    """Once the encoding is dropped nothing of it keeps an object alive, without waiting for the collector."""
    notebook.run("""
import gc, weakref
class A: pass
a = A(); b = [a]; c = [a, (i for i in ())]; r = weakref.ref(a)
gc.disable()
""")
    try:
        notebook.encode("a", "b", "c")
        notebook.encoding = None
        notebook.run("del a, b, c\nassert r() is None")
    finally:
        notebook.run("gc.enable()")


def test_missing_library_is_named(notebook, tmp_path, monkeypatch):
    """A value whose library cannot be imported raises an error that names the library."""
    (tmp_path / "not_there_later").mkdir()
    (tmp_path / "not_there_later" / "__init__.py").write_text("")
    (tmp_path / "not_there_later" / "sub.py").write_text("class T:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    notebook.run("import not_there_later.sub as m\nt = m.T(); u = [m]; v = 5")
    notebook.encode("t", "u", "m", "v")
    notebook.check(
        """
from keepstate import codecs
assert sorted(_failed) == ['m', 't', 'u'] and v == 5
for error in _failed.values():
    assert type(error) is codecs.MissingLibraryError and error.library == 'not_there_later', error
assert "t (not_there_later.sub.T)" in str(_failed['t'])
""",
        env={"may_fail": True},
    )


def test_missing_submodule_is_no_missing_library(notebook, tmp_path, monkeypatch):
    """Where the library is there but not what is wanted of it, the error says that."""
    (tmp_path / "half_there.py").write_text("class T:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    notebook.run("import half_there\nt = half_there.T()")
    (group,) = notebook.encode("t").groups
    monkeypatch.delattr("half_there.T")
    with pytest.raises(CodecError, match=r"t \(half_there.T\) cannot be rebuilt: AttributeError"):
        codecs.decode(_stored(group), namespace=notebook.namespace)


def test_damaged_part_comes_through(notebook):
    """An IntegrityError of a part is not dressed up as something else."""
    notebook.run("import numpy as np\na = np.zeros(9000)")
    (group,) = notebook.encode("a").groups

    class Damaged:
        nbytes, itemsize, writable = 72000, 8, True

        def read_into(self, memory: memoryview) -> None:
            raise IntegrityError("damaged")

    with pytest.raises(IntegrityError):
        codecs.decode(_stored(group, [Damaged()]), namespace=notebook.namespace)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"x" * 40,
        *(
            front + magic
            for magic in (b"ks1\n", b"ks2\n")
            for front in (b"", bytes(12), bytes(20), b"\xff" * 20)
        ),
    ],
)
def test_foreign_bytes_are_refused(notebook, stream):
    """Bytes that are no stream are an error of this package."""
    stored = StoredGroup("a", (), stream, [], lambda _key: None)
    with pytest.raises((CodecError, IntegrityError)):
        codecs.decode(stored, namespace={})


def test_interpreter_pickle_refuses_our_streams(notebook):
    """A stream read by plain pickle fails with a sentence instead of doing something."""
    import pickle

    notebook.run("import numpy as np\na = np.zeros(9)")
    (group,) = notebook.encode("a").groups
    with pytest.raises(TypeError, match="keepstate"):
        pickle.loads(group.stream)


def _stored(group, parts=()):
    return StoredGroup(group.key, group.members, group.stream, list(parts), lambda _key: None)


@pytest.mark.parametrize("before", [0, 300], ids=["short", "long"])
def test_reference_into_the_notebook_is_found_wherever_it_is(notebook, before):
    """A reference by name is found behind anything; texts that only look like one are none."""
    notebook.run(f"""
class S:
    def __reduce__(self): return 'sentinel'
sentinel = S()
x = [[str(i) for i in range({before})], '__main__', ('__main__', 'y'), S, {{'__main__': '__main__'}}]
y = [x, sentinel]
""")
    encoding = notebook.encode("x", "y")
    assert list(encoding.skipped) == ["y"]


def test_quick_search_agrees_with_reading_every_opcode():
    """The quick search for references misses none, wherever frames and memo indexes fall."""
    import pickle
    import sys
    import types

    from keepstate.codecs import _notebook_globals as notebook_globals

    module = types.ModuleType("nb")
    sys.modules["nb"] = module
    try:
        module.thing = type("thing", (), {"__module__": "nb"})
        for filler in range(65520 - 60, 65540):
            file = io.BytesIO()
            pickler = pickle.Pickler(file, 5)
            pickler.dump(["x" * filler, "nb", module.thing] if filler % 2 else ["x" * filler, module.thing])
            assert notebook_globals._first_global(file.getvalue(), "nb") == "thing"
            assert notebook_globals.global_of(file.getbuffer(), "nb", pickler.memo.copy) == "thing", filler
    finally:
        del sys.modules["nb"]
