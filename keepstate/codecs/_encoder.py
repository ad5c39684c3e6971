"""Names to groups: each name is pickled alone, then those that share what matters are pickled together.

Runs in a forked child, or on the main thread between cells: it starts no thread, imports nothing heavy,
writes to no object of the user and draws from no random stream.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from keepstate._model.parts import EncodedGroup, Encoding, Member, Role
from keepstate.codecs._definitions import Definitions
from keepstate.codecs._facts import facts_of
from keepstate.codecs._imprints import Imprint, Probe, all_ids
from keepstate.codecs._links import in_order, linked_units
from keepstate.codecs._open_files import NO_POSITIONS, Positions
from keepstate.codecs._pickler import StreamPickler
from keepstate.codecs._refusals import refusal, type_name
from keepstate.codecs._sink import TooLongError
from keepstate.codecs._source import source_of
from keepstate.codecs._weak import LOOSE, loose

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

HINT_BYTES = 4 << 20
"""A stream longer than this is not written twice if a hint says with what it goes (0.1 s here)."""


def encode(
    bindings: Mapping[str, object],
    *,
    namespace: Mapping[str, object],
    grouped: Collection[frozenset[str]] = (),
    refuse: Collection[str] = (),
    imprints: Collection[Imprint] = (),
    positions: Positions = NO_POSITIONS,
    on_name: Callable[[str], None] | None = None,
) -> Encoding:
    """Turn names into groups of streams and parts.

    Args:
        bindings: name → object to keep.
        namespace: The user's globals: what a class or function of the notebook refers to.
        grouped: Names that shared objects the last time. Those with long streams are pickled together at
            once, without looking whether they still share something.
        refuse: Names that are not tried, because encoding them hung before.
        imprints: Of groups whose memory is known: if it is what it was when they were encoded, they may be
            left as they were; else it is said what a later imprint must know.
        positions: Where the user's open files stood when the picture was taken; without it they are refused.
        on_name: Called with each name before it is encoded, and with none before they are linked.

    Returns:
        The groups, each after those that it needs, and why a name is in none of them. Parts show live memory.
    """
    picture = _Picture(bindings, namespace, positions, on_name or (lambda _name: None))
    picture.skip_refused(refuse)
    picture.trust(imprints)
    picture.pickle_each(grouped)
    return picture.finish()


@dataclass(frozen=True, slots=True)
class _Unit:
    """Names that were pickled in one stream."""

    names: tuple[str, ...]
    pickler: StreamPickler
    imprint: Imprint | None = None
    """If they were not pickled: why their stream is known. The pickler has only written what it refers to."""


class _Picture:
    def __init__(
        self,
        bindings: Mapping[str, object],
        namespace: Mapping[str, object],
        positions: Positions,
        on_name: Callable[[str], None],
    ) -> None:
        self._bindings = bindings
        self._positions = positions
        self._keys = {name: name for name in bindings}
        """Name → the very text that is bound; a stream tells it from an equal one."""
        self._on_name = on_name
        self._definitions = Definitions(namespace, bindings)
        self._units: dict[str, _Unit] = {}
        """Name → the unit that it is in."""
        self._skipped: dict[str, str] = {}
        self._imprints: dict[tuple[str, ...], Imprint] = {}
        self._unmoved: dict[str, Imprint] = {}
        """Name → imprint of its group, where that may be left as it was."""
        self._complete = False
        """Whether all that anything needs has been found."""

    def skip_refused(self, names: Collection[str]) -> None:
        for name in sorted(set(names) & set(self._bindings)):
            self._skipped[name] = "it is not tried again, because keeping it did not come to an end before"

    def trust(self, imprints: Collection[Imprint]) -> None:
        self._imprints = {imprint.names: imprint for imprint in imprints}
        for imprint in imprints:
            if imprint.facts is not None and not self._skipped.keys() & set(imprint.names):
                self._unmoved.update(dict.fromkeys(imprint.names, imprint))

    # --- pickling

    def pickle_each(self, grouped: Collection[frozenset[str]]) -> None:
        partners = {name: hint & set(self._bindings) for hint in grouped for name in hint}
        queue = dict.fromkeys(sorted(self._bindings))
        while queue:
            self._pickle_all(queue, partners)
            queue = dict.fromkeys(self._moved())

    def _pickle_all(self, queue: dict[str, None], partners: Mapping[str, Collection[str]]) -> None:
        while queue:
            name = next(iter(queue))
            del queue[name]
            if name in self._skipped or name in self._units:
                continue
            self._on_name(name)
            unit = self._as_it_was(name) or self._first(
                name, sorted(set(partners.get(name, ())) - set(self._skipped))
            )
            if unit is None:
                continue
            self._units.update(dict.fromkeys(unit.names, unit))
            used = [other for other in unit.pickler.calls if self._definitions.used(other) is not None]
            queue.update(dict.fromkeys([*unit.pickler.needs, *used]))

    def _as_it_was(self, name: str) -> _Unit | None:
        """Return the unit of *name* if nothing that its stream depends on has changed."""
        imprint = self._unmoved.get(name)
        if imprint is None:
            return None
        probe = None if self._units.keys() & set(imprint.names) else self._probe(imprint)
        if probe is not None and probe.facts == imprint.facts:
            return _Unit(imprint.names, probe.pickler, imprint)
        for other in imprint.names:
            del self._unmoved[other]
        return None

    def _probe(self, imprint: Imprint) -> Probe | None:
        try:
            return Probe(imprint, [self._keys[name] for name in imprint.names], self._definitions)
        except Exception:  # noqa: BLE001 - then it is pickled, and that may say why
            return None

    def _moved(self) -> list[str]:
        """Give up units that were not pickled, but share an object with one that was; return their names."""
        imprints = set(self._unmoved.values())
        if not imprints:
            return []
        units = dict.fromkeys(self._units.values())
        pickled = all_ids(unit.pickler for unit in units if unit.imprint is None)
        moved = [name for imprint in imprints if imprint.shares(pickled) for name in imprint.names]
        for name in moved:
            del self._units[name], self._unmoved[name]
        return sorted(moved)

    def _first(self, name: str, partners: Sequence[str]) -> _Unit | None:
        """Pickle *name* alone; or with its partners at once, if that is long."""
        if len(partners) > 1 and not any(partner in self._units for partner in partners):
            try:
                return self._pickle([name], limit=HINT_BYTES)
            except TooLongError:
                together = self._attempt(partners, blamed=None)  # it pays to believe the hint
                if together is not None:
                    return together
            except Exception:  # noqa: BLE001 - tried again below, where the reason is kept
                pass
        return self._attempt([name], blamed=name)

    def _attempt(
        self, names: Sequence[str], *, blamed: str | None, aliased: Collection[int] = ()
    ) -> _Unit | None:
        """Pickle *names*; whatever their objects raise costs *blamed* only. An interrupt comes through."""
        try:
            return self._pickle(names, aliased=aliased)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            why = None if blamed is None else refusal(self._value(blamed), error)
        if blamed is not None and why is not None:
            self._skip(blamed, why)
        return None

    def _skip(self, name: str, why: str) -> None:
        """Leave *name* out; if it was pickled with others, those are pickled again, each alone."""
        self._skipped[name] = why
        self._part(name)
        self._units.pop(name, None)

    def _part(self, name: str) -> None:
        """Pickle the names again, each alone, that were pickled together with *name*."""
        unit = self._units.get(name)
        if unit is None or len(unit.names) == 1:
            return
        for other in unit.names:
            self._units.pop(other, None)
        for other in unit.names:
            alone = None if other in self._skipped else self._attempt([other], blamed=other)
            if alone is not None:
                self._units[other] = alone

    def _pickle(
        self, names: Sequence[str], *, aliased: Collection[int] = (), limit: int | None = None
    ) -> _Unit:
        pickler = self._write(names, aliased=aliased, limit=limit)
        found = pickler.notebook_global()
        if found is not None:
            raise pickle.PicklingError(f"it refers to {found!r} of the notebook in a way that cannot be kept")
        if self._complete and not pickler.needs.keys() <= self._units.keys():
            raise pickle.PicklingError("it needs something else each time that it is looked at")
        return _Unit(tuple(names), pickler)

    def _write(
        self,
        names: Sequence[str],
        *,
        aliased: Collection[int] = (),
        limit: int | None = None,
        weakly: bool = True,
    ) -> StreamPickler:
        pickler = StreamPickler(
            self._definitions,
            inline=frozenset(names),
            aliased=aliased,
            limit=limit,
            positions=self._positions,
            weakly=weakly,
        )
        pickler.write({self._keys.get(name, name): self._value(name) for name in names})
        return pickler

    def _value(self, name: str) -> object:
        return self._bindings[name] if name in self._bindings else self._definitions.object_of(name)

    # --- grouping

    def finish(self) -> Encoding:
        """Group what is linked, drop what needs something skipped, until nothing changes any more."""
        self._complete = True
        self._on_name("")
        while True:
            self._drop_what_needs_the_skipped()
            skipped = len(self._skipped)
            units = list(dict.fromkeys(self._units.values()))
            unions = linked_units([(unit.names, unit.pickler) for unit in units], self._definitions)
            order = in_order(unions, {name: unit.pickler.needs for name, unit in self._units.items()})
            together = [self._together(names) for names in order]
            self._drop_what_is_loose(together)
            if len(self._skipped) == skipped:
                packages = frozenset[str]().union(*(unit.pickler.packages() for unit in units))
                return Encoding(self._groups(together), dict(sorted(self._skipped.items())), packages)

    def _drop_what_needs_the_skipped(self) -> None:
        while True:
            broken = [
                (name, key, len(unit.names))
                for name, unit in self._units.items()
                for key in unit.pickler.needs
                if key not in self._units
            ]
            if not broken:
                return
            for name, key, together in broken:
                if together > 1:
                    self._part(name)  # perhaps only one of them needs it
                elif name in self._units:
                    why = self._skipped.get(key, "that is not there")
                    self._skip(name, f"{type_name(self._value(name))} cannot be kept: it needs {key}; {why}")

    def _drop_what_is_loose(self, together: Sequence[_Unit | None]) -> None:
        """Skip names that would come back with dead weak references."""
        for unit in together:
            if unit is not None and self._loose(unit.names, unit.pickler):
                alone = {name: self._write([name]) for name in unit.names}
                for name, pickler in alone.items():
                    if len(alone) == 1 or self._loose(unit.names, pickler):
                        self._skip(name, f"{type_name(self._value(name))} cannot be kept: {LOOSE}")

    def _loose(self, names: Sequence[str], pickler: StreamPickler) -> set[int]:
        return loose(pickler, lambda: self._write(names, weakly=False))

    def _together(self, names: list[str]) -> _Unit | None:
        """Return one unit with all *names*; ``None`` if some had to be skipped."""
        unit = self._units[names[0]]
        aliased = self._aliased(names)
        if set(unit.names) == set(names) and not aliased:
            return unit
        self._on_name(names[0])
        joined = self._attempt(names, blamed=None, aliased=aliased)
        if joined is None:
            # One of them will not be joined; those that come before it will.
            kept: list[str] = []
            for name in names:
                joined = self._attempt([*kept, name], blamed=name, aliased=aliased)
                kept += [] if joined is None else [name]
        return joined if joined is not None and set(joined.names) == set(names) else None

    def _aliased(self, names: Iterable[str]) -> set[int]:
        """Return the ids of those arrays of Python objects that more than one array of the group shows."""
        shown: dict[int, set[tuple[int, int, int]]] = {}
        for unit in dict.fromkeys(self._units[name] for name in names):
            for low, high, root, array in unit.pickler.memory.object_extents:
                shown.setdefault(root, set()).add((low, high, array))
        return {root for root, spans in shown.items() if _overlap(sorted(spans))}

    # --- results

    def _groups(self, together: Sequence[_Unit | None]) -> tuple[EncodedGroup, ...]:
        units = [unit for unit in together if unit is not None]
        keys = {name: min(unit.names) for unit in units for name in unit.names}
        return tuple(self._group(unit, keys, self._facts(unit, units)) for unit in units)

    def _facts(self, unit: _Unit, units: Sequence[_Unit]) -> bytes | None:
        """Say what an imprint of *unit* must know; ``None`` if there is none, or can be none."""
        imprint = unit.imprint or self._imprints.get(tuple(sorted(unit.names)))
        if imprint is None or imprint is unit.imprint:
            return None
        if imprint.shares(all_ids(other.pickler for other in units if other is not unit)):
            return None  # that they are not linked may change without any of its memory
        probe = self._probe(imprint)
        return None if probe is None else probe.facts

    def _group(self, unit: _Unit, keys: Mapping[str, str], facts: bytes | None) -> EncodedGroup:
        unchanged = unit.imprint is not None
        stream, parts = (b"", ()) if unchanged else unit.pickler.finish()
        key = min(unit.names)
        needs = sorted({keys[name] for name in unit.pickler.needs} - {key})
        members = tuple(self._member(name) for name in sorted(unit.names))
        return EncodedGroup(key, members, tuple(needs), stream, parts, unchanged, facts)

    def _member(self, name: str) -> Member:
        value = self._value(name)
        role: Role = "variable" if name in self._bindings else "definition"
        source = source_of(value) if self._definitions.key_of(value) == name else ""
        return Member(
            name,
            role,
            type_name(value),
            bind=self._definitions.is_bound(name),
            source=source,
            facts=facts_of(value) if role == "variable" else None,
        )


def _overlap(spans: list[tuple[int, int, int]]) -> bool:
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))
