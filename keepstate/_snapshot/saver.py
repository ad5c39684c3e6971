"""One save: encode the names, find what changed, write that, and publish the manifest.

Two steps, so that they can happen in one place or in two. :meth:`Save.prepare` needs the objects to stand
still: it runs in a forked child, or on the main thread between cells. :meth:`Save.write` needs only what the
first step gave: it runs in the same child, or in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from keepstate import codecs
from keepstate._base.clock import SYSTEM_CLOCK, Clock, processor_seconds
from keepstate._base.table import size
from keepstate._capture import Worth  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._model.cells import Lost, name_of_recipe, recipe_key
from keepstate._model.manifest import (
    Entry,
    GroupRecord,
    Manifest,
    MemberRecord,
    PartRecord,
)
from keepstate._repository import Commit, ConflictError, Piece, fingerprint_pieces, fingerprint_stream
from keepstate._snapshot.describing import Described, describe
from keepstate._snapshot.occasion import Occasion, encode_cells, manifest_of, versions_of
from keepstate._snapshot.part_store import RepositoryPartStore
from keepstate._snapshot.standing import Standing
from keepstate._snapshot.unwritten import Knowledge, Unwritten
from keepstate.errors import CaptureError, IntegrityError, StoreError, StoreFullError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from keepstate._capture import DirtyPages, Imprints, Tools
    from keepstate._model.cells import Cell
    from keepstate._model.folders import SelfStored, SelfStoring
    from keepstate._model.manifest import Ref
    from keepstate._model.parts import EncodedGroup, Member, Part
    from keepstate._repository import Repository, Writer


CODEC = "pickle5"
"""How groups are encoded in format 1; a reader refuses any other."""
RELEASE_BYTES = 32 << 20
"""How much is given back at once: less would cut huge pages in two, which takes 15 ms per GB, more would be
given back later than need be."""


class Saved(msgspec.Struct, frozen=True):
    """What came of a save; small enough to travel through a pipe."""

    commit: Commit | None = None
    """``None``: nothing had changed, there was nothing to keep, or it failed."""
    unchanged: bool = False
    skipped: dict[str, str] = {}
    encode_seconds: float = 0.0
    logical_bytes: int = 0
    groups: list[list[str]] = []
    """Names that shared objects, to be encoded together at once the next time."""
    imprints: list[Worth] = []
    """Groups that are worth an imprint of their memory, or have one."""
    memories: dict[str, bytes] = {}
    """Name of a group that stored itself → what it wants to be given the next time; of groups whose memory
    has changed, also if nothing was written, and of none if the store refused."""
    unfinished: list[str] = []
    """Names of such groups of which another save soon would keep more."""
    trouble: str = ""
    """Why the store refused, in a sentence."""
    full: bool = False
    """Whether it refused for want of space."""
    again: bool = False
    """Whether it would take a picture that relies on nothing that was kept before."""
    met_files: bool = False
    """Whether nothing was written, because it met an open file, and positions had not been read."""
    unwritten: Knowledge = Knowledge()
    """What is known of the memory of large buffers, for the next save."""
    described: dict[str, Described] = {}
    """What was told of objects that could not be kept."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A group cut into pieces. Holds no view of live memory but in changed pieces: an exported buffer would
    keep the user from resizing a bytearray."""

    key: str
    members: tuple[Member, ...]
    needs: tuple[str, ...]
    logical_bytes: int
    stream: list[Piece]
    parts: list[tuple[int, bool, list[Piece]]]
    """Item size, writable, pieces."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    groups: list[_Group]
    skipped: Mapping[str, str]
    encode_seconds: float
    logical_bytes: int
    imprints: list[Worth]
    described: dict[str, Described]
    packages: frozenset[str]


class Save:
    """One save of one picture; satisfies the ``Work`` that a capture strategy runs.

    Args:
        occasion: What the snapshot says besides its values.
        bindings: name → object.
        namespace: The user's globals, for what a definition refers to.
        repository: Where it is written.
        known: Fingerprints of the last snapshot → chunk id.
        seed: Of the fingerprints; one for a session, not known outside.
        grouped: Names that shared objects the last time.
        refuse: Names not to be tried, because encoding them hung before.
        previous: The snapshot to which an unchanged state is equal.
        beside: Groups that store themselves, after the objects: watched folders.
        imprints: Of the memory of groups that stayed the same.
        leave_unfrozen: Skip by name what a fork does not freeze, because copying it has failed before.
        pages: The kernel's record of what is written to this process's memory, if it has begun.
        unwritten: What the last save knew of that memory; ``None``: all of it is hashed.
        positions: Where the user's open files stand.
    """

    def __init__(
        self,
        occasion: Occasion,
        bindings: Mapping[str, object],
        *,
        namespace: Mapping[str, object],
        repository: Repository,
        known: Mapping[bytes, bytes],
        seed: int,
        grouped: Collection[frozenset[str]] = (),
        refuse: Collection[str] = (),
        previous: Manifest | None = None,
        beside: Sequence[SelfStoring] = (),
        imprints: Imprints | None = None,
        leave_unfrozen: bool = False,
        pages: DirtyPages | None = None,
        unwritten: Knowledge | None = None,
        positions: codecs.Positions = codecs.NO_POSITIONS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._occasion = occasion
        self._bindings = bindings
        self._recipes = {recipe_key(name): recipe for name, recipe in occasion.recipes.items()}
        self._namespace = namespace
        self._repository = repository
        self._known = known
        self._seed = seed
        self._grouped = grouped
        self._refuse = refuse
        self._previous = previous
        self._beside = beside
        self._imprints = imprints
        self._leave_unfrozen = leave_unfrozen
        self._positions = positions
        self._clock = clock
        self._prepared: _Prepared | None = None
        self._unwritten = Unwritten(pages, unwritten, seed=seed)

    def prepare(self, tools: Tools) -> None:
        """Encode, and find what the last snapshot does not have; needs still objects, and no disk."""
        if tools.copy is None:  # a copy of the user's process, in which nothing changes
            self._unwritten.begin()
        imprints = Standing(self._imprints, self._bindings, tools, known=self._known, seed=self._seed)
        began = self._clock.monotonic()
        times = _Times()

        def on_name(name: str) -> None:
            times.begin(name)
            tools.progress(name, 0)

        encoding = codecs.encode(
            {**self._bindings, **self._recipes},
            namespace=self._namespace,
            grouped=self._grouped,
            refuse=self._refuse,
            imprints=imprints.found,
            positions=self._positions,
            on_name=on_name,
        )
        encode_seconds = self._clock.monotonic() - began
        seconds = times.end()
        groups, too_large = _that_can_be_frozen(encoding.groups, tools, none=self._leave_unfrozen)
        skipped = self._without_recipes({**encoding.skipped, **too_large})
        described = describe(  # before memory is given back
            skipped,
            self._bindings,
            self._occasion.cells,
            before=self._occasion.described,
            apart=tools.apart,
        )
        pieces = self._find_changes(groups, tools)
        prepared = []
        for index, group in enumerate(groups):
            stream = imprints.pieces(group) or fingerprint_stream(
                group.stream, seed=self._seed, known=self._known
            )
            parts = [
                (part.itemsize, part.writable, pieces[index, number])
                for number, part in enumerate(group.parts)
            ]
            nbytes = sum(piece.length for piece in stream) + sum(part.memory.nbytes for part in group.parts)
            imprints.encoded(group, stream, sum(seconds.get(member.name, 0.0) for member in group.members))
            prepared.append(_Group(group.key, group.members, group.needs, nbytes, stream, parts))
        self._prepared = _Prepared(
            groups=prepared,
            skipped=skipped,
            encode_seconds=encode_seconds + imprints.saved_seconds,
            logical_bytes=sum(group.logical_bytes for group in prepared),
            imprints=imprints.worth,
            described=described,
            packages=encoding.packages,
        )

    def _without_recipes(self, skipped: Mapping[str, str]) -> dict[str, str]:
        """Say of a recipe that cannot be kept with the name that it is for, if that needs it."""
        found = {name: why for name, why in skipped.items() if name not in self._recipes}
        for key, why in skipped.items():
            name = name_of_recipe(key)
            if name is not None and name in found:
                found[name] += f"; and its recipe cannot be kept: {why}"
        return found

    @property
    def skipped(self) -> Mapping[str, str]:
        """What could not be encoded → why; known once it is prepared."""
        return {} if self._prepared is None else self._prepared.skipped

    @property
    def logical_bytes(self) -> int:
        """Bytes of what was encoded; known once it is prepared."""
        return 0 if self._prepared is None else self._prepared.logical_bytes

    def _find_changes(
        self, groups: tuple[EncodedGroup, ...], tools: Tools
    ) -> dict[tuple[int, int], list[Piece]]:
        every = [part for group in groups for part in group.parts]
        if tools.claim is not None:
            tools.claim([part.memory for part in every])
        self._unwritten.ask(every)
        # The largest parts first: their pages are given back first, and the user's writes to them are the
        # dearest while they are shared.
        order = sorted(
            ((index, number) for index, group in enumerate(groups) for number in range(len(group.parts))),
            key=lambda at: -groups[at[0]].parts[at[1]].memory.nbytes,
        )
        pieces, done = {}, 0
        for index, number in order:
            part = groups[index].parts[number]
            pieces[index, number] = self._look_at(part, tools)
            done += part.memory.nbytes
            tools.progress(groups[index].key, done)
        return pieces

    def _look_at(self, part: Part, tools: Tools) -> list[Piece]:
        memory = tools.substitute(part.memory)
        given = self._unwritten.fingerprints(part) if memory is part.memory else ()
        pieces = []
        behind = reached = 0  # in between nothing will be read again
        for piece in fingerprint_pieces(
            memory, row_bytes=part.row_bytes, seed=self._seed, known=self._known, given=given
        ):
            if tools.release is not None and (piece.memory is not None or reached - behind >= RELEASE_BYTES):
                tools.release(memory[behind:reached])
                behind = reached
            reached += piece.length
            if piece.memory is not None:
                behind = reached
                if tools.copy is not None:
                    piece = Piece(piece.fingerprint, piece.length, tools.copy(piece.memory), piece.id)
            pieces.append(piece)
        if tools.release is not None:
            tools.release(memory[behind:reached])
        self._unwritten.note(part, pieces)
        return pieces

    def write(self, tools: Tools) -> bytes:
        """Write what is new and publish the manifest; or nothing, if nothing changed and there is no note."""
        saved = self._write(tools)
        return msgspec.msgpack.encode(msgspec.structs.replace(saved, unwritten=self._unwritten.finish()))

    def _write(self, tools: Tools) -> Saved:
        if self._prepared is None:
            raise CaptureError("write() comes after prepare()")
        if self._positions.missed:
            return Saved(met_files=True)
        occasion = self._occasion
        try:
            with self._repository.writer(
                occasion.member,
                project=occasion.project,
                notebook=occasion.notebook,
                lineage=occasion.lineage,
                threads=tools.threads,
            ) as writer:
                return self._publish(self._prepared, writer, tools)
        except ConflictError as error:
            relied = bool(self._known) or any(group.relies for group in self._beside)
            return Saved(trouble=str(error), again=relied)
        except (StoreError, IntegrityError) as error:  # what was read back may not be what was written
            return Saved(trouble=str(error), full=isinstance(error, StoreFullError))

    def _publish(self, prepared: _Prepared, writer: Writer, tools: Tools) -> Saved:
        occasion, previous = self._occasion, self._previous
        ids = self._put_groups(prepared, writer, tools)
        names: dict[str, Entry] = dict(occasion.carried)
        definitions: dict[str, bytes] = {}
        for group in prepared.groups:
            variables = [member for member in group.members if member.role == "variable"]
            for member in variables:
                if name_of_recipe(member.name) is not None:
                    definitions[member.name] = ids[group.key]
                else:
                    names[member.name] = Entry(ids[group.key], member.type, group.logical_bytes)
            if not variables:
                definitions[group.key] = ids[group.key]
        # Behind those of today, which win where both bind the same name.
        definitions |= {key: own for key, own in occasion.definitions.items() if key not in definitions}
        random = writer.put_bytes(occasion.random) if occasion.random else None
        skipped = {**occasion.left_out, **prepared.skipped}
        beside, broken = self._put_beside(writer, tools)
        for name, stored in beside.items():
            names[name] = stored.entry
            skipped |= stored.skipped
        for name, why in broken.items():
            skipped[name] = why
            if previous is not None and name in previous.names:
                names[name] = _carried(previous.names[name], previous.id)
        carried = {entry.group: entry.logical_bytes for entry in occasion.carried.values()}
        logical_bytes = prepared.logical_bytes + sum(carried.values())
        logical_bytes += sum(each.entry.logical_bytes for each in beside.values())
        lost = {
            **occasion.lost,
            **{name: Lost("secret", why) for name, why in occasion.left_out.items()},
            **{name: described.lost for name, described in prepared.described.items()},
        }
        unchanged = (
            previous is not None
            and _same(previous, names, definitions, random, skipped)
            and not _tells_more(lost, previous.lost)
            and not any(_touches(cell, lost) for cell in occasion.unrecorded)
            and not (previous.consistency == "operation" != occasion.consistency)  # this one may be trusted
            and writer.holds(previous)
        )
        facts = Saved(
            unchanged=unchanged,
            skipped=skipped,
            encode_seconds=prepared.encode_seconds,
            logical_bytes=prepared.logical_bytes,
            imprints=prepared.imprints,
            described=prepared.described,
            memories={name: stored.memory for name, stored in beside.items() if stored.memory},
            unfinished=[name for name, stored in beside.items() if stored.unfinished],
            groups=[
                sorted(m.name for m in group.members) for group in prepared.groups if len(group.members) > 1
            ],
        )
        if not names or (unchanged and not occasion.note):
            return facts
        # A note on unchanged state writes a manifest alone.
        cells = previous.cells if unchanged and previous else None
        if cells is None or not writer.rely(cells):
            cells = writer.put_bytes(encode_cells(occasion.cells))
        stall_seconds = tools.stall_seconds()
        # A group that was not encoded again, or is carried, says by its type alone where it is from.
        types = (entry.type.partition(".") for entry in names.values())
        packages = prepared.packages.union(package for package, dot, _ in types if dot)
        versions = versions_of(packages, known=occasion.versions)

        def manifest(written_bytes: int) -> Manifest:
            return manifest_of(
                occasion,
                names=dict(sorted(names.items())),
                definitions=definitions,
                skipped=skipped,
                lost=dict(sorted(lost.items())),
                random=random,
                cells=cells,
                versions=versions,
                logical_bytes=logical_bytes,
                written_bytes=written_bytes,
                stall_seconds=stall_seconds,
                seconds=self._clock.monotonic() - occasion.started,
            )

        return msgspec.structs.replace(facts, commit=writer.commit(manifest))

    def _put_beside(self, writer: Writer, tools: Tools) -> tuple[dict[str, SelfStored], dict[str, str]]:
        """Have the other groups store themselves; one that cannot costs itself alone."""
        store = RepositoryPartStore(writer, self._repository.path, seed=self._seed, progress=tools.progress)
        stored: dict[str, SelfStored] = {}
        broken: dict[str, str] = {}
        for group in self._beside:
            try:
                stored[group.name] = group.store(store)
            except (StoreError, MemoryError):
                raise  # then nothing can be written
            except Exception as error:  # noqa: BLE001 - whatever a folder does, the values must be kept
                broken[group.name] = f"it could not be stored: {type(error).__name__}: {error}"
        return stored, broken

    @staticmethod
    def _put_groups(prepared: _Prepared, writer: Writer, tools: Tools) -> dict[str, bytes]:
        ids: dict[str, bytes] = {}
        done = 0
        for group in prepared.groups:
            parts = [
                PartRecord(writer.put(pieces, itemsize=itemsize, release=tools.release), itemsize, writable)
                for itemsize, writable, pieces in group.parts
            ]
            needs = {key: ids[key] for key in group.needs}
            record = record_of(group.key, group.members, needs, writer.put(group.stream), parts)
            ids[group.key] = writer.put_record(record)
            done += group.logical_bytes
            tools.progress(group.key, done)
        return ids


def record_of(
    key: str, members: Sequence[Member], needs: dict[str, bytes], stream: Ref, parts: list[PartRecord]
) -> GroupRecord:
    """Make the record of a group."""
    return GroupRecord(
        codec=CODEC,
        members=[MemberRecord(m.name, m.role, m.type, m.bind, m.source) for m in members],
        needs=needs,
        key=key,
        stream=stream,
        parts=parts,
        facts={m.name: m.facts for m in members if m.facts is not None},
    )


class _Times:
    """How much processor time each name took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._name, self._since = "", processor_seconds()

    def begin(self, name: str) -> None:
        now = processor_seconds()
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now

    def end(self) -> dict[str, float]:
        """Return name → seconds; what belongs to none is under the empty name."""
        self.begin("")
        return self._seconds


def _carried(entry: Entry, snapshot_id: str) -> Entry:
    return entry if entry.kept_in else msgspec.structs.replace(entry, kept_in=snapshot_id)


def _that_can_be_frozen(
    groups: tuple[EncodedGroup, ...], tools: Tools, *, none: bool
) -> tuple[tuple[EncodedGroup, ...], dict[str, str]]:
    """Leave out what lies in mapped memory and is more than can be copied; the rest need not suffer."""
    room = 0 if none else tools.copy_limit_bytes
    why = (
        "that moved between two pictures"
        if none
        else f"and no more than {size(tools.copy_limit_bytes)} can be copied at once"
    )
    fitting, too_large = [], {}
    for group in groups:
        unfrozen = sum(tools.unfrozen_bytes(part.memory) for part in group.parts)
        if unfrozen <= room:
            room -= unfrozen
            fitting.append(group)
            continue
        for member in group.members:
            too_large[member.name] = (
                f"{size(unfrozen)} of it are mapped from a file or shared by processes, {why}: "
                f"np.array({member.name}) is kept"
            )
    return tuple(fitting), too_large


def _tells_more(lost: Mapping[str, Lost], before: Mapping[str, Lost]) -> bool:
    """Say whether it is known only now what some object was."""
    return any(each.repr and name in before and not before[name].repr for name, each in lost.items())


def _touches(cell: Cell, lost: Mapping[str, Lost]) -> bool:
    """Say whether a cell has made something else of an object that is known by its record alone."""
    return any(name in lost for name in (*cell.binds, *cell.changes, *cell.deletes))


def _same(
    previous: Manifest,
    names: Mapping[str, Entry],
    definitions: Mapping[str, bytes],
    random: Ref | None,
    skipped: Mapping[str, str],
) -> bool:
    return (
        {name: entry.group for name, entry in names.items()}
        == {name: entry.group for name, entry in previous.names.items()}
        and dict(definitions) == previous.definitions
        and random == previous.random
        and dict(skipped) == previous.skipped
    )
