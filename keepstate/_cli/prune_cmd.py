"""``keepstate prune``: delete superseded snapshots, and say which and why the others stay."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from keepstate._base import table
from keepstate._base.sizes import read_size
from keepstate._cli.answer import Answer, refusal
from keepstate._cli.arguments import MemberOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns
from keepstate._cli.scope import Scope, one_snapshot
from keepstate._repository import shown_of
from keepstate.errors import InvalidInputError, KeepstateError

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._model.manifest import Head
    from keepstate._repository import PruneReport, Repository


def prune(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    keep_last: Annotated[
        int | None,
        typer.Option(
            "--keep-last",
            min=1,
            metavar="N",
            help="Keep so many of the newest in every notebook, instead of going by their age.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Delete more, the oldest first, until what is kept of each member fits, like 5GB.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Delete this snapshot, although its age or note would keep it. May be given again.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would go and what would stay, and delete nothing."),
    ] = False,
    drop_damaged: Annotated[
        bool,
        typer.Option(
            "--drop-damaged",
            help="Delete snapshots whose manifest is damaged; otherwise one of them stops the prune.",
        ),
    ] = False,
) -> Answer:
    """Delete superseded snapshots and free their space.

    All of the last hour stay, the newest of each hour for a day, the newest of each day for a month. The
    last of every session stays, the newest of each consistency, those with a note, and those that these
    carry names from.
    """
    budget_bytes = None if budget is None else _read_budget(budget)
    scope = Scope(store, project, member)
    repository = scope.open()
    scope.must_hold_something(repository)
    there = scope.manifests(repository, results=True)
    dropped = [one_snapshot(there, beginning).id for beginning in drop or ()]
    before = _Inventory(repository, member)
    try:
        report = repository.prune(
            keep_last=keep_last,
            member=member,
            project=project,
            budget_bytes=budget_bytes,
            drop=dropped,
            drop_damaged=drop_damaged,
            dry_run=dry_run,
        )
    except KeepstateError as error:
        return _stopped(error, _Gone(before, _Inventory(repository, member)))
    gone = _Gone(before, _Inventory(repository, member))
    if dry_run:
        gone.manifests = [before.manifests[own] for own in report.removed]
        gone.damaged = sorted(before.damaged) if drop_damaged else []
    return Answer(
        document={**dataclasses.asdict(report), "removed_damaged": gone.damaged, "dry_run": dry_run},
        text=tuple(_text(report, before, gone, dry_run=dry_run)),
    )


def _read_budget(budget: str) -> int:
    try:
        return read_size(budget)
    except ValueError as error:
        raise InvalidInputError(f"--budget: {error}") from error


class _Inventory:
    """What is there of *member* right now."""

    def __init__(self, repository: Repository, member: str | None) -> None:
        self.manifests = {own.id: own for own in repository.heads(member=member)}
        self.damaged = {str(each.path) for each in repository.damaged_manifests(member=member)}


class _Gone:
    """What a prune has deleted, told by what is no longer there: it may have failed half way."""

    def __init__(self, before: _Inventory, after: _Inventory) -> None:
        self.manifests = [own for own in before.manifests.values() if own.id not in after.manifests]
        self.damaged = sorted(before.damaged - after.damaged)

    def text(self, *, dry_run: bool = False) -> list[str | Table]:
        heading = "would go" if dry_run else "removed"
        rows = [[own.id, _taken(own), ", ".join(shown_of(own).names)] for own in self.manifests]
        blocks: list[str | Table] = [f"{heading}, because it is damaged: {path}" for path in self.damaged]
        if not rows:
            return [*blocks, "no snapshot would go" if dry_run else "no snapshot was removed"]
        return [
            *blocks,
            columns([heading, "taken (UTC)", "names"], rows, whole=(heading, "taken (UTC)")),
            "",
        ]


def _stopped(error: KeepstateError, gone: _Gone) -> Answer:
    """Nothing is deleted in silence, also when the prune fails half way."""
    answer = refusal(error)
    # The message names the argument of the call; here it is an option.
    said = answer.remarks[0].replace("drop_damaged=True", "--drop-damaged")
    document: dict[str, object] = {
        "error": said,
        "kind": error.kind,
        "removed": [own.id for own in gone.manifests],
        "removed_damaged": gone.damaged,
    }
    return dataclasses.replace(answer, document=document, text=tuple(gone.text()), remarks=(said,))


def _text(report: PruneReport, before: _Inventory, gone: _Gone, *, dry_run: bool) -> list[str | Table]:
    blocks = gone.text(dry_run=dry_run)
    blocks.append(
        f"{report.deleted_packs} packs deleted, {report.repacked_packs} written anew, "
        f"{table.size(report.freed_bytes)} freed" + (" (nothing yet: a dry run)" if dry_run else "")
    )
    blocks += report.remarks
    blocks += [
        f"{report.waiting_packs} packs wait for a later prune: {why}"
        for why in sorted(set(report.waiting_for))
    ]
    if report.kept:
        rows = [[own, _taken(before.manifests.get(own)), why] for own, why in report.kept.items()]
        blocks += ["", columns(["stays", "taken (UTC)", "why"], rows, whole=("stays", "taken (UTC)"))]
    if report.damage:
        blocks += ["", "Some of what stays is damaged; keepstate verify says what:", *report.damage]
    return blocks


def _taken(manifest: Head | None) -> str:
    return "" if manifest is None else manifest.created_at[:19].replace("T", " ")
