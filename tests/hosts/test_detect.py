"""The host is told by its environment."""

import pytest

from keepstate._hosts import detect_host
from keepstate.errors import InvalidInputError


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (
            {"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "COLAB_RELEASE_TAG": "r", "COLAB_NOTEBOOK_ID": "n"},
            "kaggle",
        ),
        ({"TBE_RUNTIME_ADDR": "172.28.0.1:8011", "COLAB_RELEASE_TAG": "r"}, "colab"),
        ({"COLAB_RELEASE_TAG": "r"}, "jupyter"),
        ({"BINDER_REPO_URL": "u", "JUPYTERHUB_SERVICE_PREFIX": "/"}, "binder"),
        ({"JPY_SESSION_NAME": "a.ipynb"}, "jupyter"),
        ({}, "plain"),
        ({"KEEPSTATE_HOST": "kaggle"}, "kaggle"),
    ],
)
def test_the_host_is_told(environment, name):
    """Kaggle comes before Colab, whose image it is built from; the user's word comes first."""
    assert detect_host(environment, {}).name == name


def test_an_unknown_host_is_refused():
    """A typing error in KEEPSTATE_HOST is told, with the names there are."""
    with pytest.raises(InvalidInputError, match=r"colob.*colab"):
        detect_host({"KEEPSTATE_HOST": "colob"}, {})


def test_the_notebook_is_what_the_host_calls_it():
    """Colab's id, else Jupyter's path, else VS Code's file; a login name is never taken for a member."""
    assert detect_host({"COLAB_NOTEBOOK_ID": "1x", "JPY_SESSION_NAME": "a"}, {}).notebook == "1x"
    assert detect_host({"JPY_SESSION_NAME": "a"}, {}).notebook == "a"
    assert detect_host({}, {"__vsc_ipynb_file__": "/b.ipynb"}).notebook == "/b.ipynb"
    assert detect_host({"USER": "root"}, {}).member is None
