"""Install for real, with pip, wheels and environments; an image is what pip would see of it."""

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command, offline=False):
    """Run to the end and return what was printed; a failure shows what was said.

    With *offline*, pip has no settings of the tester's either: they could name another source of packages.
    """
    cleared = ("PYTHON", "KEEPSTATE", "PIP_") if offline else ("PYTHON", "KEEPSTATE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(cleared)}
    done = subprocess.run(
        list(map(str, command)),
        env=environment | ({"PIP_CONFIG_FILE": os.devnull} if offline else {}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Report:
    """What pip would install into an image."""

    names: frozenset[str]
    direct: frozenset[str]
    """Those of them that keepstate itself asks for."""


@pytest.fixture
def offline():
    """Run a command with nothing of pip's settings: ``offline(python, "-m", "pip", …)``."""
    return functools.partial(run, offline=True)


@pytest.fixture(scope="session")
def script():
    """The program that makes wheelhouses, as a module."""
    path = ROOT / "scripts" / "wheelhouse.py"
    spec = importlib.util.spec_from_file_location("scripts.wheelhouse", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for the names in its annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def index():
    """Pip's index; without it there is nothing to test."""
    options = ("--retries", "0", "--timeout", "20", "--dry-run", "--no-deps", "--ignore-installed")
    done = subprocess.run(
        [*PIP, "install", *options, "hatchling"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("pip cannot reach its index")


@pytest.fixture(scope="session")
def wheel(index, tmp_path_factory):
    """The wheel of this source."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture
def environment(tmp_path):
    """A Python of its own that has nothing, not even pip."""
    folder = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    return folder


@pytest.fixture
def python(environment):
    """Its interpreter."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture
def install_into(environment, python, script):
    """Ask pip what it would do in an image: ``install_into(image, wheel)``.

    The image is an environment where each package is a name and a version, without code or needs of its own.
    Pip decides by these what to replace, and the versions need not exist for this Python. What its packages
    need in turn is taken to be there too.
    """

    def ask(image, *arguments, offline=False):
        packages = next(environment.glob("lib*/**/site-packages"))
        for name, version in image.versions.items():
            folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        options = ("--python", python, "install", "--dry-run", "--report", "-")
        items = json.loads(run(*PIP, *options, *arguments, offline=offline))["install"]
        found = {script.plain(item["metadata"]["name"]): item["metadata"] for item in items}
        needs = found.pop("keepstate")["requires_dist"]
        wanted = {script.plain(re.match(r"[\w.-]+", need)[0]) for need in needs if "extra ==" not in need}
        return Report(names=frozenset(found), direct=frozenset(wanted & found.keys()))

    return ask
