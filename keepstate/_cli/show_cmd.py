"""``keepstate show``: all that is known of one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from keepstate._base import table
from keepstate._cli.answer import FAILED, FINE, Answer, sentence
from keepstate._cli.arguments import MemberOption, NotebookOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns, facts
from keepstate._cli.documents import snapshot_document
from keepstate._cli.scope import Scope, one_snapshot
from keepstate._snapshot import decode_cells, snapshot_of
from keepstate.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._model.cells import Cell
    from keepstate._model.manifest import Manifest
    from keepstate._model.snapshot import Durability, Snapshot
    from keepstate._repository import Repository


def show(
    id: Annotated[  # noqa: A002 - the command line calls it so
        str,
        typer.Argument(metavar="ID", help="Id of a snapshot, or a beginning that no other has."),
    ],
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
    code: Annotated[
        bool,
        typer.Option("--cells", help="The code of the cells that had run, and the names that each one used."),
    ] = False,
) -> Answer:
    """Show one snapshot: its names, what was not kept and why, versions, and the cells that had run."""
    scope = Scope(store, project, member, notebook)
    repository = scope.open()
    there = scope.manifests(repository, results=True)
    levels = dict.fromkeys((each.id for each in there), scope.level())
    waiting = [each for each in scope.waiting(results=True) if each.id not in levels]
    head = one_snapshot([*there, *waiting], id)
    holder = repository if head.id in levels else scope.near() or repository
    manifest = holder.manifest_of(head)
    cells, trouble = _cells(holder, manifest)
    durability = levels.get(manifest.id, "local")
    return Answer(
        document=_document(manifest, cells, durability, code=code),
        text=tuple(_code(cells) if code else _text(manifest, cells, durability)),
        remarks=(trouble,) if trouble else (),
        exit_code=FAILED if trouble else FINE,
    )


def _cells(repository: Repository, manifest: Manifest) -> tuple[list[Cell], str]:
    """Give the cells that had run, and what is wrong with their record."""
    if manifest.cells is None:
        return [], ""
    try:
        return decode_cells(repository.read(manifest.cells, member=manifest.member)), ""
    except (IntegrityError, StoreError, msgspec.DecodeError) as error:
        return [], f"the record of the cells that had run cannot be read: {sentence(error)}"


def _document(
    manifest: Manifest, cells: list[Cell], durability: Durability, *, code: bool
) -> dict[str, object]:
    return {
        **snapshot_document(manifest, durability),
        "entries": {
            name: {"type": entry.type, "logical_bytes": entry.logical_bytes, "kept_in": entry.kept_in}
            for name, entry in sorted(manifest.names.items())
        },
        "pending": manifest.pending,
        "tracked": manifest.tracked,
        "track_all": manifest.track_all,
        "restored_from": manifest.restored_from,
        "host": manifest.host,
        "threads": manifest.threads,
        "versions": manifest.versions,
        "lost": {name: msgspec.structs.asdict(lost) for name, lost in sorted(manifest.lost.items())},
        "cells": [
            msgspec.structs.asdict(cell) if code else {"number": cell.number, "source": cell.source}
            for cell in cells
        ],
    }


def _code(cells: list[Cell]) -> list[str | Table]:
    """Show each cell with what it did, and its code below."""
    if not cells:
        return ["no cell had run"]
    blocks: list[str | Table] = []
    for cell in cells:
        number = "a cell" if cell.number is None else f"cell [{cell.number}]"
        took = "" if cell.seconds is None else table.duration(cell.seconds)
        ended = {"error": "ended with an error", "refused": "did not begin", "running": "had not ended"}
        facts_of = [cell.began_at, took, ended.get(cell.ended, "")]
        names = " → ".join(filter(None, [_named("reads", cell.reads), _named("binds", cell.binds)]))
        facts_of += [names, _named("changes", cell.changes), _named("deletes", cell.deletes)]
        facts_of += ["may do more than its code says"] if cell.is_open else []
        blocks.append(f"{number}: {'; '.join(filter(None, facts_of))}".rstrip(": "))
        blocks += [*(f"    {line}" for line in cell.source.rstrip().split("\n")), ""]
    return blocks[:-1]


def _named(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""


def _text(manifest: Manifest, cells: list[Cell], durability: Durability) -> list[str | Table]:
    shown = snapshot_of(manifest, durability=durability)
    blocks: list[str | Table] = [facts(_facts(manifest, shown)), "", *_names(manifest)]
    if manifest.skipped:
        blocks += ["", columns(["not kept", "why"], sorted(map(list, manifest.skipped.items())))]
    if manifest.lost:
        rows = [[name, lost.told] for name, lost in sorted(manifest.lost.items()) if lost.type]
        blocks += ["", columns(["missing", "what it was"], rows)]
    if manifest.pending:
        blocks += [
            "",
            columns(["carried", "why it was not there"], sorted(map(list, manifest.pending.items()))),
        ]
    if manifest.versions:
        blocks += ["", columns(["library", "version"], sorted(map(list, manifest.versions.items())))]
    if cells:
        rows = [["" if cell.number is None else str(cell.number), _first_line(cell.source)] for cell in cells]
        blocks += ["", columns(["cell", "first line"], rows)]
    return blocks


def _first_line(source: str) -> str:
    return source.strip().partition("\n")[0]


def _facts(manifest: Manifest, snapshot: Snapshot) -> list[tuple[str, str]]:
    size = f"{table.size(snapshot.logical_bytes)}; {table.size(snapshot.written_bytes)} were written"
    held = table.duration(snapshot.stall_seconds)
    rows = [
        ("snapshot", snapshot.id),
        ("taken", f"{snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("project", manifest.project),
        ("member", manifest.member),
        ("notebook", manifest.notebook),
        ("session", f"{snapshot.lineage}, its snapshot {snapshot.sequence}"),
        ("reason", snapshot.reason),
        ("consistency", _place(snapshot)),
        ("note", snapshot.note),
        ("size", size),
        ("took", f"{table.duration(snapshot.seconds)}; the main thread was held {held}"),
        ("durability", snapshot.durability),
        ("strategy", snapshot.strategy),
        ("began with", manifest.restored_from),
        ("host", manifest.host),
        ("other threads", ", ".join(manifest.threads)),
    ]
    return [(label, value) for label, value in rows if value]


def _place(snapshot: Snapshot) -> str:
    where = snapshot.where
    if where is None:
        return snapshot.consistency
    cell = [] if where.cell is None else [f"cell [{where.cell}]"]
    line = [] if where.line is None else [f"line {where.line}"]
    return f"{snapshot.consistency}: inside {', '.join(cell + line) or 'a cell'}"


def _names(manifest: Manifest) -> list[str | Table]:
    carried = any(entry.kept_in for entry in manifest.names.values())
    headings = ["name", "type", "size", *(["kept in"] if carried else [])]
    rows = [
        [name, entry.type, table.size(entry.logical_bytes), *([entry.kept_in] if carried else [])]
        for name, entry in sorted(manifest.names.items())
    ]
    blocks: list[str | Table] = [columns(headings, rows, whole=("size", "kept in"))]
    together: dict[bytes, list[str]] = {}
    for name, entry in sorted(manifest.names.items()):
        together.setdefault(entry.group, []).append(name)
    blocks += [
        f"{', '.join(names)} share objects: the size is that of all of them"
        for names in together.values()
        if len(names) > 1
    ]
    return blocks
