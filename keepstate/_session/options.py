"""The arguments of ``start()``, checked once and kept as one value."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from keepstate._base.mounts import is_mounted_elsewhere
from keepstate._base.sizes import read_size
from keepstate._session.notify_target import Target, read_notify
from keepstate.backends import read_address
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstate.backends import Address

RestoreMode = Literal["auto", "eager", "lazy", "off"]
CaptureMode = Literal["auto", "fork", "stage"]

SHORTEST_INTERVAL = 0.1
"""Seconds. A save takes tens of milliseconds of another core; more often than this it never rests."""
LONGEST_INTERVAL = 7 * 86400.0
LONGEST_LIMIT = 10 * 365 * 86400.0
"""Seconds. A machine that lives for longer has no limit."""
LONGEST_WAIT_FOR_SAFE_POINT = 30.0
"""Seconds : after this a picture at any moment is better than none."""

DEFAULTS: Mapping[str, object] = {
    "project": None,
    "store": None,
    "member": None,
    "notebook": None,
    "track": (),
    "restore": "auto",
    "interval": 60.0,
    "limits": None,
}
"""What ``start()`` gets where an argument is left out; one that is given like that counts as left out."""
POLICIES = frozenset({"budget", "capture", "dirty_pages", "keep_last", "notify"})
"""Keyword arguments of ``start()`` beyond those that it names."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a session guards. Two calls of ``start()`` mean the same if these are equal."""

    project: str | None
    store: Address
    member: str | None
    notebook: str | None
    restore: RestoreMode
    interval: float
    """Seconds between two timed saves."""
    limits: Mapping[str, float | None]
    """``idle_seconds`` and ``lifetime_seconds``, where the user knows them better than the host's profile."""
    capture: CaptureMode
    """Whether pictures may be taken by fork, by copying, or by whichever costs less."""
    keep_last: int | None
    """Prune after every save so that so many snapshots of this notebook stay; ``None``: by their age."""
    budget_bytes: int | None = None
    """What this member may take at the store; ``None``: what the disk allows."""
    notify: Target | None = None
    """Where to send messages; ``None``: nowhere."""
    dirty_pages: bool = True
    """Whether the kernel's record of written pages is used, where it keeps one."""

    @property
    def safe_point_seconds(self) -> float:
        """How long to wait inside a cell for a safe point."""
        return min(self.interval / 2, LONGEST_WAIT_FOR_SAFE_POINT)


def read_options(arguments: Mapping[str, Any], *, offers: Sequence[str] = ()) -> Options:
    """Check the arguments of ``start()``, policies among them.

    Args:
        arguments: Name → value; what is missing has its default.
        offers: Folders that the host has for a store, best first.

    Raises:
        InvalidInputError: One of them is out of its range; the message names it and the range.
    """
    if unknown := sorted(arguments.keys() - DEFAULTS.keys() - POLICIES):
        raise InvalidInputError(
            f"start() has no argument {', '.join(unknown)}: the policies are {', '.join(sorted(POLICIES))}"
        )
    given = {**DEFAULTS, **arguments}
    return Options(
        project=_name("project", given["project"]),
        store=read_store(given["store"], offers),
        member=_name("member", given["member"]),
        notebook=_name("notebook", given["notebook"]),
        restore=cast("RestoreMode", _choice("restore", given["restore"], get_args(RestoreMode))),
        interval=_seconds("interval", given["interval"], SHORTEST_INTERVAL, LONGEST_INTERVAL),
        limits=read_limits(given["limits"]),
        capture=cast("CaptureMode", _choice("capture", given.get("capture", "auto"), get_args(CaptureMode))),
        keep_last=_keep_last(given.get("keep_last")),
        budget_bytes=_budget(given.get("budget")),
        notify=read_notify(given.get("notify") or os.environ.get("KEEPSTATE_NOTIFY") or None),
        dirty_pages=_yes_or_no("dirty_pages", given.get("dirty_pages", True)),
    )


def read_store(store: object, offers: Sequence[str] = ()) -> Address:
    """Find the store: as given, else ``KEEPSTATE_STORE``, else what the host offers, else ``~/.keepstate``.

    Args:
        store: The argument, or what a settings file says.
        offers: Folders, best first; one counts if its parent is there and can be written.

    Raises:
        InvalidInputError: It is neither the path of a folder nor an address that this version knows.
    """
    given = store if store is not None else os.environ.get("KEEPSTATE_STORE") or _offered(offers)
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else ""
    if not text:
        raise InvalidInputError(f"store={given!r}: give the path of a folder, or an address")
    return read_address(text)


def _offered(offers: Sequence[str]) -> str:
    return next(filter(_is_offer, offers), "~/.keepstate")


def _is_offer(offer: str) -> bool:
    """Say whether a folder can hold a store; a mounted one is not touched, because it may hang."""
    path = Path(offer).expanduser()
    return is_mounted_elsewhere(path) or os.access(path.parent, os.W_OK)


def _name(what: str, name: object) -> str | None:
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InvalidInputError(f"{what}={name!r}: give a text that is not empty, or leave it out")
    return name


def read_limits(limits: object) -> Mapping[str, float | None]:
    """Check limits that a user gave; ``None`` as a value: there is no such limit.

    Raises:
        InvalidInputError: One of them is out of its range, or is no limit.
    """
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise InvalidInputError(
            f"limits={limits!r}: give a dictionary with idle_seconds and lifetime_seconds"
        )
    unknown = set(limits) - {"idle_seconds", "lifetime_seconds"}
    if unknown:
        raise InvalidInputError(
            f"limits has no {', '.join(sorted(map(str, unknown)))}: use idle_seconds and lifetime_seconds"
        )
    return {
        what: None
        if value is None or value == math.inf
        else _seconds(f"limits[{what!r}]", value, 1.0, LONGEST_LIMIT)
        for what, value in limits.items()
    }


def _seconds(what: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        bound = f"{least:g} or more" if most == math.inf else f"between {least:g} and {most:g}"
        raise InvalidInputError(f"{what}={value!r}: give seconds, {bound}")
    return float(value)


def _choice(what: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(f"{what}={value!r}: use one of {', '.join(map(repr, choices))}")
    return value


def _yes_or_no(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"{what}={value!r}: use True or False")
    return value


def _keep_last(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"keep_last={value!r}: give a whole number, 1 or more")
    return value


def _budget(value: object) -> int | None:
    try:
        return None if value is None else read_size(value)
    except ValueError as error:
        raise InvalidInputError(f"budget={error}") from error
