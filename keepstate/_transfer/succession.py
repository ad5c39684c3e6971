"""Which process may transfer: the one whose session began last, and never two at a time.

A new session brings credentials that are fresh, and perhaps a newer version of this package, so its process
asks the one that runs to step down; that one finishes the request in hand. Only where somebody still needs
another place than ours is it left alone: then ours waits until it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from keepstate._transfer.folder import Claim
from keepstate._transfer.lock import holders_word

if TYPE_CHECKING:
    from keepstate._base.clock import Clock, Flag
    from keepstate._transfer.folder import Folder
    from keepstate._transfer.lock import Lock


def wait_for_turn(
    folder: Folder, lock: Lock, mine: Claim, *, stop: Flag, look_seconds: float, clock: Clock
) -> bool:
    """Return ``True`` once *lock* is ours, ``False`` when somebody else cares for what we would have.

    Raises:
        OSError: The folder cannot be used.
    """
    word = msgspec.json.encode(mine)
    asked = False
    try:
        while not stop.is_set():
            if lock.take(word):
                return True
            others = folder.successors()
            if (running := holder(folder)) is not None:
                others.append(running)
            if any(other.address == mine.address and other.is_later_than(mine) for other in others):
                return False
            if is_needed_elsewhere(folder, mine):
                if not any(one.id == mine.session and one.process.lives() for one in folder.sessions()):
                    return False
            elif not asked:
                folder.put(mine)
                asked = True
            clock.wait(stop, look_seconds)
        return False
    finally:
        if asked:
            folder.take_back(mine)


def holder(folder: Folder) -> Claim | None:
    """Give the process that has the lock; ``None`` where it has not said so yet, or is gone."""
    claim = newest_holder(folder)
    return claim if claim is not None and claim.process.lives() else None


def newest_holder(folder: Folder) -> Claim | None:
    """Give the process that took the lock last, dead or alive."""
    try:
        return msgspec.json.decode(holders_word(folder.lock), type=Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_needed_elsewhere(folder: Folder, mine: Claim) -> bool:
    """Whether a living session wants its snapshots at another place than ours."""
    return any(one.address != mine.address and one.process.lives() for one in folder.sessions())


def must_step_down(folder: Folder, mine: Claim) -> bool:
    """Whether a later process waits for our turn to end."""
    return any(one.is_later_than(mine) for one in folder.successors())
