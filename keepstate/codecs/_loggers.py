"""Loggers of the notebook with level and handlers; pickle keeps a logger's name alone.

A logger of a library is that library's, and the root logger the process's: of those the name is enough.
"""

from __future__ import annotations

import logging
import pickle
import sys
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_FACTS = ("level", "propagate", "disabled")
_HANDLER_FACTS = ("level", "formatter", "filters", "_name")


def reduce_logger(_pickler: StreamPickler, logger: logging.Logger) -> Any:
    """Keep a logger; how it is set up only if the notebook did that."""
    if logging.getLogger(logger.name) is not logger:
        raise pickle.PicklingError(f"it holds a logger {logger.name!r} that getLogger() does not know")
    make = _calls.named("logger"), (logger.name,)
    top = logger.name.partition(".")[0]
    if logger is logging.root or (top != "__main__" and top in sys.modules):
        return make
    state: dict[str, object] = {fact: getattr(logger, fact) for fact in _FACTS}
    state |= {"handlers": list(logger.handlers), "filters": list(logger.filters)}
    return (*make, state, None, None, _calls.named("set_logger_state"))


def reduce_handler(_pickler: StreamPickler, handler: logging.Handler) -> Any:
    """Keep a handler that writes nowhere, to a stream, or to a file, which is opened at its next message."""
    facts: dict[str, object] = {fact: getattr(handler, fact) for fact in _HANDLER_FACTS}
    if type(handler) is logging.FileHandler:
        facts |= {"encoding": handler.encoding, "errors": handler.errors}
        return _calls.named("file_handler"), (handler.baseFilename, facts)
    if type(handler) is logging.StreamHandler:
        return _calls.named("stream_handler"), (handler.stream, facts | {"terminator": handler.terminator})
    if type(handler) is logging.NullHandler:
        return _calls.named("null_handler"), (facts,)
    kind = f"{type(handler).__module__}.{type(handler).__qualname__}"
    raise pickle.PicklingError(f"it holds a log handler of type {kind}")


LOGGER_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "logging.Logger": reduce_logger,
    "logging.Handler": reduce_handler,
}


# --- decoding


def set_logger_state(logger: logging.Logger, state: dict[str, Any]) -> None:
    """Set a logger up, unless the notebook has done that already."""
    if logger.handlers or logger.filters or logger.level:
        return
    logger.setLevel(state["level"])
    logger.propagate, logger.disabled = state["propagate"], state["disabled"]
    for handler in state["handlers"]:
        logger.addHandler(handler)
    for wanted in state["filters"]:
        logger.addFilter(wanted)


def null_handler(facts: dict[str, Any]) -> Any:
    """Make a handler that writes nowhere."""
    return _with(logging.NullHandler(), facts)


def stream_handler(stream: Any, facts: dict[str, Any]) -> Any:
    """Make a handler that writes to a stream."""
    return _with(logging.StreamHandler(stream), facts)


def file_handler(path: str, facts: dict[str, Any]) -> Any:
    """Make a handler that adds to a file, whatever mode it was opened with: what is there stays."""
    made = logging.FileHandler(
        path, "a", encoding=facts.pop("encoding"), errors=facts.pop("errors"), delay=True
    )
    return _with(made, facts)


def _with(handler: logging.Handler, facts: dict[str, Any]) -> logging.Handler:
    name = facts.pop("_name")
    vars(handler).update(facts)
    if name is not None:
        handler.set_name(name)
    return handler
