"""A bucket as a place for bytes: S3 and whatever speaks it, Google's, Azure's, and Hugging Face's.

Requests are made by obstore, which runs them in threads of its own: whoever has used a backend of this module
must not use it in a child that was forked afterwards. It is loaded on first use.

**What the proof is.** A ``put`` returns when the far side has said which bytes it keeps:

- Amazon compares the SHA-256 that is sent along, and refuses what differs.
- Nearly everyone else answers with the MD5 of what arrived as the tag of the object; it is compared here.
- Where the tag is something else (Azure, Hugging Face, encrypted buckets), the object is read back.

What turns out to be other than it was sent is removed again.

**What a new name is.** Amazon, Google, Azure and Hugging Face refuse the second of two that create one name.
Others that speak S3 may refuse it, ignore the wish or refuse the very wish. Which of them one is shows when
the first small object is put a second time with the same bytes, which changes nothing. Until that is known,
and wherever it does not refuse, a name is looked up before it is written.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Literal, TypeVar

from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._object_errors import Answer, read_answer, translate
from keepstate.backends._object_places import WANTED, open_client, read_place, usual_files
from keepstate.backends._protocol import Item, Properties
from keepstate.errors import (
    AlreadyThereError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore import ObjectMeta
    from obstore.store import ObjectStore

    from keepstate.backends._address import Address
    from keepstate.backends._credentials import Credentials
    from keepstate.backends._object_places import Place

__all__ = ["WANTED", "ObjectStoreBackend", "open_object_store", "usual_files"]

T = TypeVar("T")

MOST_AT_ONCE = 4
"""Requests that still make it faster. Measured on loopback with packs of 33 MiB, two cores that others used,
too, in MiB/s of the best of three: seaweedfs 64, 83, 83, 75 for 1, 2, 4, 8 at a time, rclone 86, 98, 86, 92;
a single stream of another library 79 and 80. On a long line more at a time help more than that, up to here
without taking much memory. In parts of 5 MiB it was not faster."""

_REQUEST_SECONDS = 60
"""For a request without many bytes; the slowest far sides take some seconds."""

_SLOWEST_BYTES_PER_SECOND = 128 << 10
"""A line of 1 Mbit/s. A request that is slower than that is given up and made again."""

_SIZES = (1 << 20, 8 << 20, 64 << 20, 512 << 20, 5 << 30)
"""Bytes. The time that a request may take is a property of a client, so there is one client for each; 5 GiB
is the most that S3 takes at once."""

_SMALL_BYTES = 64 << 10
"""What may be sent a second time, to see whether that is refused."""

_PIECE_BYTES = 4 << 20
"""Bytes that are looked at a time when an object is read back: few calls, little memory."""

_PAGE = 1000
"""Names in one answer of a listing, the most that S3 gives."""

_Reading = Literal["reading"]


class ObjectStoreBackend:
    """A bucket, or a folder in it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._refuses = place.creates
        self._has_ranges = True
        self._clients: dict[int | _Reading, ObjectStore] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ObjectStoreBackend({self.place!r})"

    @property
    def properties(self) -> Properties:
        """Whether creating is atomic may become known with the first ``put``."""
        return Properties(
            proof="checksum",
            atomic_create=self._refuses is True,
            # rclone, which refuses nothing, breaks off or mixes what is read meanwhile.
            atomic_replace=self._refuses is True,
            most_at_once=MOST_AT_ONCE,
            pack_bytes=32 << 20,
        )

    @property
    def place(self) -> str:
        """Its address."""
        return str(self._place.address)

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:
        """Store an object in one request, and return when the far side has said that it has these bytes."""
        check_name(name)
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        if len(view) > _SIZES[-1]:
            raise InvalidInputError(
                f"{name!r} has {len(view)} bytes, and {_SIZES[-1]} is the most for one object"
            )
        tag = self._send(name, view, "overwrite") if replace else self._create(name, view)
        self._prove(name, view, tag)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range; what obstore has received is given on without another copy."""
        check_name(name)
        check_range(start, length)
        if length == 0:
            self.stat(name)
            return memoryview(b"")
        if start == 0 and length is None:
            return self._get_all(name)
        if self._has_ranges:
            try:
                return self._get_range(name, start, length)
            except _NoRangesError:
                self._has_ranges = False
        return self._get_part_of_all(name, start, length)

    def stat(self, name: str) -> Item:
        """Look at one object."""
        check_name(name)
        return self._look(name, asks_why=True)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """List page after page; objects with other names than ours are passed over."""
        import obstore

        check_prefix(prefix)
        client = self._client(0)
        found = self._call(lambda: obstore.list(client, prefix or None, chunk_size=_PAGE).collect())
        return iter([_item(one["path"], one) for one in found if _is_ours(one["path"])])

    def delete(self, name: str) -> None:
        """Remove an object. A bucket with versions keeps its bytes until its own rules remove them."""
        import obstore

        check_name(name)
        client = self._client(0)
        try:
            self._call(lambda: obstore.delete(client, name), name)
        except NotFoundError:
            pass  # some places say so, others do not
        except UnavailableError:
            # Servers that keep objects as files fail at the name of a folder; or the answer was lost.
            if self._is_there(name):
                raise

    def close(self) -> None:
        """Forget the clients; their connections close with them."""
        with self._lock:
            self._clients.clear()

    def _create(self, name: str, view: memoryview) -> str:
        """Store a new object; return its tag."""
        if self._refuses is not True and self._is_there(name):
            raise self._already_there(name)
        if self._refuses is False:
            return self._send(name, view, "overwrite")
        try:
            tag = self._send(name, view, "create")
        except _UnknownWishError:
            self._refuses = False
            return self._send(name, view, "overwrite")
        if self._refuses is None and len(view) <= _SMALL_BYTES:
            tag = self._try_again(name, view) or tag
        return tag

    def _try_again(self, name: str, view: memoryview) -> str | None:
        """Find out whether it refuses what is there already; return the new tag if it does not."""
        try:
            tag = self._send(name, view, "create")
        except AlreadyThereError:
            self._refuses = True
        except StoreError:
            pass  # not now, then; the first one was a success
        else:
            self._refuses = False
            return tag
        return None

    def _is_there(self, name: str) -> bool:
        try:
            self._look(name)
        except NotFoundError:
            return False
        return True

    def _look(self, name: str, *, asks_why: bool = False) -> Item:
        """Ask for what is known of an object; *asks_why* it is not there if it is not."""
        import obstore

        client = self._client(0)
        try:
            return self._call(lambda: _item(name, obstore.head(client, name)), name)
        except (StoreError, NotFoundError) as error:
            failed = error
        try:
            if not isinstance(failed, UnavailableError if asks_why else (UnavailableError, NotFoundError)):
                # Answers to HEAD give no reason: is the key wrong, or expired, is the whole bucket missing?
                self.get(name, length=1)
            raise failed
        finally:
            del failed  # it would keep our callers alive, and the bytes that they hold

    def _send(self, name: str, view: memoryview, mode: Literal["create", "overwrite"]) -> str:
        import obstore

        client = self._client(len(view))
        # A connection may hold on to them a moment longer than we do, and the caller may change what he can.
        body = view if isinstance(view.obj, bytes) else bytes(view)
        try:
            sent = self._call(lambda: obstore.put(client, name, body, mode=mode, use_multipart=False), name)
        except NotFoundError as error:
            raise StoreError(
                f"{self.place}: there is no bucket {self._place.address.container!r}: make it, or correct "
                "the address"
            ) from error
        return (sent["e_tag"] or "").strip('"').lower()

    def _prove(self, name: str, view: memoryview, tag: str) -> None:
        """Return if the far side has said that it keeps these bytes.

        Raises:
            UnavailableError: It keeps others; they are removed.
        """
        if self._place.checks or tag == hashlib.md5(view, usedforsecurity=False).hexdigest():
            return
        try:
            if self._is_same(name, view):
                return
        except NotFoundError as error:
            raise UnavailableError(
                f"{self.place}, object {name!r}: it was stored, and is not there; try again later"
            ) from error
        self.delete(name)
        raise UnavailableError(
            f"{self.place}, object {name!r}: other bytes were stored than were sent, and were removed again; "
            "try again later"
        )

    def _is_same(self, name: str, view: memoryview) -> bool:
        import obstore

        client = self._client("reading")

        def compare() -> bool:
            done = 0
            for piece in obstore.get(client, name).stream(min_chunk_size=_PIECE_BYTES):
                if memoryview(piece) != view[done : done + len(piece)]:
                    return False
                done += len(piece)
            return done == len(view)

        return self._call(compare, name)

    def _get_all(self, name: str) -> memoryview:
        import obstore

        client = self._client("reading")
        return self._call(lambda: memoryview(obstore.get(client, name).bytes()), name)

    def _get_range(self, name: str, start: int, length: int | None) -> memoryview:
        import obstore

        client = self._client("reading")

        def read() -> memoryview:
            if length is not None:
                return memoryview(obstore.get_range(client, name, start=start, length=length))
            return memoryview(obstore.get(client, name, options={"range": {"offset": start}}).bytes())

        try:
            return self._call(read, name)
        except _BeyondEndError:
            return memoryview(b"")

    def _get_part_of_all(self, name: str, start: int, length: int | None) -> memoryview:
        """Read an object up to the end of a range, at a place that answers ranges as if they were none."""
        import obstore

        client = self._client("reading")

        def read() -> memoryview:
            result = obstore.get(client, name)
            size: int = result.meta["size"]
            wanted = max(size - start, 0) if length is None else max(min(size - start, length), 0)
            target = memoryview(bytearray(wanted))
            came = 0
            if wanted:
                for piece in result.stream(min_chunk_size=_PIECE_BYTES):
                    first, last = max(start - came, 0), min(start + wanted - came, len(piece))
                    if first < last:
                        begin = came + first - start
                        target[begin : begin + last - first] = memoryview(piece)[first:last]
                    came += len(piece)
                    if came >= start + wanted:
                        break
            return target.toreadonly()

        return self._call(read, name)

    def _client(self, nbytes: int | _Reading) -> ObjectStore:
        """Give a client for requests that carry *nbytes* to the far side."""
        key: int | _Reading = (
            nbytes if nbytes == "reading" else next(size for size in _SIZES if nbytes <= size)
        )
        with self._lock:
            if key not in self._clients:
                seconds = 0.0 if key == "reading" else _REQUEST_SECONDS + key / _SLOWEST_BYTES_PER_SECOND
                self._clients[key] = open_client(self._place, seconds, watch_silence=key == "reading")
            return self._clients[key]

    def _call(self, request: Callable[[], T], name: str = "") -> T:
        """Make one request, and say in our words what went wrong."""
        from obstore.exceptions import BaseError

        try:
            return request()
        except (BaseError, OSError, RuntimeError, ValueError) as error:
            answer = read_answer(error)
        # Not inside of the handler: the error itself would be the context of ours, and may quote a secret.
        cause = _SaidError(self._place.secrets.redact(f"{answer.kind}: {answer.text}"))
        raise self._translated(answer, name) from cause

    def _translated(self, answer: Answer, name: str) -> Exception:
        place = self._place
        found = translate(
            answer,
            name=name,
            place=self.place,
            container=place.address.container,
            secrets=place.secrets,
            keys=place.keys,
        )
        for applies, kind in (
            (answer.is_beyond_end, _BeyondEndError),
            (answer.is_without_range, _NoRangesError),
            (answer.is_unknown_wish, _UnknownWishError),
        ):
            if applies:
                return kind(str(found))
        return found

    def _already_there(self, name: str) -> AlreadyThereError:
        return AlreadyThereError(f"{self.place} has an object {name!r} already, and it is not to be replaced")


class _SaidError(Exception):
    """What obstore said, without secrets."""


class _BeyondEndError(StoreError):
    """A range began at or behind the end."""


class _NoRangesError(StoreError):
    """A range was asked for, and the answer was none."""


class _UnknownWishError(StoreError):
    """The far side does not know how to do that."""


def open_object_store(address: Address, credentials: Credentials) -> ObjectStoreBackend:
    """Give the bucket at *address*; no request is made yet.

    Args:
        address: Of the scheme ``s3``, ``gs``, ``az`` or ``hf``.
        credentials: What :data:`WANTED` names for it.

    Raises:
        InvalidInputError: It is no address of a bucket.
        CredentialsError: No key was found.
    """
    return ObjectStoreBackend(read_place(address, credentials))


def _item(name: str, found: ObjectMeta) -> Item:
    return Item(name, found["size"], found["last_modified"])


def _is_ours(name: str) -> bool:
    try:
        check_name(name)
    except InvalidInputError:
        return False
    return True
