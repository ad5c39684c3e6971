"""Which folder of Drive a path means. Names are not unique there, and several folders may share one.

Two machines that make a folder at the same moment make two. All of them are read; written to is the one that
is older, which everybody sees alike. A folder of Drive is never deleted here: with it would go, for good,
whatever another machine put into it a moment ago.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keepstate.backends._drive_answers import FOLDER, SHORTCUT, File, oldest_first, quoted, read_answer
from keepstate.backends._drive_calls import SHARED, Pieces
from keepstate.backends._drive_ids import Ids, as_json
from keepstate.errors import NotFoundError

if TYPE_CHECKING:
    from keepstate.backends._drive_calls import Calls

    Path = tuple[str, ...]

LISTING_DELAY_SECONDS = 60.0
"""How long a listing may miss what was created. Google gives no number; reports speak of seconds, a few of a
minute. Whoever deletes by a listing waits far longer."""

_NAMES_IN_A_QUERY = 20
"""Keeps the address of a request below the 8 KB that proxies take, and the query below what Drive calls too
complex."""


class Folders:
    """Finds and makes the folders of one store.

    Args:
        calls: Makes requests.
        ids: Gives ids for new folders.
        top: Names from the user's own files down to the store. Instead of a folder, a shortcut to one may be
            there: that is how a folder that somebody shares gets into one's own files.
    """

    def __init__(self, calls: Calls, ids: Ids, top: Path) -> None:
        self._calls = calls
        self._ids = ids
        self._top = top
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._root = ""
        self._found: dict[Path, list[str]] = {}
        self._made: dict[Path, tuple[str, float]] = {}
        self._begun: dict[Path, str] = {}

    def find(self, path: Path, *, fresh: bool = False) -> list[str]:
        """Give the ids of all folders of a path below the store, the one to write to first; maybe none.

        Args:
            path: Names of folders; none: the store itself.
            fresh: Ask Drive, whatever is remembered.
        """
        whole = self._top + path
        with self._lock:
            found = self._found.get(whole)
        if fresh or not found:
            found = self._look(whole)
        return [*found]

    def make(self, path: Path) -> str:
        """Give the id of the folder to write to, and make it if it is not there."""
        whole = self._top + path
        with self._lock:
            known = self._found.get(whole)
        if known:
            return known[0]
        with self._making:  # otherwise two threads would make it twice
            if there := self.find(path):
                return there[0]
            parent = self._root_id()
            for count in range(1, len(whole) + 1):
                with self._lock:
                    there = self._found.get(whole[:count], [])
                if not there:
                    there = [self._create(whole[:count], parent)]
                    with self._lock:
                        self._found[whole[:count]] = there
                parent = there[0]
        return parent

    def forget(self) -> None:
        """Ask Drive anew from now on: something that was there is not any more."""
        with self._lock:
            self._found.clear()
            self._made.clear()
            self._begun.clear()

    def _look(self, whole: Path) -> list[str]:
        """Ask for all folders of any of the names at once, and follow the path through them."""
        doing = f"looking for the folder {'/'.join(whole)!r}"
        names = sorted(set(whole))
        files: dict[str, File] = {}
        for at in range(0, len(names), _NAMES_IN_A_QUERY):
            named = " or ".join(f"name={quoted(name)}" for name in names[at : at + _NAMES_IN_A_QUERY])
            kinds = f"mimeType={quoted(FOLDER)} or mimeType={quoted(SHORTCUT)}"
            found = self._calls.files(f"({kinds}) and ({named})", doing=doing)
            files.update((file.id, file) for file in found)
        ids = [self._root_id()]
        levels: dict[Path, list[str]] = {}
        for count, name in enumerate(whole, 1):
            above = {*ids}
            matching = [
                file for file in files.values() if file.name == name and not above.isdisjoint(file.parents)
            ]
            ids = [file.id for file in oldest_first(matching) if file.mime_type == FOLDER]
            if count <= len(self._top):
                ids += [
                    file.shortcut_details.target_id
                    for file in oldest_first(matching)
                    if file.mime_type == SHORTCUT and file.shortcut_details.target_mime_type == FOLDER
                ]
            ids += self._made_lately(whole[:count], ids, above)
            levels[whole[:count]] = ids
            if not ids:
                break
        with self._lock:
            for count in range(1, len(whole) + 1):
                if level := levels.get(whole[:count]):
                    self._found[whole[:count]] = level
                else:
                    self._found.pop(whole[:count], None)
        return levels.get(whole, [])

    def _made_lately(self, whole: Path, ids: list[str], above: set[str]) -> list[str]:
        """Give what was made here, is not listed yet, and is still there."""
        with self._lock:
            made = self._made.get(whole)
        if made is None or made[0] in ids:
            return []
        if self._calls.clock.monotonic() - made[1] > LISTING_DELAY_SECONDS:
            return []
        try:
            file = self._calls.file(made[0], doing=f"looking at the folder {'/'.join(whole)!r}")
        except NotFoundError:
            return []
        return [file.id] if not file.trashed and not above.isdisjoint(file.parents) else []

    def _create(self, whole: Path, parent: str) -> str:
        doing = f"making the folder {'/'.join(whole)!r}"
        with self._lock:
            file_id = self._begun.get(whole)
        if file_id is None:
            file_id = self._ids.take(doing=doing)
            with self._lock:
                self._begun[whole] = file_id  # the answer may be lost, and the next try is the same folder
        metadata = {"id": file_id, "name": whole[-1], "mimeType": FOLDER, "parents": [parent]}
        answer = self._calls.ask(
            "POST",
            "/drive/v3/files",
            doing=doing,
            parameters={"fields": "id", **SHARED},
            headers={"Content-Type": "application/json; charset=UTF-8"},
            body=Pieces(as_json(metadata)),
            welcome=(409,),
        )
        if answer.status != 409:
            read_answer(answer.body, File, doing=doing)
        with self._lock:
            self._made[whole] = (file_id, self._calls.clock.monotonic())
            self._begun.pop(whole, None)
        return file_id

    def _root_id(self) -> str:
        if not self._root:
            parameters = {"fields": "id", **SHARED}
            doing = "looking for the user's files"
            answer = self._calls.ask("GET", "/drive/v3/files/root", doing=doing, parameters=parameters)
            self._root = read_answer(answer.body, File, doing=doing).id
        return self._root
