"""Reads ``cases.txt``: kinds of objects, how each is made, and how it is looked at on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One kind of object."""

    kind: str
    cell: str
    """Binds ``x``."""
    look: str
    """An expression with a plain answer."""
    needs: str
    """An expression that must be true where it is made; ``True``: always."""


def read_cases() -> tuple[Case, ...]:
    """Read all cases, in order."""
    text = Path(__file__).with_name("cases.txt").read_text(encoding="utf-8")
    return tuple(map(_case, text.split("\n=== ")[1:]))


def _case(block: str) -> Case:
    head, _, body = block.partition("\n")
    kind, _, needs = head.partition(" if ")
    cell, _, look = body.partition("\n---\n")
    return Case(kind, cell + "\n", look.strip(), needs or "True")
