"""Rounds of one measurement, and how they are told: the median, and the least in brackets."""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def middle(rounds: Sequence[float]) -> float:
    """The median."""
    return statistics.median(rounds)


def number(value: float) -> str:
    """Three digits, and never an exponent.

    >>> number(12345.678), number(1.2345), number(0.00123), number(0)
    ('12,346', '1.23', '0.0012', '0')
    """
    size = abs(value)
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 4
    return f"{value:,.{digits}f}"


def said(rounds: Sequence[float], scale: float = 1.0) -> str:
    """``median (least)``, each times *scale*; a dash where nothing was measured.

    >>> said([0.1, 0.3, 0.2], 1e3)
    '200 (100)'
    """
    if not rounds:
        return "—"
    return f"{number(middle(rounds) * scale)} ({number(min(rounds) * scale)})"


def table(head: str, rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, its head as ``one | two``; numbers are rounded, ``None`` is a dash."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def prose(text: str, **values: object) -> str:
    """A paragraph of the page from an indented text with ``{names}``."""
    return " ".join(textwrap.dedent(text).format(**values).split()) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "—"
    return number(value) if isinstance(value, float) else str(value)


def times(value: float, limit: float) -> str:
    """How far *value* is from its limit.

    >>> times(3, 2), times(1, 2)
    ('**1.50**', '0.50')
    """
    ratio = value / limit if limit else float("inf")
    return f"{ratio:.2f}" if ratio <= 1 else f"**{ratio:.2f}**"
