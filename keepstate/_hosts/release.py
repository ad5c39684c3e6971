"""The end of a machine: push a mounted drive, and give the machine back, where the host has calls for it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepstate._hosts.detect import Host


PUSH_SECONDS = 1800.0
"""How long Drive may take to upload what its mount holds: 15 GB at 8 MB/s."""


def push_drive() -> str | None:
    """Have Colab's mounted Drive upload all that was written, which unmounts it; give what stood in the way.

    Source: ``google.colab.drive.flush_and_unmount``; it asks no browser, and raises ``ValueError`` where the
    upload does not end in time.
    """
    try:
        drive = importlib.import_module("google.colab.drive")
        drive.flush_and_unmount(timeout_ms=int(PUSH_SECONDS * 1000))
    except Exception as error:  # noqa: BLE001 - the host's own code; the machine is kept then
        return f"Drive has not uploaded everything: {error}"
    return None


def release_machine(host: Host) -> bool:
    """Give it back, and say whether the host has such a call; Colab's ends this kernel.

    Source: ``google.colab.runtime.unassign``, as Colab's documentation recommends for the end of a run.
    """
    if host.name != "colab":
        return False
    try:
        runtime = importlib.import_module("google.colab.runtime")
    except ImportError:
        return False  # somebody says that this is Colab, and it has not Colab's modules
    runtime.unassign()
    return True
