"""Which snapshots stay, and for which reasons."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saves import manifest, snapshot_id

from keepstate._model.manifest import Entry
from keepstate._repository.retention import Retention, Scope, kept_with_reasons
from keepstate.errors import InvalidInputError

NOW = datetime(2026, 6, 15, 12, 30, tzinfo=UTC)
GROUP = bytes(32)

HOUR, HOURLY, DAILY = "taken within the last hour", "the newest of its hour", "the newest of its day"
LAST, NOTE = "the last of its session", "it has a note"
CELL = "the newest that was taken between cells"
STATEMENT = "the newest that was taken inside a cell"
OPERATION = "the newest that was taken inside an operation"
NEWEST = [HOUR, HOURLY, DAILY, LAST, CELL]


def at(sequence, before, **more):
    """The snapshot of this number, taken so long before now."""
    created = before if isinstance(before, str) else (NOW - before).isoformat()
    return manifest(more.pop("names", {}), sequence=sequence, created_at=created, **more)


def kept(*manifests, now=NOW, **more):
    """Number of each snapshot of the first session that stays → its reasons."""
    numbers = {each.id: each.sequence for each in manifests}
    return {numbers[own]: list(why) for own, why in kept_with_reasons(manifests, now=now, **more).items()}


def minutes(count):
    return timedelta(minutes=count)


def days(count, **more):
    return timedelta(days=count, **more)


CASES = {
    "all of the last hour": (
        [at(1, minutes(59)), at(2, minutes(45)), at(3, minutes(1))],
        {1: [HOUR], 2: [HOUR, HOURLY], 3: NEWEST},
    ),
    "then the newest of each hour": (
        [at(1, minutes(140)), at(2, minutes(130)), at(3, minutes(60)), at(4, minutes(0))],
        {2: [HOURLY], 3: [HOURLY], 4: NEWEST},
    ),
    "then the newest of each day": (
        [at(1, days(29, hours=2)), at(2, days(29)), at(3, days(1)), at(4, minutes(0))],
        {2: [DAILY], 3: [DAILY], 4: NEWEST},
    ),
    "and none after a month": (
        [at(1, timedelta(days=30)), at(2, timedelta(days=30) - minutes(1)), at(3, minutes(0))],
        {2: [DAILY], 3: NEWEST},
    ),
    "the newest stays however old": ([at(1, days(400)), at(2, days(399))], {2: [LAST, CELL]}),
    "the newest of each level": (
        [
            at(1, timedelta(days=90)),
            at(2, timedelta(days=80), consistency="statement"),
            at(3, timedelta(days=70), consistency="statement"),
            at(4, timedelta(days=60), consistency="operation"),
            at(5, timedelta(days=50), consistency="operation"),
        ],
        {1: [CELL], 3: [STATEMENT], 5: [LAST, OPERATION]},
    ),
    "a note": (
        [at(1, days(90), note="before the merge"), at(2, days(80)), at(3, days(70))],
        {1: [NOTE], 3: [LAST, CELL]},
    ),
    "a day ends at midnight UTC, wherever it was taken": (
        [
            at(1, "2026-06-01T01:00:00+02:00"),
            at(2, "2026-06-01T01:30:00+00:00"),
            at(3, "2026-06-02T01:30:00+02:00"),
            at(4, minutes(0)),
        ],
        {1: [DAILY], 3: [DAILY], 4: NEWEST},
    ),
    "a clock that is ahead": (
        [at(1, minutes(-60)), at(2, -timedelta(days=4000)), at(3, -timedelta(days=4000)), at(4, minutes(0))],
        {1: [HOUR, HOURLY], 2: [HOUR], 3: [HOUR, HOURLY, DAILY], 4: NEWEST},
    ),
    "a clock that was set back: the newest is by sequence": (
        [at(1, timedelta(hours=5)), at(2, timedelta(hours=5, minutes=20)), at(3, minutes(0))],
        {2: [HOURLY], 3: NEWEST},
    ),
    "a time that cannot be true": (
        [
            at(1, "1970-01-01T00:00:11+00:00"),
            at(2, "no time at all"),
            at(3, "9999-12-31T23:59:59-14:00"),
            at(4, "2026-06-01T00:00:00"),
            at(5, minutes(0)),
        ],
        {n: ["when it was taken is not known"] for n in (1, 2, 3, 4)} | {5: NEWEST},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_kept_snapshot_says_all_its_reasons(case):
    """And what is not named goes."""
    manifests, expected = CASES[case]
    assert kept(*manifests) == expected


def test_a_number_alone_does_not_look_at_clocks():
    """The newest so many stay and what always stays, whatever their dates are."""
    manifests = [at(1, timedelta(days=9), note="x"), at(2, "no time"), at(3, minutes(1)), at(4, minutes(0))]
    assert kept(*manifests, retention=Retention.newest(1)) == {
        1: [NOTE],
        4: ["one of the newest 1", LAST, CELL],
    }


def test_rules_can_be_longer_and_joined():
    """Hours, days and a number each keep their own; the reasons say the hours."""
    manifests = [
        at(1, timedelta(days=50)),
        at(2, timedelta(hours=30)),
        at(3, minutes(90)),
        at(4, minutes(80)),
    ]
    rules = Retention(all_hours=2, hourly_hours=48, daily_days=60, keep_last=2)
    found = kept(*manifests, retention=rules)
    assert found[1] == [DAILY]
    assert found[2] == [HOURLY, DAILY]
    assert found[3] == ["one of the newest 2", "taken within the last 2 hours"]
    assert kept(*manifests, retention=Retention(0, 0, 0)) == {4: [LAST, CELL]}


@pytest.mark.parametrize(
    "wrong",
    [{"all_hours": -1}, {"hourly_hours": float("nan")}, {"daily_days": float("inf")}, {"daily_days": "3"},
     {"keep_last": 0}, {"keep_last": True}, {"keep_last": 1.5}, {"all_hours": True}],
)  # fmt: skip
def test_senseless_rules_are_refused(wrong):
    """The message names the number."""
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        Retention(**wrong)


def old(sequence, **more):
    return at(sequence, timedelta(days=100), **more)


def test_sessions_and_notebooks_each_keep_their_own():
    """The last of every session stays, and one notebook's newest does not displace another's."""
    manifests = [
        old(1), old(2), old(3, lineage="s2", parents={"s1": 2}), old(4, lineage="s2", parents={"s1": 2}),
        old(5, lineage="s3", notebook="m"), old(6, lineage="s4", project="q"),
        old(7, lineage="s5", member="ben"),
    ]  # fmt: skip
    assert kept(*manifests) == {2: [LAST]} | {n: [LAST, CELL] for n in (4, 5, 6, 7)}


def test_what_is_out_of_scope_stays_and_is_not_spoken_of():
    """A prune of one notebook decides about that notebook only."""
    manifests = [old(1), old(2), old(3, lineage="s2", notebook="m"), old(4, lineage="s2", notebook="m")]
    assert kept(*manifests, scope=Scope(notebook="n")) == {2: [LAST, CELL]}
    assert kept(*manifests, scope=Scope(project="q")) == {}


def carrying(source, name="x"):
    return {name: Entry(group=GROUP, type="int", logical_bytes=1, kept_in=snapshot_id("s1", source))}


def test_what_names_are_carried_from_stays_also_for_another_notebook():
    """Through any number of steps, and also where the one that carries is out of scope."""
    manifests = [old(1), old(2, names=carrying(1)), old(3), old(4, names=carrying(2))]
    assert {own: why[0] for own, why in kept(*manifests).items()} == {
        1: "snapshot 000000a400 carries 'x' from it",
        2: "snapshot 000000a400 carries 'x' from it",
        4: LAST,
    }
    manifests = [old(1), old(2), old(3, lineage="s2", notebook="m", names=carrying(1))]
    assert list(kept(*manifests, scope=Scope(notebook="n"))) == [2, 1]


def test_what_is_dropped_goes_although_it_has_a_note():
    """Neither rule nor note nor the end of its session keeps it; being the newest of a level does."""
    manifests = [old(1, lineage="s0"), old(2, note="x"), at(3, minutes(3)), at(4, minutes(2))]
    ids = [each.id for each in manifests]
    assert list(kept(*manifests, drop=ids)) == [4]
    assert kept(*manifests, drop=ids)[4] == [CELL]
    assert list(kept(*manifests, drop=ids, running=["s0"])) == [4, 1]
    assert list(kept(*manifests, drop=[ids[1]], keep=[ids[1]])) == [4, 3, 1], "what is to go is not asked for"
    manifests.append(at(5, minutes(1), names=carrying(2)))
    assert "carries 'x'" in kept(*manifests, drop=ids)[2][0]


LEVELS = ("cell", "statement", "operation")
SPANS = (60, 3600, 86400, 40 * 86400)


def some_history(source):
    """Sessions of two notebooks, with clocks that jump, notes, levels and carried names."""
    found, known = [], []
    for number in range(source.randint(1, 4)):
        lineage, notebook = f"s{number}", source.choice("nm")
        parents = {each: 9 for each in known if source.random() < 0.5}
        known.append(lineage)
        for sequence in range(1, source.randint(2, 8)):
            names = {}
            if found and source.random() < 0.1:
                names = {"x": Entry(GROUP, "int", 1, source.choice(found).id)}
            before = timedelta(seconds=source.uniform(-0.05, 1) * source.choice(SPANS))
            found.append(
                at(
                    sequence,
                    before if source.random() < 0.95 else "1970-01-01T00:00:00+00:00",
                    names=names,
                    lineage=lineage,
                    notebook=notebook,
                    parents=parents,
                    consistency=source.choice(LEVELS),
                    note="x" * (source.random() < 0.1),
                )
            )
    source.shuffle(found)
    return found


def some_rules(source):
    return Retention(
        all_hours=source.choice((0, 1, 3)),
        hourly_hours=source.choice((0, 5, 24)),
        daily_days=source.choice((0, 7, 30)),
        keep_last=source.choice((None, 1, 4)),
    )


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_for_any_history_what_must_stay_stays(seed):
    """Whatever the clocks say, whatever the rules are."""
    source = random.Random(seed)
    found, rules = some_history(source), some_rules(source)
    stays = kept_with_reasons(found, now=NOW, retention=rules)
    by_id = {each.id: each for each in found}
    assert stays.keys() <= by_id.keys()
    assert all(why for why in stays.values())
    for lineage in {each.lineage for each in found}:
        own = [each for each in found if each.lineage == lineage]
        assert max(own, key=lambda each: each.sequence).id in stays
        for level in {each.consistency for each in own}:
            assert any(
                by_id[one].consistency == level for one in stays if by_id[one].notebook == own[0].notebook
            )
    for each in found:
        assert each.id in stays or not each.note
        assert each.id in stays or not (rules.looks_at_clocks and each.created_at.startswith("1970"))
        if each.id in stays:
            assert all(entry.kept_in in stays for entry in each.names.values())
        if not each.created_at.startswith("1970"):
            age = max(NOW - datetime.fromisoformat(each.created_at), timedelta(0))
            assert each.id in stays or age >= timedelta(hours=rules.all_hours)


def by_rules(found, **more):
    """What stays by clocks and numbers."""
    return {
        (own, why)
        for own, reasons in kept_with_reasons(found, **more).items()
        for why in reasons
        if why.startswith(("taken", "the newest of its", "one of"))
    }


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 40 * 86400))
def test_what_goes_today_would_not_stay_tomorrow(seed, later):
    """What a rule keeps at a time, it kept at any time before; longer rules keep at least as much."""
    source = random.Random(seed)
    found, rules = some_history(source), some_rules(source)
    today = by_rules(found, now=NOW, retention=rules)
    tomorrow = by_rules(found, now=NOW + timedelta(seconds=later), retention=rules)
    assert tomorrow <= today
    longer = Retention(rules.all_hours, rules.hourly_hours + 7, rules.daily_days + 3, rules.keep_last)
    assert {own for own, _ in today} <= {own for own, _ in by_rules(found, now=NOW, retention=longer)}


def test_pruning_every_hour_for_weeks_leaves_what_was_promised():
    """Ten minutes apart for 35 days, pruned hourly: each hour of a day and each day of a month is there."""
    found, start = [], NOW - timedelta(days=35)
    for number in range(1, 35 * 144 + 1):
        moment = start + minutes(10 * number)
        found.append(manifest({}, sequence=number, created_at=moment.isoformat()))
        if number % 6 == 0:
            stays = kept_with_reasons(found, now=moment)
            found = [each for each in found if each.id in stays]
    moments = [datetime.fromisoformat(each.created_at) for each in found]
    assert sum(NOW - moment < minutes(60) for moment in moments) == 6
    assert {f"{NOW - timedelta(hours=n):%d %H}" for n in range(24)} <= {f"{m:%d %H}" for m in moments}
    assert {f"{NOW - timedelta(days=n):%m-%d}" for n in range(30)} <= {f"{m:%m-%d}" for m in moments}
    assert len(found) <= 6 + 24 + 30
