"""The two sides of a comparison: a kept snapshot, or what a snapshot of live values would hold.

Both give records, refs and chunks by the same ids, so that what compares them need not know which is which.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from keepstate import codecs
from keepstate._model.manifest import Entry, PartRecord, Ref
from keepstate._repository import Naming, fingerprint_pieces, fingerprint_stream, piece_ends
from keepstate._snapshot.saver import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from keepstate._model.manifest import GroupRecord, Manifest
    from keepstate._model.parts import EncodedGroup
    from keepstate._repository import Repository


class Side(Protocol):
    """One of two states."""

    @property
    def id(self) -> str:
        """Of the snapshot, or ``now``."""
        ...

    @property
    def names(self) -> Mapping[str, Entry]:
        """name → where its value is."""
        ...

    @property
    def skipped(self) -> Mapping[str, str]:
        """name → why it is not among them."""
        ...

    def record(self, record_id: bytes) -> GroupRecord:
        """Give the record of a group; raises IntegrityError or StoreError."""
        ...

    def leaves(self, ref: Ref) -> list[tuple[bytes, int]]:
        """Give id and length of each chunk; raises likewise."""
        ...

    def chunk(self, own_id: bytes, length: int) -> bytes | memoryview:
        """Give the bytes of a chunk; raises likewise."""
        ...


class KeptSide:
    """A snapshot that is kept.

    Args:
        repository: Where it is.
        manifest: Of the snapshot.
    """

    def __init__(self, repository: Repository, manifest: Manifest) -> None:
        self._repository = repository
        self._member = manifest.member
        self.id = manifest.id
        self.names: Mapping[str, Entry] = manifest.names
        self.skipped: Mapping[str, str] = manifest.skipped
        self._records: dict[bytes, GroupRecord] = {}

    def record(self, record_id: bytes) -> GroupRecord:
        """Give the record of a group."""
        if record_id not in self._records:
            self._records[record_id] = self._repository.group(record_id, member=self._member)
        return self._records[record_id]

    def leaves(self, ref: Ref) -> list[tuple[bytes, int]]:
        """Give id and length of each chunk."""
        return self._repository.leaves(ref, member=self._member)

    def chunk(self, own_id: bytes, length: int) -> bytes | memoryview:
        """Give the bytes of a chunk."""
        return self._repository.read(Ref(length, own_id), member=self._member)


class LiveSide:
    """What a snapshot of these values would hold; nothing is written. They must stand still meanwhile.

    Args:
        bindings: name → live value.
        namespace: The user's globals, for what a definition refers to.
        repository: Holds what is not here but carried.
        carried: Names that have not been brought back → where their value is kept.
        member: Whose they are.
        known: Fingerprints of the last snapshot → chunk id.
        seed: Of the fingerprints.
        grouped: Names that shared objects the last time.
        refuse: Names not to be tried, because encoding them hung before.
        positions: Where the user's open files stand.
        left_out: Names that the selection itself left out → why.
        progress: Told which name is looked at, and how many bytes are behind.
    """

    id = "now"

    def __init__(
        self,
        bindings: Mapping[str, object],
        *,
        namespace: Mapping[str, object],
        repository: Repository,
        member: str,
        carried: Mapping[str, Entry],
        known: Mapping[bytes, bytes],
        seed: int,
        grouped: Collection[frozenset[str]] = (),
        refuse: Collection[str] = (),
        positions: codecs.Positions = codecs.NO_POSITIONS,
        left_out: Mapping[str, str],
        progress: Callable[[str, int], None] = lambda _name, _bytes: None,
    ) -> None:
        self._repository = repository
        self._member = member
        self._known = known
        self._seed = seed
        self._naming = Naming()
        self._records: dict[bytes, GroupRecord] = {}
        self._refs: set[Ref] = set()
        self.names: dict[str, Entry] = dict(carried)
        encoding = codecs.encode(
            bindings,
            namespace=namespace,
            grouped=grouped,
            refuse=refuse,
            positions=positions,
            on_name=lambda name: progress(name, 0),
        )
        self.skipped: Mapping[str, str] = {**left_out, **encoding.skipped}
        ids: dict[str, bytes] = {}
        done = 0
        for group in encoding.groups:
            ids[group.key] = self._take(group, ids)
            done += group.logical_bytes
            progress(group.key, done)

    def _take(self, group: EncodedGroup, ids: Mapping[str, bytes]) -> bytes:
        stream = memoryview(group.stream)
        cut = fingerprint_stream(group.stream, seed=self._seed, known=self._known)
        ends = _ends([piece.length for piece in cut])
        stream_ref = self._naming.put(
            (piece, stream[start:stop]) for piece, (start, stop) in zip(cut, pairwise(ends), strict=True)
        )
        parts = []
        for part in group.parts:
            pieces = fingerprint_pieces(
                part.memory, row_bytes=part.row_bytes, seed=self._seed, known=self._known
            )
            places = pairwise([0, *piece_ends(part.memory.nbytes, row_bytes=part.row_bytes)])
            ref = self._naming.put(
                (piece, part.memory[start:stop]) for piece, (start, stop) in zip(pieces, places, strict=True)
            )
            parts.append(PartRecord(ref, part.itemsize, part.writable))
        needs = {key: ids[key] for key in group.needs}
        record = record_of(group.key, group.members, needs, stream_ref, parts)
        own = self._naming.put_record(record)
        self._records[own] = record
        self._refs.update([stream_ref, *(part.ref for part in parts)])
        for member in group.members:
            if member.role == "variable":
                self.names[member.name] = Entry(own, member.type, group.logical_bytes)
        return own

    def record(self, record_id: bytes) -> GroupRecord:
        """Give the record of a group."""
        found = self._records.get(record_id)
        return self._repository.group(record_id, member=self._member) if found is None else found

    def leaves(self, ref: Ref) -> list[tuple[bytes, int]]:
        """Give id and length of each chunk."""
        if ref in self._refs:
            return self._naming.leaves(ref)
        return self._repository.leaves(ref, member=self._member)

    def chunk(self, own_id: bytes, length: int) -> bytes | memoryview:
        """Give the bytes of a chunk."""
        found = self._naming.chunk(own_id)
        return self._repository.read(Ref(length, own_id), member=self._member) if found is None else found


def _ends(lengths: list[int]) -> list[int]:
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return ends
