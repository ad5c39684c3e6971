"""The kernel of a plain script: it runs all the time, and there is no moment between cells."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from keepstate._model.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType

OUR_THREADS = ("keepstate",)
"""Beginnings of the names of threads that are not the user's."""


class Threads:
    """Tells the user's threads from those that were there when the session began."""

    def __init__(self) -> None:
        self._before = {thread.ident for thread in threading.enumerate()}

    def of_user(self) -> tuple[str, ...]:
        """Names of the threads that came later and are not ours."""
        return tuple(
            thread.name
            for thread in threading.enumerate()
            if thread.ident not in self._before and not thread.name.startswith(OUR_THREADS)
        )


class ScriptKernel:
    """A namespace without a notebook around it; see :class:`keepstate._model.kernel.Kernel`."""

    def __init__(self, namespace: dict[str, object]) -> None:
        self.namespace = namespace
        self._threads = Threads()
        self.hidden: Mapping[str, object] = {}
        self._cell = Cell(None, "")

    @property
    def id(self) -> str | None:
        """No server knows it."""
        return None

    @property
    def running(self) -> Cell | None:
        """A script is always in the middle of itself."""
        return self._cell

    @property
    def has_cells(self) -> bool:
        """Nobody tells what comes next."""
        return False

    def reaches(self) -> frozenset[str] | None:
        """All."""
        return None

    def with_names(self, cell: Cell) -> Cell:
        """A script has no cells."""
        return cell

    def used_by(self, thing: object) -> frozenset[str] | None:  # noqa: ARG002 - the Protocol's signature
        """Anything: all has come back before the script goes on."""
        return None

    def compile_cell(self, source: str) -> CodeType:
        """Plain Python."""
        return compile(source, "<keepstate cell>", "exec", dont_inherit=True)

    def when_idle(self, callback: Callable[[], None]) -> bool:  # noqa: ARG002 - the Protocol's signature
        """There is no such moment."""
        return False

    def background(self) -> tuple[str, ...]:
        """Names of the user's threads."""
        return self._threads.of_user()

    def say(self, text: str) -> None:
        """To standard output."""
        sys.stdout.write(text + "\n")

    def progress(self, text: str | None) -> None:
        """To a terminal, on one line; a file is spared."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K" + (text or ""))
            sys.stderr.flush()
