"""``keepstate prune``: delete superseded snapshots, and say which."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from keepstate._base import table
from keepstate._cli.answer import Answer, refusal
from keepstate._cli.arguments import MemberOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns
from keepstate._cli.scope import Scope
from keepstate.errors import KeepstateError

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._model.manifest import Manifest
    from keepstate._repository import PruneReport, Repository

KEEP_LAST = 20


def prune(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    keep_last: Annotated[
        int,
        typer.Option(
            "--keep-last", min=1, metavar="N", help="How many of the newest stay in every notebook."
        ),
    ] = KEEP_LAST,
    drop_damaged: Annotated[
        bool,
        typer.Option(
            "--drop-damaged",
            help="Delete snapshots whose manifest is damaged; otherwise one of them stops the prune.",
        ),
    ] = False,
) -> Answer:
    """Delete superseded snapshots and free their space.

    The last of every session stays, the newest consistent one, and those that these carry names from.
    """
    scope = Scope(store, project, member)
    repository = scope.open()
    scope.must_hold_something(repository)
    before = _Inventory(repository, member)
    try:
        report = repository.prune(
            keep_last=keep_last, member=member, project=project, drop_damaged=drop_damaged
        )
    except KeepstateError as error:
        return _stopped(error, _Gone(before, _Inventory(repository, member)))
    gone = _Gone(before, _Inventory(repository, member))
    return Answer(
        document={**dataclasses.asdict(report), "removed_damaged": gone.damaged},
        text=tuple(_text(report, before, gone)),
    )


class _Inventory:
    """What is there of *member* right now."""

    def __init__(self, repository: Repository, member: str | None) -> None:
        self.manifests = {own.id: own for own in repository.manifests(member=member)}
        self.damaged = {str(each.path) for each in repository.damaged_manifests(member=member)}


class _Gone:
    """What a prune has deleted, told by what is no longer there: it may have failed half way."""

    def __init__(self, before: _Inventory, after: _Inventory) -> None:
        self.manifests = [own for own in before.manifests.values() if own.id not in after.manifests]
        self.damaged = sorted(before.damaged - after.damaged)

    def text(self) -> list[str | Table]:
        rows = [[own.id, _taken(own), ", ".join(sorted(own.names))] for own in self.manifests]
        blocks: list[str | Table] = [f"removed, because it was damaged: {path}" for path in self.damaged]
        if not rows:
            return [*blocks, "no snapshot was removed"]
        return [
            *blocks,
            columns(["removed", "taken (UTC)", "names"], rows, whole=("removed", "taken (UTC)")),
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


def _text(report: PruneReport, before: _Inventory, gone: _Gone) -> list[str | Table]:
    blocks = gone.text()
    blocks.append(
        f"{report.deleted_packs} packs deleted, {report.repacked_packs} written anew, "
        f"{table.size(report.freed_bytes)} freed"
    )
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


def _taken(manifest: Manifest | None) -> str:
    return "" if manifest is None else manifest.created_at[:19].replace("T", " ")
