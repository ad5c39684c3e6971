"""Results in the repository: found by their key, read back and proven to be what they were, or put there.

Each is a manifest in a place of its own, so that everything that is done to snapshots is done to results too,
and none of them is ever taken for the state of a notebook. Nothing in here decides whether a result may be
used; what it gives is what was put there, or an error.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from keepstate._base import table
from keepstate._capture import Tools, random_states
from keepstate._model.manifest import RESULTS, Manifest
from keepstate._repository import newest_first
from keepstate._results.digest import Digester, NoKeyError
from keepstate._snapshot import Loader, Occasion, Save, Saved
from keepstate.errors import CodecError, IntegrityError, KeepstateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from keepstate._base.clock import Clock
    from keepstate._model.manifest import Head, ResultRecord
    from keepstate._repository import Repository

FLOORS = 3
"""Floors that must be free on the disk once a result is written: two are what the next save of the notebook's
state wants (``_session/space.py``), and that comes first."""
PROVEN_BYTES = 256 << 20
"""What is read back at once when it was put; of more, that it comes back as it was shows when it is used."""
BUDGET_SHARE = 2
"""A result that takes more than this part of a budget would go at the next prune, and others with it."""


class FarResults(Protocol):
    """The far side, as results need it."""

    def look_for_results(self) -> str | None:
        """See which are kept there; say why that failed."""
        ...

    def results(self) -> list[Head]:
        """Give those that were seen there."""
        ...

    def bringing(self, manifest: Head) -> AbstractContextManager[object]:
        """Bring one here; at the end of the block it is."""
        ...

    def saved(self) -> None:
        """One was committed here."""
        ...


@dataclass(slots=True)
class Results:
    """The results of one project of one member."""

    repository: Repository
    """One of its own: calls come from any thread, also while a save is under way."""
    project: str
    member: str
    notebook: str
    """Of the session."""
    namespace: dict[str, object]
    host: str
    clock: Clock
    say: Callable[[str], None]
    budget_bytes: int | None = None
    far: FarResults | None = None
    far_trouble: str | None = None
    """Why it could not be seen what is at the far side; ``None``: it was seen, or not asked for."""
    _looked: bool = False
    _seen: tuple[Head, ...] = ()
    """What was there when it was looked."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # --- finding

    def find(self, key: str) -> Head | None:
        """Give the newest result of this key, here or at the far store; ``None``: there is none to be used.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._lock:
            heads = self._here(key)
            if not heads and self.far is not None:
                self._look()
            heads += [head for head in self._seen if head.lineage == key]
        return next((head for head in newest_first(heads)[:1] if _is_usable(head)), None)

    def _here(self, key: str | None = None) -> list[Head]:
        heads = self.repository.heads(project=self.project, member=self.member, notebook=RESULTS, lineage=key)
        return [head for head in heads if head.result is not None]

    def _look(self) -> None:
        """Look at the far side once in a session: what another machine puts there later is not seen."""
        if self.far is not None and not self._looked:
            self._looked = True
            self.far_trouble = self.far.look_for_results()
            self._seen = tuple(head for head in self.far.results() if head.result is not None)

    def of_function(self, function: str) -> list[Head]:
        """Give all results of a function, newest first.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._lock:
            self._look()
            every = {head.id: head for head in (*self._seen, *self._here())}
        return newest_first(head for head in every.values() if self._is_of(head, function))

    def _is_of(self, head: Head, function: str) -> bool:
        """Say whether it is of that function; those of other notebooks may be called the same."""
        result = head.result
        if result is None or result.function != function:
            return False
        return result.notebook == self.notebook or not function.startswith(("__main__.", "cell"))

    # --- reading

    def read(self, head: Head) -> dict[str, object]:
        """Give the values of a result, fresh objects each time.

        Raises:
            IntegrityError: It is damaged, or what comes back is not what was put.
            CodecError: It cannot be decoded here.
            NotFoundError: It is gone.
            StoreError: The store, or the far one, cannot be read.
        """
        with self._lock, random_states.undisturbed():
            self._bring(head)
            manifest = self.repository.manifest_of(head)
            loader = Loader(self.repository, manifest, self.namespace, bind=False, strangers=False)
            values = {name: loader.value(name) for name in manifest.names}
            _must_be(values, {} if head.result is None else head.result.values)
        return values

    def _bring(self, head: Head) -> None:
        if self.far is None or any(each.id == head.id for each in self._here(head.lineage)):
            return
        with self.far.bringing(head):
            pass
        self.repository.refresh()

    # --- writing

    def put(self, key: str, values: Mapping[str, object], record: ResultRecord) -> str:
        """Keep a result; say why it could not be kept, or nothing.

        Raises nothing of which the store or the values are the cause: what was computed must be returned.

        Args:
            key: Of the call.
            values: By name.
            record: What is said of it, with the digests of the values.
        """
        try:
            with self._lock:
                return self._put(key, values, record)
        except (KeepstateError, OSError, MemoryError) as error:
            return str(error) or type(error).__name__

    def _put(self, key: str, values: Mapping[str, object], record: ResultRecord) -> str:
        save = self._save(key, values, record)
        tools = Tools(substitute=_itself, progress=_nobody_watches, stall_seconds=lambda: 0.0)
        with random_states.undisturbed():
            save.prepare(tools)
            if save.skipped:
                return "; ".join(dict.fromkeys(save.skipped.values()))
            if why := self._too_large(save.logical_bytes):
                return why
            saved = msgspec.msgpack.decode(save.write(tools), type=Saved)
        if saved.commit is None:
            return saved.trouble or "; ".join(saved.skipped.values()) or "nothing of it could be kept"
        self.repository.absorb(saved.commit)
        if saved.logical_bytes <= PROVEN_BYTES and (why := self._disproved(saved.commit.manifest)):
            self._clear([saved.commit.manifest])
            return why
        if self.far is not None:
            self.far.saved()
        return ""

    def _save(self, key: str, values: Mapping[str, object], record: ResultRecord) -> Save:
        occasion = Occasion(
            id=secrets.token_hex(10),
            project=self.project,
            member=self.member,
            notebook=RESULTS,
            lineage=key,
            sequence=self._next_sequence(key),
            parents={},
            restored_from="",
            created_at=self.clock.utc_now(),
            reason="manual",
            consistency="cell",
            started=self.clock.monotonic(),
            host=self.host,
            result=record,
        )
        return Save(
            occasion,
            values,
            namespace=self.namespace,
            repository=self.repository,
            known={},
            seed=secrets.randbits(64),
            clock=self.clock,
        )

    def _next_sequence(self, key: str) -> int:
        known = [*self._here(key), *(head for head in self._seen if head.lineage == key)]
        return 1 + max((head.sequence for head in known), default=0)

    def _too_large(self, nbytes: int) -> str:
        if self.budget_bytes is not None and nbytes * BUDGET_SHARE > self.budget_bytes:
            return f"{table.size(nbytes)} are more than half of the budget of {table.size(self.budget_bytes)}"
        room = self.repository.room(self.member)
        if room is not None and room.free_bytes - nbytes < FLOORS * room.floor_bytes:
            return (
                f"{table.size(nbytes)} would leave less on the disk than the state of the notebook may need"
                f" ({table.size(room.free_bytes)} are free)"
            )
        return ""

    def _disproved(self, manifest: Manifest) -> str:
        """Read back what was just put; say why it cannot be used."""
        try:
            self.read(manifest)
        except (KeepstateError, OSError) as error:
            return f"it does not come back as it was: {error}"
        return ""

    # --- clearing

    def clear(self, heads: Sequence[Head]) -> None:
        """Have these results used no more, here and wherever the far store is looked at once that is sent.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._lock:
            self._clear(heads)
        if self.far is not None:
            self.far.saved()

    def _clear(self, heads: Sequence[Head]) -> None:
        """Put a manifest behind each that says so: only a prune deletes, and a far store has copies."""
        newest: dict[str, Head] = {}
        for head in newest_first(heads):
            newest.setdefault(head.lineage, head)
        for key, head in newest.items():
            if not _is_usable(head):
                continue
            with self.repository.writer(
                self.member, project=self.project, notebook=RESULTS, lineage=key
            ) as writer:
                cleared = self._cleared(head)

                def build(written_bytes: int, cleared: Manifest = cleared) -> Manifest:
                    return msgspec.structs.replace(cleared, written_bytes=written_bytes)

                writer.commit(build)

    def _cleared(self, head: Head) -> Manifest:
        assert head.result is not None
        record = msgspec.structs.replace(head.result, cleared=True, values={}, inputs={}, libraries={})
        return Manifest(
            id=secrets.token_hex(10),
            project=self.project,
            member=self.member,
            notebook=RESULTS,
            lineage=head.lineage,
            sequence=self._next_sequence(head.lineage),
            parents={},
            created_at=self.clock.utc_now().isoformat(),
            reason="manual",
            consistency="cell",
            host=self.host,
            result=record,
            names={},
        )


def _must_be(values: Mapping[str, object], digests: Mapping[str, bytes]) -> None:
    digester = Digester(exact=False)
    try:
        found = {name: digester.add(name, values[name]) for name in sorted(values)}
    except NoKeyError as error:
        raise CodecError(f"whether it is what it was cannot be told: {error}") from error
    if found != dict(digests):
        wrong = sorted(name for name in found.keys() | digests if found.get(name) != digests.get(name))
        raise IntegrityError(f"{', '.join(wrong)} came back as something else")


def _is_usable(head: Head) -> bool:
    return head.result is not None and not head.result.cleared


def _itself(memory: memoryview) -> memoryview:
    return memory


def _nobody_watches(_name: str, _bytes_done: int) -> None:
    """The user's own thread does the work."""
