"""A snapshot of very many names costs what changed of them, and what says its names is kept as they are."""

import os
import zlib

import msgspec
import pytest
from faults import Quick
from saves import files, manifest, put_values, save, snapshot_id, values_of
from test_damage import sealed

from keepstate._base.word import Word
from keepstate._model.manifest import Apart, Entry, Head, Manifest
from keepstate._repository import Joiner, Repository, shown_of
from keepstate._repository.apart import as_stored, carried_from
from keepstate._repository.manifests import decode_manifest, encode_manifest
from keepstate._repository.reach import Reach
from keepstate._repository.writer import WHOLE_BYTES
from keepstate.errors import FormatError, IntegrityError, InvalidInputError

MANY = 250


class Counting(Quick):
    """Adds up what is written, and counts what is opened."""

    def __init__(self):
        self.written, self.opened = 0, 0

    def write(self, descriptor, data):
        self.written += len(data)
        super().write(descriptor, data)

    def open(self, path):
        self.opened += 1
        return super().open(path)


def many(number, count=MANY):
    """Small values, of which three differ from one number to the next."""
    values = {f"name_{each:05d}": b"%d" % each for each in range(count)}
    return values | {f"name_{each:05d}": b"%d in %d" % (each, number) for each in (7, count // 2, count - 1)}


def changed(number):
    """Those three."""
    return {name: value for name, value in many(number).items() if b"in" in value}


def kept(repository):
    """Snapshot id → those three, as a fresh look finds them; all others are there by their names."""
    again, found = fresh(repository), {}
    for each in again.manifests():
        assert list(each.names) == sorted(many(1))
        some = {name: each.names[name] for name in changed(1)}
        found[each.id] = values_of(again, msgspec.structs.replace(each, names=some))
    return found


@pytest.fixture
def repository(tmp_path):
    return Repository.open(tmp_path / "store", create=True, disk=Counting())


def fresh(repository):
    return Repository.open(repository.path, create=False, disk=Counting())


def full(names, **more):
    """A manifest with something in every field."""
    return manifest(
        names,
        sequence=1,
        tracked=sorted([*sorted(names)[::2], "not here"]),
        skipped={"conn": "it is a connection"},
        pending={min(names): "its library is missing"},
        versions={"python": "3.11.7"},
        **more,
    )


def commit(repository, build):
    """Commit what *build* makes of one entry."""
    with repository.writer("ana") as writer:
        entry = put_values(writer, {"x": b"1"})["x"]
        return writer.commit(lambda written: msgspec.structs.replace(build(entry), written_bytes=written))


def test_three_of_many_names_cost_three(repository):
    """The second snapshot, which keeps three new values, writes three runs of names and a list of runs."""
    known = save(repository, many(1), sequence=1).known
    repository._disk.written = 0
    second = save(repository, many(2), sequence=2, known=known)
    assert repository._disk.written < 20_000
    assert 0 < second.manifest.written_bytes <= repository._disk.written
    assert kept(repository) == {snapshot_id("s1", each): changed(each) for each in (1, 2)}
    assert repository.verify(deep=True).is_sound


def test_a_name_more_changes_one_run(repository):
    """Wherever a name is added or taken away, the runs before and after it are as they were."""
    values = many(1)
    known = save(repository, values, sequence=1).known
    changes = [values | {"a": b"new"}, values | {"name_00100_x": b"new"}, values | {"z": b"new"}]
    for sequence, state in enumerate([*changes, dict(list(values.items())[1:])], 2):
        repository._disk.written = 0
        save(repository, state, sequence=sequence, known=known)
        assert repository._disk.written < 20_000


@pytest.mark.parametrize("count", [1, 200, 256, 1100])
def test_every_field_comes_back(repository, count):
    """Few names are in the manifest itself, many apart; each reads back as it was given."""

    def build(entry):
        names = {
            f"näme {number}": msgspec.structs.replace(entry, type="builtins.bytes") for number in range(count)
        }
        names["a"] = msgspec.structs.replace(entry, kept_in="ab" * 10)
        names |= dict.fromkeys("bcd", entry)
        return full(names, definitions={f"class {n}": entry.group for n in range(count // 3)})

    made = commit(repository, build).manifest
    (head,) = fresh(repository).heads()
    is_short = len(encode_manifest(msgspec.structs.replace(made, apart=None))) <= WHOLE_BYTES
    assert (head.apart is None) == is_short == (count == 1)
    assert fresh(repository).manifest_of(head) == made
    assert shown_of(head) == (tuple(sorted(made.names)), made.skipped)
    assert carried_from(head) == {"ab" * 10: "a"}
    assert decode_manifest(encode_manifest(made)) == head == decode_manifest(encode_manifest(head))
    assert fresh(repository).joiner("ana").entry(head, "a") == made.names["a"]
    assert fresh(repository).joiner("ana").entry(head, "nobody") is None


def test_a_note_on_unchanged_names_writes_a_manifest_alone(repository):
    """No record is written twice."""
    known = save(repository, many(1), sequence=1).known
    packs = files(repository.path, ".pack")
    save(repository, many(1), sequence=2, known=known, note="the same")
    assert files(repository.path, ".pack") == packs


@pytest.mark.parametrize("change", [{"names": ["\ud800"]}, {"tracked": ["b", "a"]}])
def test_what_would_not_come_back_is_refused(repository, change):
    """Half of a surrogate pair is no text, and names under guard are sorted; nothing is left of the save."""

    def build(entry):
        names = {f"n{number}": entry for number in range(MANY)} | dict.fromkeys(
            change.get("names", ()), entry
        )
        return msgspec.structs.replace(full(names), tracked=change.get("tracked", []))

    with pytest.raises(InvalidInputError):
        commit(repository, build)
    assert not files(repository.path, ".pack")
    assert not files(repository.path, ".manifest")


def test_an_older_reader_takes_it_for_newer(repository):
    """The flag that is set is one for which every earlier version refuses."""
    save(repository, many(1), sequence=1)
    (path,) = files(repository.path, ".manifest")
    assert path.read_bytes()[8:12] == b"\x03\0\0\0"


def test_a_manifest_says_where_its_names_are_or_holds_them(repository):
    """One that does both, or neither, is damaged."""
    save(repository, many(1), sequence=1)
    (path,) = files(repository.path, ".manifest")
    apart = msgspec.msgpack.decode(path.read_bytes()[64:])
    whole = apart | {"apart": None, "names": {}}
    assert type(decode_manifest(sealed(msgspec.msgpack.encode(apart), flags=3))) is Head
    assert type(decode_manifest(sealed(msgspec.msgpack.encode(whole)))) is Manifest
    for body, flags in ((apart, 1), (whole, 3), (whole | {"apart": apart["apart"]}, 1)):
        with pytest.raises(IntegrityError):
            decode_manifest(sealed(msgspec.msgpack.encode(body), flags=flags))
    with pytest.raises(FormatError):
        decode_manifest(sealed(msgspec.msgpack.encode(apart), flags=3 | 4))


def stored_as(manifest, **apart):
    """The head of a manifest, with something else in the place of its names."""
    values = {field: getattr(manifest.apart, field) for field in Apart.__struct_fields__}
    return msgspec.structs.replace(as_stored(manifest), apart=Apart(**{**values, **apart}))


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b"junk",
        zlib.compress(b"\xc1"),
        zlib.compress(msgspec.msgpack.encode([["a"], {}]))[:-1],
        zlib.compress(msgspec.msgpack.encode([["a"], {}])) + b"x",
        zlib.compress(msgspec.msgpack.encode([["b", "a"], {}])),
        zlib.compress(msgspec.msgpack.encode([["a", "a"], {}])),
        zlib.compress(bytes(65 << 20)),
    ],
    ids=["empty", "junk", "other", "cut", "more", "disorder", "twice", "bomb"],
)
def test_a_hostile_list_of_names_is_refused(repository, shown):
    """Whatever it is, the manifest counts as damaged as a whole."""
    made = save(repository, many(1), sequence=1).manifest
    with pytest.raises(IntegrityError):
        decode_manifest(encode_manifest(stored_as(made, shown=shown)))


def forged(repository, made, build):
    """Put a manifest into the place of *made* whose record of contents is what *build* makes of it."""
    with repository.writer("ana") as writer:

        def put(record):
            return writer._put_encoded(msgspec.msgpack.encode(record))

        contents = msgspec.msgpack.decode(repository._members.reader("ana").record(made.apart.contents))
        head = stored_as(made, contents=build(contents, put))
        writer.commit(lambda written: manifest({}, sequence=99, lineage="z", written_bytes=written))
    (path,) = (path for path in files(repository.path, ".manifest") if made.id in path.name)
    path.write_bytes(encode_manifest(head))
    return head


FORGERIES = {
    "missing": lambda contents, put: bytes(32),
    "a group": lambda contents, put: contents["definitions"]["d"],
    "an array": lambda contents, put: put([]),
    "no runs": lambda contents, put: put(contents | {"runs": []}),
    "one run less": lambda contents, put: put(contents | {"runs": contents["runs"][1:]}),
    "runs in disorder": lambda contents, put: put(contents | {"runs": contents["runs"][::-1]}),
    "a run twice": lambda contents, put: put(contents | {"runs": contents["runs"][:1] * 2}),
    "a huge count": lambda contents, put: put(contents | {"runs": [[2**62, bytes(32)]]}),
    "a wrong count": lambda contents, put: put(
        contents | {"runs": [[each[0] - 1 or 2, each[1]] for each in contents["runs"]]}
    ),
    "a run that is no run": lambda contents, put: put(
        contents | {"runs": [[each[0], put(contents)] for each in contents["runs"]]}
    ),
    "a run that is missing": lambda contents, put: put(
        contents | {"runs": [*contents["runs"][:-1], [contents["runs"][-1][0], bytes(32)]]}
    ),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_records_that_do_not_fit_are_an_error(repository, how):
    """Never fewer or other names: the manifest is refused, verify says so, and no prune goes by it."""

    def build(entry):
        return full({f"n{number}": entry for number in range(MANY)}, definitions={"d": entry.group})

    made = commit(repository, build).manifest
    head = forged(repository, made, FORGERIES[how])
    again = fresh(repository)
    assert head in again.heads()
    with pytest.raises(IntegrityError):
        again.manifest_of(head)
    report = again.verify(deep=False)
    assert set(report.affected) == {made.id}
    assert report.affected[made.id].keys() <= {*made.names, "definition d"}
    packs = files(repository.path, ".pack")
    with pytest.raises(IntegrityError, match="cannot prune"):
        again.prune(keep_last=5)
    assert files(repository.path, ".pack") == packs
    again.prune(keep_last=5, drop_damaged=True)
    assert [each.lineage for each in again.heads()] == ["z"]


def spoil(repository, own):
    """Flip a bit of every copy of a chunk."""
    for location in fresh(repository)._members.reader("ana")._locate(own):
        raw = bytearray(location.path.read_bytes())
        raw[location.entry.offset + 64] ^= 1
        location.path.write_bytes(raw)


def runs_of(repository, head):
    contents = repository._members.reader("ana").record(head.apart.contents)
    return msgspec.msgpack.decode(contents)["runs"]


def test_verify_names_what_is_in_a_damaged_run(repository):
    """The others are said to be sound, and so are other snapshots that do not need that run."""
    made = save(repository, many(1), sequence=1)
    save(repository, {"a": b"1"}, sequence=1, lineage="s2")
    before = 0
    for count, own in runs_of(repository, made.manifest)[:2]:
        before, here, run = before + count, before, own
    spoil(repository, run)
    report = fresh(repository).verify(deep=False)
    assert set(report.affected) == {made.manifest.id}
    assert list(report.affected[made.manifest.id]) == sorted(made.manifest.names)[here:before]


def test_what_a_damaged_run_held_is_written_again_by_the_next_save(repository):
    """A save that knows of the damage relies on nothing of it, and mends the older snapshot as well."""
    known = save(repository, many(1), sequence=1).known
    (head,) = repository.heads()
    spoil(repository, runs_of(repository, head)[1][1])
    with pytest.raises(IntegrityError):
        repository.manifest_of(head)
    save(repository, many(1), sequence=2, known=known, note="again")
    assert kept(repository) == {snapshot_id("s1", each): changed(1) for each in (1, 2)}


def test_prune_keeps_what_says_the_names_of_what_stays(repository):
    """And takes that of what goes, also when packs are written anew."""
    known = {}
    for sequence in range(1, 20):
        known = save(repository, many(sequence), sequence=sequence, known=known).known
    assert repository.prune(keep_last=18).repacked_packs
    assert len(kept(repository)) == 18
    assert repository.prune(keep_last=2).deleted_packs
    assert kept(repository) == {snapshot_id("s1", each): changed(each) for each in (18, 19)}
    usage = repository.usage()[0]
    assert usage.unused_bytes < usage.nbytes / 3
    assert repository.verify(deep=True).is_sound


def test_names_come_along_when_a_snapshot_is_copied(repository, tmp_path):
    """And what is the same is not sent twice."""
    target = Repository.open(tmp_path / "other", create=True, disk=Counting())

    def copy(heads):
        return repository.replicate_to(target, heads, stop=Word(), on_progress=lambda done, total: None)

    known = save(repository, many(1), sequence=1).known
    copy(repository.heads())
    save(repository, many(2), sequence=2, known=known)
    assert copy(repository.heads()[:1]).nbytes < 20_000
    assert kept(target) == kept(repository)
    copied = copy(repository.manifests())
    assert (len(copied.ids), copied.nbytes, copied.lost) == (2, 0, {})


def test_runs_come_before_the_values_of_any_name(repository):
    """Nobody can begin to restore before the names are known, so they are brought first."""
    made = save(repository, many(1), sequence=1).manifest
    reach = Reach(repository._members.reader("ana"), remember=False)
    order = list(reach.chunks([as_stored(made)])[0])
    runs = [own for _, own in runs_of(repository, made)]
    groups = [made.names[name].group for name in sorted(made.names)]
    assert order[0] == made.apart.contents
    assert list(map(order.index, [*runs, *groups])) == sorted(map(order.index, [*runs, *groups]))


def test_carried_names_are_told_without_reading_them(repository):
    """Retention keeps what a long manifest carries names from, and opens no pack for that."""
    old = save(repository, {"old": b"1"}, sequence=1).manifest
    carried = {"old": Entry(old.names["old"].group, "bytes", 1, kept_in=old.id)}
    save(repository, many(1), sequence=2, carried=carried)
    save(repository, many(2), sequence=3, carried=carried)
    again = fresh(repository)
    assert [dict(carried_from(head)) for head in again.heads()] == [{old.id: "old"}] * 2 + [{}]
    assert again._disk.opened == 0
    report = repository.prune(keep_last=1)
    assert report.kept.keys() == {old.id, snapshot_id("s1", 3)}
    assert "carries 'old' from it" in report.kept[old.id]


def test_a_history_is_listed_without_its_packs(repository):
    """A fresh look at many snapshots, with the names of each, opens no pack."""
    known = {}
    for sequence in range(1, 6):
        known = save(repository, many(sequence), sequence=sequence, known=known).known
    again = fresh(repository)
    shown = [shown_of(head).names for head in again.heads()]
    assert shown == [tuple(sorted(many(1)))] * 5
    assert again._disk.opened == 0


def test_what_snapshots_share_is_read_once(repository):
    """To verify ten snapshots is not ten times the work of one."""
    known = save(repository, many(1), sequence=1).known
    one = fresh(repository)
    assert one.verify(deep=False).is_sound
    for sequence in range(2, 11):
        known = save(repository, many(sequence), sequence=sequence, known=known).known
    ten = fresh(repository)
    assert ten.verify(deep=False).is_sound
    assert ten._disk.opened - one._disk.opened < 9 * 40


def test_junk_is_never_a_manifest(repository):
    """Whatever a record holds instead, it is told as damage."""
    head = as_stored(save(repository, many(1), sequence=1).manifest)
    for junk in (b"", b"\xc1", b"\x91\x01", b"\x81\xa4runs\x90", os.urandom(100)):
        joiner = Joiner(lambda _own, junk=junk: junk)
        with pytest.raises(IntegrityError):
            joiner.manifest(head)
        assert joiner.trouble(head)
        groups, lost = joiner.groups(head)
        assert (groups, list(lost)) == ({}, sorted(many(1)))
