"""Saves of a folder as a session does them, and what came of them."""

from datetime import timedelta

import msgspec
from standing_still import StandStill

from keepstate._base.clock import SYSTEM_CLOCK, SystemClock
from keepstate._files import Folder, FolderGroup, read_folder
from keepstate._snapshot import Occasion, Save, Saved


class Later(SystemClock):
    """A clock an hour ahead, for which whatever was just written has been quiet for long."""

    def utc_now(self):
        return super().utc_now() + timedelta(hours=1)


class Hurried(SystemClock):
    """A clock on which a wait takes no time, but something happens meanwhile."""

    def __init__(self, meanwhile=lambda: None):
        self.meanwhile, self.waits = meanwhile, []

    def wait(self, event, seconds):
        self.waits.append(seconds)
        self.meanwhile()
        return event.is_set()


class FolderSaver:
    """Saves one folder beside some values, and remembers what a session remembers."""

    def __init__(self, repository, path, *, values=None, memory=b"", **rules):
        self.repository, self.values = repository, {"x": 1} if values is None else values
        self.folder = Folder.of(path, **rules)
        self.name = self.folder.name
        self.sequence, self.known, self.last, self.memory = 0, {}, None, memory

    def save(self, *, clock=None, beside=None, note="", run=None, **more):
        group = FolderGroup(self.folder, self.memory, clock=clock or Later(), **more)
        self.sequence += 1
        occasion = Occasion(
            id=f"{self.sequence:04x}" + "a" * 16,
            project="p",
            member="me",
            notebook="n",
            lineage="a" * 16,
            sequence=self.sequence,
            parents={},
            restored_from="",
            created_at=SYSTEM_CLOCK.utc_now(),
            reason="manual",
            consistency="cell",
            started=0.0,
            note=note,
        )
        work = Save(
            occasion,
            self.values,
            namespace=self.values,
            repository=self.repository,
            known=self.known,
            seed=7,
            previous=self.last,
            beside=[group] if beside is None else beside,
        )
        saved = msgspec.msgpack.decode((run or still)(work), type=Saved)
        self.memory = saved.memories.get(self.name, self.memory)
        if saved.commit is not None:
            self.last, self.known = saved.commit.manifest, saved.commit.known
        self.repository.refresh()
        return saved

    def kept(self, manifest=None):
        """Give path → bytes of the folder in a snapshot, the newest by default."""
        return files_in(self.repository, (manifest or self.last).names[self.name])


def still(work):
    """Save while nothing moves."""
    work.prepare(StandStill())
    return work.write(StandStill())


def files_in(repository, entry):
    kept = read_folder(repository, entry)
    return {
        row.path.decode(): b"".join(repository.read(kept.parts[number].ref) for number in row.parts)
        for row in kept.table.files
    }


def tree(path):
    """Give path → bytes of the files that are in a folder."""
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}
