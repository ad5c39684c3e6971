"""Streams as earlier versions wrote them are read for ever."""

import zlib
from pathlib import Path

import numpy as np

from keepstate import codecs
from keepstate._model.parts import Member, StoredGroup

DATA = Path(__file__).parents[1] / "data"


class Part:
    nbytes, itemsize, writable = 8000, 8, True

    def read_into(self, memory):
        memory[:] = np.arange(1000.0).tobytes()


def test_streams_with_frames_and_marks_in_place():
    """``ks1``: pickles just as they were written, of more than one frame and batch, and one part."""
    stream = zlib.decompress((DATA / "stream-ks1.zlib").read_bytes())
    assert stream.endswith(b"ks1\n")
    stored = StoredGroup("x", (Member("x", "variable", "dict"),), stream, [Part()], lambda _key: None)
    found = codecs.decode(stored, namespace={"__name__": "__main__"})["x"]
    few, many = found.pop("few"), found.pop("many")
    assert few.tolist() == list(range(5))
    assert np.array_equal(many, np.arange(1000.0))
    shared = found.pop("shared")
    assert shared == [[1, 2], [1, 2]]
    assert shared[0] is shared[1]
    assert found == {
        "numbers": list(range(3000)),
        "texts": {str(n): [n] for n in range(1500)},
        "long": "y" * 70000,
    }
