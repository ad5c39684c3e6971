"""How to take the picture: by a fork or by copying, and why; a policy that returns its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._capture import fork, stage
from keepstate._capture.arena import LIMIT_BYTES
from keepstate._capture.failures import ForkRefused, NotNow
from keepstate._capture.memory import MiB, read_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from keepstate._capture.conditions import Conditions
    from keepstate._capture.mappings import Range
    from keepstate._capture.watch import Limits
    from keepstate._capture.work import Taken, Work
    from keepstate._model.snapshot import Consistency

FORK_SECONDS_PER_BYTE = 18e-3 / (2 * MiB)
"""Of page tables: a GB of 4 KiB pages has 2 MiB of them and takes 18 ms here. An upper bound: a GB of huge
pages has as many set aside and takes 0.4 ms."""
FORK_SECONDS = 0.6e-3
"""For an empty process, with the pipes; measured here."""
COPY_BYTES_PER_SECOND = 8e9
"""Hashing and copying on the main thread; measured 22 and 27 GB/s here, less elsewhere."""
CHILD_BYTES = 32 * MiB
"""What a child takes for itself besides the page tables, the user's rewriting not counted. Measured: 10 MiB
for a short list, 21 to 28 MiB for 200 MiB of arrays, which two threads compress. Encoding Python objects
takes more (380 MiB for a million texts), but then the child is the first to be killed, and costs nobody
else."""
GROUP_ROOM_BYTES = 128 * MiB
"""Besides all that this process has: what a child may allocate where one kill takes both of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way of taking the picture."""

    strategy: Literal["fork", "stage", "none"]
    reason: str
    """A sentence for the snapshot, or for the error if there is no way."""
    level: Consistency

    def take(
        self,
        work: Work,
        *,
        copy_ranges: Iterable[Range] = (),
        descriptors: Collection[int] = (),
        limits: Limits | None = None,
        since: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Taken:
        """Take the picture on the calling thread.

        Args:
            work: What is done with it.
            copy_ranges: Memory that must be copied first, as :class:`NeedsCopy` named it.
            descriptors: Of the user's files: a child closes them, and gives their numbers to nothing else.
            limits: How long a child may stand still.
            since: When the calling thread began to be held, by *clock*; ``None``: now.
            clock: Measures the stall.

        Raises:
            NotNow: There is no way at this moment.
            CaptureError: It failed.
        """
        if self.strategy == "none":
            moment = "now" if self.level == "cell" else "inside a running cell"
            raise NotNow(f"no picture can be taken {moment}: {self.reason}")
        if self.strategy == "stage":
            return stage.take(work, reason=self.reason, since=since, clock=clock)
        try:
            return fork.take(
                work,
                reason=self.reason,
                copy_ranges=copy_ranges,
                descriptors=descriptors,
                limits=limits,
                since=since,
                clock=clock,
            )
        except ForkRefused as error:
            if self.level != "cell":
                raise
            return stage.take(work, reason=str(error), since=since, clock=clock)


def choose(conditions: Conditions) -> Choice:
    """Decide from *conditions* alone.

    >>> from keepstate._capture.conditions import Conditions
    >>> choose(Conditions(level="cell", platform="darwin")).strategy
    'stage'
    >>> choose(Conditions(level="statement", numpy="2.3.2")).strategy
    'none'
    """
    hindrance = _hindrance(conditions)
    if hindrance is not None:
        copies = conditions.level == "cell" and _can_copy(conditions)
        return Choice("stage" if copies else "none", hindrance, conditions.level)
    if conditions.mode == "auto" and conditions.level == "cell":
        if conditions.gpu:
            return Choice("stage", "a forked process could not read the memory of the GPU", conditions.level)
        copying, forking = _copy_seconds(conditions), _fork_seconds(conditions)
        if copying is not None and copying < forking:
            reason = f"copying takes {copying * 1e3:.1f} ms, a fork {forking * 1e3:.1f} ms"
            return Choice("stage", reason, conditions.level)
    forking = _fork_seconds(conditions) * 1e3
    return Choice("fork", f"a fork takes {forking:.1f} ms at most", conditions.level)


def _hindrance(conditions: Conditions) -> str | None:
    """Say why a fork is out, or ``None``."""
    if conditions.mode == "stage":
        return "forking is excluded by capture='stage'"
    if conditions.platform != "linux":
        return f"a fork is not safe on {conditions.platform}"
    if conditions.numpy is not None and _locks_up_parent(conditions.numpy):
        return f"numpy {conditions.numpy} can lock up after a fork (numpy issue 30092): 2.3.5 does not"
    if conditions.waits_for_children:
        return "a thread or handler waits for any child process and would be handed ours"
    return _memory_hindrance(conditions)


def _memory_hindrance(conditions: Conditions) -> str | None:
    if conditions.available_bytes is None:
        return None
    needed = needed_bytes(
        resident_bytes=conditions.resident_bytes,
        page_table_bytes=conditions.page_table_bytes,
        whole_group=conditions.kills_whole_group,
    )
    if conditions.available_bytes >= needed:
        return None
    return (
        f"{conditions.available_bytes // MiB} MiB of memory are free and {needed // MiB} MiB may be needed"
        + (", and one kill would take the whole container" if conditions.kills_whole_group else "")
    )


def _can_copy(conditions: Conditions) -> bool:
    """Whether a copy of all that is tracked fits; it is made in the user's process, which must not die."""
    copied = min(conditions.logical_bytes or LIMIT_BYTES, LIMIT_BYTES)
    return conditions.available_bytes is None or conditions.available_bytes >= copied + CHILD_BYTES


def needed_bytes(*, resident_bytes: int, page_table_bytes: int, whole_group: bool) -> int:
    """Say how much memory must be free for a fork.

    While the child lives, the user may rewrite every page, so this process may come to need its size once
    more. Where a kill takes the child alone, it is killed as soon as that hurts, and room for its beginning
    is enough.
    """
    if whole_group:
        return resident_bytes + page_table_bytes + GROUP_ROOM_BYTES
    return page_table_bytes + CHILD_BYTES


def read_needed_bytes() -> int:
    """Read how much memory must be free for a fork at this moment."""
    memory = read_memory()
    return needed_bytes(
        resident_bytes=memory.resident,
        page_table_bytes=memory.page_tables,
        whole_group=memory.whole_group,
    )


def _locks_up_parent(numpy: str) -> bool:
    """2.3.0 to 2.3.4 bring an OpenBLAS whose fork handler can lock up the parent's next call."""
    parts = numpy.split(".")
    patch = re.match(r"\d+", parts[2]) if len(parts) > 2 else None
    return parts[:2] == ["2", "3"] and (patch is None or int(patch[0]) <= 4)


def _copy_seconds(conditions: Conditions) -> float | None:
    if conditions.encode_seconds is None or conditions.logical_bytes > LIMIT_BYTES:
        return None
    return conditions.encode_seconds + conditions.logical_bytes / COPY_BYTES_PER_SECOND


def _fork_seconds(conditions: Conditions) -> float:
    return FORK_SECONDS + conditions.page_table_bytes * FORK_SECONDS_PER_BYTE
