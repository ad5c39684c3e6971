from __future__ import annotations

import sys

import pytest


def test_class_is_one_across_variables(notebook):
    """Instances in several variables are of the one class that the notebook has."""
    notebook.run("class A:\n    pass\na = A(); b = [A()]; k = A")
    encoding = notebook.encode("a", "b", "k")
    assert [group.key for group in encoding.groups] == ["A", "a", "b", "k"]
    assert encoding.groups[0].members[0].role == "definition"
    notebook.check("assert type(a) is A and type(b[0]) is A and k is A and A.__module__ == '__main__'")


def test_restoring_in_the_same_kernel_leaves_the_live_class_alone(notebook):
    """Decoding makes a class of its own and changes nothing about the live one."""
    from keepstate import codecs
    from keepstate._model.parts import StoredGroup

    notebook.run("class A:\n    x = 1")
    (group,) = notebook.encode("A").groups
    notebook.run("A.x = 2")
    live = notebook.namespace["A"]
    stored = StoredGroup(group.key, group.members, group.stream, [], lambda _key: None)
    made = codecs.decode(stored, namespace=notebook.namespace)["A"]
    assert made is not live
    assert (made.x, live.x) == (1, 2)


CLASSES = {
    "dataclass": (
        """
import dataclasses
@dataclasses.dataclass(order=True)
class P:
    x: int
    y: list = dataclasses.field(default_factory=list)
    z: int = dataclasses.field(default=3, repr=False)
class Q(P):
    w: int = 4
p = P(1)
q = Q(2)
""",
        """
import dataclasses
assert p == P(1)
assert repr(p) == "P(x=1, y=[])"
assert p < P(2)
assert [f.name for f in dataclasses.fields(P)] == ["x", "y", "z"]
assert P(1).y is not P(1).y
@dataclasses.dataclass
class R(P):
    v: int = 5
assert R(1).v == 5
assert dataclasses.replace(p, x=9).x == 9
assert dataclasses.fields(P)[0].default is dataclasses.MISSING
assert isinstance(q, P)
""",
    ),
    "dataclass_slots": (
        """
import dataclasses
@dataclasses.dataclass(slots=True, frozen=True)
class P:
    x: int
    y: int = 2
p = P(1)
""",
        """
assert p.x == 1
assert p.y == 2
assert not hasattr(p, "__dict__")
assert hash(p) == hash(P(1))
assert p == P(1)
""",
    ),
    "slots": (
        """
class S:
    __slots__ = ("a", "__b", "__weakref__")
    def __init__(self):
        self.a, self.__b = (1, [2])
    def b(self):
        return self.__b
s = S()
""",
        """
assert s.a == 1
assert s.b() == [2]
assert not hasattr(s, "__dict__")
import weakref
weakref.ref(s)
try:
    s.c = 1
except AttributeError:
    pass
else:
    raise AssertionError
""",
    ),
    "enum": (
        """
import enum
class C(enum.Enum):
    R = 1
    G = "g"
    ALIAS = 1
    def low(self):
        return self.name.lower()
class Planet(enum.Enum):
    EARTH = (5.0, 6.0)
    def __init__(self, mass, radius):
        self.mass = mass
class F(enum.Flag):
    A = enum.auto()
    B = enum.auto()
class I(enum.IntEnum):
    ONE = 1
class S(enum.StrEnum):
    X = enum.auto()
c = [C.R, C.G]
f = F.A | F.B
i = I.ONE
s = S.X
pl = Planet.EARTH
""",
        """
assert c == [C.R, C.G]
assert c[0] is C.R
assert C(1) is C.R
assert C.ALIAS is C.R
assert C["G"] is C.G
assert list(C) == c
assert C.R.low() == "r"
assert pl is Planet.EARTH
assert pl.mass == 5.0
assert repr(C.R) == "<C.R: 1>"
assert f == F.A | F.B
assert F.A in f
assert ~F.A == F.B
assert i + 1 == 2
assert i is I.ONE
assert s == "x"
assert s is S.X
assert len(C) == 2
assert isinstance(C.R, C)
assert type(C).__name__ in ("EnumMeta", "EnumType")
""",
    ),
    "named_tuple": (
        """
import typing, collections
class N(typing.NamedTuple):
    a: int
    b: str = "x"
    def m(self):
        return self.a
M = collections.namedtuple("M", "c d", defaults=[7])
n = N(1)
m = M(2)
""",
        """
assert n == (1, "x")
assert n.m() == 1
assert n._replace(a=3).a == 3
assert m.d == 7
assert type(m) is M
assert N(5).b == "x"
assert M._fields == ("c", "d")
assert N._field_defaults == {"b": "x"}
assert m._asdict() == {"c": 2, "d": 7}
""",
    ),
    "abc": (
        """
import abc
class A(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class B(A):
    def f(self):
        return 1
class V:
    pass
A.register(V)
b = B()
v = V()
""",
        """
assert isinstance(b, A)
assert isinstance(v, A)
assert b.f() == 1
assert not isinstance(1, A)
try:
    A()
except TypeError:
    pass
else:
    raise AssertionError
""",
    ),
    "protocol": (
        """
import typing
@typing.runtime_checkable
class P(typing.Protocol):
    def close(self) -> int: ...
class D:
    def close(self):
        return 1
d = D()
""",
        """
assert isinstance(d, P)
assert not isinstance(1, P)
""",
    ),
    "generic": (
        """
import typing
T = typing.TypeVar("T", bound=int)
class G(typing.Generic[T]):
    def __init__(self, v):
        self.v = v
    def get(self) -> T:
        return self.v
class H(G[int]):
    pass
g = G(1)
h = H(2)
gi = G[int]
U = typing.NewType("U", int)
u = {U: U(3)}
""",
        """
assert g.get() == 1
assert h.v == 2
assert gi == G[int]
assert G.__parameters__ == (T,)
assert T.__bound__ is int
assert G.get.__annotations__["return"] is T
assert issubclass(H, G)
assert list(u)[0] is U
assert U(3) == 3
""",
    ),
    "properties": (
        """
class A:
    def __init__(self):
        self._x = 1
    @property
    def x(self):
        return self._x
    @x.setter
    def x(self, v):
        self._x = v
    @classmethod
    def make(cls):
        return cls()
    @staticmethod
    def s():
        return "s"
class B(A):
    def __init__(self):
        super().__init__()
        self.y = 2
b = B.make()
""",
        """
b.x = 5
assert b.x == 5
assert b.y == 2
assert type(B.make()) is B
assert B().s() == "s"
assert isinstance(b, A)
""",
    ),
    "metaclass": (
        """
made = []
class M(type):
    def __new__(m, name, bases, ns, **k):
        made.append(name)
        return super().__new__(m, name, bases, ns)
    def __call__(cls, *a):
        return super().__call__(*a)
    @property
    def twice(cls):
        return cls.__name__ * 2
class A(metaclass=M):
    pass
class B(A):
    pass
b = B()
""",
        """
assert type(A) is M
assert B.twice == "BB"
assert made == ["A", "B"]
assert type(b) is B
assert B.__mro__ == (B, A, object)
""",
    ),
    "hooks": (
        """
registry = []
class Base:
    def __init_subclass__(cls, tag=None, **k):
        registry.append(cls)
        cls.tag = tag
class Field:
    def __set_name__(self, owner, name):
        self.name = name
class Sub(Base, tag=5):
    f = Field()
s = Sub()
""",
        """
assert registry == [Sub]
assert Sub.tag == 5
assert Sub.f.name == "f"
class More(Base, tag=6):
    pass
assert registry == [Sub, More]
assert More.tag == 6
""",
    ),
    "nested": (
        """
class A:
    class B:
        class C:
            v = 1
        c = C()
a = A.B()
c = A.B.C()
k = A.B.C
""",
        """
assert type(a) is A.B
assert type(c) is A.B.C
assert k is A.B.C
assert type(A.B.c) is A.B.C
""",
    ),
    "local": (
        """
def make():
    class L:
        def hi(self):
            return type(self).__name__
    return L
L1 = make()
x = L1()
y = make()()
""",
        """
assert type(x) is L1
assert x.hi() == "L"
assert y.hi() == "L"
assert type(y) is not L1
""",
    ),
    "subclass_of_builtin": (
        """
class D(dict):
    def __missing__(self, k):
        return k
class E(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.b = b
class L(list):
    pass
d = D(a=1)
e = E(1, 2)
l = L([1])
l.note = "n"
l.append(l)
""",
        """
assert d["zz"] == "zz"
assert d["a"] == 1
assert e.args == (1, 2)
assert e.b == 2
assert l[1] is l
assert l.note == "n"
try:
    raise e
except E:
    pass
""",
    ),
    "cycle": (
        """
class A:
    pass
class B:
    pass
A.partner = B
B.partner = A
A.default = B()
a = A()
""",
        """
assert A.partner is B
assert B.partner is A
assert type(A.default) is B
assert type(a) is A
""",
    ),
    "typed_dict": (
        """
import typing
class TD(typing.TypedDict, total=False):
    a: int
td: TD = {"a": 1}
""",
        """
assert td == {"a": 1}
assert TD(a=2) == {"a": 2}
assert TD.__total__ is False
assert TD.__annotations__ == {"a": int}
""",
    ),
    "lock_free_cached_property": (
        """
import functools
class A:
    @functools.cached_property
    def p(self):
        return object()
a = A()
a.p
""",
        """
assert a.p is a.p
assert A().p is not a.p
""",
    ),
    "weak_dictionary": (
        """
import weakref
class K:
    pass
k = K()
w = weakref.WeakKeyDictionary({k: 1})
v = weakref.WeakValueDictionary({"k": k})
""",
        """
assert w[k] == 1
assert v["k"] is k
assert type(w).__name__ == "WeakKeyDictionary"
""",
    ),
}


@pytest.mark.parametrize(("cell", "check"), CLASSES.values(), ids=CLASSES)
def test_kind_of_class(notebook, cell, check):
    """Each kind of class that Python has works as it did, and its instances with it."""
    notebook.run(cell)
    notebook.encode()
    notebook.check(check)


def test_cyclic_definitions_are_one_group(notebook):
    """Classes that refer to each other are stored together."""
    notebook.run("class A: pass\nclass B: pass\nA.partner = B; B.partner = A; a = A()")
    encoding = notebook.encode("a")
    assert [[m.name for m in group.members] for group in encoding.groups] == [["A", "B"], ["a"]]
    notebook.check("assert type(a) is A and A.partner.partner is A")


def test_superseded_class_keeps_its_instances(notebook):
    """Instances of a class whose cell has run again are of the old class still, which is not bound."""
    notebook.run("class P:\n    def who(self): return 'old'\np = P()")
    notebook.run("class P:\n    def who(self): return 'new'\nq = P()")
    notebook.encode()
    notebook.check("assert p.who() == 'old' and q.who() == 'new' and type(q) is P and type(p) is not P")


def test_members_of_a_class_are_referred_to(notebook):
    """A method kept in a variable is the method of the class, not a copy, and does not tie them together."""
    notebook.run(
        "class A:\n    def f(self): return 1\n    @staticmethod\n    def s(): return 2\n"
        "m = {'f': A.f, 's': A.s}"
    )
    notebook.encode()
    assert notebook.group_of("m") == ["m"]
    notebook.check("assert m['f'] is A.f and m['s']() == 2")


def test_class_attribute_shared_with_a_variable(notebook):
    """A list that is a class attribute and a variable is one list again."""
    notebook.run("log = []\nclass A:\n    log = log\n    def f(self): self.log.append(1)\na = A()")
    notebook.encode()
    notebook.check("a.f()\nassert log == [1] and A.log is log")


def test_class_source(notebook):
    """A class carries its source, with or without methods."""
    notebook.run("class A:\n    x: int\n    def f(self): pass\n")
    notebook.run("y = 1\nimport dataclasses\n@dataclasses.dataclass\nclass B:\n    x: int = 1\n")
    encoding = notebook.encode("A", "B")
    source = {m.name: m.source for group in encoding.groups for m in group.members}
    assert source["A"] == "class A:\n    x: int\n    def f(self): pass\n"
    assert source["B"] == "@dataclasses.dataclass\nclass B:\n    x: int = 1\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters(notebook):
    """Generic functions, classes and aliases of Python 3.12 work."""
    notebook.run(
        "type Pair[T] = tuple[T, T]\ndef first[T](x: Pair[T]) -> T:\n    return x[0]\n"
        "class Box[T]:\n    v: T\nb = Box[int]()"
    )
    notebook.encode()
    notebook.check(
        "assert first((1, 2)) == 1 and type(b) is Box and Box.__type_params__[0].__name__ == 'T'\n"
        "p, = Pair.__type_params__\nassert Pair.__value__ == tuple[p, p]\n"
        "assert first.__annotations__['x'].__origin__ is Pair"
    )


def test_pydantic_model(notebook):
    """A pydantic model validates after a restore."""
    pytest.importorskip("pydantic")
    notebook.run(
        "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\n    b: list[str] = []\nm = M(a='3')"
    )
    notebook.encode()
    notebook.check("""
import pydantic
assert m == M(a=3) and m.a == 3
try:
    M(a='x')
except pydantic.ValidationError:
    pass
else:
    raise AssertionError
""")
