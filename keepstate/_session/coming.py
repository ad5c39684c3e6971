"""Names of the last session that are not bound yet, by the groups in which they come.

Any thread may bring one: that of a cell that needs it, the main thread between cells, ours. Whoever decodes
has the *turn*; whoever reads the bytes of a group has that group's *reading*; who needs both takes the turn
first. This module knows neither when something is brought nor what is told of it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from keepstate._capture import interrupts, random_states
from keepstate._model.cells import name_of_recipe
from keepstate._model.folders import is_folder_name
from keepstate._snapshot import Loader, Outcome, restore_names, restore_recipes
from keepstate.errors import IntegrityError, KeepstateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from keepstate._base.clock import Clock, Flag
    from keepstate._model.manifest import Head, Manifest
    from keepstate._repository import Repository
    from keepstate._snapshot import Ahead

REST_SECONDS = 0.01
"""How often our thread looks whether somebody still waits for another one."""


class Mend(Protocol):
    """Brings what is damaged here from where it is whole."""

    def __call__(self, manifest: Head, *, silently: bool = False) -> bool:
        """Say whether that was tried; with *silently*, tell the user nothing."""
        ...


@dataclass(slots=True, eq=False)
class Group:
    """What is decoded as a whole."""

    record_id: bytes
    names: tuple[str, ...]
    """Variables; none for a group that only defines."""
    nbytes: int
    defines: tuple[str, ...] = ()
    """Classes, functions and modules that are bound with it; known once its record has been read."""
    ahead: Ahead | None = None
    reading: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    """Whether it has come, or it is known why it cannot."""


class Coming:
    """All of them.

    Args:
        repository: Where they are kept.
        manifest: The snapshot that they belong to.
        namespace: The user's globals.
        names: Variables that are wanted.
        explain: Says of each name that failed why, and what there is instead; may read for long.
        settled: Told what became of names, just before they are bound, and why those failed that did; by the
            thread that has the turn.
        mend: For what is damaged.
    """

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        namespace: dict[str, object],
        names: Iterable[str],
        *,
        explain: Callable[[Outcome], dict[str, str]],
        settled: Callable[[Outcome, dict[str, str]], None],
        mend: Mend,
    ) -> None:
        self._manifest = manifest
        self._explain = explain
        self._namespace = namespace
        self._settled = settled
        self._mend = mend
        self._loader = Loader(repository, manifest, namespace)
        by_record: dict[bytes, list[str]] = {}
        for name in names:
            by_record.setdefault(manifest.names[name].group, []).append(name)
        defining = [
            Group(record_id, (), 0)
            for key, record_id in manifest.definitions.items()
            if name_of_recipe(key) is None
        ]
        variables = [
            Group(record_id, tuple(found), manifest.names[found[0]].logical_bytes)
            for record_id, found in by_record.items()
        ]
        self.groups = (*defining, *sorted(variables, key=lambda group: group.nbytes))
        """Definitions first, then what is there soonest."""
        self._names = {name: group for group in variables for name in group.names}
        self._defined: dict[str, Group] = {}
        self._uncalled = deque(self.groups)
        self._turn = threading.RLock()
        self._waiting: list[object] = []

    def decode_recipes(self, outcome: Outcome) -> None:
        """Decode the recipes of the snapshot into *outcome*: functions, which are small."""
        names = map(name_of_recipe, self._manifest.definitions)
        with self._turn, random_states.undisturbed():
            restore_recipes(self._loader, [name for name in names if name is not None], outcome)

    # -- what is not there yet ------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Variables that are still coming."""
        return tuple(self._names)

    @property
    def left(self) -> tuple[Group, ...]:
        """What is still coming."""
        return tuple(group for group in self.groups if self._is_wanted(group))

    def _is_wanted(self, group: Group) -> bool:
        wanted = not group.names or any(name in self._names for name in group.names)
        return not group.done and (wanted or any(name not in self._namespace for name in group.defines))

    def forget(self, name: str) -> None:
        """Bind *name* no more: it has another value now."""
        self._names.pop(name, None)

    def needed(self, names: frozenset[str] | None) -> list[Group]:
        """Give what must come for code that reads *names*; ``None`` for all."""
        if not names:
            return list(self.left) if names is None else []
        with self._turn:
            while self.call_one():
                pass
        known = {**self._defined, **self._names}
        found = {known[name]: None for name in known.keys() & names if name not in self._namespace}
        return [group for group in found if not group.done]

    def call_one(self) -> bool:
        """Learn what one more group defines; ``False``: it is known of all."""
        with self._turn:
            if not self._uncalled:
                return False
            group = self._uncalled[0]
            try:
                members = self._loader.members(group.record_id)
            except KeepstateError:
                members = ()  # decoding meets it again, and tells
            group.defines = tuple(m.name for m in members if m.role == "definition" and m.bind)
            if not group.done:
                self._defined.update(dict.fromkeys(group.defines, group))
            self._uncalled.popleft()
            return True

    # -- on a thread of the user's ----------------------------------------------------------------------

    def bring(self, groups: Iterable[Group]) -> None:
        """Have these bound when this returns, or know why they cannot be; our own thread rests meanwhile.

        Interrupted, it leaves what has not come as it was.
        """
        token = object()
        try:
            self._waiting.append(token)
            with self._turn, random_states.undisturbed():
                for group in groups:
                    self._bring(group)
        finally:
            if token in self._waiting:
                self._waiting.remove(token)

    def _bring(self, group: Group) -> None:
        if group.done:
            return
        with group.reading:
            if group.ahead is not None:
                try:
                    group.ahead.rest()
                    self._loader.take(group.record_id, group.ahead)
                except (KeepstateError, MemoryError):
                    pass  # decoding meets it again, and tells
                group.ahead = None
        outcome = self._decode(group)
        if outcome.damaged and self._mend(self._manifest):
            outcome = self._decode(group)
        self._settle(group, outcome, self._explain(outcome))

    # -- on our own thread ------------------------------------------------------------------------------

    def rest(self, stop: Flag, clock: Clock) -> None:
        """Wait while somebody waits for a group."""
        while self._waiting and not stop.is_set():
            clock.wait(stop, REST_SECONDS)

    def read(self, group: Group) -> Iterator[None]:
        """Read the bytes of a group step by step, for as long as nobody else has brought it.

        Raises:
            IntegrityError: They are damaged.
            CodecError: They cannot be understood here.
            StoreError: The store cannot be read.
            MemoryError: There is not enough.
        """
        more = True
        while more:
            with group.reading:
                if not self._is_wanted(group):
                    return
                if group.ahead is None:
                    group.ahead = self._loader.ahead(group.record_id)
                try:
                    more = group.ahead.step()
                except BaseException:
                    group.ahead = None
                    raise
            yield

    def read_anew(self, group: Group) -> None:
        """Forget what has been read of a group."""
        with group.reading:
            group.ahead = None

    def decode_beside(self, group: Group) -> bool:
        """Decode what is harmless beside whatever the user's code does; say whether that went well."""
        with self._turn, group.reading:
            if group.done or group.ahead is None:
                return True
            self._loader.take(group.record_id, group.ahead)
            group.ahead = None
            outcome = self._decode(group)
            if not outcome.failed:
                self._settle(group, outcome, {})
            return group.done

    def mend(self) -> bool:
        """Bring what is damaged from where it is whole, silently; say whether that was tried."""
        return self._mend(self._manifest, silently=True)

    def fail(self, group: Group, why: IntegrityError) -> None:
        """Give up what is damaged."""
        names = [name for name in group.names if name in self._names]
        outcome = Outcome(failed=dict.fromkeys(names, str(why)))
        failed = self._explain(outcome)
        with self._turn:
            if not group.done:
                self._settle(group, outcome, failed)

    # -- with the turn ----------------------------------------------------------------------------------

    def _decode(self, group: Group) -> Outcome:
        names = [name for name in group.names if name in self._names]
        if not names:
            self._loader.bind_definition(group.record_id)
        return restore_names(self._loader, names)

    def _settle(self, group: Group, outcome: Outcome, failed: dict[str, str]) -> None:
        with interrupts.deferred():
            self._settled(outcome, failed)
            # One call of C: no picture sees some of these names only, and no variable is replaced.
            list(map(self._namespace.setdefault, outcome.restored, outcome.restored.values()))
            group.done = True
            for name in group.names:
                self._names.pop(name, None)
            for name in group.defines:
                self._defined.pop(name, None)
            if group.names:
                self._loader.let_go(group.record_id)


def wanted_bytes(manifest: Manifest, names: Iterable[str]) -> int:
    """Add up what these variables take, each group once."""
    entries = [manifest.names[name] for name in names if not is_folder_name(name)]
    return sum({entry.group: entry.logical_bytes for entry in entries}.values())
