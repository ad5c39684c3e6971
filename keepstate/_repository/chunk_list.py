"""Bytes longer than one chunk: lists of chunk ids, which are chunks themselves.

Two levels at most. *Even* lists are for bytes that were cut into leaves of one length: a change in one chunk
of an 8 GB array writes that chunk, one list (32 KiB) and the list of lists. *Uneven* lists say the length of
each leaf, and are themselves cut where an id says so, so that a leaf more or less changes one of them. A list
says the length of what it covers, so it can be checked and read from its id alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from keepstate._model.manifest import ID_BYTES, Ref
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LIST_LENGTH = 1024
"""Ids in one list, at most."""
SHORTEST = 32
"""Ids in an uneven list, at least, unless it is the last."""
ENDS_BELOW = 4
"""First byte of an id below which its uneven list ends: 64 ids further on average, so 96 in all (4 KiB)."""

MAGIC = b"kLST"
"""No record begins so: the first byte of a msgpack map is 0x80 or higher."""
_HEADER = struct.Struct("<4sB3xIIQ8x")
"""Magic, depth, leaf length, count, covered length; 32 bytes with what is reserved."""
UNEVEN = 0
"""Leaf length of lists whose leaves have lengths of their own; readers of older formats refuse it."""
_LENGTH_BYTES = 8

Leaf = tuple[bytes, int]
"""Id and plain length of a chunk that holds bytes; or id of a list, and the length that it covers."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """All chunks of one ref."""

    lists: list[bytes]
    """Ids of the chunks that hold lists."""
    leaves: list[Leaf]
    """The chunks that hold the bytes, in order."""


def store_list(leaves: Sequence[Leaf], *, put: Callable[[bytes], bytes]) -> Ref:
    """Make the ref of the bytes that *leaves* hold.

    Args:
        leaves: The chunks in order, each of 1 byte to 1 MiB.
        put: Stores a chunk and returns its id.

    Raises:
        InvalidInputError: There are more than two levels of lists can hold.
    """
    length = sum(each for _, each in leaves)
    if len(leaves) <= 1:
        return Ref(length, leaves[0][0] if leaves else b"", 0)
    leaf_bytes = _common_length(leaves)
    inner = [
        (put(_encode(1, leaf_bytes, each)), sum(own for _, own in each))
        for each in _split(leaves, leaf_bytes)
    ]
    if len(inner) == 1:
        return Ref(length, inner[0][0], 1)
    return Ref(length, put(_encode(2, leaf_bytes, inner)), 2)


def _common_length(leaves: Sequence[Leaf]) -> int:
    first, last = leaves[0][1], leaves[-1][1]
    return first if last <= first and all(each == first for _, each in leaves[:-1]) else UNEVEN


def _split(leaves: Sequence[Leaf], leaf_bytes: int) -> list[Sequence[Leaf]]:
    """Share *leaves* out among at most 1024 lists of at most 1024."""
    if leaf_bytes != UNEVEN:
        ends = [*range(LIST_LENGTH, len(leaves), LIST_LENGTH), len(leaves)]
    else:
        # Very many leaves need longer lists; they change as a whole then, once for each doubling.
        shortest = SHORTEST
        while len(ends := list(_ends(leaves, shortest))) > LIST_LENGTH and shortest < LIST_LENGTH:
            shortest *= 2
    if len(ends) > LIST_LENGTH:
        raise InvalidInputError(f"bytes in more than {LIST_LENGTH**2} chunks cannot be kept")
    return [leaves[start:stop] for start, stop in pairwise([0, *ends])]


def _ends(leaves: Sequence[Leaf], shortest: int) -> Iterator[int]:
    start = 0
    for stop, (own, _) in enumerate(leaves, start=1):
        count = stop - start
        if count == LIST_LENGTH or (count >= shortest and own[0] < ENDS_BELOW) or stop == len(leaves):
            yield stop
            start = stop


def expand(ref: Ref, read: Callable[[bytes], bytes]) -> Expanded:
    """Read the lists of *ref*.

    Args:
        ref: What to expand.
        read: Gives the checked bytes of a chunk.

    Raises:
        IntegrityError: A list is missing, or does not cover exactly what it must.
    """
    if ref.length == 0 or ref.depth == 0:
        if (ref.length == 0) != (ref.id == b"") or ref.depth or ref.length > CHUNK_BYTES:
            raise IntegrityError("a reference to bytes is not possible")
        return Expanded([], [(ref.id, ref.length)] if ref.length else [])
    if len(ref.id) != ID_BYTES:
        raise IntegrityError("a reference to bytes is not possible")
    leaf_bytes, found = _decode(read(ref.id), depth=ref.depth, length=ref.length)
    if ref.depth == 1:
        return Expanded([ref.id], found)
    lists, leaves = [ref.id], []
    for list_id, length in found:
        inner_bytes, inner = _decode(read(list_id), depth=1, length=length)
        if inner_bytes != leaf_bytes:
            raise IntegrityError("the lists of one part differ in the length of their leaves")
        lists.append(list_id)
        leaves += inner
    return Expanded(lists, leaves)


def ref_of_list(raw: bytes, list_id: bytes) -> Ref | None:
    """Give the ref of a chunk that is a list; ``None`` for one that begins otherwise."""
    if not raw.startswith(MAGIC):
        return None
    if len(raw) < _HEADER.size:
        raise IntegrityError("a list of chunks is too short")
    _, depth, _, _, length = _HEADER.unpack_from(raw)
    if depth not in (1, 2) or not 1 <= length <= 2**40:
        raise IntegrityError("a list of chunks is damaged")
    return Ref(length, list_id, depth)


def _encode(depth: int, leaf_bytes: int, leaves: Sequence[Leaf]) -> bytes:
    lengths = [length for _, length in leaves]
    header = _HEADER.pack(MAGIC, depth, leaf_bytes, len(leaves), sum(lengths))
    table = struct.pack(f"<{len(lengths)}Q", *lengths) if leaf_bytes == UNEVEN else b""
    return header + b"".join(own for own, _ in leaves) + table


def _decode(raw: bytes, *, depth: int, length: int) -> tuple[int, list[Leaf]]:
    if len(raw) < _HEADER.size:
        raise IntegrityError("a list of chunks is too short")
    magic, own_depth, leaf_bytes, count, covered = _HEADER.unpack_from(raw)
    possible = magic == MAGIC and own_depth == depth and covered == length and leaf_bytes <= CHUNK_BYTES
    if not possible or not 1 <= count <= LIST_LENGTH:
        raise IntegrityError("a list of chunks does not cover what it must")
    end = _HEADER.size + count * ID_BYTES
    if len(raw) != end + (count * _LENGTH_BYTES if leaf_bytes == UNEVEN else 0):
        raise IntegrityError("a list of chunks has the wrong length")
    most = CHUNK_BYTES if depth == 1 else CHUNK_BYTES * LIST_LENGTH
    if leaf_bytes == UNEVEN:
        lengths = list(struct.unpack_from(f"<{count}Q", raw, end))
    else:
        span = leaf_bytes * (LIST_LENGTH if depth == 2 else 1)
        lengths = [span] * (count - 1) + [length - span * (count - 1)]
        most = span
    if sum(lengths) != length or not all(1 <= each <= most for each in lengths):
        raise IntegrityError("a list of chunks does not cover what it must")
    return leaf_bytes, [
        (raw[at : at + ID_BYTES], each)
        for at, each in zip(range(_HEADER.size, end, ID_BYTES), lengths, strict=True)
    ]
