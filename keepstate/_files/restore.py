"""Put the files of a folder back: those that are missing, and never over a newer one.

The table comes from a store and is not trusted: a path that leads out of the folder, also by a link that lies
there, is refused by name and costs only itself. Bytes are checked against their ids before they are written.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._files.folder import Folder
from keepstate._files.ignore import Ignore
from keepstate._files.placing import FOLDER_DISK, FolderDisk, sweep, temporary_in
from keepstate._files.settle import look
from keepstate._files.store import remember
from keepstate._files.table import Row, Table, decode_table, refusal, show_path
from keepstate._model.folders import FOLDER_CODEC
from keepstate.errors import CodecError, IntegrityError, StoreError

if TYPE_CHECKING:
    from keepstate._files.scan import Seen
    from keepstate._model.manifest import Entry, PartRecord
    from keepstate._repository import Repository

RESERVE_BYTES = 256 << 20
"""What a restoration leaves free on the disk: the notebook must still be able to write."""


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What became of the files of one folder; all paths from its top."""

    restored: tuple[str, ...]
    left_alone: dict[str, str] = field(default_factory=dict)
    """Path → what is there instead."""
    failed: dict[str, str] = field(default_factory=dict)
    """Path → why it was not put back."""
    nbytes: int = 0
    """Bytes written."""
    memory: bytes = b""
    """For the :class:`FolderGroup` of the next save: what came back is not read again, and what did not stays
    in the table."""


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder as a snapshot has it."""

    table: Table
    parts: list[PartRecord]

    def folder(self, name: str, *, store: Path | None = None) -> Folder:
        """Give the folder of this name on this machine, with the rules by which it was kept.

        Raises:
            InvalidInputError: It cannot be watched here.
        """
        return Folder.of(name, ignore=self.table.ignore, max_bytes=self.table.max_bytes, store=store)


def read_folder(repository: Repository, entry: Entry, *, member: str | None = None) -> KeptFolder:
    """Read which files a snapshot has of a folder, and by which rules.

    Args:
        repository: Where it is.
        entry: Of the folder's name, from a manifest.
        member: Whose packs to look into.

    Raises:
        CodecError: It is no folder, or of a later version.
        IntegrityError: Its record or table is damaged.
        StoreError: The store could not be read.
    """
    record = repository.group(entry.group, member=member)
    if record.codec != FOLDER_CODEC:
        raise CodecError(f"it was encoded as {record.codec!r}, which is no folder that this version knows")
    return KeptFolder(decode_table(repository.read(record.stream, member=member)), record.parts)


def restore_folder(
    repository: Repository,
    entry: Entry,
    into: Folder | Path,
    *,
    member: str | None = None,
    overwrite: bool = False,
    disk: FolderDisk = FOLDER_DISK,
) -> FolderReport:
    """Write the files of a folder that are missing.

    Args:
        repository: Where they are kept.
        entry: Of the folder's name, from a manifest.
        into: The folder; made if it is not there.
        member: Whose packs to look into.
        overwrite: Also replace files that are there, unless they are newer than the kept ones.
        disk: Where writes go.

    Raises:
        CodecError: It is no folder.
        IntegrityError: Its record or table is damaged.
        StoreError: The store could not be read. What happens to single files is in the report.
    """
    kept = read_folder(repository, entry, member=member)
    top = Path(os.path.realpath(into.path if isinstance(into, Folder) else into))
    return _Restoring(repository, kept, top, member, disk, overwrite=overwrite).run()


class _NotThisOneError(Exception):
    """Why one file is not put back."""


class _LeftAloneError(Exception):
    """What is at its path instead."""


class _Restoring:
    def __init__(
        self,
        repository: Repository,
        kept: KeptFolder,
        top: Path,
        member: str | None,
        disk: FolderDisk,
        *,
        overwrite: bool,
    ) -> None:
        self._repository = repository
        self._kept = kept
        self._top = top
        self._member = member
        self._disk = disk
        self._overwrite = overwrite
        self._rules = Ignore(())

    def run(self) -> FolderReport:
        restored: list[str] = []
        left_alone: dict[str, str] = {}
        failed: dict[str, str] = {}
        seen: dict[bytes, Seen] = {}
        absent: dict[bytes, str] = {}
        sound: list[Row] = []
        nbytes = 0
        for row in self._kept.table.files:
            # What is refused does not enter a later snapshot either.
            if why := refusal(row, self._kept.parts, self._rules):
                failed[show_path(row.path)] = why
            else:
                sound.append(row)
        self._sweep(sound)
        for row in sound:
            shown = show_path(row.path)
            try:
                seen[row.path] = self._restore(row)
            except _LeftAloneError as what:
                left_alone[shown] = str(what)
            except (_NotThisOneError, IntegrityError, StoreError) as error:
                failed[shown] = absent[row.path] = str(error)
            except (OSError, ValueError, OverflowError) as error:  # a date may be none that the system takes
                why = getattr(error, "strerror", None) or str(error)
                failed[shown] = absent[row.path] = f"it cannot be written: {why}"
            else:
                restored.append(shown)
                nbytes += row.size
        return FolderReport(
            restored=tuple(restored),
            left_alone=left_alone,
            failed=failed,
            nbytes=nbytes,
            memory=remember(sound, self._kept.parts, seen, absent),
        )

    def _restore(self, row: Row) -> Seen:
        relative = os.fsdecode(row.path)
        path = self._top / relative
        replace = self._may_replace(row, path)
        parent = self._parent(relative)
        space = self._disk.space(parent)
        if space is not None and space.free_bytes - row.size < RESERVE_BYTES:
            raise _NotThisOneError("the disk has no room for it: free some space, and restore it then")
        with temporary_in(parent, self._disk) as (temporary, descriptor):
            self._fill(row, descriptor)
            self._disk.dress(temporary, mode=row.mode, mtime_ns=row.mtime_ns)
            # Before it has its name: half a file that a power cut leaves would be taken for the user's.
            self._disk.sync(descriptor)
            if replace and self._may_replace(row, path):
                self._disk.publish(temporary, path)
            else:
                self._publish_new(row, temporary, path)
        found = look(str(self._top), relative)
        if found is None:
            raise _NotThisOneError("it was removed as soon as it was there")
        return found

    def _publish_new(self, row: Row, temporary: Path, path: Path) -> None:
        try:
            self._disk.publish_new(temporary, path)
        except FileExistsError:
            self._may_replace(row, path)
            raise _LeftAloneError("another file is there") from None

    def _may_replace(self, row: Row, path: Path) -> bool:
        """Say whether a file is at *path* that is to be replaced; raises if one is there that is not."""
        try:
            there = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(there.st_mode):
            raise _LeftAloneError("something else is there: a folder, a link or a device")
        if (there.st_size, there.st_mtime_ns) == (row.size, row.mtime_ns):
            raise _LeftAloneError("it is there")
        if not self._overwrite:
            raise _LeftAloneError("another file is there")
        if there.st_mtime_ns > row.mtime_ns:
            raise _LeftAloneError("a newer file is there")
        return True

    def _parent(self, relative: str) -> Path:
        """Make the folders above a file; each step must be a folder, and no link."""
        if not self._top.is_dir():
            self._make(self._top)
        at = self._top
        for name in relative.split("/")[:-1]:
            at = at / name
            try:
                found = os.lstat(at)
            except FileNotFoundError:
                self._disk.make_directory(at)
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise _NotThisOneError(
                    f"{show_path(name)} on its way is no folder here, but a link or a file"
                )
        return at

    def _sweep(self, rows: list[Row]) -> None:
        for parent in {os.path.dirname(os.fsdecode(row.path)) for row in rows}:
            path = self._top / parent
            if os.path.realpath(path) == str(path):  # no link leads out of the folder
                sweep(path, self._disk)

    def _make(self, path: Path) -> None:
        missing = [path]
        while not missing[-1].parent.is_dir():
            missing.append(missing[-1].parent)
        for each in reversed(missing):
            self._disk.make_directory(each)

    def _fill(self, row: Row, descriptor: int) -> None:
        for number in row.parts:
            part = self._repository.part(self._kept.parts[number], member=self._member)
            buffer = memoryview(bytearray(part.nbytes))  # 32 MiB at most, which was checked
            part.read_into(buffer)
            self._disk.write(descriptor, buffer)
