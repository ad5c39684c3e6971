"""Exceptions with what pickle forgets of them: cause, context and traceback.

Of a traceback only what is printed is kept: files, names and lines. The frames that come back have no local
variables, so that a debugger finds nothing in them. The idea of stand-in frames is tblib's.
"""

from __future__ import annotations

import pickle
import sys
import types
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from keepstate.codecs._pickler import StreamPickler

Line = tuple[str, str, int]
"""File, name of the function, line."""


def reduce_error(_pickler: StreamPickler, error: BaseException) -> Any:
    """Reduce an exception; one that says nothing more than pickle does is left to it."""
    reduced: Any = error.__reduce_ex__(5)
    more = error.__cause__, error.__context__, error.__suppress_context__, _lines_of(error.__traceback__)
    is_plain = more == (None, None, False, ())
    # One that says itself how it is made has its __init__ called, as that says.
    own_init = _defines(type(error), "__init__") and not _defines(type(error), "__reduce__", "__reduce_ex__")
    if (is_plain and not own_init) or not isinstance(reduced, tuple):
        return NotImplemented
    make, arguments, state, *rest = (*reduced, None, None, None, None)[:6]
    if any(part is not None for part in rest):
        if is_plain:
            return NotImplemented
        raise pickle.PicklingError("it holds an exception with a way of its own to be pickled, and a cause")
    if own_init and make is type(error):
        make, arguments = _calls.named("error"), (make, arguments)
    return make, arguments, (state, *more), None, None, _calls.named("set_error_state")


def _lines_of(traceback: types.TracebackType | None) -> tuple[Line, ...]:
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append((code.co_filename, code.co_name, traceback.tb_lineno))
        traceback = traceback.tb_next
    return tuple(lines)


def _defines(cls: type[BaseException], *names: str) -> bool:
    """Whether Python code does this: an ``__init__`` may not be made for what is in ``args``."""
    return any(isinstance(vars(base).get(name), types.FunctionType) for base in cls.__mro__ for name in names)


# --- decoding


def make_error(cls: type[BaseException], arguments: tuple[object, ...]) -> BaseException:
    """Make an exception without calling an ``__init__`` of the notebook's or a library's."""
    error = cls.__new__(cls, *arguments)
    native = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    native.__init__(error, *arguments)  # type: ignore[misc]
    return error


def set_error_state(error: BaseException, state: tuple[Any, ...]) -> None:
    """Give an exception its attributes, cause, context and traceback."""
    own, error.__cause__, error.__context__, error.__suppress_context__, lines = state
    if own is not None:
        error.__setstate__(own)
    traceback = None
    for filename, name, line in reversed(lines):
        frame = _frame(filename, name)
        traceback = types.TracebackType(traceback, frame, -1, line)  # -1: no column is marked
    error.__traceback__ = traceback


def _frame(filename: str, name: str) -> types.FrameType:
    """Make a frame that has ended and says that it belongs to this file and function."""
    found: list[types.FrameType] = []
    code = compile("found.append(look(0))", filename, "exec").replace(co_name=name)
    exec(code, {"found": found, "look": sys._getframe, "__builtins__": {}, "__name__": name})
    return found[0]
