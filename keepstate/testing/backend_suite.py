"""The tests that every backend passes: each sentence of the Protocol, as far as it can be seen from outside.

Subclass :class:`BackendSuite` in a test module, under a name that begins with ``Test``, and say in a fixture
how an empty place is made::

    class TestMyBackend(BackendSuite):
        @pytest.fixture
        def backend(self, tmp_path):
            with contextlib.closing(MyBackend(tmp_path)) as backend:
                yield backend

The place is used as it comes: wrap it where it must be asked patiently or slowly. One test has the marker
``slow``, which strict configurations want to be told of.
"""

from __future__ import annotations

import itertools
import os
import string
import threading
import traceback
from array import array
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate.backends import Backend, Properties
from keepstate.errors import AlreadyThereError, InvalidInputError, KeepstateError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIB = 1 << 20
LONGEST_PACK_BYTES = 64 * MIB
SHORTEST_PACK_BYTES = 8 * MIB

_ALLOWED = f"members/%41na/{string.ascii_lowercase}/{string.digits}/_-.@+~/n%2F1~0/%C3%A4/%/.hidden/..."
"""Every character that a name may have."""

_LONGEST_NAME = "/".join(["x" * 199] * 5 + ["y" * 24])
"""1024 characters; no part is longer than the 255 that file systems take."""

_NO_NAMES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "a/./b",
    "a b",
    "a\\b",
    "a\n",
    "a\0",
    "ä",
    "Z",
    "a=b",
    "a:b",
    "a*",
    "a?b",
    "x" * 1025,
]

_THREADS = 8

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
"""Between looks at a listing that may lag behind."""


class BackendSuite:
    """Tests of one backend; see the module's docstring for how to use it."""

    many_objects = 1001
    """More than one page of a listing, which has 1000 objects at S3 and Drive."""

    secrets: tuple[str, ...] = ()
    """Credentials that the backend was given, none of which it may ever show."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Give the place to be tested, empty; a subclass says how."""
        raise NotImplementedError("a subclass of BackendSuite gives a backend in a fixture of this name")

    # --- what it says of itself

    def test_it_speaks_the_protocol(self, backend: Backend) -> None:
        """It has every call of the Protocol, and promises that make sense."""
        assert isinstance(backend, Backend)
        promised = backend.properties
        assert isinstance(promised, Properties)
        assert promised == backend.properties
        assert promised.proof in ("none", "checksum")
        assert promised.listing_delay_seconds >= 0
        assert promised.most_at_once >= 1
        assert promised.puts_per_second is None or promised.puts_per_second > 0
        assert SHORTEST_PACK_BYTES <= promised.pack_bytes <= LONGEST_PACK_BYTES
        assert set(promised.units) <= {"put", "get", "stat", "list", "delete"}
        assert all(cost >= 0 for cost in promised.units.values())
        assert isinstance(backend.place, str)
        assert backend.place

    def test_it_shows_no_credential(self, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
        """Neither its repr nor an error, what led to it, or a log record holds one."""
        caplog.set_level(0)
        said = [repr(backend), str(backend), backend.place, repr(backend.properties)]
        backend.put("a/b", b"1")
        for call in (
            lambda: backend.put("a/b", b"2"),
            lambda: backend.get("a/none"),
            lambda: backend.stat("a/none"),
            lambda: backend.get("A/../none"),
            lambda: [*backend.list("none")],
        ):
            with pytest.raises(KeepstateError) as raised:
                call()
            said += [repr(raised.value), *traceback.format_exception(raised.value)]
        said += [record.getMessage() for record in caplog.records]
        shown = "\n".join(said)
        assert [number for number, secret in enumerate(self.secrets) if secret in shown] == []

    # --- put and get

    @pytest.mark.parametrize("nbytes", [0, 1, 1000, MIB, MIB + 1, 33 * MIB])
    def test_what_was_put_is_got(self, backend: Backend, nbytes: int) -> None:
        """An object of any length comes back as it was, at once."""
        data = os.urandom(nbytes)
        backend.put("a/object", data)
        found = backend.get("a/object")
        assert isinstance(found, memoryview)
        assert (found.format, found.ndim, found.nbytes) == ("B", 1, nbytes)
        assert found == data
        assert backend.stat("a/object").nbytes == nbytes

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes_come_in_any_kind(self, backend: Backend, kind: Callable[[bytes], bytes]) -> None:
        """All three kinds of memory are taken."""
        backend.put("a", kind(b"some bytes"))
        assert bytes(backend.get("a")) == b"some bytes"

    @pytest.mark.parametrize("count", [0, 3])
    def test_numbers_are_taken_as_their_bytes(self, backend: Backend, count: int) -> None:
        """Memory whose items are longer than a byte is stored whole."""
        numbers = array("d", range(count))
        backend.put("a", memoryview(numbers))
        assert bytes(backend.get("a")) == numbers.tobytes()

    def test_the_callers_bytes_are_left_alone(self, backend: Backend) -> None:
        """They are not changed by a put, and not read after it."""
        data = bytearray(os.urandom(MIB))
        before = bytes(data)
        backend.put("a", data)
        assert data == before
        data[:] = bytes(MIB)
        assert backend.get("a") == before
        data.clear()  # an error if a view of it is still held

    def test_answers_stay_as_they_are(self, backend: Backend) -> None:
        """Bytes that were got do not change when the object is replaced, deleted or got again."""
        backend.put("a", b"old bytes")
        found = backend.get("a")
        backend.put("a", b"new bytes", replace=True)
        assert bytes(backend.get("a")) == b"new bytes"
        backend.delete("a")
        assert bytes(found) == b"old bytes"

    @pytest.mark.parametrize("name", ["a", "a/b", ".a", "a..b", "0", "%", _ALLOWED, _LONGEST_NAME])
    def test_names_are_kept_as_they_are(self, backend: Backend, name: str) -> None:
        """Every character that is allowed comes back from a listing, and so does the longest name."""
        backend.put(name, b"bytes of it")
        assert bytes(backend.get(name)) == b"bytes of it"
        assert backend.stat(name).name == name
        self.sees(backend, {name})
        backend.delete(name)
        self.sees(backend, set())

    def test_names_that_look_alike_are_different(self, backend: Backend) -> None:
        """An escape is not read as what it stands for, and no name stands for another."""
        names = {"n%2F1", "n/1", "n%252F1", "n+1", "n%201", "n~1", "n-1", "n_1", "n.1", "n1"}
        for name in names:
            backend.put(name, name.encode())
        assert {bytes(backend.get(name)).decode() for name in names} == names
        self.sees(backend, names)

    @pytest.mark.parametrize("name", _NO_NAMES, ids=ascii)
    def test_what_is_no_name_is_refused(self, backend: Backend, name: str) -> None:
        """Every call refuses it, and nothing is written."""
        for call in (
            lambda: backend.put(name, b"1"),
            lambda: backend.put(name, b"1", replace=True),
            lambda: backend.get(name),
            lambda: backend.stat(name),
            lambda: backend.delete(name),
        ):
            with pytest.raises(InvalidInputError):
                call()
        self.sees(backend, set())

    # --- create only, and replace

    def test_a_name_is_given_once(self, backend: Backend) -> None:
        """A second object of a name is refused, be it equal, and the first stays."""
        backend.put("a/b", b"first")
        for second in (b"second, and longer", b"first", b""):
            with pytest.raises(AlreadyThereError):
                backend.put("a/b", second)
        assert bytes(backend.get("a/b")) == b"first"

    def test_an_empty_object_is_there_as_any_other(self, backend: Backend) -> None:
        """A name with no bytes is taken, too."""
        backend.put("a", b"")
        with pytest.raises(AlreadyThereError):
            backend.put("a", b"second")
        assert bytes(backend.get("a")) == b""

    @pytest.mark.parametrize("second", [b"short", b"", b"longer than the first one was", b"equally long"])
    def test_an_object_is_replaced_when_that_is_said(self, backend: Backend, second: bytes) -> None:
        """Its bytes and length are the new ones at once, and there is one object of the name."""
        backend.put("a/b", b"a first one.")
        backend.put("a/b", second, replace=True)
        assert bytes(backend.get("a/b")) == second
        assert backend.stat("a/b").nbytes == len(second)
        self.in_time(backend, lambda: [item.nbytes for item in backend.list("a/")], [len(second)])

    def test_replacing_needs_nothing_to_replace(self, backend: Backend) -> None:
        """With nothing of that name there, it is an ordinary put."""
        backend.put("a/b", b"first", replace=True)
        assert bytes(backend.get("a/b")) == b"first"

    def test_a_name_is_free_again_after_a_deletion(self, backend: Backend) -> None:
        """What was deleted does not stand in the way."""
        backend.put("a/b", b"first")
        backend.delete("a/b")
        backend.put("a/b", b"second")
        assert bytes(backend.get("a/b")) == b"second"

    # --- ranges

    @pytest.mark.parametrize(
        ("start", "length"),
        [
            (0, None),
            (0, 0),
            (0, 1),
            (0, 5000),
            (0, 9999),
            (1, None),
            (1, 4998),
            (1, 4999),
            (1, 5000),
            (4999, 1),
            (4999, 2),
            (4999, None),
            (5000, None),
            (5000, 0),
            (5000, 1),
            (9999, None),
            (9999, 9999),
            (2**40, 2**40),
        ],
    )
    def test_a_range_is_cut_off_at_the_end(self, backend: Backend, start: int, length: int | None) -> None:
        """It is what a slice of the bytes would be; at and behind the end, nothing."""
        data = os.urandom(5000)
        backend.put("a", data)
        assert backend.get("a", start=start, length=length) == data[start:][:length]

    def test_ranges_of_a_long_object(self, backend: Backend) -> None:
        """Pieces, in an order that jumps about and across the borders of MiBs, make up the whole."""
        data = os.urandom(5 * MIB + 17)
        backend.put("a", data)
        edges = [0, 1, 64, MIB - 1, MIB, MIB + 1, 2 * MIB, 4 * MIB + 5, 5 * MIB, 5 * MIB + 16, len(data)]
        pieces = {}
        for start, end in sorted(itertools.pairwise(edges), key=lambda each: -(each[0] % 7)):
            pieces[start] = backend.get("a", start=start, length=end - start)
        assert b"".join(pieces[start] for start in edges[:-1]) == data
        assert backend.get("a", start=5 * MIB) == data[5 * MIB :]

    @pytest.mark.parametrize(("start", "length"), [(0, None), (0, 0), (7, 3)])
    def test_an_empty_object_has_empty_ranges(self, backend: Backend, start: int, length: int | None) -> None:
        """No range of it is an error."""
        backend.put("a", b"")
        assert bytes(backend.get("a", start=start, length=length)) == b""

    @pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1), (-5, 5)])
    def test_what_is_no_range_is_refused(self, backend: Backend, start: int, length: int | None) -> None:
        """Negative numbers do not count from the end."""
        backend.put("a", b"some bytes")
        with pytest.raises(InvalidInputError):
            backend.get("a", start=start, length=length)

    # --- what is not there

    def test_what_is_not_there_is_not_found(self, backend: Backend) -> None:
        """Reading it, whichever range, and looking at it say so, by the name."""
        backend.put("a/b", b"1")
        for name in ("a/c", "none", "a/b/c"):
            for call in (
                lambda name=name: backend.get(name),
                lambda name=name: backend.get(name, length=0),
                lambda name=name: backend.get(name, start=5, length=5),
                lambda name=name: backend.stat(name),
            ):
                with pytest.raises(NotFoundError) as raised:
                    call()
                assert name in str(raised.value)

    def test_a_folder_is_no_object(self, backend: Backend) -> None:
        """It cannot be read or looked at, and deleting its name removes nothing."""
        backend.put("a/b/c", b"1")
        for name in ("a", "a/b"):
            with pytest.raises(NotFoundError):
                backend.get(name)
            with pytest.raises(NotFoundError):
                backend.stat(name)
            backend.delete(name)
        assert bytes(backend.get("a/b/c")) == b"1"

    def test_deleting_what_is_not_there_is_fine(self, backend: Backend) -> None:
        """Once or again, in a folder that is there or not."""
        backend.put("a/b", b"1")
        for name in ("a/c", "none", "none/at/all"):
            backend.delete(name)
        backend.delete("a/b")
        backend.delete("a/b")
        self.sees(backend, set())

    def test_what_was_deleted_is_gone(self, backend: Backend) -> None:
        """It cannot be read, looked at or seen in a listing any more, and its neighbour can."""
        backend.put("a/b", b"1")
        backend.put("a/c", b"2")
        backend.delete("a/b")
        with pytest.raises(NotFoundError):
            backend.get("a/b")
        with pytest.raises(NotFoundError):
            backend.stat("a/b")
        self.sees(backend, {"a/c"})
        assert bytes(backend.get("a/c")) == b"2"

    # --- looking and listing

    def test_looking_at_an_object(self, backend: Backend) -> None:
        """Its name and length, and when it was stored, in UTC."""
        backend.put("a/b", b"12345")
        item = backend.stat("a/b")
        assert (item.name, item.nbytes) == ("a/b", 5)
        assert item.modified.utcoffset() == timedelta(0)

    def test_a_listing_says_what_a_look_says(self, backend: Backend) -> None:
        """Name and length are the same; so is the time, which some places round to seconds."""
        backend.put("a/b", b"12345")
        self.sees(backend, {"a/b"})
        [listed], looked = [*backend.list()], backend.stat("a/b")
        assert (listed.name, listed.nbytes) == (looked.name, looked.nbytes)
        assert listed.modified.utcoffset() == timedelta(0)
        assert abs(listed.modified - looked.modified) <= timedelta(seconds=2)

    def test_an_empty_place_has_no_objects(self, backend: Backend) -> None:
        """Its listing ends without an item, and so does that of a folder that is not there."""
        assert [*backend.list()] == []
        assert [*backend.list("none/")] == []
        backend.put("a/b", b"1")
        assert [*backend.list("none/")] == []
        assert [*backend.list("a/b/")] == []

    def test_a_listing_goes_to_any_depth(self, backend: Backend) -> None:
        """Objects right in the folder and deep below it, each once."""
        names = {"top", "a/1", "a/b/1", "a/b/2", "a/b/c/d/e/1", "b/1", "a.b/1"}
        for name in names:
            backend.put(name, name.encode())
        self.sees(backend, names)
        self.sees(backend, {"a/1", "a/b/1", "a/b/2", "a/b/c/d/e/1"}, "a/")
        self.sees(backend, {"a/b/1", "a/b/2", "a/b/c/d/e/1"}, "a/b/")
        self.sees(backend, {"a/b/c/d/e/1"}, "a/b/c/")
        assert {item.name: item.nbytes for item in backend.list()} == {name: len(name) for name in names}

    def test_a_prefix_is_a_folder(self, backend: Backend) -> None:
        """Names that begin with the same letters are in other folders."""
        names = {"ab/x", "a-/x", "a.b", "a%2F/x", "a~", "aa", "ba/x", "b/a/x"}
        for name in names:
            backend.put(name, b"1")
        self.sees(backend, names)
        assert [*backend.list("a/")] == []
        backend.put("a/x", b"1")
        self.sees(backend, {"a/x"}, "a/")

    @pytest.mark.parametrize(
        "prefix", ["a", "/", "/a/", "a//", "../", "a/../", "./", "A Z/", "ä/"], ids=ascii
    )
    def test_what_is_no_prefix_is_refused(self, backend: Backend, prefix: str) -> None:
        """A part of a name is none."""
        backend.put("a/b", b"1")
        with pytest.raises(InvalidInputError):
            [*backend.list(prefix)]

    @pytest.mark.slow
    def test_a_listing_has_more_than_one_page(self, backend: Backend) -> None:
        """However many there are, each is there once."""
        names = [f"many/{number % 7}/{number:06d}" for number in range(self.many_objects)]
        with ThreadPoolExecutor(backend.properties.most_at_once, "keepstate-suite") as pool:
            [*pool.map(lambda name: backend.put(name, b"1"), names)]
        backend.put("other/1", b"1")
        self.sees(backend, {*names}, "many/")
        self.sees(backend, {*names, "other/1"})

    # --- many at once

    def test_many_objects_are_put_and_got_at_once(self, backend: Backend) -> None:
        """Threads do not mix up each other's bytes."""
        names = [f"a/{number % 3}/{number}" for number in range(6 * _THREADS)]

        def there_and_back(name: str) -> bool:
            data = name.encode() * 5000
            backend.put(name, data)
            alike = backend.get(name, start=10, length=10_000) == data[10:10_010]
            return alike and backend.get(name) == data and backend.stat(name).nbytes == len(data)

        with ThreadPoolExecutor(_THREADS, "keepstate-suite") as pool:
            assert [*pool.map(there_and_back, names)] == [True] * len(names)
        self.sees(backend, {*names})

    def test_of_many_that_put_one_name_one_wins(self, backend: Backend) -> None:
        """All others are told that it is there, and the bytes are the winner's."""
        if not backend.properties.atomic_create:
            pytest.skip("this place does not promise it")
        for turn in range(5):
            name, together = f"a/{turn}", threading.Barrier(_THREADS)

            def race(number: int, name: str = name, together: threading.Barrier = together) -> bool:
                together.wait(60)
                try:
                    backend.put(name, bytes([number]) * 50_000)
                except AlreadyThereError:
                    return False
                return True

            with ThreadPoolExecutor(_THREADS, "keepstate-suite") as pool:
                won = [*pool.map(race, range(_THREADS))]
            assert won.count(True) == 1
            assert backend.get(name) == bytes([won.index(True)]) * 50_000

    def test_whoever_reads_finds_all_of_the_old_or_all_of_the_new(self, backend: Backend) -> None:
        """While an object is replaced again and again, no answer is half of one and half of another."""
        versions = {bytes([number]) * (100_000 + 1000 * number) for number in range(10)}
        backend.put("a/b", min(versions))
        if not backend.properties.atomic_replace:
            pytest.skip("this place does not promise it")
        done = threading.Event()

        def write() -> None:
            try:
                for version in sorted(versions):
                    backend.put("a/b", version, replace=True)
            finally:
                done.set()

        with ThreadPoolExecutor(1, "keepstate-suite") as pool:
            writing = pool.submit(write)
            while not done.is_set():
                assert bytes(backend.get("a/b")) in versions
            writing.result()
        assert bytes(backend.get("a/b")) == max(versions)

    def test_an_object_is_there_with_all_of_its_bytes(self, backend: Backend) -> None:
        """While a long one is put, nobody sees a part of it."""
        data = os.urandom(16 * MIB)
        done = threading.Event()

        def write() -> None:
            try:
                backend.put("a/b", data)
            finally:
                done.set()

        with ThreadPoolExecutor(1, "keepstate-suite") as pool:
            writing = pool.submit(write)
            while not done.is_set():
                try:
                    assert backend.stat("a/b").nbytes == len(data)
                    assert backend.get("a/b", start=len(data) - 5) == data[-5:]
                except NotFoundError:
                    pass
                assert [item.nbytes for item in backend.list("a/")] in ([], [len(data)])
            writing.result()
        assert backend.get("a/b") == data

    # --- the end

    def test_it_may_be_closed_again(self, backend: Backend) -> None:
        """A second close does nothing."""
        backend.put("a", b"1")
        backend.close()
        backend.close()

    def sees(self, backend: Backend, names: Iterable[str], prefix: str = "") -> None:
        """Assert that a listing has these names, each once, within the delay that the place admits."""
        self.in_time(backend, lambda: sorted(item.name for item in backend.list(prefix)), sorted(names))

    def in_time(self, backend: Backend, look: Callable[[], object], expected: object) -> None:
        """Assert that *look* gives what is *expected* within the delay that the place admits for listings."""
        until = SYSTEM_CLOCK.monotonic() + backend.properties.listing_delay_seconds
        wait = _FIRST_WAIT_SECONDS
        while True:
            late = SYSTEM_CLOCK.monotonic() >= until
            found = look()
            if found == expected or late:
                break
            SYSTEM_CLOCK.wait(threading.Event(), wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        assert found == expected
