"""A simple transfer for the tests of the process that runs it: whole files from one folder to another.

What it does next stands in a file that the test writes, what it has done in one that the test reads.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from threading import Event

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository.lease import process_started
from keepstate._transfer import Pending, Progress, Round, lookout
from keepstate.errors import CredentialsError, StoreFullError, UnavailableError

MAKE = "agent_work:make_work"
FOLDER = Path("members/me/manifests/project/notebook")
POLL_SECONDS = 0.01
TICK_SECONDS = 0.1
"""Ticks of the file systems under the tests take 10 ms at most: the process need not doubt for a second."""
LONGEST_HOLD_SECONDS = 120


def commit(near, snapshot_id, nbytes=10):
    """Put a snapshot into the repository as its writer does: under its name at once, or not at all."""
    folder = near / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = near / f"{snapshot_id}.tmp"
    temporary.write_bytes(snapshot_id[-1:].encode() * nbytes)
    temporary.rename(folder / f"{snapshot_id}.manifest")


def make_work(near, address, credentials, settings, stop):
    """Make it, as the process does; done there alone, where nobody else looks."""
    lookout.TICK_SECONDS = TICK_SECONDS
    return FileWork(near, address.path, Path(settings["control"]), credentials.reveal("KEY"))


class FileWork:
    def __init__(self, near, far, control, key):
        self.near = near / FOLDER
        self.far = far
        self.control = control
        self.key = key
        far.mkdir(parents=True, exist_ok=True)
        self.note("made", key_of=key)

    def note(self, what, *, key_of=""):
        """Add a line to what was done: who, what, and which credentials by their last character."""
        with open(self.far / "journal", "a") as journal:
            journal.write(f"{os.getpid()} {what} {key_of[-1:]}\n")

    def behave(self, *ways):
        """Do what the test has written, if it is one of *ways*."""
        way = self.control.read_text() if self.control.exists() else ""
        if way not in ways:
            return
        self.note(way)
        match way:
            case "unavailable":
                raise UnavailableError(f"no answer to a request with key {self.key}: look at the network")
            case "busy":
                raise UnavailableError("too many requests: come back later", retry_after_seconds=3600)
            case "credentials":
                raise CredentialsError(f"the key {self.key} is not accepted: give another")
            case "full":
                raise StoreFullError("no space is left: free some")
            case "broken":
                sys.stdout.write(f"a library prints {self.key}\n")
                logging.getLogger("library").error("a library logs %s", self.key)
                raise ZeroDivisionError(f"while using {self.key}")
            case "dead":
                os._exit(9)

    def missing(self):
        there = {path.stem for path in self.near.glob("*.manifest")}
        return sorted(there - set(self.levels()))

    def pending(self):
        self.note("count")
        self.behave("unavailable", "busy", "credentials", "broken")
        ids = self.missing()
        return Pending(tuple(ids), sum((self.near / f"{one}.manifest").stat().st_size for one in ids))

    def run(self, *, urgent, stop, on_progress):
        began = SYSTEM_CLOCK.monotonic()
        alone = self.far / "alone"
        try:
            alone.touch(exist_ok=False)
        except FileExistsError:
            owner = alone.read_text()
            if owner and int(owner) != os.getpid() and process_started(int(owner)):
                self.note("TWICE")
        alone.write_text(str(os.getpid()))
        self.note("urgent" if urgent else "run", key_of=self.key)
        try:
            done, sent = self.copy(stop, on_progress)
        finally:
            alone.unlink()
        return Round(tuple(done), sent, len(done), SYSTEM_CLOCK.monotonic() - began)

    def copy(self, stop, on_progress):
        done, sent = [], 0
        way = self.control.read_text() if self.control.exists() else ""
        for one in [] if way == "nothing" else self.missing():
            if stop.is_set():
                break
            self.behave("full", "dead")
            data = (self.near / f"{one}.manifest").read_bytes()
            self.note(f"request:{one}")
            self.hold()
            temporary = self.far / f"{one}.part"
            temporary.write_bytes(data)
            temporary.rename(self.far / f"{one}.manifest")
            done.append(one)
            sent += len(data)
            on_progress(Progress(sent, sent, len(done)))
        return done, sent

    def hold(self):
        """Let a request take as long as the test says."""
        until = SYSTEM_CLOCK.monotonic() + LONGEST_HOLD_SECONDS
        while self.control.exists() and self.control.read_text() == "hold":
            assert SYSTEM_CLOCK.monotonic() < until
            Event().wait(POLL_SECONDS)

    def levels(self):
        return {path.stem: "verified" for path in self.far.glob("*.manifest")}

    def upkeep(self):
        self.note("upkeep")
        self.behave("untidy")
