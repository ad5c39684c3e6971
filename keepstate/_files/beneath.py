"""Open a file inside a folder, and nothing that a link would lead to.

A name that was a folder when it was listed may be a link when it is opened. So each step of the way is opened
from the one before, and none may be a link. The folder itself may be reached by links: the user named it.
"""

from __future__ import annotations

import os
import stat

_CAN_STEP = os.open in os.supports_dir_fd
_STEP = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that was put in its place must not hold us up
    | getattr(os, "O_BINARY", 0)
)


def open_beneath(top: str, relative: str) -> int:
    """Open the plain file at *relative* below *top* for reading and return its descriptor.

    Raises:
        OSError: It is not there, is no plain file, or a step of the way is a link.
    """
    descriptor = _open(top, relative.split("/")) if _CAN_STEP else os.open(os.path.join(top, relative), _FILE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{relative} is no plain file any more")
    return descriptor


def _open(top: str, names: list[str]) -> int:
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            below = os.open(name, _STEP, dir_fd=at)
            os.close(at)
            at = below
        return os.open(names[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
