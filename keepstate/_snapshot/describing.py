"""What objects were that could not be kept: type, repr, size, and the cell that bound them last."""

from __future__ import annotations

import re
import types
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from keepstate import codecs
from keepstate._model.cells import Cell, Lost
from keepstate._tracking import is_secret_name, looks_secret, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

REPR_CHARACTERS = 300
LINE_CHARACTERS = 80
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TELL_THEMSELVES = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
"""Types whose ``repr`` runs no code of the user's."""


class Described(msgspec.Struct, frozen=True, array_like=True):
    """What a picture has told of an object, so that the next one need not ask it again."""

    object: int
    """Its id."""
    cell: int
    """Place in the list of cells of the one that bound it; -1: not known."""
    whole: bool
    """Whether its own ``__repr__`` was asked."""
    lost: Lost


def describe(
    skipped: Mapping[str, str],
    bindings: Mapping[str, object],
    cells: Sequence[Cell],
    *,
    before: Mapping[str, Described],
    apart: Callable[[Sequence[Callable[[], str]]], list[str | None]] | None,
) -> dict[str, Described]:
    """Tell what the objects of *skipped* names were.

    Args:
        skipped: name → why it is not kept.
        bindings: name → object.
        cells: That have run.
        before: What an earlier picture has told.
        apart: Makes texts where the user's code can do no harm; ``None``: it is not run.
    """
    wanted = [name for name in skipped if name in bindings]
    binders = _binders(cells, wanted)
    told: dict[str, Described] = {}
    asked: list[str] = []
    for name in wanted:
        value, at = bindings[name], binders.get(name, -1)
        known = before.get(name)
        if (
            known is not None
            and (known.object, known.cell) == (id(value), at)
            and (known.whole or apart is None)
        ):
            told[name] = msgspec.structs.replace(
                known, lost=msgspec.structs.replace(known.lost, why=skipped[name])
            )
            continue
        lost = Lost(codecs.type_name(value), skipped[name])
        if at >= 0:
            lost = msgspec.structs.replace(lost, cell=cells[at].number, line=first_line(cells[at]))
        told[name] = Described(id(value), at, apart is not None, lost)
        if is_secret_name(name) or looks_secret(name, value):
            continue
        if apart is not None:
            asked.append(name)
        elif type(value) in _TELL_THEMSELVES:
            told[name] = _with_texts(told[name], "", repr(value))
    if apart is not None and asked:
        makers = [
            maker
            for name in asked
            for maker in (partial(_shape, bindings[name]), partial(repr, bindings[name]))
        ]
        texts = apart(makers)
        for name, shape, text in zip(asked, texts[::2], texts[1::2], strict=True):
            told[name] = _with_texts(told[name], shape or "", text or "")
    return told


def first_line(cell: Cell) -> str:
    """Give the first line of a cell, cut."""
    return cell.source.strip().partition("\n")[0][:LINE_CHARACTERS]


def _binders(cells: Sequence[Cell], names: Collection[str]) -> dict[str, int]:
    left = set(names)
    found: dict[str, int] = {}
    for at in range(len(cells) - 1, -1, -1):
        if not left:
            break
        for name in left.intersection(cells[at].binds):
            found[name] = at
            left.discard(name)
    return found


def _with_texts(described: Described, shape: str, text: str) -> Described:
    shown = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    plain = redact_text(_ADDRESS.sub("", shown))
    if len(plain) > REPR_CHARACTERS:
        plain = plain[: REPR_CHARACTERS - 1] + "…"
    return msgspec.structs.replace(
        described, lost=msgspec.structs.replace(described.lost, repr=plain, shape=shape)
    )


def _shape(value: object) -> str:
    """Say how large it is; what has no size raises, and nothing is said."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(each, int) for each in shape):
        return str(shape)
    return f"{len(value)} items"  # type: ignore[arg-type]
