"""From an address to the backend that speaks with that place. What each needs is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from keepstate._base.clock import Clock
    from keepstate.backends._address import Address
    from keepstate.backends._credentials import Credentials
    from keepstate.backends._protocol import Backend


def open_backend(address: Address, credentials: Credentials, *, clock: Clock = SYSTEM_CLOCK) -> Backend:
    """Give the backend for a place; a folder counts as mounted, and is only ever touched by a helper process.

    One call of it is one attempt: :class:`Retrying` goes around it where that shall be patient. Nothing is
    asked of the place yet.

    Args:
        address: Of the place.
        credentials: What it wants to see.
        clock: For waits and ages.

    Raises:
        CredentialsError: It wants some that are not there.
        InvalidInputError: The address has options that do not fit together.
    """
    if address.is_folder:
        from keepstate.backends._mounted import open_mounted

        return open_mounted(address.path, clock=clock)
    if address.scheme == "gdrive":
        from keepstate.backends._drive import open_drive

        return open_drive(address, credentials, clock=clock)
    from keepstate.backends._object_store import open_object_store

    return open_object_store(address, credentials)
