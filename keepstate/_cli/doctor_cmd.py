"""``keepstate doctor``: what is found here, and how it was told."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from keepstate._base import table
from keepstate._cli.answer import FAILED, FINE, Answer
from keepstate._cli.arguments import (  # noqa: TC001 - typer reads them
    MemberOption,
    NotebookOption,
    ProjectOption,
    StoreOption,
)
from keepstate._cli.columns import columns, facts
from keepstate._cli.findings import Findings, HostFound, IdentityFound, LimitFound, find_out
from keepstate._cli.scope import Scope
from keepstate.backends import HEADINGS

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._cli.place import Place


def doctor(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
) -> Answer:
    """Say what is found here and why; try out a store that is named; exit code 0 unless it cannot be used."""
    found = find_out(Scope(store, project, member, notebook))
    return Answer(
        document=dataclasses.asdict(found),
        text=tuple(_text(found)),
        exit_code=FINE if found.store.trouble is None else FAILED,
    )


def _text(found: Findings) -> list[str | Table]:
    blocks: list[str | Table] = [
        facts(
            [
                ("keepstate", found.keepstate),
                ("python", found.python),
                ("", found.executable),
                ("platform", found.platform),
                *_host(found.host),
                ("start() here", _identity(found.identity)),
                *_place(found.store),
                *_capture(found),
            ]
        )
    ]
    if found.trial is not None:
        rows = [list(row) for row in found.trial.rows]
        blocks += ["", "The store was tried out:", columns(list(HEADINGS), rows)]
    if found.leases:
        rows = [[str(value) for value in dataclasses.astuple(lease)] for lease in found.leases]
        headings = [field.name for field in dataclasses.fields(found.leases[0])]
        blocks += ["", "Saves and prunes under way:", columns(headings, rows)]
    blocks += ["", facts([(name, version or "not installed") for name, version in found.versions.items()])]
    if found.store.trouble is not None:
        blocks += ["", f"The store cannot be used: {found.store.trouble}"]
    return blocks


def _host(host: HostFound) -> list[tuple[str, str]]:
    if host.trouble is not None:
        return [("host", host.trouble)]
    key = f"{host.name}/{host.variant}" if host.variant else str(host.name)
    told_by = ", ".join(host.told_by)
    return [
        (
            "host",
            f"{key}, told by {told_by}" if told_by else f"{key}, because no mark of another host is here",
        ),
        ("", host.title),
        ("idle limit", _limit(host.idle)),
        ("activity", host.activity),
        ("lifetime", _limit(host.lifetime)),
        ("persists", host.persists),
        ("settings", host.settings or "no keepstate.toml, and no [tool.keepstate] in a pyproject.toml"),
    ]


def _limit(limit: LimitFound | None) -> str:
    if limit is None:
        return "none known"
    return f"{table.duration(limit.seconds)} ({limit.certainty}: {limit.source})"


def _identity(identity: IdentityFound) -> str:
    if identity.trouble is not None:
        return identity.trouble
    return f"project {identity.project!r}, member {identity.member!r}, notebook {identity.notebook!r}"


def _place(place: Place) -> list[tuple[str, str]]:
    there = "no store is there yet" if place.format is None else f"format {place.format}"
    free = "unknown" if place.free_bytes is None else table.size(place.free_bytes)
    return [
        ("store", place.path),
        ("", f"{there}; {'can' if place.writable else 'cannot'} be written"),
        ("free space", free),
        ("file system", place.file_system or "unknown"),
        ("shared", "yes: others may write to it" if place.shared else "no: only this machine sees it"),
    ]


def _capture(found: Findings) -> list[tuple[str, str]]:
    said = {"cell": "between cells", "statement": "inside a cell"}
    unchanged = (
        "the kernel tells what was not written to"
        if found.dirty_pages is None
        else f"told by hashing; the kernel does not tell it: {found.dirty_pages}"
    )
    return [
        *((said[level], f"{way.strategy}: {way.reason}") for level, way in found.capture.items()),
        ("large arrays", unchanged),
    ]
