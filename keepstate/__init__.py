"""keepstate: notebook sessions that survive.

Layers, top to bottom, each importing only what is below it (held by import-linter in ``make check``):

    __main__ · (_cli | testing) · _api · _notebook · _session · _results
    _snapshot | _files | _transfer
    _repository | _tracking | _capture
    backends | codecs | _hosts | _render
    _model · _base · errors
"""

from __future__ import annotations

from keepstate._api import (
    cache,
    diff,
    finish,
    get,
    load,
    rebuild,
    restore,
    snapshot,
    snapshots,
    start,
    status,
    stop,
    track,
    untrack,
    unwatch,
    watch,
)
from keepstate._model.diff import Change, Diff
from keepstate._model.rebuild import RebuildReport
from keepstate._model.snapshot import RestoreReport, Snapshot, Status
from keepstate.errors import (
    AlreadyThereError,
    AmbiguousError,
    CaptureError,
    CodecError,
    CredentialsError,
    FormatError,
    IdentityError,
    IntegrityError,
    InvalidInputError,
    KeepstateError,
    NotAStoreError,
    NotFoundError,
    NotKeptWarning,
    RebuildError,
    SessionError,
    StoreError,
    StoreFullError,
    UnavailableError,
    UntrackableError,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "AlreadyThereError",
    "AmbiguousError",
    "CaptureError",
    "Change",
    "CodecError",
    "CredentialsError",
    "Diff",
    "FormatError",
    "IdentityError",
    "IntegrityError",
    "InvalidInputError",
    "KeepstateError",
    "NotAStoreError",
    "NotFoundError",
    "NotKeptWarning",
    "RebuildError",
    "RebuildReport",
    "RestoreReport",
    "SessionError",
    "Snapshot",
    "Status",
    "StoreError",
    "StoreFullError",
    "UnavailableError",
    "UntrackableError",
    "cache",
    "diff",
    "finish",
    "get",
    "load",
    "rebuild",
    "restore",
    "snapshot",
    "snapshots",
    "start",
    "status",
    "stop",
    "track",
    "untrack",
    "unwatch",
    "watch",
]
