"""What differs between two states of this notebook, one of which may be that of now.

Live values are encoded and named as for a snapshot, but nothing is written. That happens in a forked child
like a save, so that whatever the objects' own code does when they are pickled does not reach them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from keepstate import codecs
from keepstate._capture import ForkRefused, choose, random_states, read_conditions
from keepstate._model.diff import Change, Diff, What
from keepstate._model.facts import Facts  # noqa: TC001 - likewise
from keepstate._model.folders import is_folder_name
from keepstate._snapshot import KeptSide, LiveSide, Loader, compare, find
from keepstate.errors import CaptureError, KeepstateError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from keepstate._capture import Choice, Tools
    from keepstate._model.manifest import Entry, Manifest
    from keepstate._model.snapshot import Consistency
    from keepstate._session.kept import Kept
    from keepstate._session.saving import Saving
    from keepstate._snapshot import Compared, Side

NOW = "now"
_UNTRACKED = "it is not tracked any more: keepstate.track({name!r}) guards it again"


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A :class:`Change`, field by field; that one is imported with the package, msgspec not."""

    name: str
    what: What
    type_before: str
    type_after: str
    before: Facts | None
    after: Facts | None
    bytes_before: int
    bytes_after: int
    bytes_differing: int
    shares: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, change: Change) -> _Row:
        """Take the fields of a change."""
        return cls(**{name: getattr(change, name) for name in cls.__struct_fields__})

    def change(self) -> Change:
        """Give them back."""
        return Change(**{name: getattr(self, name) for name in self.__struct_fields__})


class _Answer(msgspec.Struct, frozen=True):
    """What a child has found; small enough to travel through a pipe."""

    rows: list[_Row]
    unchanged: int
    unknown: dict[str, str]


def _answer(found: Compared) -> _Answer:
    return _Answer(list(map(_Row.of, found.changes)), found.unchanged, found.unknown)


@dataclass(frozen=True, slots=True)
class _Live:
    """The live values, as a save would take them."""

    bindings: Mapping[str, object]
    left_out: Mapping[str, str]
    carried: Mapping[str, Entry]
    positions: codecs.Positions
    """Where the user's open files stand; a fork closes them."""


@dataclass(slots=True)
class _Work:
    """Compares in the place where the values stand still; satisfies ``Work``."""

    compare: Callable[[Callable[[str, int], None]], Compared]
    descriptors: Collection[int]
    """Of the user's files."""
    answer: bytes = b""

    def prepare(self, tools: Tools) -> None:
        """Do all of it."""
        self.answer = msgspec.msgpack.encode(_answer(self.compare(tools.progress)))

    def write(self, tools: Tools) -> bytes:
        """Give what was found; nothing is written."""
        del tools
        return self.answer


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compares states of one session's notebook."""

    kept: Kept
    saving: Saving

    def diff(self, a: object, b: object, names: Sequence[str], *, level: Consistency | None) -> Diff:
        """Compare; see :func:`keepstate.diff`.

        Args:
            a: The earlier state.
            b: The later one.
            names: Which; none: all.
            level: Of a picture that is taken where the call stands; ``None``: library code lies in between.
        """
        sides = self._manifest(a), self._manifest(b)
        live = self._live() if None in sides else None
        remarks: list[str] = []
        if live is not None and level is None:
            remarks.append(
                "This was called from within library code: live objects may have been half changed."
            )
        wanted = self._wanted(sides, live, names)
        if live is not None and (folders := [name for name in wanted if is_folder_name(name)]):
            wanted = [name for name in wanted if name not in folders]
            remarks.append(
                f"Watched folders are compared between snapshots only: {', '.join(folders)} left out."
            )
        if not wanted:
            answer = _Answer([], 0, {})
        elif live is None:
            answer = _answer(compare(self._kept_side(sides[0]), self._kept_side(sides[1]), wanted))
        else:
            answer = self._with_live(sides, live, wanted, level)
        unknown = dict(answer.unknown)
        changes = [self._with_facts(change, sides) for change in map(_Row.change, answer.rows)]
        if live is not None:
            untracked = self.kept.kernel.namespace.keys() - live.bindings.keys() - live.carried.keys()
            out = [change.name for change in changes if change.name in untracked]
            changes = [change for change in changes if change.name not in out]
            unknown |= {name: _UNTRACKED.format(name=name) for name in out}
        ids = [NOW if side is None else side.id for side in sides]
        return Diff(
            a=ids[0],
            b=ids[1],
            changes=tuple(changes),
            unchanged=answer.unchanged,
            unknown=dict(sorted(unknown.items())),
            remarks=tuple(remarks),
        )

    def _manifest(self, at: object) -> Manifest | None:
        """Find the snapshot, and have it here; ``None``: now."""
        if isinstance(at, str) and at == NOW:
            return None
        head = find(self.kept.asked_for(), at)
        self.kept.bring(head)
        return self.kept.recovery.decoding.whole(head)

    def _live(self) -> _Live:
        carried = self.kept.recovery.carried()  # before what is bound: see there
        kernel = self.kept.kernel
        bindings, left_out = self.kept.selection.bindings(kernel.namespace, kernel.hidden)
        entries = {name: entry for name, entry in carried.entries.items() if name not in bindings}
        files = codecs.find_open_files()
        return _Live(bindings, left_out, entries, codecs.Positions(files, codecs.positions_of(files)))

    @staticmethod
    def _wanted(
        sides: tuple[Manifest | None, Manifest | None], live: _Live | None, names: Sequence[str]
    ) -> list[str]:
        there = set[str]()
        for side in sides:
            if side is not None:
                there |= side.names.keys() | side.skipped.keys()
            elif live is not None:
                there |= live.bindings.keys() | live.carried.keys() | live.left_out.keys()
        for name in names:
            if name not in there:
                raise NotFoundError(f"neither state has {name!r}; they have {', '.join(sorted(there))}")
        return sorted(set(names) or there)

    def _kept_side(self, manifest: Manifest | None) -> KeptSide:
        assert manifest is not None
        return KeptSide(self.kept.repository, manifest)

    # -- live values -----------------------------------------------------------------------------------

    def _with_live(
        self,
        sides: tuple[Manifest | None, Manifest | None],
        live: _Live,
        wanted: list[str],
        level: Consistency | None,
    ) -> _Answer:
        def compared(progress: Callable[[str, int], None]) -> Compared:
            now = LiveSide(
                live.bindings,
                namespace=self.kept.kernel.namespace,
                repository=self.kept.repository,
                member=self.kept.identity.member,
                carried=live.carried,
                known=self.saving.known,
                seed=self.saving.seed,
                grouped=self.saving.grouped,
                refuse=self.saving.refused(),
                positions=live.positions,
                left_out=live.left_out,
                progress=progress,
            )
            both: list[Side] = [now if side is None else self._kept_side(side) for side in sides]
            return compare(both[0], both[1], wanted)

        work = _Work(compared, live.positions.descriptors)
        if level is None:
            message = _in_thread(lambda: self._take(work, "operation"))
        else:
            message = self._take(work, level)
        return msgspec.msgpack.decode(message, type=_Answer)

    def _take(self, work: _Work, level: Consistency) -> bytes:
        choice = self._choice(level)
        if choice.strategy == "fork":
            try:
                return choice.take(work, descriptors=work.descriptors, clock=self.saving.clock).finish()
            except ForkRefused:
                pass  # there is no room for another process: it is done here
        if level == "operation":
            raise CaptureError(
                "live values cannot be compared from within library code here, call keepstate.diff in a cell "
                f"instead: {choice.reason}"
            )
        with random_states.undisturbed():
            work.prepare(_Here())  # type: ignore[arg-type]
        return work.answer

    def _choice(self, level: Consistency) -> Choice:
        # Not as between cells, where a fork that is refused becomes a copy into the arena of the saves.
        inside: Consistency = "statement" if level == "cell" else level
        return choose(replace(read_conditions(level=inside), mode=self.saving.options.capture))

    # -- facts -----------------------------------------------------------------------------------------

    def _with_facts(self, change: Change, sides: tuple[Manifest | None, Manifest | None]) -> Change:
        """Decode what an older version has kept without facts; one that cannot be costs its facts alone."""
        before, after = change.before, change.after
        if before is None:
            before = self._facts(change.name, change.type_before, sides[0])
        if after is None:
            after = self._facts(change.name, change.type_after, sides[1])
        return replace(change, before=before, after=after)

    def _facts(self, name: str, kind: str, manifest: Manifest | None) -> Facts | None:
        if manifest is None or name not in manifest.names or not codecs.has_facts(kind):
            return None
        try:
            with random_states.undisturbed():
                loader = Loader(self.kept.repository, manifest, self.kept.kernel.namespace, bind=False)
                return codecs.facts_of(loader.value(name))
        except KeepstateError:
            return None


class _Here:
    """The tools of a place that nobody watches."""

    @staticmethod
    def progress(_name: str, _bytes_done: int) -> None:
        """Tell nobody."""


def _in_thread(take: Callable[[], bytes]) -> bytes:
    """Take the picture on a thread of ours: the main one never forks while library code is on its stack."""
    found: list[bytes] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(take())
        except BaseException as error:  # noqa: BLE001 - it is raised where the user waits
            failed.append(error)

    thread = threading.Thread(target=run, name="keepstate-diff", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
