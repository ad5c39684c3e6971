"""Which files of Drive an object means: looked up by name, known by id, and of several the oldest.

A look at an id is always up to date and costs a twentieth of a listing, so ids are remembered; that of a file
that is gone, in the bin or renamed is looked up anew.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keepstate.backends._drive_answers import FOLDER, File, oldest_first, quoted
from keepstate.backends._drive_calls import SHARED
from keepstate.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from keepstate.backends._drive_calls import Calls
    from keepstate.backends._drive_folders import Folders

PARENTS_IN_A_QUERY = 50
"""Folders that one listing looks into; rclone asks for as many."""


class Files:
    """Finds and removes the files of one store.

    Args:
        calls: Makes requests.
        folders: Finds the folders that they are in.
    """

    def __init__(self, calls: Calls, folders: Folders) -> None:
        self._calls = calls
        self._folders = folders
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def know(self, pairs: Iterable[tuple[str, File]]) -> None:
        """Remember which file an object is."""
        with self._lock:
            self._known.update((name, file.id) for name, file in pairs)

    def forget(self, name: str) -> None:
        """Look the object up anew from now on."""
        with self._lock:
            self._known.pop(name, None)

    def known_id(self, name: str) -> str | None:
        """Give the id of the file that the object was last time."""
        with self._lock:
            return self._known.get(name)

    def known(self, name: str) -> File | None:
        """Look at the file that the object was last time; ``None``: not known, or it is not any more."""
        file_id = self.known_id(name)
        file = None if file_id is None else self.now(file_id, name)
        if file_id is not None and file is None:
            self.forget(name)
        return file

    def now(self, file_id: str, name: str) -> File | None:
        """Give the newest state of a file, if it is there and is the object."""
        try:
            file = self._calls.file(file_id, doing=f"looking at {name!r}")
        except NotFoundError:
            return None
        return file if file.has_bytes and not file.trashed and file.name == split(name)[1] else None

    def there(self, name: str, *, all_of_them: bool) -> list[File]:
        """Give the files of a name as they are now, the one that counts first.

        Folders that somebody else made lately are not looked for: this is asked before every put.

        Args:
            name: Of the object.
            all_of_them: Or one is enough.
        """
        known = self.known(name)
        if known is not None and not all_of_them:
            return [known]
        path, leaf = split(name)
        listed = self._named(leaf, self._folders.find(path), f"writing {name!r}")
        # A listing may show what was deleted, and miss what was created.
        found = [now for file in listed if (now := self.now(file.id, name))]
        if known is not None and known.id not in {file.id for file in found}:
            found.append(known)
        return oldest_first(found)

    def look(self, name: str) -> list[File]:
        """Give the files of a name by a listing, the one that counts first, wherever they may be."""
        path, leaf = split(name)
        doing = f"looking for {name!r}"
        folders = self._folders.find(path)
        files = self._named(leaf, folders, doing)
        if not files:
            anew = self._folders.find(path, fresh=True)
            if anew != folders:
                files = self._named(leaf, anew, doing)
        if files:
            self.know([(name, files[0])])
        return files

    def children(self, folders: Sequence[str], *, doing: str) -> Iterator[File]:
        """Give what is in folders, by few requests."""
        for at in range(0, len(folders), PARENTS_IN_A_QUERY):
            yield from self._children(folders[at : at + PARENTS_IN_A_QUERY], doing)

    def remove(self, file_id: str, *, doing: str) -> None:
        """Delete a file for good; the bin would go on counting it."""
        try:
            self._calls.ask("DELETE", f"/drive/v3/files/{file_id}", doing=doing, parameters=SHARED)
        except NotFoundError:
            pass  # it was deleted by somebody else

    def _named(self, leaf: str, folders: Sequence[str], doing: str) -> list[File]:
        if not folders:
            return []
        query = f"name={quoted(leaf)} and mimeType!={quoted(FOLDER)} and ({_inside(folders)})"
        try:
            found = self._calls.files(query, doing=doing)
        except NotFoundError:
            self._folders.forget()  # one of the folders was deleted, and the others are asked for anew
            return []
        return oldest_first([file for file in found if file.name == leaf and file.has_bytes])

    def _children(self, folders: Sequence[str], doing: str) -> Iterator[File]:
        """List some folders.

        Drive has been seen to answer nothing to a question about several folders that had files, and
        everything to one about each; rclone believes such an answer for a single folder only, and so do we.
        A folder that was deleted meanwhile makes it refuse the whole question.
        """
        try:
            found = self._calls.files(_inside(folders), doing=doing)
        except NotFoundError:
            self._folders.forget()
            found = []
        if found or len(folders) == 1:
            yield from found
            return
        half = len(folders) // 2
        yield from self._children(folders[:half], doing)
        yield from self._children(folders[half:], doing)


def split(name: str) -> tuple[tuple[str, ...], str]:
    """Give the folders of a name, and the name of the file in them.

    >>> split("a/b/c")
    (('a', 'b'), 'c')
    """
    *path, leaf = name.split("/")
    return tuple(path), leaf


def _inside(folders: Sequence[str]) -> str:
    return " or ".join(f"{quoted(folder)} in parents" for folder in folders)
