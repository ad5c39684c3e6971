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
        "import dataclasses\n@dataclasses.dataclass(order=True)\nclass P:\n    x: int\n"
        "    y: list = dataclasses.field(default_factory=list)\n    z: int = dataclasses.field(default=3, repr=False)\n"
        "class Q(P):\n    w: int = 4\np = P(1); q = Q(2)",
        "import dataclasses\nassert p == P(1) and repr(p) == 'P(x=1, y=[])' and p < P(2)\n"
        "assert [f.name for f in dataclasses.fields(P)] == ['x', 'y', 'z'] and P(1).y is not P(1).y\n"
        "@dataclasses.dataclass\nclass R(P):\n    v: int = 5\nassert R(1).v == 5 and dataclasses.replace(p, x=9).x == 9\n"
        "assert dataclasses.fields(P)[0].default is dataclasses.MISSING and isinstance(q, P)",
    ),
    "dataclass_slots": (
        "import dataclasses\n@dataclasses.dataclass(slots=True, frozen=True)\nclass P:\n    x: int\n    y: int = 2\np = P(1)",
        "assert p.x == 1 and p.y == 2 and not hasattr(p, '__dict__') and hash(p) == hash(P(1)) and p == P(1)",
    ),
    "slots": (
        "class S:\n    __slots__ = ('a', '__b', '__weakref__')\n    def __init__(self): self.a, self.__b = 1, [2]\n"
        "    def b(self): return self.__b\ns = S()",
        "assert s.a == 1 and s.b() == [2] and not hasattr(s, '__dict__')\nimport weakref; weakref.ref(s)\n"
        "try:\n    s.c = 1\nexcept AttributeError:\n    pass\nelse:\n    raise AssertionError",
    ),
    "enum": (
        "import enum\nclass C(enum.Enum):\n    R = 1\n    G = 'g'\n    ALIAS = 1\n    def low(self): return self.name.lower()\n"
        "class Planet(enum.Enum):\n    EARTH = (5.0, 6.0)\n    def __init__(self, mass, radius): self.mass = mass\n"
        "class F(enum.Flag):\n    A = enum.auto()\n    B = enum.auto()\n"
        "class I(enum.IntEnum):\n    ONE = 1\nclass S(enum.StrEnum):\n    X = enum.auto()\n"
        "c = [C.R, C.G]; f = F.A | F.B; i = I.ONE; s = S.X; pl = Planet.EARTH",
        "assert c == [C.R, C.G] and c[0] is C.R and C(1) is C.R and C.ALIAS is C.R and C['G'] is C.G and list(C) == c\n"
        "assert C.R.low() == 'r' and pl is Planet.EARTH and pl.mass == 5.0 and repr(C.R) == '<C.R: 1>'\n"
        "assert f == F.A | F.B and F.A in f and ~F.A == F.B and i + 1 == 2 and i is I.ONE and s == 'x' and s is S.X\n"
        "assert len(C) == 2 and isinstance(C.R, C) and type(C).__name__ in ('EnumMeta', 'EnumType')",
    ),
    "named_tuple": (
        "import typing, collections\nclass N(typing.NamedTuple):\n    a: int\n    b: str = 'x'\n    def m(self): return self.a\n"
        "M = collections.namedtuple('M', 'c d', defaults=[7])\nn = N(1); m = M(2)",
        "assert n == (1, 'x') and n.m() == 1 and n._replace(a=3).a == 3 and m.d == 7 and type(m) is M and N(5).b == 'x'\n"
        "assert M._fields == ('c', 'd') and N._field_defaults == {'b': 'x'} and m._asdict() == {'c': 2, 'd': 7}",
    ),
    "abc": (
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 1\n"
        "class V: pass\nA.register(V)\nb = B(); v = V()",
        "assert isinstance(b, A) and isinstance(v, A) and b.f() == 1 and not isinstance(1, A)\n"
        "try:\n    A()\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
    ),
    "protocol": (
        "import typing\n@typing.runtime_checkable\nclass P(typing.Protocol):\n    def close(self) -> int: ...\n"
        "class D:\n    def close(self): return 1\nd = D()",
        "assert isinstance(d, P) and not isinstance(1, P)",
    ),
    "generic": (
        "import typing\nT = typing.TypeVar('T', bound=int)\nclass G(typing.Generic[T]):\n    def __init__(self, v): self.v = v\n"
        "    def get(self) -> T: return self.v\nclass H(G[int]): pass\ng = G(1); h = H(2); gi = G[int]\nU = typing.NewType('U', int)\nu = {U: U(3)}",
        "assert g.get() == 1 and h.v == 2 and gi == G[int] and G.__parameters__ == (T,) and T.__bound__ is int\n"
        "assert G.get.__annotations__['return'] is T and issubclass(H, G) and list(u)[0] is U and U(3) == 3",
    ),
    "properties": (
        "class A:\n    def __init__(self): self._x = 1\n    @property\n    def x(self): return self._x\n"
        "    @x.setter\n    def x(self, v): self._x = v\n    @classmethod\n    def make(cls): return cls()\n"
        "    @staticmethod\n    def s(): return 's'\nclass B(A):\n    def __init__(self):\n        super().__init__()\n        self.y = 2\nb = B.make()",
        "b.x = 5\nassert b.x == 5 and b.y == 2 and type(B.make()) is B and B().s() == 's' and isinstance(b, A)",
    ),
    "metaclass": (
        "made = []\nclass M(type):\n    def __new__(m, name, bases, ns, **k):\n        made.append(name)\n"
        "        return super().__new__(m, name, bases, ns)\n    def __call__(cls, *a): return super().__call__(*a)\n"
        "    @property\n    def twice(cls): return cls.__name__ * 2\nclass A(metaclass=M): pass\nclass B(A): pass\nb = B()",
        "assert type(A) is M and B.twice == 'BB' and made == ['A', 'B'] and type(b) is B and B.__mro__ == (B, A, object)",
    ),
    "hooks": (
        "registry = []\nclass Base:\n    def __init_subclass__(cls, tag=None, **k):\n        registry.append(cls)\n        cls.tag = tag\n"
        "class Field:\n    def __set_name__(self, owner, name): self.name = name\n"
        "class Sub(Base, tag=5):\n    f = Field()\ns = Sub()",
        "assert registry == [Sub] and Sub.tag == 5 and Sub.f.name == 'f'\n"
        "class More(Base, tag=6): pass\nassert registry == [Sub, More] and More.tag == 6",
    ),
    "nested": (
        "class A:\n    class B:\n        class C:\n            v = 1\n        c = C()\na = A.B(); c = A.B.C(); k = A.B.C",
        "assert type(a) is A.B and type(c) is A.B.C and k is A.B.C and type(A.B.c) is A.B.C",
    ),
    "local": (
        "def make():\n    class L:\n        def hi(self): return type(self).__name__\n    return L\nL1 = make(); x = L1(); y = make()()",
        "assert type(x) is L1 and x.hi() == 'L' and y.hi() == 'L' and type(y) is not L1",
    ),
    "subclass_of_builtin": (
        "class D(dict):\n    def __missing__(self, k): return k\nclass E(Exception):\n    def __init__(self, a, b):\n"
        "        super().__init__(a, b)\n        self.b = b\nclass L(list): pass\nd = D(a=1); e = E(1, 2); l = L([1]); l.note = 'n'; l.append(l)",
        "assert d['zz'] == 'zz' and d['a'] == 1 and e.args == (1, 2) and e.b == 2 and l[1] is l and l.note == 'n'\n"
        "try:\n    raise e\nexcept E:\n    pass",
    ),
    "cycle": (
        "class A: pass\nclass B: pass\nA.partner = B; B.partner = A; A.default = B(); a = A()",
        "assert A.partner is B and B.partner is A and type(A.default) is B and type(a) is A",
    ),
    "typed_dict": (
        "import typing\nclass TD(typing.TypedDict, total=False):\n    a: int\ntd: TD = {'a': 1}",
        "assert td == {'a': 1} and TD(a=2) == {'a': 2} and TD.__total__ is False and TD.__annotations__ == {'a': int}",
    ),
    "lock_free_cached_property": (
        "import functools\nclass A:\n    @functools.cached_property\n    def p(self): return object()\na = A(); a.p",
        "assert a.p is a.p and A().p is not a.p",
    ),
    "weak_dictionary": (
        "import weakref\nclass K: pass\nk = K()\nw = weakref.WeakKeyDictionary({k: 1}); v = weakref.WeakValueDictionary({'k': k})",
        "assert w[k] == 1 and v['k'] is k and type(w).__name__ == 'WeakKeyDictionary'",
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
        "class A:\n    def f(self): return 1\n    @staticmethod\n    def s(): return 2\nm = {'f': A.f, 's': A.s}"
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
        "type Pair[T] = tuple[T, T]\ndef first[T](x: Pair[T]) -> T:\n    return x[0]\nclass Box[T]:\n    v: T\nb = Box[int]()"
    )
    notebook.encode()
    notebook.check(
        "assert first((1, 2)) == 1 and type(b) is Box and Box.__type_params__[0].__name__ == 'T'\n"
        "p, = Pair.__type_params__\nassert Pair.__value__ == tuple[p, p] and first.__annotations__['x'].__origin__ is Pair"
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
