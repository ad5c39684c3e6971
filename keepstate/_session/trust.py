"""Stores that this user has used here, so that one that came with a notebook is not taken for theirs.

Restoring runs code from a store, as unpickling does. A store that a call or a variable names is the user's
choice. One that a settings file names, and that lies beside it, may have come with it: then it must be new,
or have been used here before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from keepstate._repository import Repository
from keepstate._session.identity import is_shared
from keepstate.errors import InvalidInputError, StoreError

if TYPE_CHECKING:
    from keepstate._session.surroundings import Surroundings
    from keepstate.backends import Address


def must_be_the_users(store: Address, around: Surroundings) -> None:
    """Refuse a store that may have come with the settings file that names it.

    Raises:
        InvalidInputError: It is an address, or lies beside the file and holds something, and was never used
            here.
    """
    file = around.settings.path
    if file is None:
        return
    if store.is_folder:
        if not store.path.resolve().is_relative_to(file.parent.resolve()):
            return
        try:
            own = _line(store, Repository.open(store.path, create=False))
        except StoreError:
            return  # there is none yet, or none that could be restored from
        came = "which lies beside it and was not made here"
    else:
        own = _line(store, None)
        came = "which was never used here"
    if own not in _known():
        raise InvalidInputError(
            f"{file} names the store {store}, {came}: restoring runs code from a store. If you trust it, "
            f"name it once yourself: keepstate.start(store={str(store)!r})"
        )


def remember(store: Address, repository: Repository) -> None:
    """Note that the user uses this store. Where the note cannot be written, it is asked for again.

    Args:
        store: As it is named.
        repository: In that folder, or the one of this machine that is filled first.
    """
    own = _line(store, repository)
    if own in _known():
        return
    with suppress(OSError):
        _list().parent.mkdir(parents=True, exist_ok=True)
        with open(_list(), "a", encoding="utf-8") as file:
            file.write(own + "\n")


def _line(store: Address, repository: Repository | None) -> str:
    if repository is None or not store.is_folder or is_shared(store.path):
        # The repository that is filled first has an id of its own, which says nothing of the place.
        return f"far {str(store)!r}"
    return f"{repository.store_id} {str(store.path.resolve())!r}"


def _known() -> set[str]:
    try:
        return set(_list().read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def _list() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "keepstate", "stores")
