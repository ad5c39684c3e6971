"""Imprints of memory: whatever is done to the objects, none says that they are what they are not."""

import copyreg
import sys
import weakref

import numpy as np
import pytest
from imprinted import CLASSES, notebook

from keepstate._capture import Tools, Worth
from keepstate._capture.imprint.footprint import Footprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="imprints are made in forked children")

CHANGES = {
    "an item of a list": ("a = [1, [2, 3]]", "a[1][0] = 5"),
    "a number of the same size": ("a = {'k': 1000}", "a['k'] = 2000"),
    "a number at the same address": ("a = [float(7)]", "a[0] = None; a[0] = float(8)"),
    "the sign of a number": (
        "a = [int('5001')]",
        "size = size_of(a[0]); size.value = -size.value if sys.version_info < (3, 12) else size.value ^ 2",
    ),
    "a text at the same address": (
        "a = ['t' + str(1234)]",
        "a[0] = None; a[0] = 't' + str(5678)",
    ),
    "the length of a text": ("a = ['ab%s' % chr(0)]", "size_of(a[0]).value -= 1"),
    "the length of bytes": ("a = [b'ab%s' % bytes(1)]", "size_of(a[0]).value -= 1"),
    "a list at the same address": ("a = {'k': [5001]}", "a['k'] = None; a['k'] = [5002]"),
    "a number written to": (
        "a = [1.5 * len('ab')]",
        "ctypes.c_double.from_address(id(a[0]) + 16).value = 4.0",
    ),
    "a whole number written to": ("a = [int('9' * 30)]", "write(a[0], 4, 1)"),
    "bytes written to": ("a = [bytes(range(50))]", "write(a[0], 2, 7)"),
    "a text written to": ("a = ['abc' * len('12345')]", "write(a[0], 2, 90)"),
    "a wide text written to": ("a = ['ab\\u20ac' * len('12345')]", "write(a[0], 4, 90)"),
    "a tuple written to": (
        "a = [tuple([5001, 5002])]; keep = [5003]",
        """
ctypes.pythonapi.Py_IncRef(ctypes.py_object(keep[0]))
ctypes.c_uint64.from_address(id(a[0]) + a[0].__sizeof__() - 8).value = id(keep[0])
""",
    ),
    "the order of a dictionary": ("a = {'k': 1, 'l': 2}", "a['k'] = a.pop('k')"),
    "the order of a dictionary of numbers": ("a = {1: 1, 2: 2}", "a[1] = a.pop(1)"),
    "an equal key of another type": ("a = {1: 'x'}", "del a[1]; a[True] = 'x'"),
    "a key more": ("a = dict.fromkeys('abc')", "a['d'] = None"),
    "a key less": ("a = dict.fromkeys('abc')", "keep = a.pop('b')"),
    "the last key": ("a = dict.fromkeys('abc')", "a.popitem()"),
    "an item of a set": ("a = {1, 2, 3}", "a.add(4)"),
    "an item less of a set": ("a = {1, 2, 3}", "keep = a.pop()"),
    "the order of a set": (
        "a = set(); a.add(1); a.add(9)",
        "a.discard(1); a.add(17); a.add(1); a.discard(17)",
    ),
    "an item of a large set": ("a = set(range(100))", "a.discard(50); a.add(500)"),
    "a frozen set": ("a = [frozenset({1, 2})]", "a[0] = frozenset({1, 3})"),
    "a slice": ("a = list(range(300, 310))", "a[2:4] = [7, 8]"),
    "the order of a list": ("a = [300, 400, 500]", "a.reverse()"),
    "an item more": ("a = [300]", "a.append(301)"),
    "an item less": ("a = [300, 301]", "keep = a.pop()"),
    "a byte of an array": ("a = {'k': bytearray(100)}", "a['k'][50] = 1"),
    "the start of an array": ("a = bytearray(range(100))", "del a[:3]"),
    "a text that grows": ("a = ['x' * 20]", "t = a.pop(); t += 'y'; a.append(t); del t"),
    "a binding": ("a = [1]", "a = [1, 2]"),
    "a complex number": (
        "a = [1j + len('a')]",
        "ctypes.c_double.from_address(id(a[0]) + 24).value = 2.0",
    ),
    "none": ("a = [None]", "a[0] = False"),
    "an attribute": ("a = made(Plain, x=1, y=2)", "a.x = 5"),
    "an attribute more": ("a = made(Plain, x=1)", "a.z = 5"),
    "the first attribute": ("a = Plain()", "a.z = 5"),
    "an attribute less": ("a = made(Plain, x=1, y=2)", "keep = a.x; del a.x"),
    "the order of attributes": ("a = made(Plain, x=1, y=2)", "x = a.x; del a.x; a.x = x; del x"),
    "an attribute through its dictionary": ("a = made(Plain, x=1)", "vars(a)['x'] = 2"),
    "an attribute in a dictionary of its own": ("a = made(Plain, x=1); vars(a)", "a.x = 2"),
    "another dictionary": ("a = made(Plain, x=1, y=2)", "a.__dict__ = {'y': 2, 'x': 1}"),
    "attributes that only one has": (
        "a = [made(Plain, x=1) for _ in range(3)]; o = made(Plain, x=1)",
        "vars(a[0])[5] = 1",
    ),
    "a field": ("a = [Point(i, str(i)) for i in range(50)]", "a[20].y = 'no'"),
    "another class": ("a = [made(Plain, x=1)]", "a[0].__class__ = Other"),
    "a slot": ("a = made(Slotted, first=1, second=[2])", "a.first = 3"),
    "a slot less": ("a = made(Slotted, first=1, second=[2])", "keep = a.first; del a.first"),
    "what a slot holds": ("a = made(Slotted, first=1, second=[2])", "a.second.append(3)"),
    "a slot beside attributes": ("a = made(Mixed, first=1, x=1)", "a.first = 2"),
    "an attribute beside slots": ("a = made(Mixed, first=1, x=1)", "a.x = 2"),
    "an alias less": ("x = [1]; a = [x, x]; del x", "a[1] = list(a[0])"),
    "an alias more": ("a = [[1], [1]]", "a[1] = a[0]"),
    "a circle": ("a = [[]]; a[0].append(a)", "a[0][0] = None"),
    "texts that are one no longer": (
        "t = 'text %d' % 5; a = [t, t]; del t",
        "a[1] = 'text %d' % 5",
    ),
    "something not plain": ("a = [None]", "a[0] = collections.deque([1])"),
    "a function": ("a = [None]", "a[0] = lambda: 1"),
    "a text of its own kind": ("class Text(str): pass\na = ['x']", "a[0] = Text('x')"),
    "a number of its own kind": ("class Number(int): pass\na = [5001]", "a[0] = Number(5001)"),
    "a thread": (
        "a = {'k': 1}",
        "t = threading.Thread(target=a.__setitem__, args=('k', 2)); t.start(); t.join(); del t",
    ),
    "a hook of an instance": (
        "class Call:\n    def __call__(self, *a): return Plain, ()\na = made(Plain, x=1)",
        "a.__reduce_ex__ = Call()",
    ),
    "another hook of an instance": (
        "class Call:\n    def __call__(self, *a): return {'n': 5}\na = made(Plain, x=1)",
        "a.__getstate__ = Call()",
    ),
    "a hook of a class": ("a = made(Plain, x=1)", "Plain.__reduce__ = lambda self: (list, ())"),
    "a state of a class": ("a = made(Plain, x=1)", "Plain.__getstate__ = lambda self: {'n': 5}"),
    "a hook of a base": ("a = made(Derived, x=1)", "Base.__reduce_ex__ = lambda self, p: (list, ())"),
    "attributes made up": (
        "a = made(Plain, x=1)",
        """
def find(self, name):
    return (lambda p: (list, ())) if name == '__reduce_ex__' else object.__getattribute__(self, name)
Plain.__getattribute__ = find
""",
    ),
    "a reducer": ("a = made(Plain, x=1)", "copyreg.pickle(Plain, lambda thing: (list, ()))"),
    "a class of the same name": (
        "a = made(Plain, x=1)",
        "class Plain:\n    pass\n",
    ),
    "where a class is": ("a = made(Plain, x=1)", "Simple = Plain; del Plain; Simple.__qualname__ = 'Simple'"),
    "a slot that computes": (
        "a = made(Slotted, first=1, second=2)",
        "Slotted.first = property(lambda self: 7)",
    ),
    "slots under other names": (
        "a = made(Slotted, first=1, second=2)",
        "Slotted.first, Slotted.second = Slotted.second, Slotted.first",
    ),
    "slots that are not told": ("a = made(Slotted, first=1, second=2)", "Slotted.__slotnames__ = None"),
    "slots told otherwise": ("a = made(Slotted, first=1, second=2)", "Slotted.__slotnames__ = ['second']"),
}


@pytest.fixture(autouse=True)
def _registered():
    before = dict(copyreg.dispatch_table)
    yield
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(before)


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_seen(case):
    """What has an imprint and is changed is encoded again."""
    before, change = CHANGES[case]
    watcher = notebook(CLASSES + before)
    assert "a" in watcher.settle("a")
    watcher.run(change)
    assert watcher.look("a").unchanged == []


LOOKS = {
    "nothing": "pass",
    "its text": "repr(a)",
    "every item": "[[each for each in part] if hasattr(part, '__iter__') else part for part in a]",
    "hashes": "{hash(text) for text in a[3]}",
    "a collection": "gc.collect()",
    "attributes": "sum(thing.x for _ in range(50) for thing in a[2])",
    "references": "held = [list(part) if hasattr(part, '__iter__') else part for part in a]",
    "a weak reference": "seen = [weakref.ref(thing) for thing in a[4]]",
    "other instances": "more = [made(Plain, x=i, y=i) for i in range(100)]",
    "other texts": "more = ['text number %d' % i for i in range(1000)]; del more[::2]",
    "the same again": "a[0][1] = a[0][1]; a[1]['k'] = a[1]['k']; a[2][0].x = a[2][0].x",
}


@pytest.mark.parametrize("case", LOOKS)
def test_looking_changes_nothing(case):
    """What was only read, collected, hashed or referred to need not be encoded again."""
    watcher = notebook(
        CLASSES + "a = [[1, 2.5], {'k': 1, 2: ()}, [made(Plain, x=i, y=str(i)) for i in range(20)],"
        "['text number %d' % i for i in range(100)], [made(Slotted, first=1)], {1, 'x'}, bytearray(9), 1j]"
    )
    watcher.run(LOOKS[case])  # once before: the first reading of attributes numbers the names of them
    assert watcher.settle("a") == {"a"}
    watcher.run(LOOKS[case])
    assert watcher.look("a").unchanged == [["a"]]


REFUSED = {
    "a function": "a = [len]",
    "a queue": "a = [collections.deque()]",
    "a dictionary of another kind": "a = collections.OrderedDict(x=1)",
    "a named tuple": "T = collections.namedtuple('T', 'x'); a = [T(1)]",
    "an exception": "class Wrong(Exception): pass\na = [Wrong(1)]",
    "a class": "a = [Plain]",
    "an instance of another metaclass": "class Meta(type): pass\nclass C(metaclass=Meta): pass\na = C()",
    "an instance that says what it is": "class C:\n    def __reduce__(self): return list, ()\na = C()",
    "attributes that are made up": "class C:\n    def __getattr__(self, n): raise AttributeError\na = C()",
    "an instance of a class without a name": "def f():\n    class C: pass\n    return C()\na = f()",
    "the notebook itself": "a = {'all': globals()}; del copyreg, ctypes, gc, pickle, sys, threading, weakref",
    "an instance with a hook": "class C:\n    def __call__(self): return {'n': 1}\n"
    "a = made(Plain, __getstate__=C())",
    "the name of a hook": "a = made(Plain, x='__reduce_ex__')",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_plain_has_no_imprint(case):
    """Not every word of its memory is known, or its stream depends on more."""
    watcher = notebook(CLASSES + REFUSED[case])
    assert watcher.settle("a") == set()


def test_an_alias_between_names_is_seen():
    """A name that now reaches into a group that did not change is linked with it."""
    watcher = notebook("a = {'k': [1], 'l': (2, [3])}; b = 1")
    assert watcher.settle() == {"a", "b"}
    watcher.run("b = a['k']")
    assert watcher.look().groups == [["a", "b"]]
    assert watcher.look().unchanged == []
    watcher.run("b = [a['l'][1]]")
    assert watcher.look().groups == [["a", "b"]]


def test_an_alias_deep_inside_another_name_is_seen():
    """It is found in whatever holds it: an instance, an array of objects, a closure."""
    for holder in ("Plain(); b.x = [a[0]]", "np.array([a[0], 1], object)", "(lambda x: lambda: x)(a[0])"):
        watcher = notebook(CLASSES + "import numpy as np\na = [[1], 2]; b = 1")
        assert watcher.settle("a", "b") == {"a", "b"}
        watcher.run(f"b = {holder}")
        assert ["a", "b"] in watcher.look("a", "b").groups
        assert watcher.look("a", "b").unchanged == []


def test_an_alias_that_a_class_holds_is_seen():
    """A class of the notebook whose attribute is part of a group is linked with it."""
    watcher = notebook(CLASSES + "a = [[made(Plain, x=1)], 2]")
    assert watcher.settle("a") == {"a"}
    watcher.run("Plain.every = a[0]")
    assert ["Plain", "a"] in watcher.look("a").groups


def test_an_alias_that_is_gone_is_seen():
    """Names that shared something and no longer do are stored apart."""
    watcher = notebook("a = {'k': [1]}; b = a['k']; c = 1")
    assert watcher.settle() == {"a", "b", "c"}
    watcher.run("b = [1]")
    assert watcher.look().groups == [["a"], ["b"], ["c"]]


def test_a_shared_text_links_nothing():
    """Groups that have only what cannot change in common keep their imprints."""
    watcher = notebook("t = 'a long text'; a = [t, (1, t)]; b = [t, a[1]]")
    assert watcher.settle("a", "b") == {"a", "b"}


def test_a_group_of_names_stays_one():
    """Names that share an object are left alone together, and only together."""
    watcher = notebook("a = {'k': [1]}; b = a['k']; c = [2]")
    assert watcher.settle() == {"a", "b", "c"}
    watcher.run("b.append(1)")
    assert watcher.look().unchanged == [["c"]]
    assert watcher.settle("a", "c") == {"a", "c"}


def test_another_object_for_a_name_is_seen():
    """The names are what is kept: each must be bound to the very object."""
    watcher = notebook("a = [5]; b = [6]")
    assert watcher.settle() == {"a", "b"}
    watcher.run("a, b = b, a")
    assert watcher.look().unchanged == []


def test_a_name_that_is_a_text_of_its_group_is_told_apart():
    """A stream writes a text once for each object: whether the name is that object matters."""
    watcher = notebook("name = ''.join(['ab', 'c']); abc = [name]")
    assert watcher.settle("abc") == {"abc"}
    own = watcher.namespace["name"]
    assert watcher.look(own).unchanged == []


def test_what_a_group_needs_is_stored_with_it():
    """The class of instances that were not encoded is a definition that they still need."""
    watcher = notebook(CLASSES + "a = made(Plain, x=1)")
    assert watcher.settle("a") == {"a"}
    watcher.run("Plain.more = 1")
    seen = watcher.look("a")  # compares what they need with what encoding anew gives
    assert seen.unchanged == [["a"]]
    assert ["Plain"] in seen.groups


# --- what it rests on

WORDS = {
    "int('9' * 40)": {8, 16, 24, 32, 40},
    "-float(7)": {8, 16},
    "1j + len('ab')": {8, 16, 24},
    "[300, 301]": {8, 16, 24},
    "{300: 301}": {8, 16, 32, 40},
    "{300}": {8, 24, 32, 40, *range(64, 192, 8)},
    "bytearray(b'abc')": {8, 16, 40},
    "bytes(range(12))": {8, 16, 32, 40},
    "'a%s' % 'b'": {8, 16, 32, 48 if sys.version_info < (3, 12) else 40},
    "tuple([300, 301])": {8, 16, *((24, 32) if sys.version_info < (3, 14) else (32, 40))},
    "made(Slotted, first=300)": {8, 16, 24},
    "Plain()": {
        (3, 11): {-32, -24, 8},
        (3, 12): {-24, 8},
    }.get(sys.version_info[:2], {-24, 8, 16}),
}
"""Sample → offsets of the words of its head, its fields and what it holds in itself that pickle reads."""


@pytest.mark.parametrize("sample", WORDS)
def test_every_word_that_pickle_reads_counts_and_no_other(sample):
    """Reference counts, hashes, versions, spare room and what the collector notes do not."""
    watcher = notebook(CLASSES + f"a = {sample}")
    assert watcher.settle("a") == {"a"}
    region = watcher.imprints._regions["a",]
    thing = watcher.namespace["a"]
    pages, masks, _ = region.tables(region.head().pages)
    held = Footprint(np.frombuffer(pages, np.uint64), np.frombuffer(masks, np.uint8).reshape(-1, 64)).holds
    end = max(type(thing).__basicsize__ + 8, thing.__sizeof__())
    offsets = list(range(-32, end, 8))
    own = np.array([id(thing) + offset for offset in offsets], np.uint64)
    assert {offset for offset, counts in zip(offsets, held(own), strict=True) if counts} == WORDS[sample]


def test_a_layout_that_is_not_as_told_is_not_used(scenario):
    """If a field leads past some of an object, the trial finds it, and there are no imprints."""
    assert scenario("""
        import dataclasses
        from keepstate._capture.imprint import layouts, trial

        class Try:
            def __init__(self, **wrong):
                self.wrong = wrong
            def prepare(self, tools):
                told = layouts.layout_here()
                trial.layout_here = lambda: dataclasses.replace(told, **self.wrong)
                with tools.looking():
                    self.stands = trial.tried_layout() is not None
            def write(self, tools):
                return b"stands" if self.stands else b"falls"

        def outcome(**wrong):
            try:
                return fork.take(Try(**wrong), reason="a test").finish().decode()
            except Misread:
                return "died"

        told = layouts.layout_here()
        wrong = {
            "text": told.text + 8, "wide_text": told.wide_text - 16, "tuple_items": told.tuple_items + 8,
            "cached_keys": told.cached_keys + 8, "counted_values": not told.counted_values,
        }
        show([outcome(), [name for name, value in wrong.items() if outcome(**{name: value}) == "stands"]])
    """) == ["stands", []]


def test_a_child_that_dies_over_memory_is_told_apart(scenario):
    """It is no name's fault, and whoever asked knows what to leave out the next time."""
    assert (
        scenario("""
        class Fall:
            def prepare(self, tools):
                tools.progress("it", 0)
                with tools.looking():
                    os.kill(os.getpid(), signal.SIGSEGV)
            def write(self, tools):
                return b""

        try:
            fork.take(Fall(), reason="a test").finish()
        except Misread:
            show("misread")
    """)
        == "misread"
    )


def test_imprints_are_bounded_and_given_back():
    """What is not worth it any more frees its memory, and no more are kept than fit."""
    watcher = notebook("a = list(range(300, 5000)); b = [1]")
    assert watcher.settle("a", "b") == {"a", "b"}
    region = weakref.ref(next(iter(watcher.imprints._regions.values())))
    watcher.imprints.absorb([])
    assert watcher.look("a", "b").unchanged == []
    assert region() is None
    watcher.imprints.absorb([Worth([str(number)], 1.0, 8 << 20) for number in range(100)])
    assert len(watcher.imprints._regions) <= 16


def test_there_are_none_where_memory_does_not_stand_still():
    """A picture that is copied on the user's thread reads no memory by address."""
    watcher = notebook("a = [1]")
    assert watcher.settle("a") == {"a"}
    assert watcher.imprints.look(watcher.namespace, Tools(None, None, None), seed=7) == []
