"""Disks that fail when they are told to, and disks on which two parties take turns."""

import os
import random
import threading

from keepstate._base.disk import Disk

WRITES = ("create", "write", "sync", "close", "publish", "sync_directory", "make_directory", "remove")
READS = ("entries", "lengths", "read")


class Quick(Disk):
    """Does not wait for the platter: for tests in which no real power fails."""

    def sync(self, descriptor):
        pass

    def sync_directory(self, path):
        pass


class Watched(Quick):
    """Calls :meth:`at` before each operation with its name and number, from 0."""

    watched = WRITES

    def __init__(self):
        self.count = 0

    def at(self, operation, number):
        pass


def _watch(name):
    plain = getattr(Quick, name)

    def operation(self, *args, **more):
        if name in self.watched:
            number, self.count = self.count, self.count + 1
            self.at(name, number)
        return plain(self, *args, **more)

    return operation


for _name in (*WRITES, *READS):
    setattr(Watched, _name, _watch(_name))


class Failing(Watched):
    """Fails at one operation, or from one on."""

    def __init__(self, number, code, *, from_then_on=False, only=None):
        super().__init__()
        self.number, self.code, self.from_then_on, self.only = number, code, from_then_on, only
        self.failed = 0

    def at(self, operation, number):
        hit = number >= self.number if self.from_then_on else number == self.number
        if hit and (self.only is None or operation in self.only):
            self.failed += 1
            raise OSError(self.code, os.strerror(self.code))


class Crashed(BaseException):
    """The process ends here: nothing that comes after it reaches the disk."""


class Crashing(Watched):
    """Ends at one operation; nothing later happens, as after SIGKILL."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def at(self, operation, number):
        if number >= self.number:
            raise Crashed


class Turns(Watched):
    """Waits for its turn before each operation, also before those that only look."""

    watched = (*WRITES, *READS)

    def __init__(self):
        super().__init__()
        self.go, self.arrived = threading.Semaphore(0), threading.Semaphore(0)

    def at(self, operation, number):
        self.arrived.release()
        self.go.acquire()


class Party:
    """Runs a call on a :class:`Turns` disk, operation by operation."""

    def __init__(self, call):
        self.disk = Turns()
        self.result = self.error = None
        self.done = False
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.disk.arrived.acquire()

    def _run(self):
        try:
            self.result = self._call(self.disk)
        except BaseException as error:
            self.error = error
        self.done = True
        self.disk.arrived.release()

    def steps(self, count):
        """Do *count* operations, or all that are left."""
        while count and not self.done:
            self.disk.go.release()
            self.disk.arrived.acquire()
            count -= 1
        if self.done:
            self._thread.join()


ALL = 1 << 30


def pairs(seed, count, most):
    """Some pairs of numbers of steps, always the same ones."""
    source = random.Random(seed)
    return [(source.randrange(most), source.randrange(most)) for _ in range(count)]
