"""Read a snapshot back: definitions first, then each group on its own, checked before it is decoded."""

from __future__ import annotations

import platform
import sys
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from keepstate import codecs
from keepstate._base.one_time import OneTime
from keepstate._model.cells import recipe_key
from keepstate._model.folders import FOLDER_CODEC
from keepstate._model.manifest import PartRecord
from keepstate._model.parts import Member, StoredGroup
from keepstate._snapshot.ahead import Ahead
from keepstate._snapshot.occasion import PLATFORM, PYTHON, decode_cells
from keepstate._snapshot.saver import CODEC
from keepstate.errors import CodecError, IntegrityError, KeepstateError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._model.cells import Cell
    from keepstate._model.manifest import Entry, GroupRecord, Head, Manifest
    from keepstate._model.parts import PartReader
    from keepstate._repository import Joiner, Repository

TITLE_CHARACTERS = 80
_CODE = frozenset({"function", "type", "abc.ABCMeta", "enum.EnumType", "functools._lru_cache_wrapper"})
"""Types of what is kept as code."""
_PARTS_THAT_MATTER = {"sklearn": 2}
"""How many numbers of a version must agree where it is not the first alone."""
_ADVICE = {
    "sklearn": " Its models are not made for that: compare a prediction before you rely on one.",
    "pandas": " Texts keep the dtype that they had: columns of the dtype 'str' of pandas 3 are "
    "'string[pyarrow_numpy]' in pandas 2.1 and 2.2, and those of objects stay objects.",
}
"""What else to say of a library."""


@dataclass(slots=True)
class Outcome:
    """What became of the names that were asked for."""

    restored: dict[str, object] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """name → why it cannot be brought back."""
    waiting: dict[str, str] = field(default_factory=dict)
    """name → the library that is not installed yet; these are in *failed* too."""
    damaged: bool = False
    """Whether bytes of one of them are damaged or missing."""
    recipes: dict[str, Callable[[], object]] = field(default_factory=dict)
    """name → what makes its object anew."""
    no_recipes: dict[str, str] = field(default_factory=dict)
    """name → why its recipe cannot be brought back."""
    other_definitions: tuple[str, ...] = ()
    """Classes and functions that they use as they were then, while the notebook has others of these names."""


class Loader:
    """Decodes the groups of one snapshot, each at most once.

    Args:
        repository: Where the bytes are.
        manifest: The snapshot.
        namespace: Becomes the globals of restored functions.
        bind: Whether classes and functions that values need are bound in *namespace* where it lacks them.
        strangers: Whether values may come with the kept definition of a class or function where the notebook
            has none of the same source.
        data_only: Whether values that run code are refused.
    """

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        namespace: dict[str, object],
        *,
        bind: bool = True,
        strangers: bool = True,
        data_only: bool = False,
    ) -> None:
        self._repository = repository
        self._manifest = manifest
        self._namespace = namespace
        self._bind = bind
        self._strangers = strangers
        self._data_only = data_only
        kept_on = manifest.versions.get(PLATFORM, "").rpartition(" ")[2]
        self._other_machine = bool(kept_on) and kept_on != platform.machine()
        self._decoded: dict[bytes, Mapping[str, object]] = {}
        self._records: dict[bytes, GroupRecord] = {}
        self._ahead: dict[bytes, Ahead] = {}
        self._let_go: dict[tuple[bytes, str], Callable[[], object | None]] = {}
        self._open: list[bytes] = []
        self.other_definitions: set[str] = set()
        """Definitions that were decoded while the notebook has others of these names."""

    def value(self, name: str) -> object:
        """Decode *name* with everything that it shares objects with.

        Raises:
            NotFoundError: The snapshot has no such name.
            IntegrityError: Its bytes are damaged.
            CodecError: They cannot be decoded here; ``MissingLibraryError`` if a library is missing.
            TrustError: They run code, and that was not wanted.
        """
        entry = self._manifest.names.get(name)
        if entry is None:
            raise NotFoundError(f"snapshot {self._manifest.id[:10]} has no name {name!r}")
        values = self._group(entry.group)
        if name not in values:
            raise IntegrityError(f"the group of {name!r} does not hold it: its record is damaged")
        return values[name]

    def bind_definitions(self) -> None:
        """Bind the classes, functions and modules that values use without holding them.

        One that cannot be decoded costs only what needs it, which says so itself.
        """
        for record_id in self._manifest.definitions.values():
            self.bind_definition(record_id)

    def recipe(self, name: str) -> object:
        """Decode the recipe of a name.

        Raises:
            IntegrityError, CodecError, StoreError: It cannot be had.
        """
        key = recipe_key(name)
        values = self._group(self._manifest.definitions[key])
        if key not in values:
            raise IntegrityError(
                f"the group of the recipe of {name!r} does not hold it: its record is damaged"
            )
        return values[key]

    def members(self, record_id: bytes) -> tuple[Member, ...]:
        """Say what is in a group.

        Raises:
            IntegrityError: Its record is damaged.
            StoreError: The store cannot be read.
        """
        return _members(self._record(record_id))

    def ahead(self, record_id: bytes) -> Ahead:
        """Begin to read a group; raises like :class:`Ahead`."""
        return Ahead(self._repository, self._record(record_id), member=self._manifest.member)

    def take(self, record_id: bytes, ahead: Ahead) -> None:
        """Use what has been read, all of it, when this group is decoded next."""
        self._ahead[record_id] = ahead

    def let_go(self, record_id: bytes) -> None:
        """Hold what has been decoded no longer, so that it ends when the user is done with it.

        What others may need is known for as long as it lives: one class, one identity.
        """
        for name, value in self._decoded.pop(record_id, {}).items():
            if codecs.is_definable(type(value)):
                try:
                    self._let_go[record_id, name] = weakref.ref(value)
                except TypeError:  # an alias of a type
                    self._let_go[record_id, name] = partial(_give, value)

    def bind_definition(self, record_id: bytes) -> None:
        """Bind what one group of definitions holds, as :meth:`bind_definitions` does."""
        with suppress(CodecError, IntegrityError, StoreError):  # a method that lacks it raises NameError
            self._group(record_id)

    def _group(self, record_id: bytes) -> Mapping[str, object]:
        ahead = self._ahead.pop(record_id, None)  # for one call only: what fails may have written to it
        if record_id in self._decoded:
            return self._decoded[record_id]
        if record_id in self._open:
            raise IntegrityError("groups need each other in a circle: the records are damaged")
        self._open.append(record_id)
        try:
            record = self._record(record_id)
            if record.codec == FOLDER_CODEC:
                raise CodecError(
                    "it is a folder of files, which restoring writes to the disk and binds to no name"
                )
            if record.codec != CODEC:
                raise CodecError(
                    f"it was encoded as {record.codec!r}, which this version does not know: upgrade"
                )
            # All of the stream is checked before anything is decoded; parts are checked as they are read.
            room = self._stream(record) if ahead is None else ahead.room
            stored = StoredGroup(
                key=record.key,
                members=_members(record),
                stream=room.view,
                parts=[] if ahead is not None else self._parts(record),
                resolve=lambda key: self._needed(record, key),
                spent=room.spent,
            )
            memory = None if ahead is None else ahead.memory
            values = codecs.decode(
                stored,
                namespace=self._namespace,
                memory=memory,
                other_machine=self._other_machine,
                data_only=self._data_only,
            )
        finally:
            self._open.pop()
        self._decoded[record_id] = values
        if self._bind:
            for member in stored.members:
                if not member.bind or member.name not in values:
                    continue
                value = values[member.name]
                if member.role == "definition":
                    self._namespace.setdefault(member.name, value)
                live = self._namespace.get(member.name, value)
                if live is not value and codecs.is_definable(type(value)):
                    self.other_definitions.add(member.name)
        return values

    def _record(self, record_id: bytes) -> GroupRecord:
        record = self._records.get(record_id)
        if record is None:
            record = self._repository.group(record_id, member=self._manifest.member)
            self._records[record_id] = record
        return record

    def _stream(self, record: GroupRecord) -> OneTime:
        try:
            room = OneTime(record.stream.length)
        except MemoryError as error:
            raise StoreError(f"{record.stream.length} bytes do not fit into memory") from error
        stream = PartRecord(record.stream, 1, writable=True)
        self._repository.part(stream, member=self._manifest.member).read_into(room.view)
        return room

    def _parts(self, record: GroupRecord) -> list[PartReader]:
        return [self._repository.part(part, member=self._manifest.member) for part in record.parts]

    def _needed(self, record: GroupRecord, key: str) -> object:
        for needed in record.needs.values():
            for member in self._record(needed).members:
                if codecs.definition_key(member.name) == key or member.name == key:
                    live = self._namespace.get(member.name)
                    if live is not None and member.source and codecs.definition_source(live) == member.source:
                        return live  # its cell has run again, unchanged: one class, one identity
                    if not self._strangers:
                        raise CodecError(f"it needs {member.name}, which is not there as it was")
                    known = self._let_go.get((needed, member.name))
                    if known is not None and (there := known()) is not None:
                        return there
                    values = self._group(needed)
                    if member.name in values:
                        return values[member.name]
        raise IntegrityError(f"the definition {key!r} is needed and not there: its record is damaged")


def restore_recipes(loader: Loader, names: Iterable[str], outcome: Outcome) -> None:
    """Decode the recipes of *names* into *outcome*."""
    for name in names:
        try:
            recipe = loader.recipe(name)
        except (CodecError, IntegrityError, StoreError) as error:
            outcome.no_recipes[name] = str(error)
            continue
        if callable(recipe):
            outcome.recipes[name] = recipe


def _give(value: object) -> object:
    return value


def _members(record: GroupRecord) -> tuple[Member, ...]:
    return tuple(Member(m.name, m.role, m.type, m.bind, m.source) for m in record.members)


def restore_names(loader: Loader, names: Iterable[str]) -> Outcome:
    """Decode *names*, each group on its own: one that fails costs its own names only."""
    outcome = Outcome()
    for name in names:
        try:
            outcome.restored[name] = loader.value(name)
        except codecs.MissingLibraryError as error:
            outcome.failed[name] = str(error)
            outcome.waiting[name] = error.library
        except (CodecError, IntegrityError, StoreError, NotFoundError) as error:
            outcome.failed[name] = str(error)
            outcome.damaged |= isinstance(error, IntegrityError)
    outcome.other_definitions = tuple(sorted(loader.other_definitions - outcome.restored.keys()))
    return outcome


def older_generation(
    repository: Repository,
    older: Iterable[Head],
    name: str,
    damaged: Entry | None,
    *,
    joiner: Joiner | None = None,
) -> Head | None:
    """Find the newest of *older* in which *name* has another value whose bytes are all sound.

    Args:
        repository: Where they are.
        older: Newest first, of one member.
        name: Of the variable.
        damaged: The value that cannot be used.
        joiner: The same for several names, so that what snapshots share is read once.
    """
    tried = set() if damaged is None else {damaged.group}
    for manifest in older:
        joiner = joiner or repository.joiner(manifest.member)
        try:
            entry = joiner.entry(manifest, name)
            if entry is None or entry.group in tried:
                continue
            tried.add(entry.group)
            _read_all(repository, entry.group, manifest.member)
        except KeepstateError:
            continue  # damaged as well: the next older one is asked
        return manifest
    return None


def _read_all(repository: Repository, record_id: bytes, member: str) -> None:
    record = repository.group(record_id, member=member)
    repository.read(record.stream, member=member)
    for part in record.parts:
        repository.read(part.ref, member=member)
    for needed in record.needs.values():
        _read_all(repository, needed, member)


def recorded_cells(repository: Repository, manifest: Head) -> list[Cell]:
    """Give the cells that had run, oldest first; nothing if that record is damaged."""
    if manifest.cells is None:
        return []
    try:
        return decode_cells(repository.read(manifest.cells, member=manifest.member))
    except (IntegrityError, StoreError, msgspec.DecodeError):
        return []


def cell_titles(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Give the first line of each cell."""
    lines = ((cell.number, cell.source.strip().partition("\n")[0][:TITLE_CHARACTERS]) for cell in cells)
    return tuple(line if number is None else f"[{number}] {line}" for number, line in lines)


def version_remarks(manifest: Manifest) -> list[str]:
    """Say which version differences are known to matter; restoring is tried all the same."""
    was = manifest.versions
    kinds = {entry.type for entry in manifest.names.values()}
    has_code = bool(manifest.definitions) or bool(kinds & _CODE) or any(map(_is_of_notebook, kinds))
    remarks = []
    if PYTHON in was and has_code and _differ(was[PYTHON], platform.python_version(), parts=2):
        remarks.append(
            f"Kept under Python {was[PYTHON]}, this is {platform.python_version()}: functions and classes "
            "of the notebook are built anew from their source; one whose source is not known, or has "
            "a syntax that this Python lacks, does not come back."
        )
    for name, version in was.items():
        now = getattr(sys.modules.get(name), "__version__", None)
        if name in (PYTHON, PLATFORM) or not isinstance(now, str):
            continue
        if _differ(version, now, parts=_PARTS_THAT_MATTER.get(name, 1)):
            remarks.append(f"Kept with {name} {version}, this is {now}.{_ADVICE.get(name, '')}")
    return remarks


def _is_of_notebook(kind: str) -> bool:
    return kind.startswith("__main__.")


def _differ(was: str, now: str, *, parts: int) -> bool:
    """Compare the first numbers of two versions; below 1.0 the second matters as the first does later."""
    one, other = was.split("."), now.split(".")
    if one[0] == other[0] == "0":
        parts = 2
    return one[:parts] != other[:parts]
