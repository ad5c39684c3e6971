"""What ``keepstate doctor`` finds: the surroundings of a session that would be started here, and why so.

Imports no library to learn its version, writes nothing but to a store that is named, to try it out, and lets
no single finding end it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate import __version__
from keepstate._capture import choose, hindrance, read_conditions
from keepstate._cli.place import Place, look_at_store
from keepstate._session.identity import identify
from keepstate._session.limits import settle_limits
from keepstate._session.surroundings import look_around
from keepstate.errors import IdentityError, InvalidInputError, KeepstateError

if TYPE_CHECKING:
    from keepstate._cli.scope import Scope
    from keepstate._hosts import Idle, Lifetime
    from keepstate._model.snapshot import Consistency
    from keepstate._repository import Repository
    from keepstate.backends import Trial

_LIBRARIES = (
    "apscheduler", "blake3", "blosc2", "cloudpickle", "msgspec", "numpy", "psutil", "requests", "watchdog",
    "xxhash",
    "ipykernel", "ipython", "pandas", "polars", "pyarrow", "scikit-learn", "scipy", "torch",
)  # fmt: skip
"""What keepstate is made of, and what it keeps."""


@dataclass(frozen=True, slots=True)
class LimitFound:
    """After how long the host takes the machine, and how sure that is."""

    seconds: float
    certainty: str
    source: str


@dataclass(frozen=True, slots=True)
class HostFound:
    """Which host this is, and what is known of it."""

    name: str | None
    told_by: list[str]
    """The marks that tell it; none for a plain machine."""
    trouble: str | None = None
    variant: str = ""
    title: str = ""
    idle: LimitFound | None = None
    """``None``: no such limit is known."""
    activity: str = ""
    """What the host takes for activity."""
    lifetime: LimitFound | None = None
    persists: str = ""
    settings: str | None = None
    """The file whose settings hold here."""


@dataclass(frozen=True, slots=True)
class IdentityFound:
    """Whose state ``start()`` would use if it were called here without arguments, or with these options."""

    project: str | None = None
    member: str | None = None
    notebook: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseFound:
    """A save or prune that is under way."""

    member: str
    purpose: str
    host: str
    pid: int
    began_at: str
    """ISO 8601, UTC."""
    project: str
    notebook: str


@dataclass(frozen=True, slots=True)
class CaptureFound:
    """How a picture would be taken in a kernel that is as small as this process."""

    strategy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it."""

    keepstate: str
    python: str
    executable: str
    platform: str
    host: HostFound
    identity: IdentityFound
    store: Place
    trial: Trial | None
    """What came of trying the store out, where it was named; ``None``: it was not tried."""
    leases: list[LeaseFound]
    capture: dict[Consistency, CaptureFound]
    dirty_pages: str | None
    """Why the kernel does not tell which memory was written to; ``None``: it does."""
    versions: dict[str, str | None]
    """Library → its installed version; ``None``: not installed."""


def find_out(scope: Scope) -> Findings:
    """Look around. Nothing is written, but where a store is named, which is tried out."""
    place, repository, trial = look_at_store(scope)
    return Findings(
        keepstate=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        host=_host(),
        identity=_identity(scope, shared=place.shared),
        store=place,
        trial=trial,
        leases=[] if repository is None else _leases(repository, scope.member),
        capture={"cell": _capture("cell"), "statement": _capture("statement")},
        dirty_pages=hindrance(),
        versions={name: _version(name) for name in _LIBRARIES},
    )


def _host() -> HostFound:
    try:
        around = look_around({})
        options = around.options({"store": "."})
    except InvalidInputError as error:
        return HostFound(None, [], str(error))
    profile, limits = around.host.profile, settle_limits(around.host.profile, options.limits)
    return HostFound(
        name=profile.name,
        told_by=list(around.host.told_by),
        variant=profile.variant,
        title=profile.title,
        idle=_limit(limits.idle),
        activity=limits.counts,
        lifetime=_limit(limits.lifetime),
        persists=profile.persists,
        settings=None if around.settings.path is None else str(around.settings.path),
    )


def _limit(limit: Idle | Lifetime | None) -> LimitFound | None:
    return None if limit is None else LimitFound(limit.seconds, limit.certainty, limit.source)


def _identity(scope: Scope, *, shared: bool) -> IdentityFound:
    try:
        around = look_around({})
        given = {"project": scope.project, "member": scope.member, "notebook": scope.notebook, "store": "."}
        options = around.options(given)
        found = identify(
            project=options.project,
            member=options.member,
            notebook=options.notebook,
            host=around.host,
            shared=shared,
        )
    except (IdentityError, InvalidInputError) as error:
        return IdentityFound(trouble=str(error))
    return IdentityFound(found.project, found.member, found.notebook)


def _leases(repository: Repository, member: str | None) -> list[LeaseFound]:
    return [
        LeaseFound(
            member=each,
            purpose=held.lease.purpose,
            host=held.lease.place.host,
            pid=held.lease.pid,
            began_at=held.lease.began_at,
            project=held.lease.project,
            notebook=held.lease.notebook,
        )
        for each in ([member] if member is not None else repository.members())
        for held in repository.leases(each)
        if held.is_alive and held.lease is not None
    ]


def _capture(level: Consistency) -> CaptureFound:
    try:
        choice = choose(read_conditions(level=level))
    except (KeepstateError, OSError) as error:
        return CaptureFound("none", str(error))
    return CaptureFound(choice.strategy, choice.reason)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
