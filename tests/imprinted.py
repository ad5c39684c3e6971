"""Pictures of names that may have imprints, each compared with what encoding all of them anew gives."""

from dataclasses import dataclass, field
from types import FunctionType, ModuleType

import msgspec
from xxhash import xxh3_128_digest

from keepstate import codecs
from keepstate._capture import Imprints, Worth, fork

CLASSES = '''
import abc, collections, copyreg, ctypes, gc, pickle, sys, threading, weakref
from dataclasses import dataclass

class Plain:
    pass

class Other:
    pass

@dataclass
class Point:
    x: int
    y: object = None

class Slotted:
    __slots__ = ("first", "second", "__weakref__")

class Mixed(Slotted):
    pass

class Base(abc.ABC):
    pass

class Derived(Base):
    pass

def made(kind, **attributes):
    thing = kind()
    for name, value in attributes.items():
        setattr(thing, name, value)
    return thing

def write(thing, behind, value):
    """Write a byte into an object, so far before its end."""
    ctypes.c_uint8.from_address(id(thing) + thing.__sizeof__() - behind).value = value

def size_of(thing):
    """Show the word that says how long a text, bytes or a tuple are, or the sign of a number."""
    return ctypes.c_ssize_t.from_address(id(thing) + 16)
'''
"""What the tests make their graphs of."""


class Seen(msgspec.Struct):
    """What a child has to say."""

    unchanged: list[list[str]]
    """Groups that were not encoded."""
    stale: list[list[str]]
    """Those of them that would have come out otherwise."""
    groups: list[list[str]]
    worth: list[Worth]


@dataclass
class Watcher:
    """Takes pictures of a namespace, and gives every group an imprint that may have one."""

    namespace: dict
    imprints: Imprints = field(default_factory=Imprints)

    def look(self, *names):
        """Take a picture of *names*; if none are given, of all variables that are no definitions."""
        names = names or [
            name
            for name, value in self.namespace.items()
            if name[0] != "_" and not isinstance(value, type | ModuleType | FunctionType)
        ]
        work = _Look(self.namespace, {name: self.namespace[name] for name in names}, self.imprints)
        seen = msgspec.msgpack.decode(fork.take(work, reason="a test").finish(), type=Seen)
        self.imprints.absorb(seen.worth)
        assert seen.stale == []
        return seen

    def settle(self, *names):
        """Take pictures until there are imprints; return the names that have one."""
        self.imprints.absorb([Worth([name], 1.0) for name in names])
        seen = self.look(*names)
        if not names or any(len(group) > 1 for group in seen.groups):
            seen = self.look(*names)
        return {name for each in seen.worth if each.used_bytes for name in each.names}

    def run(self, code):
        """Run *code* in the namespace, as a cell would."""
        exec(code, self.namespace)


def notebook(code=""):
    """Return a watcher of a namespace like a notebook's, after *code* ran in it."""
    watcher = Watcher({"__name__": "__main__"})
    watcher.run(code)
    return watcher


class _Look:
    def __init__(self, namespace, bindings, imprints):
        self.namespace, self.bindings, self.imprints = namespace, bindings, imprints

    def prepare(self, tools):
        looked_at = self.imprints.look(self.bindings, tools, seed=7)
        by_names = {imprint.names: imprint for imprint in looked_at}
        found = codecs.encode(self.bindings, namespace=self.namespace, imprints=looked_at)
        fresh = {_names(g): g for g in codecs.encode(self.bindings, namespace=self.namespace).groups}
        self.seen = Seen([], [], [sorted(names) for names in fresh], [])
        for group in found.groups:
            names = _names(group)
            imprint, anew = by_names.get(names), fresh.get(names)
            if not group.unchanged:
                assert anew == group or group.facts is not None
                if imprint is None:
                    self.seen.worth.append(Worth(list(names), 1.0))
                elif group.facts is not None and imprint.keep(group.facts, _pieces(group), 1.0):
                    self.seen.worth.append(imprint.worth)
                continue
            self.seen.unchanged.append(list(names))
            self.seen.worth.append(imprint.worth)
            same = anew is not None and (anew.members, anew.needs) == (group.members, group.needs)
            if not same or imprint.head.pieces != _pieces(anew):
                self.seen.stale.append(list(names))

    def write(self, tools):
        return msgspec.msgpack.encode(self.seen)


def _names(group):
    return tuple(sorted(member.name for member in group.members))


def _pieces(group):
    return [(xxh3_128_digest(group.stream), len(group.stream))]
