"""Chunks are stored smaller where it pays, and cost little where it does not."""

import random
import subprocess
import sys

import numpy as np
import pytest

from keepstate._repository import compression
from keepstate._repository.compression import BLOSC2, NONE, Compressor, decompress_into
from keepstate.errors import IntegrityError

MIB = 1 << 20


def memory_of(array):
    return memoryview(np.ascontiguousarray(array)).cast("B")


def round_trip(kind, stored, length):
    target = memoryview(bytearray(length))
    decompress_into(kind, stored, target)
    return bytes(target)


SOURCE = np.random.default_rng(0)
DATA = {
    "zeros": (np.zeros(MIB, "u1"), 1, 1000),
    "sorted numbers": (np.sort(SOURCE.integers(0, 10**9, MIB // 8)), 8, 2.5),
    "small numbers": (SOURCE.integers(0, 9999, MIB // 8), 8, 3.5),
    "walk": (SOURCE.standard_normal(MIB // 8).cumsum(), 8, 1.2),
    "mostly zeros": (np.where(SOURCE.random(MIB // 4) < 0.1, SOURCE.random(MIB // 4), 0).astype("f4"), 4, 4),
    "text": (np.frombuffer(b" ".join(b"item_%d" % (i % 997) for i in range(MIB // 9)), "u1")[:MIB], 1, 3),
}


@pytest.mark.parametrize("name", DATA)
def test_what_shrinks_is_stored_smaller(name):
    """Each kind of data reaches the ratio that the right filter gives."""
    array, itemsize, ratio = DATA[name]
    memory = memory_of(array)
    kind, stored = Compressor(itemsize).compress(memory)
    assert kind == BLOSC2
    assert memory.nbytes / len(stored) > ratio
    assert round_trip(kind, stored, memory.nbytes) == memory


def test_noise_is_stored_as_it_is():
    """What compression would not shrink by a tenth is kept plain, without a copy."""
    memory = memoryview(random.Random(1).randbytes(MIB))
    for itemsize in (1, 4, 8):
        kind, stored = Compressor(itemsize).compress(memory)
        assert kind == NONE
        assert stored is memory


def test_a_part_that_changes_its_nature_is_still_right():
    """The method chosen for the first chunks never makes a later one wrong, or larger than plain."""
    compressor = Compressor(8)
    parts = [
        DATA["walk"][0],
        np.frombuffer(random.Random(2).randbytes(MIB)),
        np.zeros(MIB // 8),
        DATA["small numbers"][0],
    ]
    for array in parts * 10:
        memory = memory_of(array)
        kind, stored = compressor.compress(memory)
        assert len(stored) <= memory.nbytes
        assert round_trip(kind, stored, memory.nbytes) == memory


@pytest.mark.parametrize("length", [1, 31, 127, 128, 129, 1000, 65_535, 65_536, 65_537, MIB])
@pytest.mark.parametrize("itemsize", [1, 2, 7, 8, 255, 256])
def test_any_length_and_item_size(length, itemsize):
    """Lengths that are no multiple of the item size, and items that blosc2 does not know, come back."""
    plain = memoryview((b"\x00\x01\x02\x03" * (length // 4 + 1))[:length])
    kind, stored = Compressor(itemsize).compress(plain)
    assert round_trip(kind, stored, length) == plain


def test_damaged_bytes_are_an_error_or_other_bytes_but_nothing_else():
    """Flipping bits of compressed bytes never writes outside of the target, and never ends the process."""
    array, itemsize, _ = DATA["small numbers"]
    plain = memory_of(array)[:20_000]
    kind, stored = Compressor(itemsize).compress(plain)
    assert kind == BLOSC2
    source = random.Random(4)
    for _ in range(3000):
        bad = bytearray(stored)
        bad[source.randrange(min(len(bad), 200))] ^= 1 << source.randrange(8)
        arena = memoryview(bytearray(b"\xaa" * 24_000))
        try:
            decompress_into(kind, bytes(bad), arena[2000:22_000])
        except IntegrityError:
            pass
        assert bytes(arena[:2000]) + bytes(arena[22_000:]) == b"\xaa" * 4000


def test_a_target_of_another_length_or_without_writing_is_refused():
    """The length in the header must be that of the target; read-only memory is never written."""
    kind, stored = Compressor(1).compress(memoryview(bytes(1000)))
    for target in (memoryview(bytearray(999)), memoryview(bytearray(1001)), memoryview(bytes(1000))):
        with pytest.raises(IntegrityError):
            decompress_into(kind, stored, target)
    with pytest.raises(IntegrityError):
        decompress_into(NONE, b"12345", memoryview(bytearray(4)))


def test_compression_starts_no_thread_and_is_loaded_only_when_needed():
    """Importing the repository leaves blosc2 out, and a compression adds no thread of the system."""
    code = """
import os, sys
import keepstate._repository as r
assert "blosc2" not in sys.modules
r.load_compression()
before = len(os.listdir("/proc/self/task"))
from keepstate._repository.compression import Compressor, decompress_into
kind, stored = Compressor(8).compress(memoryview(bytes(1 << 20)))
decompress_into(kind, stored, memoryview(bytearray(1 << 20)))
assert len(os.listdir("/proc/self/task")) == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert compression.NONE == 0
