"""What is known of each host, read from the table beside this module (``profiles.toml``)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import msgspec

Certainty = Literal["certain", "likely", "folklore", "guess", "yours"]
"""How sure a number is; *yours*: you gave it."""
Activity = Literal["cells", "server", "processor", "browser"]
"""What a host takes for activity: a cell, the Jupyter server's clock, load, or an open tab."""

Seconds = Annotated[float, msgspec.Meta(ge=1)]


class Idle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time without activity after which the host takes the machine."""

    seconds: Seconds
    certainty: Certainty
    source: str


class Lifetime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time after which the host takes the machine, whatever is done with it."""

    seconds: Seconds
    certainty: Certainty
    source: str
    begins: Literal["machine"] = "machine"
    """Counted from the birth of process 1: the boot time of a container is that of its machine."""


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table."""

    name: str
    """As ``status().host`` and ``KEEPSTATE_HOST`` say it."""
    variant: str = ""
    """Which of several kinds of that host; what stands after the slash in ``colab/pro``."""
    title: str
    marks: tuple[str, ...] = ()
    """Any of them tells this host; the table explains how they are written."""
    counts: Activity = "cells"
    idle: Idle | None = None
    lifetime: Lifetime | None = None
    offers: tuple[str, ...] = ()
    """Folders for the default store, best first."""
    persists: str

    @property
    def key(self) -> str:
        """Name and variant, as the user chooses it."""
        return f"{self.name}/{self.variant}" if self.variant else self.name


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: list[Profile]


@cache
def profiles() -> tuple[Profile, ...]:
    """Read the table, in the order in which hosts are looked for; the last one fits everywhere."""
    text = files("keepstate._hosts").joinpath("profiles.toml").read_text(encoding="utf-8")
    return tuple(msgspec.convert(tomllib.loads(text), _Table).host)


def profile_named(wanted: str) -> Profile | None:
    """Find a row by ``name/variant``, or the general one of that ``name``, which comes after the special."""
    rows = profiles()
    exact = [row for row in rows if row.key == wanted]
    general = [row for row in rows if row.name == wanted and row.marks]
    return next(iter([*exact, *reversed(general)]), None)
