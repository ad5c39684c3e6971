"""Which names share objects or memory. Works on arrays of ids: a loop in Python sees only what is shared."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs._identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from keepstate.codecs._definitions import Definitions
    from keepstate.codecs._pickler import Ids, StreamPickler


class Unions:
    """Disjoint sets of names.

    >>> unions = Unions(["a", "b", "c"])
    >>> unions.join(["c", "a"])
    >>> unions.sets()
    [['a', 'c'], ['b']]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        """Return the name that stands for the set of *name*."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, names: Sequence[str]) -> None:
        """Unite the sets of *names*; the first name in sort order stands for the result."""
        roots = sorted({self.find(name) for name in names})
        for root in roots[1:]:
            self._parent[root] = roots[0]

    def sets(self) -> list[list[str]]:
        """Return all sets, sorted."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._parent):
            found.setdefault(self.find(name), []).append(name)
        return list(found.values())


def linked_units(units: Sequence[tuple[Sequence[str], StreamPickler]], definitions: Definitions) -> Unions:
    """Unite the names whose streams hold the same mutable object or the same memory.

    Args:
        units: Names and the pickler that wrote them in one stream, with all that it kept alive.
        definitions: Of the same picture.
    """
    unions = Unions(name for names, _ in units for name in names)
    for names, _ in units:
        unions.join(names)
    firsts = [names[0] for names, _ in units]
    picklers = [pickler for _, pickler in units]
    _join_by_object(unions, firsts, picklers, definitions)
    _join_by_memory(unions, dict(zip(firsts, picklers, strict=True)))
    return unions


def _join_by_object(
    unions: Unions, names: list[str], picklers: list[StreamPickler], definitions: Definitions
) -> None:
    if len(picklers) < 2:
        return
    ids = [pickler.shared_ids() for pickler in picklers]
    every = np.sort(np.concatenate(ids))
    shared = np.unique(every[1:][every[1:] == every[:-1]])
    own = frozenset[int]().union(*(pickler.own for pickler in picklers))
    shared = shared[~_found_in(shared, np.sort(np.array(list(own), np.uint64)))]
    if not len(shared):
        return
    material = _material(shared, ids, picklers, definitions)
    ids = [own[_found_in(own, material)] for own in ids]
    every = np.concatenate(ids)
    owners = np.repeat(np.arange(len(ids)), [len(own) for own in ids])
    order = np.argsort(every, kind="stable")
    every, owners = every[order], owners[order]
    joins = every[1:] == every[:-1]
    pairs = np.unique(np.stack([owners[:-1][joins], owners[1:][joins]]), axis=1)
    for first, second in pairs.T.tolist():
        unions.join([names[first], names[second]])


def _found_in(values: Ids, known: Ids) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say which of *values* are in *known*, which is sorted (``numpy.isin`` takes ten times as long)."""
    if not len(known):
        return np.zeros(len(values), bool)
    at = np.searchsorted(known, values)
    at[at == len(known)] = 0
    found: np.ndarray[Any, np.dtype[np.bool_]] = known[at] == values
    return found


def _material(shared: Ids, ids: list[Ids], picklers: list[StreamPickler], definitions: Definitions) -> Ids:
    """Return those of *shared* whose identity matters, asking the smallest streams for the objects."""
    identity = Identity(definitions, picklers[0])
    found: list[int] = []
    pending = shared
    for at in sorted(range(len(ids)), key=lambda at: len(ids[at])):
        if not len(pending):
            break
        mine = _found_in(pending, np.sort(ids[at]))
        here, pending = pending[mine], pending[~mine]
        if len(here):
            held, own = picklers[at].held()
            things = list(compress(held, _found_in(own, here).tolist()))
            found += identity.material(here.tolist(), things, held)
    return np.sort(np.array(found, np.uint64))


def _join_by_memory(unions: Unions, picklers: Mapping[str, StreamPickler]) -> None:
    spans = sorted(
        (low, high, name) for name, pickler in picklers.items() for low, high in pickler.memory.extents()
    )
    reach, last = 0, ""
    for low, high, name in spans:
        if low < reach and name != last:
            unions.join([last, name])
        if high > reach:
            reach, last = high, name


def in_order(unions: Unions, needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Unite groups that need each other in a circle; return all groups, each after those that it needs.

    Args:
        unions: The groups so far.
        needs: name → names of the definitions that it needs.
    """
    while True:
        graph: dict[str, set[str]] = {unions.find(name): set() for name in sorted(needs)}
        for name, needed in needs.items():
            graph[unions.find(name)] |= {unions.find(key) for key in needed} - {unions.find(name)}
        try:
            order = list(TopologicalSorter({key: sorted(graph[key]) for key in sorted(graph)}).static_order())
        except CycleError as error:
            unions.join(error.args[1])
            continue
        members = {names[0]: names for names in unions.sets()}
        return [members[key] for key in order]
