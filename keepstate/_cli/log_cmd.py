"""``keepstate log``: the snapshots, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keepstate._base import table
from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._cli.answer import Answer
from keepstate._cli.arguments import MemberOption, NotebookOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns, listing
from keepstate._cli.documents import damage_remarks, snapshot_document
from keepstate._cli.scope import Scope
from keepstate._repository import kept_with_reasons, newest_first
from keepstate._snapshot import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from rich.table import Table

    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability, Snapshot

LastOption = Annotated[
    int | None, typer.Option("--last", metavar="N", min=1, help="Only the newest N.", show_default=False)
]

_WHOLE = ("snapshot", "taken (UTC)", "reason")


def log(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
    last: LastOption = None,
) -> Answer:
    """List the snapshots, newest first."""
    scope = Scope(store, project, member, notebook)
    repository = scope.open()
    at_store = scope.manifests(repository)
    levels: dict[str, Durability] = dict.fromkeys((each.id for each in at_store), scope.level())
    manifests = newest_first([*at_store, *(each for each in scope.waiting() if each.id not in levels)])[:last]
    # By all of the member's: one may stay for the sake of another notebook's that is not listed.
    kept_for = kept_with_reasons(repository.heads(member=member), now=SYSTEM_CLOCK.utc_now())
    remarks = damage_remarks(scope.damaged(repository))
    return Answer(
        document=[
            {
                **snapshot_document(manifest, levels.get(manifest.id, "local")),
                "kept_for": list(kept_for.get(manifest.id, ())),
            }
            for manifest in manifests
        ],
        text=_sections(manifests, kept_for, levels) if manifests else (f"nothing is kept of {scope}",),
        remarks=remarks,
    )


def _sections(
    manifests: Iterable[Head], kept_for: Collection[str], levels: Mapping[str, Durability]
) -> Iterator[str | Table]:
    """One table for each notebook, so that its names need no columns; the one with the newest comes first."""
    far = any(level != "local" for level in levels.values())
    notebooks: dict[tuple[str, str, str], list[Snapshot]] = {}
    for manifest in manifests:
        whose = (manifest.project, manifest.member, manifest.notebook)
        notebooks.setdefault(whose, []).append(
            snapshot_of(manifest, durability=levels.get(manifest.id, "local"))
        )
    for number, ((project, member, notebook), snapshots) in enumerate(notebooks.items()):
        if number:
            yield ""
        yield f"project {project!r}, member {member!r}, notebook {notebook!r}"
        rows = [
            [
                snapshot.id,
                f"{snapshot.created_at:%Y-%m-%d %H:%M:%S}",
                snapshot.reason,
                _about(snapshot, kept_for, far=far),
            ]
            for snapshot in snapshots
        ]
        yield columns([*_WHOLE, "what"], rows, whole=_WHOLE)


def _about(snapshot: Snapshot, kept_for: Collection[str], *, far: bool) -> str:
    about = [f"{listing(snapshot.names, most=4)}, {table.size(snapshot.logical_bytes)}"]
    if far:
        about.append("on this machine only" if snapshot.durability == "local" else snapshot.durability)
    if snapshot.skipped:
        about.append(f"{len(snapshot.skipped)} not kept")
    if snapshot.consistency != "cell":
        about.append(f"taken inside a cell ({snapshot.consistency})")
    if snapshot.note:
        about.append(f"note: {snapshot.note}")
    if snapshot.id not in kept_for and not (far and snapshot.durability == "local"):
        about.append("goes at a prune")
    return "; ".join(about)
