"""Streams of one value in this process: written, looked at, read back as data or as anything."""

from __future__ import annotations

import io
import pickle

from keepstate import codecs
from keepstate._model.parts import StoredGroup
from keepstate.codecs import _calls


class InMemory:
    """A part as the restorer hands it to the decoder."""

    def __init__(self, part):
        self.data, self.itemsize, self.writable = bytes(part.memory), part.itemsize, part.writable
        self.nbytes = len(self.data)

    def read_into(self, memory):
        memory[:] = self.data

    def steps(self, memory):
        yield lambda: self.read_into(memory)


def group_of(value, **others):
    """Encode *value* as ``x``, with *others* beside it; return the group of ``x``."""
    bindings = {"x": value, **others}
    encoding = codecs.encode(bindings, namespace={"__name__": "__main__", **bindings})
    assert not encoding.skipped, encoding.skipped
    return next(group for group in encoding.groups if "x" in [member.name for member in group.members])


def calls(value):
    """Name what reading *value* asks for: our calls by their names, anything else with its module."""
    found = codecs.calls_of(group_of(value).stream)
    assert found is not None
    return {name if module == _calls.MODULE else f"{module}.{name}" for module, name in found}


def read(group, *, data_only):
    """Decode all members of a group."""
    stored = StoredGroup(
        key=group.key,
        members=group.members,
        stream=bytes(group.stream),
        parts=[InMemory(part) for part in group.parts],
        resolve=lambda key: None,
    )
    return dict(codecs.decode(stored, namespace={"__name__": "__main__"}, data_only=data_only))


def as_data(value):
    """Write *value*, and read it as data alone."""
    return read(group_of(value), data_only=True)["x"]


def as_anything(value):
    """Write *value*, and read it in the usual way."""
    return read(group_of(value), data_only=False)["x"]


def dumps(value):
    """Pickle *value* as the body of a stream: without numbers, which would count from the preamble on."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.fast = True
    pickler.dump(value)
    return file.getvalue()
