"""Who does the work of one save: the calling thread alone, or several beside it.

Hashing, compressing and writing leave the interpreter to others while they run. A thread does all that is to
be done with a chunk, so that its bytes stay in the cache of one processor, and has another one wait for the
disk. Only a process that was forked for it has several: in a kernel they would take the processors and the
interpreter from the user. Its threads are new ones; those that were there before the fork are gone, and
nothing here waits for them.
"""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from keepstate._repository import compression

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Arguments = ParamSpec("Arguments")
    Result = TypeVar("Result")


STACK_BYTES = 1 << 20
"""Of each thread: what the system sets aside, 8 MiB mostly, would count where memory is bounded."""


class Crew:
    """Those who help the calling thread, and those who write.

    Args:
        threads: That hash and compress, the calling one counted; 1: it does everything, and at once.
    """

    def __init__(self, threads: int) -> None:
        self._stack = ExitStack()
        self.writers: list[Executor] = [AtOnce()]
        """For each thread that hashes and compresses, who writes for it, in the order in which it asks."""
        self.helpers: Executor = AtOnce()
        """One thread less than there are writers."""
        if threads > 1:
            self._start(threads)

    def _start(self, threads: int) -> None:
        before = threading.stack_size(STACK_BYTES)
        try:
            helpers = self._pool(threads - 1)
            writers = [self._pool(1) for _ in range(threads)]
        except RuntimeError:
            self.end()
            return  # the system gives no more threads: this one does all
        finally:
            threading.stack_size(before)
        self._stack.enter_context(compression.beside_other_threads())
        self.helpers, self.writers = helpers, [*writers]

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="keepstate-save")
        self._stack.callback(pool.shutdown, cancel_futures=True)
        for future in [pool.submit(int) for _ in range(threads)]:
            future.result()
        return pool

    def end(self) -> None:
        """Return when nobody works any more; what was not begun never will be."""
        self._stack.close()


class AtOnce(Executor):
    """Does what it is given before it returns."""

    def submit(
        self,
        fn: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Call *fn*."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future
