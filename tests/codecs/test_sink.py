"""Streams keep what the pickler wrote, but for frames and the marks between batches."""

import io
import pickle
import pickletools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstate.codecs._original import encode_marks, open_original, original_pieces
from keepstate.codecs._sink import Sink, TooLongError
from keepstate.errors import IntegrityError

FRAME = 64 << 10


class Kept:
    """A value that went through a sink."""

    def __init__(self, *values):
        self.sink = Sink(None)
        self.pickler = pickle.Pickler(self.sink, 5)
        for value in values:
            self.sink.begin()
            self.pickler.dump(value)
        with self.sink.kept() as kept:
            self.bytes = bytes(kept)
        self.marks = encode_marks(self.sink.marks)

    @property
    def original(self):
        return b"".join(original_pieces(memoryview(self.bytes), self.marks))

    def load(self):
        file = open_original(memoryview(self.bytes), self.marks)
        return pickle.Unpickler(file).load()


def without_frames(value):
    """What the pickler writes, its frames left out by reading opcode by opcode."""
    raw = pickle.dumps(value, 5)
    starts = [at for opcode, _, at in pickletools.genops(raw) if opcode.name == "FRAME"]
    for at in reversed(starts):
        raw = raw[:at] + raw[at + 9 :]
    return raw


def lookalike(length, inner=5):
    """A long value that begins as a frame of its own length would, and ends as the head of another."""
    frame = b"\x95" + (length - 9 - inner).to_bytes(8, "little")
    return frame.ljust(length - 5, b"\x95") + b"B" + length.to_bytes(4, "little")


LONG = [
    lookalike(FRAME),
    lookalike(FRAME + 3, inner=0),
    bytearray(lookalike(FRAME + 1)),
    "\u0095" * FRAME,
    pickle.PickleBuffer(lookalike(FRAME)),
    b"\x80\x05\x95" + bytes(8) + b"x" * FRAME,
    b"u(K" * FRAME,
    bytes(0x2E00 * 8),
]
VALUES = [
    None,
    (),
    "",
    b"x" * (FRAME - 1),
    *LONG,
    [LONG[0], LONG[1]],
    [[], LONG[3], {}, LONG[0], None],
    {"a": LONG[0], LONG[3]: 1},
    ["x" * 100] * 5000,
    list(range(200_000)),
    [str(n) for n in range(30_000)],
    {n: [n] for n in range(30_000)},
    {str(n) for n in range(30_000)},
    [list(range(1500)), {n: n for n in range(1500)}, set(range(1500))] * 5,
    [[b"u(K", b"e(N" * 50, b"\x90(\x8c" * 9, "range(None)" * 3] for _ in range(3000)],
    [[[1], (1, 2, 3, 4)] for _ in range(20_000)],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_nothing_is_lost_but_frames(value):
    """Whatever looks like a frame, a mark or the head of a long value, the original comes back whole."""
    kept = Kept(value)
    assert kept.original == without_frames(value)
    expected = bytes(value) if isinstance(value, pickle.PickleBuffer) else value
    assert kept.load() == expected


@pytest.mark.parametrize(
    "first", [None, [], LONG[0], list(range(50_000))], ids=["none", "empty", "long", "many"]
)
@pytest.mark.parametrize("second", [None, LONG[0], [LONG[0], None]], ids=["none", "long", "several"])
def test_one_pickle_after_the_other(first, second):
    """A stream holds two pickles that share a memo; the second begins anew."""
    kept = Kept(first, second)
    file = open_original(memoryview(kept.bytes), kept.marks)
    unpickler = pickle.Unpickler(file)
    assert unpickler.load() == first
    assert unpickler.load() == second


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_values_come_back(seed):
    """Containers of any nesting around the sizes of batches and frames, with texts that look like opcodes."""
    generator = random.Random(seed)

    def make(depth):
        kind = generator.randrange(9 if depth else 5)
        count = generator.choice([1, 3, 999, 1000, 1001, 2001]) if depth == 2 else generator.randrange(4)
        if kind == 0:
            return generator.choice([0, 117, 0x2875, 0x65286528, 1.5, True, None])
        if kind == 1:
            return generator.choice(["u(K", "e(", "e(X", "", "range(N)", "\x90("]) * generator.randrange(4)
        if kind == 2:
            return generator.randbytes(generator.randrange(30))
        if kind == 3:
            long = depth == 3 or generator.randrange(2000) == 0
            return LONG[generator.randrange(2)][: FRAME - generator.randrange(2) if long else 70]
        if kind == 4:
            return tuple(generator.choice(["e(", 1]) for _ in range(generator.randrange(6)))
        if kind < 7:
            return [make(depth - 1) for _ in range(count)]
        if kind == 7:
            return {n: make(depth - 1) for n in range(count)}
        return frozenset(range(count)) if kind == 8 else set(range(count))

    value = [make(3) for _ in range(3)]
    kept = Kept(value)
    assert kept.load() == value
    if len(kept.bytes) < 100_000:  # reading opcode by opcode is slow
        assert kept.original == without_frames(value)


@pytest.mark.parametrize("kind", ["dict", "list", "set"])
def test_an_entry_more_moves_what_follows_and_changes_nothing_of_it(kind):
    """Where batches end depends on how many entries came before; what is kept does not."""
    entries = [(f"key {n:06d}", [n % 7, n]) for n in range(20_500)]

    def made(several):
        if kind == "dict":
            return dict(several)
        return {key for key, _ in several} if kind == "set" else [value for _, value in several]

    more = [*entries[:5000], ("inserted", [1, 2]), *entries[5000:]]
    if kind == "set":  # in no order: an entry more at one end of it
        entries, more = [(n, 0) for n in range(20_500)], [(n, 0) for n in range(20_501)]
    before, after = Kept(made(entries)), Kept(made(more))
    assert 20 <= len(before.sink.marks) < 25
    common = len(pickle.dumps(made(entries[7000:]), 5)) // 2
    if kind == "set":
        assert before.bytes[: -len(b"\x90.")] == after.bytes[: len(before.bytes) - 2]
    else:
        assert before.bytes[-common:] == after.bytes[-common:]


def test_what_has_too_many_marks_keeps_them():
    """Text that is full of what looks like marks costs no list of their places."""
    value = [("e(K" * 20_000)[:60_000] for _ in range(20)]
    kept = Kept(value)
    assert not kept.sink.marks
    assert kept.load() == value


def test_a_limit_stops_the_pickler():
    """A stream that grows too long is given up before it is all there."""
    sink = Sink(1 << 20)
    with pytest.raises(TooLongError):
        pickle.Pickler(sink, 5).dump([str(n) for n in range(1_000_000)])
    assert sink.nbytes < (1 << 20) + 2 * FRAME


@pytest.mark.parametrize("mark", [3, 4 * 11, 4 * 10 + 3, 2**64 - 1])
def test_marks_without_a_place_are_refused(mark):
    """A mark behind the end, or of a kind that is none, is damage."""
    with pytest.raises(IntegrityError):
        list(original_pieces(memoryview(bytes(10)), encode_marks([mark])))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_the_original_is_read_in_pieces_of_any_size(size):
    """Also a mark that is cut in two is read whole."""
    kept = Kept(list(range(30_000)))
    file = open_original(memoryview(kept.bytes), kept.marks)
    raw = file.detach()
    found = io.BytesIO()
    buffer = bytearray(size)
    while count := raw.readinto(buffer):
        found.write(buffer[:count])
    assert found.getvalue() == kept.original
