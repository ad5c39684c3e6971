"""A repository on this machine, and a place far away for another one, with what goes wrong on the way."""

import dataclasses
import random
import threading

from saves import values_of

from keepstate._base.clock import SYSTEM_CLOCK
from keepstate._repository import Repository
from keepstate._repository.far_disk import TOP, FarDisk
from keepstate.backends import LocalBackend
from keepstate.testing import Faulty

NEVER = threading.Event()


def random_bytes(count, seed=5):
    """Bytes that no compression makes fewer, the same each time."""
    return random.Random(seed).randbytes(count)


class Late(Faulty):
    """A place that says of itself that its listings lag behind."""

    @property
    def properties(self):
        return dataclasses.replace(super().properties, listing_delay_seconds=60.0)


class Places:
    """The two places.

    Args:
        folder: Where both are.
        clock: The time at both.
        kind: How the far place fails.
    """

    def __init__(self, folder, *, clock=SYSTEM_CLOCK, kind=Faulty):
        self.folder, self.clock, self.kind = folder, clock, kind
        self.backend = LocalBackend(folder / "far", clock=clock)
        self.near = self.open("near")

    def open(self, name="near", **more):
        """Open a repository of this machine as another process does, which knows nothing yet."""
        return Repository.open(self.folder / name, create=True, clock=self.clock, **more)

    def far(self, *faults):
        """Open the far one likewise; ``far.place_`` is what fails."""
        place = self.kind(self.backend, faults)
        found = Repository.open(TOP, create=True, disk=FarDisk(place), clock=self.clock)
        found.faulty = place
        return found

    def there(self, ending):
        """Names of the objects at the far place that end so."""
        return sorted(item.name for item in self.backend.list() if item.name.endswith(ending))

    def far_bytes(self):
        return sum(item.nbytes for item in self.backend.list())


def copy(source, target, manifests=None, *, stop=NEVER, on_progress=lambda done, total: None):
    """Copy snapshots, oldest first; all that there are if none are given."""
    chosen = source.manifests()[::-1] if manifests is None else manifests
    return source.replicate_to(target, chosen, stop=stop, on_progress=on_progress)


def kept(repository):
    """Snapshot id → values, of everything that is there."""
    return {found.id: values_of(repository, found) for found in repository.manifests()}


def damage(path, at):
    """Flip a bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
