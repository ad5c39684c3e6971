"""Settings that a project keeps in a file."""

import pytest

from keepstate._session.settings import read_settings
from keepstate.errors import InvalidInputError

OWN = 'host = "colab/pro"\nproject = "course"\ninterval = 30\n[limits]\nidle_seconds = "none"\n'


def test_the_nearest_file_counts(tmp_path):
    """In this folder or above it; keepstate.toml before pyproject.toml."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.keepstate]\nproject = "outer"\n')
    assert read_settings(inner).arguments == {"project": "outer"}
    (tmp_path / "keepstate.toml").write_text(OWN)
    found = read_settings(inner)
    assert found.path == tmp_path / "keepstate.toml"
    assert found.host == "colab/pro"
    assert found.arguments == {"project": "course", "interval": 30, "limits": {"idle_seconds": None}}


def test_a_project_that_has_nothing_to_say_is_passed_by(tmp_path):
    """Also if its pyproject.toml is broken: that is its own business."""
    inner = tmp_path / "a"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project\nname = ")
    (tmp_path / "keepstate.toml").write_text('project = "p"')
    assert read_settings(inner).arguments == {"project": "p"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("projekt = 'x'", r"says projekt, which keepstate does not know: use .*project"),
        ("project = ", "is no TOML"),
        ("host = 5", "host = 5"),
        ("limits = 90", "limits = 90"),
        ("notify = 'https://ntfy.sh/x'", "says notify: .*KEEPSTATE_NOTIFY"),
        ("store = 5", "store = 5"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, text, told):
    """With its path, so that it can be mended."""
    (tmp_path / "keepstate.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=told) as raised:
        read_settings(tmp_path)
    assert str(tmp_path / "keepstate.toml") in str(raised.value)


def test_an_argument_is_stronger_than_the_file(tmp_path, monkeypatch):
    """What a call gives stays; what it leaves out comes from the file; KEEPSTATE_STORE is stronger too."""
    (tmp_path / "keepstate.toml").write_text('project = "p"\nstore = "/s"\nbudget = "5GB"\ninterval = 5\n')
    settings = read_settings(tmp_path)
    call = {"project": None, "store": None, "interval": 60.0, "budget": "1GB"}
    monkeypatch.delenv("KEEPSTATE_STORE", raising=False)
    assert settings.completing(call) == {"project": "p", "store": "/s", "interval": 5, "budget": "1GB"}
    monkeypatch.setenv("KEEPSTATE_STORE", "elsewhere")
    assert settings.completing({"project": "q", "store": None}) == {
        "project": "q", "store": None, "interval": 5, "budget": "5GB",
    }  # fmt: skip


def test_a_relative_store_counts_from_the_file(tmp_path):
    """Every folder of the project has the same one."""
    inner = tmp_path / "project" / "notebooks"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "keepstate.toml").write_text('store = "../state"')
    assert read_settings(inner).arguments == {"store": str(tmp_path / "state")}


EVIL = """
import keepstate, os
class Evil:
    def __reduce__(self): return os.mkdir, ("planted",)
keepstate.start(store="state", interval=3600); x = Evil(); keepstate.track(x)
"""


def test_a_store_that_came_with_a_settings_file_is_not_restored_from(run_script, tmp_path):
    """One that is made here is used again; one that was not made here runs nothing until it is named."""
    here = {"XDG_STATE_HOME": str(tmp_path / "mine")}
    (tmp_path / "keepstate.toml").write_text('store = "state"')
    run_script(
        "import keepstate; keepstate.start(interval=3600); x = 1; keepstate.track('x')", variables=here
    )
    assert run_script("import keepstate; keepstate.start(); print(x)", variables=here).stdout.endswith("1\n")
    (tmp_path / "state").rename(tmp_path / "old")
    run_script(EVIL, variables={"XDG_STATE_HOME": str(tmp_path / "theirs")})
    refused = run_script("import keepstate; keepstate.start()", variables=here, fails=True)
    assert "InvalidInputError" in refused.stderr
    assert "was not made here" in refused.stderr
    assert not (tmp_path / "planted").exists()
    run_script("import keepstate; keepstate.start(store='state')", variables=here)
    assert (tmp_path / "planted").exists()
    run_script("import keepstate; keepstate.start()", variables=here)
