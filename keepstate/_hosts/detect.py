"""Tell the host and the identity it gives, by environment variables: no imports, no network.

Kaggle comes before Colab, because Kaggle's image is built from Colab's and inherits its marks.
Sources: Google's own detector in ``google-cloud-aiplatform`` (``env.py``), kagglehub's ``env.py``, and the
variables that each host documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = (
    "kaggle",
    "colab-enterprise",
    "vertex-workbench",
    "colab",
    "codespaces",
    "databricks",
    "deepnote",
    "lightning",
    "paperspace",
    "studio-lab",
    "sagemaker",
    "binder",
    "jupyterhub",
    "jupyter",
    "plain",
)


@dataclass(frozen=True, slots=True)
class Host:
    """Where this kernel runs, and whom the host says it runs for."""

    name: str
    """One of :data:`NAMES`."""
    notebook: str | None
    """What the host calls this notebook; ``None`` where it does not say."""
    member: str | None
    """The account, where the host names one; never a login name such as root or jovyan."""


def detect_host(environment: Mapping[str, str], namespace: Mapping[str, object]) -> Host:
    """Tell the host from *environment*, and the notebook also from *namespace* (VS Code puts it there).

    Raises:
        InvalidInputError: ``KEEPSTATE_HOST`` is not the name of a host.
    """
    notebook = environment.get("COLAB_NOTEBOOK_ID") or environment.get("JPY_SESSION_NAME")
    if not notebook:
        vscode = namespace.get("__vsc_ipynb_file__")
        notebook = vscode if isinstance(vscode, str) and vscode else None
    return Host(_name(environment), notebook, environment.get("JUPYTERHUB_USER") or None)


def _name(environment: Mapping[str, str]) -> str:
    forced = environment.get("KEEPSTATE_HOST")
    if forced:
        if forced not in NAMES:
            raise InvalidInputError(f"KEEPSTATE_HOST={forced!r} is no host: use one of {', '.join(NAMES)}")
        return forced
    has = environment.__contains__
    vertex = environment.get("VERTEX_PRODUCT")
    order = (
        ("kaggle", has("KAGGLE_KERNEL_RUN_TYPE") or has("KAGGLE_URL_BASE")),
        ("colab-enterprise", vertex == "COLAB_ENTERPRISE"),
        ("vertex-workbench", vertex == "WORKBENCH_INSTANCE"),
        ("colab", has("TBE_RUNTIME_ADDR") or (has("COLAB_RELEASE_TAG") and has("COLAB_NOTEBOOK_ID"))),
        ("jupyter", has("COLAB_RELEASE_TAG")),  # Colab's image as a local runtime
        ("codespaces", environment.get("CODESPACES") == "true"),
        ("databricks", has("DATABRICKS_RUNTIME_VERSION")),
        ("deepnote", has("DEEPNOTE_PROJECT_ID")),
        ("lightning", has("LIGHTNING_CLOUD_SPACE_ID")),
        ("paperspace", has("PAPERSPACE_NOTEBOOK_ID") or has("PAPERSPACE_NOTEBOOK_REPO_ID")),
        ("studio-lab", environment.get("HOME") == "/home/studio-lab-user"),
        ("sagemaker", has("SAGEMAKER_INTERNAL_IMAGE_URI")),
        ("binder", has("BINDER_REPO_URL") or has("BINDER_LAUNCH_HOST")),
        ("jupyterhub", has("JUPYTERHUB_SERVICE_PREFIX")),
        ("jupyter", has("JPY_SESSION_NAME") or has("JPY_PARENT_PID")),
    )
    return next((name for name, found in order if found), "plain")
