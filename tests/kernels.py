"""Real Jupyter kernels for the tests: start one, run cells, read what they print, kill it."""

from __future__ import annotations

import ast
import gc
import os
import queue
import signal
import sys
import warnings
from dataclasses import dataclass, field
from threading import Event

from jupyter_client.manager import KernelManager

from keepstate._base.clock import SYSTEM_CLOCK

TIMEOUT = 120


@dataclass
class Reply:
    """What came of a cell."""

    text: str = ""
    error: str = ""
    """``Name: message``; empty if the cell succeeded."""
    html: list = field(default_factory=list)


class Kernel:
    """A kernel of the running interpreter, in a working directory of its own."""

    def __init__(self, cwd, **environment):
        self.cwd = cwd
        self._manager = KernelManager(kernel_name="python3")
        self._manager.kernel_spec.argv[0] = sys.executable
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("KEEPSTATE", "JPY_"))}
        self._manager.start_kernel(
            cwd=str(cwd),
            env={**variables, "HOME": str(cwd), "IPYTHONDIR": str(cwd / ".ipython"), **environment},
        )
        self.client = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)
        self.pid = int(self.run("import os; print(os.getpid())").text)

    def send(self, code):
        """Start a cell and return its message id."""
        # Otherwise a kernel that has just failed a cell may drop this one, as "Run all" wants it.
        return self.client.execute(code, stop_on_error=False)

    def outputs(self, message_id):
        """Yield the messages of a cell until it is done."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=TIMEOUT)
            except queue.Empty:
                raise TimeoutError("the cell does not end") from None
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
            yield message

    def wait(self, message_id):
        """Collect the output of a cell that was sent."""
        reply = Reply()
        for message in self.outputs(message_id):
            content = message["content"]
            if message["msg_type"] == "stream":
                reply.text += content["text"]
            elif message["msg_type"] == "error":
                reply.error = f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] in ("execute_result", "display_data"):
                reply.text += content["data"].get("text/plain", "")
                reply.html.append(content["data"].get("text/html", ""))
        return reply

    def wait_for(self, message_id, text):
        """Read the output of a running cell until *text* is in it."""
        seen = ""
        for message in self.outputs(message_id):
            seen += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
            if message["msg_type"] == "error":
                raise AssertionError(message["content"]["evalue"])
            if text in seen:
                return seen
        raise AssertionError(f"the cell ended without {text!r}: {seen!r}")

    def run(self, code, *, ok=True):
        """Run a cell to its end."""
        reply = self.wait(self.send(code))
        if ok and reply.error:
            raise AssertionError(reply.error + "\n" + reply.text)
        return reply

    def run_silently(self, code):
        """Run code that is no cell: no hook of a cell sees it."""
        self._shell_reply(self.client.execute(code, silent=True))

    def settle(self):
        """Return once the state after the last cell is committed."""
        self.evaluate("__import__('keepstate').snapshot().id")

    def evaluate(self, expression):
        """Return a value that is no cell's: no hook of a cell sees that it is asked for."""
        message = self.client.execute("", silent=True, user_expressions={"s": expression})
        answer = self._shell_reply(message)["user_expressions"]["s"]
        assert answer["status"] == "ok", answer
        return ast.literal_eval(answer["data"]["text/plain"])

    def _shell_reply(self, message):
        reply = self.client.get_shell_msg(timeout=TIMEOUT)
        while reply["parent_header"].get("msg_id") != message:
            reply = self.client.get_shell_msg(timeout=TIMEOUT)
        assert reply["content"]["status"] == "ok", reply["content"]
        return reply["content"]

    def idle_messages(self, seconds):
        """Collect what the kernel sends unasked for so long."""
        found = []
        until = SYSTEM_CLOCK.monotonic() + seconds
        while (left := until - SYSTEM_CLOCK.monotonic()) > 0:
            try:
                found.append(self.client.get_iopub_msg(timeout=left)["msg_type"])
            except queue.Empty:
                break
        return found

    def pause(self, seconds):
        """Wait beside the running kernel."""
        Event().wait(seconds)

    def interrupt(self):
        """What the stop button does."""
        self._manager.interrupt_kernel()

    def kill(self):
        """``kill -9``: no handler, no ``atexit``."""
        os.kill(self.pid, signal.SIGKILL)
        self._close()

    def shutdown(self):
        """What a front end does at the end."""
        self.client.shutdown()
        self._manager.finish_shutdown()
        self._close()

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.end()

    def end(self):
        """Kill it if it still lives."""
        if self._manager is not None and self._manager.is_alive():
            self.kill()

    def _close(self):
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        with warnings.catch_warnings():
            # What the older clients leave open is closed here, and not in the middle of another test.
            warnings.simplefilter("ignore", ResourceWarning)
            self.client = self._manager = None
            gc.collect()
