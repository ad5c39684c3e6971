"""Stop the main thread at lines of the notebook, from Python 3.12 on: events of ``sys.monitoring``.

Events are set on the code objects of the notebook's frames alone, so nothing else becomes slower, and taken
off again while such a function is called from C code. Measured: found within 0.7 ms in loops of a notebook;
an interrupt that comes meanwhile stays a ``KeyboardInterrupt``.

A loop on one line arrives at no line, so there every instruction is looked at. Not its jumps: an exception
out of a JUMP or BRANCH event, as an interrupt is, passes by the ``except`` around the loop (3.12.1, 3.13.0).
Source: PEP 669.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from keepstate._capture.source_map import source_map

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

_TOOLS = (3, 4)
"""Free for anyone; 0 to 2 and 5 belong to debuggers, coverage, profilers and optimizers."""
_NAME = "keepstate"


class Visit(Protocol):
    """What is done at a line."""

    @property
    def claimed(self) -> bool:
        """Whether it is over."""
        ...

    def at(self, frame: FrameType, offset: int, line: int | None) -> bool:
        """Be about to run an instruction, perhaps arriving at a line; return whether more are wanted."""
        ...


class Monitoring:
    """Events for one request."""

    def __init__(self, visit: Visit, thread: int) -> None:
        self._visit = visit
        self._thread = thread
        self._monitoring: Any = sys.__dict__["monitoring"]  # in no stub of 3.11
        self._tool: int | None = None
        self._codes: list[CodeType] = []

    def arm(self, find: Callable[[], list[FrameType]]) -> bool:
        """Set events on the code of the frames that *find* finds."""
        events = self._monitoring.events
        frames = find()
        if not frames:
            return True
        if self._tool is None and not self._take_tool():
            return False
        for frame in frames:
            code = frame.f_code
            if not any(code is known for known in self._codes):
                self._codes.append(code)
            tight = source_map(code).tight
            self._monitoring.set_local_events(
                self._tool, code, events.LINE | events.INSTRUCTION if tight else events.LINE
            )
        return True

    def disarm(self) -> None:
        """Give everything back."""
        if self._tool is None:
            return
        tool, self._tool = self._tool, None
        for code in self._codes:
            self._monitoring.set_local_events(tool, code, 0)
        for event in (self._monitoring.events.LINE, self._monitoring.events.INSTRUCTION):
            self._monitoring.register_callback(tool, event, None)
        self._monitoring.free_tool_id(tool)
        self._codes.clear()

    def _take_tool(self) -> bool:
        for tool in _TOOLS:
            try:
                self._monitoring.use_tool_id(tool, _NAME)
            except ValueError:
                continue  # somebody else has it
            self._tool = tool
            events = self._monitoring.events
            self._monitoring.register_callback(tool, events.LINE, self._on_line)
            self._monitoring.register_callback(tool, events.INSTRUCTION, self._on_instruction)
            return True
        return False

    def _on_line(self, code: CodeType, line: int) -> None:
        frame = sys._getframe(1)
        self._at(code, frame, frame.f_lasti, line)

    def _on_instruction(self, code: CodeType, offset: int) -> None:
        self._at(code, sys._getframe(1), offset, None)

    def _at(self, code: CodeType, frame: FrameType, offset: int, line: int | None) -> None:
        if threading.get_ident() != self._thread or frame.f_code is not code:
            return
        if not self._visit.at(frame, offset, line):
            try:
                self._monitoring.set_local_events(self._tool, code, 0)
            except (ValueError, TypeError):
                pass  # given back meanwhile by the other thread, which has taken the events off
