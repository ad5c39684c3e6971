"""Saves without a capture around them: the objects stand still, because the test does."""

import msgspec

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._snapshot import Occasion, Save, Saved


class StandStill:
    """Tools for a picture that nobody disturbs."""

    copy = release = claim = looking = apart = None
    copy_limit_bytes = 0
    threads = 1

    def unfrozen_bytes(self, memory):
        return 0

    def substitute(self, memory):
        return memory

    def progress(self, name, done):
        pass

    def stall_seconds(self):
        return 0.25


class Saver:
    """Saves one namespace again and again, as a session does."""

    def __init__(self, repository, *, lineage="a" * 16, parents=None):
        self.repository, self.lineage, self.parents = repository, lineage, parents or {}
        self.sequence, self.known, self.last = 0, {}, None

    def save(self, names, namespace=None, **facts):
        occasion = Occasion(
            id=f"{self.sequence + 1:04x}{self.lineage}",
            project="p",
            member="me",
            notebook="n",
            lineage=self.lineage,
            sequence=self.sequence + 1,
            parents=self.parents,
            restored_from="",
            created_at=SYSTEM_CLOCK.utc_now(),
            reason="manual",
            started=0.0,
            **{"consistency": "cell", **facts},
        )
        work = Save(
            occasion,
            names,
            namespace=namespace or names,
            repository=self.repository,
            known=self.known,
            seed=7,
            previous=self.last,
        )
        saved = self.run(work)
        if saved.commit is not None:
            self.last, self.known = saved.commit.manifest, saved.commit.known
            self.sequence += 1
            self.repository.refresh()
        return saved

    def run(self, work):
        """Have the work done."""
        work.prepare(StandStill())
        return msgspec.msgpack.decode(work.write(StandStill()), type=Saved)
