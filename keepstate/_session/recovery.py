"""What an earlier session left: bring it back at the start, and see that none of it is forgotten or buried.

A name that cannot come back today is carried by reference into later snapshots. One that waits for a library
is bound before the first cell in which that library is there. One that a cell replaces before any cell has
read it (a "Run all" that rebuilds the model) is told once.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from keepstate._capture import random_states
from keepstate._model.folders import is_folder_name
from keepstate._model.snapshot import RestoreReport
from keepstate._snapshot import (
    Loader,
    Outcome,
    best_of,
    cell_titles,
    older_generation,
    remarks_on,
    restore_names,
    snapshot_of,
    version_remarks,
)
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.manifest import Entry, Manifest
    from keepstate._repository import Repository
    from keepstate._session.folders import Folders


@dataclass(slots=True)
class _Ahead:
    """A snapshot that was decoded while it came."""

    manifest: Manifest
    began: float
    before: frozenset[str]
    """Names that were bound then."""
    outcome: Outcome | None = None


@dataclass(slots=True)
class Recovery:
    """The names of an earlier session, and how each of them stands now."""

    repository: Repository
    namespace: dict[str, object]
    manifest: Manifest | None = None
    """The snapshot with which this session began."""
    failed: dict[str, str] = field(default_factory=dict)
    """name → why it is not there; until the user binds it."""
    waiting: dict[str, str] = field(default_factory=dict)
    """name → the library without which it cannot be decoded; these are in *failed* too."""
    unread: dict[str, object] = field(default_factory=dict)
    """name → the restored object, until a cell reads the name."""
    mend: Callable[[Manifest], bool] = lambda _: False
    """Brings what is damaged here from where it is whole; says whether it has tried."""
    _ahead: _Ahead | None = None

    def carried(self) -> tuple[dict[str, Entry], dict[str, str]]:
        """Names to carry into the next snapshot by reference, and why they are not here.

        A name leaves for good when the user binds it, or no longer tracks it (:meth:`forget`).
        """
        if self.manifest is None:
            return {}, {}
        for name in [name for name in self.failed if name in self.namespace]:
            self.forget(name)
        entries = {
            name: _carried(self.manifest.names[name], self.manifest.id)
            for name in self.failed
            if name in self.manifest.names
        }
        return entries, {name: self.failed[name] for name in entries}

    def forget(self, name: str) -> None:
        """Carry *name* no further; older snapshots keep it."""
        self.failed.pop(name, None)
        self.waiting.pop(name, None)
        self.unread.pop(name, None)

    @contextmanager
    def decoding_ahead(self, manifest: Manifest, *, clock: Clock) -> Iterator[Callable[[], None]]:
        """Give what decodes a snapshot for :meth:`restore` while it still comes, as far as it has come.

        Names are bound by :meth:`restore`, which also tells what failed. If the block ends with an error, so
        that the snapshot is not there, everything is as it was.
        """
        ahead = _Ahead(manifest, clock.monotonic(), frozenset(self.namespace))

        def decode() -> None:
            ahead.outcome = self._decode(manifest, _wanted(manifest, ahead.before))

        try:
            yield decode
        except BaseException:
            for name in self.namespace.keys() - ahead.before:
                del self.namespace[name]
            raise
        self._ahead = ahead

    def decoded(self, manifest: Manifest, names: Sequence[str], *, definitions: bool = True) -> Outcome:
        """Decode names, a second time if bytes were damaged here and came from elsewhere."""
        outcome = self._decode(manifest, names, definitions=definitions)
        return self._mended(manifest, names, outcome, definitions=definitions)

    def _mended(
        self, manifest: Manifest, names: Sequence[str], outcome: Outcome, *, definitions: bool = True
    ) -> Outcome:
        if outcome.damaged and self.mend(manifest):
            return self._decode(manifest, names, definitions=definitions)
        return outcome

    def _decode(self, manifest: Manifest, names: Sequence[str], *, definitions: bool = True) -> Outcome:
        loader = Loader(self.repository, manifest, self.namespace)
        if definitions:
            loader.bind_definitions()
        return restore_names(loader, names)

    def restore(self, newest: Sequence[Manifest], folders: Folders, *, clock: Clock) -> RestoreReport:
        """Bind what the newest sound snapshot has and the namespace lacks."""
        began = clock.monotonic()
        chosen = best_of(newest)
        if chosen is None:
            return RestoreReport(snapshot=None, restored=(), failed={}, seconds=0.0)
        self.manifest = chosen
        ahead, self._ahead = self._ahead, None
        # Names are wanted or live by what the user had bound before any definition was.
        before = frozenset(self.namespace)
        if ahead is not None and ahead.outcome is not None and ahead.manifest.id == chosen.id:
            began, before = ahead.began, ahead.before
            outcome = self._mended(chosen, _wanted(chosen, before), ahead.outcome)
        else:
            outcome = self.decoded(chosen, _wanted(chosen, before))
        live = sorted(before.intersection(chosen.names))
        self.namespace.update(outcome.restored)
        self.unread = dict(outcome.restored)
        self.failed = {
            **_not_kept(self.repository, newest, chosen),
            **explain(self.repository, newest, chosen, outcome),
        }
        self.waiting = dict(outcome.waiting)
        returned = folders.put_back(chosen, filter(is_folder_name, chosen.names))
        self.failed.update(returned.failed)
        # Last: what was imported for the names above may have drawn numbers.
        remarks = put_random_states_back(self.repository, chosen)
        return RestoreReport(
            snapshot=snapshot_of(chosen),
            restored=tuple(sorted([*outcome.restored, *returned.restored])),
            failed=dict(self.failed),
            seconds=clock.monotonic() - began,
            kept_live=tuple(live),
            remarks=(*remarks_on(chosen, newest), *version_remarks(chosen), *remarks, *returned.remarks),
            cells=cell_titles(self.repository, chosen),
        )

    def before_cell(self, reads: Callable[[], frozenset[str] | None]) -> list[str]:
        """Bind what has become decodable, and note what the coming cell reads.

        Args:
            reads: Gives the names that the cell may read, ``None`` for all; asked only if it matters.

        Returns:
            The names that were bound just now.
        """
        bound = self._bind_waiting()
        if self.unread:
            names = reads()
            for name in list(self.unread) if names is None else names & self.unread.keys():
                del self.unread[name]
        return bound

    def _bind_waiting(self) -> list[str]:
        if not self.waiting or self.manifest is None:
            return []
        importlib.invalidate_caches()  # a library that was installed since is not seen otherwise
        ready = [name for name, library in self.waiting.items() if _is_there(library)]
        if not ready:
            return []
        outcome = restore_names(
            Loader(self.repository, self.manifest, self.namespace),
            [name for name in ready if name not in self.namespace],
        )
        for name in ready:
            self.forget(name)
        self.namespace.update(outcome.restored)
        self.unread.update(outcome.restored)
        self.failed.update(outcome.failed)
        self.waiting.update(outcome.waiting)
        return sorted(outcome.restored)

    def after_cell(self) -> list[str]:
        """Say of each restored name that the cell replaced unread how to get it back; once."""
        if self.manifest is None:
            return []
        told = []
        for name, kept in list(self.unread.items()):
            if self.namespace.get(name, kept) is not kept:
                del self.unread[name]
                told.append(
                    f"keepstate: {name!r} had been restored and was replaced before any cell read it. "
                    f"keepstate.restore({name!r}, at={self.manifest.id[:10]!r}) brings that one back; "
                    f"{name} = keepstate.get({name!r}, …) in its place rebuilds it only when nothing is kept."
                )
        return told

    def explain_missing(self, name: str) -> str | None:
        """Say of a name that a cell missed what it was and how to get it, if it was kept once."""
        why = self.failed.get(name)
        if why is None:
            return None
        kind = ""
        if self.manifest is not None and name in self.manifest.names:
            kind = f" (a {self.manifest.names[name].type})"
        return f"keepstate: {name!r}{kind} is known from the last session but not here: {why}"


def _wanted(manifest: Manifest, before: frozenset[str]) -> list[str]:
    """Names that the user has not bound."""
    return [name for name in manifest.names if name not in before and not is_folder_name(name)]


def _carried(entry: Entry, id: str) -> Entry:  # noqa: A002 - the field is called so
    return entry if entry.kept_in else msgspec.structs.replace(entry, kept_in=id)


def _is_there(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # a half-installed package may answer so: not there yet
        return False


def put_random_states_back(repository: Repository, manifest: Manifest) -> list[str]:
    """Have random numbers go on as they would have; say so if their state is damaged."""
    if manifest.random is None:
        return []
    try:
        state = repository.read(manifest.random, member=manifest.member)
    except (IntegrityError, StoreError) as error:
        return [f"Random numbers do not go on where they were: {error}."]
    random_states.put_back(state)
    return []


def _not_kept(repository: Repository, newest: Sequence[Manifest], chosen: Manifest) -> dict[str, str]:
    return {
        name: f"it was not kept: {why}{_offer(repository, newest, chosen, name)}"
        for name, why in chosen.skipped.items()
        if name not in chosen.names
    }


def explain(
    repository: Repository, newest: Sequence[Manifest], chosen: Manifest, outcome: Outcome
) -> dict[str, str]:
    """Add to each failure the last good generation of that name, which is offered and never mixed in."""
    return {
        name: f"{why}; it is bound as soon as that library can be imported"
        if name in outcome.waiting
        else why + _offer(repository, newest, chosen, name)
        for name, why in outcome.failed.items()
    }


def _first_with(name: str, manifests: Sequence[Manifest], *, besides: Entry | None) -> Manifest | None:
    """Find the first in which *name* has another value."""
    known = None if besides is None else besides.group
    return next((m for m in manifests if name in m.names and m.names[name].group != known), None)


def _offer(repository: Repository, newest: Sequence[Manifest], chosen: Manifest, name: str) -> str:
    older = newest[[m.id for m in newest].index(chosen.id) + 1 :]
    here = {m.id for m in repository.manifests(member=chosen.member)}
    good = older_generation(repository, [m for m in older if m.id in here], name, chosen.names.get(name))
    if good is None:
        far = _first_with(name, [m for m in older if m.id not in here], besides=chosen.names.get(name))
        if far is not None:
            return (
                f"; an older one of {far.created_at[:19]} is at the store: "
                f"keepstate.restore({name!r}, at={far.id[:10]!r}) tries that"
            )
        return "" if name not in chosen.names else "; no older generation of it is whole"
    return (
        f"; an older one of {good.created_at[:19]} is whole: keepstate.restore({name!r}, at={good.id[:10]!r})"
    )
