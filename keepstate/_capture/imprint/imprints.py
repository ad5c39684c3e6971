"""The imprints of a session, as the user's process has them: rooms that its children write to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from keepstate._capture.imprint.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keepstate._capture.imprint.look import Imprint
    from keepstate._capture.work import Tools

SLOW_SECONDS = 0.02
"""A group that is encoded faster gets no imprint. Measured here: making one takes half as long as
encoding (dicts, instances) to twice as long (floats); using it, a twentieth to two fifths."""
TOTAL_BYTES = 128 << 20
"""Of all imprints of a session: those of 7 GB of objects."""
MOST = 32
"""Groups with an imprint."""


class Worth(msgspec.Struct, frozen=True, array_like=True):
    """A group that is worth an imprint, as a child tells its parent."""

    names: list[str]
    encode_seconds: float
    """Of processor time."""
    used_bytes: int = 0
    """Of its imprint, if it has one."""


class Imprints:
    """Belongs to the user's process; each child has it as it was at the fork."""

    def __init__(self) -> None:
        self._regions: dict[tuple[str, ...], Region] = {}
        self._stopped = False

    def absorb(self, found: Iterable[Worth]) -> None:
        """Make room for what is worth it, and give back the rest."""
        regions: dict[tuple[str, ...], Region] = {}
        left = TOTAL_BYTES
        for each in sorted(found, key=lambda each: (-each.used_bytes, -each.encode_seconds)):
            names = tuple(each.names)
            left -= each.used_bytes
            if left < 0 or len(regions) == MOST or self._stopped:
                break
            regions[names] = self._regions.get(names) or Region()
        self._regions = regions
        if regions:
            from keepstate._capture.imprint import look  # noqa: F401 - so that no child has to

    def stop(self) -> None:
        """Use none for the rest of the session: a child has died over them."""
        self._stopped = True
        self._regions = {}

    @property
    def whole(self) -> frozenset[tuple[str, ...]]:
        """Names of the groups that have an imprint."""
        return frozenset(names for names, region in self._regions.items() if region.is_whole)

    def look(self, bindings: Mapping[str, object], tools: Tools, *, seed: int) -> list[Imprint]:
        """Find, in a child, groups whose memory is what it was, and look at those that may get an imprint.

        Comes before anything is encoded, which gives some objects a dictionary.
        """
        if tools.looking is None or not self._regions:
            return []
        from keepstate._capture.imprint.look import Look  # needs numpy, which not every process has loaded

        found: list[Imprint] = []
        with (
            tools.looking(),
            suppress(Exception),
        ):  # whatever goes wrong: what is not found is encoded as ever
            look = Look(bindings, seed=seed, on_block=lambda: tools.progress("", 0))
            for names, region in self._regions.items():
                if bindings.keys() >= set(names) and (each := look.at(names, region)) is not None:
                    found.append(each)
        return found
