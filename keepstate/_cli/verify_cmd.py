"""``keepstate verify``: prove that what was kept is still there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from keepstate._base import table
from keepstate._cli.answer import FAILED, FINE, Answer
from keepstate._cli.arguments import MemberOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns
from keepstate._cli.scope import Scope

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._repository import VerifyReport


def verify(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read and check every byte, instead of the structure alone."),
    ] = False,
) -> Answer:
    """Prove that what was kept is still there: exit code 0 if it is sound, 1 if it is not."""
    scope = Scope(store, project, member)
    repository = scope.open()
    scope.must_hold_something(repository)
    report = repository.verify(deep=deep, member=member, project=project)
    return Answer(
        document={**dataclasses.asdict(report), "is_sound": report.is_sound},
        text=tuple(_text(report)),
        exit_code=FINE if report.is_sound else FAILED,
    )


def _text(report: VerifyReport) -> list[str | Table]:
    looked = (
        f"{report.snapshots} snapshots, {report.packs} packs, {report.chunks} chunks, "
        f"{table.size(report.nbytes)} in {table.duration(report.seconds)}"
    )
    how = "every byte was read" if report.deep else "the structure was checked; --deep reads every byte"
    if report.is_sound:
        return [f"sound: {looked}", how]
    blocks: list[str | Table] = [f"NOT SOUND: {looked}", how]
    if report.problems:
        blocks.append("")
        blocks += [f"{problem.what}: {problem.why}" for problem in report.problems]
    if report.affected:
        rows = [
            [snapshot_id, name, why]
            for snapshot_id, names in report.affected.items()
            for name, why in sorted(names.items())
        ]
        blocks += ["", columns(["snapshot", "does not come back", "why"], rows, whole=("snapshot",))]
        blocks.append("All other names come back.")
    return blocks
