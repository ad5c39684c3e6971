"""Names what a save would store, and stores nothing: the same ids, from the same cuts.

So can what is alive be compared with what is kept by ids alone, before or without a save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from keepstate._repository.chunk import chunk_id
from keepstate._repository.chunk_list import expand, store_list
from keepstate._repository.fingerprint import cut_by_content
from keepstate._repository.writer import RECORD_LEAST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._model.manifest import Ref
    from keepstate._repository.chunk_list import Leaf
    from keepstate._repository.fingerprint import Piece


class Naming:
    """Gives ids like a writer, and remembers what has them."""

    def __init__(self) -> None:
        self._lists: dict[bytes, bytes] = {}
        self._chunks: dict[bytes, memoryview] = {}

    def put(self, pieces: Iterable[tuple[Piece, memoryview]]) -> Ref:
        """Name the bytes that *pieces* make up.

        Args:
            pieces: Each with its memory, which must stay as it is while this is asked.
        """
        leaves: list[Leaf] = []
        for piece, memory in pieces:
            own = piece.id or chunk_id(memory)
            self._chunks[own] = memory
            leaves.append((own, piece.length))
        return store_list(leaves, put=self._put)

    def put_record(self, record: msgspec.Struct) -> bytes:
        """Name a record."""
        raw = memoryview(msgspec.msgpack.encode(record))
        leaves = [(chunk_id(piece), piece.nbytes) for piece in cut_by_content(raw, least=RECORD_LEAST_BYTES)]
        return store_list(leaves, put=self._put).id

    def _put(self, data: bytes) -> bytes:
        own = chunk_id(data)
        self._lists[own] = data
        return own

    def leaves(self, ref: Ref) -> list[Leaf]:
        """Give id and length of the chunks of a ref."""
        return expand(ref, self._lists.__getitem__).leaves

    def chunk(self, own_id: bytes) -> memoryview | None:
        """Give the bytes of a chunk; ``None`` for one that was not named here."""
        return self._chunks.get(own_id)
