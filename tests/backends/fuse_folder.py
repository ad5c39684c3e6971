"""A file system in user space that is really mounted, and hangs, fails or dies as a test says.

It speaks the kernel's protocol on /dev/fuse by itself, and shows what is in another folder. Only here can be
seen what no stand-in shows: a process in a call on a wedged mount that not even SIGKILL ends. Needs root.
Source: include/uapi/linux/fuse.h, protocol 7.31; errors and lengths as in Documentation/filesystems/fuse.rst.
"""

import contextlib
import ctypes
import errno
import itertools
import json
import os
import select
import stat
import struct
import subprocess
import sys
from pathlib import Path

NAMES = {
    1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename",
    14: "open", 15: "read", 16: "write", 17: "statfs", 18: "release", 20: "fsync", 25: "flush", 26: "init",
    27: "opendir", 28: "readdir", 29: "releasedir", 35: "create", 36: "interrupt", 38: "destroy",
    42: "batch_forget", 45: "rename2",
}  # fmt: skip
_UNANSWERED = {"forget", "batch_forget", "interrupt"}
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_MOST_WRITE = 128 << 10
_FLAGS = 1 << 5 | 1 << 22  # writes longer than a page, as many pages as said
_SIZE_IS_GIVEN = 1 << 3
_DETACH = 2
_C = ctypes.CDLL(None, use_errno=True)


class CannotMountError(Exception):
    """A test that needs it should be skipped."""


class FuseFolder:
    """A mounted folder of type ``fuse.drive``; ``path`` is where, ``behind`` what it shows."""

    def __init__(self, folder):
        folder = Path(folder)
        self.path, self.behind = folder / "mount", folder / "behind"
        self._rules, self._log = folder / "fuse-rules.json", folder / "fuse-calls"
        self._stuck = folder / "fuse-stuck"
        self.path.mkdir()
        self.behind.mkdir()
        self._log.touch()
        self._daemon = None
        self.set()

    def set(self, *, hang=(), errno=None):
        """Let these requests never be answered, or answered with these numbers."""
        beside = self._rules.with_suffix(".new")
        beside.write_text(json.dumps({"hang": list(hang), "errno": errno or {}}))
        beside.rename(self._rules)
        self._stuck.unlink(missing_ok=True)

    def is_stuck(self):
        """Whether a request was left unanswered since this was set."""
        return self._stuck.exists()

    def calls(self):
        """Give every request so far, as the id of the process that made it and its kind."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [(int(pid), name) for pid, name in lines]

    def mount(self):
        """Mount it, again if it was taken away; where that is allowed."""
        if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid():
            raise CannotMountError("mounting a file system needs root")
        arguments = [str(each) for each in (self.path, self.behind, self._rules, self._log, self._stuck)]
        self._daemon = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._daemon.stdout.readline() != b"mounted\n":
            self.unmount()
            raise CannotMountError("this machine does not let us mount a file system")

    def die(self):
        """Kill what is behind the mount, and leave the mount."""
        self._daemon.kill()
        self._daemon.communicate()

    def unmount(self):
        """Take it away, which frees every process that hangs in it."""
        _C.umount2(os.fsencode(self.path), _DETACH)
        if self._daemon is not None:
            self.die()


@contextlib.contextmanager
def fuse_folder(folder):
    """Mount a folder while the block runs."""
    mounted = FuseFolder(folder)
    try:
        mounted.mount()
        yield mounted
    finally:
        mounted.unmount()


class _Daemon:
    def __init__(self, behind, rules, log, stuck):
        self._rules = rules
        self._log = log
        self._stuck = stuck
        self._open_nodes = {1: os.open(behind, os.O_PATH)}
        self._known = {}
        self._numbers = itertools.count(2)

    def answer(self, device, request):
        _, opcode, unique, node, _, _, pid, _ = _IN.unpack_from(request)
        name = NAMES.get(opcode, str(opcode))
        with open(self._rules, encoding="utf-8") as file:
            rules = json.load(file)
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(f"{pid} {name}\n")
        if name in rules["hang"]:
            Path(self._stuck).touch()
        if name in _UNANSWERED or name in rules["hang"]:
            return
        failed, body = 0, b""
        try:
            if name in rules["errno"]:
                raise OSError(rules["errno"][name], "as the test says")
            call = getattr(self, f"_{name}", None)
            if call is None:
                raise OSError(errno.ENOSYS, "not made")
            body = call(node, request[_IN.size :])
        except OSError as error:
            failed = -error.errno
        with contextlib.suppress(FileNotFoundError):  # whoever asked has gone
            os.write(device, _OUT.pack(_OUT.size + len(body), failed, unique) + body)

    def _path(self, node):
        return f"/proc/self/fd/{self._open_nodes[node]}".encode()

    def _entry(self, node, name):
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._open_nodes[node])
        inode = os.fstat(descriptor).st_ino
        if inode in self._known:
            os.close(descriptor)
        else:
            self._known[inode] = next(self._numbers)
            self._open_nodes[self._known[inode]] = descriptor
        found = self._known[inode]
        return struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + self._attributes(found)

    def _attributes(self, node):
        seen = os.fstat(self._open_nodes[node])
        seconds = int(seen.st_mtime)
        return struct.pack(
            "<QQQQQQIIIIIIIIII",
            *(seen.st_ino, seen.st_size, seen.st_blocks, seconds, seconds, seconds, 0, 0, 0),
            *(seen.st_mode, seen.st_nlink, seen.st_uid, seen.st_gid, 0, 4096, 0),
        )

    def _init(self, node, body):
        return struct.pack(
            "<IIIIHHIIHHI28x", 7, 31, 0, _FLAGS, 0, 0, _MOST_WRITE, 1, _MOST_WRITE // 4096, 0, 0
        )

    def _lookup(self, node, body):
        return self._entry(node, body.rstrip(b"\0"))

    def _getattr(self, node, body):
        return struct.pack("<QII", 0, 0, 0) + self._attributes(node)

    def _setattr(self, node, body):
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & _SIZE_IS_GIVEN:
            os.truncate(self._path(node), size)
        return self._getattr(node, b"")

    def _mkdir(self, node, body):
        name = body[8:].rstrip(b"\0")
        os.mkdir(os.path.join(self._path(node), name))
        return self._entry(node, name)

    def _unlink(self, node, body):
        os.unlink(os.path.join(self._path(node), body.rstrip(b"\0")))
        return b""

    def _rename2(self, node, body, skip=16):
        [target] = struct.unpack_from("<Q", body)
        old, new = body[skip:].split(b"\0")[:2]
        os.replace(os.path.join(self._path(node), old), os.path.join(self._path(target), new))
        return b""

    def _rename(self, node, body):
        return self._rename2(node, body, skip=8)

    def _open(self, node, body):
        [flags] = struct.unpack_from("<I", body)
        return struct.pack("<QII", os.open(self._path(node), flags & ~os.O_NOFOLLOW), 0, 0)

    def _create(self, node, body):
        flags, mode, _, _ = struct.unpack_from("<IIII", body)
        name = body[16:].rstrip(b"\0")
        descriptor = os.open(os.path.join(self._path(node), name), flags | os.O_CREAT, stat.S_IMODE(mode))
        return self._entry(node, name) + struct.pack("<QII", descriptor, 0, 0)

    def _read(self, node, body):
        descriptor, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(descriptor, size, offset)

    def _write(self, node, body):
        descriptor, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(descriptor, body[40 : 40 + size], offset), 0)

    def _flush(self, node, body):
        return b""

    _fsync = _releasedir = _destroy = _flush

    def _release(self, node, body):
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _opendir(self, node, body):
        return struct.pack("<QII", 0, 0, 0)

    def _readdir(self, node, body):
        _, offset, size = struct.unpack_from("<QQI", body)
        listed = b""
        for number, name in enumerate(sorted(os.listdir(self._path(node)))):
            entry = struct.pack("<QQII", number + 2, number + 1, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if number >= offset and len(listed) + len(entry) <= size:
                listed += entry
        return listed


def main(path, behind, rules, log, stuck):
    """Be what is behind the mount, until standard input is closed."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if _C.mount(b"drive", os.fsencode(path), b"fuse.drive", 0, options):
        return
    daemon = _Daemon(behind, rules, log, stuck)
    daemon.answer(device, os.read(device, _MOST_WRITE + 4096))
    os.write(1, b"mounted\n")
    while True:
        readable, _, _ = select.select([device, 0], [], [])
        if 0 in readable:
            _C.umount2(os.fsencode(path), _DETACH)
            return
        try:
            daemon.answer(device, os.read(device, _MOST_WRITE + 4096))
        except FileNotFoundError:
            continue  # whoever asked was interrupted
        except OSError as error:
            if error.errno == errno.ENODEV:
                return  # unmounted
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
