"""What the first start on a host says: three lines where something is to be done, and nothing elsewhere."""

import socket
import threading
from itertools import product
from pathlib import Path

import pytest

from keepstate._hosts import Host, profile_named, profiles
from keepstate._session.advice import first_run_help, has_internet, looks_mounted_drive, mounted_drive
from keepstate.backends import read_address

FAR = read_address("s3://bucket/team")
WORKING = "/kaggle/working/keepstate"
LONGEST_LINE = 120
"""Characters that a cell of a narrow window shows without a scroll bar."""


def advise(host, store="/root/.keepstate", **options):
    return first_run_help(
        Host(profile_named(host), ()), store=read_address(store), **{"shared": False, **options}
    )


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Write the mount table of a machine."""

    def write(*lines):
        table = tmp_path / "mountinfo"
        table.write_text("".join(f"{line}\n" for line in ["1 0 0:1 / / rw - overlay overlay rw", *lines]))
        monkeypatch.setattr("keepstate._base.mounts._TABLE", str(table))

    return write


def drive_at(point):
    return f"2 1 0:2 / {point} rw,nosuid shared:1 - fuse.drive drive rw"


def test_drive_is_told_by_the_mount_table(mounts):
    """By Drive's own type; no other file system in user space is taken for it, nor a folder beside it."""
    mounts(drive_at("/content/drive"), "3 1 0:3 / /data rw - fuse.sshfs far rw")
    assert looks_mounted_drive("/content/drive/MyDrive/keepstate")
    assert looks_mounted_drive(Path("/content/drive"))
    assert not looks_mounted_drive("/content/drives")
    assert not looks_mounted_drive("/data/keepstate")


def test_a_mount_is_not_touched(mounts, tmp_path):
    """A dead one would hang: where a path leads is read from the table, not found out by going there."""
    point = tmp_path / "a link to elsewhere"
    point.symlink_to(tmp_path)
    mounts(drive_at(str(point).replace(" ", r"\040")))
    assert looks_mounted_drive(point / "MyDrive")


def test_the_mounted_drive_is_found(mounts):
    """At the usual places."""
    mounts()
    assert mounted_drive() is None
    mounts(drive_at("/content/gdrive"))
    assert mounted_drive() == "/content/gdrive/MyDrive"


def test_colab_without_drive_says_to_mount_it():
    """The line can be pasted into a cell."""
    kept, survives, do = advise("colab").splitlines()
    assert kept == "keepstate: what you track is kept in /root/.keepstate, on this machine's disk."
    assert survives == "That survives a restart of the kernel, not the end of the machine."
    assert do.endswith(": from google.colab import drive; drive.mount('/content/drive')")


def test_colab_with_drive_says_the_whole_call():
    """With what nobody has named yet, and without what somebody has."""
    given = {"project": "course", "member": None, "notebook": "fileId=1"}
    said = advise("colab", drive="/content/drive/MyDrive", given=given)
    assert said.endswith("keepstate.start(store='/content/drive/MyDrive/keepstate', member='…')")
    assert ", project='…', member='…', notebook='…')" in advise("colab", drive="/content/drive/MyDrive")


def test_colab_with_the_store_on_drive_or_far_away_says_nothing():
    """What is kept there outlives the machine."""
    assert advise("colab", "/content/drive/MyDrive/keepstate", shared=True) is None
    assert advise("colab", "gdrive://keepstate", near="/root/.keepstate") is None


def test_kaggle_says_which_switch_keeps_its_folder():
    """And what does not depend on it."""
    kept, survives, do = advise("kaggle", WORKING, internet=True).splitlines()
    assert WORKING in kept
    assert "Persistence, Files only" in survives
    assert "keepstate.start(store='hf://buckets/owner/name', project='…', member='…', notebook='…')" in do
    assert advise("kaggle", WORKING, internet=None) == advise("kaggle", WORKING, internet=True)


def test_kaggle_without_internet_has_one_place_only():
    """No other store is offered then."""
    said = advise("kaggle", WORKING, internet=False)
    assert "Persistence, Files only" in said
    assert "the internet is switched off" in said
    assert "hf://" not in said


def test_kaggle_warns_of_a_folder_that_it_never_keeps():
    """Only /kaggle/working may be kept."""
    said = advise("kaggle", "/tmp/keepstate", internet=True)
    assert "not the end of the machine" in said
    assert said.endswith(f"keepstate.start(store='{WORKING}')")


def test_a_run_of_kaggle_in_the_background_ends_in_an_output():
    """Nothing of it is there when the next begins, whatever switch."""
    said = advise("kaggle/batch", WORKING, internet=False)
    assert "the output of this version" in said
    assert "Persistence" not in said


def test_a_far_store_that_cannot_be_reached_is_told():
    """With the place where things are meanwhile, and what that survives."""
    said = advise("kaggle", "s3://bucket/team", near=WORKING, internet=False)
    assert "s3://bucket/team cannot be reached" in said
    assert "is kept if Persistence is on" in said
    assert "ends with the session" in advise("kaggle", "s3://bucket/team", near="/tmp/near", internet=False)
    assert advise("kaggle", "s3://bucket/team", near=WORKING, internet=True) is None


@pytest.mark.parametrize("host", ["binder", "colab-enterprise", "databricks", "deepnote"])
def test_a_host_that_takes_its_disk_along_says_so(host):
    """Its default store is on it."""
    assert "outlive" in advise(host)


@pytest.mark.parametrize(
    ("host", "store"), [("databricks", "/Volumes/main/default/v/keepstate"), ("deepnote", "/work/keepstate")]
)
def test_a_folder_that_such_a_host_keeps_is_fine(host, store):
    """Nothing is to be done."""
    assert advise(host, store) is None


@pytest.mark.parametrize("host", ["plain", "jupyter", "jupyterhub", "codespaces", "paperspace", "studio-lab"])
def test_a_host_with_a_folder_that_stays_says_nothing(host):
    """What the user does not need to know is not said."""
    assert advise(host) is None


@pytest.mark.parametrize("host", [row.key for row in profiles()])
def test_it_is_never_more_than_three_short_lines(host):
    """Whatever the host and its state, nobody reads more."""
    stores, states = ["/root/.keepstate", WORKING, "s3://bucket/team"], [None, True, False]
    for store, internet, drive in product(stores, states, [None, "/content/drive/MyDrive"]):
        said = advise(host, store, internet=internet, drive=drive, near="/tmp/near")
        lines = [] if said is None else said.splitlines()
        assert len(lines) <= 3
        assert all(len(line) <= LONGEST_LINE for line in lines)
        assert not lines or lines[0].startswith("keepstate: ")


def test_a_name_that_is_found_is_internet():
    """Asked of the machine's own resolver."""
    host = Host(profile_named("kaggle"), ())
    assert has_internet(host, seconds=60, look_up=lambda _, port: socket.getaddrinfo("127.0.0.1", port))


def test_no_name_no_internet():
    """Kaggle's resolver finds none when the switch is off."""

    def look_up(name, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert has_internet(Host(profile_named("kaggle"), ()), seconds=60, look_up=look_up) is False


def test_a_resolver_that_hangs_is_not_waited_for():
    """The start goes on without an answer, and what comes later disturbs nobody."""
    release = threading.Event()
    try:
        found = has_internet(
            Host(profile_named("kaggle"), ()), seconds=0.01, look_up=lambda *_: release.wait(60)
        )
        assert found is None
        (waiting,) = [thread for thread in threading.enumerate() if thread.name == "keepstate-internet"]
        assert waiting.daemon
    finally:
        release.set()
    waiting.join()


def test_elsewhere_nothing_is_looked_up():
    """No other host has such a switch."""
    asked = []
    assert has_internet(Host(profile_named("colab"), ()), look_up=lambda *_: asked.append(1)) is None
    assert asked == []
