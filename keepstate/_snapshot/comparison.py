"""What differs between two states, name by name, told by ids wherever that is enough.

Equal group ids are equal values. Where they differ, streams and parts may still be equal (only a definition
that they use is another), or hold the same values in other bytes; and a group of several names may differ in
some of them. That is told by outlines (``codecs/_outline.py``): nothing is decoded, bound or called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate import codecs
from keepstate._model.diff import Change
from keepstate._model.folders import FOLDER_CODEC, is_folder_name
from keepstate._snapshot.saver import CODEC
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._model.facts import Facts
    from keepstate._model.manifest import Entry, GroupRecord, PartRecord
    from keepstate._snapshot.sides import Side

OUTLINE_BYTES = 256 << 20
"""Longest stream whose outline is made: it takes the memory of what it holds, and a second per 20 MB."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it."""

    changes: list[Change]
    unchanged: int
    unknown: dict[str, str]


def compare(a: Side, b: Side, names: Iterable[str] = ()) -> Compared:
    """Compare two states.

    Args:
        a: The earlier one.
        b: The later one.
        names: Which; none: all that are in either.
    """
    wanted = sorted(set(names) or {*a.names, *b.names, *a.skipped, *b.skipped})
    work = _Comparison(a, b)
    changes: list[Change] = []
    unknown: dict[str, str] = {}
    unchanged = 0
    for name in wanted:
        why = _why_unknown(a, b, name)
        if why is None:
            try:
                change = work.change(name)
            except (IntegrityError, StoreError) as error:
                why = str(error)
        if why is not None:
            unknown[name] = why
        elif change is None:
            unchanged += 1
        else:
            changes.append(change)
    return Compared(changes, unchanged, unknown)


def _why_unknown(a: Side, b: Side, name: str) -> str | None:
    for side in (a, b):
        if name not in side.names and name in side.skipped:
            said = "cannot be kept now" if side.id == "now" else f"was not kept in {side.id[:10]}"
            return f"it {said}: {side.skipped[name]}"
    return None


class _Comparison:
    def __init__(self, a: Side, b: Side) -> None:
        self._a = a
        self._b = b
        self._outlines: dict[tuple[bool, bytes], codecs.Outline | None] = {}
        self._definitions: dict[tuple[bytes, bytes], bool] = {}
        self._leaves: dict[bytes, dict[bytes, int]] = {}

    def change(self, name: str) -> Change | None:
        """Say what has become of one name; ``None``: nothing."""
        before, after = self._a.names.get(name), self._b.names.get(name)
        if before is None:
            return None if after is None else self._one_sided(name, self._b, after, added=True)
        if after is None:
            return self._one_sided(name, self._a, before, added=False)
        if before.group == after.group:
            return None
        return self._changed(name, before, after)

    def _one_sided(self, name: str, side: Side, entry: Entry, *, added: bool) -> Change:
        record = side.record(entry.group)
        facts, shares = _facts(record, name), _others(record, name)
        if added:
            return Change(
                name,
                "added",
                type_after=entry.type,
                after=facts,
                bytes_after=entry.logical_bytes,
                bytes_differing=entry.logical_bytes,
                shares=shares,
            )
        return Change(
            name,
            "removed",
            type_before=entry.type,
            before=facts,
            bytes_before=entry.logical_bytes,
            bytes_differing=entry.logical_bytes,
            shares=shares,
        )

    def _changed(self, name: str, before: Entry, after: Entry) -> Change | None:
        old, new = self._a.record(before.group), self._b.record(after.group)
        notes: tuple[str, ...] = ()
        if before.type != after.type:
            pass  # rebound, whatever the bytes say
        elif not is_folder_name(name):
            told = self._told(name, before, after, old, new)
            if told is None:
                return None
            notes = told
        elif _same_bytes(old, new):
            return None
        return Change(
            name,
            "changed" if before.type == after.type else "rebound",
            type_before=before.type,
            type_after=after.type,
            before=_facts(old, name),
            after=_facts(new, name),
            bytes_before=before.logical_bytes,
            bytes_after=after.logical_bytes,
            bytes_differing=self._bytes_differing(old, new),
            shares=_others(new, name),
            notes=notes,
        )

    def _told(
        self, name: str, before: Entry, after: Entry, old: GroupRecord, new: GroupRecord
    ) -> tuple[str, ...] | None:
        """Give what is known of the difference; ``None``: there is none."""
        if _same_bytes(old, new) and _sources(old) == _sources(new):
            other = [key for key in new.needs if not self._same_definition(old, new, key)]
            if not other:
                return None
            names = _variables(new)
            if len(names) == 1:
                return (_of_definitions(other),)
        outlines = self._outline(before.group, old, first=True), self._outline(after.group, new, first=False)
        if outlines[0] is None or outlines[1] is None:
            several = _others(new, name) or _others(old, name)
            return ("which of the names that share objects has changed cannot be told",) if several else ()
        try:
            told = outlines[0].compare(name, outlines[1], _Memory(self._a, self._b, old, new))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
            return ("it cannot be told how",)
        if not told.same:
            return ()
        other = [key for key in sorted(told.definitions) if not self._same_member(old, new, key)]
        return (_of_definitions(other),) if other else None

    def _outline(self, group: bytes, record: GroupRecord, *, first: bool) -> codecs.Outline | None:
        key = first, group
        if key not in self._outlines:
            self._outlines[key] = self._new_outline(self._a if first else self._b, record)
        return self._outlines[key]

    @staticmethod
    def _new_outline(side: Side, record: GroupRecord) -> codecs.Outline | None:
        if record.codec != CODEC or record.stream.length > OUTLINE_BYTES:
            return None
        stream = b"".join(bytes(side.chunk(own, length)) for own, length in side.leaves(record.stream))
        try:
            return codecs.Outline(stream)
        except (ValueError, MemoryError):
            return None

    def _same_definition(self, old: GroupRecord, new: GroupRecord, key: str) -> bool:
        """Say whether the group under this key is the same for both, and all that it needs."""
        one, other = old.needs.get(key), new.needs.get(key)
        if one is None or other is None:
            return False
        return self._same_group(one, other)

    def _same_group(self, one: bytes, other: bytes) -> bool:
        if one == other:
            return True
        if (one, other) not in self._definitions:
            self._definitions[one, other] = True  # none needs itself; were the records wrong, this ends it
            old, new = self._a.record(one), self._b.record(other)
            self._definitions[one, other] = (
                _same_bytes(old, new)
                and _sources(old) == _sources(new)
                and old.needs.keys() == new.needs.keys()
                and all(self._same_group(old.needs[key], new.needs[key]) for key in new.needs)
            )
        return self._definitions[one, other]

    def _same_member(self, old: GroupRecord, new: GroupRecord, name: str) -> bool:
        """Say whether the definition that is stored as *name* is the same for both."""
        one, other = self._with(self._a, old, name), self._with(self._b, new, name)
        return one is not None and other is not None and self._same_group(one, other)

    @staticmethod
    def _with(side: Side, record: GroupRecord, name: str) -> bytes | None:
        for needed in record.needs.values():
            if any(member.name == name for member in side.record(needed).members):
                return needed
        return None

    def _bytes_differing(self, old: GroupRecord, new: GroupRecord) -> int:
        there = self._chunks(self._a, old)
        return sum(length for own, length in self._chunks(self._b, new).items() if own not in there)

    @staticmethod
    def _chunks(side: Side, record: GroupRecord) -> dict[bytes, int]:
        refs = [record.stream, *(part.ref for part in record.parts)]
        return {own: length for ref in refs for own, length in side.leaves(ref)}


class _Memory:
    """Compares runs of bytes of two groups, by chunk ids where those lie alike."""

    def __init__(self, a: Side, b: Side, old: GroupRecord, new: GroupRecord) -> None:
        self._sides = a, b
        self._records = old, new

    def same(self, one: codecs.Where, other: codecs.Where) -> bool:
        """Say whether both runs hold the same bytes."""
        parts = self._part(0, one), self._part(1, other)
        if one.stop < 0 and (
            parts[0] is None or parts[1] is None or parts[0].ref.length != parts[1].ref.length
        ):
            return False
        length = one.stop - one.start
        if one.stop < 0:
            assert parts[0] is not None
            length = parts[0].ref.length
        if parts[0] is None or parts[1] is None:
            return bytes(self._read(0, one, length)) == bytes(self._read(1, other, length))
        if parts[0].ref == parts[1].ref and one.start == other.start:
            return True
        return self._same_chunks((parts[0], parts[1]), (one.start, other.start), length)

    def read(self, where: codecs.Where, *, first: bool) -> bytes:
        """Give the bytes of a run."""
        return bytes(self._read(0 if first else 1, where, where.stop - where.start))

    def _part(self, at: int, where: codecs.Where) -> PartRecord | None:
        return None if isinstance(where.source, bytes) else self._records[at].parts[where.source]

    def _read(self, at: int, where: codecs.Where, length: int) -> bytes:
        if isinstance(where.source, bytes):
            return where.source[where.start : where.start + length]
        side, found, begin = self._sides[at], [], 0
        stop = where.start + length
        for own, nbytes in side.leaves(self._records[at].parts[where.source].ref):
            if begin < stop and begin + nbytes > where.start:
                data = side.chunk(own, nbytes)
                found.append(bytes(data[max(0, where.start - begin) : stop - begin]))
            begin += nbytes
        return b"".join(found)

    def _same_chunks(
        self, parts: tuple[PartRecord, PartRecord], starts: tuple[int, int], length: int
    ) -> bool:
        walks = [
            _Walk(side, side.leaves(part.ref), start)
            for side, part, start in zip(self._sides, parts, starts, strict=True)
        ]
        left = length
        while left > 0:
            step = min(left, walks[0].room, walks[1].room)
            if step <= 0:
                return False
            if walks[0].place != walks[1].place and walks[0].data(step) != walks[1].data(step):
                return False
            for walk in walks:
                walk.go(step)
            left -= step
        return True


class _Walk:
    """Goes along the chunks of a part."""

    def __init__(self, side: Side, leaves: list[tuple[bytes, int]], start: int) -> None:
        self._side = side
        self._leaves = leaves
        self._at = 0
        self._inside = start
        self._read: tuple[bytes, memoryview] = b"", memoryview(b"")
        self.go(0)

    @property
    def room(self) -> int:
        """How much of this chunk is left."""
        return self._leaves[self._at][1] - self._inside if self._at < len(self._leaves) else 0

    @property
    def place(self) -> tuple[bytes, int]:
        """Which chunk this is, and where in it."""
        return self._leaves[self._at][0], self._inside

    def data(self, length: int) -> memoryview:
        """Give the next bytes."""
        own, nbytes = self._leaves[self._at]
        if self._read[0] != own:
            self._read = own, memoryview(self._side.chunk(own, nbytes)).cast("B")
        return self._read[1][self._inside : self._inside + length]

    def go(self, length: int) -> None:
        """Go on."""
        self._inside += length
        while self._at < len(self._leaves) and self._inside >= self._leaves[self._at][1]:
            self._inside -= self._leaves[self._at][1]
            self._at += 1


def _same_bytes(old: GroupRecord, new: GroupRecord) -> bool:
    return (old.codec, old.stream, old.parts) == (new.codec, new.stream, new.parts)


def _sources(record: GroupRecord) -> list[tuple[str, str]]:
    return [(member.name, member.source) for member in record.members]


def _facts(record: GroupRecord, name: str) -> Facts | None:
    return record.facts.get(name)


def _variables(record: GroupRecord) -> list[str]:
    if record.codec == FOLDER_CODEC:
        return []
    return [member.name for member in record.members if member.role == "variable"]


def _others(record: GroupRecord, name: str) -> tuple[str, ...]:
    return tuple(each for each in _variables(record) if each != name)


def _of_definitions(keys: list[str]) -> str:
    return f"what it uses of the notebook is another: {', '.join(sorted(keys))}"
