"""The files by which sessions and the transfer speak to each other, beside the repository on this machine.

Each file has one writer and is replaced as a whole, so that a reader finds the old one or the new one. None
is synced: a power cut ends all who have written here, and what is torn or stale afterwards counts for
nothing. None of them ever holds a secret.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from keepstate._repository.lease import Place, here, process_started
from keepstate._transfer.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "transfer"
"""Of the folder, in the repository."""
_LIMIT_BYTES = 64 << 20
"""Of a report. The levels of a hundred thousand snapshots take 4 MB."""
_ABANDONED_SECONDS = 60.0
"""Age of a half-written file whose writer must be dead: each takes milliseconds."""
_TEMPORARY = ".tmp"


class Process(msgspec.Struct, frozen=True):
    """A process of this machine, and of no later one that is given its id."""

    pid: int
    started: str
    place: Place

    @classmethod
    def me(cls) -> Process:
        """The calling process."""
        return cls(os.getpid(), process_started(os.getpid()) or "", here())

    def lives(self) -> bool:
        """Whether it still runs; one that cannot be seen from here counts as gone."""
        return self.place == here() and process_started(self.pid) == self.started


class Session(msgspec.Struct, frozen=True):
    """A kernel for whose snapshots somebody must care."""

    id: str
    process: Process
    address: str
    """Where they must end up."""
    order: int
    """Sessions that began later have higher ones."""


class Claim(msgspec.Struct, frozen=True):
    """A process that transfers, or waits for its turn to."""

    order: int
    session: str
    """On whose behalf it was started; its credentials are those of that session."""
    address: str
    process: Process

    def is_later_than(self, other: Claim) -> bool:
        """Whether its credentials are the newer ones."""
        return (self.order, self.session) > (other.order, other.session)


class Wish(msgspec.Struct, frozen=True):
    """That something be sent at once."""

    name: str
    session: str
    ids: tuple[str, ...] | None
    """Of snapshots; ``None``: everything."""


Said = TypeVar("Said", Session, Claim, Wish, Report)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one repository."""

    root: Path

    @classmethod
    def of(cls, near: Path) -> Folder:
        """Give the folder of the repository at *near*."""
        return cls(near / NAME)

    @property
    def lock(self) -> Path:
        """Held by the process that transfers; says which it is."""
        return self.root / "lock"

    @property
    def report(self) -> Path:
        """How the transfer stands."""
        return self.root / "report.json"

    @property
    def log(self) -> Path:
        """What libraries print in the process that transfers."""
        return self.root / "agent.log"

    def make(self) -> None:
        """Make it.

        Raises:
            OSError: The disk does not take it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sessions(self) -> list[Session]:
        """Everyone who has announced a session here, alive or not."""
        return list(self._read_all("session-", Session))

    def wishes(self) -> list[Wish]:
        """All wishes that stand."""
        return list(self._read_all("wish-", Wish))

    def successors(self) -> list[Claim]:
        """Living processes that have asked for their turn."""
        return [claim for claim in self._read_all("successor-", Claim) if claim.process.lives()]

    def put(self, said: Session | Claim | Wish) -> None:
        """Say it to all who look here; the same again replaces it."""
        replace(self._path(said), msgspec.json.encode(said))

    def take_back(self, said: Session | Claim | Wish) -> None:
        """Say it no longer; where that cannot be done, it counts no more once its process has ended."""
        try:
            self._path(said).unlink(missing_ok=True)
        except OSError:
            pass  # the folder is gone, or can only be read

    def _path(self, said: Session | Claim | Wish) -> Path:
        match said:
            case Session():
                return self.root / f"session-{said.id}.json"
            case Wish():
                return self.root / f"wish-{said.name}.json"
            case Claim():
                return self.root / f"successor-{said.session}-{said.order}.json"

    def _read_all(self, beginning: str, kind: type[Said]) -> Iterator[Said]:
        try:
            names = os.listdir(self.root)
        except OSError:
            return  # it is gone, and all who spoke in it with it
        for name in sorted(names):
            if name.startswith(beginning) and name.endswith(".json"):
                found = _read(self.root / name, kind)
                if found is not None:
                    yield found

    def read_report(self) -> Report | None:
        """Give the report; ``None`` if there is none that can be read."""
        return _read(self.report, Report)

    def sweep(self, now_seconds: float) -> None:
        """Remove what killed processes have left half written, and claims that nobody makes any more."""
        try:
            for path in self.root.iterdir():
                old = now_seconds - path.stat().st_mtime > _ABANDONED_SECONDS
                if path.name.endswith(_TEMPORARY) and old:
                    path.unlink(missing_ok=True)
            for claim in self._read_all("successor-", Claim):
                if not claim.process.lives():
                    self.take_back(claim)
        except OSError:
            return  # what is left here does no harm


def _read(path: Path, kind: type[Said]) -> Said | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LIMIT_BYTES), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def replace(path: Path, data: bytes) -> None:
    """Put *data* in the place of what is at *path*.

    Raises:
        OSError: The disk does not take it; then *path* is as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            with memoryview(data) as view:
                done = 0
                while done < len(view):
                    done += os.write(descriptor, view[done:])
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
