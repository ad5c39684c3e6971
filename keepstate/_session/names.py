"""Which names a session guards: variables, ``"all"`` of them, and watched folders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._model.folders import is_folder_name
from keepstate._tracking import Selection, names_of
from keepstate.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from keepstate._model.kernel import Kernel
    from keepstate._model.manifest import Manifest
    from keepstate._session.folders import Folders
    from keepstate._session.recovery import Recovery


@dataclass(frozen=True, slots=True)
class Names:
    """All of them; what the user says about them comes here."""

    kernel: Kernel
    selection: Selection
    recovery: Recovery
    folders: Folders

    def guarded(self) -> tuple[str, ...]:
        """Names under guard, bound or not, sorted."""
        return tuple(sorted({*self.selection.names, *self.bound()}))

    def bound(self) -> tuple[str, ...]:
        """Those that have a value now or are still coming, and watched folders."""
        coming = [name for name in self.recovery.coming_names() if name in self.selection.names]
        bound, _ = self.selection.bindings(self.kernel.namespace, self.kernel.hidden)
        return (*{**bound, **dict.fromkeys(coming)}, *self.folders.names)

    def track(
        self, things: Iterable[object], named: dict[str, object], recipe: object = None
    ) -> tuple[str, ...]:
        """Guard these from now on; see :func:`keepstate.track`."""
        self.recovery.bring(named)
        namespace = self.kernel.namespace
        names: list[str] = []
        everything = False
        for thing in things:
            if not isinstance(thing, str):
                names += names_of(thing, namespace)
            elif thing == "all":
                everything = True
            elif thing in namespace or thing in self.selection.names or thing in self.recovery.failed:
                names.append(thing)
            else:
                raise NotFoundError(
                    f"there is no variable {thing!r} yet: assign it first, or name it in start(track=[…]), "
                    "which takes names that come later"
                )
        for name, value in named.items():
            if namespace.get(name, value) is not value:
                raise InvalidInputError(
                    f"{name!r} is bound to another object than the one given: assign it first, then track it"
                )
        recipes = recipes_for([*names, *named], recipe)
        self.selection.add([*names, *named])
        self.selection.recipes.update(recipes)
        namespace.update(named)
        self.selection.everything |= everything
        return self.guarded()

    def expect(self, names: Sequence[str]) -> None:
        """Guard names that may be bound later, or ``"all"``."""
        self.selection.add([name for name in names if name != "all"])
        self.selection.everything |= "all" in names

    def restored(self, manifest: Manifest, names: Iterable[str]) -> None:
        """Guard what an earlier session guarded, and *names*, which came back from it."""
        self.selection.recipes.update(self.recovery.recipes)
        everything = {*manifest.tracked, *names}
        self.selection.add([name for name in everything if not is_folder_name(name)])
        self.selection.everything = manifest.track_all

    def untrack(self, names: Iterable[str]) -> None:
        """Guard these no longer; see :func:`keepstate.untrack`."""
        names = tuple(names)
        guarded = self.guarded()
        for name in names:
            if name not in guarded and name not in self.recovery.failed:
                raise NotFoundError(f"{name!r} is not tracked; tracked: {', '.join(guarded) or 'nothing'}")
        self.selection.remove([name for name in names if not is_folder_name(name)])
        for name in names:
            if name in self.folders.names:
                self.folders.unwatch(name)
            self.recovery.carry_no_more(name)

    def watch(
        self, path: str | os.PathLike[str], *, ignore: Iterable[str] = (), max_bytes: int | None = None
    ) -> str:
        """Keep the files of a folder from now on; see :func:`keepstate.watch`."""
        folder = self.folders.folder(path, ignore=ignore, max_bytes=max_bytes)
        if folder.name in self.recovery.failed and self.recovery.manifest is not None:
            # It could not be put back at the start; what is kept of it must not be replaced by what is there.
            returned = self.folders.put_back(self.recovery.manifest, [folder.name])
            for sentence in (*returned.remarks, *(f"{name}: {why}" for name, why in returned.failed.items())):
                self.kernel.say(f"keepstate: {sentence}")
            self.recovery.forget(folder.name)
        self.folders.watch(folder)
        return folder.name

    def unwatch(self, path: str | os.PathLike[str]) -> None:
        """Keep them no longer; see :func:`keepstate.unwatch`."""
        self.untrack([self.folders.folder(path).name])


def recipes_for(names: Sequence[str], recipe: object) -> dict[str, Callable[[], object]]:
    """Say which of *names* has which recipe.

    Raises:
        InvalidInputError: It is not clear which, or one cannot be called without arguments.
    """
    if recipe is None:
        return {}
    given = recipe if isinstance(recipe, Mapping) else dict.fromkeys(dict.fromkeys(names), recipe)
    if not isinstance(recipe, Mapping) and len(given) != 1:
        raise InvalidInputError(
            f"one recipe for {len(given)} names ({', '.join(given) or 'none'}): "
            "give recipe={name: recipe, …}, or track each name by itself"
        )
    found: dict[str, Callable[[], object]] = {}
    for name, each in given.items():
        if name not in names:
            raise InvalidInputError(
                f"there is a recipe for {name!r}, which is not among what is tracked here"
            )
        if not callable(each):
            raise InvalidInputError(
                f"the recipe of {name!r} is a {type(each).__name__}: give a function that makes the object, "
                "and takes no arguments"
            )
        try:
            inspect.signature(each).bind()
        except TypeError as error:
            raise InvalidInputError(
                f"the recipe of {name!r} must do without arguments: {error}; "
                "lambda: recipe(…) is such a function"
            ) from error
        except ValueError:
            pass  # a function of C that does not say what it takes
        found[name] = each
    return found
