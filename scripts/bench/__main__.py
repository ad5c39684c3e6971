"""Measure sections, and make the page from what is in the JSON: ``python -m bench [--quick] [SECTION …]``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

from bench import page
from bench.machine import about
from bench.section import ROOT, WORKING, Run, Section

SECTIONS = ("limits", "stall", "drag", "change", "speed", "lazy", "scale", "workloads", "far")
"""In the order of the page."""


def section_of(name: str) -> Section:
    """The section in the module of that name."""
    section: Section = importlib.import_module(f"bench.{name}").SECTION
    return section


def main() -> int:
    """Measure what is asked for; 1 if any of it failed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round, nothing written to docs/"
    )
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: make the page from the JSON again"
    )
    asked = parser.parse_args()
    if unknown := set(asked.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    docs = WORKING / "quick" if asked.quick else ROOT / "docs"
    docs.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in () if asked.page else asked.sections or SECTIONS:
        print(f"{name}: {section_of(name).title}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            found = section_of(name).measure(Run(quick=asked.quick))
        except Exception:  # noqa: BLE001 - the others are worth having
            traceback.print_exc()
            failed.append(name)
            continue
        seconds = round(time.perf_counter() - began)
        print(f"{name}: {seconds} s", file=sys.stderr, flush=True)
        page.put(docs, name, {**about(), "seconds": seconds, "found": found})
    page.write(docs, {name: section_of(name) for name in SECTIONS})
    if failed:
        print(f"failed: {', '.join(failed)}; what the page had of them stays", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
