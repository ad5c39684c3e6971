"""Which snapshots stay, each with all its reasons.

Knows manifests and the time, nothing of disks. What is newer within a notebook is told by lineage; the clock
only says which hour and which day a snapshot belongs to. A clock that is wrong never makes a snapshot go.
Source: the ``forget`` policies of restic and borg.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from keepstate._repository.apart import carried_from
from keepstate._repository.history import newest_first
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from keepstate._model.manifest import Head

LONGEST_HOURS = 24 * 366 * 100.0
"""A century: more is a slip of the pen, and dates run out."""
FIRST_DATE = datetime(2025, 1, 1, tzinfo=UTC)
"""keepstate is younger than this: a machine that dates a snapshot earlier has not set its clock."""

_LEVELS = {
    "cell": "the newest that was taken between cells",
    "statement": "the newest that was taken inside a cell",
    "operation": "the newest that was taken inside an operation",
}


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past stays. The newest and what was given a note stay whatever this says."""

    all_hours: float = 1.0
    """Every snapshot that is younger than this stays."""
    hourly_hours: float = 24.0
    """The newest of each hour stays until it is so old."""
    daily_days: float = 30.0
    """The newest of each day (UTC) stays until it is so old."""
    keep_last: int | None = None
    """How many of the newest stay in every notebook, 1 or more; ``None``: this rule keeps none."""

    def __post_init__(self) -> None:
        for what in ("all_hours", "hourly_hours", "daily_days"):
            value = getattr(self, what)
            most = LONGEST_HOURS / 24 if what == "daily_days" else LONGEST_HOURS
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise InvalidInputError(f"{what}={value!r}: give a number between 0 and {most:g}")
        last: object = self.keep_last
        if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 1):
            raise InvalidInputError(f"keep_last={last!r}: give a whole number, 1 or more")

    @classmethod
    def newest(cls, count: int) -> Retention:
        """Give the rule that keeps the *count* newest of every notebook, however old they are."""
        return cls(all_hours=0, hourly_hours=0, daily_days=0, keep_last=count)

    @property
    def looks_at_clocks(self) -> bool:
        """Whether any rule depends on the time."""
        return bool(self.all_hours or self.hourly_hours or self.daily_days)


DEFAULT = Retention()
"""What the design promises: all of the last hour, then hourly for a day, then daily for a month."""


def chosen(keep_last: int | None, retention: Retention | None) -> Retention:
    """Give the rules that were asked for: a number alone, a whole value, or neither.

    Raises:
        InvalidInputError: The number is out of its range, or both are given.
    """
    if keep_last is not None and retention is not None:
        raise InvalidInputError("give keep_last or retention, not both: a Retention has keep_last as well")
    return (retention or DEFAULT) if keep_last is None else Retention.newest(keep_last)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a prune may take from: what is outside of it stays."""

    project: str | None = None
    """``None``: all projects."""
    notebook: str | None = None
    """``None``: all notebooks. Results of functions of the project are always among them: no notebook but
    their own would ever make room by them."""

    def __contains__(self, manifest: Head) -> bool:
        if self.project not in (None, manifest.project):
            return False
        return self.notebook in (None, manifest.notebook) or manifest.is_result


EVERYTHING = Scope()


def kept_with_reasons(
    manifests: Iterable[Head],
    *,
    now: datetime,
    retention: Retention = DEFAULT,
    scope: Scope = EVERYTHING,
    keep: Collection[str] = (),
    drop: Collection[str] = (),
    running: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Decide for all snapshots, each notebook for itself.

    Args:
        manifests: Every manifest of the member; of several members, if nothing is pruned by the answer.
        now: The time, aware.
        retention: The rules.
        scope: Those outside of it stay without a reason of their own, and are not in the answer.
        keep: Ids that stay in any case.
        drop: Ids for which the rules, a note and *keep* do not count.
        running: Lineages of sessions that go on; what they have saved last may be all that they have.

    Returns:
        Id → why it stays, newest first. Those in scope that are not in it may go.
    """
    manifests = list(manifests)
    inside = _by_notebook(each for each in manifests if each in scope)
    reasons: dict[str, list[str]] = {each.id: [] for own in inside for each in own}

    def give(found: Mapping[str, str], *, but: Collection[str] = ()) -> None:
        for own_id, why in found.items():
            if own_id in reasons and own_id not in but:
                reasons[own_id].append(why)

    for own in inside:
        if own[0].is_result:  # an older one of the same call is of no use to anybody
            give(dict.fromkeys(_last_of_sessions(own), "the newest result of its call"), but=drop)
            continue
        for found in _rules(own, now=now, retention=retention):
            give(found, but=drop)
        give(_last_of_sessions(own), but=drop)
    give({each.id: "it has a note" for each in manifests if each.note}, but=drop)
    give(dict.fromkeys(keep, "asked for"), but=drop)
    give(always_kept(itertools.chain(*inside), running=running))
    give(_carried(manifests, kept={each.id for each in manifests if reasons.get(each.id, True)}))
    return {own_id: tuple(why) for own_id, why in reasons.items() if why}


def always_kept(manifests: Iterable[Head], *, running: Collection[str] = ()) -> dict[str, str]:
    """Name what neither a budget nor a request takes: the newest of each level of every notebook.

    Args:
        manifests: Of one or more notebooks.
        running: Lineages of sessions that go on; the last of each is named as well.

    Returns:
        Id → why.
    """
    found: dict[str, str] = {}
    for own in _by_notebook(manifests):
        last = _last_of_sessions(own)
        if own[0].is_result:  # they can be computed again; but a few bytes say which must not be used
            cleared = [each.id for each in own if each.id in last and each.result and each.result.cleared]
            found |= dict.fromkeys(cleared, "it says that older results are not to be used")
            continue
        found |= {
            each.id: "its session goes on" for each in own if each.id in last and each.lineage in running
        }
        levels = {each.consistency: each.id for each in reversed(own)}  # the newest is set last
        found |= {own_id: _LEVELS[level] for level, own_id in levels.items()}
    return found


def _by_notebook(manifests: Iterable[Head]) -> list[list[Head]]:
    """The snapshots of each notebook, newest first."""
    found: dict[tuple[str, str, str], list[Head]] = defaultdict(list)
    for manifest in manifests:
        found[manifest.project, manifest.member, manifest.notebook].append(manifest)
    return [newest_first(own) for own in found.values()]


def _rules(newest: list[Head], *, now: datetime, retention: Retention) -> Iterator[dict[str, str]]:
    """What each rule keeps of one notebook, with its reason."""
    last = retention.keep_last
    if last is not None:
        yield {each.id: f"one of the newest {last}" for each in newest[:last]}
    if not retention.looks_at_clocks:
        return
    moments = {each.id: moment_of(each) for each in newest}
    yield {own_id: "when it was taken is not known" for own_id, moment in moments.items() if moment is None}
    dated = {own_id: moment for own_id, moment in moments.items() if moment is not None}

    def younger(limit: timedelta) -> set[str]:
        # One that is dated ahead was taken by a clock that is ahead, and counts as taken now.
        return {own_id for own_id, moment in dated.items() if max(now - moment, timedelta(0)) < limit}

    hours = retention.all_hours
    span = "the last hour" if hours == 1 else f"the last {hours:g} hours"
    yield dict.fromkeys(younger(timedelta(hours=hours)), f"taken within {span}")
    by_hour = _newest_of_each((own_id, f"{moment:%Y-%m-%d %H}") for own_id, moment in dated.items())
    yield dict.fromkeys(by_hour & younger(timedelta(hours=retention.hourly_hours)), "the newest of its hour")
    by_day = _newest_of_each((own_id, f"{moment:%Y-%m-%d}") for own_id, moment in dated.items())
    yield dict.fromkeys(by_day & younger(timedelta(days=retention.daily_days)), "the newest of its day")


def _newest_of_each(named: Iterable[tuple[str, str]]) -> set[str]:
    """Of ids with the names of their spans, newest first: the first of each span.

    Which one it is does not depend on the time at which it is asked, so what goes today would not have been
    kept tomorrow.
    """
    first: dict[str, str] = {}
    for own_id, span in named:
        first.setdefault(span, own_id)
    return set(first.values())


def moment_of(manifest: Head) -> datetime | None:
    """When a snapshot was taken, aware, in UTC; ``None`` if what it says cannot be true."""
    try:
        moment = datetime.fromisoformat(manifest.created_at)
        if moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= FIRST_DATE else None


def _last_of_sessions(newest: Iterable[Head]) -> dict[str, str]:
    first: dict[str, str] = {}
    for manifest in newest:
        first.setdefault(manifest.lineage, manifest.id)
    return dict.fromkeys(first.values(), "the last of its session")


def _carried(manifests: Iterable[Head], *, kept: Collection[str]) -> dict[str, str]:
    """Name the snapshots from which those in *kept* carry names, and those from which these do."""
    by_id = {manifest.id: manifest for manifest in manifests}
    found: dict[str, str] = {}
    waiting = [own_id for own_id in by_id if own_id in kept]
    for own_id in waiting:  # grows
        for source, name in carried_from(by_id[own_id]).items():
            if source in by_id and source != own_id and source not in found:
                found[source] = f"snapshot {own_id[:10]} carries {name!r} from it"
                if source not in kept:
                    waiting.append(source)
    return found
