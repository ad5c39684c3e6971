"""A notebook's state that changes in every way that a guard could overlook, and a digest of all of it.

Runs inside the kernel. Everything is drawn from one seeded generator that is part of the state, so a run that
was cut off goes on as it would have.
"""

import ctypes
import gc
import hashlib
import random
import sys
import tempfile
import threading
from dataclasses import dataclass

import numpy as np
import pandas as pd

ENTRIES = 60_000
"""Enough that encoding them is dear, so that every way of not doing it is used."""
ARRAYS, ITEMS = 5, 1 << 20
"""8 MiB each: large enough to be watched page by page."""


@dataclass
class Person:
    """An ordinary object."""

    name: str
    age: int
    friend: "Person | None" = None


def build(seed):
    """Make the state: name → value."""
    chance = random.Random(seed)
    people = [Person(f"p{i}", i % 90) for i in range(ENTRIES)]
    for person in people[::50]:
        person.friend = chance.choice(people)
    return {
        "chance": chance,
        "ledger": {f"key {i}": [i, i + 0.5, str(i)] for i in range(ENTRIES)},
        "people": people,
        "nested": [
            {"k": (i, frozenset({i, -i})), "s": {i, i + 1}, "b": bytearray(b"%d" % i)} for i in range(9000)
        ],
        "arrays": [np.full(ITEMS, float(i)) for i in range(ARRAYS)],
        "frame": pd.DataFrame({f"c{i}": np.arange(100_000) + i * 0.1 for i in range(5)}),
        "alias": None,
        "texts": [f"text number {i}" for i in range(ENTRIES)],
    }


def digest(state):
    """Say what *state* is: its values, the order of its dicts, and what is the same object."""
    seen = hashlib.blake2b(digest_size=16)

    def add(value):
        seen.update(repr(value).encode())

    places = {id(person): number for number, person in enumerate(state["people"])}
    add(state["chance"].getstate())
    add(state["ledger"])
    for p in state["people"]:
        add((p.name, p.age, places.get(id(p.friend)), sorted(vars(p).keys() - {"name", "age", "friend"})))
    for each in state["nested"]:
        add((each["k"][0], sorted(each["k"][1]), sorted(each["s"]), bytes(each["b"]), list(each)))
    for array in state["arrays"]:
        add((array.shape, array.dtype.str))
        seen.update(array.tobytes())
    add(list(state["frame"].columns))
    seen.update(state["frame"].to_numpy(dtype=float, na_value=np.nan).tobytes())
    add((state["alias"], [key for key, value in state["ledger"].items() if value is state["alias"]][:1]))
    add(state["texts"])
    return seen.hexdigest()


# -- ways of changing it ---------------------------------------------------------------------------------


def nothing(state, chance):
    """Leave it."""


def read_all(state, chance):
    """Look at everything, which counts references up and down and hashes texts."""
    repr(state["ledger"])
    {hash(text) for text in state["texts"]}
    gc.collect()


def same_length(state, chance):
    """Put another number of the same length where one was."""
    state["ledger"][f"key {chance.randrange(ENTRIES)}"] = [chance.randrange(1000, 9999), 1.5, "x"]


def in_place(state, chance):
    """Change one number inside a list."""
    key = chance.choice(list(state["ledger"]))
    state["ledger"][key][0] = chance.randrange(1 << 40)


def same_address(state, chance):
    """Free a number and make another, which mostly gets the memory of the first."""
    row = state["ledger"][chance.choice(list(state["ledger"]))]
    row[1] = None
    row[1] = chance.random()
    index = chance.randrange(ENTRIES)
    length = len(state["texts"][index])
    state["texts"][index] = None
    state["texts"][index] = "".join(chance.choice("abcdef") for _ in range(length))


def reorder(state, chance):
    """Take a key out and put it back, at the end."""
    key = chance.choice(list(state["ledger"]))
    state["ledger"][key] = state["ledger"].pop(key)


def swap(state, chance):
    """Exchange two values of equal form."""
    one, other = chance.sample(range(ENTRIES), 2)
    people = state["people"]
    people[one].age, people[other].age = people[other].age + 1, people[one].age
    state["texts"][one], state["texts"][other] = state["texts"][other], state["texts"][one]


def attribute(state, chance):
    """Give one object an attribute, or take it again."""
    person = state["people"][chance.randrange(ENTRIES)]
    if "extra" in vars(person):
        del person.extra
    else:
        person.extra = 1


def befriend(state, chance):
    """Bend a reference inside the graph."""
    one, other = chance.sample(range(ENTRIES), 2)
    state["people"][one].friend = state["people"][other]


def deep(state, chance):
    """Change a set, a bytearray and a tuple's neighbour far inside."""
    each = state["nested"][chance.randrange(len(state["nested"]))]
    each["s"].add(chance.randrange(1000))
    each["b"][0] = chance.randrange(256)
    if chance.random() < 0.5:
        each["k"] = (chance.randrange(1000), frozenset({1, 2}))


def alias(state, chance):
    """Have a second name reach into the middle of another one's object; or no longer."""
    state["alias"] = None if chance.random() < 0.3 else state["ledger"][chance.choice(list(state["ledger"]))]


def through_alias(state, chance):
    """Change one name through another."""
    if state["alias"] is not None:
        state["alias"].append(chance.randrange(10))


def element(state, chance):
    """Write one element of an array."""
    state["arrays"][chance.randrange(ARRAYS)][chance.randrange(ITEMS)] = chance.random()


def rows(state, chance):
    """Write a run of an array."""
    start = chance.randrange(ITEMS)
    state["arrays"][chance.randrange(ARRAYS)][start : start + chance.randrange(200_000)] += 1.0


def by_the_system(state, chance):
    """Have the system read a file into the memory of an array, and C code write to it."""
    array = state["arrays"][chance.randrange(ARRAYS)]
    start = chance.randrange(ITEMS - 100)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(np.full(100, chance.random()).tobytes())
        file.seek(0)
        file.readinto(memoryview(array)[start : start + 100].cast("B"))
    ctypes.memmove(array.ctypes.data + 8 * start, np.float64(chance.random()).tobytes(), 8)


def another_array(state, chance):
    """Free an array and make another of that size, which mostly gets the same addresses."""
    index = chance.randrange(ARRAYS)
    fill = chance.random()
    state["arrays"][index] = None
    state["arrays"][index] = np.full(ITEMS, fill)


def grow(state, chance):
    """Make an array longer or shorter by copying."""
    index = chance.randrange(ARRAYS)
    array = state["arrays"][index]
    state["arrays"][index] = (
        array[:-1000].copy() if len(array) > ITEMS else np.append(array, np.arange(5000.0))
    )
    if len(state["arrays"][index]) < ITEMS:
        state["arrays"][index] = np.full(ITEMS, 0.25)


def cell(state, chance):
    """Write one cell of a frame."""
    state["frame"].iloc[chance.randrange(100_000), chance.randrange(5)] = chance.random()


def column(state, chance):
    """Add a column to a frame, or take it."""
    if "more" in state["frame"]:
        del state["frame"]["more"]
    else:
        state["frame"]["more"] = chance.random()


def by_a_thread(state, chance):
    """Have another thread change it."""
    worker = threading.Thread(target=chance.choice((in_place, element, befriend)), args=(state, chance))
    worker.start()
    worker.join()


def longer_text(state, chance):
    """Lengthen one text and one list in the middle of all."""
    state["texts"][chance.randrange(ENTRIES)] += "…"
    state["ledger"][chance.choice(list(state["ledger"]))].insert(0, sys.intern(f"i{chance.randrange(99)}"))


CHANGES = (
    nothing, read_all, same_length, in_place, same_address, reorder, swap, attribute, befriend, deep, alias,
    through_alias, element, rows, by_the_system, another_array, grow, cell, column, by_a_thread, longer_text,
)  # fmt: skip


def change(state):
    """Change *state* in up to three ways, mostly in few: what nobody touches is what might go stale."""
    chance = state["chance"]
    done = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        way = chance.choice(CHANGES)
        way(state, chance)
        done.append(way.__name__)
    return done
