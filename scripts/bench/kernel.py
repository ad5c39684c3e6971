"""Drive a real Jupyter kernel."""

from __future__ import annotations

import ast
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from jupyter_client.manager import KernelManager

from bench.alone import pause, surroundings
from bench.memory import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

LONGEST_SECONDS = 900.0


class Kernel:
    """A kernel that ends with the block in which it is used."""

    def __init__(self, folder: Path, *, python: str = sys.executable, **more: str) -> None:
        self.mark = uuid4().hex
        self._manager = KernelManager(kernel_name="python3")
        spec = self._manager.kernel_spec
        assert spec is not None
        spec.argv[0] = python
        own = {MARK: self.mark, "HOME": str(folder), "IPYTHONDIR": str(folder / ".ipython")}
        environment = surroundings(**own, **more)
        with (folder / "kernel.log").open("wb") as log:
            self._manager.start_kernel(cwd=str(folder), env=environment, stdout=log, stderr=log)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self.run("import os, time")
        self.pid = int(self.ask("os.getpid()"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str) -> float:
        """Run a cell, and return the seconds from sending it until the kernel is idle again.

        Raises:
            RuntimeError: It failed, or did not end.
        """
        began = time.perf_counter()
        message = self._client.execute(code, stop_on_error=False)
        trouble = ""
        for kind, content in self._outputs(message):
            if kind == "error":
                trouble = "\n".join(content["traceback"])
        seconds = time.perf_counter() - began
        if trouble:
            raise RuntimeError(trouble)
        return seconds

    def _outputs(self, message: str) -> Iterator[tuple[str, dict[str, Any]]]:
        while True:
            found = self._client.get_iopub_msg(timeout=LONGEST_SECONDS)
            if found["parent_header"].get("msg_id") != message:
                continue
            kind, content = found["msg_type"], found["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def ask(self, expression: str, *, first: str = "") -> Any:
        """Give what an expression is worth outside any cell; no hook of a cell sees it.

        Args:
            expression: Whose value JSON can hold.
            first: Statements that are run before, unseen as well.

        Raises:
            RuntimeError: It failed, or did not end.
        """
        asked = {"found": f"__import__('json').dumps({expression})"}
        message = self._client.execute(first, silent=True, user_expressions=asked)
        reply = self._client.get_shell_msg(timeout=LONGEST_SECONDS)
        while reply["parent_header"].get("msg_id") != message:
            reply = self._client.get_shell_msg(timeout=LONGEST_SECONDS)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))
        answer = reply["content"]["user_expressions"]["found"]
        if answer["status"] != "ok":
            raise RuntimeError(f"{expression}: {answer['ename']}: {answer['evalue']}")
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def wait_until(self, expression: str, seconds: float = LONGEST_SECONDS) -> None:
        """Ask now and then until the answer is true."""
        until = time.perf_counter() + seconds
        while not self.ask(expression):
            if time.perf_counter() > until:
                raise RuntimeError(f"{expression} did not come true in {seconds} s")
            pause(0.05)


def save(kernel: Kernel, store: str, cell: str) -> dict[str, Any]:
    """Run a cell with ``keepstate.snapshot()`` at its end; say what that cost (:class:`inside.Cost`)."""
    measured = f"_cost = inside.Cost({store!r})\n_kept = keepstate.snapshot()\n_cost.end()"
    kernel.run(f"from bench import inside\n{cell}\n{measured}")
    found: dict[str, Any] = kernel.ask("{**inside.facts(_kept), **_cost.found}")
    kernel.ask("keepstate.snapshot().id")  # so that nothing is owed for the cell, and no save comes by itself
    return found
