"""Machines that keep their state at an S3 store: each has a disk that can be wiped, and can lose its power.

All processes of a machine are told by a variable that they inherit, so those that have left the kernel's
process group, and outlive it, are found as well.
"""

import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
from threading import Event

import psutil
import requests
from kernels import TIMEOUT, Kernel, Reply
from s3_servers import RcloneServer, wait_until

from keepstate._transfer.folder import Folder

_MACHINE = "TEST_MACHINE"
_LOUD = ("stream", "display_data", "update_display_data", "error", "execute_result", "clear_output")
_END_SECONDS = 30.0
"""What a process may take that was asked to end."""

DEFINITIONS = """
import json
import numpy as np
PARTS, PART_BYTES = 8, 256 << 10
def part(step):
    return np.frombuffer(np.random.default_rng(step).bytes(PART_BYTES), np.uint8)
def torn():
    '''What of the state is not what it was at this step.'''
    newest = {}
    for one in range(-PARTS, step + 1):
        newest[one % PARTS] = max(one, 0)
    wrong = [k for k in range(PARTS) if not np.array_equal(parts[k], part(newest[k]))]
    return wrong + ([] if trail == list(range(1, step + 1)) else ['trail'])
def listed():
    return [
        {'id': each.id, 'lineage': each.lineage, 'sequence': each.sequence, 'note': each.note,
         'consistency': each.consistency, 'durability': each.durability} for each in keepstate.snapshots()
    ]
"""
"""Each step changes an eighth of the state in place, and every byte follows from the number of the step."""
BEGIN = """
step, parts, trail = 0, [part(0).copy() for _ in range(PARTS)], []
keepstate.track('step', 'parts', 'trail')
"""
STEP = "step += 1; parts[step % PARTS][:] = part(step); trail.append(step)"
"""One line: no picture that calls itself consistent was taken between its parts."""
LOOK = """
import json
print(json.dumps({'step': step, 'torn': torn(), 'listed': listed(), 'failed': dict(s.restored.failed),
                  'restored': s.restored.snapshot.id, 'remarks': list(s.restored.remarks)}))
"""


class WatchedKernel(Kernel):
    """A kernel that remembers what was shown when no cell of ours was running."""

    def __init__(self, cwd, **environment):
        self.strays = []
        super().__init__(cwd, **environment)

    def outputs(self, message_id):
        """Yield the messages of a cell until it is done."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=TIMEOUT)
            except queue.Empty:
                raise TimeoutError("the cell does not end") from None
            if message["parent_header"].get("msg_id") != message_id:
                self._remember(message)
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return
            yield message

    def _remember(self, message):
        if message["msg_type"] in _LOUD:
            self.strays.append(message["content"])

    def silent(self, seconds=0.1):
        """Whether nothing was ever shown beside a cell, and nothing is now."""
        while True:
            try:
                self._remember(self.client.get_iopub_msg(timeout=seconds))
            except queue.Empty:
                return not self.strays

    def say(self, expression):
        """Give the value of an expression that JSON has."""
        reply = self.run(f"import json; print(json.dumps({expression}, default=str))")
        return json.loads(reply.text)

    def until(self, expression, what="", seconds=60.0):
        """Run small cells until *expression* is true; give what it is then."""
        return wait_until(lambda: self.say(expression), what or expression, seconds)

    def show(self, message_id):
        """Wait for a cell and tell what it printed; it must not fail."""
        reply: Reply = self.wait(message_id)
        assert not reply.error, f"{reply.error}\n{reply.text}"
        return reply.text


class Machine:
    """One machine: a disk, and whatever runs there."""

    def __init__(self, folder, address, **environment):
        self.disk = folder
        self.disk.mkdir()
        self.address = address
        self.token = secrets.token_hex(8)
        self.environment = {
            "XDG_STATE_HOME": str(self.disk / "state"),
            _MACHINE: self.token,
            **environment,
        }
        self.kernels = []

    def kernel(self, code=None, **environment):
        """Start a kernel, and in it a session, or other *code*; what that prints is in ``said``."""
        kernel = WatchedKernel(self.disk, **{**self.environment, **environment})
        self.kernels.append(kernel)
        kernel.said = kernel.run(start(self.address) if code is None else code).text if code != "" else ""
        return kernel

    def script(self, code):
        """Run a plain script to its end and give what it printed; it must not complain of anything."""
        path = self.disk / "script.py"
        path.write_text(code)
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("KEEPSTATE", "JPY_"))}
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=self.disk,
            env={**variables, "HOME": str(self.disk), **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def processes(self):
        """All that runs here."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MACHINE) == self.token and process.status() != "zombie":
                    found.append(process)
        return found

    def transfers(self):
        """The processes that send, or wait for their turn to."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if "keepstate._transfer" in process.cmdline():
                    found.append(process)
        return found

    def report(self):
        """What the process that sends has said last; ``None``: nothing yet."""
        for folder in (self.disk / "state" / "keepstate" / "near").glob("*"):
            if (found := Folder.of(folder).read_report()) is not None:
                return found
        return None

    def verified(self):
        """Ids of all snapshots that anybody on this machine would call verified now."""
        report = self.report()
        levels = {} if report is None else report.levels
        return {own for own, level in levels.items() if level == "verified"}

    def lose_power(self):
        """Kill everything at once, with no last words."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._leave_kernels()
        wait_until(lambda: not self.processes(), "everything is dead", _END_SECONDS)

    def wipe(self):
        """Lose the disk as well."""
        self.lose_power()
        shutil.rmtree(self.disk)

    def _leave_kernels(self):
        """Kill those that live, and close what speaks to the dead ones."""
        for kernel in self.kernels:
            kernel.end()
            if kernel.client is not None:
                kernel._close()

    def settle(self):
        """See that nothing was said beside the cells; end all kernels, then whatever is left must go."""
        alive = [kernel for kernel in self.kernels if kernel.client is not None]
        loud = [kernel.strays for kernel in alive if not kernel.silent()]
        self._leave_kernels()
        for process in self.transfers():
            with contextlib.suppress(psutil.Error):
                process.terminate()
        try:
            wait_until(lambda: not self.processes(), "no process of ours is left", _END_SECONDS)
        finally:
            left = [process.cmdline() for process in self.processes()]
            if left:
                self.lose_power()
        assert not left, left
        assert not loud, f"shown beside the cells: {loud}"


class Place:
    """A folder at a store, and the machines that keep their state there."""

    def __init__(self, server, folder, disks):
        self.server = server
        self.folder = folder
        self.address = server.address("bucket", folder)
        self.machines = []
        self._disks = disks

    def machine(self, *, address=None, **environment):
        """Set up a new machine with an empty disk."""
        disk = self._disks / f"machine-{len(self.machines)}"
        found = Machine(disk, address or self.address, **{**self.server.credentials, **environment})
        self.machines.append(found)
        return found

    def command(self, *words, address=None, **environment):
        """Run the command line elsewhere, for this store; give what it did."""
        return subprocess.run(
            [sys.executable, "-m", "keepstate", *words, "--store", address or self.address],
            env={**os.environ, **self.server.credentials, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def must_be_sound(self):
        """Have every byte at the store read."""
        done = self.command("verify", "--deep", "--json")
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self):
        """End what still runs on any of the machines."""
        for machine in self.machines:
            machine.settle()


def start(address, *, member="m", interval=0.5, more=""):
    """The first cell of a notebook, with what the others need; prints what ``start()`` does."""
    return (
        f"import keepstate\n"
        f"s = keepstate.start(store={address!r}, project='p', member={member!r}, notebook='n', "
        f"interval={interval}{more})\n{DEFINITIONS}"
    )


class OwnKey(RcloneServer):
    """A server whose secret can be changed, as a key that expires."""

    def command(self):
        """As of any rclone, with our secret."""
        said = super().command()
        said[said.index("--auth-key") + 1] = ",".join(self.credentials.values())
        return said

    def answers(self):
        """Whether it says anything: what asks for the tests has the first key."""
        with contextlib.suppress(requests.ConnectionError):
            return self.ask("GET", "/").status_code in (200, 403)
        return False

    def change_secret(self, secret):
        """Accept this one from now on, and no other."""
        self.credentials = {**self.credentials, "AWS_SECRET_ACCESS_KEY": secret}
        self.restart()


def pause(seconds):
    """Let the machines do what they do."""
    Event().wait(seconds)


class Campaign:
    """Kills at random instants; then the disk is wiped, and a new machine must have what was promised.

    Args:
        place: The store.
        chance: Decides everything that is left to it.
        address: Of the same store through a bad network, for the machines.
    """

    def __init__(self, place, chance, address=None):
        self.place = place
        self.chance = chance
        self.address = address
        self.claimed = {}
        """Every snapshot that was called verified → the round in which it was."""
        self.told = []
        """What happened in each round, for whoever looks on."""
        self._machine = place.machine(address=address)
        self._kernel = self._machine.kernel()
        self._kernel.run(BEGIN)
        self._before = None
        self._lineage = self._kernel.say("s._saving.lineage")

    def round(self):
        """Work, die, and come back on another machine."""
        kernel, machine = self._kernel, self._machine
        mode = self.chance.choice(("saving", "sending", "finishing"))
        alone = self.chance.random() < 0.4
        instant = getattr(self, f"_{mode}")(kernel)
        pause(instant)
        kernel_said = self._said_in(kernel)
        if alone:
            kernel.kill()
            later = self.chance.uniform(0.0, 3.0)
            pause(later)
        claimed_before = machine.verified()
        machine.lose_power()
        claimed = machine.verified() | claimed_before | kernel_said
        shutil.rmtree(machine.disk)
        for own in claimed:
            self.claimed.setdefault(own, len(self.told))
        seen = self._come_back()
        self._judge(seen, claimed)
        self.told.append(
            f"{mode}{', kernel first' if alone else ''} at {instant:.2f} s: step {seen['step']}, "
            f"{len(claimed)} verified of {len(seen['listed'])}"
        )
        self.place.must_be_sound()

    def _saving(self, kernel):
        """Save again and again."""
        code = f"while True:\n    {STEP}\n    keepstate.snapshot(f'step {{step}}'); print(step, flush=True)"
        kernel.wait_for(kernel.send(code), "\n")
        return self.chance.uniform(0.0, 1.5)

    def _sending(self, kernel):
        """Save, and be still until that is sent: a round begins two seconds after the last snapshot."""
        for _ in range(self.chance.randint(1, 3)):
            kernel.run(f"{STEP}\nkeepstate.snapshot(f'step {{step}}')")
        return self.chance.uniform(1.8, 4.5)

    def _finishing(self, kernel):
        """Have everything sent at once."""
        kernel.run(f"{STEP}\nkeepstate.snapshot(wait=False)")
        kernel.send(f"{STEP}\nprint(keepstate.finish(release=False).last_snapshot.id)")
        return self.chance.uniform(0.0, 2.5)

    def _said_in(self, kernel):
        """A finish() that has returned has promised that the last snapshot is there."""
        found = set()
        with contextlib.suppress(queue.Empty):
            while True:
                content = kernel.client.get_iopub_msg(timeout=0)["content"]
                said = content.get("text", "").strip()
                if len(said) == 20 and set(said) <= set("0123456789abcdef"):
                    found.add(said)
        return found

    def _come_back(self):
        self._machine = self.place.machine(address=self.address)
        self._kernel = self._machine.kernel()
        nothing = self._kernel.say("s.restored is None")
        if nothing:
            self._kernel.run(BEGIN)
        seen = (
            {"step": 0, "torn": [], "listed": [], "failed": {}, "restored": None, "remarks": []}
            if nothing
            else json.loads(self._kernel.run(LOOK).text)
        )
        seen["lineage"], self._lineage = self._lineage, self._kernel.say("s._saving.lineage")
        return seen

    def _judge(self, seen, claimed):
        everything = {each["id"]: each for each in seen["listed"]}
        lost = self.claimed.keys() - everything.keys()
        assert not lost, f"called verified, and not there: {lost}; {self.told}"
        assert not seen["failed"], seen
        restored = everything.get(seen["restored"])
        if restored is None:
            assert not self.claimed, f"nothing was restored of {self.claimed}"
            assert self._before is None, f"gone: {self._before}"
            return
        assert restored["consistency"] == "operation" or not seen["torn"], seen
        if restored["note"]:
            assert seen["step"] == int(restored["note"].removeprefix("step ")), seen
        self._must_be_new_enough(restored, [everything[own] for own in claimed], seen)
        self._before = restored

    def _must_be_new_enough(self, restored, claimed, seen):
        own = [each for each in claimed if each["lineage"] == seen["lineage"]]
        consistent = [each for each in own if each["consistency"] != "operation"]
        newest = max((each["sequence"] for each in consistent), default=0)
        if newest or self._before is None:
            assert restored["lineage"] == seen["lineage"], seen
            assert restored["sequence"] >= newest, seen
        elif restored["lineage"] != seen["lineage"]:
            assert restored == {**self._before, "durability": restored["durability"]}, seen
        steps = [
            int(each["note"].removeprefix("step "))
            for each in seen["listed"]
            if each["note"]
            and each["lineage"] == restored["lineage"]
            and each["sequence"] <= restored["sequence"]
        ]
        assert seen["step"] >= max(steps, default=0), seen
