"""Ctrl-C while a cell waits before it runs: the wait ends, and the cell does not run.

IPython prints what a hook raises and runs the cell all the same, which would then miss what it waited for. It
does not run a cell that a transformer of its AST rejects.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAID = (
    "the cell was interrupted while it waited for what it uses, and has not run; what is coming still comes"
)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have an interrupt raise ``KeyboardInterrupt`` in the body.

    For a cell with a top-level ``await`` ipykernel notes an interrupt in its loop, which stands still here.
    """
    own = signal.default_int_handler
    on_main = threading.current_thread() is threading.main_thread()
    # None: a handler in C from before Python began, which could not be put back.
    if not on_main or signal.getsignal(signal.SIGINT) in (own, None):
        yield
        return
    before = signal.signal(signal.SIGINT, own)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Refusal:
    """A transformer that rejects the next cell of this thread."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._thread = threading.get_ident()

    def visit(self, tree: Any) -> Any:
        """Reject the cell, once."""
        if threading.get_ident() != self._thread:
            return tree
        self.withdraw()
        raise _rejection()(_SAID)

    def withdraw(self) -> None:
        """Reject nothing any more."""
        if self in self._shell.ast_transformers:
            self._shell.ast_transformers.remove(self)


def refuse_cell(shell: Any) -> Refusal:
    """Have the cell that is about to run on this thread rejected as interrupted."""
    refusal = Refusal(shell)
    shell.ast_transformers.append(refusal)
    return refusal


def _rejection() -> type[BaseException]:
    """Make what IPython takes for a rejected input and shows as the interrupt that it is."""
    rejected = sys.modules["IPython.core.error"].InputRejected
    return type("KeyboardInterrupt", (rejected, KeyboardInterrupt), {})
