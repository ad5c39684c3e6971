"""Decoding names of a snapshot for a session: while it still comes, or again once damage was mended."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._capture import random_states
from keepstate._model.cells import name_of_recipe
from keepstate._model.folders import is_folder_name
from keepstate._snapshot import Loader, Outcome, restore_names, restore_recipes
from keepstate.errors import IntegrityError, KeepstateError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.manifest import Head, Manifest
    from keepstate._repository import Repository
    from keepstate._session.coming import Mend


@dataclass(slots=True)
class _Ahead:
    """A snapshot that was decoded while it came."""

    head: Head
    began: float
    before: frozenset[str]
    """Names that were bound then."""
    outcome: Outcome | None = None


def _not_to_be_mended(manifest: Head, *, silently: bool = False) -> bool:  # noqa: ARG001 - a Protocol's
    return False


@dataclass(slots=True)
class Decoding:
    """Decodes into one namespace."""

    repository: Repository
    namespace: dict[str, object]
    mend: Mend = _not_to_be_mended
    """Brings what is damaged here from where it is whole."""
    _ahead: _Ahead | None = None

    def whole(self, head: Head) -> Manifest:
        """Give the manifest of a snapshot with its names, from elsewhere if what says so is damaged here.

        Raises:
            IntegrityError: It is damaged or missing everywhere.
            StoreError: It cannot be read now.
        """
        try:
            return self.repository.manifest_of(head)
        except IntegrityError:
            if not self.mend(head):
                raise
        return self.repository.manifest_of(head)

    @contextmanager
    def decoding_ahead(self, head: Head, *, clock: Clock) -> Iterator[Callable[[], None]]:
        """Give what decodes a snapshot while it still comes, as far as it has come, for :meth:`what_came`.

        Nothing but definitions is bound. If the block ends with an error, so that the snapshot is not there,
        everything is as it was.
        """
        ahead = _Ahead(head, clock.monotonic(), frozenset(self.namespace))

        def decode() -> None:
            try:
                manifest = self.repository.manifest_of(head)
            except KeepstateError:
                return  # what it is like once it is here will be told then
            ahead.outcome = self._decode(manifest, wanted_names(manifest, ahead.before))

        try:
            yield decode
        except BaseException:
            for name in self.namespace.keys() - ahead.before:
                del self.namespace[name]
            raise
        self._ahead = ahead

    def what_came(self, manifest: Manifest) -> tuple[float, frozenset[str], Outcome] | None:
        """Give when that began, the names that were bound then, and what came of it; once."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.outcome is None or ahead.head.id != manifest.id:
            return None
        outcome = self._mended(manifest, wanted_names(manifest, ahead.before), ahead.outcome)
        return ahead.began, ahead.before, outcome

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
        recipes = [name for key in manifest.definitions if (name := name_of_recipe(key)) is not None]
        outcome = restore_names(
            loader, [name for name in names if name in manifest.names or name not in recipes]
        )
        restore_recipes(loader, [name for name in recipes if definitions or name in names], outcome)
        return outcome


def wanted_names(manifest: Manifest, before: frozenset[str]) -> list[str]:
    """Give the variables that the user had not bound."""
    return [name for name in manifest.names if name not in before and not is_folder_name(name)]


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
