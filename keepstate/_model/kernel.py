"""What the session asks of whatever runs the user's code: a notebook kernel, or a plain script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from keepstate._model.cells import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType

__all__ = ["Cell", "Kernel"]


class Kernel(Protocol):
    """The surroundings of the user's namespace. Every method may be called from any thread."""

    @property
    def namespace(self) -> dict[str, object]:
        """The user's globals."""
        ...

    @property
    def hidden(self) -> Mapping[str, object]:
        """Names that the shell itself bound; while they hold that very object they are not the user's."""
        ...

    @property
    def id(self) -> str | None:
        """What a Jupyter server calls it; ``None``: it has none."""
        ...

    @property
    def running(self) -> Cell | None:
        """The cell that runs now; a script runs all the time."""
        ...

    @property
    def has_cells(self) -> bool:
        """Whether it tells of each cell before it runs, and its loop turns between them."""
        ...

    def reaches(self) -> frozenset[str] | None:
        """Give the names that the cell which runs now can reach; ``None``: all, or it is not known."""
        ...

    def with_names(self, cell: Cell) -> Cell:
        """Give *cell* with the names that it reads, binds and changes, as things are now; raises nothing."""
        ...

    def used_by(self, thing: object) -> frozenset[str] | None:
        """Give the names of the notebook that calling *thing* may use; ``None``: any."""
        ...

    def compile_cell(self, source: str) -> CodeType:
        """Compile a cell, magics and all, to be run in the namespace.

        Raises:
            SyntaxError: It is none, or it can only be run by the kernel itself.
        """
        ...

    def when_idle(self, callback: Callable[[], None]) -> bool:
        """Have *callback* run on the main thread once no cell runs; ``False`` if there is no such moment."""
        ...

    def background(self) -> tuple[str, ...]:
        """Names of the user's own threads and tasks that may change state while no cell runs."""
        ...

    def say(self, text: str) -> None:
        """Show *text* to the user; only ever in answer to a cell of theirs."""
        ...

    def progress(self, text: str | None) -> None:
        """Show *text* in place of the last such one, while a call of the user's waits; ``None``: no more."""
        ...
