"""A folder of Google Drive, over its REST API, as a place for bytes.

It is laid out as a mounted Drive is, real folders with real names, so a store is the same one whether it is
reached by the mount or by the API. What Drive does not have is dealt with here: names are not unique, a
listing comes late, nothing is created only if it is not there. So files are known by their ids, of several
files of one name the oldest counts, and nobody may choose a name twice.
"""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.table import size
from keepstate.backends._drive_answers import FOLDER, About, File, oldest_first, read_answer
from keepstate.backends._drive_calls import ENDPOINT, SHARED, Calls
from keepstate.backends._drive_files import Files, split
from keepstate.backends._drive_folders import LISTING_DELAY_SECONDS, Folders
from keepstate.backends._drive_ids import Ids
from keepstate.backends._drive_tokens import open_tokens
from keepstate.backends._drive_upload import PATIENCE, FutileError, Upload, Uploads, sha256_of
from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._protocol import Item, Properties
from keepstate.errors import (
    AlreadyThereError,
    InvalidInputError,
    KeepstateError,
    NotFoundError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate._base.clock import Clock
    from keepstate._base.retry import Backoff
    from keepstate.backends._address import Address
    from keepstate.backends._credentials import Credentials

PUTS_PER_SECOND = 2.0
"""Creations that Drive bears for long, by the experience of rclone; more end in refusals."""

MOST_AT_ONCE = 4
"""A call takes 0.2 to 1 s whatever its size; with four at a time two creations a second are reached."""

_LOOK_UNITS, _LIST_UNITS, _READ_UNITS, _WRITE_UNITS = 5.0, 100.0, 200.0, 50.0
"""Of 325,000 a minute and user. Source: Drive API, "Usage limits" of May 2026."""

_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", re.ASCII)

_MOST_UNFINISHED = 64
"""Uploads that are remembered; there are never more at a time, and an old one's session is gone anyway."""


@dataclass(frozen=True, slots=True)
class Space:
    """How full the account is, in bytes."""

    used: int
    """By Drive, Gmail and Photos together, the bin included."""
    limit: int | None
    """``None``: there is none."""
    in_trash: int
    """Of *used*, what emptying the bin of Drive would give back."""

    def __str__(self) -> str:
        full = "no limit" if self.limit is None else size(self.limit)
        return (
            f"{size(self.used)} of {full} are used, {size(self.in_trash)} of them by the bin, which counts "
            "until it is emptied"
        )


def open_drive(
    address: Address,
    credentials: Credentials,
    *,
    clock: Clock = SYSTEM_CLOCK,
    patience: Backoff = PATIENCE,
) -> Drive:
    """Open a folder of the user's Drive; nothing is asked of Drive yet.

    Args:
        address: ``gdrive://folder/sub``; its option ``endpoint`` names another server.
        credentials: ``GDRIVE_CREDENTIALS`` or ``GDRIVE_TOKEN``; without, what ``google.auth`` finds.
        clock: The time.
        patience: How long a put resumes its own upload, besides the time that its bytes may take.

    Raises:
        InvalidInputError: The address names no folder, or an endpoint that a token must not be sent to.
        CredentialsError: The stored credential is none.
    """
    top = (address.container, *filter(None, address.folder.split("/")))
    if address.scheme != "gdrive" or not {*top}.isdisjoint({"", ".", ".."}):
        raise InvalidInputError(f"store={str(address)!r}: an address of Drive looks like gdrive://folder")
    calls = Calls(
        address.option("endpoint") or ENDPOINT,
        place=str(address),
        tokens=open_tokens(credentials, clock=clock),
        redact=credentials.redact,
        clock=clock,
    )
    return Drive(calls, top, patience=patience)


class Drive:
    """A folder of Drive. It is made when the first object is put; folders that are empty stay.

    Args:
        calls: Makes requests.
        top: Names of folders from the user's own files down to the store.
        patience: How long a put resumes its own upload.
    """

    def __init__(self, calls: Calls, top: tuple[str, ...], *, patience: Backoff = PATIENCE) -> None:
        self._calls = calls
        self._stop = threading.Event()
        self._ids = Ids(calls)
        self._folders = Folders(calls, self._ids, top)
        self._uploads = Uploads(calls, stop=self._stop, patience=patience)
        self._files = Files(calls, self._folders)
        self._lock = threading.Lock()
        self._unfinished: dict[str, Upload] = {}

    def __repr__(self) -> str:
        return f"Drive({self.place!r})"

    @property
    def properties(self) -> Properties:
        """The proof is the checksum that Drive computed."""
        return Properties(
            proof="checksum",
            atomic_create=False,
            listing_delay_seconds=LISTING_DELAY_SECONDS,
            most_at_once=MOST_AT_ONCE,
            puts_per_second=PUTS_PER_SECOND,
            units={
                "put": _LIST_UNITS + _WRITE_UNITS,  # is it there, and create
                "get": _READ_UNITS,
                "stat": _LOOK_UNITS,
                "list": 2 * _LIST_UNITS,  # at least: the folder, and what is in it
                "delete": _LIST_UNITS + _WRITE_UNITS,
            },
        )

    @property
    def place(self) -> str:
        """Its address."""
        return self._calls.place

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object, and return when Drive has said the checksum of exactly these bytes.

        Raises:
            AlreadyThereError: There is an object of that name, also an equal one. Another machine that
                creates it at the same moment is not noticed.
        """
        check_name(name)
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        try:
            self._put(name, view, replace=replace)
        except NotFoundError:
            # The folder is gone that was there a moment ago, or the file that was to be replaced.
            self._folders.forget()
            self._files.forget(name)
            try:
                self._put(name, view, replace=replace)
            except NotFoundError as error:
                raise UnavailableError(f"{error}: somebody else changes these folders; try again") from error
        except StoreFullError as error:
            raise StoreFullError(f"{error}; {self._room()}") from error

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object."""
        check_name(name)
        check_range(start, length)
        if length == 0:
            self.stat(name)
            return memoryview(b"")
        known = self._files.known_id(name)
        if known is not None:
            try:
                return self._read(name, known, start, length)
            except NotFoundError:
                self._files.forget(name)
        for file in self._files.look(name):
            try:
                return self._read(name, file.id, start, length)
            except NotFoundError:
                continue  # deleted, and the listing does not know it yet
        raise self._not_found(name)

    def stat(self, name: str) -> Item:
        """Look at one object."""
        check_name(name)
        file = self._files.known(name)
        if file is None:
            listed = self._files.look(name)
            file = next((now for each in listed if (now := self._files.now(each.id, name))), None)
        if file is None:
            raise self._not_found(name)
        self._files.know([(name, file)])
        return _item(name, file)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """List folder by folder, many in one request; what can be no object is passed over."""
        check_prefix(prefix)
        level = dict.fromkeys(self._folders.find(tuple(prefix.split("/")[:-1]), fresh=True), prefix)
        seen = {*level}
        found: dict[str, dict[str, File]] = {}
        while level:
            below: dict[str, str] = {}
            for file in self._files.children([*level], doing=f"listing {prefix or 'everything'!r}"):
                parent = next((parent for parent in file.parents if parent in level), None)
                if parent is None or not _is_name(name := level[parent] + file.name):
                    continue
                if file.mime_type == FOLDER:
                    below[file.id] = f"{name}/"
                elif file.has_bytes:
                    found.setdefault(name, {})[file.id] = file
            level = {file_id: name for file_id, name in below.items() if file_id not in seen}
            seen |= level.keys()
        first = [(name, oldest_first([*files.values()])[0]) for name, files in found.items()]
        self._files.know(first)
        return iter([_item(name, file) for name, file in first])

    def delete(self, name: str) -> None:
        """Remove all files of that name for good, not into the bin, where they would count on."""
        check_name(name)
        with self._lock:
            unfinished = self._unfinished.pop(name, None)
        ids = [self._files.known_id(name), *(file.id for file in self._files.look(name))]
        if unfinished is not None:
            ids.append(unfinished.file_id)  # it may have been created, though the answer was a failure
        # The oldest last: as long as any is there, it is the one that counted before.
        for file_id in reversed([*dict.fromkeys(filter(None, ids))]):
            self._files.remove(file_id, doing=f"deleting {name!r}")
        self._files.forget(name)

    def space(self) -> Space:
        """Ask how full the account is that new files count for."""
        doing = f"{self.place}: asking for the space"
        parameters = {"fields": "storageQuota"}
        answer = self._calls.ask("GET", "/drive/v3/about", doing=doing, parameters=parameters)
        quota = read_answer(answer.body, About, doing=doing).storage_quota
        try:
            limit = int(quota.limit) if quota.limit else None
            return Space(int(quota.usage), limit, int(quota.usage_in_drive_trash))
        except ValueError:
            pass
        raise UnavailableError(f"{doing}: Drive named no numbers: ask again later")

    def close(self) -> None:
        """Close the connections, and try nothing again."""
        self._stop.set()
        self._calls.close()

    def _put(self, name: str, view: memoryview, *, replace: bool) -> None:
        sha256 = sha256_of(view)
        there = self._files.there(name, all_of_them=replace)
        upload = self._resumed(name, sha256, len(view))
        if upload is not None and upload.file_id in {file.id for file in there}:
            # The answer was lost, or said that it had failed, and it had not.
            self._files.know([(name, self._uploads.compare(upload, self._uploads.earlier(upload)))])
            return
        if there and not replace:
            raise AlreadyThereError(
                f"{self.place} has an object {name!r} already, and it is not to be replaced"
            )
        if there:
            leaf = split(name)[1]
            upload = Upload(name, leaf, "", there[0].id, len(view), sha256, replaces=True)
        elif upload is None:
            upload = self._begin(name, view, sha256)
        try:
            file = self._uploads.bring(upload, view)
        except FutileError:
            raise
        except UnavailableError:
            self._remember(upload)
            raise
        self._check_place(name, file)
        for other in reversed(there[1:]):
            self._files.remove(other.id, doing=f"deleting a duplicate of {name!r}")
        self._files.know([(name, file)])

    def _begin(self, name: str, view: memoryview, sha256: str) -> Upload:
        path, leaf = split(name)
        parent = self._folders.make(path)
        file_id = self._ids.take(doing=f"writing {name!r}")
        return Upload(name, leaf, parent, file_id, len(view), sha256)

    def _check_place(self, name: str, file: File) -> None:
        """Refuse a success in a folder that somebody has thrown away meanwhile."""
        if file.trashed:
            self._folders.forget()
            self._files.forget(name)
            self._files.remove(file.id, doing=f"deleting {name!r} from the bin")
            raise UnavailableError(
                f"{self.place}: writing {name!r}: its folder was thrown away; the next try makes another"
            )

    def _resumed(self, name: str, sha256: str, nbytes: int) -> Upload | None:
        """Give the upload that an earlier call for the same bytes could not finish."""
        with self._lock:
            upload = self._unfinished.pop(name, None)
        return upload if upload is not None and (upload.sha256, upload.nbytes) == (sha256, nbytes) else None

    def _remember(self, upload: Upload) -> None:
        if upload.replaces:
            return  # nothing is created by it, so it can begin anew
        with self._lock:
            self._unfinished[upload.name] = upload
            while len(self._unfinished) > _MOST_UNFINISHED:
                del self._unfinished[next(iter(self._unfinished))]

    def _read(self, name: str, file_id: str, start: int, length: int | None) -> memoryview:
        is_part = bool(start) or length is not None
        end = "" if length is None else str(start + length - 1)
        doing = f"reading {name!r}"
        answer = self._calls.ask(
            "GET",
            f"/drive/v3/files/{file_id}",
            doing=doing,
            parameters={"alt": "media", **SHARED},
            headers={"Range": f"bytes={start}-{end}"} if is_part else {},
            most_bytes=sys.maxsize if length is None else length,
            welcome=(416,),
        )
        if answer.status == 416:  # it is there, and ends before
            return memoryview(b"")
        if is_part:
            said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            first, last, total = (int(number) for number in said.groups()) if said else (0, -1, 0)
            until = total if length is None else min(start + length, total)
            if (first, last + 1, len(answer.body)) != (start, until, until - start):
                raise UnavailableError(f"{self.place}: {doing}: Drive sent another range: ask again later")
        return answer.body

    def _room(self) -> str:
        try:
            return f"{self.space()}; delete files or empty the bin at drive.google.com"
        except KeepstateError:
            return "the bin counts until it is emptied; delete files or empty it at drive.google.com"

    def _not_found(self, name: str) -> NotFoundError:
        return NotFoundError(f"{self.place} has no object {name!r}")


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidInputError:
        return False
    return True


def _item(name: str, file: File) -> Item:
    return Item(name, file.nbytes, file.modified_time)
