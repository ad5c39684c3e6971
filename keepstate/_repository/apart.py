"""The names of a manifest in records apart from it, most of which it shares with the snapshots before it.

A notebook with two thousand variables would need 160 kB for each of its manifests, although three of them
have changed. So a long manifest is cut up: its names go into runs of some sixty, and a run that is as it was
before is the same chunk. Where a run begins is decided by the names, so that one more moves no other.

Knows the records of the format, not files. A manifest whose records do not fit each other is an error, and
never one that has fewer names.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from keepstate._model.cells import Lost  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate._model.manifest import Apart, Count, Entry, Head, Id, Manifest
from keepstate.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


Record = TypeVar("Record")

RUN_LENGTH = 64
"""Names in a run, on average. Three of 2,000 that change write three runs of 3 kB, and a list of 32 runs."""
LONGEST_RUN = 256
SHOWN_LIMIT_BYTES = 64 << 20
"""Longest list of names, before it is compressed: as long as a manifest may be."""
MOST_SHOWN = 64
"""Lists of names that are kept once they were read: those of neighbours are mostly the same."""
MOST_RUNS = 1024
"""Runs that a reader keeps: 20 MB."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One name."""

    name: str
    type: str
    group: Id
    logical_bytes: Count
    kept_in: str = ""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Names that follow on each other."""

    count: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_RUN)]
    rows: Id
    """Id of the record of its rows."""


class Contents(msgspec.Struct, frozen=True):
    """What a manifest of very many names does not hold itself."""

    runs: list[Run]
    """All names, sorted."""
    definitions: dict[str, Id] = {}
    pending: dict[str, str] = {}
    tracked_besides: list[str] = []
    """Names under guard that were not kept."""
    untracked: list[str] = []
    """Names that were kept and are not under guard."""
    versions: dict[str, str] = {}
    lost: dict[str, Lost] = {}


class Shown(NamedTuple):
    """What lists tell of a snapshot."""

    names: tuple[str, ...]
    """Sorted."""
    skipped: Mapping[str, str]


# Made here once: several threads that decode a type for the first time at once crash msgspec 0.22.
_ROWS = msgspec.msgpack.Decoder(list[Row])
_CONTENTS = msgspec.msgpack.Decoder(Contents)
_SHOWN = msgspec.msgpack.Decoder(tuple[list[str], dict[str, str]])


def put_apart(manifest: Manifest, put: Callable[[bytes], bytes]) -> Apart:
    """Store the names of a manifest, and give what it holds in their place.

    Args:
        manifest: Of any length.
        put: Stores a record and returns its id.

    Raises:
        InvalidInputError: It holds something that would not come back as it is.
    """
    if manifest.tracked != sorted(set(manifest.tracked)):
        raise InvalidInputError("the names under guard are not sorted")
    names = sorted(manifest.names)
    entries = [manifest.names[name] for name in names]
    rows = [
        Row(name, entry.type, entry.group, entry.logical_bytes, entry.kept_in)
        for name, entry in zip(names, entries, strict=True)
    ]
    runs = [
        Run(stop - start, put(_encoded(rows[start:stop], _ROWS))) for start, stop in pairwise(_cuts(names))
    ]
    contents = Contents(
        runs,
        manifest.definitions,
        manifest.pending,
        sorted(set(manifest.tracked) - manifest.names.keys()),
        sorted(manifest.names.keys() - set(manifest.tracked)),
        manifest.versions,
        manifest.lost,
    )
    shown = _encoded((names, manifest.skipped), _SHOWN)
    if len(shown) > SHOWN_LIMIT_BYTES:
        raise InvalidInputError("the names of a snapshot are too long to be kept")
    return Apart(put(_encoded(contents, _CONTENTS)), zlib.compress(shown), dict(carried_from(manifest)))


def _cuts(names: Sequence[str]) -> Iterator[int]:
    """Say where runs begin and, last, where all of them end."""
    start = 0
    for at, name in enumerate(names):
        begins = xxh3_64_intdigest(name.encode("utf-8", "surrogatepass")) % RUN_LENGTH == 0
        if at == 0 or begins or at - start >= LONGEST_RUN:
            start = at
            yield start
    yield len(names)


def _encoded(record: Record, decoder: msgspec.msgpack.Decoder[Record]) -> bytes:
    try:
        raw = msgspec.msgpack.encode(record)
        same = msgspec.msgpack.encode(decoder.decode(raw)) == raw
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"this cannot be written as a manifest: {error}") from error
    if not same:
        raise InvalidInputError("this would not come back from a manifest as it is")
    return raw


def _decoded(raw: bytes, decoder: msgspec.msgpack.Decoder[Record]) -> Record:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise IntegrityError(f"a record of a manifest holds something else: {error}") from error


def decode_contents(raw: bytes) -> Contents:
    """Read the record that a manifest names.

    Raises:
        IntegrityError: These bytes are none.
    """
    return _decoded(raw, _CONTENTS)


def decode_rows(raw: bytes) -> list[Row]:
    """Read the record of a run.

    Raises:
        IntegrityError: These bytes are none.
    """
    return _decoded(raw, _ROWS)


def as_stored(head: Head) -> Head:
    """Give what the file of a manifest holds: all of it, or what is not apart."""
    if head.apart is None or not isinstance(head, Manifest):
        return head
    return Head(**{field: getattr(head, field) for field in Head.__struct_fields__})


def carried_from(head: Head) -> Mapping[str, str]:
    """Give the id of each snapshot from which names are carried, with the first of these names."""
    if head.apart is not None:
        return head.apart.carried
    found: dict[str, str] = {}
    for name, entry in _own_names(head).items():
        if entry.kept_in:
            found.setdefault(entry.kept_in, name)
    return found


def shown_of(head: Head) -> Shown:
    """Give the names of a snapshot, and what was not kept.

    Raises:
        IntegrityError: The list of its names holds something else; never of what a repository has given.
    """
    if head.apart is not None:
        return _shown(head.apart.shown)
    return Shown(tuple(sorted(_own_names(head))), head.skipped if isinstance(head, Manifest) else {})


def _own_names(head: Head) -> Mapping[str, Entry]:
    return head.names if isinstance(head, Manifest) else {}


@lru_cache(maxsize=MOST_SHOWN)
def _shown(raw: bytes) -> Shown:
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(raw, SHOWN_LIMIT_BYTES)
    except zlib.error as error:
        raise IntegrityError(f"the list of its names is damaged: {error}") from error
    if not reader.eof or reader.unused_data:
        raise IntegrityError("the list of its names is too long, or cut off")
    names, skipped = _decoded(plain, _SHOWN)
    if any(not one < other for one, other in pairwise(names)):
        raise IntegrityError("the list of its names is not in order")
    return Shown(tuple(names), skipped)


class _Known(NamedTuple):
    """A run that was read."""

    rows: list[Row]
    names: tuple[str, ...]
    sources: frozenset[str]
    """Ids of the snapshots from which names are carried."""


class Joiner:
    """Puts manifests together again; what several of them share is read once.

    Args:
        record: Gives the checked bytes of a record by its id.
    """

    def __init__(self, record: Callable[[bytes], bytes]) -> None:
        self._record = record
        self._runs: dict[bytes, _Known] = {}

    def manifest(self, head: Head) -> Manifest:
        """Give a manifest with its names.

        Raises:
            IntegrityError: A record is missing or damaged, or they do not fit each other.
            StoreError: One cannot be read now.
        """
        if isinstance(head, Manifest):
            return head
        contents, shown = self._contents(head), shown_of(head)
        runs = [self._run(run) for run in contents.runs]
        _must_fit(head, runs)
        names = {
            row.name: Entry(row.group, row.type, row.logical_bytes, row.kept_in)
            for run in runs
            for row in run.rows
        }
        tracked = (names.keys() - set(contents.untracked)) | set(contents.tracked_besides)
        return Manifest(
            **{field: getattr(head, field) for field in Head.__struct_fields__},
            names=names,
            definitions=contents.definitions,
            skipped=dict(shown.skipped),
            pending=contents.pending,
            tracked=sorted(tracked),
            versions=contents.versions,
            lost=contents.lost,
        )

    def entry(self, head: Head, name: str) -> Entry | None:
        """Give what a snapshot says of one name; ``None``: it has none such.

        Raises:
            IntegrityError: What says so is missing or damaged.
            StoreError: It cannot be read now.
        """
        if head.apart is None:
            return _own_names(head).get(name)
        return self.manifest(head).names[name] if name in shown_of(head).names else None

    def groups(self, head: Head) -> tuple[dict[str, bytes], dict[str, str]]:
        """Give what can be read of where the values of a snapshot are, and what cannot.

        Returns:
            Name, or key of a definition → id of its group; name → why that is not known.
        """
        if isinstance(head, Manifest):
            return _groups(head.names, head.definitions), {}
        names = shown_of(head).names
        try:
            contents = self._contents(head)
            runs = [(run, self._run_or_why(run)) for run in contents.runs]
            if sum(run.count for run in contents.runs) != len(names):
                raise IntegrityError("the records of a manifest do not fit it")
            sound = [known for _, known in runs if not isinstance(known, str)]
            if len(sound) == len(runs):
                _must_fit(head, sound)
        except IntegrityError as error:
            return {}, dict.fromkeys(names, str(error))
        lost: dict[str, str] = {}
        at = 0
        for run, known in runs:
            if isinstance(known, str):
                lost |= dict.fromkeys(names[at : at + run.count], known)
            at += run.count
        rows = {row.name: row for known in sound for row in known.rows}
        return _groups(rows, contents.definitions), lost

    def trouble(self, head: Head) -> str:
        """Say why the names of a manifest cannot be read or are not those that it shows; empty: they are."""
        try:
            if head.apart is not None:
                _must_fit(head, [self._run(run) for run in self._contents(head).runs])
        except IntegrityError as error:
            return str(error)
        return ""

    def _contents(self, head: Head) -> Contents:
        if head.apart is None:
            raise IntegrityError("a manifest says nowhere where its names are")
        return decode_contents(self._record(head.apart.contents))

    def _run(self, run: Run) -> _Known:
        known = self._runs.get(run.rows)
        if known is None:
            rows = decode_rows(self._record(run.rows))
            sources = frozenset(row.kept_in for row in rows if row.kept_in)
            known = _Known(rows, tuple(row.name for row in rows), sources)
            if len(self._runs) >= MOST_RUNS:
                self._runs.clear()
            self._runs[run.rows] = known
        if len(known.rows) != run.count:
            raise IntegrityError("the records of a manifest do not fit each other")
        return known

    def _run_or_why(self, run: Run) -> _Known | str:
        try:
            return self._run(run)
        except IntegrityError as error:
            return str(error)


def _must_fit(head: Head, runs: Sequence[_Known]) -> None:
    """Refuse a manifest that shows other names than it has, or says less than from where they are carried."""
    names = tuple(chain.from_iterable(run.names for run in runs))
    sources = frozenset[str]().union(*(run.sources for run in runs))
    if names != shown_of(head).names or sources != carried_from(head).keys():
        raise IntegrityError("the records of a manifest do not fit it")


def _groups(names: Mapping[str, Entry | Row], definitions: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        **{name: entry.group for name, entry in names.items()},
        **{f"definition {key}": own for key, own in definitions.items()},
    }
