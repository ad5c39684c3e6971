"""A helper process whose calls of the operating system fail, hang or lie as a test says.

A test says it through :class:`Faults`; as a program, this file is run by the backend in place of
``_mount_process.py``. Rules are read anew at every call, so that they hold for helpers that run already.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import threading
from pathlib import Path

CALLS = [
    "device", "look", "entries", "make_folder", "create", "open", "seen", "read", "write", "sync", "close",
    "rename", "empty", "remove",
]  # fmt: skip
"""What a helper asks the operating system for."""


class Faults:
    """The rules, in a file of *folder*; empty at first.

    ``faults.set(write={"errno": 5}, rename={"hang": True})`` gives each call its rule:

    - ``errno``: it fails with that number; with ``share``, only that share of the calls does
    - ``hang``: it never returns; ``stop``: the whole process stands still
    - ``delay``: it takes so many seconds more
    - ``after``: what is said happens when the call itself has been made
    - ``size``: a look shows so many bytes; with ``named``, only for paths that end with that
    - ``hide``: a listing lacks the names that begin with one of these
    - ``of``: path → number of the file system that it seems to be in
    - ``piece``: most bytes that are written at a time
    """

    def __init__(self, folder, **constants):
        self._rules = Path(folder) / "rules.json"
        self._log = Path(folder) / "calls"
        self._stuck = Path(folder) / "stuck"
        self._log.touch()
        self._told = 0
        self._constants = constants
        self.set()

    @property
    def program(self):
        """For ``open_mounted``."""
        process = Path(__file__).parents[2] / "keepstate" / "backends" / "_mount_process.py"
        return (__file__, str(process), str(self._rules), str(self._log), str(self._stuck))

    def set(self, **rules):
        """Put these rules in the place of all earlier ones."""
        assert not rules.keys() - {*CALLS}
        beside = self._rules.with_suffix(".new")
        beside.write_text(json.dumps({"calls": rules, "constants": self._constants}))
        beside.rename(self._rules)
        self._stuck.unlink(missing_ok=True)

    def is_stuck(self):
        """Whether a call hangs since the rules were set."""
        return self._stuck.exists()

    def calls(self):
        """Give every call since the last question, as its name and the last part of its path."""
        lines = self._log.read_text().splitlines()
        told, self._told = self._told, len(lines)
        return [tuple(line.split(" ")) for line in lines[told:]]


def upload(here, there, *, lost=(), empty=()):
    """Bring what is in one machine's folder to another's, as Drive does in its own time.

    Args:
        here: Folder of the one.
        there: Folder of the other.
        lost: Names that do not arrive.
        empty: Names that arrive without their bytes.
    """
    for file in [*Path(here).rglob("*")]:
        name = file.relative_to(here).as_posix()
        if file.is_dir() or name in lost:
            continue
        target = Path(there) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in empty:
            target.touch()
        else:
            shutil.copyfile(file, target)


class _Ruled:
    def __init__(self, rules, log, stuck):
        self._rules = rules
        self._log = log
        self._stuck = stuck
        self._random = random.Random(5)

    def wrap(self, name, call):
        def ruled(*args):
            with open(self._rules, encoding="utf-8") as file:
                rule = json.load(file)["calls"].get(name, {})
            last = os.path.basename(args[-1]).decode() if isinstance(args[-1], bytes) else "-"
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{name} {last}\n")
            if rule.get("after"):
                call(*args)
            self._happen(rule)
            if name == "write" and "piece" in rule:
                args = (args[0], args[1][: rule["piece"]])
            if name == "device" and (number := rule.get("of", {}).get(os.fsdecode(args[0]))):
                return number
            return self._shown(rule, name, last, call(*args))

        return ruled

    def _happen(self, rule):
        if "delay" in rule:
            threading.Event().wait(rule["delay"])
        if "errno" in rule and self._random.random() < rule.get("share", 1.0):
            raise OSError(rule["errno"], os.strerror(rule["errno"]))
        if rule.get("stop") or rule.get("hang"):
            Path(self._stuck).touch()
        if rule.get("stop"):
            os.kill(os.getpid(), signal.SIGSTOP)
        while rule.get("hang"):
            signal.pause()

    def _shown(self, rule, name, last, found):
        if name == "entries" and "hide" in rule:
            return [each for each in found if not each[0].decode().startswith(tuple(rule["hide"]))]
        if "size" in rule and last.endswith(rule.get("named", "")):
            return os.stat_result([*found[:6], rule["size"], *found[7:10]])
        return found


def main(process_file, rules, log, stuck, root):
    """Be a helper with faults."""
    spec = importlib.util.spec_from_file_location("mount_process", process_file)
    process = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(process)
    with open(rules, encoding="utf-8") as file:
        vars(process).update(json.load(file)["constants"])
    files, ruled = process.Files(), _Ruled(rules, log, stuck)
    for name in CALLS:
        setattr(files, name, ruled.wrap(name, getattr(files, name)))
    process.serve(process.Channel(0), process.Folder(os.fsencode(root), files))


if __name__ == "__main__":
    main(*sys.argv[1:])
