"""What was read is remembered, as long as it cannot be out of date."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keepstate.backends._caching import AHEAD_BLOCKS, BLOCK_BYTES, Caching
from keepstate.errors import InvalidInputError, NotFoundError, UnavailableError
from keepstate.testing import BackendSuite, Fault, Faulty

MIB = 1 << 20


class TestCaching(BackendSuite):
    many_objects = 100

    @pytest.fixture
    def backend(self, folder):
        return Caching(folder, most_bytes=4 * MIB, written_once=lambda name: True)


class Counting:
    """A place that remembers which ranges it was asked for."""

    def __init__(self, backend):
        self.backend, self.ranges, self.looks = backend, [], 0
        self.before_answer = lambda: None

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def get(self, name, *, start=0, length=None):
        self.ranges.append((start, length))
        found = self.backend.get(name, start=start, length=length)
        self.before_answer()
        return found

    def stat(self, name):
        self.looks += 1
        return self.backend.stat(name)


DATA = os.urandom(20 * MIB + 1234)


@pytest.fixture
def counting(folder):
    folder.put("a.pack", DATA)
    return Counting(folder)


@pytest.fixture
def caching(counting):
    return Caching(counting, most_bytes=32 * MIB, written_once=lambda name: name.endswith(".pack"))


def test_a_range_is_fetched_once(caching, counting):
    """It is fetched with the blocks that it lies in, and everything in these comes from memory."""
    assert caching.get("a.pack", start=5 * MIB + 10, length=100) == DATA[5 * MIB + 10 :][:100]
    assert caching.get("a.pack", start=5 * MIB, length=MIB) == DATA[5 * MIB : 6 * MIB]
    assert caching.get("a.pack", start=6 * MIB - 1, length=1) == DATA[6 * MIB - 1 : 6 * MIB]
    assert counting.ranges == [(5 * MIB, MIB)]


def test_only_what_is_missing_is_fetched(caching, counting):
    """A run of missing blocks is one request."""
    caching.get("a.pack", start=3 * MIB, length=1)
    counting.ranges.clear()
    assert caching.get("a.pack", start=MIB + 5, length=5 * MIB) == DATA[MIB + 5 :][: 5 * MIB]
    assert counting.ranges == [(MIB, 2 * MIB), (4 * MIB, 3 * MIB)]


def test_whoever_goes_on_gets_more_at_once(caching, counting):
    """A reader that goes on where it stopped makes few requests, one that jumps short ones."""
    at = 0
    while at < len(DATA):
        piece = caching.get("a.pack", start=at, length=100_000)
        assert piece == DATA[at : at + 100_000]
        at += 100_000
    assert counting.ranges[0] == (0, MIB)
    assert counting.ranges[1] == (MIB, AHEAD_BLOCKS * BLOCK_BYTES)
    assert len(counting.ranges) == 4
    for jump in (15, 3, 9):
        caching.forget("a.pack")
        counting.ranges.clear()
        caching.get("a.pack", start=jump * MIB, length=10)
        assert counting.ranges == [(jump * MIB, MIB)]


def test_the_end_is_remembered(caching, counting):
    """Reading at the end and behind it costs nothing more, and is no other answer than before."""
    start = 20 * MIB + 1000
    assert caching.get("a.pack", start=start, length=5000) == DATA[start:]
    assert counting.looks == 1
    for begin, length in ((start, 5000), (start, None), (len(DATA), 5), (len(DATA) + MIB, None), (start, 0)):
        assert caching.get("a.pack", start=begin, length=length) == DATA[begin:][:length]
    assert counting.ranges == [(20 * MIB, MIB)]
    assert counting.looks == 1


def test_a_known_end_is_not_looked_for_again(folder):
    """Also when its block is no longer kept."""
    counting = Counting(folder)
    folder.put("a.pack", DATA)
    caching = Caching(counting, most_bytes=2 * MIB, written_once=lambda name: True)
    for block in (20, 1, 2, 3):
        caching.get("a.pack", start=block * MIB, length=5000)
    assert caching.get("a.pack", start=20 * MIB, length=5000) == DATA[20 * MIB :]
    assert counting.ranges[-1] == (20 * MIB, 1234)
    assert counting.looks == 1


def test_memory_is_bounded(folder):
    """The blocks that were not used for longest go first."""
    counting = Counting(folder)
    folder.put("a.pack", DATA)
    caching = Caching(counting, most_bytes=3 * MIB, written_once=lambda name: True)
    for block in (0, 5, 10, 0, 15):
        caching.get("a.pack", start=block * MIB, length=1)
        assert caching.held_bytes <= 3 * MIB
    counting.ranges.clear()
    for block in (0, 10, 15):
        caching.get("a.pack", start=block * MIB, length=1)
    assert counting.ranges == []
    caching.get("a.pack", start=5 * MIB, length=1)
    assert counting.ranges == [(5 * MIB, MIB)]


def test_what_would_fill_the_memory_is_passed_through(caching, counting):
    """A whole pack is read by one request, and does not push out everything else."""
    caching.get("a.pack", start=7 * MIB, length=1)
    counting.ranges.clear()
    assert caching.get("a.pack") == DATA
    assert caching.get("a.pack", start=1, length=17 * MIB) == DATA[1:][: 17 * MIB]
    assert counting.ranges == [(0, None), (1, 17 * MIB)]
    assert caching.held_bytes == MIB


def test_what_may_change_is_not_remembered(caching, counting, folder):
    """Somebody else may replace it, and this reader sees that."""
    folder.put("a.json", b"old")
    assert bytes(caching.get("a.json", length=10)) == b"old"
    folder.put("a.json", b"new", replace=True)
    assert bytes(caching.get("a.json", length=10)) == b"new"
    assert caching.held_bytes == 0


def test_what_is_replaced_or_deleted_here_is_forgotten(caching, counting):
    """And memory is free again."""
    caching.get("a.pack", length=5)
    caching.put("a.pack", b"other", replace=True)
    assert caching.held_bytes == 0
    assert bytes(caching.get("a.pack", length=10)) == b"other"
    caching.delete("a.pack")
    assert caching.held_bytes == 0
    with pytest.raises(NotFoundError):
        caching.get("a.pack", length=10)


def test_a_replacement_whose_answer_is_lost_is_forgotten_too(folder):
    """It may have worked."""
    folder.put("a", b"old")
    faulty = Faulty(folder, [Fault("put", UnavailableError("lost"), before_effect=False)])
    caching = Caching(faulty, most_bytes=MIB, written_once=lambda name: True)
    caching.get("a", length=3)
    with pytest.raises(UnavailableError):
        caching.put("a", b"new", replace=True)
    assert bytes(caching.get("a", length=3)) == b"new"


def test_an_answer_that_was_on_its_way_is_not_kept(caching, counting):
    """Bytes that were read before a replacement and arrive after it are not remembered."""
    counting.before_answer = lambda: caching.put("a.pack", b"other", replace=True)
    assert bytes(caching.get("a.pack", length=5)) == DATA[:5]
    counting.before_answer = lambda: None
    assert bytes(caching.get("a.pack", length=5)) == b"other"


def test_no_answer_is_half_old_and_half_new(caching, counting):
    """A replacement between two requests for one range makes it be read again."""
    caching.get("a.pack", start=MIB, length=1)
    other = os.urandom(len(DATA))
    counting.before_answer = lambda: (
        setattr(counting, "before_answer", lambda: None),
        caching.put("a.pack", other, replace=True),
    )
    assert caching.get("a.pack", start=0, length=3 * MIB) == other[: 3 * MIB]


def test_failures_are_not_remembered(folder):
    """What could not be read, or was not there, is asked for again."""
    faulty = Faulty(folder, [Fault("get", UnavailableError("busy"), after=1)])
    caching = Caching(faulty, most_bytes=MIB, written_once=lambda name: True)
    with pytest.raises(NotFoundError):
        caching.get("a", length=5)
    folder.put("a", b"bytes")
    with pytest.raises(UnavailableError):
        caching.get("a", length=5)
    assert bytes(caching.get("a", length=5)) == b"bytes"


@pytest.mark.parametrize("cut", [1, MIB, 2 * MIB - 5, 2 * MIB])
def test_an_answer_that_broke_off_is_not_taken_for_the_end(folder, cut):
    """It is a failure that passes, and the next answer is whole."""
    folder.put("a", DATA)
    faulty = Faulty(folder, [Fault("get", cut_bytes=cut)])
    caching = Caching(faulty, most_bytes=8 * MIB, written_once=lambda name: True)
    with pytest.raises(UnavailableError, match="ask again"):
        caching.get("a", start=MIB, length=2 * MIB)
    assert caching.get("a", start=MIB, length=2 * MIB) == DATA[MIB : 3 * MIB]


def test_what_turned_out_to_be_wrong_can_be_forgotten(folder):
    """A bit that flipped on the way is not there for ever."""
    folder.put("a", b"bytes")
    faulty = Faulty(folder, [Fault("get", flips_bit=True)])
    caching = Caching(faulty, most_bytes=MIB, written_once=lambda name: True)
    assert bytes(caching.get("a", length=5)) != b"bytes"
    assert bytes(caching.get("a", length=5)) != b"bytes"
    caching.forget("a")
    assert bytes(caching.get("a", length=5)) == b"bytes"


def test_many_readers_share_it(caching):
    """Threads that read, forget and jump about get the right bytes."""
    wrong = []

    def read(seed):
        at = seed * 7919
        for turn in range(200):
            at = (at * 31 + seed * 1013) % len(DATA)
            length = 1 + (at * 17) % (3 * MIB)
            if caching.get("a.pack", start=at, length=length) != DATA[at : at + length]:
                wrong.append((at, length))
            if turn % 50 == 25:
                caching.forget("a.pack")

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(read, range(1, 5))]
    assert wrong == []
    assert 0 < caching.held_bytes <= 32 * MIB
    assert caching.held_bytes == sum(map(len, caching._blocks.values()))


def test_a_memory_for_no_block_is_refused(folder):
    """It would remember nothing."""
    with pytest.raises(InvalidInputError):
        Caching(folder, most_bytes=MIB - 1, written_once=lambda name: True)


def test_other_threads_are_not_held_up(caching, counting):
    """While one waits for its answer, another reads from memory."""
    caching.get("a.pack", length=1)
    asked, answer = threading.Event(), threading.Event()

    def slow():
        asked.set()
        assert answer.wait(60)

    counting.before_answer = slow
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(caching.get, "a.pack", start=9 * MIB, length=1)
        assert asked.wait(60)
        assert caching.get("a.pack", length=1) == DATA[:1]
        answer.set()
        assert waiting.result(60) == DATA[9 * MIB : 9 * MIB + 1]
