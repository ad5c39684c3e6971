"""The one error of this layer that is not about bytes or disks: somebody else was quicker."""

from __future__ import annotations

from keepstate.errors import StoreError


class ConflictError(StoreError):
    """The store changed under a save or a prune; nothing was lost, and it may be tried again at once.

    A save is tried again without what it knew of the last snapshot (``known={}``).
    """

    kind = "conflict"
    retryable = True
