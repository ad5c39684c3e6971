"""Store a watched folder with a snapshot: what is new is read, what is unchanged is counted on, unread.

Runs after the objects of the snapshot, in the process or thread that writes them. A file that cannot be read
now, or is being written, keeps its last generation; only a file that is seen to be gone leaves the table.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._files.beneath import open_beneath
from keepstate._files.scan import Found, Seen, scan
from keepstate._files.settle import BEING_WRITTEN, Settled, settle
from keepstate._files.table import PART_BYTES, PERMISSIONS, Row, Table, show_path
from keepstate._model.folders import FOLDER_CODEC, FOLDER_TYPE, SelfStored
from keepstate._model.manifest import Entry, GroupRecord, MemberRecord, PartRecord
from keepstate._repository import CHUNK_BYTES
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from keepstate._files.folder import Folder
    from keepstate._model.folders import PartStore

    _Settle = Callable[[str, Mapping[str, Seen]], Settled]

AT_ONCE_BYTES = 1 << 30
"""New bytes that one snapshot takes from a folder: some tens of seconds of a slow disk, during which the
values of the same snapshot wait for their commit."""
MOST_REASONS = 100
"""Paths that a snapshot names as not kept; a manifest has at most 64 MiB."""
KEPT_BEFORE = "; what was kept of it before stays"


class Memory(msgspec.Struct, frozen=True):
    """What the save of a folder leaves for the next one."""

    files: list[Row] = []
    parts: list[PartRecord] = []
    seen: dict[bytes, Seen] = {}
    """How each file was when it was read."""
    absent: dict[bytes, str] = {}
    """Files that could not be put back → why; they stay in the table until something is at their path."""


class _ChangedError(Exception):
    """A file was written while it was read."""


class FolderGroup:
    """One folder, about to enter one snapshot; satisfies ``SelfStoring``.

    Args:
        folder: What to keep.
        memory: What the last save of this folder gave, or its restoration; empty at first.
        reread: Count on nothing that was stored before, because the store has changed under the last save.
        patient: Whether to wait two seconds for files that were written just now; not before a sudden end,
            when those that nobody has open are taken at once.
        at_once_bytes: New bytes to take at most, but always one file; ``None``: all.
        clock: For that wait.
    """

    def __init__(
        self,
        folder: Folder,
        memory: bytes = b"",
        *,
        reread: bool = False,
        patient: bool = True,
        at_once_bytes: int | None = AT_ONCE_BYTES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._folder = folder
        self._given = memory
        self._reread = reread
        self._patient = patient
        self._at_once_bytes = at_once_bytes
        self._clock = clock
        self._owner = os.getpid()  # the save may run in a child of it

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self._folder.name

    @property
    def relies(self) -> bool:
        """Whether it may count on what an earlier save has stored."""
        return bool(self._given) and not self._reread

    def store(self, store: PartStore) -> SelfStored:
        """Store the folder as it is now.

        Raises:
            StoreError: The store failed. What happens to the folder itself never raises.
        """
        store.progress(self.name, 0)
        # Not before: it may be megabytes, and the main thread stands still until the picture is taken.
        memory = msgspec.msgpack.decode(self._given, type=Memory) if self._given else Memory()
        stored = _Storing(self._folder, memory, store).run(
            reread=self._reread,
            settled=lambda top, changed: settle(
                top, changed, owner=self._owner, patient=self._patient, clock=self._clock
            ),
            at_once_bytes=self._at_once_bytes,
        )
        # It may be megabytes, and goes through a pipe.
        return replace(stored, memory=b"") if stored.memory == self._given else stored


class _Storing:
    def __init__(self, folder: Folder, memory: Memory, store: PartStore) -> None:
        self._folder = folder
        self._memory = memory
        self._store = store
        self._last = {row.path: row for row in memory.files}
        self._rows: dict[bytes, tuple[Row, list[PartRecord]]] = {}
        self._seen: dict[bytes, Seen] = {}
        self._absent: dict[bytes, str] = {}
        self._reasons: dict[str, str] = {}
        self._unfinished = False
        self._done = 0

    def run(self, *, reread: bool, settled: _Settle, at_once_bytes: int | None) -> SelfStored:
        found = scan(self._folder)
        changed = {
            path: seen for path, seen in found.files.items() if reread or not self._is_unchanged(path, seen)
        }
        self._read(settled(self._folder.path, changed), at_once_bytes)
        self._account_for(found)
        return self._finish()

    def _is_unchanged(self, path: str, seen: Seen) -> bool:
        raw = os.fsencode(path)
        return self._memory.seen.get(raw) == seen and self._keep_last(raw, seen=seen)

    def _keep_last(self, raw: bytes, *, seen: Seen | None = None) -> bool:
        """Take a file from the last table; ``False``: it is not there, or not all of it is."""
        row = self._last.get(raw)
        if row is None:
            return False
        parts = [self._memory.parts[number] for number in row.parts]
        if not all(self._store.rely(part.ref) for part in parts):
            return False
        self._rows[raw] = (row, parts)
        if seen is not None:
            self._seen[raw] = seen
        return True

    def _read(self, settled: Settled, at_once_bytes: int | None) -> None:
        for path, why in settled.waiting.items():
            self._not_now(path, why)
            self._unfinished = self._unfinished or why == BEING_WRITTEN
        for path, seen in settled.ready.items():
            over = at_once_bytes is not None and self._done and self._done + seen.size > at_once_bytes
            if over:
                self._not_now(path, "its turn comes with one of the next snapshots")
                self._unfinished = True
            elif not self._store.has_room(seen.size):
                self._not_now(path, "the store has no room for it: free some space there")
            else:
                self._read_one(path, seen, is_log=path in settled.logs)

    def _read_one(self, path: str, seen: Seen, *, is_log: bool) -> None:
        raw = os.fsencode(path)
        try:
            parts = self._put(path, seen, is_log=is_log)
        except _ChangedError:
            self._not_now(path, BEING_WRITTEN)
            self._unfinished = True
        except FileNotFoundError:
            return  # removed since the walk
        except StoreError:
            raise
        except OSError as error:
            self._not_now(path, f"it cannot be read: {error.strerror or error}")
        else:
            row = Row(raw, seen.size, seen.mtime_ns, seen.mode & PERMISSIONS)
            self._rows[raw], self._seen[raw] = (row, parts), seen

    def _put(self, path: str, seen: Seen, *, is_log: bool) -> list[PartRecord]:
        descriptor = open_beneath(self._folder.path, path)
        try:
            _check(descriptor, seen, is_log=is_log)
            parts = [
                PartRecord(
                    self._store.put(self._pieces(descriptor, start, min(start + PART_BYTES, seen.size))),
                    1,
                    False,
                )
                for start in range(0, seen.size, PART_BYTES)
            ]
            _check(descriptor, seen, is_log=is_log)
        finally:
            os.close(descriptor)
        return parts

    def _pieces(self, descriptor: int, start: int, stop: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(CHUNK_BYTES, stop - start)))
        for at in range(start, stop, CHUNK_BYTES):
            piece = buffer[: min(CHUNK_BYTES, stop - at)]
            filled = 0
            while filled < piece.nbytes:
                count = os.preadv(descriptor, [piece[filled:]], at + filled)
                if count == 0:
                    raise _ChangedError
                filled += count
            self._done += piece.nbytes
            self._store.progress(self._folder.name, self._done)
            yield piece

    def _not_now(self, path: str, why: str) -> None:
        kept = self._keep_last(os.fsencode(path))
        self._reasons[path] = why + (KEPT_BEFORE if kept else "")

    def _account_for(self, found: Found) -> None:
        """Say what is left out, and carry what may still be there."""
        self._reasons.update(found.skipped)
        for path, why in found.too_large.items():
            self._not_now(path, why)
        for path, why in found.unreadable.items():
            self._reasons[path] = f"it cannot be looked at: {why}; what was kept of it before stays"
        if not found.is_there and self._last:
            self._reasons[""] = "the folder is not there; what was kept of it before stays"
        for raw in self._last:
            path = os.fsdecode(raw)
            if raw in self._rows or path in found.files or path in found.too_large or path in found.skipped:
                continue
            if raw in self._memory.absent:
                why = self._memory.absent[raw]
                self._absent[raw] = why
                self._not_now(path, f"it could not be put back: {why}")
            elif not found.is_there or found.is_unknown(path):
                self._keep_last(raw, seen=self._memory.seen.get(raw))

    def _finish(self) -> SelfStored:
        rows, parts = [], list[PartRecord]()
        for raw in sorted(self._rows):
            row, own = self._rows[raw]
            rows.append(msgspec.structs.replace(row, first=len(parts)))
            parts += own
        table = Table(rows, list(self._folder.ignore), self._folder.max_bytes)
        stream = msgspec.msgpack.encode(table)
        record = GroupRecord(
            codec=FOLDER_CODEC,
            members=[MemberRecord(self._folder.name, "variable", FOLDER_TYPE, False)],
            needs={},
            key=self._folder.name,
            stream=self._store.put_stream(stream),
            parts=parts,
        )
        nbytes = len(stream) + sum(row.size for row in rows)
        absent = {raw: why for raw, why in self._absent.items() if raw in self._rows}
        return SelfStored(
            entry=Entry(self._store.put_record(record), FOLDER_TYPE, nbytes),
            memory=msgspec.msgpack.encode(Memory(rows, parts, dict(sorted(self._seen.items())), absent)),
            skipped=self._named_reasons(),
            unfinished=self._unfinished,
        )

    def _named_reasons(self) -> dict[str, str]:
        name = self._folder.name
        named = {f"{name}{show_path(path)}": self._reasons[path] for path in sorted(self._reasons)}
        if len(named) <= MOST_REASONS:
            return named
        few = dict(list(named.items())[:MOST_REASONS])
        return {
            **few,
            f"{name}…": f"{len(named) - MOST_REASONS} more of its files are not kept as they are now",
        }


def _check(descriptor: int, seen: Seen, *, is_log: bool) -> None:
    """Raise :class:`_ChangedError` unless the open file still is the one that was seen."""
    now = Seen.of(os.fstat(descriptor))
    grown = (now.inode, now.device) == (seen.inode, seen.device) and now.size >= seen.size
    if now != seen and not (is_log and grown):
        raise _ChangedError


def remember(
    rows: Iterable[Row], parts: list[PartRecord], seen: dict[bytes, Seen], absent: dict[bytes, str]
) -> bytes:
    """Make the memory of a folder that was just restored."""
    return msgspec.msgpack.encode(Memory(list(rows), parts, seen, absent))
