"""What a first cell shows on each host: three lines where something is to be done, said once."""

import os
import subprocess
from pathlib import Path

import pytest
from far_scripts import Computer
from s3_servers import rclone_server

from keepstate._hosts import Host, profile_named
from keepstate._session.settings import Settings
from keepstate._session.surroundings import Surroundings

FIRST_LINE = "keepstate: what you track is kept in"
START = """
import keepstate
session = keepstate.start({arguments})
assert keepstate.start({arguments}) is session
x = 1
keepstate.track("x")
print("kept", keepstate.snapshot().durability)
keepstate.stop()
"""
MOUNTED = """
import keepstate._base.mounts as mounts
mounts._TABLE = {table!r}
"""
NAMES = "project='p', member='ana', notebook='n'"
DRIVE = "/content/drive/MyDrive/keepstate"


@pytest.fixture
def computer(tmp_path):
    with Computer(tmp_path / "computer") as one:
        yield one


def advice(said):
    """Give the lines of the advice, which begin with where things are kept."""
    lines = said.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(FIRST_LINE)]
    assert len(starts) <= 1, said
    if not starts:
        return []
    end = next(n for n, line in enumerate(lines) if n > starts[0] and line.startswith(("kept ", "keepstate")))
    return lines[starts[0] : end]


def table(computer, *mounts):
    """Write a mount table, and give the code that has it read in place of the machine's."""
    path = computer.folder / "mountinfo"
    lines = [f"{n} 1 0:{n} / {point} rw - {kind} far rw" for n, (point, kind) in enumerate(mounts, 2)]
    path.write_text("\n".join(["1 0 0:1 / / rw - overlay o rw", *lines]) + "\n")
    return MOUNTED.format(table=str(path))


@pytest.mark.parametrize(
    ("host", "do"),
    [
        ("colab", "drive.mount('/content/drive')"),
        ("binder", "keepstate.start(store='hf://buckets/owner/name', project='…', member='…', notebook='…')"),
        ("colab-enterprise", "keepstate.start(store='gs://bucket/keepstate', project="),
        ("databricks", "a folder in /Volumes or /Workspace"),
        ("deepnote", "keepstate.start(store='/work/keepstate')"),
        ("kaggle", "keepstate.start(store='/kaggle/working/keepstate')"),
    ],
)
def test_a_host_that_takes_its_disk_along_is_told_of_once(computer, host, do):
    """Where things are, what that survives, and the one thing to do; a second call says nothing again."""
    if host == "kaggle" and Path("/kaggle").exists():
        pytest.skip("this is Kaggle")
    lines = advice(computer.must(START.format(arguments=""), KEEPSTATE_HOST=host))
    assert len(lines) in (2, 3)
    assert str(computer.home / ".keepstate") in lines[0] or host == "binder"
    assert do in lines[-1]


def test_the_marks_of_the_host_are_enough(computer):
    """Nobody has to name Colab."""
    said = computer.must(START.format(arguments=""), TBE_RUNTIME_ADDR="172.28.0.1:8011")
    assert "drive.mount" in advice(said)[-1]


@pytest.mark.parametrize("host", ["plain", "jupyter", "jupyterhub", "codespaces"])
def test_a_host_whose_disk_stays_says_nothing(computer, host):
    """There is nothing to do."""
    assert advice(computer.must(START.format(arguments=""), KEEPSTATE_HOST=host)) == []


@pytest.mark.parametrize("host", ["colab", "kaggle", "binder"])
def test_a_far_store_that_is_reached_needs_no_advice(computer, tmp_path, host):
    """Everything outlives the machine there."""
    with rclone_server(tmp_path / "server") as server:
        server.create_bucket("bucket")
        arguments = f"store={server.address('bucket', 'team')!r}, {NAMES}"
        said = computer.must(START.format(arguments=arguments), KEEPSTATE_HOST=host, **server.credentials)
    lines = said.splitlines()
    assert lines[0].startswith("keepstate guards project 'p'")
    assert lines[1:] in (["kept local"], ["kept verified"])


def test_colab_with_drive_mounted_says_the_call_that_uses_it(computer):
    """As long as nobody says whose state it is, what is mounted is not used."""
    mounted = table(computer, ("/content/drive", "fuse.drive"))
    lines = advice(computer.must(mounted + START.format(arguments="project='p'"), KEEPSTATE_HOST="colab"))
    assert lines[-1] == f"To keep it on Drive: keepstate.start(store='{DRIVE}', member='…', notebook='…')"


def test_a_mounted_folder_of_the_host_is_the_store_if_it_is_said_whose_state_it_is(computer):
    """Then it is kept here first, and handed to the mount; without the names it stays on this machine."""
    folder = computer.home / "cloudfiles"
    folder.mkdir()
    mounted = table(computer, (folder, "cifs"))
    said = computer.must(mounted + START.format(arguments=""), KEEPSTATE_HOST="azure-ml")
    assert f" in {computer.home / '.keepstate'}" in said
    assert list(folder.iterdir()) == []
    named = START.format(arguments=NAMES).replace("keepstate.stop()", "print(keepstate.finish().durability)")
    said = computer.must(mounted + named, KEEPSTATE_HOST="azure-ml")
    assert f" in {folder / 'keepstate'}" in said
    assert said.splitlines()[-1] == "queued"
    assert list((folder / "keepstate").rglob("*.manifest"))


def drive_at(tmp_path, monkeypatch, *mounts):
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"2 1 0:2 / {point} rw - fuse.drive drive rw\n" for point in mounts))
    monkeypatch.setattr("keepstate._base.mounts._TABLE", str(path))
    monkeypatch.delenv("KEEPSTATE_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def store_on_colab(host="colab", **given):
    around = Surroundings(Settings(), Host(profile_named(host), (), notebook="fileId=1"))
    return around.options(given).store.folder


@pytest.mark.parametrize("host", ["colab", "colab/pro"])
def test_mounted_drive_is_the_default_store_on_colab(tmp_path, monkeypatch, host):
    """If project and member are given; Colab names the notebook."""
    drive_at(tmp_path, monkeypatch, "/content/drive")
    assert store_on_colab(host, project="p", member="ana") == DRIVE
    for given in ({}, {"project": "p"}, {"member": "ana"}):
        assert store_on_colab(host, **given) == str(tmp_path / ".keepstate")
    assert store_on_colab(host, project="p", member="ana", store=str(tmp_path)) == str(tmp_path)


def test_a_folder_in_the_place_of_drive_is_not_drive(tmp_path, monkeypatch):
    """Somebody made it before mounting: what is written there would be lost, and prevent the mount."""
    drive_at(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert store_on_colab(project="p", member="ana") == str(tmp_path / ".keepstate")


def test_kaggle_without_internet_says_that_the_store_cannot_be_reached(computer):
    """And where things are meanwhile; nothing is raised."""
    offline = ["unshare", "--net", "true"]
    try:
        allowed = subprocess.run(offline, capture_output=True, timeout=30).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("a process without a network is not allowed here")
    alone = "import ctypes\nassert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET\n"
    code = alone + START.format(arguments=f"store='s3://bucket/team?region=eu-1', {NAMES}")
    keys = {"AWS_ACCESS_KEY_ID": "planted-id", "AWS_SECRET_ACCESS_KEY": "planted-secret"}
    said = computer.must(code, KEEPSTATE_HOST="kaggle", **keys)
    assert "cannot be reached, since the internet is switched off (Settings)." in said
    assert f"is kept in {computer.near()}, which ends with the session" in said
    assert said.splitlines()[-1] == "kept local"
