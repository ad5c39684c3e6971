"""A wheelhouse brings keepstate to where nothing may be fetched."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "tests" / "data" / "images"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

for_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="its wheels are for Linux x86-64"
)


def make(folder, *options):
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "wheelhouse.py"), str(folder), "--python", PYTHON, *options],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@for_linux
@pytest.mark.torture
def test_a_bare_machine_installs_from_a_complete_wheelhouse(index, offline, environment, python, tmp_path):
    """The line in the README gives a Python that has nothing a keepstate that keeps and restores."""
    wheels = tmp_path / "input" / "datasets" / "ana" / "keepstate-wheels"
    make(wheels, "--complete", "--owner", "ana")
    line = (wheels / "README.md").read_text().splitlines()[-1].strip("`!")
    command = line.replace("/kaggle/input", str(tmp_path / "input")).removeprefix("pip install")
    offline("sh", "-ec", f"{sys.executable} -m pip --quiet --python {python} install {command}")
    offline(sys.executable, "-m", "pip", "--python", python, "check")
    start = f"import keepstate; keepstate.start(store={str(tmp_path / 'store')!r}); "
    offline(python, "-I", "-c", start + "x = [1]; keepstate.track(x); keepstate.snapshot()")
    printed = offline(python, "-I", "-c", start + "print(x, keepstate.__file__)")
    assert printed.splitlines()[-1].startswith(f"[1] {environment}")


@for_linux
@pytest.mark.slow
def test_a_wheelhouse_fills_what_an_image_lacks(index, tmp_path, script, install_into):
    """Without an index, pip finds all that an image lacks, and has no wheel of what the image has."""
    images = [script.read_image(path) for path in sorted(IMAGES.glob("*.txt"))]
    image = next((image for image in images if image.python == PYTHON), None)
    if image is None:
        pytest.skip(f"no known image has Python {PYTHON}")
    make(tmp_path / "wheels")
    links = ("--no-index", "--find-links", tmp_path / "wheels")
    assert install_into(image, *links, "keepstate", offline=True).names & image.versions.keys() == set()
    everywhere = set.intersection(*(set(image.versions) for image in images))
    wheels = {script.plain(path.name.split("-")[0]) for path in (tmp_path / "wheels").glob("*.whl")}
    assert "keepstate" in wheels
    assert wheels & everywhere == set()


def test_the_dataset_is_described_as_kaggle_asks(script, tmp_path):
    """Title, subtitle and the dataset's name have lengths that Kaggle takes, and there is one license."""
    assert script.describe(tmp_path, "ana") == "ana/keepstate-wheels"
    described = json.loads((tmp_path / "dataset-metadata.json").read_text())
    assert described["id"] == "ana/keepstate-wheels"
    assert 6 <= len(described["title"]) <= 50
    assert 6 <= len("keepstate-wheels") <= 50
    assert 20 <= len(described["subtitle"]) <= 80
    assert described["licenses"] == [{"name": "other"}]


def test_the_name_of_the_dataset_is_kept(script, tmp_path):
    """A name that the user wrote into the description is still there after the next making."""
    script.describe(tmp_path, None)
    path = tmp_path / "dataset-metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": "ana/my-wheels"}))
    script.make_ready(tmp_path)
    assert script.describe(tmp_path, None) == "ana/my-wheels"
    assert script.describe(tmp_path, "bo") == "bo/my-wheels"


def test_wheels_of_last_time_go(script, tmp_path):
    """A second making leaves no wheel of the first."""
    script.describe(tmp_path, "ana")
    (tmp_path / "keepstate-0.0.1-py3-none-any.whl").touch()
    script.make_ready(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset-metadata.json"]


@pytest.mark.parametrize("neighbour", ["notes.txt", "dataset-metadata.json"])
def test_a_folder_of_somebody_elses_is_left_alone(script, tmp_path, neighbour):
    """A folder with other things in it, or with another dataset, is refused, and its wheels stay."""
    (tmp_path / neighbour).write_text('{"title": "my own wheels"}')
    (tmp_path / "mine-1-py3-none-any.whl").touch()
    with pytest.raises(SystemExit, match="not a wheelhouse"):
        script.make_ready(tmp_path)
    assert (tmp_path / "mine-1-py3-none-any.whl").exists()


def test_the_readme_has_four_lines(script, tmp_path):
    """The README says what it is, how to upload it, how to attach it, and the line for the notebook."""
    script.explain(tmp_path, "ana/my-wheels", Path("keepstate-1.2.0-py3-none-any.whl"), ["3.12", "3.13"])
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert len(lines) == 4
    assert "keepstate 1.2.0 for Python 3.12 and 3.13" in lines[0]
    place = "$(ls -d /kaggle/input/datasets/ana/my-wheels /kaggle/input/my-wheels 2>/dev/null)"
    assert lines[3] == f"`!pip install --no-index --find-links {place} keepstate`"
