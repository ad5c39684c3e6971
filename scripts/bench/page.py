"""The page and its pictures, made from the JSON alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.section import Found, Section

OPENING = """\
# Benchmarks

Written by `make bench` from the raw numbers in `benchmarks.json`; `make bench ONLY="stall drag"` measures
some sections anew and leaves the others. Numbers are medians, the least in brackets; a ratio in bold is over
its limit.
"""


def put(docs: Path, name: str, measured: Mapping[str, Any]) -> None:
    """Replace one section of the JSON; the numbers of all others stay."""
    sections = _read(docs)
    sections[name] = dict(measured)
    fresh = docs / "benchmarks.json.new"
    fresh.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
    fresh.rename(docs / "benchmarks.json")


def write(docs: Path, sections: Mapping[str, Section]) -> None:
    """Write the page, and the pictures beside it."""
    measured = _read(docs)
    parts = [OPENING]
    for name, section in sections.items():
        if name in measured:
            parts.append(_part(docs, name, section, measured[name]))
    (docs / "benchmarks.md").write_text("\n".join(parts))


def _part(docs: Path, name: str, section: Section, measured: Mapping[str, Any]) -> str:
    found = measured["found"]
    lines = [f"## {section.title}", "", section.report(found).rstrip(), ""]
    if section.plot is not None:
        pictures = docs / "benchmarks"
        pictures.mkdir(exist_ok=True)
        lines += [
            f"![{section.title}](benchmarks/{picture})" for picture in section.plot(found, pictures)
        ] + [""]
    made = f"`{name}`, {measured['date']}, {measured['seconds']} s: {measured['machine']}"
    return "\n".join([*lines, f"<sub>{made}; {measured['versions']}.</sub>", ""])


def _pictures(docs: Path, section: Section, found: Found) -> list[str]:
    if section.plot is None:
        return []
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    return [*(f"![{section.title}](benchmarks/{name})" for name in section.plot(found, folder)), ""]


def _read(docs: Path) -> dict[str, Any]:
    path = docs / "benchmarks.json"
    return dict(json.loads(path.read_text()).get("sections", {})) if path.exists() else {}
