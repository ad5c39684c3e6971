"""What Drive says about files, read into values of known types, because it may be anybody who answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from keepstate.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
_NATIVE = "application/vnd.google-apps."
"""Documents of Google's own, folders among them, have no bytes."""

FILE_FIELDS = "id,name,mimeType,size,sha256Checksum,md5Checksum,createdTime,modifiedTime,trashed,parents"
LIST_FIELDS = f"nextPageToken,incompleteSearch,files({FILE_FIELDS},shortcutDetails(targetId,targetMimeType))"

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """Where a shortcut leads."""

    target_id: str = ""
    target_mime_type: str = ""


class File(msgspec.Struct, frozen=True, rename="camel"):
    """A file or folder. Fields that were not asked for, or do not apply, are empty."""

    id: str
    name: str = ""
    mime_type: str = ""
    size: str = ""
    sha256_checksum: str = msgspec.field(default="", name="sha256Checksum")
    md5_checksum: str = msgspec.field(default="", name="md5Checksum")
    created_time: datetime = _LONG_AGO
    modified_time: datetime = _LONG_AGO
    trashed: bool = False
    parents: tuple[str, ...] = ()
    shortcut_details: Target = Target()

    @property
    def has_bytes(self) -> bool:
        """Whether it is an ordinary file."""
        return not self.mime_type.startswith(_NATIVE) and self.size.isascii() and self.size.isdigit()

    @property
    def nbytes(self) -> int:
        """Its length."""
        return int(self.size)


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of a listing."""

    files: tuple[File, ...] = ()
    next_page_token: str = ""
    incomplete_search: bool = False


class Ids(msgspec.Struct, frozen=True):
    """Ids for files that are to be created."""

    ids: tuple[str, ...]


class Quota(msgspec.Struct, frozen=True, rename="camel"):
    """Bytes of the account, as text."""

    usage: str = "0"
    usage_in_drive_trash: str = "0"
    limit: str = ""


class About(msgspec.Struct, frozen=True, rename="camel"):
    """The account."""

    storage_quota: Quota


Kind = TypeVar("Kind", File, Page, Ids, About)


def read_answer(body: bytes | memoryview, kind: type[Kind], *, doing: str) -> Kind:
    """Read the body of an answer.

    Raises:
        UnavailableError: It is no such thing; a proxy or a sign-in page of a network may have answered.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        pass  # raised outside: the error quotes what came
    raise UnavailableError(f"{doing}: what came back is no answer of Drive: ask again later")


def oldest_first(files: Sequence[File]) -> list[File]:
    """Order files of one name so that everybody takes the same one for the first."""
    return sorted(files, key=lambda file: (file.created_time, file.id))


def quoted(text: str) -> str:
    r"""Put a text into the quotes of a query.

    >>> quoted("it's")
    "'it\\'s'"
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
