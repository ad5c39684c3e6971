"""What a section of the page is, and what it is given to measure with."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
WORKING = ROOT / "build" / "bench"
"""On the disk of the project: a folder for temporary files may be in memory."""

T = TypeVar("T")
Found = dict[str, Any]
"""Raw numbers as they stand in the JSON: rounds are lists, everything else says what was measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """How thoroughly to measure."""

    quick: bool = False
    """Small sizes and few rounds: shows that it works, and nothing else."""

    def pick(self, full: T, quick: T) -> T:
        """Choose between the real and the quick value."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell whoever waits what is going on."""
        print(f"  {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Section:
    """One thing that is measured, and how it is told."""

    title: str
    measure: Callable[[Run], Found]
    report: Callable[[Found], str]
    """Markdown below the title: tables with limits and ratios, and what limits us, from the numbers alone."""
    plot: Callable[[Found, Path], list[str]] | None = None
    """Draws into a folder, and returns the names of the files."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away, whatever processes still do in it."""
    WORKING.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=WORKING))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
