"""``keepstate usage``: who owns how many bytes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from keepstate._base import table
from keepstate._cli.answer import Answer
from keepstate._cli.arguments import MemberOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns
from keepstate._cli.documents import damage_remarks
from keepstate._cli.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keepstate._repository import ProjectUsage, Usage


def usage(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
) -> Answer:
    """Say who owns how many bytes, by member and project."""
    scope = Scope(store, project, member)
    repository = scope.open()
    found = _of_project(repository.usage(member=member), project)
    rows = [row for each in found for row in _rows(each)]
    return Answer(
        document=[dataclasses.asdict(each) for each in found],
        text=(columns(["member", "project", "snapshots", "size"], rows, whole=("snapshots", "size")),)
        if rows
        else (f"nothing is kept of {scope}",),
        remarks=damage_remarks(scope.damaged(repository)),
    )


def _of_project(found: Iterable[Usage], project: str | None) -> list[Usage]:
    if project is None:
        return [each for each in found if each.nbytes]
    return [
        dataclasses.replace(each, projects={project: each.projects[project]})
        for each in found
        if project in each.projects
    ]


def _count(own: ProjectUsage) -> str:
    return f"{own.snapshots} and {own.results} results" if own.results else str(own.snapshots)


def _rows(usage: Usage) -> list[list[str]]:
    rows = [
        [usage.member, project, _count(own), table.size(own.nbytes)]
        for project, own in sorted(usage.projects.items())
    ]
    if usage.unused_bytes:
        rows.append([usage.member, "(needed by none: prune)", "", table.size(usage.unused_bytes)])
    rows.append([usage.member, "(all files)", "", table.size(usage.nbytes)])
    return rows
