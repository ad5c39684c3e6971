"""IPython as the kernel of a session: its cell events, its idle loop, its names. Works from IPython 7.34 on.

A hook that raises is printed into the user's cell, so none of these does: what goes wrong here becomes the
session's newest trouble.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from keepstate._capture import interrupts
from keepstate._model.cells import Cell
from keepstate._notebook.behind import names_behind_object
from keepstate._notebook.keep import Keep
from keepstate._notebook.provenance import with_names
from keepstate._notebook.reaching import names_reached
from keepstate._notebook.reading import names_read
from keepstate._notebook.refusing import Refusal, interruptible, refuse_cell
from keepstate._session.script import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType

    from keepstate._model.cells import Ending
    from keepstate._results.store import Results


class Listener(Protocol):
    """What is told of cells: the session."""

    def before_cell(
        self, reads: Callable[[], frozenset[str] | None], reaches: Callable[[], frozenset[str] | None]
    ) -> None:
        """A cell is about to run that names so much, and can reach so much more."""
        ...

    def after_cell(self, cell: Cell, missing: str | None) -> None:
        """A cell has run, and perhaps complained that this name is missing."""
        ...

    def trouble(self, error: BaseException) -> None:
        """Remember what went wrong in a hook."""
        ...


def running_shell() -> Any | None:
    """Give the running IPython shell, without importing IPython if nobody else has."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


class IPythonKernel:
    """The running shell; see :class:`keepstate._model.kernel.Kernel`."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._listener: Listener | None = None
        self._progress: Any = None
        self._refusal: Refusal | None = None
        self._threads = Threads()
        self._tasks_before = len(self._tasks())
        # One entry for each cell under way, by thread: with subshells, or a cell that runs another. No lock,
        # which an interrupt could leave held: a step is one call of C, and a thread takes off only its own.
        self._open: list[tuple[int, Cell]] = []

    @property
    def namespace(self) -> dict[str, object]:
        """``user_ns``, which is the dictionary of ``__main__``."""
        namespace: dict[str, object] = self._shell.user_ns
        return namespace

    @property
    def hidden(self) -> Mapping[str, object]:
        """What ``%who`` hides."""
        hidden: Mapping[str, object] = self._shell.user_ns_hidden
        return hidden

    @property
    def id(self) -> str | None:
        """The part of its connection file's name that the server chose: ``kernel-<id>.json``."""
        application = getattr(getattr(self._shell, "kernel", None), "parent", None)
        file = getattr(application, "connection_file", None)
        stem = PurePath(file).stem if isinstance(file, str) else ""
        return stem.removeprefix("kernel-") if stem.startswith("kernel-") else None

    @property
    def running(self) -> Cell | None:
        """The outermost cell that runs."""
        return next((cell for _, cell in tuple(self._open)), None)

    @property
    def has_cells(self) -> bool:
        """A terminal has no loop."""
        return self._loop is not None

    def reaches(self) -> frozenset[str] | None:
        """All where it is no cell that runs, such as a start-up file."""
        source = _source_of_cell()
        return None if source is None else self._reaches(source)

    @property
    def _loop(self) -> Any | None:
        return getattr(getattr(self._shell, "kernel", None), "io_loop", None)

    def with_names(self, cell: Cell) -> Cell:
        """By its code, with magics as the shell understands them, and by what is bound."""
        try:
            return with_names(cell, self.namespace, self._shell.transform_cell)
        except Exception as error:  # noqa: BLE001 - the record of a cell is not worth a cell
            self._trouble(error)
            return msgspec.structs.replace(cell, is_open=True)

    def used_by(self, thing: object) -> frozenset[str] | None:
        """All that hangs on it."""
        return names_behind_object(thing, self.namespace)

    def compile_cell(self, source: str) -> CodeType:
        """As the shell does it, so that tracebacks and ``inspect`` find the text."""
        text = self._shell.transform_cell(source)
        compiler = self._shell.compile
        name = compiler.cache(text, getattr(self._shell, "execution_count", 0))
        code: CodeType = compiler(text, name, "exec")
        return code

    def when_idle(self, callback: Callable[[], None]) -> bool:
        """Queue *callback* on the kernel's loop, which turns between cells; a terminal has none."""
        loop = self._loop
        if loop is None:
            return False
        loop.add_callback(callback)
        return True

    def background(self) -> tuple[str, ...]:
        """The user's threads, and asyncio tasks that were not there when the session began."""
        tasks = len(self._tasks()) - self._tasks_before
        return (*self._threads.of_user(), *(["asyncio tasks"] if tasks > 0 else []))

    def _tasks(self) -> set[asyncio.Task[Any]]:
        loop = getattr(getattr(self._shell, "kernel", None), "io_loop", None)
        try:
            return asyncio.all_tasks(loop.asyncio_loop) if loop is not None else set()
        except (AttributeError, RuntimeError):  # not an asyncio loop; or it changed while it was read
            return set()

    def say(self, text: str) -> None:
        """To standard output, so that it stands below the cell that is being answered."""
        sys.stdout.write(text + "\n")

    def progress(self, text: str | None) -> None:
        """In one place below the cell, changed as it goes."""
        display = sys.modules.get("IPython.display")
        if display is None or threading.current_thread() is not threading.main_thread():
            return
        shown = display.Pretty(text or "keepstate: done")
        if self._progress is None and text is not None:
            self._progress = display.display(shown, display_id=True)
        elif self._progress is not None:
            self._progress.update(shown)
        if text is None:
            self._progress = None

    # -- events --------------------------------------------------------------------------------------

    def attach(self, listener: Listener) -> None:
        """Tell *listener* of cells from now on; a cell that runs now has begun already."""
        self._listener = listener
        if _source_of_cell() is not None:
            executing = getattr(self._shell, "execution_count", None)
            self._open.append((threading.get_ident(), Cell(executing, self._current_source())))
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)

    def offer_keep(self, find_results: Callable[[], Results | None]) -> None:
        """Offer ``%%keep`` to cells.

        Args:
            find_results: Gives where results are kept; ``None`` in a process that was forked off; raises
                SessionError where no session runs.
        """
        self._shell.register_magic_function(Keep(self._shell, find_results).keep, "cell", "keep")

    def detach(self) -> None:
        """Tell nobody any more."""
        self._listener = None
        for event, hook in (("pre_run_cell", self._before), ("post_run_cell", self._after)):
            if hook in self._shell.events.callbacks[event]:
                self._shell.events.unregister(event, hook)

    def _current_source(self) -> str:
        history = self._shell.user_ns.get("In")
        return history[-1] if isinstance(history, list) and history and isinstance(history[-1], str) else ""

    def _before(self, info: Any = None) -> None:
        try:
            source = str(getattr(info, "raw_cell", "") or "")
            cell = Cell(getattr(self._shell, "execution_count", None), source)
            self._drop_stale()
            self._open.append((threading.get_ident(), cell))
            if self._listener is not None:
                with interruptible():
                    self._listener.before_cell(lambda: self._reads(source), lambda: self._reaches(source))
        except KeyboardInterrupt:
            self._refusal = refuse_cell(self._shell)
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._trouble(error)

    def _after(self, result: Any = None) -> None:
        try:
            self._take_back_refusal()
            with interrupts.deferred():
                cell = self._close()
            if self._listener is not None and cell is not None:
                cell = msgspec.structs.replace(cell, ended=_ending(result))
                self._listener.after_cell(cell, _missing_name(getattr(result, "error_in_exec", None)))
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._trouble(error)

    def _drop_stale(self) -> None:
        """Forget cells of this thread whose end an interrupt kept from us: only those on the stack run."""
        own = threading.get_ident()
        outer = _cells_on_stack() - 1
        for entry in [entry for entry in tuple(self._open) if entry[0] == own][max(0, outer) :]:
            self._open.remove(entry)

    def _close(self) -> Cell | None:
        """Take the innermost cell of this thread off the list."""
        own = threading.get_ident()
        innermost = next((entry for entry in reversed(tuple(self._open)) if entry[0] == own), None)
        if innermost is None:
            return None
        self._open.remove(innermost)
        return innermost[1]

    def _take_back_refusal(self) -> None:
        """Of a cell that did not come so far: its syntax was wrong."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            refusal.withdraw()

    def _reads(self, source: str) -> frozenset[str] | None:
        try:
            return names_read(self._shell.transform_cell(source), self.namespace)
        except SyntaxError:
            return None

    def _reaches(self, source: str) -> frozenset[str] | None:
        transform = self._shell.transform_cell
        try:
            return names_reached(transform(source), self.namespace, transform=transform)
        except SyntaxError:
            return None

    def _trouble(self, error: Exception) -> None:
        if self._listener is not None:
            self._listener.trouble(error)


def _source_of_cell() -> str | None:
    """Give the cell that runs on this thread and whose end will be told: no start-up file, no silent code."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in _RUNS_CELL and frame.f_globals.get("__name__") == _SHELL_MODULE:
            known = frame.f_locals
            return None if known.get("silent") else str(known.get("raw_cell", ""))
        frame = frame.f_back
    return None


_SHELL_MODULE = "IPython.core.interactiveshell"
_RUNS_CELL = ("run_cell", "run_cell_async")
"""Every cell has a frame of the second; one with a top-level ``await`` has that alone. Both know whether it
is silent."""


def _cells_on_stack() -> int:
    """How many cells this thread runs, each within the one before."""
    count = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        count += frame.f_code.co_name == "run_cell_async" and frame.f_globals.get("__name__") == _SHELL_MODULE
        frame = frame.f_back
    return count


def _ending(result: Any) -> Ending:
    """Say how a cell ended; versions of IPython that tell nothing end well."""
    if getattr(result, "error_before_exec", None) is not None:
        return "refused"
    return "well" if getattr(result, "error_in_exec", None) is None else "error"


def _missing_name(error: BaseException | None) -> str | None:
    return error.name if isinstance(error, NameError) and isinstance(error.name, str) else None
