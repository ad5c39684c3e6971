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
from keepstate._model.manifest import RESULTS
from keepstate._repository import kept_with_reasons, newest_first
from keepstate._snapshot import snapshot_of
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from rich.table import Table

    from keepstate._model.manifest import Head, ResultRecord
    from keepstate._model.snapshot import Durability, Snapshot

LastOption = Annotated[
    int | None, typer.Option("--last", metavar="N", min=1, help="Only the newest N.", show_default=False)
]

ResultsOption = Annotated[
    bool, typer.Option("--results", help="Those of functions and cells (keepstate.cache, %%keep) instead.")
]

_WHOLE = ("snapshot", "taken (UTC)", "reason")


def log(
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
    last: LastOption = None,
    results: ResultsOption = False,
) -> Answer:
    """List the snapshots, newest first; results of functions are kept beside them."""
    if results and notebook is not None:
        raise InvalidInputError("--results are those of all notebooks of a project: leave --notebook out")
    scope = Scope(store, project, member, RESULTS if results else notebook)
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
    functions: dict[str, str] = {}
    for manifest in manifests:
        whose = (manifest.project, manifest.member, manifest.notebook)
        notebooks.setdefault(whose, []).append(
            snapshot_of(manifest, durability=levels.get(manifest.id, "local"))
        )
        if manifest.result is not None:
            functions[manifest.id] = _about_result(manifest.result)
    for number, ((project, member, notebook), snapshots) in enumerate(notebooks.items()):
        if number:
            yield ""
        yield f"project {project!r}, member {member!r}, notebook {notebook!r}"
        rows = [
            [
                snapshot.id,
                f"{snapshot.created_at:%Y-%m-%d %H:%M:%S}",
                snapshot.reason,
                _about(snapshot, kept_for, functions.get(snapshot.id), far=far),
            ]
            for snapshot in snapshots
        ]
        yield columns([*_WHOLE, "what"], rows, whole=_WHOLE)


def _about_result(result: ResultRecord) -> str:
    if result.cleared:
        return f"{result.function} of {result.notebook!r}: what came before is not used"
    arguments = ", ".join(f"{name}={value}" for name, value in result.arguments.items())
    said = f"{result.function}({arguments})" if result.function != "cell" else "cell"
    return f"{said} of {result.notebook!r}, ran for {table.duration(result.call_seconds)}"


def _about(snapshot: Snapshot, kept_for: Collection[str], function: str | None, *, far: bool) -> str:
    what = listing(snapshot.names, most=4) if function is None else function
    about = [f"{what}, {table.size(snapshot.logical_bytes)}"]
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
