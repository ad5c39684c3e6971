"""Which chunks a manifest needs: its groups, their streams and parts, and the lists between.

Knows the records of the format, not files. A group that was walked once is not walked again. Nothing here
raises for damage: what cannot be followed is reported beside what can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from keepstate._model.manifest import GroupRecord, Manifest, Ref
from keepstate._repository.chunk_list import expand, ref_of_list
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from keepstate._repository.reader import ChunkReader


_DECODER = msgspec.msgpack.Decoder(GroupRecord)


@dataclass(frozen=True, slots=True)
class Reached:
    """What one group or ref needs, itself included."""

    chunks: Mapping[bytes, int]
    """Chunk id → plain length."""
    needs: tuple[bytes, ...] = ()
    """Ids of the records of other groups."""
    damage: str = ""
    """Why the rest could not be followed; empty if all was."""


def decode_group(raw: bytes) -> GroupRecord:
    """Read a group's record.

    Raises:
        IntegrityError: These bytes are none.
    """
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise IntegrityError(f"the record of a group holds something else: {error}") from error


class Reach:
    """Follows manifests to their chunks.

    Args:
        reader: Gives the checked bytes of chunks.
    """

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._groups: dict[bytes, Reached] = {}
        self._refs: dict[Ref, Reached] = {}

    def forget_damage(self) -> None:
        """Try again, when next asked, what could not be followed."""
        self._groups = {own: found for own, found in self._groups.items() if not found.damage}
        self._refs = {ref: found for ref, found in self._refs.items() if not found.damage}

    def roots(self, manifest: Manifest) -> tuple[list[bytes], list[Ref]]:
        """Records and refs that a manifest names."""
        groups = [entry.group for entry in manifest.names.values()]
        refs = [ref for ref in (manifest.random, manifest.cells) if ref is not None]
        return [*manifest.definitions.values(), *groups], refs

    def chunks(self, manifests: Iterable[Manifest]) -> tuple[dict[bytes, int], set[str]]:
        """Give all chunks that *manifests* need, and what could not be followed.

        The chunks are in the order in which restoring asks for them: definitions, then name after name, of
        each its record, lists, stream and parts.
        """
        found: dict[bytes, int] = {}
        damage: set[str] = set()
        seen: set[bytes] = set()
        for manifest in manifests:
            groups, refs = self.roots(manifest)
            reached = [self.ref(ref) for ref in refs]
            reached += self.groups(groups, seen=seen)
            for each in reached:
                found.update(each.chunks)
                if each.damage:
                    damage.add(each.damage)
        return found, damage

    def groups(self, ids: Iterable[bytes], *, seen: set[bytes] | None = None) -> Iterator[Reached]:
        """Walk groups with all that they need, each once; those in *seen* not at all."""
        seen = set() if seen is None else seen
        waiting = list(ids)[::-1]
        while waiting:
            group_id = waiting.pop()
            if group_id in seen:
                continue
            seen.add(group_id)
            reached = self.group(group_id)
            waiting += reached.needs[::-1]
            yield reached

    def group(self, group_id: bytes) -> Reached:
        """Walk one group, without those that it needs."""
        if group_id not in self._groups:
            self._groups[group_id] = self._walk(group_id)
        return self._groups[group_id]

    def _walk(self, group_id: bytes) -> Reached:
        chunks: dict[bytes, int] = {group_id: 0}
        try:
            raw = self._reader.chunk(group_id)
            chunks[group_id] = len(raw)
            ref = ref_of_list(raw, group_id)
            if ref is not None:
                reached = self.ref(ref)
                chunks.update(reached.chunks)
                raw = self._reader.read(ref)
            record = decode_group(raw)
        except IntegrityError as error:
            return Reached(chunks, damage=str(error))
        damage = ""
        for each in (record.stream, *(part.ref for part in record.parts)):
            reached = self.ref(each)
            chunks.update(reached.chunks)
            damage = damage or reached.damage
        return Reached(chunks, tuple(record.needs.values()), damage)

    def ref(self, ref: Ref) -> Reached:
        """Walk the lists of one ref."""
        if ref.length and ref.depth == 0:
            return Reached({ref.id: ref.length})
        if ref not in self._refs:
            try:
                expanded = expand(ref, self._reader.chunk)
                lists = {own: self._reader.length(own) for own in expanded.lists}
                self._refs[ref] = Reached({**lists, **dict(expanded.leaves)})
            except IntegrityError as error:
                self._refs[ref] = Reached({ref.id: 0} if ref.id else {}, damage=str(error))
        return self._refs[ref]
