"""Imprints of random graphs that change at random: what is left as it was would have come out the same."""

import os
import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imprinted import CLASSES, notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="imprints are made in forked children")

EXAMPLES = int(os.environ.get("KEEPSTATE_TORTURE_GRAPHS", "300"))


class Chance:
    """Makes plain graphs and changes them."""

    def __init__(self, seed, namespace):
        self.random, self.space = random.Random(seed), namespace
        self.kinds = [namespace[name] for name in ("Plain", "Other", "Point", "Slotted", "Mixed")]

    def atom(self):
        pick = self.random.randrange
        return self.random.choice(
            (
                lambda: pick(-5, 300),
                lambda: pick(1 << pick(1, 200)),
                lambda: -pick(1 << 70),
                self.random.random,
                lambda: "".join(self.random.choices("ab\u00e9\u20ac\U0001d11e", k=pick(6))),
                lambda: f"text {pick(1000)}",
                lambda: bytes(pick(9)),
                lambda: self.random.choice((None, True, False, (), "", 1j)),
                lambda: sys.intern(f"name{pick(9)}"),
            )
        )()

    def graph(self, depth=3):
        if not depth or self.random.random() < 0.3:
            return self.atom()
        items = [self.graph(depth - 1) for _ in range(self.random.randrange(6))]
        if items and self.random.random() < 0.3:
            items.append(items[0])
        make = self.random.choice((list, tuple, self.table, self.group, frozenset, self.thing, self.array))
        try:
            return make(items)
        except TypeError:
            return items  # not all of them can be hashed

    def table(self, items):
        keys = [self.atom() for _ in items]
        return dict(zip(keys, items, strict=True))

    def group(self, items):
        return set(items)

    def array(self, items):
        return bytearray(len(items) * 7)

    def thing(self, items):
        made = object.__new__(self.random.choice(self.kinds))
        for name, item in zip(("first", "second", "third", "fourth"), items, strict=False):
            if hasattr(made, "__dict__") or name in ("first", "second"):
                setattr(made, name, item)
        if self.random.random() < 0.2:
            getattr(made, "__dict__", None)
        return made

    def reach(self):
        """Return a part of the graph that can be changed."""
        found, pending, seen = [], [self.space["a"], self.space["b"], self.space["c"]], set()
        while pending:
            thing = pending.pop()
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, list | dict | set | bytearray) or type(thing) in self.kinds:
                found.append(thing)
            if isinstance(thing, list | tuple | set | frozenset):
                pending += thing
            elif isinstance(thing, dict):
                pending += [*thing, *thing.values()]
            elif type(thing) in self.kinds:
                pending += [getattr(thing, n) for n in ("first", "second", "third") if hasattr(thing, n)]
        return self.random.choice(found) if found else None

    def change(self):
        way = self.random.randrange(12)
        thing = self.reach()
        new = self.graph(1)
        if way == 0:
            self.space[self.random.choice("abc")] = self.graph()
        elif way == 1:
            self.space["b"] = [thing]
        elif isinstance(thing, list) and thing:
            at = self.random.randrange(len(thing))
            if way == 2:
                thing[at] = None
            if way == 3:
                thing[at:at] = [new, new]
            elif way == 4:
                del thing[at]
            else:
                thing[at] = self.reach() if way == 5 else new
        elif isinstance(thing, dict) and thing:
            key = self.random.choice(list(thing))
            if way == 2:
                thing[key] = thing.pop(key)
            elif way == 3:
                del thing[key]
            elif way == 4:
                thing[self.atom()] = new
            else:
                thing[key] = self.reach() if way == 5 else new
        elif isinstance(thing, set):
            (thing.add if way % 2 else thing.discard)(self.random.choice([*thing, self.atom()]))
        elif isinstance(thing, bytearray) and thing:
            thing[self.random.randrange(len(thing))] = way
            if way == 2:
                del thing[:2]
        elif type(thing) in self.kinds:
            name = self.random.choice(("first", "second"))
            if way == 2 and hasattr(thing, name):
                delattr(thing, name)
            elif way == 3 and hasattr(thing, "__dict__"):
                thing.__dict__ = dict(thing.__dict__)
            elif way == 4 and type(thing).__name__ in ("Plain", "Point"):
                thing.__class__ = self.kinds[1]
            elif way == 5 and hasattr(thing, name):
                value = getattr(thing, name)
                delattr(thing, name)
                setattr(thing, name, value)
            else:
                setattr(thing, name, new)


def change_and_look(seed):
    """Fail if a group that was left as it was would have come out otherwise."""
    watcher = notebook(CLASSES + "a = b = c = None")
    chance = Chance(seed, watcher.namespace)
    watcher.namespace |= {name: [chance.graph() for _ in range(4)] for name in "abc"}
    watcher.look("a", "b", "c")
    watcher.look("a", "b", "c")
    for _ in range(8):
        for _ in range(chance.random.choice((0, 1, 1, 2))):
            chance.change()
        watcher.look("a", "b", "c")


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_random_graphs_are_never_stale(seed):
    """None is, in a few graphs."""
    change_and_look(seed)


@pytest.mark.torture
def test_many_random_graphs_are_never_stale():
    """None is, in many."""
    for seed in range(EXAMPLES):
        change_and_look(seed)
