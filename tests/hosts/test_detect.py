"""The host is told by its environment, and what is known of it by its row of the table."""

import pytest

from keepstate._hosts import detect_host, profiles
from keepstate.errors import InvalidInputError

HOUR = 3600

# Environments as the hosts set them (names and values from the vendors' images and documentation), with what
# every notebook server adds. Secrets are left out.
JUPYTER = {"JPY_SESSION_NAME": "work/a.ipynb", "JPY_PARENT_PID": "7", "HOME": "/home/jovyan"}
COLAB = {
    "COLAB_RELEASE_TAG": "release-colab_20260819-060047_RC00",
    "COLAB_BACKEND_VERSION": "next",
    "COLAB_GPU": "0",
    "HOME": "/root",
}
MANAGED = {**COLAB, "TBE_RUNTIME_ADDR": "172.28.0.1:8011", "TBE_EPHEM_CREDS_ADDR": "172.28.0.1:8009"}
KAGGLE = {
    **COLAB,
    "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
    "KAGGLE_URL_BASE": "https://www.kaggle.com",
    "KAGGLE_DATA_PROXY_URL": "https://dp.kaggle.net",
}
HUB = {**JUPYTER, "JUPYTERHUB_USER": "ana", "JUPYTERHUB_SERVICE_PREFIX": "/user/ana/"}

RECORDED = {
    "kaggle/interactive": (KAGGLE, (), 20 * 60, 12 * HOUR),
    "kaggle/batch": ({**KAGGLE, "KAGGLE_KERNEL_RUN_TYPE": "Batch"}, (), None, 12 * HOUR),
    "kaggle/tpu": ({**KAGGLE, "ISTPUVM": "1"}, (), 20 * 60, 9 * HOUR),
    "colab/free": (MANAGED, (), 90 * 60, 12 * HOUR),
    "colab/pro": ({**MANAGED, "KEEPSTATE_HOST": "colab/pro"}, (), 90 * 60, 24 * HOUR),
    "colab-enterprise": ({**MANAGED, "VERTEX_PRODUCT": "COLAB_ENTERPRISE"}, (), 3 * HOUR, 18 * HOUR),
    "vertex-workbench": ({**JUPYTER, "VERTEX_PRODUCT": "WORKBENCH_INSTANCE"}, (), 3 * HOUR, None),
    "jupyter/colab-image": (COLAB, (), None, None),
    "codespaces": ({**JUPYTER, "CODESPACES": "true", "GITHUB_USER": "ana"}, (), 30 * 60, None),
    "databricks": ({"DATABRICKS_RUNTIME_VERSION": "15.4", "HOME": "/root"}, (), HOUR, None),
    "deepnote": ({**JUPYTER, "DEEPNOTE_PROJECT_ID": "5f"}, (), 15 * 60, None),
    "lightning": ({"LIGHTNING_CLOUD_SPACE_ID": "01h"}, (), 10 * 60, 4 * HOUR),
    "paperspace": ({**JUPYTER, "PAPERSPACE_NOTEBOOK_ID": "n1"}, (), None, 6 * HOUR),
    "studio-lab": ({**JUPYTER, "HOME": "/home/studio-lab-user"}, (), None, 12 * HOUR),
    "studio-lab/gpu": ({"HOME": "/home/studio-lab-user"}, ("/dev/nvidia0",), None, 4 * HOUR),
    "sagemaker": (
        {**JUPYTER, "AWS_REGION": "eu-west-1"},
        ("/opt/ml/metadata/resource-metadata.json",),
        HOUR,
        None,
    ),
    "azure-ml": ({**JUPYTER, "APPSETTING_WEBSITE_SITE_NAME": "AMLComputeInstance"}, (), 15 * 60, None),
    "saturn": ({**HUB, "SATURN_USERNAME": "ana"}, (), HOUR, None),
    "binder": ({**HUB, "BINDER_REPO_URL": "https://github.com/a/b"}, (), 10 * 60, 6 * HOUR),
    "jupyterhub": (HUB, (), 10 * 60, None),
    "jupyter": (JUPYTER, (), None, None),
    "plain": ({"HOME": "/home/ana", "USER": "ana"}, (), None, None),
}


@pytest.mark.parametrize("key", RECORDED)
def test_a_recorded_environment_gives_its_profile(key):
    """Each row of the table is told from all the others, and has its limits."""
    environment, paths, idle, lifetime = RECORDED[key]
    profile = detect_host(environment, {}, exists=paths.__contains__).profile
    assert profile.key == key
    assert (None if profile.idle is None else profile.idle.seconds) == idle
    assert (None if profile.lifetime is None else profile.lifetime.seconds) == lifetime


def test_no_row_is_without_a_recorded_environment():
    """A new row of the table comes with its test."""
    assert {row.key for row in profiles()} == set(RECORDED)


def test_every_number_says_how_sure_it_is_and_where_it_is_from():
    """A guess is shown as one."""
    for row in profiles():
        for limit in (row.idle, row.lifetime):
            assert limit is None or (limit.certainty and len(limit.source) > 20)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Something new"}, "kaggle"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "", "TBE_RUNTIME_ADDR": "1.2.3.4:1"}, "colab"),
        ({"CODESPACES": "false", "JPY_PARENT_PID": "1"}, "jupyter"),
        ({"VERTEX_PRODUCT": "SOMETHING_ELSE", "JPY_PARENT_PID": "1"}, "jupyter"),
        ({"COLAB_NOTEBOOK_ID": "n"}, "plain"),
        ({**MANAGED, **HUB, "DEEPNOTE_PROJECT_ID": "x"}, "colab"),
        ({"HOME": "/home/studio-lab-user/../root"}, "plain"),
        (dict.fromkeys(("JUPYTERHUB_SERVICE_PREFIX", "BINDER_REPO_URL"), "\x00\n" * 500), "binder"),
    ],
)
def test_a_contradictory_environment_gives_a_sane_host(environment, name):
    """Unknown values fall back to the strictest kind of that host; empty ones say nothing."""
    assert detect_host(environment, {}, exists=lambda _: False).name == name


def test_the_users_word_comes_first():
    """KEEPSTATE_HOST, then the settings file, then the marks."""
    assert detect_host({**KAGGLE, "KEEPSTATE_HOST": "plain"}, {}, chosen="jupyter").name == "plain"
    assert detect_host(KAGGLE, {}, chosen="jupyter").name == "jupyter"


def test_a_name_alone_leaves_the_variant_to_the_marks_or_takes_the_general_one():
    """Whoever names the host need not know its kinds."""
    batch = {**KAGGLE, "KAGGLE_KERNEL_RUN_TYPE": "Batch", "KEEPSTATE_HOST": "kaggle"}
    assert detect_host(batch, {}).profile.variant == "batch"
    assert detect_host({"KEEPSTATE_HOST": "kaggle"}, {}).profile.key == "kaggle/interactive"
    assert detect_host({"KEEPSTATE_HOST": "colab"}, {}).profile.key == "colab/free"


def test_an_unknown_host_is_refused():
    """A typing error in KEEPSTATE_HOST is told, with the names there are."""
    with pytest.raises(InvalidInputError, match=r"KEEPSTATE_HOST='colob'.*colab, colab/free"):
        detect_host({"KEEPSTATE_HOST": "colob"}, {})


def test_the_notebook_is_what_the_host_calls_it():
    """Colab's id, else Jupyter's path, else VS Code's file; a login name is never taken for a member."""
    assert detect_host({"COLAB_NOTEBOOK_ID": "1x", "JPY_SESSION_NAME": "a"}, {}).notebook == "1x"
    assert detect_host({"JPY_SESSION_NAME": "a"}, {}).notebook == "a"
    assert detect_host({}, {"__vsc_ipynb_file__": "/b.ipynb"}).notebook == "/b.ipynb"
    assert detect_host({"USER": "root"}, {}).member is None
