"""What an earlier session left: bring it back at the start or after it, and see that none of it is lost.

A name that is still coming, or that cannot come back today, is carried by reference into later snapshots. One
that waits for a library is bound before the first cell in which that library is there. One that a cell
replaces before any cell has read it (a "Run all" that rebuilds the model) is told once.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
import types
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from keepstate._base.table import size
from keepstate._capture import random_states
from keepstate._model.cells import name_of_recipe, recipe_key
from keepstate._model.folders import is_folder_name
from keepstate._model.snapshot import RestoreReport
from keepstate._repository import shown_of
from keepstate._session.coming import Coming, wanted_bytes
from keepstate._session.decoding import put_random_states_back, wanted_names
from keepstate._session.generations import explain, not_kept
from keepstate._snapshot import (
    Loader,
    Outcome,
    best_of,
    cell_titles,
    recorded_cells,
    remarks_on,
    restore_names,
    snapshot_of,
    version_remarks,
)
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.cells import Cell, Lost
    from keepstate._model.manifest import Entry, Head, Manifest
    from keepstate._repository import Repository
    from keepstate._session.coming import Group
    from keepstate._session.decoding import Decoding
    from keepstate._session.folders import Folders


WAIT_SAID_BYTES = 512 << 20
"""What a cell waits for is shown from so many bytes on: half a second or more."""
_NOT_YET = "it had not been brought back yet"
_NEVER_BOUND = object()
"""Stands for the value of a name that got another one while it was coming."""
_MADE_ANEW = (types.ModuleType, types.FunctionType, type)
"""A cell that runs again makes these as they were: who replaces a name by one of them has lost nothing."""


class Carried(NamedTuple):
    """What a snapshot takes over from the one that this session began with."""

    entries: Mapping[str, Entry] = {}
    """Names that are not here → where their value is kept."""
    why: Mapping[str, str] = {}
    """The same names → why they are not."""
    definitions: Mapping[str, bytes] = {}
    """Key of a group that only defines, or of a recipe → id of its record."""
    lost: Mapping[str, Lost] = {}
    """Names that could not be kept and are not here → what they were."""


@dataclass(slots=True)
class Recovery:
    """The names of an earlier session, and how each of them stands now."""

    decoding: Decoding
    manifest: Manifest | None = None
    """The snapshot with which this session began."""
    failed: dict[str, str] = field(default_factory=dict)
    """name → why it is not there; until the user binds it."""
    waiting: dict[str, str] = field(default_factory=dict)
    """name → the library without which it cannot be decoded; these are in *failed* too."""
    unread: dict[str, object] = field(default_factory=dict)
    """name → the restored object, until a cell reads the name."""
    coming: Coming | None = None
    """What is brought after ``start()`` has returned, until all of it has come."""
    recipes: dict[str, Callable[[], object]] = field(default_factory=dict)
    """name → what makes its object anew, of all that had one."""
    to_make: dict[str, Callable[[], object]] = field(default_factory=dict)
    """The same, of those that are to be made before a cell reaches them."""
    cells: list[Cell] = field(default_factory=list)
    """Those that had run when the snapshot was taken."""
    used_by: Callable[[object], frozenset[str] | None] = lambda _thing: None
    """Gives the names that a recipe may use; ``None``: any."""
    _no_recipes: dict[str, str] = field(default_factory=dict)
    """name → why its recipe is not to be had today; it is carried."""
    _uncarried: set[str] = field(default_factory=set)
    """Names that come although nobody tracks them any more."""
    progress: Callable[[str | None], None] = lambda _text: None
    """Shows what is waited for; ``None``: nothing any more."""
    _report: RestoreReport | None = None

    @property
    def repository(self) -> Repository:
        """Where everything is kept."""
        return self.decoding.repository

    @property
    def namespace(self) -> dict[str, object]:
        """The user's globals."""
        return self.decoding.namespace

    def carried(self) -> Carried:
        """Say what to carry into the next snapshot by reference.

        To be asked before the bound names are looked up: one that is bound in between is then in both.
        A name leaves for good when the user binds it, or no longer tracks it (:meth:`forget`).
        """
        if self.manifest is None:
            return Carried()
        coming = self.coming_names()  # before the failed ones, which it may join meanwhile
        for name in [name for name in list(self.failed) if name in self.namespace]:
            self.forget(name)
        to_make = tuple(self.to_make)
        why = {**dict.fromkeys((*coming, *to_make), _NOT_YET), **self.failed}
        entries = {
            name: _carried(self.manifest.names[name], self.manifest.id)
            for name in why
            if name in self.manifest.names and name not in self._uncarried
        }
        lost = {
            name: each for name, each in self.manifest.lost.items() if name in why and name not in entries
        }
        recipes = {recipe_key(name) for name in self._no_recipes if name in why}
        # Whatever they use of the notebook is wanted with them.
        definitions = {
            key: own
            for key, own in self.manifest.definitions.items()
            if (key in recipes if name_of_recipe(key) is not None else entries)
        }
        return Carried(entries, {name: why[name] for name in entries}, definitions, lost)

    def coming_names(self) -> tuple[str, ...]:
        """Names that are still coming."""
        return () if self.coming is None else self.coming.names

    def forget(self, name: str) -> None:
        """Carry *name* no further, and bind it no more; older snapshots keep it."""
        if self.coming is not None:
            self.coming.forget(name)
        self.failed.pop(name, None)
        self.waiting.pop(name, None)
        self.unread.pop(name, None)
        self.to_make.pop(name, None)

    def carry_no_more(self, name: str) -> None:
        """Leave *name* out of snapshots; if it is still coming, it comes."""
        if name in self.coming_names():
            self._uncarried.add(name)
        else:
            self.forget(name)

    def restore(
        self,
        newest: Sequence[Head],
        folders: Folders,
        *,
        clock: Clock,
        later: Callable[[int], bool] = lambda _nbytes: False,
    ) -> None:
        """Bind what the newest sound snapshot has and the namespace lacks, or have it come.

        Args:
            newest: The history.
            folders: Those that are watched.
            clock: Measures how long this takes.
            later: Says of so many bytes of values whether they shall come afterwards.
        """
        began = clock.monotonic()
        damaged: dict[str, Head] = {}
        chosen = self._newest_whole(newest, damaged)
        lost = {name: why for why in reversed(damaged) for name in shown_of(damaged[why]).names}
        if chosen is None:
            if damaged:
                self._report = RestoreReport(
                    None, (), lost, clock.monotonic() - began, remarks=tuple(damaged)
                )
            return
        self.manifest = chosen
        # Names are wanted or live by what the user had bound before any definition was.
        before = frozenset(self.namespace)
        if (ahead := self.decoding.what_came(chosen)) is not None:
            began, before, outcome = ahead
        elif later(wanted_bytes(chosen, wanted := wanted_names(chosen, before))):
            outcome = Outcome()
            self.coming = Coming(
                self.repository,
                chosen,
                self.namespace,
                wanted,
                explain=lambda outcome: explain(self.repository, newest, chosen, outcome),
                settled=self._settled,
                mend=self.decoding.mend,
            )
            self.coming.decode_recipes(outcome)
        else:
            outcome = self.decoding.decoded(chosen, wanted)
        live = sorted(before.intersection(chosen.names))
        self.namespace.update(outcome.restored)
        self.unread = dict(outcome.restored)
        self.failed = {
            **{name: why for name, why in lost.items() if name not in chosen.names},
            **not_kept(self.repository, newest, chosen),
            **explain(self.repository, newest, chosen, outcome),
        }
        self.waiting = dict(outcome.waiting)
        self._take_recipes(outcome, before)
        returned = folders.put_back(chosen, filter(is_folder_name, chosen.names))
        self.failed.update(returned.failed)
        self.cells = recorded_cells(self.repository, chosen)
        # Last: what was imported for the names above may have drawn numbers.
        remarks = put_random_states_back(self.repository, chosen)
        self._report = RestoreReport(
            snapshot=snapshot_of(chosen),
            restored=tuple(sorted([*outcome.restored, *returned.restored])),
            failed=dict(self.failed),
            seconds=clock.monotonic() - began,
            kept_live=tuple(live),
            remarks=(
                *(["The record of the cells that had run cannot be read."] if self._lacks_cells() else []),
                *damaged,
                *remarks_on(chosen, newest),
                *version_remarks(chosen),
                *remarks,
                *returned.remarks,
            ),
            cells=cell_titles(self.cells),
        )

    def _lacks_cells(self) -> bool:
        return self.manifest is not None and self.manifest.cells is not None and not self.cells

    def _newest_whole(self, newest: Sequence[Head], damaged: dict[str, Head]) -> Manifest | None:
        """Give the best snapshot whose names can be read; note why better ones are passed over."""
        left = list(newest)
        while (head := best_of(left)) is not None:
            try:
                return self.decoding.whole(head)
            except (IntegrityError, StoreError) as error:
                taken = f"{datetime.fromisoformat(head.created_at):%Y-%m-%d %H:%M:%S} UTC"
                damaged[f"Snapshot {head.id[:10]} of {taken} cannot be read and is passed over: {error}."] = (
                    head
                )
                left.remove(head)
        return None

    def report(self) -> RestoreReport | None:
        """Say what has come back by now, and what has not; ``None``: nothing was there."""
        names, to_make = self.coming_names(), tuple(self.to_make)
        if self._report is None or self.manifest is None or not (names or to_make):
            return self._report
        return replace(
            self._report,
            coming=tuple(sorted({*names, *to_make})),
            coming_bytes=wanted_bytes(self.manifest, names),
        )

    def remarks(self) -> list[str]:
        """Say what is still coming, for the status."""
        names = sorted(self.coming_names())
        if not names or self.manifest is None:
            return []
        return [f"Still coming: {', '.join(names)} ({size(wanted_bytes(self.manifest, names))})."]

    # -- what comes afterwards --------------------------------------------------------------------------

    def _settled(self, outcome: Outcome, failed: dict[str, str]) -> None:
        """Note what became of names that were coming, on any thread."""
        self.unread.update(outcome.restored)
        self.failed.update(failed)
        self.waiting.update(outcome.waiting)
        if self._report is not None:
            there = self.namespace
            came = [name for name, value in outcome.restored.items() if there.get(name, value) is value]
            self._report = replace(
                self._report,
                restored=tuple(sorted([*self._report.restored, *came])),
                failed={**self._report.failed, **failed},
            )

    def bring(self, names: Iterable[str] | None = None) -> None:
        """Have these names here, or know why they are not, when this returns; ``None``: all."""
        wanted = None if names is None else frozenset(names)
        self.wait_for(lambda: wanted)

    def wait_for(self, reaches: Callable[[], frozenset[str] | None]) -> None:
        """Have here what code can reach, also through what has come only now.

        Args:
            reaches: Gives the names, ``None`` for all; asked again whenever some have come.
        """
        while self.coming is not None:
            groups = self.coming.needed(reaches())
            if not groups:
                break
            with self._telling(groups):
                self.coming.bring(groups)
        if self.coming is not None and not self.coming.left:
            self.coming = None
        if self.to_make:
            self._make(reaches())

    # -- recipes ----------------------------------------------------------------------------------------

    def _take_recipes(self, outcome: Outcome, before: frozenset[str]) -> None:
        """Note which names are to be made by recipes: those that were not kept, and are not here."""
        manifest = self.manifest
        self.recipes, self._no_recipes = dict(outcome.recipes), dict(outcome.no_recipes)
        if manifest is None:
            return
        for name in [name for name in self.failed if name not in manifest.names and name not in before]:
            if name in outcome.recipes:
                self.to_make[name] = outcome.recipes[name]
                del self.failed[name]
            elif name in outcome.no_recipes:
                self.failed[name] += f"; its recipe cannot be brought back: {outcome.no_recipes[name]}"

    def make_what_is_ready(self) -> None:
        """Run the recipes that need nothing which is still coming; Ctrl-C leaves the rest for later."""
        for name, recipe in list(self.to_make.items()):
            if self.coming is None or not self.coming.needed(self.used_by(recipe)):
                try:
                    self._make([name])
                except KeyboardInterrupt:
                    return

    def _make(self, names: Iterable[str] | None) -> None:
        """Run the recipes of *names*, on the main thread alone: a connection may belong to its thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in list(self.to_make) if names is None else [name for name in self.to_make if name in names]:
            recipe = self.to_make.pop(name, None)
            if recipe is None or name in self.namespace:
                continue
            try:
                self._make_one(name, recipe)
            except BaseException:
                self.to_make[name] = recipe
                raise

    def _make_one(self, name: str, recipe: Callable[[], object]) -> None:
        needs = self.used_by(recipe)
        self.wait_for(lambda: needs)  # what it uses, and what their recipes make
        made, why = run_recipe(name, recipe)
        if why:
            self.failed[name] = why
        else:
            self.namespace.setdefault(name, made)
        if self._report is not None:
            failed = {**self._report.failed, **({name: why} if why else {})}
            came = self._report.restored if why else tuple(sorted({*self._report.restored, name}))
            remark = f"{name} was made anew by its recipe."
            remarks = self._report.remarks if why else (*self._report.remarks, remark)
            self._report = replace(self._report, restored=came, failed=failed, remarks=remarks)

    @contextmanager
    def _telling(self, groups: Sequence[Group]) -> Iterator[None]:
        """Show what is waited for, if that takes a while."""
        nbytes = sum(group.nbytes for group in groups)
        if nbytes < WAIT_SAID_BYTES:
            yield
            return
        names = ", ".join(sorted(name for group in groups for name in group.names))
        try:
            self.progress(f"keepstate: bringing back {names} ({size(nbytes)})")
            yield
        finally:
            self.progress(None)

    # -- cells ------------------------------------------------------------------------------------------

    def before_cell(
        self, reads: Callable[[], frozenset[str] | None], reaches: Callable[[], frozenset[str] | None]
    ) -> list[str]:
        """Bind what the next cell needs and what has become decodable, and note what it reads.

        Args:
            reads: Gives the names that the cell reads, ``None`` for all; asked only if it matters.
            reaches: Gives all that it can reach; likewise.

        Returns:
            The names whose library is there now.
        """
        bound = self._bind_waiting()
        self.wait_for(reaches)
        if self.unread:
            names = reads()
            for name in list(self.unread) if names is None else names & self.unread.keys():
                self.unread.pop(name, None)
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
        for name in list(self.to_make):
            if name in self.namespace:
                self.forget(name)
        for name in self.coming_names():
            if name in self.namespace and name not in self.unread:  # the user's: ours are noted before
                self.forget(name)
                self.unread[name] = _NEVER_BOUND
        for name, kept in list(self.unread.items()):
            value = self.namespace.get(name, kept)
            if value is kept:
                continue
            self.unread.pop(name, None)
            if not isinstance(value, _MADE_ANEW):
                told.append(
                    f"keepstate: {name!r} had been restored and was replaced before any cell read it. "
                    f"keepstate.restore({name!r}, at={self.manifest.id[:10]!r}) brings that one back; "
                    f"{name} = keepstate.get({name!r}, …) in its place rebuilds it only when nothing is kept."
                )
        return told

    def explain_missing(self, name: str) -> str | None:
        """Say of a name that a cell missed what it was and how to get it, if it was kept once."""
        coming = name in self.coming_names() or name in self.to_make
        why = _NOT_YET + ": run the cell again" if coming else self.failed.get(name)
        if why is None:
            return None
        kind = ""
        if self.manifest is not None and name in self.manifest.names:
            kind = f" (a {self.manifest.names[name].type})"
        return f"keepstate: {name!r}{kind} is known from the last session but not here: {why}"


def run_recipe(name: str, recipe: Callable[[], object]) -> tuple[object, str]:
    """Make an object anew; the user's random numbers go on as if that had not happened.

    Returns:
        The object, and why there is none; empty: there is.
    """
    try:
        with random_states.undisturbed():
            return recipe(), ""
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
        said = " ".join(str(error).split())[:300]
        return None, (
            f"its recipe failed: {type(error).__name__}: {said}; "
            f"keepstate.rebuild({name!r}) tries again once what it needs is there"
        )


def _carried(entry: Entry, id: str) -> Entry:  # noqa: A002 - the field is called so
    return entry if entry.kept_in else msgspec.structs.replace(entry, kept_in=id)


def _is_there(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # a half-installed package may answer so: not there yet
        return False
