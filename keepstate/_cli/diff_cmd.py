"""``keepstate diff``: what differs between two snapshots, name by name; runs nobody's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from keepstate._cli.answer import Answer
from keepstate._cli.arguments import MemberOption, NotebookOption, ProjectOption, StoreOption  # noqa: TC001 - typer reads them
from keepstate._cli.columns import columns
from keepstate._cli.scope import Scope, one_snapshot
from keepstate._model.diff import Diff
from keepstate._snapshot import KeptSide, compare

if TYPE_CHECKING:
    from rich.table import Table

    from keepstate._model.diff import Change
    from keepstate._model.facts import Facts
    from keepstate._model.manifest import Head
    from keepstate._repository import Repository

_WHOLE = ("what",)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="The earlier snapshot, or a beginning of its id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The later one.")],
    store: StoreOption = None,
    project: ProjectOption = None,
    member: MemberOption = None,
    notebook: NotebookOption = None,
) -> Answer:
    """Say what was added, removed, rebound or changed between two snapshots.

    Nothing is decoded, so this is safe for a store that others write to.
    """
    scope = Scope(store, project, member, notebook)
    repository = scope.open()
    there = scope.manifests(repository)
    known = {each.id for each in there}
    waiting = [each for each in scope.waiting() if each.id not in known]
    before, after = (
        _side(scope, repository, one_snapshot([*there, *waiting], each), known) for each in (a, b)
    )
    found = compare(before, after)
    answer = Diff(before.id, after.id, tuple(found.changes), found.unchanged, found.unknown)
    return Answer(document=_document(answer), text=tuple(_text(answer)))


def _side(scope: Scope, repository: Repository, head: Head, at_store: set[str]) -> KeptSide:
    holder = repository if head.id in at_store else scope.near() or repository
    return KeptSide(holder, holder.manifest_of(head))


def _document(found: Diff) -> dict[str, object]:
    return {
        "a": found.a,
        "b": found.b,
        "changes": [_change(change) for change in found.changes],
        "unchanged": found.unchanged,
        "unknown": dict(found.unknown),
    }


def _change(change: Change) -> dict[str, object]:
    return {
        "name": change.name,
        "what": change.what,
        "type_before": change.type_before,
        "type_after": change.type_after,
        "before": _facts(change.before),
        "after": _facts(change.after),
        "bytes_before": change.bytes_before,
        "bytes_after": change.bytes_after,
        "bytes_differing": change.bytes_differing,
        "shares": list(change.shares),
        "notes": list(change.notes),
    }


def _facts(facts: Facts | None) -> object:
    return None if facts is None else msgspec.to_builtins(facts)


def _text(found: Diff) -> list[str | Table]:
    rows = [[change.name, change.what, change.facts] for change in found.changes]
    rows += [[name, "not known", why] for name, why in found.unknown.items()]
    title = found.title.removeprefix("keepstate: ")
    return [title, columns(["name", "what", "facts"], rows, whole=_WHOLE)] if rows else [title]
