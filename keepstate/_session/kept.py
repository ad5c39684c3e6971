"""What is kept of one notebook, as the user asks for it: listed, bound again, loaded, or made anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._capture import random_states
from keepstate._model.cells import name_of_recipe
from keepstate._model.folders import is_folder_name
from keepstate._model.snapshot import RestoreReport, Snapshot
from keepstate._repository import newest_first, shown_of
from keepstate._session.decoding import put_random_states_back
from keepstate._session.generations import explain
from keepstate._session.recovery import run_recipe
from keepstate._snapshot import Loader, best_of, find, snapshot_of, version_remarks
from keepstate.errors import IntegrityError, InvalidInputError, KeepstateError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.kernel import Kernel
    from keepstate._model.manifest import Head, Manifest
    from keepstate._repository import Repository
    from keepstate._session.far_side import FarSide
    from keepstate._session.folders import Folders
    from keepstate._session.identity import Identity
    from keepstate._session.recovery import Recovery
    from keepstate._snapshot import Outcome
    from keepstate._tracking import Selection


@dataclass(frozen=True, slots=True)
class Kept:
    """The reading side of a session."""

    repository: Repository
    identity: Identity
    kernel: Kernel
    selection: Selection
    recovery: Recovery
    folders: Folders
    clock: Clock
    far: FarSide | None = None

    def here(self) -> list[Head]:
        """All of this notebook in the repository of this machine, newest first."""
        return self.repository.heads(
            project=self.identity.project, member=self.identity.member, notebook=self.identity.notebook
        )

    def manifests(self) -> list[Head]:
        """All of this notebook, here or at the far store, newest first."""
        if self.far is None:
            return self.here()
        there = {manifest.id: manifest for manifest in self.far.manifests()}
        return newest_first({**there, **{manifest.id: manifest for manifest in self.here()}}.values())

    def asked_for(self) -> list[Head]:
        """The same for a call that may wait: the store is looked at if it could not be at the start."""
        if self.far is not None and not self.far.looked:
            self.far.look()
            if self.far.trouble is not None:
                self.kernel.say(
                    f"keepstate: the store cannot be reached, so this is from here: {self.far.trouble}"
                )
        return self.manifests()

    def bring(self, manifest: Head, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Have a snapshot in the repository of this machine, from where it is decoded.

        Args:
            manifest: The snapshot.
            meanwhile: Called if it must be brought, while it comes; what it reads waits for its chunks.

        Raises:
            StoreError: The far store fails.
            NotFoundError: It is not there any more.
        """
        if self.far is None or manifest.id in {each.id for each in self.here()}:
            return
        with self.far.bringing(manifest) as arriving, self.repository.taking_in(arriving):
            meanwhile()
        self.repository.refresh()

    def mend(self, manifest: Head, *, silently: bool = False) -> bool:
        """Bring what is damaged or missing here of a snapshot, if the far store has it; say whether it did.

        It may still be damaged, if it is there as well.
        """
        if self.far is None or manifest.id not in {each.id for each in self.far.manifests()}:
            return False
        say = _say_nothing if silently else self.kernel.say
        say(f"keepstate: snapshot {manifest.id[:10]} is damaged here: the store is asked for what it lacks")
        try:
            with self.far.bringing(manifest, mend=True):
                pass
        except KeepstateError as error:
            say(f"keepstate: the store does not give it: {error}")
            return False
        self.repository.refresh()
        return True

    def snapshots(self) -> list[Snapshot]:
        """List what is kept of this notebook; see :func:`keepstate.snapshots`."""
        levels = {} if self.far is None else self.far.levels()
        return [
            snapshot_of(manifest, durability=levels.get(manifest.id, "local"))
            for manifest in self.manifests()
        ]

    def restore(self, names: Sequence[str], *, at: object, overwrite: bool) -> RestoreReport:
        """Bind kept values; see :func:`keepstate.restore`."""
        began = self.clock.monotonic()
        newest = self.asked_for()
        head = find(newest, at)
        known = self.recovery.recipes.keys() | self.selection.recipes.keys()
        _must_have(head, [name for name in names if name not in known])
        self.bring(head)
        chosen = self.recovery.decoding.whole(head)
        made_anew = [name for name in _with_recipes(chosen) if name in names or not names]
        _must_have(head, [name for name in names if name not in made_anew])
        asked = list(names) or [*chosen.names, *made_anew]
        wanted = [name for name in asked if not is_folder_name(name)]
        namespace = self.kernel.namespace
        # What a recipe makes is never better than what is there, unless it is asked for by name.
        live = [
            name
            for name in wanted
            if name in namespace and (not overwrite or (name in made_anew and not names))
        ]
        fresh = [name for name in wanted if name not in live]
        outcome = self._decoded(chosen, fresh, all_of_it=not names)
        namespace.update(outcome.restored)
        anew, broken = self._make_anew(outcome.recipes, [name for name in fresh if name in made_anew])
        for name in (*outcome.restored, *anew):
            self.recovery.forget(name)
        self.selection.add(anew)
        self.selection.add(outcome.restored)
        returned = self.folders.put_back(chosen, filter(is_folder_name, asked), overwrite=overwrite)
        remarks = [] if names else put_random_states_back(self.repository, chosen)
        return RestoreReport(
            snapshot=snapshot_of(chosen),
            restored=tuple(sorted([*outcome.restored, *anew, *returned.restored])),
            failed={**explain(self.repository, newest, chosen, outcome), **broken, **returned.failed},
            seconds=self.clock.monotonic() - began,
            kept_live=tuple(live),
            remarks=(
                *version_remarks(chosen),
                *(_parted(chosen, outcome.restored) if names or live else ()),
                *(_other_definitions(outcome) if names else ()),
                *remarks,
                *returned.remarks,
                *(f"{name} was made anew by its recipe." for name in anew),
            ),
        )

    def _make_anew(
        self, recipes: Mapping[str, Callable[[], object]], names: Sequence[str]
    ) -> tuple[list[str], dict[str, str]]:
        """Run the recipes of names whose objects were not kept."""
        made: list[str] = []
        broken: dict[str, str] = {}
        for name in names:
            recipe = recipes.get(name)
            if recipe is None:
                broken[name] = "its recipe cannot be brought back"
                continue
            value, why = run_recipe(name, recipe)
            if why:
                broken[name] = why
            else:
                self.kernel.namespace[name] = value
                self.selection.recipes[name] = recipe
                made.append(name)
        return made, broken

    def _decoded(self, chosen: Manifest, names: Sequence[str], *, all_of_it: bool) -> Outcome:
        """Decode names; unless random states are put back afterwards, none of them moves."""
        if all_of_it:
            return self.recovery.decoding.decoded(chosen, names)
        with random_states.undisturbed():
            return self.recovery.decoding.decoded(chosen, names, definitions=False)

    def load(self, name: str, *, at: object, member: str | None, data_only: bool) -> object:
        """Return a kept value and bind nothing; see :func:`keepstate.load`."""
        if member is not None and member != self.identity.member:
            raise InvalidInputError(
                f"member={member!r}: this version loads the state of {self.identity.member!r} only, because "
                "decoding another member's objects could run their code"
            )
        head = find(self.asked_for(), at)
        _must_have(head, [name])
        self.bring(head)
        chosen = self.recovery.decoding.whole(head)

        def value() -> object:
            loader = Loader(self.repository, chosen, self.kernel.namespace, bind=False, data_only=data_only)
            return loader.value(name)

        with random_states.undisturbed():
            try:
                return value()
            except IntegrityError:
                if not self.mend(chosen):
                    raise
            return value()

    def get(self, name: str, make: Callable[[], object], *, tracked: bool) -> object:
        """Return the live value of a *tracked* name, else the kept one, else make it."""
        self.recovery.bring([name])
        namespace = self.kernel.namespace
        if name not in namespace or not tracked:
            namespace[name] = self._kept_or_made(name, make)
            self.recovery.forget(name)
            self.selection.add([name])
        self.recovery.unread.pop(name, None)
        return namespace[name]

    def _kept_or_made(self, name: str, make: Callable[[], object]) -> object:
        newest = self.manifests()
        head = best_of(newest)
        if head is not None and name in shown_of(head).names:
            try:
                self.bring(head)
                chosen = self.recovery.decoding.whole(head)
            except KeepstateError as error:
                self.kernel.say(
                    f"keepstate: {name!r} is made anew, because the kept one cannot be had: {error}"
                )
                return make()
            outcome = self.recovery.decoding.decoded(chosen, [name], definitions=False)
            if name in outcome.restored:
                return outcome.restored[name]
            why = explain(self.repository, newest, chosen, outcome)[name]
            self.kernel.say(f"keepstate: {name!r} is made anew, because the kept one cannot be used: {why}")
        return make()


def _with_recipes(manifest: Manifest) -> list[str]:
    """Give the names whose objects were not kept and that a recipe makes."""
    names = (name_of_recipe(key) for key in manifest.definitions)
    return [name for name in names if name is not None and name not in manifest.names]


def _parted(chosen: Manifest, restored: Collection[str]) -> list[str]:
    """Say which of the restored names shared objects with names that were left as they are."""
    said = []
    for group in dict.fromkeys(chosen.names[name].group for name in restored):
        together = sorted(name for name, entry in chosen.names.items() if entry.group == group)
        back = [name for name in together if name in restored]
        left = [name for name in together if name not in restored]
        if left:
            call = f"keepstate.restore({', '.join(map(repr, together))}, at={chosen.id[:10]!r})"
            said.append(
                f"{', '.join(back)} shared objects with {', '.join(left)} then, and no longer "
                f"{'does' if len(back) == 1 else 'do'}: {call} brings them back together."
            )
    return said


def _other_definitions(outcome: Outcome) -> list[str]:
    """Say which definitions came back beside others of their names, which stay."""
    if not outcome.other_definitions:
        return []
    names = ", ".join(outcome.other_definitions)
    return [f"What came back uses {names} as of then; the notebook has another of that name, which stays."]


def _say_nothing(_text: str) -> None:
    """Nobody is there to read it."""


def _must_have(head: Head, names: Sequence[str]) -> None:
    there, skipped = shown_of(head)
    for name in names:
        if name not in there:
            why = skipped.get(name)
            raise NotFoundError(
                f"snapshot {head.id[:10]} has no {name!r}"
                + (f": it was not kept, {why}" if why else f"; it has {', '.join(there)}")
            )
