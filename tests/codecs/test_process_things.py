from __future__ import annotations


def test_a_free_lock_comes_back_free(notebook):
    """In whatever holds it, and the same one where it was the same one."""
    notebook.run("""
import queue, threading
class Guarded:
    def __init__(self):
        self.lock = threading.RLock(); self.same = self.lock
g = Guarded(); q = queue.Queue(); q.put(1); e = threading.Event(); e.set(); c = threading.Condition()
""")
    notebook.encode("g", "q", "e", "c")
    notebook.check("""
assert g.lock is g.same and g.lock.acquire(False) and q.get(False) == 1 and e.is_set()
with c: c.notify()
""")


def test_a_held_lock_is_said(notebook):
    """Nobody would ever let it go."""
    notebook.run("import threading\na = threading.Lock(); b = threading.RLock(); a.acquire(); b.acquire()")
    skipped = notebook.encode("a", "b").skipped
    assert "a lock that is held" in skipped["a"]
    assert "a lock that is held" in skipped["b"]


def test_what_only_looks_alive_is_refused(notebook):
    """Though nothing in it keeps pickle from copying it, now that locks are no reason."""
    notebook.run("""
import concurrent.futures, subprocess, tempfile, threading, weakref
t = threading.Thread(target=int); t.start(); t.join()
p = subprocess.Popen(['true']); p.wait()
d = tempfile.TemporaryDirectory()
u = concurrent.futures.ThreadPoolExecutor(1)
class Sub(threading.Thread): pass
s = Sub()
class A: pass
a = A(); f = weakref.finalize(a, int)
""")
    assert sorted(notebook.encode("t", "p", "d", "u", "s", "f").skipped) == ["d", "f", "p", "s", "t", "u"]
    notebook.run("d.cleanup(); u.shutdown()")


def test_weak_references_come_back_with_what_others_hold(notebook):
    """Whichever is met first, in one name or in two, and in containers."""
    notebook.run("""
import weakref
class Node: pass
a = Node(); b = [weakref.ref(a)]; c = Node(); c.me = weakref.ref(c)
early = (weakref.ref(c.me()), c)
v = weakref.WeakValueDictionary(k=a); k = weakref.WeakKeyDictionary({a: 1}); s = weakref.WeakSet([a])
""")
    notebook.encode("a", "b", "c", "early", "v", "k", "s")
    notebook.check("""
assert b[0]() is a and c.me() is c and early[0]() is early[1] and v['k'] is a and k[a] == 1 and a in s
del early
c = None
""")


def test_weak_references_to_what_is_not_kept_are_said(notebook):
    """They would come back dead, and containers empty; the others of their group are kept."""
    notebook.run("""
import weakref
class Node: pass
a = Node(); other = []
b = [weakref.ref(a), other]; v = weakref.WeakValueDictionary(k=a); s = weakref.WeakSet([a]); c = [other]
""")
    encoding = notebook.encode("b", "v", "s", "c", "other")
    assert sorted(encoding.skipped) == ["b", "s", "v"]
    assert all("weak reference" in why for why in encoding.skipped.values())
    notebook.check("assert c[0] is other", expect_skipped=True)


def test_dead_references_and_empty_containers_are_kept(notebook):
    """There is nothing that could be lost."""
    notebook.run("import weakref\nclass N: pass\nr = weakref.ref(N()); s = weakref.WeakSet()")
    notebook.encode("r", "s")
    notebook.check("assert r() is None and len(s) == 0")


def test_an_exception_keeps_cause_context_and_traceback(notebook):
    """So that it is printed as before."""
    notebook.run("""
import traceback
class Own(Exception):
    def __init__(self, code, *, more): super().__init__(f'{code}!'); self.code = code; self.more = more
def fail():
    try:
        {}['k']
    except KeyError as error:
        raise Own(3, more=[4]) from error
try:
    fail()
except Own as error:
    x = error
said = [line for part in traceback.format_exception(x) for line in part.splitlines() if '^' not in line]
""")
    notebook.encode("x", "said")
    notebook.check("""
import traceback
now = [line for part in traceback.format_exception(x) for line in part.splitlines()]
def places(lines): return [line for line in lines if line.lstrip().startswith('File') or 'Error' in line]
assert places(now) == places(said), (now, said)
assert x.code == 3 and x.more == [4] and x.args == ('3!',) and type(x.__cause__) is KeyError
assert x.__suppress_context__
try:
    raise x
except Exception as error:
    assert error is x
""")


def test_a_plain_exception_is_as_before(notebook):
    """Those of C keep their own facts."""
    notebook.run("""
class Late(OSError):
    def __init__(self, what): super().__init__(2, 'late', what)
x = [OSError(2, 'no', 'f'), UnicodeDecodeError('utf-8', b'a', 0, 1, 'bad'), StopIteration(3), Late('file')]
""")
    notebook.encode("x")
    notebook.check("""
assert x[0].filename == 'f' and type(x[0]) is FileNotFoundError and x[1].reason == 'bad' and x[2].value == 3
assert x[3].errno == 2 and x[3].filename == 'file', vars(x[3])
""")


def test_a_logger_of_the_notebook_keeps_how_it_was_set_up(notebook, tmp_path):
    """Level, handlers, formats and filters; a file is added to, and only once there is a message."""
    path = tmp_path / "log.txt"
    notebook.run(f"""
import logging
own = logging.getLogger('own.kept'); own.setLevel('DEBUG'); own.propagate = False
handler = logging.FileHandler({str(path)!r}, 'w'); handler.setFormatter(logging.Formatter('%(message)s!'))
import sys
own.addHandler(handler); own.addHandler(logging.StreamHandler(sys.__stderr__)); own.debug('one')
x = [own]
""")
    notebook.encode("x")
    notebook.run("handler.close(); own.handlers.clear()")
    notebook.check("""
import logging
own = x[0]
import sys
assert own is logging.getLogger('own.kept') and own.level == logging.DEBUG and not own.propagate
assert [type(h).__name__ for h in own.handlers] == ['FileHandler', 'StreamHandler']
own.removeHandler(own.handlers[1]); own.debug('two')
""")
    assert path.read_text() == "one!\ntwo!\n"


def test_a_logger_that_is_set_up_already_is_left_alone(notebook):
    """The cells of today come before what was kept."""
    notebook.run("import logging\nx = logging.getLogger('own.again'); x.setLevel('DEBUG')")
    notebook.encode("x")
    notebook.check(
        "import logging\nassert x.level == logging.ERROR",
        env={"before": "import logging; logging.getLogger('own.again').setLevel('ERROR')"},
    )


def test_a_handler_that_is_not_known_is_said(notebook):
    """A log that goes nowhere would not be noticed."""
    notebook.run("""
import logging
class Mine(logging.Handler): pass
x = logging.getLogger('own.mine'); x.addHandler(Mine())
""")
    assert "log handler of type __main__.Mine" in notebook.encode("x").skipped["x"]
    notebook.run("x.handlers.clear()")


def test_what_argparse_tells_by_identity_stays_that(notebook):
    """A parser that came back gave its options a default of '==SUPPRESS=='."""
    notebook.run("import argparse\np = argparse.ArgumentParser(prog='p'); p.add_argument('--n', default=1)")
    notebook.encode("p")
    notebook.check("assert vars(p.parse_args([])) == {'n': 1}")


def test_a_match_is_found_again_or_refused(notebook):
    """One of a search that went on cannot be told from a first one."""
    notebook.run("""
import re
a = re.match('(b)(a)', 'banana'); b = re.search('(?P<x>n)', 'banana'); c = list(re.finditer('a', 'banana'))[1]
d = re.compile('n').search('banana', 3)
""")
    assert list(notebook.encode("a", "b", "c", "d").skipped) == ["c"]
    notebook.check(
        "assert a.groups() == ('b', 'a') and b['x'] == 'n' and d.span() == (4, 5) and d.pos == 3",
        expect_skipped=True,
    )


def test_elements_go_in_as_they_were(notebook):
    """Not through methods of their class, which would do their work twice, or before its state is there."""
    notebook.run("""
class Doubling(list):
    def __init__(self): super().__init__(); self.log = []
    def append(self, v): self.log.append(v); super().append(v * 2)
class Upper(dict):
    __slots__ = ('seen',)
    def __init__(self): super().__init__(); self.seen = 0
    def __setitem__(self, k, v): self.seen += 1; super().__setitem__(k + '!', v)
a = Doubling(); a.append(1); a.append(3)
b = Upper(); b['k'] = 1
""")
    notebook.encode("a", "b")
    notebook.check("assert (a, a.log, b, b.seen) == ([2, 6], [1, 3], {'k!': 1}, 1)")


def test_an_array_of_a_class_keeps_its_attributes(notebook):
    """numpy's own way forgets them."""
    notebook.run("""
import numpy as np
class Tagged(np.ndarray): pass
x = np.arange(5000.0).view(Tagged); x.tag = {'unit': 'm'}
""")
    notebook.encode("x")
    notebook.check("assert type(x) is Tagged and x.tag == {'unit': 'm'} and x[7] == 7")


def test_what_copyreg_has_a_way_for_is_kept_in_that_way(notebook):
    """Also a list whose class does something when an element comes in, and an exception with a cause."""
    notebook.run("""
import copyreg
class Odd(list):
    def append(self, v): super().append(v)
def make(): return Odd([7])
copyreg.pickle(Odd, lambda odd: (make, ()))
class Mine(Exception): pass
def remake(): return Mine('made')
copyreg.pickle(Mine, lambda error: (remake, ()))
x = Odd([1]); y = Mine(); y.__cause__ = KeyError()
""")
    notebook.encode("x", "y")
    notebook.check("assert x == [7] and type(x) is Odd and y.args == ('made',)")
