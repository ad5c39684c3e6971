"""Every error that keepstate raises, grouped by what a caller would do about it.

    KeepstateError                  never raised itself
    ├── InvalidInputError           (ValueError) change the call
    │   └── UntrackableError        give a name, or name=object
    ├── NotFoundError               (KeyError) there is no such name or snapshot
    ├── AmbiguousError              (ValueError) more than one fits: say more
    ├── SessionError                (RuntimeError) no session runs, or one runs with other arguments
    ├── IdentityError               (ValueError) say whose state this is
    ├── CaptureError                (RuntimeError) no picture of the objects could be taken
    ├── RebuildError                (RuntimeError) a plan of rebuild() cannot be run here, or twice
    ├── CodecError                  one object cannot be turned into bytes, or back
    ├── TrustError                  it would run code, and only data was asked for
    ├── StoreError                  (OSError) the store cannot be used as it is
    │   ├── StoreFullError          free some space
    │   ├── NotAStoreError          this place holds something else
    │   ├── UnavailableError        wait: the same call may succeed later
    │   ├── CredentialsError        sign in, or give another key
    │   └── AlreadyThereError       an object of that name exists
    ├── FormatError                 written by a newer keepstate: upgrade
    └── IntegrityError              bytes are not what was written; an older snapshot may be whole

A message says what happened, to which name, and what to do next. ``kind`` is a stable word for programs.
The guard in the background raises none of these; it puts the newest one in ``status().error``.
"""

from __future__ import annotations


class KeepstateError(Exception):
    """The root of all errors of this package; only its subclasses are raised."""

    kind = "keepstate"


class InvalidInputError(KeepstateError, ValueError):
    """An argument is outside its range or of the wrong type."""

    kind = "invalid-input"


class UntrackableError(InvalidInputError):
    """``track`` was given an object that stands for no name, or for a value that anything could be."""

    kind = "untrackable"


class NotFoundError(KeepstateError, KeyError):
    """There is no such name or snapshot."""

    kind = "not-found"

    # KeyError shows the repr of its argument; a sentence should be shown as a sentence.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class AmbiguousError(KeepstateError, ValueError):
    """More than one snapshot fits what was asked for."""

    kind = "ambiguous"


class SessionError(KeepstateError, RuntimeError):
    """No session runs where one is needed, or one runs with other arguments."""

    kind = "session"


class IdentityError(KeepstateError, ValueError):
    """On a shared store it must be said whose state this is, and it was not."""

    kind = "identity"


class CaptureError(KeepstateError, RuntimeError):
    """No consistent picture of the tracked objects could be taken."""

    kind = "capture"


class RebuildError(KeepstateError, RuntimeError):
    """A plan to run cells again cannot be run at this place, or has been run already."""

    kind = "rebuild"


class CodecError(KeepstateError):
    """One object cannot be turned into bytes, or its bytes cannot be turned back."""

    kind = "codec"


class TrustError(KeepstateError):
    """A kept value runs code when it is read, and only data was asked for."""

    kind = "trust"


class StoreError(KeepstateError, OSError):
    """The store cannot be used: not there, not writable, or an operation on it failed."""

    kind = "store"


class StoreFullError(StoreError):
    """The disk or the quota behind the store is used up."""

    kind = "store-full"


class NotAStoreError(StoreError):
    """The place named as the store is a file, or holds something that keepstate did not write."""

    kind = "not-a-store"


class UnavailableError(StoreError):
    """The far side cannot be reached or is too busy; the same call may succeed later."""

    kind = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """How long the far side asked to wait; ``None``: it did not say."""


class CredentialsError(StoreError):
    """The far side does not accept who we are; nothing but other credentials helps."""

    kind = "credentials"


class AlreadyThereError(StoreError):
    """An object of that name exists, and was not to be replaced."""

    kind = "already-there"


class FormatError(KeepstateError):
    """The repository was written in a format newer than this version reads."""

    kind = "format"


class IntegrityError(KeepstateError):
    """Bytes read back are not the bytes that were written."""

    kind = "integrity"


class NotKeptWarning(UserWarning):
    """A result was not kept, or a kept one could not be used: the function runs instead. Never an error."""
