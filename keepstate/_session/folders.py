"""The watched folders of a session: noticed when they change, saved with each snapshot, put back at start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._files import (
    AT_ONCE_BYTES,
    MOST_BYTES,
    Folder,
    FolderGroup,
    Watcher,
    read_folder,
    restore_folder,
)
from keepstate._session import space
from keepstate.errors import InvalidInputError, KeepstateError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from keepstate._base.clock import Clock
    from keepstate._files import FolderReport
    from keepstate._model.manifest import Manifest
    from keepstate._model.snapshot import Reason
    from keepstate._repository import Repository


@dataclass(slots=True)
class Returned:
    """What became of folders that were to be put back."""

    restored: list[str] = field(default_factory=list)
    """Names of folders."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of a folder, or path of a file in one → why it was not put back."""
    remarks: list[str] = field(default_factory=list)


class Folders:
    """All of them.

    Args:
        repository: Where they are kept.
        on_change: Called from a thread of ours when something in one of them has changed.
        clock: For the looks at folders from which no events come.
    """

    def __init__(self, repository: Repository, on_change: Callable[[], None], *, clock: Clock) -> None:
        self._repository = repository
        self._on_change = on_change
        self._clock = clock
        self._watched: dict[str, Folder] = {}
        self._memories: dict[str, bytes] = {}
        self._reread = False
        self._watcher = Watcher(self._changed, clock=clock)
        self._begun = False
        self.changed = False
        """Whether something has changed since the newest picture was taken, or that one lacks something."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, each with a slash at the end."""
        return tuple(self._watched)

    def start(self) -> None:
        """Begin to notice changes; until then no thread runs."""
        self._begun = True
        if self._watched:
            self._watcher.start()

    def folder(
        self, path: str | os.PathLike[str], *, ignore: Iterable[str] = (), max_bytes: int | None = None
    ) -> Folder:
        """Check what is to be watched; see :func:`keepstate.watch`."""
        most = MOST_BYTES if max_bytes is None else max_bytes
        return Folder.of(path, ignore=ignore, max_bytes=most, store=self._repository.path)

    def watch(self, folder: Folder) -> None:
        """Keep the files of a folder from now on."""
        self._add(folder)

    def unwatch(self, name: str) -> None:
        """Keep them no longer; older snapshots do."""
        del self._watched[name]
        self._memories.pop(name, None)
        self._watcher.remove(name)

    def stop(self) -> None:
        """End the threads."""
        self._watcher.stop()

    # -- saving --------------------------------------------------------------------------------------

    def groups(self, reason: Reason) -> list[FolderGroup]:
        """Give what enters the picture that is taken now."""
        self.changed = False
        return [
            FolderGroup(
                folder,
                self._memories.get(name, b""),
                reread=self._reread,
                patient=reason not in space.URGENT,
                at_once_bytes=None if reason == "manual" else AT_ONCE_BYTES,
                clock=self._clock,
            )
            for name, folder in self._watched.items()
        ]

    def saved(self, memories: Mapping[str, bytes], unfinished: Sequence[str]) -> None:
        """Remember what the store has of them now."""
        self._reread = False
        self._memories.update((name, memory) for name, memory in memories.items() if name in self._watched)
        self.changed |= any(name in self._watched for name in unfinished)

    def not_saved(self, *, reread: bool) -> None:
        """The picture was not kept; with *reread* the store has lost what the last one relied on."""
        self.changed |= bool(self._watched)
        self._reread |= reread

    # -- restoring -----------------------------------------------------------------------------------

    def put_back(self, manifest: Manifest, names: Iterable[str], *, overwrite: bool = False) -> Returned:
        """Write the files of these folders that are missing, and watch the folders again."""
        returned = Returned()
        for name in names:
            try:
                self._put_back(manifest, name, returned, overwrite=overwrite)
            except (KeepstateError, InvalidInputError) as error:
                returned.failed[name] = str(error)
        return returned

    def _put_back(self, manifest: Manifest, name: str, returned: Returned, *, overwrite: bool) -> None:
        entry, member = manifest.names[name], manifest.member
        kept = read_folder(self._repository, entry, member=member)
        folder = self._watched.get(name) or kept.folder(name, store=self._repository.path)
        report = restore_folder(self._repository, entry, folder, member=member, overwrite=overwrite)
        self._memories[name] = report.memory
        self._add(folder)
        returned.restored.append(name)
        returned.failed.update((name + path, why) for path, why in report.failed.items())
        if sentence := _sentence(name, report):
            returned.remarks.append(sentence)

    def _add(self, folder: Folder) -> None:
        self._watched[folder.name] = folder
        self._watcher.add(folder)
        if self._begun:
            self._watcher.start()
        self.changed = True
        self._on_change()

    def _changed(self, _name: str) -> None:
        self.changed = True
        self._on_change()


def _sentence(name: str, report: FolderReport) -> str:
    if not report.restored and not report.left_alone:
        return ""
    alone = len(report.left_alone)
    return f"{name}: {len(report.restored)} files put back" + (
        f", {alone} left alone because they are there already." if alone else "."
    )
