"""A folder that is mounted from elsewhere, or may hang for other reasons, as a place for bytes.

Drive's folder on Colab, NFS, SMB: the folder looks like one of this machine, but what is behind it may be
gone, may hang for ever, and takes bytes long before they have arrived. So nothing here touches it: helper
processes do, each call with a time limit (:mod:`keepstate.backends._mount_helpers`).

**Writing.** An object is written into a file without a name, which is closed and only then renamed, and never
touched again. To write under the final name at once would save the rename. But a helper that is killed in the
middle would leave half an object under a name that is given once, and everyone who has the folder mounted
would see it grow. A rename over Drive's mount is atomic for this machine alone: in the cloud the file
appears under its name, under the other one, or not yet, and only two who rename to one name may leave both.
Names are never chosen twice, so there are no such two. What arrives elsewhere may still be missing or short,
without any error here, and that is found by the checksums of packs and manifests, of which the manifest comes
last. Hence ``proof="none"``.

Files are not mapped, locked or appended to: none of that is reliable on such mounts.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.disk import FULL, translate
from keepstate.backends._mount_helpers import ON_COLAB, PROGRAM, Helpers, TimeLimits
from keepstate.backends._mount_process import ABSENT
from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._protocol import Backend, Item, Properties
from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keepstate._base.clock import Clock
    from keepstate.backends._mount_helpers import Helper

LISTING_DELAY_SECONDS = 1800.0
"""The longest that users of Drive's mount on Colab reported until a file was to be seen elsewhere. Usual are
one or two minutes, and for NFS and SMB the minute that they remember a folder for."""

PUTS_PER_SECOND = 2.0
"""What Drive bears of new files for long (rclone); bursts of small ones were answered by quota errors."""

PACK_BYTES = 32 << 20
MOST_AT_ONCE = 2

_DRIVE = "fuse.drive"
"""Type of the file system of Drive's mount on Colab."""

_LEFT_OVER_AFTER = timedelta(days=1)
"""No put takes so long, and no clock of a file server is so wrong: such a file without a name was left."""

_GONE = frozenset({errno.ENOTCONN, errno.ESTALE, errno.ENODEV, errno.ECONNABORTED, errno.ESHUTDOWN})
"""What is said where a mount has lost what is behind it; 107 is what users of Drive on Colab meet."""

_PASSES = frozenset(
    {
        errno.EIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ECONNRESET,
        errno.EBUSY,
        errno.EAGAIN,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENOENT,  # a folder that was removed while a file was written into it
        getattr(errno, "EREMOTEIO", errno.EIO),
    }
)
"""Failures that some time may mend."""

_NO_KEY = frozenset(
    getattr(errno, name, 0) for name in ("ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED")
) - {0}
"""What NFS and SMB say when a ticket has run out."""


def open_mounted(
    path: Path,
    *,
    clock: Clock = SYSTEM_CLOCK,
    limits: TimeLimits | None = None,
    program: Sequence[str] = PROGRAM,
) -> Backend:
    """Give a mounted folder as a backend. Nothing is touched before the first call.

    Args:
        path: The folder; it is made when the first object is put.
        clock: The time.
        limits: How long the folder may take before it counts as hanging.
        program: For tests: a file, and its first arguments, that a helper process runs instead of
            ``_mount_process.py``, to let calls of the operating system fail.

    Raises:
        StoreError: This system has no helper processes of the kind that is needed.
    """
    if os.name != "posix":
        raise StoreError(f"{path}: a folder that may hang can be used as a store on Linux and macOS only")
    return MountedBackend(Path(path).absolute(), clock=clock, limits=limits or TimeLimits(), program=program)


@dataclass(frozen=True, slots=True)
class _Mount:
    """What the folder is part of."""

    point: str | None
    """Where it is mounted, each character a byte; ``None``: it is of this machine's main disk."""
    kind: str
    """Type of the file system; empty: not known."""


class MountedBackend:
    """See :func:`open_mounted`."""

    def __init__(self, path: Path, *, clock: Clock, limits: TimeLimits, program: Sequence[str]) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._helpers = Helpers(path, program=program, limits=limits, clock=clock)
        self._mount: _Mount | None = None
        self._swept = False

    def __repr__(self) -> str:
        return f"MountedBackend({self.place!r})"

    @property
    def properties(self) -> Properties:
        """No proof: what was written waits on this machine, and nobody says when it has gone."""
        return Properties(
            proof="none",
            atomic_create=False,
            listing_delay_seconds=LISTING_DELAY_SECONDS,
            most_at_once=MOST_AT_ONCE,
            puts_per_second=PUTS_PER_SECOND,
            pack_bytes=PACK_BYTES,
        )

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._path)

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Hand an object to the mount; who has the folder mounted here sees all of it or nothing."""
        check_name(name)
        with memoryview(data) as given, given.cast("B") if given.nbytes else memoryview(b"") as view:
            there = self._put(name, view, replace=replace)
        if there:
            raise AlreadyThereError(
                f"{self._path} has an object {name!r} already, and it is not to be replaced"
            )

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object."""
        check_name(name)
        check_range(start, length)
        seconds = self._limits.call_seconds
        with self._asking(name, seconds=seconds, transfer=True, absent=True) as (helper, mount):
            request = {"do": "get", "name": name, "start": start, "length": length, "mount": mount.point}
            helper.ask(request, seconds=seconds)
            found, expected = helper.fetch(self._limits)
        if len(found) < expected:
            raise UnavailableError(f"{self._path / name} became shorter while it was read: read it again")
        return found.toreadonly()

    def stat(self, name: str) -> Item:
        """Look at one object."""
        check_name(name)
        with self._asking(name, seconds=self._limits.call_seconds, absent=True) as (helper, mount):
            helper.ask({"do": "look", "name": name, "mount": mount.point}, seconds=self._limits.call_seconds)
            seen = helper.answer()
        return _item(name, seen["nbytes"], seen["modified"])

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Walk through the folders, each in a call of its own with its own time limit."""
        folders = [check_prefix(prefix)]
        found: list[Item] = []
        while folders:
            folder = folders.pop()
            for entry, is_folder, nbytes, modified in self._entries(folder):
                name = folder + entry
                try:
                    check_name(name)
                except ValueError:
                    continue  # of the file system, of somebody else, or without a name yet
                if is_folder:
                    folders.append(f"{name}/")
                else:
                    found.append(_item(name, nbytes, modified))
        return iter(found)

    def delete(self, name: str) -> None:
        """Remove a file; its folder stays, because other machines may have put something into it.

        On Drive's mount the file is cut down to no bytes first. Otherwise it would go into Drive's bin with
        all of them, where they count against the quota for 30 days, and nobody would have gained space. The
        bytes that were cut off become an old version of the file, which does not count. Elsewhere this would
        only be one more way to leave an empty file behind when the power goes.
        """
        check_name(name)
        with self._asking(name, seconds=self._limits.call_seconds) as (helper, mount):
            request = {"do": "delete", "name": name, "empty_first": mount.kind == _DRIVE}
            helper.ask({**request, "mount": mount.point}, seconds=self._limits.call_seconds)
            helper.answer()

    def close(self) -> None:
        """End the helper processes, and wait for none that hangs."""
        self._helpers.close()

    def _put(self, name: str, view: memoryview, *, replace: bool) -> bool:
        """Put an object, and say whether it was there already."""
        seconds = self._limits.for_bytes(len(view))
        with self._asking(name, seconds=seconds, transfer=True) as (helper, mount):
            self._sweep(helper, mount)
            request = {"do": "put", "name": name, "replace": replace, "mount": mount.point}
            helper.ask(request, view, seconds=seconds)
            return "there" in helper.answer()

    def _entries(self, folder: str) -> Sequence[tuple[str, bool, int, float]]:
        """Give what is right in a folder."""
        seconds = self._limits.call_seconds
        name = folder.removesuffix("/")
        with self._asking(name, seconds=seconds) as (helper, mount):
            helper.ask({"do": "entries", "name": name, "mount": mount.point}, seconds=seconds)
            try:
                return [
                    (entry, is_folder, nbytes, modified)
                    for said in helper.answers(seconds=seconds)
                    for entry, is_folder, nbytes, modified in said["entries"]
                ]
            except OSError as error:
                if folder == "lost+found/" and error.errno == errno.EACCES:
                    return []  # of the file system itself, and root's
                raise

    def _sweep(self, helper: Helper, mount: _Mount) -> None:
        """Remove what killed helpers left, once."""
        if self._swept:
            return
        self._swept = True
        before = (self._clock.utc_now() - _LEFT_OVER_AFTER).timestamp()
        helper.ask({"do": "sweep", "before": before, "mount": mount.point}, seconds=self._limits.call_seconds)
        helper.answer()

    @contextmanager
    def _asking(
        self, name: str, *, seconds: float, transfer: bool = False, absent: bool = False
    ) -> Iterator[tuple[Helper, _Mount]]:
        """Lend a helper, and say what the operating system tells it in the words of this package.

        Args:
            name: Of the object, or empty.
            seconds: How long to wait for a helper that is free.
            transfer: Whether the call moves many bytes.
            absent: Whether it is an error of its own if the object is not there.
        """
        try:
            with self._helpers.lent(seconds=seconds, transfer=transfer) as helper:
                # The first call finds out what is mounted there, so that later ones see when it is gone.
                if self._mount is None:
                    helper.ask({"do": "where"}, seconds=self._limits.call_seconds)
                    said = helper.answer()
                    self._mount = _Mount(said["mount"], said["kind"])
                yield helper, self._mount
        except StoreError:
            raise
        except OSError as error:
            if absent and error.errno in ABSENT:
                raise NotFoundError(f"{self._path} has no object {name!r}") from error
            raise self._translated(error, name) from error

    def _translated(self, error: OSError, name: str) -> StoreError:
        path = self._path / name
        said = error.strerror or str(error)
        found: StoreError
        if error.errno in _GONE:
            point = self._mount.point if self._mount else None
            where = os.fsdecode(point.encode("latin-1")) if point else str(self._path)
            found = UnavailableError(
                f"the mount at {where} is gone ({said}): mount it again ({ON_COLAB}); "
                "nothing can be kept there until then"
            )
        elif error.errno == errno.EIO:
            found = UnavailableError(
                f"the mount failed at {path} ({said}): Drive says so for folders with many files, when its "
                "quota is used up and when it is asked too much; look at its space, and try again later"
            )
        elif error.errno in _PASSES:
            found = UnavailableError(f"the mount failed at {path} ({said}): try again later")
        elif error.errno in _NO_KEY:
            found = CredentialsError(f"the file server does not let us use {path} ({said}): sign in again")
        elif error.errno in FULL:
            found = StoreFullError(
                f"no space is left for {path} ({said}): free some where it is kept and empty the bin there, "
                "or on this machine's disk, where files wait to be uploaded"
            )
        elif not error.errno:
            found = StoreError(f"the helper process for {path} failed: {said}")
        else:
            found = translate(error, path)
        found.errno = error.errno
        return found


def _item(name: str, nbytes: int, modified: float) -> Item:
    return Item(name, nbytes, datetime.fromtimestamp(modified, UTC))
