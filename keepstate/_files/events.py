"""Events of one folder, from watchdog; where the system gives none, that is said and nothing is raised.

watchdog's threads are named and kept silent: what a thread of ours prints would pass for output of a cell.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from keepstate._base.mounts import file_system, is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import BaseObserver

    from keepstate._files.folder import Folder

THREAD = "keepstate-files"
"""Beginning of the names of all threads here."""
_JOIN_SECONDS = 2.0
"""How long to wait for threads that were told to end; they are daemons, and may hang on a dead mount."""
_LOGGERS = ("watchdog.observers.inotify", "watchdog.observers.inotify_c", "watchdog.observers.inotify_buffer")


class NoEventsError(Exception):
    """Why this folder must be looked at from time to time instead."""


def _keep_silent() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_not_ours)  # one that is there already is not added again
    for name, module in list(sys.modules.items()):
        if name.startswith("watchdog.observers") and vars(module).get("warnings") is warnings:
            vars(module)["warnings"] = _QUIET


class _QuietWarnings:
    """``warnings`` for watchdog's own modules: in our threads nothing is shown, elsewhere all is as it was.

    watchdog 7 warns of itself when folders are made inside each other quickly. A filter would change the
    user's filters, and have warnings shown again that had been shown once.
    """

    def __getattr__(self, name: str) -> object:
        return getattr(warnings, name)

    @staticmethod
    def warn(*arguments: Any, **options: Any) -> None:
        """As ``warnings.warn``, but not from a thread of ours."""
        if _is_not_ours(None):
            options["stacklevel"] = options.get("stacklevel", 1) + 1
            warnings.warn(*arguments, **options)


_QUIET = _QuietWarnings()


def _nobody_listens(_thread: threading.Thread) -> None:
    """In place of the hook that prints: that a thread has ended is seen at the next look."""


def _is_not_ours(_record: object) -> bool:
    return not threading.current_thread().name.startswith(THREAD)


class Events:
    """Calls *on_event* from a thread of watchdog's whenever a file of *folder* has been written or has gone.

    A file counts when it is closed, not at each write: one that is open is not kept anyway.

    Raises:
        NoEventsError: None come from there; or the system has no more watches to give.
    """

    def __init__(self, folder: Folder, on_event: Callable[[], None]) -> None:
        kind = file_system(folder.path)
        if is_elsewhere(kind):
            raise NoEventsError(f"{kind} gives no events of what other machines write")
        try:
            from watchdog.observers import Observer
        except (ImportError, OSError) as error:
            raise NoEventsError(f"watchdog cannot be used: {error}") from error
        _keep_silent()
        try:
            self._observer: BaseObserver = Observer()
        except OSError as error:
            raise NoEventsError(f"the system gives no more watches: {error.strerror or error}") from error
        try:
            self._start(folder, on_event)
        except OSError as error:
            self.stop()
            raise NoEventsError(f"the system gives no more watches: {error.strerror or error}") from error

    def _start(self, folder: Folder, on_event: Callable[[], None]) -> None:
        self._name()
        handler = cast("FileSystemEventHandler", _Handler(folder, on_event))
        self._observer.schedule(handler, folder.path, recursive=True, event_filter=_kinds())
        self._name()
        self._observer.start()
        self._name()

    def _name(self) -> None:
        for number, thread in enumerate(_threads(self._observer)):
            thread.name = f"{THREAD}-events-{number}"
            thread._invoke_excepthook = _nobody_listens  # type: ignore[attr-defined] # no public one is a thread's
            if not thread.is_alive():
                thread.daemon = True

    @property
    def are_coming(self) -> bool:
        """Whether all threads still run: they end when the folder is removed."""
        return all(thread.is_alive() for thread in _threads(self._observer))

    def stop(self) -> None:
        """End the threads."""
        threads = list(_threads(self._observer))
        with suppress(OSError, RuntimeError):  # it may have ended by itself
            self._observer.stop()
        for thread in threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)


def _threads(observer: BaseObserver) -> Iterator[threading.Thread]:
    """The observer and what it runs on; versions of watchdog differ in where the reading thread is."""
    owners = [observer, *observer.emitters]
    inner = [getattr(owner, name, None) for owner in owners for name in ("_inotify_fd", "_inotify")]
    for each in {id(each): each for each in (*owners, *inner)}.values():
        if isinstance(each, threading.Thread):
            yield each


def _kinds() -> list[type[FileSystemEvent]]:
    from watchdog import events

    return [
        events.FileClosedEvent,
        events.FileCreatedEvent,
        events.FileDeletedEvent,
        events.FileMovedEvent,
        events.DirCreatedEvent,
        events.DirDeletedEvent,
        events.DirMovedEvent,
    ]


class _Handler:
    """What watchdog calls; it asks for this one method only."""

    def __init__(self, folder: Folder, on_event: Callable[[], None]) -> None:
        self._folder = folder
        self._on_event = on_event

    def dispatch(self, event: FileSystemEvent) -> None:
        """Pass on what concerns a file that is kept."""
        try:
            paths = [path for path in (event.src_path, event.dest_path) if path]
            concerns = any(self._concerns(path, is_folder=event.is_directory) for path in paths)
        except Exception:  # noqa: BLE001 - raised, it ends watchdog's thread; so what is not understood is a change
            concerns = True
        if concerns:
            self._on_event()

    def _concerns(self, path: bytes | str, *, is_folder: bool) -> bool:
        text = os.fsdecode(path)
        return text == self._folder.path or self._folder.covers(text, is_folder=is_folder)
