"""Small tables as text and as HTML, for reports that are shown where no terminal library is loaded."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_text(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, one row a line; no trailing spaces.

    >>> print(as_text(["name", "size"], [["df", "1.2 MB"], ["model", "30 kB"]]))
    name   size
    df     1.2 MB
    model  30 kB
    """
    lines = [list(headings), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_html(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One ``<table>``; every cell is escaped, so that a name or repr cannot inject markup.

    >>> as_html("a<b", ["n"], [["<i>"]])
    '<table><caption>a&lt;b</caption><tr><th>n</th></tr><tr><td>&lt;i&gt;</td></tr></table>'
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = line("th", headings) + "".join(line("td", row) for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{body}</table>"


def size(count: float) -> str:
    """A number of bytes as people read it, in powers of 1000.

    >>> size(0), size(999), size(1_500), size(2_147_483_648)
    ('0 B', '999 B', '1.5 kB', '2.1 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A span of time as people say it, in its two largest units.

    >>> duration(0.004), duration(2.34), duration(75), duration(7_384), duration(200_000)
    ('4 ms', '2.3 s', '1 min 15 s', '2 h 3 min', '2 d 7 h')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
