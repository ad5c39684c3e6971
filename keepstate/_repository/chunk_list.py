"""Bytes longer than one chunk: lists of chunk ids, which are chunks themselves.

Two levels at most. A change in one chunk of an 8 GB array writes that chunk, one list (32 KiB) and the list
of lists. A list says the length of what it covers and of its leaves, so it can be checked and read from its
id alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._model.manifest import ID_BYTES, Ref
from keepstate._repository.fingerprint import CHUNK_BYTES
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIST_LENGTH = 1024
"""Ids in one list, at most."""

MAGIC = b"kLST"
"""No record begins so: the first byte of a msgpack map is 0x80 or higher."""
_HEADER = struct.Struct("<4sB3xIIQ8x")
"""Magic, depth, leaf length, count, covered length; 32 bytes with what is reserved."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """All chunks of one ref."""

    lists: list[bytes]
    """Ids of the chunks that hold lists."""
    leaves: list[tuple[bytes, int]]
    """Id and plain length of the chunks that hold the bytes, in order."""


def store_list(
    leaves: Sequence[bytes], *, length: int, leaf_bytes: int, put: Callable[[bytes], bytes]
) -> Ref:
    """Make the ref of *length* bytes held by *leaves*.

    Args:
        leaves: Chunk ids in order.
        length: Bytes of all leaves together.
        leaf_bytes: Length of every leaf but the last.
        put: Stores a chunk and returns its id.
    """
    if len(leaves) <= 1:
        return Ref(length, leaves[0] if leaves else b"", 0)
    span = leaf_bytes * LIST_LENGTH
    lists = [
        put(
            _encode(
                1, leaf_bytes, min(span, length - start * leaf_bytes), leaves[start : start + LIST_LENGTH]
            )
        )
        for start in range(0, len(leaves), LIST_LENGTH)
    ]
    if len(lists) == 1:
        return Ref(length, lists[0], 1)
    return Ref(length, put(_encode(2, leaf_bytes, length, lists)), 2)


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
    leaf_bytes, ids = _decode(read(ref.id), depth=ref.depth, length=ref.length)
    if ref.depth == 1:
        return Expanded([ref.id], _with_lengths(ids, leaf_bytes, ref.length))
    lists, leaves, span = [ref.id], [], leaf_bytes * LIST_LENGTH
    for number, list_id in enumerate(ids):
        length = min(span, ref.length - number * span)
        inner_bytes, inner = _decode(read(list_id), depth=1, length=length)
        if inner_bytes != leaf_bytes:
            raise IntegrityError("the lists of one part differ in the length of their leaves")
        lists.append(list_id)
        leaves += _with_lengths(inner, leaf_bytes, length)
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


def _with_lengths(ids: Sequence[bytes], leaf_bytes: int, length: int) -> list[tuple[bytes, int]]:
    last = length - leaf_bytes * (len(ids) - 1)
    return [(own, leaf_bytes) for own in ids[:-1]] + [(ids[-1], last)]


def _encode(depth: int, leaf_bytes: int, length: int, ids: Sequence[bytes]) -> bytes:
    return _HEADER.pack(MAGIC, depth, leaf_bytes, len(ids), length) + b"".join(ids)


def _decode(raw: bytes, *, depth: int, length: int) -> tuple[int, list[bytes]]:
    if len(raw) < _HEADER.size:
        raise IntegrityError("a list of chunks is too short")
    magic, own_depth, leaf_bytes, count, covered = _HEADER.unpack_from(raw)
    possible = magic == MAGIC and own_depth == depth and covered == length and 1 <= leaf_bytes <= CHUNK_BYTES
    span = leaf_bytes * (LIST_LENGTH if depth == 2 else 1)
    if not possible or not 1 <= count <= LIST_LENGTH or count != -(-length // span):
        raise IntegrityError("a list of chunks does not cover what it must")
    if len(raw) != _HEADER.size + count * ID_BYTES:
        raise IntegrityError("a list of chunks has the wrong length")
    return leaf_bytes, [raw[at : at + ID_BYTES] for at in range(_HEADER.size, len(raw), ID_BYTES)]
