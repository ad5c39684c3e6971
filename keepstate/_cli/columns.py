"""Text that stays readable at 80 columns and in a pipe: tables whose ids are never cut.

Names, notes and code come from a store that others may write to: what a terminal would obey is shown
escaped, and nothing is read as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def plain(text: str) -> str:
    r"""Escape what cannot be printed, so that a name cannot move the cursor or turn the text around.

    >>> plain("größe \x1b[2J")
    'größe \\x1b[2J'
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Collection[str] = ()) -> Table:
    """Lay out *rows* under *headings*.

    Args:
        headings: One for each column.
        rows: As many cells each.
        whole: Headings of the columns that are never cut or wrapped; the others are wrapped.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    cells = [[plain(cell) for cell in row] for row in rows]
    for number, heading in enumerate(headings):
        if heading in whole:
            longest = max(cell_len(row[number]) for row in [headings, *cells])
            table.add_column(heading, no_wrap=True, min_width=longest)
        else:
            table.add_column(heading, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Lay out what is known of one thing: a label and a value on each line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(no_wrap=True, min_width=max((cell_len(label) for label, _ in rows), default=0))
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(plain(value)))
    return table


def listing(names: Sequence[str], *, most: int) -> str:
    """Name the first of *names*, and say how many there are besides.

    >>> listing(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
