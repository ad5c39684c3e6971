"""Sizes as people write them, like ``5GB``, as numbers of bytes.

The other way round is ``table.size``. Knows nothing of what the bytes are for.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
"""A lone ``G`` is missing on purpose: for some it is 7 % more than for others."""

MOST_BYTES = 2**62
"""What a manifest can say; far more than any disk."""


def read_size(value: object) -> int:
    """Read a size.

    Args:
        value: A number of bytes, or a text like ``500 MB`` (powers of 1000) or ``1.5GiB`` (powers of 1024).

    Raises:
        ValueError: It is none, or less than 1 byte; the message says how to write one.

    >>> read_size("5GB"), read_size("1.5 KiB"), read_size(4096)
    (5000000000, 1536, 4096)
    """
    found = _bytes_of(value)
    if found is None or not 1 <= found <= MOST_BYTES:
        raise ValueError(
            f"{value!r} is no size: give a number of bytes, 1 or more, or a text like '5GB' or '500 MiB'"
        )
    return found


def _bytes_of(value: object) -> int | None:
    if isinstance(value, bool):
        return None  # True is 1 byte for Python, and a mistake for everybody else
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None  # 5e9 is a handy way to say it
    if not isinstance(value, str):
        return None
    hit = _SIZE.fullmatch(value)
    unit = None if hit is None else _UNITS.get(hit[2].lower())
    return None if hit is None or unit is None else int(Fraction(hit[1]) * unit)
