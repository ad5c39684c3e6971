"""``keepstate export``: one kept value as an ordinary file, or the files of a watched folder."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keepstate._base import table
from keepstate._base.disk import SYSTEM_DISK, write_durably
from keepstate._cli.answer import FAILED, FINE, Answer
from keepstate._cli.arguments import MemberOption, NotebookOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.file_formats import check_suffix, encode_file
from keepstate._cli.scope import Scope, one_notebook, one_snapshot
from keepstate._files import restore_folder
from keepstate._model.folders import is_folder_name
from keepstate._snapshot import Loader, best_of
from keepstate.errors import InvalidInputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from keepstate._model.manifest import Manifest
    from keepstate._repository import Repository


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the variable; a watched folder ends with a slash.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FILE",
            help="File to write; its suffix says how: .npy .csv .parquet .json .txt .pkl. "
            "For a watched folder: the folder to write its files to.",
            show_default=False,
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="ID", help="Snapshot, or a beginning of its id; else the newest."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there; of a folder, only older ones.")
    ] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
) -> Answer:
    """Write one kept value to a file, or the files of a watched folder to a folder.

    Only for your own store: decoding a value runs the code of the kept objects.
    """
    target = Path(to).expanduser().resolve()
    scope = Scope(store, project, member, notebook)
    if is_folder_name(name):
        return _export_folder(scope, name, target, at, force=force)
    suffix = check_suffix(target.suffix)
    _check_target(target, force=force)
    repository = scope.open()
    manifest = _choose(scope, repository, at)
    _must_have(manifest, name)
    pieces = encode_file(name, _decode(repository, manifest, name), suffix)
    nbytes = sum(memoryview(piece).nbytes for piece in pieces)
    temporary = target.with_name(f".keepstate-{os.urandom(8).hex()}.tmp")
    try:
        write_durably(SYSTEM_DISK, target, pieces, temporary=temporary)
    except StoreError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(error.errno, f"{target} cannot be written: {why}", str(target)) from error
    kind = manifest.names[name].type
    return Answer(
        document={"name": name, "type": kind, "snapshot": manifest.id, "file": str(target), "nbytes": nbytes},
        text=(f"{name} ({kind}) of snapshot {manifest.id}: {table.size(nbytes)} in", str(target)),
    )


def _export_folder(scope: Scope, name: str, target: Path, at: str | None, *, force: bool) -> Answer:
    """Write the files that *target* lacks; runs nobody's code."""
    if target.exists() and not target.is_dir():
        raise InvalidInputError(f"{target} is a file, and {name} is a folder: name a folder")
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent}: make it first")
    repository = scope.open()
    manifest = _choose(scope, repository, at)
    _must_have(manifest, name)
    report = restore_folder(repository, manifest.names[name], target, member=manifest.member, overwrite=force)
    left = [f"{path}: left alone, {what}" for path, what in report.left_alone.items()]
    return Answer(
        document={
            "name": name,
            "type": "folder",
            "snapshot": manifest.id,
            "file": str(target),
            "nbytes": report.nbytes,
            "restored": list(report.restored),
            "left_alone": dict(report.left_alone),
            "failed": dict(report.failed),
        },
        text=(
            f"{name} of snapshot {manifest.id}: {len(report.restored)} files, {table.size(report.nbytes)} in",
            str(target),
            *left,
        ),
        remarks=tuple(f"{path} was not written: {why}" for path, why in report.failed.items()),
        exit_code=FAILED if report.failed else FINE,
    )


def _check_target(target: Path, *, force: bool) -> None:
    """Refuse before anything is decoded."""
    if target.is_dir():
        raise InvalidInputError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise InvalidInputError(f"there is no folder {target.parent}: make it first")
    if target.exists() and not force:
        raise InvalidInputError(f"{target} is there already: --force replaces it")


def _choose(scope: Scope, repository: Repository, at: str | None) -> Manifest:
    heads = scope.manifests(repository)
    if at is not None:
        return repository.manifest_of(one_snapshot(heads, at))
    one_notebook(heads, scope)
    chosen = best_of(heads)
    if chosen is None:
        raise NotFoundError(f"nothing is kept of {scope}")
    return repository.manifest_of(chosen)


def _must_have(manifest: Manifest, name: str) -> None:
    if name in manifest.names:
        return
    why = manifest.skipped.get(name)
    there = f"it was not kept: {why}" if why else f"it has {', '.join(sorted(manifest.names))}"
    raise NotFoundError(f"snapshot {manifest.id} has no {name!r}; {there}")


def _decode(repository: Repository, manifest: Manifest, name: str) -> object:
    """Rebuild the value in a namespace of its own, as if in the notebook that it comes from."""
    loader = Loader(repository, manifest, {"__name__": "__main__"})
    with contextlib.redirect_stdout(sys.stderr):  # the code of kept objects may print; the answer may not
        loader.bind_definitions()
        return loader.value(name)
