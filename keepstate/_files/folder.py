"""What is watched: one folder, and which of its files are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._files.ignore import Ignore
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST_BYTES = 2 << 30
"""Longest file that is kept unless the user says otherwise: a checkpoint of 500 million 32-bit parameters,
and an eighth of a free account's 15 GB. What is larger is mostly data that can be fetched again."""
LONGEST = 1 << 40
"""Bytes. A table of files may not name more, whatever it says."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and its rules. Made by :meth:`of`."""

    name: str
    """The path as the user wrote it, normalised, with a slash at the end."""
    path: str
    """Absolute, without links: where it is on this machine. It need not exist yet."""
    ignore: tuple[str, ...] = ()
    max_bytes: int = MOST_BYTES
    apart: tuple[str, ...] = ()
    """Absolute paths inside that are not the user's, as the store."""
    rules: Ignore = field(default=Ignore(()), repr=False, compare=False)

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        *,
        ignore: Iterable[str] = (),
        max_bytes: int = MOST_BYTES,
        store: Path | None = None,
    ) -> Folder:
        """Check what the user gave.

        Args:
            path: Relative to the working directory, or absolute; ``~`` is the home folder.
            ignore: Patterns of what is left out, see :mod:`keepstate._files.ignore`.
            max_bytes: Longest file that is kept, 1 or more.
            store: Where keepstate itself writes; left out if it lies inside.

        Raises:
            InvalidInputError: It is a file, or a folder that is more than a notebook's output, or a rule is
                wrong.
        """
        given = os.fsdecode(path)
        if not given.strip() or "\0" in given:
            raise InvalidInputError(f"watch: {path!r} is no folder; name one, like 'outputs/'")
        if isinstance(ignore, str):
            ignore = (ignore,)
        patterns = tuple(ignore)
        if type(max_bytes) is not int or not 1 <= max_bytes <= LONGEST:
            raise InvalidInputError(f"max_bytes is a number of bytes from 1 to {LONGEST}, not {max_bytes!r}")
        name = os.path.normpath(given).replace(os.sep, "/").rstrip("/") + "/"
        real = os.path.realpath(os.path.expanduser(given))
        _check_place(name, real)
        inside = () if store is None else (os.path.realpath(store),)
        if any(_is_within(real, each) for each in inside):
            raise InvalidInputError(
                f"{name} lies inside the store of keepstate: watch the folder you write to"
            )
        apart = tuple(each for each in inside if _is_within(each, real))
        return cls(name, real, patterns, max_bytes, apart, Ignore(patterns))

    def covers(self, path: str, *, is_folder: bool = False) -> bool:
        """Say whether the file or folder at an absolute *path* inside is kept by the rules of names."""
        if not _is_within(path, self.path) or path == self.path:
            return False
        if any(_is_within(path, each) for each in self.apart):
            return False
        below = os.path.relpath(path, self.path).replace(os.sep, "/")
        return not self.rules.covers(below, is_folder=is_folder)


def _check_place(name: str, real: str) -> None:
    if os.path.lexists(real) and not os.path.isdir(real):
        raise InvalidInputError(f"{name[:-1]} is a file: watch the folder that it is in")
    home = os.path.realpath(os.path.expanduser("~"))
    if real == os.path.dirname(real) or _is_within(home, real):
        what = "the whole disk" if real == os.path.dirname(real) else "your home folder or above it"
        raise InvalidInputError(
            f"{name} is {what}: watch the folder that the notebook writes its results to, like 'outputs/'"
        )


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip(os.sep) + os.sep)
