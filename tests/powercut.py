"""Replay what was done to a disk into every state that a power cut may leave.

A :class:`RecordingDisk` does the real operations and remembers them. :func:`states` takes what was on disk
before and the record, and gives the trees that may be found after a power cut at each point of it:

- bytes of a file that were not synced: only the synced ones, half of the others, zeros in their place, or
  all;
- entries of a directory (made, renamed, removed) that were not synced: none, all, each alone, or all but
  each.

A rename is two entries in two directories here, each durable on its own: harsher than journals make it.
Source: the models of ALICE (Pillai et al., OSDI 2014) and of LevelDB's fault injection.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._base.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Tree = dict  # name → bytes, or a Tree

DATA = ("synced", "half", "zeros", "all")


@dataclass(frozen=True)
class Operation:
    kind: str
    path: Path
    data: bytes = b""
    target: Path | None = None


class RecordingDisk(Disk):
    """A real disk that remembers what was asked of it, and only remembers what is to be synced."""

    def __init__(self):
        self.log: list[Operation] = []
        self._open: dict[int, Path] = {}

    def mark(self, what: str, path: Path) -> None:
        """Remember a moment that is no operation."""
        self.log.append(Operation("mark", path, what.encode()))

    def create(self, path):
        descriptor = super().create(path)
        self._open[descriptor] = path
        self.log.append(Operation("create", path))
        return descriptor

    def write(self, descriptor, data):
        super().write(descriptor, data)
        self.log.append(Operation("write", self._open[descriptor], bytes(data)))

    def sync(self, descriptor):
        self.log.append(Operation("sync", self._open[descriptor]))

    def close(self, descriptor):
        super().close(descriptor)
        del self._open[descriptor]

    def publish(self, temporary, path):
        super().publish(temporary, path)
        self.log.append(Operation("publish", temporary, target=path))

    def sync_directory(self, path):
        self.log.append(Operation("sync_directory", path))

    def make_directory(self, path):
        there = path.is_dir()
        super().make_directory(path)
        if not there:
            self.log.append(Operation("make_directory", path))

    def remove(self, path):
        there = path.exists()
        super().remove(path)
        if there:
            self.log.append(Operation("remove", path))


@dataclass(eq=False)
class File:
    data: bytes = b""
    synced: int = 0

    def after(self, choice: str) -> bytes:
        if choice == "synced":
            return self.data[: self.synced]
        if choice == "half":
            return self.data[: self.synced + (len(self.data) - self.synced) // 2]
        if choice == "zeros":
            return self.data[: self.synced] + bytes(len(self.data) - self.synced)
        return self.data


@dataclass(eq=False)
class Folder:
    durable: dict = field(default_factory=dict)  # name → File or Folder
    pending: list = field(default_factory=list)  # (name, File or Folder or None), in order

    def now(self) -> dict:
        entries = dict(self.durable)
        for name, node in self.pending:
            _apply(entries, name, node)
        return entries

    def sync(self) -> None:
        self.durable, self.pending = self.now(), []


def _apply(entries, name, node):
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def take(path: Path) -> Tree:
    """Read a folder as a tree."""
    return {p.name: take(p) if p.is_dir() else p.read_bytes() for p in path.iterdir()}


def put(tree: Tree, path: Path) -> None:
    """Write a tree as a folder, which must not exist."""
    path.mkdir()
    for name, node in tree.items():
        if isinstance(node, dict):
            put(node, path / name)
        else:
            (path / name).write_bytes(node)


def _model(tree: Tree) -> Folder:
    return Folder({n: _model(x) if isinstance(x, dict) else File(x, len(x)) for n, x in tree.items()})


class Machine:
    """The disk as it is in memory and on the platter."""

    def __init__(self, root: Path, before: Tree):
        self.root, self.top = root, _model(before)

    def folder(self, path: Path) -> Folder:
        node = self.top
        for name in path.relative_to(self.root).parts:
            node = node.now()[name]
        return node

    def apply(self, op: Operation) -> None:
        if op.kind == "mark":
            return
        if op.kind == "sync_directory":
            if op.path.is_relative_to(self.root):
                self.folder(op.path).sync()
            return
        home = self.folder(op.path.parent)
        if op.kind == "create":
            home.pending.append((op.path.name, File()))
        elif op.kind == "make_directory":
            home.pending.append((op.path.name, Folder()))
        elif op.kind == "remove":
            home.pending.append((op.path.name, None))
        elif op.kind == "publish":
            node = home.now()[op.path.name]
            self.folder(op.target.parent).pending.append((op.target.name, node))
            home.pending.append((op.path.name, None))
        elif op.kind == "write":
            home.now()[op.path.name].data += op.data
        elif op.kind == "sync":
            node = home.now()[op.path.name]
            node.synced = len(node.data)

    def trees(self) -> Iterator[tuple[str, Tree]]:
        """Every tree that a power cut right now may leave."""
        pending = [entry for folder in self._folders(self.top) for entry in map(id, folder.pending)]
        names = {id(entry): entry[0] for folder in self._folders(self.top) for entry in folder.pending}
        subsets = [("no entries", set()), ("all entries", set(pending))]
        subsets += [(f"only {names[one]}", {one}) for one in pending]
        subsets += [(f"all but {names[one]}", set(pending) - {one}) for one in pending]
        for label, subset in subsets:
            for data in DATA:
                yield f"{label}, {data}", self._tree(self.top, subset, data)

    def _folders(self, folder: Folder) -> Iterator[Folder]:
        yield folder
        nodes = [*folder.durable.values(), *(node for _, node in folder.pending)]
        for node in {id(n): n for n in nodes}.values():
            if isinstance(node, Folder):
                yield from self._folders(node)

    def _tree(self, folder: Folder, subset: set, data: str) -> Tree:
        entries = dict(folder.durable)
        for entry in folder.pending:
            if id(entry) in subset:
                _apply(entries, *entry)
        return {
            name: node.after(data) if isinstance(node, File) else self._tree(node, subset, data)
            for name, node in entries.items()
        }


def states(root: Path, before: Tree, log: list[Operation]) -> Iterator[tuple[int, str, Tree]]:
    """Every different tree that a power cut at any point of *log* may leave below *root*.

    Yields:
        How many operations were done, what was lost, and the tree.
    """
    machine, seen = Machine(root, before), set()
    for done in range(len(log) + 1):
        if done:
            machine.apply(log[done - 1])
        marks = sum(op.kind == "mark" for op in log[:done])
        for label, tree in machine.trees():
            key = (marks, _digest(tree))
            if key not in seen:
                seen.add(key)
                yield done, label, tree


def _digest(tree: Tree) -> bytes:
    found = hashlib.sha256()
    for name in sorted(tree):
        node = tree[name]
        found.update(
            name.encode() + b"\0" + (_digest(node) if isinstance(node, dict) else b"f" + node + b"\0")
        )
    return found.digest()
