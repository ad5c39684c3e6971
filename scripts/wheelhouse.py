"""Collect wheels from which keepstate installs where nothing may be fetched, such as Kaggle without internet.

    make wheelhouse OWNER=your-kaggle-name

Makes the folder ``wheelhouse``, ready for ``kaggle datasets create -p wheelhouse``; docs/kaggle-offline.md
tells the way from there. What every known image has gets no wheel, so that pip could not replace it if it
wanted to; what only some have gets the wheel that fits the others. The lists of the images are in
tests/data/images.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "tests" / "data" / "images"

PYTHONS = ("3.12", "3.13")
"""What Colab's and Kaggle's images run, by the lists of 2026."""
GLIBC_MINORS = range(35, 16, -1)
"""Minor versions of glibc 2 whose wheels run there, newest first. Both images are Ubuntu 22.04, which has
2.35 (os-info.txt of Colab's backend-info); 2.17 is the oldest that is still built for."""
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS), "manylinux2014_x86_64")

TITLE = "keepstate wheels"
SLUG = "keepstate-wheels"
OWNER = "INSERT_YOUR_KAGGLE_NAME"
INPUT = "/kaggle/input"
METADATA = "dataset-metadata.json"
DESCRIPTION = """\
Wheels of keepstate and of those libraries it needs that Kaggle's image lacks, for notebooks without internet.
Each wheel is unchanged from PyPI and carries its own license."""
README = """\
keepstate {version} for Python {pythons} on Linux x86-64, with the libraries that Kaggle's image may lack.
Upload: `kaggle datasets create -p {folder}`, a newer one: `kaggle datasets version -p {folder} -m {version}`.
In the notebook: Add Input, this dataset, and in the first cell:
`!pip install --no-index --find-links $(ls -d {places} 2>/dev/null) keepstate`
"""


@dataclass(frozen=True)
class Image:
    """What a host's image has before the user installs anything."""

    python: str
    """Its Python, as ``3.12``."""
    versions: dict[str, str]
    """Package → version; names as :func:`plain` gives them."""


def plain(name: str) -> str:
    """The one spelling of a package's name: ``Zope.Interface`` and ``zope_interface`` are the same."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_image(path: Path) -> Image:
    """Read a list of ``name==version``, one a line, with a comment that names the Python."""
    text = path.read_text(encoding="utf-8")
    python = re.search(r"^# Python (3\.\d+)$", text, re.MULTILINE)
    if python is None:
        raise SystemExit(f"{path} does not say which Python it is for")
    pins = (line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return Image(python[1], {plain(name): version for name, version in pins})


def pip(*arguments: object) -> None:
    """Run pip as it is set up on this machine; end with its own words if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"pip {arguments[0]} failed:\n{done.stderr}")


def for_target(python: str) -> list[str]:
    """The options that make pip choose wheels for *python* on Linux rather than for this machine."""
    target = ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]
    return target + [part for platform in PLATFORMS for part in ("--platform", platform)]


def resolve(wheel: Path, python: str, image: Image | None) -> dict[str, str]:
    """Ask pip what *wheel* needs beyond *image*, without fetching it.

    Pip judges conditions such as ``python_version < "3.12"`` by the Python that runs it, which at worst adds
    a small package too many: nothing that keepstate needs asks for more on a newer Python.

    Args:
        wheel: The wheel of keepstate.
        python: The Python to install for, as ``3.12``.
        image: What is there already; ``None`` for nothing.

    Returns:
        Package → version.
    """
    present = image.versions if image else {}
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        pins.write_text("\n".join("==".join(pin) for pin in present.items()), encoding="utf-8")
        unused = Path(folder, "unused")  # pip asks for it when the target is another Python
        options = ["--dry-run", "--target", unused, "--report", report, "--constraint", pins]
        pip("install", *options, *for_target(python), wheel)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {plain(item["metadata"]["name"]): item["metadata"]["version"] for item in found}
    return {name: versions[name] for name in sorted(versions.keys() - present.keys() - {"keepstate"})}


def make_ready(folder: Path) -> None:
    """Make *folder*, or take the wheels of last time out of it.

    Raises:
        SystemExit: If it holds something that this program did not make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / METADATA
    ours = mark.exists() and json.loads(mark.read_text(encoding="utf-8")).get("title") == TITLE
    if any(folder.iterdir()) and not ours:
        raise SystemExit(f"{folder} is not empty and not a wheelhouse; name another folder")
    for wheel in folder.glob("*.whl"):
        wheel.unlink()


def describe(folder: Path, owner: str | None) -> str:
    """Write what Kaggle's command line asks for; return the dataset's id, which the user may have chosen.

    Source: docs/datasets_metadata.md of Kaggle's command line. A title has 6 to 50 characters, and so has the
    part of the id after the slash; a subtitle has 20 to 80.
    """
    path = folder / METADATA
    dataset: str = f"{OWNER}/{SLUG}"
    if path.exists():
        dataset = json.loads(path.read_text(encoding="utf-8"))["id"]
    if owner:
        dataset = f"{owner}/{dataset.partition('/')[2]}"
    content = {
        "title": TITLE,
        "subtitle": "Install keepstate in notebooks without internet",
        "description": DESCRIPTION,
        "id": dataset,
        "licenses": [{"name": "other"}],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return dataset


def explain(folder: Path, dataset: str, wheel: Path, pythons: list[str]) -> None:
    """Write the README that travels with the wheels."""
    # Kaggle puts a dataset at one of two places; which one goes by the age of the notebook.
    places = (f"{INPUT}/datasets/{dataset}", f"{INPUT}/{dataset.partition('/')[2]}")
    text = README.format(
        version=wheel.name.split("-")[1],
        pythons=" and ".join(pythons),
        folder=folder.name,
        places=" ".join(places),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Make the folder that the command line asks for."""
    parser = argparse.ArgumentParser(description="Collect wheels to install keepstate without internet.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("wheelhouse"))
    parser.add_argument("--owner", help="your name on Kaggle, for the dataset's id")
    parser.add_argument("--python", action="append", dest="pythons", help="such as 3.12; may be repeated")
    parser.add_argument("--complete", action="store_true", help="leave out nothing, for a bare machine")
    options = parser.parse_args()
    folder, pythons = options.folder, options.pythons or list(PYTHONS)
    images = [] if options.complete else [read_image(path) for path in sorted(IMAGES.glob("*.txt"))]

    make_ready(folder)
    # Written first, so that a folder that was left half made is known as a wheelhouse.
    dataset = describe(folder, options.owner or os.environ.get("KAGGLE_USERNAME"))
    pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    wheel = next(folder.glob("keepstate-*.whl"))
    for python in pythons:
        matching: list[Image | None] = [image for image in images if image.python == python]
        for image in matching or [None]:  # a Python that no image has is given everything
            needed = ["==".join(pin) for pin in resolve(wheel, python, image).items()]
            if needed:
                pip("download", "--no-deps", "--dest", folder, *for_target(python), *needed)
    explain(folder, dataset, wheel, pythons)

    wheels = [path.stat().st_size for path in folder.glob("*.whl")]
    print(f"{folder}: {len(wheels)} wheels, {sum(wheels) / 1e6:.0f} MB, for Python {' and '.join(pythons)}")
    if dataset.startswith(OWNER):
        print("Your name on Kaggle is missing: call it again with OWNER=name.")
    print(f"Next: kaggle datasets create -p {folder}")


if __name__ == "__main__":
    main()
