"""Tell the host and the identity it gives, by marks in the environment: no imports, no network.

Kaggle comes before Colab, because Kaggle's image is built from Colab's and inherits its marks.
Sources of the marks: Google's own detector in ``google-cloud-aiplatform`` (``env.py``), kagglehub's
``env.py``, and the variables that each host documents.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate._hosts.profile import Profile, profile_named, profiles
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORCED = "KEEPSTATE_HOST"


@dataclass(frozen=True, slots=True)
class Host:
    """Where this kernel runs, and whom the host says it runs for."""

    profile: Profile
    told_by: tuple[str, ...]
    """The marks that decided; none on a plain machine."""
    notebook: str | None = None
    """What the host calls this notebook; ``None`` where it does not say."""
    member: str | None = None
    """The account, where the host names one; never a login name such as root or jovyan."""

    @property
    def name(self) -> str:
        """Its name without the variant."""
        return self.profile.name


def detect_host(
    environment: Mapping[str, str],
    namespace: Mapping[str, object],
    *,
    chosen: str | None = None,
    exists: Callable[[str], bool] = os.path.exists,
) -> Host:
    """Tell the host from *environment*, and the notebook also from *namespace* (VS Code puts it there).

    Args:
        environment: Variables of the process.
        namespace: The user's globals.
        chosen: What a settings file says; ``KEEPSTATE_HOST`` is stronger.
        exists: Whether a path is there.

    Raises:
        InvalidInputError: ``KEEPSTATE_HOST``, or *chosen*, is not the name of a host.
    """
    notebook = environment.get("COLAB_NOTEBOOK_ID") or environment.get("JPY_SESSION_NAME")
    if not notebook:
        vscode = namespace.get("__vsc_ipynb_file__")
        notebook = vscode if isinstance(vscode, str) and vscode else None
    profile, told_by = _profile(environment, chosen, exists)
    return Host(profile, told_by, notebook, environment.get("JUPYTERHUB_USER") or None)


def _profile(
    environment: Mapping[str, str], chosen: str | None, exists: Callable[[str], bool]
) -> tuple[Profile, tuple[str, ...]]:
    detected = _detect(environment, exists)
    forced = environment.get(FORCED)
    wanted = forced or chosen
    if not wanted:
        return detected
    told_by = (f"{FORCED}={forced}",) if forced else ("the settings file",)
    if wanted == detected[0].name:  # the name alone leaves it to the marks which variant it is
        return detected[0], told_by
    profile = profile_named(wanted)
    if profile is None:
        where = FORCED if forced else "host"
        known = ", ".join(dict.fromkeys(key for row in profiles() for key in (row.name, row.key)))
        raise InvalidInputError(f"{where}={wanted!r} is no host: use one of {known}")
    return profile, told_by


def _detect(environment: Mapping[str, str], exists: Callable[[str], bool]) -> tuple[Profile, tuple[str, ...]]:
    rows = profiles()
    for row in rows:
        told_by: set[str] = set()
        for mark in row.marks:
            conditions = mark.split(" & ")
            if all(_holds(condition, environment, exists) for condition in conditions):
                told_by.update(conditions)
        if told_by:
            return row, tuple(sorted(told_by))
    return rows[-1], ()


def _holds(condition: str, environment: Mapping[str, str], exists: Callable[[str], bool]) -> bool:
    if condition.startswith("path:"):
        return exists(condition.removeprefix("path:"))
    name, given, value = condition.partition("=")
    found = environment.get(name, "")
    return found == value if given else bool(found)
