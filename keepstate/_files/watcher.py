"""Notice that watched folders have changed: by events, and by a look from time to time.

Events are quick, but some never come: from mounts, when the system's watches are used up, when its queue ran
over. So every folder is looked at as well, rarely where events come. One thread, which never prints and never
raises; what it tells is told from this thread alone, once things are quiet.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from keepstate._base.clock import SYSTEM_CLOCK, Clock
from keepstate._files.events import THREAD, Events, NoEventsError
from keepstate._files.scan import scan
from keepstate._files.settle import SETTLED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._files.folder import Folder

LOOK_SECONDS = 10.0
"""Between two looks at a folder from which no events come, and at whether a folder is still the same one."""
LOOK_BESIDE_EVENTS_SECONDS = 60.0
"""Between two looks where events come."""
LOOK_SHARE = 0.01
"""Of this thread's time that looks may take: a walk through many files holds up the notebook's threads."""
_JOIN_SECONDS = 2.0


class Bell:
    """Wakes one thread. Ringing is one call of C, which no interrupt can leave half done."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits, or the next who does."""
        self._rings.put(None)

    def is_set(self) -> bool:
        """Whether it was rung since the last wait."""
        return not self._rings.empty()

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds* for a ring."""
        try:
            self._rings.get(timeout=max(seconds, 0.0))
            while True:
                self._rings.get_nowait()
        except Empty:
            return False


@dataclass(slots=True)
class _Watched:
    folder: Folder
    events: Events | None = None
    why_no_events: str = ""
    place: tuple[int, int] | None = None
    """Device and inode of the folder when it was looked at last."""
    state: int | None = None
    """Of its files, as a hash; ``None`` before the first look."""
    look_at: float = 0.0
    rescan_at: float = 0.0
    touched_at: float | None = None
    """When the first event came that was not told yet."""


class Watcher:
    """Watches folders from :meth:`start` to :meth:`stop`.

    Args:
        on_change: Called with the name of a folder that has changed, from the thread of the watcher.
        clock: For the looks.
    """

    def __init__(self, on_change: Callable[[str], None], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._on_change = on_change
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def add(self, folder: Folder) -> None:
        """Watch *folder* from now on; with the rules given last, if it is watched already."""
        self.remove(folder.name)
        self._watched[folder.name] = _Watched(folder)
        self._bell.ring()

    def start(self) -> None:
        """Begin; folders may be added before and after. A second call does nothing."""
        if self._thread is None and not self._stopped:
            thread = threading.Thread(target=self._run, name=f"{THREAD}-watch", daemon=True)
            thread.start()
            self._thread = thread

    def remove(self, name: str) -> None:
        """Watch this folder no longer."""
        watched = self._watched.pop(name, None)
        if watched is not None and watched.events is not None:
            watched.events.stop()

    def stop(self) -> None:
        """End all threads; returns after some seconds at most."""
        self._stopped = True
        self._bell.ring()
        for name in list(self._watched):
            self.remove(name)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def ways(self) -> dict[str, str]:
        """Say for each folder how changes are noticed: by events, or by looks and why so."""
        return {
            name: f"looked at every {LOOK_SECONDS:.0f} s: {watched.why_no_events or 'it is not there yet'}"
            if watched.events is None
            else "events"
            for name, watched in list(self._watched.items())
        }

    def _run(self) -> None:
        while not self._stopped:
            try:
                seconds = self.turn()
            except Exception:  # noqa: BLE001 - a thread that dies prints into a cell, and watches no more
                seconds = LOOK_SECONDS
            self._clock.wait(self._bell, seconds)

    def turn(self) -> float:
        """Do what is due, and say in how many seconds something will be; the thread does nothing else."""
        due = self._clock.monotonic() + LOOK_SECONDS
        for watched in list(self._watched.values()):
            self._look_after(watched)
            told_at = due if watched.touched_at is None else watched.touched_at + SETTLED_SECONDS
            due = min(due, told_at, watched.look_at)
            if self._watched.get(watched.folder.name) is not watched and watched.events is not None:
                watched.events.stop()  # it was removed meanwhile
        return max(due - self._clock.monotonic(), 0.0)

    def _look_after(self, watched: _Watched) -> None:
        now = self._clock.monotonic()
        if now >= watched.look_at:
            self._look(watched)
            took = self._clock.monotonic() - now
            watched.look_at = now + max(LOOK_SECONDS, took / LOOK_SHARE)
        # Told so long after the first event that a file written in one go is settled.
        if watched.touched_at is not None and now - watched.touched_at >= SETTLED_SECONDS:
            watched.touched_at = None
            self._on_change(watched.folder.name)

    def _look(self, watched: _Watched) -> None:
        now = self._clock.monotonic()
        place = _place(watched.folder.path)
        anew = place != watched.place or (watched.events is not None and not watched.events.are_coming)
        if anew:
            self._attach(watched, place)
        if anew or watched.events is None or now >= watched.rescan_at:
            state = _state(watched.folder)
            took = self._clock.monotonic() - now
            watched.rescan_at = now + max(LOOK_BESIDE_EVENTS_SECONDS, took / LOOK_SHARE)
            if watched.state is not None and state != watched.state and watched.touched_at is None:
                watched.touched_at = now
            watched.state = state
        watched.place = place

    def _attach(self, watched: _Watched, place: tuple[int, int] | None) -> None:
        """Have events of the folder that is there now; it may have been removed and made anew."""
        if watched.events is not None:
            watched.events.stop()
            watched.events = None
        watched.why_no_events = ""
        if place is None:
            return

        def touch() -> None:
            if watched.touched_at is None:
                watched.touched_at = self._clock.monotonic()
                self._bell.ring()

        try:
            watched.events = Events(watched.folder, touch)
        except NoEventsError as error:
            watched.why_no_events = str(error)


def _place(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _state(folder: Folder) -> int:
    found = scan(folder)
    return hash((tuple(found.files.items()), tuple(found.unreadable), found.is_there))
