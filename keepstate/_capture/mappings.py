"""The mappings of this process: which memory a fork freezes, and which it does not.

A fork freezes private anonymous memory. Memory that is mapped shared (``np.memmap`` mode r+,
``multiprocessing.shared_memory``) goes on changing, and so do pages of a mapped file that nobody has
written to. Source: proc(5), ``/proc/pid/maps``.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from keepstate._capture.kept_gil import libc

if TYPE_CHECKING:
    from collections.abc import Iterable

Range = tuple[int, int]
"""A half-open interval of addresses, ``[start, end)``."""


class Mapping(NamedTuple):
    """One line of the table."""

    start: int
    end: int
    frozen: bool
    """Whether a fork freezes it: private, and not of a file."""


class Mappings:
    """The table as it was when it was read."""

    def __init__(self, mappings: list[Mapping]) -> None:
        self._mappings = mappings
        self._starts = [mapping.start for mapping in mappings]

    @staticmethod
    def read() -> Mappings:
        """Read the table of this process; raises OSError where there is none."""
        with open("/proc/self/maps", "rb") as table:
            return Mappings([_parse(line) for line in table])

    def frozen(self, start: int, end: int) -> bool:
        """Whether all of ``[start, end)`` is mapped and frozen by a fork."""
        return start >= end or sum(
            stop - begin for begin, stop, frozen in self._in(start, end) if frozen
        ) == (end - start)

    def unfrozen(self, start: int, end: int) -> list[Range]:
        """The parts of ``[start, end)`` that are mapped and go on changing after a fork."""
        return [(begin, stop) for begin, stop, frozen in self._in(start, end) if not frozen]

    def _in(self, start: int, end: int) -> list[Mapping]:
        found = []
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._mappings) and self._mappings[index].start < end:
            mapping = self._mappings[index]
            begin, stop = max(start, mapping.start), min(end, mapping.end)
            if begin < stop:
                found.append(Mapping(begin, stop, mapping.frozen))
            index += 1
        return found


def _parse(line: bytes) -> Mapping:
    addresses, permissions, _offset, _device, inode = line.split(None, 5)[:5]
    start, end = addresses.split(b"-")
    return Mapping(int(start, 16), int(end, 16), permissions[3:4] == b"p" and inode == b"0")


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sort *ranges* and join those that touch.

    >>> merge([(5, 7), (1, 3), (3, 4), (6, 9)])
    ((1, 4), (5, 9))
    """
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


def private_mappings(process: int) -> tuple[Range, ...]:
    """Read which mappings of *process* a fork freezes, by address; none if it has ended."""
    try:
        with open(f"/proc/{process}/maps", "rb") as table:
            mappings = [_parse(line) for line in table]
    except OSError:
        return ()
    return tuple((mapping.start, mapping.end) for mapping in mappings if mapping.frozen)


class _Buffer(ctypes.Structure):
    """``Py_buffer``; only two fields are read. Source: ``Include/pybuffer.h``, stable ABI since 3.11."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def range_of(memory: memoryview) -> Range:
    """Find where contiguous *memory* lies; also if it is read-only, which ``from_buffer`` refuses."""
    buffer = _Buffer()
    library = libc()
    if library.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(buffer), 0):
        raise BufferError("this memory cannot be shown")  # PyDLL has raised Python's own error before
    try:
        return (buffer.buf or 0, (buffer.buf or 0) + buffer.len)
    finally:
        library.PyBuffer_Release(ctypes.byref(buffer))
