"""``keepstate doctor``."""

import os
import platform
import subprocess
import sys

import pytest

from keepstate._capture import hindrance
from keepstate._repository import Repository


def test_surroundings(keepstate, store):
    """It tells the versions, the store and its format."""
    found = keepstate("doctor", "--store", store, "--json")
    assert found.code == 0, found.out
    assert found.document["python"] == platform.python_version()
    assert found.document["store"]["path"] == str(store)
    assert found.document["store"]["format"] == 1
    assert found.document["store"]["free_bytes"] > 0
    assert found.document["versions"]["numpy"]


def test_host_and_why(keepstate, store):
    """The host is told with the mark that told it, and each limit with its certainty and its source."""
    found = keepstate("doctor", "--store", store, "--json", KAGGLE_KERNEL_RUN_TYPE="Interactive")
    host = found.document["host"]
    assert (host["name"], host["variant"]) == ("kaggle", "interactive")
    assert host["told_by"] == ["KAGGLE_KERNEL_RUN_TYPE"]
    assert (host["idle"]["seconds"], host["idle"]["certainty"]) == (1200, "certain")
    assert "kaggle.com" in host["lifetime"]["source"]
    shown = keepstate("doctor", "--store", store, KAGGLE_KERNEL_RUN_TYPE="Interactive").out
    assert "20 min 0 s (certain" in shown


def test_settings_file(keepstate, store, tmp_path, monkeypatch):
    """The file whose settings hold here is named, and a limit of it is the user's."""
    (tmp_path / "keepstate.toml").write_text("[limits]\nidle_seconds = 77\n")
    monkeypatch.chdir(tmp_path)
    host = keepstate("doctor", "--store", store, "--json", ANY="1").document["host"]
    assert host["settings"] == str(tmp_path / "keepstate.toml")
    assert (host["idle"]["seconds"], host["idle"]["certainty"]) == (77, "yours")


def test_host_told_by_two(keepstate, store):
    """A host that two variables tell together is told with both."""
    found = keepstate("doctor", "--store", store, "--json", COLAB_RELEASE_TAG="x", COLAB_NOTEBOOK_ID="y")
    assert found.document["host"]["name"] == "colab"
    assert found.document["host"]["told_by"] == ["COLAB_NOTEBOOK_ID", "COLAB_RELEASE_TAG"]


def test_host_told_twice(keepstate, store):
    """A host that each of two variables tells is told with both."""
    found = keepstate("doctor", "--store", store, "--json", JPY_SESSION_NAME="a.ipynb", JPY_PARENT_PID="1")
    assert found.document["host"]["told_by"] == ["JPY_PARENT_PID", "JPY_SESSION_NAME"]


def test_plain_host(keepstate, store):
    """Where no variable tells a host, that is said."""
    assert "no mark of another host is here" in " ".join(keepstate("doctor", "--store", store).out.split())


def test_whether_the_kernel_tells_what_was_written(keepstate, store):
    """It says whether large arrays are read at each snapshot, and why."""
    why = hindrance()
    found = keepstate("doctor", "--store", store, "--json")
    assert found.document["dirty_pages"] == why
    told = "the kernel tells what was not written to" if why is None else why
    assert told in " ".join(keepstate("doctor", "--store", store).out.split())


def test_wrong_host(keepstate, store):
    """A host that is not known is told, and does not end the command."""
    found = keepstate("doctor", "--store", store, "--json", KEEPSTATE_HOST="moon")
    assert "moon" in found.document["host"]["trouble"]


def test_identity(keepstate, store):
    """It tells whose state ``start()`` would use here."""
    found = keepstate("doctor", "--store", store, "--project", "p", "--json", JUPYTERHUB_USER="ana")
    assert found.document["identity"] == {
        "project": "p", "member": "ana", "notebook": "notebook", "trouble": None
    }  # fmt: skip


def test_no_store_yet(keepstate, tmp_path):
    """Where no store is yet but one can be made, all is well, and none is made."""
    found = keepstate("doctor", "--store", tmp_path / "a" / "b", "--json")
    assert (found.code, found.document["store"]["exists"]) == (0, False)
    assert not (tmp_path / "a").exists()


def test_foreign_folder(keepstate, tmp_path):
    """A folder that holds something else cannot be used, and the rest is told all the same."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    found = keepstate("doctor", "--store", tmp_path / "photos", "--json")
    assert found.code == 1
    assert "cat.jpg" in found.document["store"]["trouble"]
    assert found.document["python"]


def test_file_in_the_way(keepstate, tmp_path):
    """A store below a file cannot be made."""
    (tmp_path / "file").write_text("mine")
    assert keepstate("doctor", "--store", tmp_path / "file" / "store").code == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only(keepstate, tmp_path):
    """A folder that cannot be written cannot be used."""
    (tmp_path / "folder").mkdir(mode=0o500)
    assert keepstate("doctor", "--store", tmp_path / "folder" / "store").code == 1


def test_live_lease(keepstate, tmp_path):
    """A save that is under way is listed with its process."""
    repository = Repository.open(tmp_path / "store", create=True)
    with repository.writer("ana", project="p", notebook="n"):
        found = keepstate("doctor", "--store", tmp_path / "store", "--json")
    assert [(each["purpose"], each["pid"]) for each in found.document["leases"]] == [("write", os.getpid())]


def test_dead_lease(keepstate, tmp_path):
    """A save whose process is dead is not under way."""
    script = (
        "import os, pathlib; from keepstate._repository import Repository\n"
        "Repository.open(pathlib.Path('store'), create=True).writer('ana')\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    assert len(list((tmp_path / "store").rglob("*.lease"))) == 1
    assert keepstate("doctor", "--store", tmp_path / "store", "--json").document["leases"] == []


def test_capture(keepstate, store):
    """It tells how a picture would be taken between cells and inside one, and why so."""
    found = keepstate("doctor", "--store", store, "--json").document["capture"]
    assert {level: way["strategy"] for level, way in found.items()}.keys() == {"cell", "statement"}
    assert all(way["reason"] for way in found.values())
