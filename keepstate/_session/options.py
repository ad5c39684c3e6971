"""The arguments of ``start()``, checked once and kept as one value."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

RestoreMode = Literal["auto", "eager", "lazy", "off"]
CaptureMode = Literal["auto", "fork", "stage"]

SHORTEST_INTERVAL = 0.1
"""Seconds. A save takes tens of milliseconds of another core; more often than this it never rests."""
LONGEST_INTERVAL = 7 * 86400.0
LONGEST_WAIT_FOR_SAFE_POINT = 30.0
"""Seconds : after this a picture at any moment is better than none."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a session guards. Two calls of ``start()`` mean the same if these are equal."""

    project: str | None
    store: Path
    member: str | None
    notebook: str | None
    restore: RestoreMode
    interval: float
    """Seconds between two timed saves."""
    idle_seconds: float | None
    lifetime_seconds: float | None
    capture: CaptureMode
    """Whether pictures may be taken by fork, by copying, or by whichever costs less."""
    keep_last: int | None
    """Prune after saving so that so many snapshots of this notebook stay; ``None``: only when asked."""

    @property
    def safe_point_seconds(self) -> float:
        """How long to wait inside a cell for a safe point."""
        return min(self.interval / 2, LONGEST_WAIT_FOR_SAFE_POINT)


def read_options(
    *,
    project: str | None,
    store: str | os.PathLike[str] | None,
    member: str | None,
    notebook: str | None,
    restore: str,
    interval: float,
    limits: Mapping[str, float | None] | None,
    policy: Mapping[str, object],
) -> Options:
    """Check the arguments of ``start()``.

    Raises:
        InvalidInputError: One of them is out of its range; the message names it and the range.
    """
    for what, name in (("project", project), ("member", member), ("notebook", notebook)):
        if name is not None and not (_is_text(name) and name.strip()):
            raise InvalidInputError(f"{what}={name!r}: give a text that is not empty, or leave it out")
    idle, lifetime = _limits(limits or {})
    unknown = set(policy) - {"capture", "keep_last"}
    if unknown:
        raise InvalidInputError(
            f"start() has no argument {', '.join(sorted(unknown))}: the policies are capture and keep_last"
        )
    return Options(
        project=project,
        store=read_store(store),
        member=member,
        notebook=notebook,
        restore=cast("RestoreMode", _choice("restore", restore, get_args(RestoreMode))),
        interval=_seconds("interval", interval, SHORTEST_INTERVAL, LONGEST_INTERVAL),
        idle_seconds=idle,
        lifetime_seconds=lifetime,
        capture=cast("CaptureMode", _choice("capture", policy.get("capture", "auto"), get_args(CaptureMode))),
        keep_last=_keep_last(policy.get("keep_last")),
    )


def read_store(store: str | os.PathLike[str] | None) -> Path:
    """Find the store: the argument, else ``KEEPSTATE_STORE``, else ``~/.keepstate``.

    Raises:
        InvalidInputError: It is not the path of a folder on this machine.
    """
    given = store if store is not None else os.environ.get("KEEPSTATE_STORE") or "~/.keepstate"
    text = os.fspath(given) if _is_text(given) or isinstance(given, os.PathLike) else ""
    if not text:
        raise InvalidInputError(f"store={given!r}: give the path of a folder")
    if "://" in text and not text.startswith("file://"):
        raise InvalidInputError(f"store={text!r}: this version keeps state in a folder; give its path")
    return Path(text.removeprefix("file://")).expanduser().absolute()


def _is_text(value: object) -> bool:
    return isinstance(value, str)  # whatever the annotations say, callers of start() are people


def _limits(limits: Mapping[str, float | None]) -> tuple[float | None, float | None]:
    unknown = set(limits) - {"idle_seconds", "lifetime_seconds"}
    if unknown:
        raise InvalidInputError(
            f"limits has no {', '.join(sorted(map(str, unknown)))}: use idle_seconds and lifetime_seconds"
        )

    def read(what: str) -> float | None:
        value = limits.get(what)
        return None if value is None else _seconds(f"limits[{what!r}]", value, 1.0, math.inf)

    return read("idle_seconds"), read("lifetime_seconds")


def _seconds(what: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        bound = f"{least:g} or more" if most == math.inf else f"between {least:g} and {most:g}"
        raise InvalidInputError(f"{what}={value!r}: give seconds, {bound}")
    return float(value)


def _choice(what: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(f"{what}={value!r}: use one of {', '.join(map(repr, choices))}")
    return value


def _keep_last(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"keep_last={value!r}: give a whole number, 1 or more")
    return value
