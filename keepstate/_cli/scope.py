"""Which part of which store a command is about, as its options say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from keepstate._base.word import Word
from keepstate._cli.answer import NoStoreError
from keepstate._repository import Repository
from keepstate._repository.marker import NoStoreError as NoStoreHereError
from keepstate._session.credentials import gather_credentials
from keepstate._session.identity import is_shared
from keepstate._session.near import known_near_folder
from keepstate._session.options import read_store
from keepstate._session.surroundings import look_around
from keepstate._session.trust import must_be_the_users
from keepstate._transfer.far import HURRIED, open_far
from keepstate.errors import (
    AmbiguousError,
    InvalidInputError,
    NotFoundError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability
    from keepstate._repository import DamagedManifest
    from keepstate._transfer.far import Far
    from keepstate.backends import Address, Credentials


CACHED_BYTES = 64 << 20
"""Of packs at a far store: a command reads chunk by chunk, and two packs hold most of what lies together."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The options ``--store``, ``--project``, ``--member`` and ``--notebook``; ``None``: not restricted."""

    store: str | None
    project: str | None = None
    member: str | None = None
    notebook: str | None = None

    @property
    def address(self) -> Address:
        """Where the store is; without ``--store`` the one that ``start()`` with the same names would use."""
        if self.store is not None:
            return read_store(self.store)
        named = {"project": self.project, "member": self.member, "notebook": self.notebook}
        return look_around({}).store(None, named)

    def open(self) -> Repository:
        """Open the store that is there.

        Raises:
            InvalidInputError: An option is empty, or the store came with a settings file.
            NoStoreError: There is none.
            NotAStoreError: There is something else.
            StoreError: It cannot be read.
            FormatError: A newer version has written it.
        """
        for option in ("project", "member", "notebook"):
            if getattr(self, option) == "":
                raise InvalidInputError(f"--{option} is empty: give a name, or leave it out")
        address = self.address
        if self.store is None:
            around = look_around({})
            if around.names_store(None):
                must_be_the_users(address, around)
        try:
            if address.is_folder and not is_shared(address.path):
                return Repository.open(address.path, create=False)
            return self._far(address).repository(create=False)
        except NoStoreHereError as error:
            raise NoStoreError(f"there is no store at {address}: name one with --store") from error

    def waiting(self, *, results: bool = False) -> list[Head]:
        """Snapshots in this scope that are on this machine, and may be on their way to a far store."""
        near = self.near()
        return [] if near is None else self.manifests(near, results=results)

    def near(self) -> Repository | None:
        """Open the repository of this machine from which a far store is filled; ``None``: there is none."""
        folder = known_near_folder(self.address)
        try:
            return None if folder is None else Repository.open(folder, create=False)
        except StoreError:
            return None  # nothing was saved there yet

    def level(self) -> Durability:
        """Say how sure what is kept at the store is."""
        address = self.address
        is_here = address.is_folder and not is_shared(address.path)
        return "local" if is_here else self._far(address).level

    def _far(self, address: Address) -> Far:
        return open_far(
            address,
            credentials_here(address),
            stop=Word(),
            backoff=HURRIED,  # somebody sits before the terminal
            cached_bytes=CACHED_BYTES,
        )

    def manifests(self, repository: Repository, *, results: bool = False) -> list[Head]:
        """Snapshots in this scope, newest first.

        Args:
            repository: Where they are.
            results: Whether results of functions count. Those whose notebook is named are given in any case.
        """
        found = repository.heads(project=self.project, member=self.member, notebook=self.notebook)
        return found if results or self.notebook is not None else [e for e in found if not e.is_result]

    def damaged(self, repository: Repository) -> list[DamagedManifest]:
        """Files in this scope that should be manifests and cannot be used."""
        return repository.damaged_manifests(project=self.project, member=self.member, notebook=self.notebook)

    def must_hold_something(self, repository: Repository) -> None:
        """Refuse a project or member that nobody has written under: a misspelt one is neither sound nor not.

        Raises:
            NotFoundError: The store has none of it.
        """
        if self.member is not None and self.member not in repository.members():
            raise NotFoundError(_nothing("member", self.member, repository.members()))
        if self.project is None or self.manifests(repository, results=True) or self.damaged(repository):
            return
        known = {manifest.project for manifest in repository.heads(member=self.member)}
        raise NotFoundError(_nothing("project", self.project, sorted(known)))

    def __str__(self) -> str:
        given = [
            f"{what} {name!r}"
            for what, name in (
                ("project", self.project),
                ("member", self.member),
                ("notebook", self.notebook),
            )
            if name is not None
        ]
        return f"{', '.join(given)} in {self.address}" if given else str(self.address)


def credentials_here(address: Address) -> Credentials:
    """Find the keys of a far store in the environment and the usual files, and in the host's secrets."""
    gathered = gather_credentials(address, host=look_around({}).host, environ=os.environ)
    return gathered.credentials


def _nothing(what: str, wanted: str, known: Sequence[str]) -> str:
    there = ", ".join(map(repr, known)) or "none"
    return f"the store has no {what} {wanted!r}; it has {there}"


def one_snapshot(manifests: Sequence[Head], beginning: str) -> Head:
    """Find the snapshot whose id begins like that.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: There is more than one.
    """
    wanted = beginning.strip().lower()
    found = [manifest for manifest in manifests if wanted and manifest.id.startswith(wanted)]
    if not found:
        raise NotFoundError(f"there is no snapshot {beginning!r}: keepstate log lists those that are there")
    if len(found) > 1 and all(manifest.id != wanted for manifest in found):
        ids = ", ".join(manifest.id for manifest in found[:5]) + (", …" if len(found) > 5 else "")
        raise AmbiguousError(f"{len(found)} snapshots begin with {beginning!r} ({ids}): give more of the id")
    return next((manifest for manifest in found if manifest.id == wanted), found[0])


def one_notebook(manifests: Sequence[Head], scope: Scope) -> None:
    """Refuse to choose between the notebooks of several people or projects.

    Raises:
        NotFoundError: Nothing is kept in this scope.
        AmbiguousError: There is more than one notebook in it.
    """
    found = sorted({(each.project, each.member, each.notebook) for each in manifests})
    if not found:
        raise NotFoundError(f"nothing is kept of {scope}: keepstate log lists what is there")
    if len(found) > 1:
        ways = "; ".join(_options(*names) for names in found)
        raise AmbiguousError(f"{len(found)} notebooks are kept here, say which: {ways}")


def _options(project: str, member: str, notebook: str) -> str:
    return f"--project {quote(project)} --member {quote(member)} --notebook {quote(notebook)}"
