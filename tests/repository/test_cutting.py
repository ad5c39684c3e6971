"""Bytes are cut where their content says so: the same bytes the same way, whatever stands before them."""

import hashlib
import random
import tracemalloc

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstate._repository import fingerprint_stream
from keepstate._repository.cutting import cut

LEAST = 1 << 10
MOST = 8 * LEAST
KINDS = ["noise", "entries", "text", "zeros", "period"]


def content(kind, length):
    """Bytes as streams have them; the same on every machine."""
    if kind == "noise":
        return blake3(b"noise").digest(length=length)
    if kind == "zeros":
        return bytes(length)
    if kind == "period":
        return (b"\x00\x3f" * length)[:length]
    if kind == "entries":
        made = b"".join(b"\x8c\x0ckey_%08d\x94]\x94(M%cK\x07e" % (i, i % 251) for i in range(length // 20))
    else:
        made = b"".join(b"the line with the number %d\n" % (i * i) for i in range(length // 20))
    return made[:length]


def pieces(data, least=LEAST):
    ends = list(cut(data, least=least))
    return [data[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "length", [0, 1, 31, LEAST - 1, LEAST, LEAST + 1, LEAST + 31, MOST, MOST + 1, 300_000]
)
def test_pieces_make_up_the_whole_and_keep_to_their_lengths(kind, length):
    """Nothing is lost or doubled, and only the last piece may be shorter than the least."""
    data = content(kind, length)
    found = pieces(data)
    assert b"".join(found) == data
    assert all(LEAST <= len(each) <= MOST for each in found[:-1])
    assert all(1 <= len(each) <= MOST for each in found)


@pytest.mark.parametrize("kind", ["noise", "entries", "text"])
def test_pieces_are_twice_the_least_on_average(kind):
    """Repeated structure marks as many places as noise does; few pieces are cut for their length."""
    found = pieces(content(kind, 4 << 20))
    assert 1.5 * LEAST < (4 << 20) / len(found) < 2.5 * LEAST
    assert sum(len(each) == MOST for each in found) < len(found) / 50


def test_cuts_are_the_same_on_every_machine():
    """Another session, Python, numpy or processor finds the pieces that this one has written."""
    ends = [list(cut(content(kind, 1 << 20), least=LEAST)) for kind in KINDS]
    digest = hashlib.sha256(repr(ends).encode()).hexdigest()
    assert digest == "1b7a28c8f6f586f35d1d07bd1c2a2d4709698c05a270fb649597f8bc771c74c2"


def marks(window):
    """The rule in plain Python: does this window of 32 bytes mark the place behind it?"""
    short, width = list(window), 1
    for factor in (0x9D, 0x35, 0xE5, 0x6D, 0xAF):
        short = [(one * factor + other) % 256 for one, other in zip(short, short[width:], strict=False)]
        width *= 2
    factors = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
    numbers = [int.from_bytes(window[at : at + 8], "little") for at in range(0, 32, 8)]
    full = sum(number * factor for number, factor in zip(numbers, factors, strict=True)) % 2**64
    return short == [0xA0] and full < 2**64 * 256 // LEAST


@pytest.mark.parametrize("kind", ["noise", "text"])
def test_cuts_are_where_the_rule_says(kind):
    """The first marked place after the least length ends a piece, or else the longest does."""
    data = content(kind, 40_000)
    expected, start = [], 0
    while len(data) - start > LEAST:
        stop = min(start + MOST, len(data))
        places = range(start + LEAST, stop)
        start = next((place for place in places if marks(data[place - 32 : place])), stop)
        expected.append(start)
    expected += [len(data)] * (start < len(data))
    assert list(cut(data, least=LEAST)) == expected


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    before=st.sampled_from(KINDS),
    at=st.integers(0, 1 << 19),
    removed=st.integers(0, 3 * MOST),
    inserted=st.binary(max_size=300),
)
def test_a_change_touches_few_pieces(kind, before, at, removed, inserted):
    """Whatever is inserted, removed or replaced, the pieces before and soon after are there already."""
    old = content(before, 1 << 18) + content(kind, 1 << 18)
    new = old[:at] + inserted + old[at + removed :]
    assert len(set(pieces(new)) - set(pieces(old))) <= 12


def test_very_long_streams_have_longer_pieces_far_behind(monkeypatch):
    """A list has room for 2**20 pieces, and streams up to 100 GB must fit; what is before stays as it is."""
    monkeypatch.setitem(fingerprint_stream.__globals__, "FAR_BYTES", 4 << 20)
    data = content("noise", 8 << 20)
    lengths = [piece.length for piece in fingerprint_stream(data, seed=1, known={})]
    shorter = [piece.length for piece in fingerprint_stream(data[: 5 << 20], seed=1, known={})]
    assert sum(lengths) == 8 << 20
    assert lengths[: len(shorter) - 8] == shorter[:-8]
    assert lengths[0] < 300_000 < max(lengths) <= 1 << 20


def test_cutting_takes_no_memory_to_speak_of():
    """A stream of gigabytes is cut in the memory that there is."""
    data = content("noise", 16 << 20)
    list(cut(data, least=32 << 10))
    tracemalloc.start()
    try:
        for _ in cut(data, least=32 << 10):
            pass
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_noise_of_many_seeds_resynchronises():
    """After an insertion, the first cut in common comes within a few pieces: 3 on average, rarely 10."""
    new_pieces = []
    for seed in range(100):
        generator = random.Random(seed)
        old = generator.randbytes(100 * LEAST)
        at = generator.randrange(len(old) // 2)
        known = set(pieces(old))
        new_pieces.append(sum(each not in known for each in pieces(old[:at] + b"x" + old[at:])))
    assert sum(new_pieces) / len(new_pieces) < 3
    assert max(new_pieces) <= 12
