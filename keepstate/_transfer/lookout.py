"""Whether a repository of this machine has got new snapshots, for the price of a few looks at its folders.

A manifest that appears or goes changes the time of the folder that it is in, so nothing is listed while
nothing happens. Knows folders, not manifests.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keepstate._base.clock import Clock

News = Literal["nothing", "something", "perhaps"]

TICK_SECONDS = 1.0
"""Two changes within one tick of a file system's clock look like one. Ticks take 1 to 10 ms here, and 1 s on
the coarsest file system that a repository may be on (HFS+)."""


class Lookout:
    """Watches the manifests of one repository."""

    def __init__(self, near: Path, clock: Clock) -> None:
        self._members = near / "members"
        self._clock = clock
        self._seen: dict[str, int] = {}
        self._again = False

    def look(self) -> News:
        """Say whether anything came or went since the last look.

        ``perhaps``: what was seen before was so young that more may have come in the same tick.
        """
        found = dict(self._folders())
        if found != self._seen:
            self._seen = found
            self._again = True
            return "something"
        newest = max(found.values(), default=0) / 1e9
        if self._again and abs(self._clock.utc_now().timestamp() - newest) >= TICK_SECONDS:
            self._again = False
            return "perhaps"
        return "nothing"

    @property
    def is_sure(self) -> bool:
        """Whether nothing can have come in the same tick as what was seen last."""
        return not self._again

    def _folders(self) -> Iterator[tuple[str, int]]:
        """Each folder in which manifests may appear, and those above it, with their times."""
        yield from _time(self._members)
        for member in _folders_in(self._members):
            manifests = f"{member}/manifests"
            yield from _time(manifests)
            for project in _folders_in(manifests):
                yield from _time(project)
                for notebook in _folders_in(project):
                    yield from _time(notebook)


def _time(path: str | Path) -> Iterator[tuple[str, int]]:
    try:
        yield str(path), os.stat(path).st_mtime_ns
    except OSError:
        pass  # it is not there yet, or no longer


def _folders_in(path: str | Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:
        return []
