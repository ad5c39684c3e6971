"""The far side of one session: what is kept there, how far the newest state has come, and bringing it back.

The repository of this machine is what the session saves to and restores from; here is what lies between it
and the place that outlives the machine. No network is ever waited for but in calls that the user has made.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base import table
from keepstate._model.manifest import RESULTS
from keepstate._session.options import LONGEST_LIMIT
from keepstate._transfer import Options as Times
from keepstate._transfer import Report, Transfer
from keepstate._transfer.errand import errand
from keepstate._transfer.folder import Folder
from keepstate._transfer.mirror import Mirror, whose
from keepstate.errors import IntegrityError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from keepstate._base.clock import Clock
    from keepstate._model.kernel import Kernel
    from keepstate._model.manifest import Head
    from keepstate._model.snapshot import Durability
    from keepstate._session.identity import Identity
    from keepstate._session.options import Options
    from keepstate._transfer.errand import Arriving, Errand
    from keepstate._transfer.mirror import Notebook
    from keepstate.backends import Address, Credentials

ASK_AGAIN_SECONDS = 15.0
"""While a call waits: each new wish has what failed tried again at once."""
STANDSTILL_SECONDS = 90.0
"""Without a byte that moved, a call that waits gives up; longer than a network is gone for a minute."""
_NEEDS_THE_USER = ("credentials", "full")
FETCH_SAID_BYTES = 8 << 20
"""What is brought from the far side is announced from so many bytes on: less is there before it is read."""


@dataclass(slots=True)
class FarSide:
    """What a session knows of its far store."""

    address: Address
    near: Path
    """Folder of the repository on this machine."""
    credentials: Credentials
    identity: Identity
    options: Options
    kernel: Kernel
    clock: Clock
    looked: bool = False
    """Whether it was seen what is there, in this session."""
    trouble: str | None = None
    """Why that, or bringing something from there, failed last; a sentence."""
    times: Times = field(default_factory=Times)
    _transfer: Transfer | None = None
    _seen: frozenset[str] = frozenset()
    """Snapshots that were there when it was looked last."""
    _sender_before: int = 0
    """Process whose report was there before this session's own began."""

    @property
    def notebook(self) -> tuple[str, str, str]:
        """Project, member and notebook."""
        return self.identity.project, self.identity.member, self.identity.notebook

    # -- what is there -------------------------------------------------------------------------------

    def look(self) -> None:
        """See what is kept there; where that fails, the reason stays in :attr:`trouble`."""
        try:
            with self._errand() as asking:
                asking.look()
        except StoreError as error:
            self.trouble = str(error)
        else:
            self.looked, self.trouble = True, None
            self._seen = frozenset(manifest.id for manifest in self.manifests())

    def manifests(self) -> list[Head]:
        """Give the snapshots of this notebook that were seen there last."""
        return Mirror.of(self.near).read(self.notebook)

    def look_for_results(self) -> str | None:
        """See which results of functions are kept there; say why that failed, and nothing if it did not."""
        try:
            with self._errand(self._results_of) as asking:
                asking.look()
        except StoreError as error:
            return str(error)
        return None

    def results(self) -> list[Head]:
        """Give the results of functions of this project that were seen there last."""
        return Mirror.of(self.near).read(self._results_of)

    @property
    def _results_of(self) -> tuple[str, str, str]:
        return self.identity.project, self.identity.member, RESULTS

    @contextmanager
    def bringing(self, manifest: Head, *, mend: bool = False) -> Iterator[Arriving]:
        """Bring a snapshot here, with all that it needs; at the end of the block it is.

        Args:
            manifest: The snapshot.
            mend: Whether what is damaged here is brought as well.

        Raises:
            StoreError: The far side fails.
            NotFoundError: It is not there any more.
        """
        said = False

        def progress(done: int, total: int) -> None:
            nonlocal said
            if total >= FETCH_SAID_BYTES:
                said = True
                self.kernel.progress(
                    f"keepstate: {table.size(done)} of {table.size(total)} from {self.address}"
                )

        try:
            with self._errand(whose(manifest)) as asking:
                arriving = asking.fetch(manifest.id, progress, mend=mend)
                yield arriving
                self.trouble = arriving.finish() or None
        except (StoreError, IntegrityError, NotFoundError) as error:
            self.trouble = str(error)
            raise
        finally:
            if said:
                self.kernel.progress(None)

    def _errand(self, notebook: Notebook | None = None) -> AbstractContextManager[Errand]:
        return errand(
            self.near,
            address=str(self.address),
            credentials=self.credentials,
            notebook=notebook or self.notebook,
            clock=self.clock,
        )

    # -- what goes there -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Start to send what is saved."""
        before = Folder.of(self.near).read_report()
        self._sender_before = 0 if before is None else before.pid
        self._transfer = Transfer.start(
            self.near,
            address=str(self.address),
            credentials=self.credentials,
            settings={
                "notebooks": [list(self.notebook), list(self._results_of)],
                "keep_last": self.options.keep_last,
                "budget_bytes": self.options.budget_bytes,
            },
            options=self.times,
            clock=self.clock,
        )

    def saved(self) -> None:
        """A snapshot was committed here."""
        if self._transfer is not None:
            self._transfer.poke()

    def flush(self, *, deadline_seconds: float) -> bool:
        """Have everything sent now, and wait until it is there; return whether it is.

        The wait ends before its time if nothing moves any more.
        """
        if self._transfer is None:
            return False
        until = self.clock.monotonic() + deadline_seconds
        moved, before = self.clock.monotonic(), self.report().sent_bytes
        while True:
            left = until - self.clock.monotonic()
            if self._flush(min(left, ASK_AGAIN_SECONDS)):
                return True
            now, report = self.clock.monotonic(), self.report()
            if report.sent_bytes != before:
                moved, before = now, report.sent_bytes
            if now >= until or report.state in _NEEDS_THE_USER or now - moved > STANDSTILL_SECONDS:
                return False

    def _flush(self, seconds: float) -> bool:
        assert self._transfer is not None

        def progress(report: Report) -> None:
            if report.error is not None:
                self.kernel.progress(f"keepstate: {report.error}; trying again")
            elif report.pending_bytes >= FETCH_SAID_BYTES:
                self.kernel.progress(f"keepstate: {table.size(report.pending_bytes)} to go to {self.address}")

        try:
            return self._transfer.flush(deadline_seconds=seconds, on_progress=progress)
        finally:
            self.kernel.progress(None)

    def hurry(self) -> None:
        """Have everything sent now, and wait for nothing."""
        if self._transfer is not None:
            self._transfer.hurry()

    def look_after(self) -> None:
        """See that the process which sends is alive; to be called now and then."""
        if self._transfer is not None:
            self._transfer.poke()

    def report(self) -> Report:
        """Say how the sending stands."""
        return Report(place=str(self.address)) if self._transfer is None else self._transfer.report()

    def levels(self) -> Mapping[str, Durability]:
        """Say which snapshots are there, and how sure that is; others are ``local``.

        Until the process that sends has seen for itself, what the look has found counts: a manifest appears
        there once all that it needs has been taken.
        """
        report = self.report()
        if self._has_been_there(report):
            return report.levels
        level: Durability = "queued" if self.address.is_folder else "verified"
        return {**dict.fromkeys(self._seen, level), **report.levels}

    def error(self, report: Report) -> str | None:
        """Say what does not work now: the sending, or else what the user has asked for last."""
        if report.error is not None:
            return report.error
        # Where nobody has looked since the store could not be reached, whoever sends knows better.
        return None if not self.looked and self._has_been_there(report) else self.trouble

    def _has_been_there(self, report: Report) -> bool:
        is_ours = report.pid not in (0, self._sender_before)
        return is_ours and report.requests > 0 and (bool(report.levels) or report.error is None)

    def needs_seconds(self) -> float:
        """Say how long what is pending will take, by what was measured; 0 where that is not known."""
        report = self.report()
        if not report.bytes_per_second:
            return 0.0
        return min(report.pending_bytes / report.bytes_per_second, LONGEST_LIMIT)

    def close(self) -> None:
        """Send no more than what is pending; the process that does so ends by itself."""
        if self._transfer is not None:
            self._transfer.close()
