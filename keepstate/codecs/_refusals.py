"""Why something could not be kept, in a sentence that a user understands."""

from __future__ import annotations

import re

_CANNOT_PICKLE = re.compile(r"cannot pickle '?([\w. ]+?)'? (?:object|instance)s?")
_KNOWN = {
    "_thread.lock": "a lock",
    "_thread.RLock": "a lock",
    "lock": "a lock",
    "socket": "a network connection",
    "generator": "a running generator",
    "async_generator": "a running generator",
    "coroutine": "a coroutine",
    "sqlite3.Connection": "a database connection",
    "sqlite3.Cursor": "a database cursor",
    "_asyncio.Task": "a running task",
    "_asyncio.Future": "a future of a running task",
    "frame": "a running frame",
    "traceback": "a traceback",
    "mmap.mmap": "a memory-mapped file",
    "_queue.SimpleQueue": "a queue between threads",
    "weakref.ReferenceType": "a weak reference",
    "select.epoll": "a network selector",
    "PyCapsule": "a pointer of a C library",
}


def type_name(value: object) -> str:
    """Return the qualified name of the type of *value*; built-in ones without their module.

    >>> type_name([]), type_name(re.compile(""))
    ('list', 're.Pattern')
    """
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line of at most 300 characters."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001
        text = ""  # the error's own __str__ fails: its type still says something
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:300]


def refusal(value: object, error: BaseException) -> str:
    """Say why *value* cannot be kept."""
    return f"{type_name(value)} cannot be kept: {_reason(error)}"


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RecursionError):
            return "its parts are nested too deeply"
        cause = cause.__cause__
    found = _CANNOT_PICKLE.search(one_line(error))
    if found is not None and isinstance(error, TypeError):
        name = found[1]
        return f"it holds {_KNOWN.get(name, f'an object of type {name}')}, which lives only in this process"
    if type(error).__name__ == "PicklingError":
        return " ".join(str(error).split())[:300]
    return one_line(error)
