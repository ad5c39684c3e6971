"""Which chunks a manifest needs: what says its names, its groups, their streams and parts, and all lists.

Knows the records of the format, not files. What was walked once is not walked again. Nothing here
raises for damage: what cannot be followed is reported beside what can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from keepstate._model.manifest import GroupRecord, Head, Manifest, Ref
from keepstate._repository.apart import decode_contents, decode_rows
from keepstate._repository.chunk_list import expand, ref_of_list
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from keepstate._repository.reader import ChunkReader


_DECODER = msgspec.msgpack.Decoder(GroupRecord)


class Step(NamedTuple):
    """A record that something names, and as what it does."""

    kind: Literal["group", "contents", "run"]
    id: bytes


@dataclass(frozen=True, slots=True)
class Reached:
    """What one record or ref needs, itself included."""

    chunks: Mapping[bytes, int]
    """Chunk id → plain length; 0: not known."""
    needs: tuple[Step, ...] = ()
    """Other records."""
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
        remember: Whether records are kept once they were walked: needed by who comes to one more than once.
    """

    def __init__(self, reader: ChunkReader, *, remember: bool) -> None:
        self._reader = reader
        self._remember = remember
        self._records: dict[Step, Reached] = {}
        self._refs: dict[Ref, Reached] = {}

    def forget_damage(self) -> None:
        """Try again, when next asked, what could not be followed."""
        self._records = {step: found for step, found in self._records.items() if not found.damage}
        self._refs = {ref: found for ref, found in self._refs.items() if not found.damage}

    def roots(self, head: Head) -> tuple[list[Step], list[Ref]]:
        """Records and refs that a manifest names."""
        refs = [ref for ref in (head.random, head.cells) if ref is not None]
        if head.apart is not None:
            return [Step("contents", head.apart.contents)], refs
        return groups_of(head), refs

    def chunks(self, heads: Iterable[Head]) -> tuple[dict[bytes, int], set[str]]:
        """Give all chunks that manifests need, and what could not be followed.

        The chunks are in the order in which restoring asks for them: where the names are, definitions, then
        name after name, of each its record, lists, stream and parts.
        """
        found: dict[bytes, int] = {}
        damage: set[str] = set()
        seen: set[Step] = set()
        for head in heads:
            steps, refs = self.roots(head)
            reached = [self.ref(ref) for ref in refs]
            reached += (each for _, each in self.walk(steps, seen=seen))
            for each in reached:
                found.update(each.chunks)
                if each.damage:
                    damage.add(each.damage)
        return found, damage

    def walk(self, steps: Iterable[Step], *, seen: set[Step]) -> Iterator[tuple[Step, Reached]]:
        """Walk records with all that they need, each once; those in *seen* not at all."""
        waiting = list(steps)[::-1]
        while waiting:
            step = waiting.pop()
            if step in seen:
                continue
            seen.add(step)
            reached = self.record(step)
            if step.kind == "run":
                waiting[:0] = reached.needs[::-1]  # nobody can begin to restore before all runs are there
            else:
                waiting += reached.needs[::-1]
            yield step, reached

    def record(self, step: Step) -> Reached:
        """Walk one record, without those that it needs."""
        found = self._records.get(step)
        if found is None:
            found = self._walk(step)
            if self._remember:
                self._records[step] = found
        return found

    def _walk(self, step: Step) -> Reached:
        chunks: dict[bytes, int] = {step.id: 0}
        try:
            raw = self._reader.chunk(step.id)
            chunks[step.id] = len(raw)
            ref = ref_of_list(raw, step.id)
            if ref is not None:
                reached = self.ref(ref)
                chunks.update(reached.chunks)
                raw = self._reader.read(ref)
            if step.kind == "contents":
                contents = decode_contents(raw)
                runs = [Step("run", run.rows) for run in contents.runs]
                return Reached(chunks, (*runs, *_groups(contents.definitions.values())))
            if step.kind == "run":
                return Reached(chunks, _groups(row.group for row in decode_rows(raw)))
            record = decode_group(raw)
        except IntegrityError as error:
            return Reached(chunks, damage=str(error))
        damage = ""
        for each in (record.stream, *(part.ref for part in record.parts)):
            reached = self.ref(each)
            chunks.update(reached.chunks)
            damage = damage or reached.damage
        return Reached(chunks, _groups(record.needs.values()), damage)

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


def groups_of(head: Head) -> list[Step]:
    """Give the groups that a manifest names itself, definitions first."""
    if not isinstance(head, Manifest):
        return []
    names = (entry.group for entry in head.names.values())
    return [*_groups(head.definitions.values()), *_groups(names)]


def _groups(ids: Iterable[bytes]) -> tuple[Step, ...]:
    return tuple(Step("group", own) for own in ids)
