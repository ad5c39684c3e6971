"""What belongs to this process: locks that are free come back free; threads, processes and the like do not.

Since a lock is no reason to refuse an object any more, what would come back looking alive must be refused by
name here: a dead process that says it runs is a wrong value.
"""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

Reducer = "Callable[[StreamPickler, Any], Any]"


def reduce_lock(_pickler: StreamPickler, lock: Any) -> Any:
    """Keep a lock that is free."""
    if lock.locked():
        raise pickle.PicklingError("it holds a lock that is held at this moment")
    return _calls.named("lock"), ()


def reduce_reentrant_lock(_pickler: StreamPickler, lock: Any) -> Any:
    """Keep a reentrant lock that is free; only its text says so before Python 3.14."""
    if not repr(lock).startswith("<unlocked"):
        raise pickle.PicklingError("it holds a lock that is held at this moment")
    return _calls.named("reentrant_lock"), ()


def refuse(why: str) -> Callable[[StreamPickler, object], Any]:
    """Return a reducer that refuses."""

    def reduce(_pickler: StreamPickler, _thing: object) -> Any:
        raise pickle.PicklingError(why)

    return reduce


LOCK_REDUCERS: dict[type, Callable[[Any, Any], Any]] = {
    type(threading.Lock()): reduce_lock,
    type(threading.RLock()): reduce_reentrant_lock,
}

_ONLY_HERE = "it holds {}, which lives only in this process"
_THREAD, _POOL = _ONLY_HERE.format("a thread"), _ONLY_HERE.format("a pool of threads or processes")
_PROCESS, _LOOP = _ONLY_HERE.format("a process"), _ONLY_HERE.format("an event loop")
_TEMPORARY = "it holds a temporary file or folder, which ends with this process"
_ARCHIVE = "it holds an archive that is open as a file"

PROCESS_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "threading.Thread": refuse(_THREAD),
    "_thread._local": refuse(_ONLY_HERE.format("the values of a thread (threading.local)")),
    "subprocess.Popen": refuse(_PROCESS),
    "multiprocessing.process.BaseProcess": refuse(_PROCESS),
    "multiprocessing.pool.Pool": refuse(_POOL),
    "multiprocessing.managers.BaseManager": refuse(_PROCESS),
    "concurrent.futures._base.Executor": refuse(_POOL),
    "asyncio.events.AbstractEventLoop": refuse(_LOOP),
    "selectors.BaseSelector": refuse(_ONLY_HERE.format("a network selector")),
    "sched.scheduler": refuse(_ONLY_HERE.format("a scheduler")),
    "socketserver.BaseServer": refuse(_ONLY_HERE.format("a server")),
    "tempfile.TemporaryDirectory": refuse(_TEMPORARY),
    "tempfile._TemporaryFileWrapper": refuse(_TEMPORARY),
    "tempfile.SpooledTemporaryFile": refuse(_TEMPORARY),
    "weakref.finalize": refuse(_ONLY_HERE.format("a finalizer")),
    "gzip.GzipFile": refuse(_ARCHIVE),
    "bz2.BZ2File": refuse(_ARCHIVE),
    "lzma.LZMAFile": refuse(_ARCHIVE),
    "zipfile.ZipFile": refuse(_ARCHIVE),
    "tarfile.TarFile": refuse(_ARCHIVE),
    "shelve.Shelf": refuse(_ARCHIVE),
    "ipywidgets.widgets.widget.Widget": refuse("it holds a widget, which lives in the page of this notebook"),
    "jinja2.environment.Template": refuse("it holds a Template of jinja2, which does not keep its source"),
}
"""By the name of a type or of one of its bases."""


# --- decoding


def lock() -> Any:
    """Make a lock that is free."""
    return threading.Lock()


def reentrant_lock() -> Any:
    """Make a reentrant lock that is free."""
    return threading.RLock()
