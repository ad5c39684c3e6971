"""The key of a call: one digest of all that its result may depend on."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from keepstate._capture import random_states
from keepstate._results.digest import Digester

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_VERSION = 2
"""Counted up when keys are made of something else: then nothing that was kept before is found."""
KEY_DIGITS = 48
"""Of the key, in hex: 192 bits. As the name of a lineage it is not cut off."""
PART_BYTES = 16
"""Of the digests of inputs that are kept, only to say what has changed."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a call was given, and the key that follows."""

    key: str
    digester: Digester
    """With all that was looked at; it keeps that alive."""

    @property
    def parts(self) -> dict[str, bytes]:
        """What was looked at → the beginning of its digest."""
        return {label: digest[:PART_BYTES] for label, digest in self.digester.inputs.items()}

    @classmethod
    def of_call(cls, name: str, function: object, arguments: Mapping[str, object]) -> Inputs:
        """Look at a function, all that it refers to, and its arguments.

        Raises:
            NoKeyError: The result depends on something that cannot be told reliably.
        """
        digester = Digester()
        digester.add(CODE, function)
        for argument, value in arguments.items():
            digester.add(f"argument {argument}", value)
        return cls(key_of(name, digester), digester)

    def changed_to(self, other: Mapping[str, bytes]) -> list[str]:
        """Say what is not as in *other*, by name; what the one has and the other has not is left out."""
        return changed(self.parts, other)


CODE = "the code"


def key_of(name: str, digester: Digester) -> str:
    """Make the key of what was looked at.

    Args:
        name: Of the function, with its module.
        digester: With all that goes into the call, in order.

    Raises:
        NoKeyError: The result depends on something that cannot be told reliably.
    """
    digester.add_asked()
    if digester.may_hide_draws:
        digester.add("the global random numbers", random_states.read())
    made = blake3()
    python = f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}"
    for part in (str(KEY_VERSION), python, sys.byteorder, name):
        made.update(part.encode("utf-8", "surrogatepass") + b"\0")
    for label, digest in digester.inputs.items():
        made.update(label.encode("utf-8", "surrogatepass") + b"\0" + digest)
    return made.hexdigest()[:KEY_DIGITS]


def changed(now: Mapping[str, bytes], before: Mapping[str, bytes]) -> list[str]:
    """Say what differs, by name."""
    return [label for label, digest in now.items() if before.get(label, digest) != digest]
