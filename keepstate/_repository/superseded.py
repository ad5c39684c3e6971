"""Which snapshots a prune takes: the rules, what was asked for, and the budget, made one verdict.

Decides, and changes nothing, so that it can also be told beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base.table import size
from keepstate._repository.budget import Fit, fit_into
from keepstate._repository.garbage import MOSTLY_DEAD
from keepstate._repository.history import newest_first
from keepstate._repository.retention import (
    DEFAULT,
    EVERYTHING,
    Retention,
    Scope,
    always_kept,
    kept_with_reasons,
)
from keepstate.errors import FormatError, IntegrityError, InvalidInputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from keepstate._model.manifest import Head
    from keepstate._repository.catalog import Catalog
    from keepstate._repository.manifests import ManifestFolder


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a prune is asked to keep and to let go."""

    retention: Retention = DEFAULT
    scope: Scope = EVERYTHING
    """Nothing outside of it goes."""
    keep: frozenset[str] = frozenset()
    """Ids that stay in any case."""
    drop: frozenset[str] = frozenset()
    """Ids that go, although rules or a note would keep them."""
    running: frozenset[str] = frozenset()
    """Lineages of sessions that go on."""
    budget_bytes: int | None = None
    """For all packs and manifests of the member, 1 or more; ``None``: there is none."""

    def __post_init__(self) -> None:
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise InvalidInputError(f"budget_bytes={self.budget_bytes!r}: give 1 or more")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of the wishes."""

    kept: dict[str, tuple[str, ...]]
    """Id → why it stays, of those in scope."""
    gone: list[Head]
    """Newest first."""
    remarks: list[str] = field(default_factory=list)
    """What could not be done as it was asked, in sentences."""
    short_bytes: int = 0
    """How much more than the budget stays."""
    mostly_dead: float = MOSTLY_DEAD
    """Packs with less than this share of needed bytes are to be written anew."""


def read_all(folder: ManifestFolder, *, give_up_damaged: bool) -> tuple[list[Head], list[Path]]:
    """Read every manifest anew; give those that count, and the damaged that are given up.

    Raises:
        StoreError, FormatError, IntegrityError: One cannot be read, so what it needs is not known.
    """
    sound, damaged = folder.read()
    for each in damaged:
        if each.transient:
            raise StoreError(f"cannot prune: {each.path} cannot be read now ({each.why})")
        if each.newer:
            raise FormatError(f"cannot prune: {each.path} is of a newer format: upgrade keepstate")
        if not give_up_damaged:
            raise IntegrityError(f"cannot prune: {each.path}: {each.why}; drop_damaged=True removes it")
    return sound, [each.path for each in damaged]


def decide(
    manifests: Sequence[Head],
    wishes: Wishes,
    *,
    now: datetime,
    running: Collection[str],
    catalog: Callable[[], Catalog],
) -> Verdict:
    """Decide for all snapshots of one member.

    Args:
        manifests: All that there are.
        wishes: What is asked for.
        now: The time, aware.
        running: Lineages that were found to be saving, besides those of *wishes*.
        catalog: Gives all packs as they are now; asked only if there is a budget.
    """
    running = wishes.running | set(running)

    def kept_without(gone: Collection[str]) -> dict[str, tuple[str, ...]]:
        return kept_with_reasons(
            manifests,
            now=now,
            retention=wishes.retention,
            scope=wishes.scope,
            keep=wishes.keep,
            drop=wishes.drop.union(gone),
            running=running,
        )

    kept, fit = kept_without(()), None
    if wishes.budget_bytes is not None:
        staying = [each for each in manifests if each.id in kept or each not in wishes.scope]
        named = {each.id for each in manifests if each.note} | wishes.keep
        outside = {each.id for each in manifests if each not in wishes.scope}
        must_stay = (named - wishes.drop) | outside | always_kept(manifests, running=running).keys()
        fit = fit_into(wishes.budget_bytes, staying, catalog=catalog(), must_stay=must_stay)
        kept = kept_without(fit.gone)
    return Verdict(
        kept=kept,
        gone=newest_first(each for each in manifests if each in wishes.scope and each.id not in kept),
        remarks=[*_stubborn(kept, wishes), *_about_budget(fit, wishes)],
        short_bytes=0 if fit is None else max(0, fit.nbytes - (wishes.budget_bytes or 0)),
        mostly_dead=MOSTLY_DEAD if fit is None else fit.mostly_dead,
    )


def _stubborn(kept: dict[str, tuple[str, ...]], wishes: Wishes) -> list[str]:
    return [
        f"snapshot {own_id} stays although it was to go: {'; '.join(kept[own_id])}"
        for own_id in sorted(wishes.drop & kept.keys())
    ]


def _about_budget(fit: Fit | None, wishes: Wishes) -> list[str]:
    if fit is None or wishes.budget_bytes is None:
        return []
    said = []
    if fit.gone:
        count = f"{len(fit.gone)} snapshots go" if len(fit.gone) > 1 else "1 snapshot goes"
        said.append(f"{count} for the budget of {size(wishes.budget_bytes)}, the oldest first")
    over = fit.nbytes - wishes.budget_bytes
    if over > 0:
        said.append(
            f"what must stay takes {size(fit.nbytes)}, which is {size(over)} more than the budget of "
            f"{size(wishes.budget_bytes)}: track less, drop a snapshot that has a note, or give more room"
        )
    return said
