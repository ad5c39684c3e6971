"""What may pass by itself is asked for again; nothing else is, and nothing is done twice."""

import threading

import pytest

from keepstate._base.retry import Backoff
from keepstate.backends._retrying import Retrying
from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from keepstate.testing import BackendSuite, Fault, Faulty

BUSY = UnavailableError("busy")
QUICK = Backoff(first_seconds=0.001, longest_seconds=0.008, total_seconds=300)


class TestRetrying(BackendSuite):
    """Every seventh call or so fails before or after its effect, and nobody notices."""

    many_objects = 100

    @pytest.fixture
    def backend(self, folder):
        # On a real clock: one that jumps is moved by whoever reads meanwhile, and ends the patience of a put.
        return Retrying(Faulty(folder, rate=0.15, seed=1), stop=threading.Event(), backoff=QUICK)


@pytest.fixture
def retrying(folder, jumping):
    """Make a patient place of one with these faults."""

    def make(*script, **options):
        faulty = Faulty(folder, script)
        return Retrying(faulty, stop=threading.Event(), clock=jumping, **options), faulty

    return make


CALLS = {
    "put": lambda backend: backend.put("a/new", b"1"),
    "get": lambda backend: backend.get("a/b"),
    "stat": lambda backend: backend.stat("a/b"),
    "list": lambda backend: backend.list("a/"),
    "delete": lambda backend: backend.delete("a/b"),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("before", [True, False])
def test_a_call_is_repeated_until_it_works(folder, retrying, operation, before):
    """Whether the fault came before the effect or after it; but what is there is not put a third time."""
    folder.put("a/b", b"bytes")
    backend, faulty = retrying(Fault(operation, BUSY, times=3, before_effect=before))
    CALLS[operation](backend)
    times = 2 if operation == "put" and not before else 4
    assert [called for called, _ in faulty.calls].count(operation) == times


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    "error", [CredentialsError("who?"), StoreFullError("full"), StoreError("broken"), NotFoundError("no")]
)
def test_what_does_not_pass_is_raised_at_once(folder, retrying, jumping, operation, error):
    """Nobody waits for another key, more space or a mended disk."""
    folder.put("a/b", b"bytes")
    backend, faulty = retrying(Fault(operation, error))
    with pytest.raises(type(error)):
        CALLS[operation](backend)
    assert len(faulty.calls) == 1
    assert jumping.waits == []


def test_the_wait_that_was_asked_for_is_kept(retrying, jumping):
    """And told to whoever listens, before it begins."""
    told = []
    backend, _ = retrying(
        Fault("put", UnavailableError("busy", retry_after_seconds=40.0)),
        on_wait=lambda operation, error, seconds: told.append(
            (operation, str(error), seconds, jumping.monotonic())
        ),
    )
    backend.put("a", b"1")
    assert jumping.waits == [40.0]
    assert told == [("put", "busy", 40.0, 0.0)]


def test_patience_ends(retrying, jumping):
    """After the total time, what the last attempt met is raised."""
    backend, faulty = retrying(
        Fault("get", BUSY, times=None),
        backoff=Backoff(first_seconds=1, longest_seconds=8, total_seconds=60),
    )
    with pytest.raises(UnavailableError, match="busy"):
        backend.get("a")
    assert len(faulty.calls) > 5
    assert jumping.monotonic() < 60


def test_a_flag_ends_all_waiting(folder, jumping):
    """The call is made once, and fails at once."""
    stop = threading.Event()
    stop.set()
    told = []
    faulty = Faulty(folder, [Fault("put", BUSY)])
    backend = Retrying(faulty, stop=stop, clock=jumping, on_wait=lambda *said: told.append(said))
    with pytest.raises(UnavailableError):
        backend.put("a", b"1")
    assert (len(faulty.calls), jumping.waits, told) == (1, [], [])
    backend.put("a", b"1")


@pytest.mark.parametrize("data", [b"", b"bytes", bytes(9 << 20)])
def test_a_put_recognises_its_own_success(retrying, folder, data):
    """The answer was lost, the object is there with the same bytes: that is what was wanted."""
    backend, faulty = retrying(Fault("put", BUSY, times=2, before_effect=False))
    backend.put("a", memoryview(data))
    assert folder.get("a") == data
    assert [called for called, _ in faulty.calls].count("put") == 2


@pytest.mark.parametrize("other", [b"bytez", b"byte", b"bytes and more", b""])
def test_somebody_elses_object_is_a_conflict(retrying, folder, other):
    """After a failed attempt, other bytes under that name are not taken for its own."""
    folder.put("a", other)
    backend, _ = retrying(Fault("put", BUSY))
    with pytest.raises(AlreadyThereError):
        backend.put("a", b"bytes")
    assert bytes(folder.get("a")) == other


def test_a_put_without_a_failure_does_not_compare(retrying, folder):
    """Equal bytes that were there before its first attempt are a conflict: somebody uses that name, too."""
    folder.put("a", b"bytes")
    backend, faulty = retrying()
    with pytest.raises(AlreadyThereError):
        backend.put("a", b"bytes")
    assert faulty.calls == [("put", "a")]


def test_the_comparison_is_patient_too(retrying):
    """A fault in it is one more failed attempt."""
    backend, _ = retrying(
        Fault("put", BUSY, before_effect=False), Fault("stat", BUSY), Fault("get", BUSY, times=2)
    )
    backend.put("a", b"bytes")
    assert bytes(backend.get("a")) == b"bytes"


def test_a_place_that_contradicts_itself_is_asked_again(retrying, folder):
    """There for a put and not there for a look: some places need a while to agree."""
    folder.put("a", b"bytes")
    backend, _ = retrying(Fault("put", BUSY), Fault("stat", NotFoundError("not yet"), times=2))
    backend.put("a", b"bytes")


def test_a_listing_that_breaks_off_begins_anew(folder, jumping):
    """Its beginning is not given twice."""

    class Breaking:
        def __init__(self, backend):
            self.backend, self.left = backend, 2

        def __getattr__(self, name):
            return getattr(self.backend, name)

        def list(self, prefix=""):
            for item in self.backend.list(prefix):
                yield item
                if self.left:
                    self.left -= 1
                    raise UnavailableError("broke off")

    for name in ("a", "b", "c"):
        folder.put(name, b"1")
    backend = Retrying(Breaking(folder), stop=threading.Event(), clock=jumping)
    assert sorted(item.name for item in backend.list()) == ["a", "b", "c"]
    assert len(jumping.waits) == 2
