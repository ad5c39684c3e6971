"""Make chunks smaller where that pays, and refuse compressed bytes that this package cannot have written.

Knows no files. LZ4 with a shuffle that suits the element type, zstd for bytes without one (speeds and ratios:
BASELINES §2.4); the method is chosen on a sample, so that data which does not shrink costs little.

Always one thread: this runs in forked children, where blosc2 with two hangs for ever. Only the calls with a
context of their own are used; the others take a lock that another thread may hold at the fork.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from keepstate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NONE: Final = 0
BLOSC2: Final = 1

_WORTH = 0.9
"""A chunk is kept compressed when that takes less than this share of its plain length."""
_ALIKE = 1.02
"""A faster method is taken when it makes a sample so many times as long as the best one, at most: of uniform
64-bit floats shuffle makes 3.0 GB/s on one core and bitshuffle 2.1, which saves 0.9 % more."""
_SAMPLE_BYTES = 16 << 10
_SAMPLES = 4
_SMALLEST = 128
"""Bytes below which compression is not tried: the header of blosc2 alone has 32."""
_STEADY = 16
"""Chunks after which the method is chosen anew within one part."""

# The header of a blosc2 chunk: version, version of the codec, flags, item size, plain, block and stored
# length, filters, codec, fields that must be zero in all that we write, and more flags.
_HEADER = struct.Struct("<BBBBiii6sB8sB")
_EXTENDED, _COPIED = 0x05, 0x02
_CODECS = frozenset({(1, 1), (4, 5)})  # LZ4, ZSTD: their format in the flags, their number
_FILTERS = frozenset({0, 1, 2})  # none, shuffle, bitshuffle
_ALL_ZERO = 0x10


def load() -> None:
    """Import blosc2 (0.2 s); to be called once before the first fork, so that children need not.

    A fork while another thread is importing would leave the child waiting for that import for ever.
    """
    import blosc2  # noqa: F401


class Compressor:
    """Compresses the chunks of one part; keeps the method that suited the last ones.

    Args:
        itemsize: Bytes per element of the part; 1 where unknown.
    """

    def __init__(self, itemsize: int) -> None:
        self._itemsize = itemsize if 1 <= itemsize <= 255 else 1
        self._method: Mapping[str, Any] | None = None
        self._remaining = 0

    def compress(self, plain: memoryview) -> tuple[int, bytes | memoryview]:
        """Return the kind of compression and the bytes to store; *plain* itself where it does not pay."""
        if plain.nbytes < _SMALLEST:
            return NONE, plain
        if self._remaining == 0:
            self._method = self._choose(plain)
            self._remaining = _STEADY
        self._remaining -= 1
        if self._method is None:
            return NONE, plain
        stored = _compress(plain, self._itemsize, self._method)
        if len(stored) >= plain.nbytes * _WORTH or not _is_ours(stored, plain.nbytes):
            self._remaining = 0
            return NONE, plain
        return BLOSC2, stored

    def _choose(self, plain: memoryview) -> Mapping[str, Any] | None:
        sample = _sample(plain, self._itemsize)
        sizes = [
            (len(_compress(sample, self._itemsize, method)), method) for method in _methods(self._itemsize)
        ]
        smallest = min(size for size, _ in sizes)
        if smallest >= sample.nbytes * _WORTH:
            return None
        return next(method for size, method in sizes if size <= smallest * _ALIKE)


def _methods(itemsize: int) -> list[dict[str, Any]]:
    """Give what may suit, the fastest first."""
    from blosc2 import Codec, Filter

    if itemsize == 1:
        return [{"codec": Codec.ZSTD, "clevel": 1, "filters": [Filter.NOFILTER]}]
    # Bitshuffle pays for floats, no filter at all for mostly zeros.
    filters = (Filter.SHUFFLE, Filter.BITSHUFFLE, Filter.NOFILTER)
    return [{"codec": Codec.LZ4, "clevel": 5, "filters": [each]} for each in filters]


@contextmanager
def beside_other_threads() -> Iterator[None]:
    """Let other threads run while one decompresses; blosc2 keeps them waiting unless it is told.

    Afterwards it is as the user has it, once nobody is in such a block any more.
    """
    import blosc2

    with _BESIDE.guard:
        if not _BESIDE.count:
            _BESIDE.before = blosc2.set_releasegil(True)
        _BESIDE.count += 1
    try:
        yield
    finally:
        with _BESIDE.guard:
            _BESIDE.count -= 1
            if not _BESIDE.count:
                blosc2.set_releasegil(_BESIDE.before)


class _Beside:
    """How many threads are in such a block, and what was set before the first."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.guard = threading.Lock()
        self.count = 0
        self.before = False


_BESIDE = _Beside()
if hasattr(os, "register_at_fork"):
    # In a copy of this process nobody is in such a block, and nobody would give its lock back.
    os.register_at_fork(after_in_child=_BESIDE.begin_anew)


def _sample(plain: memoryview, itemsize: int) -> memoryview:
    if plain.nbytes <= _SAMPLES * _SAMPLE_BYTES:
        return plain
    step = plain.nbytes // _SAMPLES // itemsize * itemsize
    return memoryview(b"".join(plain[i * step :][:_SAMPLE_BYTES] for i in range(_SAMPLES)))


def _compress(plain: memoryview, itemsize: int, method: Mapping[str, Any]) -> bytes:
    import blosc2

    stored: bytes = blosc2.compress2(plain, typesize=itemsize, nthreads=1, **method)
    return stored


def _is_ours(stored: bytes | memoryview, length: int) -> bool:
    if len(stored) < _HEADER.size:
        return False
    version, _, flags, item, plain, _, total, filters, codec, zeros, more = _HEADER.unpack_from(stored)
    return bool(
        version == 5
        and flags & (_EXTENDED | _COPIED) == _EXTENDED
        and (flags >> 5, codec) in _CODECS
        and item >= 1
        and plain == length
        and total == len(stored)
        and _FILTERS.issuperset(filters)
        and zeros == bytes(8)
        and more in (0, _ALL_ZERO)
    )


def decompress_into(kind: int, stored: bytes | memoryview, target: memoryview) -> None:
    """Fill *target*, whose length is the plain length, with what *stored* holds.

    Raises:
        IntegrityError: *stored* is nothing that :class:`Compressor` gives for that length.
    """
    if kind == NONE and len(stored) == target.nbytes and not target.readonly:
        target[:] = stored
        return
    # blosc2 writes as many bytes as the header says, whatever the length of the target and whether it may
    # be written: look first.
    if kind != BLOSC2 or target.readonly or not _is_ours(stored, target.nbytes):
        raise IntegrityError("a chunk is compressed in a way that this version does not write")
    import blosc2

    try:
        blosc2.decompress2(stored, dst=target, nthreads=1)
    except (RuntimeError, ValueError) as error:
        raise IntegrityError("a chunk cannot be decompressed") from error
