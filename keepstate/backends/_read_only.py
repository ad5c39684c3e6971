"""A backend that can only be read: a teammate's store, or one that is looked at and not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstate.backends._names import check_name
from keepstate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstate.backends._protocol import Backend, Item, Properties


class ReadOnly:
    """The same place, to which nothing is ever written and from which nothing is removed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        return f"ReadOnly({self._backend!r})"

    @property
    def properties(self) -> Properties:
        """Those of the place."""
        return self._backend.properties

    @property
    def place(self) -> str:
        """Where it is."""
        return self._backend.place

    def put(self, name: str, data: bytes | bytearray | memoryview, *, replace: bool = False) -> None:  # noqa: ARG002 - the Protocol's
        """Refuse.

        Raises:
            StoreError: Always.
        """
        raise StoreError(
            f"{self.place} was opened for reading only, and {check_name(name)!r} was not written: "
            "open it for writing"
        )

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> memoryview:
        """Read a range of an object."""
        return self._backend.get(name, start=start, length=length)

    def stat(self, name: str) -> Item:
        """Look at one object."""
        return self._backend.stat(name)

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Give every object."""
        return self._backend.list(prefix)

    def delete(self, name: str) -> None:
        """Refuse, also where there is nothing to delete.

        Raises:
            StoreError: Always.
        """
        raise StoreError(
            f"{self.place} was opened for reading only, and {check_name(name)!r} was not deleted: "
            "open it for writing"
        )

    def close(self) -> None:
        """Close the place."""
        self._backend.close()
