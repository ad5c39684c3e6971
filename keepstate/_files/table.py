"""The table of a folder's files: what is stored as the stream of its group. Format: FORMAT.md §5.

A path is bytes, as the file system has it, because not every name is text. Everything that comes from a store
is checked here before it is used: a table may have been written by someone who means harm.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec

from keepstate._files.folder import LONGEST
from keepstate._model.manifest import Count  # noqa: TC001 - msgspec resolves annotations at run time
from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate._files.ignore import Ignore
    from keepstate._model.manifest import PartRecord

PART_BYTES = 32 << 20
"""A file is cut into parts of this length, so that it can be restored without holding it whole; as long as a
pack."""
PERMISSIONS = 0o777
"""Of a file's mode only these are kept: a restored file is never set-user-id."""
LONGEST_NAME = 255
"""Bytes of one name, the limit of Linux file systems."""
LONGEST_PATH = 4095
"""Bytes of a path. Source: ``PATH_MAX`` of ``linux/limits.h``, without its zero."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One file."""

    path: bytes
    """From the top of the folder, ``/`` between."""
    size: Annotated[int, msgspec.Meta(ge=0, le=LONGEST)]
    mtime_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=PERMISSIONS)]
    first: Count = 0
    """Number of its first part; the others follow. Of no meaning for an empty file."""

    @property
    def parts(self) -> range:
        """Numbers of its parts."""
        return range(self.first, self.first + -(-self.size // PART_BYTES))


class Table(msgspec.Struct, frozen=True):
    """All files of a folder, and the rules by which they were chosen."""

    files: list[Row]
    ignore: list[str] = []
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=LONGEST)] = LONGEST


def decode_table(stream: bytes) -> Table:
    """Read a table.

    Raises:
        IntegrityError: These bytes are none.
    """
    try:
        return msgspec.msgpack.decode(stream, type=Table)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise IntegrityError(f"the table of a folder's files holds something else: {error}") from error


def show_path(path: bytes | str) -> str:
    """Write a path so that it can be printed and stored as text, whatever its bytes are.

    >>> show_path(b"caf\\xc3\\xa9.txt"), show_path(b"caf\\xe9.txt")
    ('café.txt', 'caf\\\\xe9.txt')
    """
    raw = os.fsencode(path) if isinstance(path, str) else path
    return raw.decode("utf-8", "backslashreplace")


def refusal(row: Row, parts: Sequence[PartRecord], rules: Ignore) -> str:
    """Say why a row must not be followed; empty if it may.

    Args:
        row: From a store.
        parts: All parts of its group.
        rules: Those that always hold.
    """
    names = row.path.split(b"/")
    if any(name in (b"", b".", b"..") for name in names):
        return "its path leads out of the folder"
    if b"\0" in row.path or len(row.path) > LONGEST_PATH or any(len(name) > LONGEST_NAME for name in names):
        return "its path is none that a file system takes"
    if os.sep != "/" and any(mark in row.path for mark in (b"\\", b":")):
        return "its path is none that this system takes"
    if rules.covers(os.fsdecode(row.path)):
        return "it lies where watched files never do"
    if row.size and row.parts.stop > len(parts):
        return "its parts are not there: the table is damaged"
    lengths = [parts[number].ref.length for number in row.parts]
    if sum(lengths) != row.size or any(not 1 <= length <= PART_BYTES for length in lengths):
        return "its parts do not make up its length: the table is damaged"
    return ""
