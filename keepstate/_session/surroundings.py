"""What a session finds before it begins: the host, and the settings of the project."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from keepstate._base.mounts import is_mounted_elsewhere
from keepstate._hosts import Host, detect_host
from keepstate._session.advice import DRIVE_POINTS
from keepstate._session.options import Options, read_options, read_store
from keepstate._session.settings import Settings, read_settings
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstate.backends import Address


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Both, as they are in this process and this folder."""

    settings: Settings
    host: Host

    def options(self, given: Mapping[str, object]) -> Options:
        """Check the arguments of a call, completed by the settings file.

        Raises:
            InvalidInputError: One of them is out of its range.
        """
        return read_options(self.settings.completing(given), offers=self._offers(given))

    def names(self, given: Mapping[str, object]) -> dict[str, str | None]:
        """Give project, member and notebook, as far as the call, the settings or the host name them."""
        said = self.settings.completing(given)
        known = {"project": None, "member": self.host.member, "notebook": self.host.notebook}
        return {what: cast("str | None", said.get(what)) or name for what, name in known.items()}

    def _offers(self, given: Mapping[str, object]) -> list[str]:
        """Give the host's folders; a mounted one only where it need not be guessed whose state it is."""
        known = all(self.names(given).values())
        return [offer for offer in self.host.profile.offers if _counts(offer, known=known)]

    def tracked(self, given: Mapping[str, object]) -> list[object]:
        """Give what shall be tracked: names, and objects that a variable holds.

        Raises:
            InvalidInputError: The settings file gives something else.
        """
        track = self.settings.completing(given)["track"]
        if isinstance(track, str):
            return [track]
        if not isinstance(track, Iterable):
            raise InvalidInputError(f"track={track!r}: give a name, or a list of names")
        return list(track)

    def names_store(self, given: object) -> bool:
        """Whether the settings file, and nobody else, says where the store is."""
        said = self.settings.completing({"store": given})["store"]
        return given is None and said is not None

    def store(self, given: str | None, named: Mapping[str, str | None]) -> Address:
        """Find the store that ``start(store=given)`` would use here.

        Args:
            given: The argument.
            named: ``project``, ``member`` and ``notebook``, as far as the call would name them.

        Raises:
            InvalidInputError: It is no path of a folder, and no address.
        """
        return read_store(self.settings.completing({"store": given})["store"], self._offers(named))


def _counts(offer: str, *, known: bool) -> bool:
    if is_mounted_elsewhere(Path(offer).expanduser()):
        return known
    return not offer.startswith(DRIVE_POINTS)  # while Drive is not mounted, what is there is any other folder


def look_around(namespace: Mapping[str, object]) -> Surroundings:
    """Look; *namespace* are the user's globals.

    Raises:
        InvalidInputError: ``KEEPSTATE_HOST`` or the settings file is wrong.
    """
    settings = read_settings(Path.cwd())
    return Surroundings(settings, detect_host(os.environ, namespace, chosen=settings.host))
