"""The folder of a store as its machine sees it: is it there, can it be written, on which disk is it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._base.mounts import file_system
from keepstate._cli.answer import NoStoreError
from keepstate._cli.scope import credentials_here
from keepstate._repository import Repository
from keepstate._repository.marker import FORMAT
from keepstate._session.identity import is_shared
from keepstate.backends import LocalBackend, open_backend, try_out
from keepstate.errors import KeepstateError, NotAStoreError

if TYPE_CHECKING:
    from pathlib import Path

    from keepstate._cli.scope import Scope
    from keepstate.backends import Address, Trial


@dataclass(frozen=True, slots=True)
class Place:
    """What is found at the path of a store."""

    path: str
    exists: bool
    """Whether a store is there; where none is, ``start()`` makes one."""
    format: int | None
    writable: bool
    """Whether this user may write there, or make the folder."""
    free_bytes: int | None
    file_system: str
    """Type of the file system; empty where the system does not tell."""
    shared: bool
    """Whether other machines may see it, so that ``start()`` must be told whose state it is."""
    trouble: str | None
    """Why the store cannot be used, in one sentence."""


def look_at_store(scope: Scope) -> tuple[Place, Repository | None, Trial | None]:
    """Find out about the store of a scope; where ``--store`` names it, it is tried out as well."""
    address = scope.address
    if not address.is_folder or is_shared(address.path):
        return _look_far(scope, address)
    place, repository = look_at(address.path)
    if scope.store is None or place.trouble is not None or not place.exists:
        return place, repository, None
    with closing(LocalBackend(address.path)) as backend:
        return place, repository, try_out(backend, clock=SYSTEM_CLOCK)


def _look_far(scope: Scope, address: Address) -> tuple[Place, Repository | None, Trial | None]:
    """Find out about a store elsewhere; a mounted folder is touched by a helper process only: it may hang."""
    trouble: str | None = None
    repository: Repository | None = None
    trial: Trial | None = None
    try:
        if scope.store is not None:
            with closing(open_backend(address, credentials_here(address))) as backend:
                trial = try_out(backend, clock=SYSTEM_CLOCK)
            trouble = next((step.why for step in trial.steps if not step.is_ok), None)
        repository = scope.open()
    except NoStoreError:
        pass  # none is there yet: start() makes one
    except KeepstateError as error:
        trouble = trouble or str(error)
    place = Place(
        path=str(address),
        exists=repository is not None,
        format=None if repository is None else FORMAT,
        writable=trouble is None,
        free_bytes=None,
        file_system=file_system(address.folder) if address.is_folder else address.scheme,
        shared=True,
        trouble=trouble,
    )
    return place, repository, trial


def look_at(path: Path) -> tuple[Place, Repository | None]:
    """Find out about the store at *path*; nothing is written."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    writable = os.access(there, os.W_OK)
    repository, trouble = _open(path)
    if trouble is None and not writable:
        trouble = f"{there} cannot be written: start() would refuse it; what is kept there can be read"
    place = Place(
        path=str(path),
        exists=repository is not None,
        format=None if repository is None else _format(path),
        writable=writable,
        free_bytes=_free_bytes(there),
        file_system=_file_system(there),
        shared=is_shared(path),
        trouble=trouble,
    )
    return place, repository


def _open(path: Path) -> tuple[Repository | None, str | None]:
    try:
        return Repository.open(path, create=False), None
    except NotAStoreError as error:
        return None, str(error)
    except (KeepstateError, OSError) as error:
        if isinstance(error, OSError) and error.errno is None:
            return None, None  # none is there yet: that is no trouble
        return None, (isinstance(error, OSError) and error.strerror) or str(error)


def _format(path: Path) -> int:
    return int(json.loads((path / "keepstate.json").read_bytes())["format"])


def _free_bytes(there: Path) -> int | None:
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None  # some mounted folders do not say


def _file_system(there: Path) -> str:
    best, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        if len(mount.mountpoint) >= len(best) and there.resolve().is_relative_to(mount.mountpoint):
            best, kind = mount.mountpoint, mount.fstype
    return kind
