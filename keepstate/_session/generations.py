"""What to say of a name that cannot be brought back: why, and which older generation of it is whole.

An older one is offered with the call that brings it, and never mixed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._model.manifest import Manifest
from keepstate._repository import shown_of
from keepstate._snapshot import older_generation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate._model.manifest import Entry, Head
    from keepstate._repository import Joiner, Repository
    from keepstate._snapshot import Outcome


def not_kept(repository: Repository, newest: Sequence[Head], chosen: Manifest) -> dict[str, str]:
    """Say of each name that the snapshot has left out why, and what there is of it."""
    joiner = repository.joiner(chosen.member)
    reasons = {**{name: lost.why for name, lost in chosen.lost.items()}, **chosen.skipped}
    return {
        name: f"it was not kept: {why}{_what(chosen, name)}{_offer(repository, newest, chosen, name, joiner)}"
        for name, why in reasons.items()
        if name not in chosen.names
    }


def _what(chosen: Manifest, name: str) -> str:
    """Say what it was, and how to see what would make it again."""
    lost = chosen.lost.get(name)
    if lost is None:
        return ""
    rebuild = f"; keepstate.rebuild({name!r}) shows what makes it again" if lost.line else ""
    return f"; it was {lost.told}{rebuild}"


def explain(
    repository: Repository, newest: Sequence[Head], chosen: Manifest, outcome: Outcome
) -> dict[str, str]:
    """Add to each failure the last good generation of that name, which is offered and never mixed in."""
    joiner = repository.joiner(chosen.member)
    return {
        name: f"{why}; it is bound as soon as that library can be imported"
        if name in outcome.waiting
        else why + _offer(repository, newest, chosen, name, joiner)
        for name, why in outcome.failed.items()
    }


def _offer(
    repository: Repository, newest: Sequence[Head], chosen: Manifest, name: str, joiner: Joiner
) -> str:
    older = newest[[m.id for m in newest].index(chosen.id) + 1 :]
    here = {m.id for m in repository.heads(member=chosen.member)}
    entry = chosen.names.get(name)
    good = older_generation(repository, [m for m in older if m.id in here], name, entry, joiner=joiner)
    if good is None:
        far = _first_with(name, [m for m in older if m.id not in here], besides=entry)
        if far is not None:
            return (
                f"; an older one of {far.created_at[:19]} is at the store: "
                f"keepstate.restore({name!r}, at={far.id[:10]!r}) tries that"
            )
        return "" if entry is None else "; no older generation of it is whole"
    return (
        f"; an older one of {good.created_at[:19]} is whole: keepstate.restore({name!r}, at={good.id[:10]!r})"
    )


def _first_with(name: str, heads: Sequence[Head], *, besides: Entry | None) -> Head | None:
    """Find the first in which *name* has another value, or of which that can only be told at the store."""
    known = None if besides is None else besides.group
    for head in heads:
        if isinstance(head, Manifest):
            if name in head.names and head.names[name].group != known:
                return head
        elif name in shown_of(head).names:
            return head
    return None
