"""Which files of a folder are left out, by patterns in the manner of ``.gitignore``.

Knows names only. ``*.tmp`` is a name at any depth, ``cache/`` a folder at any depth, ``runs/*.log`` or
``/notes.txt`` a path from the top; ``**`` stands for any number of folders. What lies in a folder that is
left out is left out. There is no ``!``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEMPORARY = ".keepstate-*.tmp"
"""Files of ours that have no name yet."""
ALWAYS = (".git/", "__pycache__/", ".ipynb_checkpoints/", TEMPORARY)
"""Never kept and never restored: they belong to other tools, and a file in ``.git/hooks`` is run unasked."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    parts: tuple[str, ...]
    """One for each folder on the way; a single one is a name at any depth."""
    only_folders: bool
    anchored: bool

    def fits(self, path: Sequence[str], *, is_folder: bool) -> bool:
        if self.only_folders and not is_folder:
            return False
        return _fits(self.parts, path) if self.anchored else fnmatchcase(path[-1], self.parts[0])


def _fits(parts: Sequence[str], path: Sequence[str]) -> bool:
    if not parts:
        return not path
    if parts[0] == "**":
        return any(_fits(parts[1:], path[start:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], parts[0]) and _fits(parts[1:], path[1:])


class Ignore:
    """Some patterns and those that always hold.

    Raises:
        InvalidInputError: A pattern is empty, or one of ``.gitignore`` that is not known here.

    >>> Ignore(["*.tmp", "cache/"]).covers("runs/cache/a.bin"), Ignore([]).covers("a.tmp")
    (True, False)
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [_read(pattern) for pattern in (*ALWAYS, *patterns)]

    def names(self, path: str, *, is_folder: bool) -> bool:
        """Say whether a pattern fits this very path; the folders above it are not asked.

        Args:
            path: From the top of the folder, with ``/`` between.
            is_folder: Whether it is a folder.
        """
        parts = path.split("/")
        return any(pattern.fits(parts, is_folder=is_folder) for pattern in self._patterns)

    def covers(self, path: str, *, is_folder: bool = False) -> bool:
        """Say whether a file or folder is left out, by itself or by a folder above it."""
        parts = path.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        return self.names(path, is_folder=is_folder) or any(
            self.names(each, is_folder=True) for each in above
        )


def _read(pattern: object) -> _Pattern:
    if not isinstance(pattern, str) or not pattern.strip("/"):
        raise InvalidInputError(
            f"ignore: {pattern!r} is no pattern; one is '*.tmp', or 'cache/' for a folder"
        )
    if pattern.startswith("!"):
        raise InvalidInputError(f"ignore: {pattern!r}: patterns can leave out, not take back in")
    inner = pattern.removesuffix("/")
    parts = tuple(inner.strip("/").split("/"))
    return _Pattern(parts, only_folders=pattern.endswith("/"), anchored="/" in inner)
